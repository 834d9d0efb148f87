#include <curfew/frame_resource.hpp>

#include <array>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/fatal.hpp"
#include "support/loop.hpp"

using namespace test;

namespace {

/// Remembers which of its blocks are out, and whether all came back as they had gone.
class recording final : public frame_resource {
public:
    void* allocate(std::size_t bytes) override {
        if (refuse_next) {
            refuse_next = false;
#if CURFEW_EXCEPTIONS
            throw std::bad_alloc();
#endif
        }
        void* const block = ::operator new(bytes);
        live[block] = bytes;
        ++handed_out;
        return block;
    }

    void deallocate(void* block, std::size_t bytes) noexcept override {
        const auto found = live.find(block);
        if (found == live.end() || found->second != bytes) return void(++mistakes);
        live.erase(found);
        ::operator delete(block);
    }

    bool all_back() const { return live.empty() && mistakes == 0; }

    std::map<void*, std::size_t> live;
    int handed_out = 0;
    int mistakes = 0;
    bool refuse_next = false;
};

// Not inlined: or a compiler may see that a frame ends where it began, and not allocate it at all.

[[gnu::noinline]] task<int> number(int n) { co_return n; }

/// Has a frame from whoever is in charge when it runs.
[[gnu::noinline]] task<> make_frames(int count) {
    for (int i = 0; i < count; ++i) {
        CHECK(co_await number(i) == i);
        co_await yield();
    }
}

/// Some of all that takes memory: tasks, spawned tasks, groups, combinations, sockets, limits.
task<> busy(io_context& ctx) {
    task_group group;
    group.spawn(make_frames(2));
    std::vector<task<>> several;
    for (int i = 0; i < 20; ++i) several.push_back(make_frames(1));
    co_await when_all(std::move(several));
    (co_await group.join()).value();
    auto dropped = ctx.spawn(make_frames(3));
    auto cancelled = ctx.spawn([]() -> task<> { co_await sleep_for(1h); }());
    auto [client, server] = co_await test::connect(ctx);
    std::array<char, 8> buffer;
    auto read = ctx.spawn([](tcp::socket& from, std::span<char> into) -> task<std::size_t> {
        co_return (co_await with_timeout(read_exactly(from, into), 1h)).value();
    }(server, buffer));
    (co_await write_all(client, "8 bytes!")).value();
    CHECK(co_await read == 8);
    cancelled.cancel();
    co_await cancelled;
}

std::size_t thread_handed_out() { return this_thread_frame_counters().handed_out; }

}  // namespace

REACTOR_TEST("a context's resource sees every allocation, and gets each block back as it was") {
    recording resource;
    const auto before = this_thread_frame_counters();
    {
        io_context ctx(kind);
        ctx.frames(&resource);
        {
            const frame_resource_scope use(&resource);
            ctx.block_on(busy(ctx));
            CHECK(resource.handed_out > 10);
            ctx.spawn(busy(ctx));
            ctx.spawn(make_frames(1'000));
        }
        for (int i = 0; i < 10; ++i) ctx.poll();
        CHECK_FALSE(resource.live.empty());
    }  // in the middle of it
    CHECK(resource.all_back());
    CHECK(this_thread_frame_counters().handed_out == before.handed_out);
    CHECK(this_thread_frame_counters().given_back == before.given_back);
}

REACTOR_TEST("the frames that a running context makes come from its resource, all others do not") {
    recording resource;
    io_context ctx(kind);
    ctx.frames(&resource);

    auto outside = make_frames(5);
    CHECK(resource.handed_out == 0);
    ctx.spawn(std::move(outside));
    CHECK(resource.handed_out == 1);  // the context's record of it
    auto in_run = thread_handed_out();
    ctx.run();
    CHECK(resource.handed_out == 6);
    CHECK(thread_handed_out() == in_run);

    const auto after = thread_handed_out();
    { auto unused = number(1); }
    CHECK(resource.handed_out == 6);
    CHECK(thread_handed_out() == after + 1);
    CHECK(resource.all_back());
}

REACTOR_TEST("every way to run a context brings its resource, and takes it away again") {
    recording resource;
    io_context ctx(kind);
    ctx.frames(&resource);
    int seen = 0;
    int expected = 0;
    const auto check = [&](auto run) {
        ctx.post([&] {
            const int before = resource.handed_out;
            { auto unused = number(1); }
            seen += resource.handed_out - before;
        });
        run();
        CHECK(seen == ++expected);
        const int before = resource.handed_out;
        { auto unused = number(1); }
        CHECK(resource.handed_out == before);
    };
    check([&] { ctx.run(); });
    check([&] { ctx.run_one(); });
    check([&] { ctx.run_for(1ms); });
    check([&] { ctx.run_until(clock::now()); });
    check([&] { ctx.poll(); });
    check([&] { ctx.poll_for(1ms); });
    check([&] { ctx.block_on(make_frames(3)); });
#if CURFEW_EXCEPTIONS
    check([&] {
        ctx.spawn([]() -> task<> {
            co_await yield();
            throw 1;
        }());
        CHECK_THROWS_AS(ctx.run(), int);
    });
#endif
}

REACTOR_TEST("children of a group come from the resource of their context, like all it spawns") {
    recording resource;
    io_context ctx(kind);
    ctx.frames(&resource);
    task_group group(ctx);
    auto child = make_frames(1);
    const auto before = thread_handed_out();
    group.spawn(std::move(child));
    CHECK(resource.live.size() == 1);
    CHECK(thread_handed_out() == before);
    ctx.run();
    CHECK(resource.all_back());
}

REACTOR_TEST("sockets come from the resource of their context, wherever they are made") {
    recording resource;
    tcp::socket survivor;
    {
        io_context ctx(kind);
        ctx.frames(&resource);
        const auto before = thread_handed_out();
        survivor = tcp::socket(ctx);
        const tcp::acceptor acceptor(ctx);
        CHECK(resource.live.size() == 2);
        CHECK(thread_handed_out() == before);
    }
    CHECK(resource.live.size() == 1);
    survivor = {};
    CHECK(resource.all_back());
}

REACTOR_TEST("what outlives the run, or the context, goes home when it is freed") {
    recording resource;
    std::optional<task<int>> unused;
    std::optional<join_handle<>> handle;
    {
        io_context other(kind);
        {
            io_context ctx(kind);
            ctx.frames(&resource);
            ctx.post([&] {
                unused = number(1);
                handle = ctx.spawn([]() -> task<> { co_await sleep_for(1h); }());
            });
            ctx.poll();
            CHECK(resource.live.size() == 3);
        }
        CHECK(resource.live.size() == 2);
        other.post([&] { unused.reset(); });
        other.run();
        CHECK(resource.live.size() == 1);
    }
    handle.reset();
    CHECK(resource.all_back());
}

REACTOR_TEST("what comes from elsewhere does not go to the context's resource when freed in it") {
    recording resource;
    recording elsewhere;
    io_context ctx(kind);
    ctx.frames(&resource);
    std::optional<task<int>> from_thread = number(1);
    std::optional<task<int>> from_elsewhere;
    {
        const frame_resource_scope use(&elsewhere);
        from_elsewhere = number(2);
    }
    CHECK(elsewhere.live.size() == 1);
    const auto before = this_thread_frame_counters();
    ctx.post([&] {
        from_thread.reset();
        from_elsewhere.reset();
    });
    ctx.run();
    CHECK(elsewhere.all_back());
    CHECK(resource.all_back());
    CHECK(this_thread_frame_counters().given_back == before.given_back + 1);
}

REACTOR_TEST("contexts in one thread, nested and in turn, keep to their own resources") {
    recording outer_resource;
    recording inner_resource;
    io_context outer(kind);
    io_context inner(kind);
    io_context plain(kind);
    outer.frames(&outer_resource);
    inner.frames(&inner_resource);

    for (int i = 0; i < 3; ++i) {  // in turn
        int before = outer_resource.handed_out;
        inner.block_on(make_frames(4));
        CHECK(outer_resource.handed_out == before);
        before = inner_resource.handed_out;
        outer.block_on(make_frames(4));
        CHECK(inner_resource.handed_out == before);
    }

    outer.block_on(
        [](io_context& in, io_context& without, recording& outers, recording& inners) -> task<> {
            const auto made = [&] { return std::pair(outers.handed_out, inners.handed_out); };
            auto [from_outer, from_inner] = made();
            in.post([] { auto unused = number(1); });
            in.run();
            CHECK(made() == std::pair(from_outer, from_inner + 1));
            const auto from_thread = thread_handed_out();
            without.post([] { auto unused = number(1); });
            without.run();
            CHECK(made() == std::pair(from_outer, from_inner + 1));
            CHECK(thread_handed_out() == from_thread + 1);
            co_await number(1);
            CHECK(made() == std::pair(from_outer + 1, from_inner + 1));
        }(inner, plain, outer_resource, inner_resource));
    CHECK(outer_resource.all_back());
    CHECK(inner_resource.all_back());
}

REACTOR_TEST("a context can go back to the thread's own memory") {
    recording resource;
    io_context ctx(kind);
    ctx.frames(&resource);
    ctx.block_on(make_frames(2));
    const int before = resource.handed_out;
    ctx.frames(nullptr);
    ctx.block_on(make_frames(2));
    CHECK(resource.handed_out == before);
    CHECK(resource.all_back());
}

TEST_CASE("scopes nest; the inner one wins, and null means the thread's own") {
    recording outer;
    recording inner;
    std::vector<task<int>> made;
    {
        const frame_resource_scope use_outer(&outer);
        made.push_back(number(1));
        {
            const frame_resource_scope use_inner(&inner);
            made.push_back(number(2));
            const frame_resource_scope use_none(nullptr);
            made.push_back(number(3));
        }
        CHECK(outer.handed_out == 1);
        CHECK(inner.handed_out == 1);
        made.push_back(number(4));
        CHECK(outer.handed_out == 2);
    }
    made.push_back(number(5));
    CHECK(outer.handed_out == 2);
    CHECK(inner.handed_out == 1);
    made.clear();
    CHECK(outer.all_back());
    CHECK(inner.all_back());
}

#if CURFEW_EXCEPTIONS
REACTOR_TEST("when a resource has no memory, nothing is lost but what asked for it") {
    recording resource;
    {
        io_context ctx(kind);
        ctx.frames(&resource);
        const frame_resource_scope use(&resource);
        resource.refuse_next = true;
        CHECK_THROWS_AS(static_cast<void>(number(1)), std::bad_alloc);

        auto work = make_frames(1);
        resource.refuse_next = true;
        CHECK_THROWS_AS(ctx.spawn(std::move(work)), std::bad_alloc);
        resource.refuse_next = true;
        CHECK_THROWS_AS(tcp::socket{ctx}, std::bad_alloc);

        ctx.spawn([](recording& refusing) -> task<> {
            refusing.refuse_next = true;
            co_await number(1);
        }(resource));
        CHECK_THROWS_AS(ctx.run(), std::bad_alloc);
        ctx.block_on(make_frames(2));
    }
    CHECK(resource.all_back());
}
#endif

TEST_CASE("a pool's counters say what has happened") {
    constexpr int size = 128 - sizeof(std::size_t);  // of a list
    frame_pool pool;
    CHECK(pool.counters().handed_out == 0);
    std::vector<void*> blocks;
    for (int i = 0; i < 10; ++i) blocks.push_back(pool.allocate(size));
    void* const huge = pool.allocate(100'000);

    auto now = pool.counters();
    CHECK(now.handed_out == 11);
    CHECK(now.given_back == 0);
    CHECK(now.from_system == 11);
    CHECK(now.to_system == 0);
    CHECK(now.bytes_live == 10 * size + 100'000);
    CHECK(now.bytes_held == now.bytes_live);

    pool.deallocate(huge, 100'000);  // too large to be kept
    for (int i = 0; i < 4; ++i) {
        pool.deallocate(blocks.back(), size);
        blocks.pop_back();
    }
    now = pool.counters();
    CHECK(now.given_back == 5);
    CHECK(now.bytes_live == 6 * size);
#if CURFEW_RECYCLE_FRAMES
    CHECK(now.to_system == 1);
    CHECK(now.bytes_held == 10 * size);
    blocks.push_back(pool.allocate(size - 15));  // as large as the others
    now = pool.counters();
    CHECK(now.handed_out == 12);
    CHECK(now.given_back == 5);
    CHECK(now.from_system == 11);
    CHECK(now.bytes_live == 7 * size);
    CHECK(now.bytes_held == 10 * size);
    pool.deallocate(blocks.back(), size - 15);
    blocks.pop_back();
#endif
    for (void* each : blocks) pool.deallocate(each, size);
    now = pool.counters();
    CHECK(now.given_back == now.handed_out);
    CHECK(now.bytes_live == 0);
}

TEST_CASE("a pool keeps no more than a thousand or so of a size") {
    constexpr int size = 64 - sizeof(std::size_t);  // of a list
    frame_pool pool;
    std::vector<void*> blocks;
    for (int i = 0; i < 3'000; ++i) blocks.push_back(pool.allocate(size));
    for (void* each : blocks) pool.deallocate(each, size);
    const auto now = pool.counters();
    CHECK(now.given_back == 3'000);
    CHECK(now.bytes_live == 0);
    CHECK(now.to_system + static_cast<std::size_t>(now.bytes_held) / size == 3'000);
    CHECK(now.bytes_held <= size * 1'024);
#if CURFEW_RECYCLE_FRAMES
    CHECK(now.bytes_held >= size * 1'000);
#endif
}

#if TEST_CAN_DIE && !defined(NDEBUG)
TEST_CASE("a pool that ends before what was made from it is noticed") {
    const auto end = death_of([] {
        task<int> left;
        {
            frame_pool pool;
            const frame_resource_scope use(&pool);
            left = number(1);
        }
    });
    CHECK(end.signal == SIGABRT);
    CHECK(end.said.find("bytes_held") != std::string::npos);
}
#endif

#if CURFEW_RECYCLE_FRAMES

namespace {

/// Like a server's: with a buffer in its frame.
task<> serve_once(tcp::socket& from) {
    std::array<std::byte, 4096> buffer;
    (co_await with_timeout(from.read_some(buffer), 1h)).value();
}

/// Tasks, spawned tasks and sockets; `at_round` is called before each round.
task<> rounds(io_context& ctx, int count, std::function<void(int)> at_round) {
    auto [client, server] = co_await test::connect(ctx);
    for (int i = 0; i < count; ++i) {
        at_round(i);
        co_await make_frames(2);
        auto reader = ctx.spawn(serve_once(server));
        (co_await write_all(client, "x")).value();
        co_await reader;
        const udp::socket unused(ctx);
    }
}

}  // namespace

REACTOR_TEST("in steady state nothing is taken from the system, nor returned to it") {
    frame_pool pool;
    for (frame_resource* const resource :
         {static_cast<frame_resource*>(nullptr), static_cast<frame_resource*>(&pool)}) {
        const auto counters = [&] {
            return resource ? pool.counters() : this_thread_frame_counters();
        };
        io_context ctx(kind);
        ctx.frames(resource);
        frame_counters warm;
        ctx.block_on(rounds(ctx, 1'100, [&](int round) {
            if (round == 100) warm = counters();
        }));
        const auto end = counters();
        CHECK(end.handed_out >= warm.handed_out + 6'000);
        CHECK(end.given_back >= warm.given_back + 6'000);
        CHECK(end.from_system == warm.from_system);
        CHECK(end.to_system == warm.to_system);
        CHECK(end.bytes_held == warm.bytes_held);
    }
    CHECK(pool.counters().given_back == pool.counters().handed_out);
}

#endif

TEST_CASE("a frame that ends in another thread moves to that thread's lists") {
    const auto before = this_thread_frame_counters();
    auto moving = number(1);
    const auto bytes = this_thread_frame_counters().bytes_live - before.bytes_live;
    CHECK(bytes > 0);
    frame_counters there;
    std::thread([&] {
        { auto here = std::move(moving); }
        there = this_thread_frame_counters();
    }).join();
    CHECK(there.handed_out == 0);
    CHECK(there.given_back == 1);
    CHECK(there.bytes_live == -bytes);
    CHECK(this_thread_frame_counters().given_back == before.given_back);
}

TEST_CASE("a thread begins with its own memory, whatever other threads use") {
    recording resource;
    const frame_resource_scope use(&resource);
    std::size_t there = 0;
    std::thread([&] {
        auto unused = number(1);
        there = thread_handed_out();
    }).join();
    CHECK(there == 1);
    CHECK(resource.handed_out == 0);
}

namespace {

/// Destroyed at the end of its thread; made before the thread's lists are used, so after they are
/// closed.
struct late {
    std::vector<task<int>> tasks;
    recording* resource = nullptr;
    frame_counters* seen = nullptr;

    ~late() {
        if (!seen) return;
        tasks.clear();
        { auto another = number(4); }
        const frame_resource_scope use(resource);
        { auto another = number(5); }
        *seen = this_thread_frame_counters();
    }
};

}  // namespace

TEST_CASE("at a thread's end its lists return all to the system, and frames still find home") {
    recording resource;
    frame_counters seen;
    std::thread([&] {
        late& user = detail::of_this_thread<late>();
        user.resource = &resource;
        user.seen = &seen;
        for (int i = 0; i < 10; ++i) user.tasks.push_back(number(i));
        user.tasks.clear();
        user.tasks.push_back(number(1));
        user.tasks.push_back(number(2));
        const frame_resource_scope use(&resource);
        user.tasks.push_back(number(3));
    }).join();
#if !defined(CURFEW_EMULATED_THREAD_LOCAL)  // where `late` sees other lists, made after the end
    CHECK(seen.handed_out == 13);
    CHECK(seen.given_back == 13);
    CHECK(seen.bytes_live == 0);
#endif
    CHECK(seen.to_system == seen.from_system);
    CHECK(seen.bytes_held == 0);
    CHECK(resource.handed_out == 2);
    CHECK(resource.all_back());
}

#if CURFEW_RECYCLE_FRAMES
namespace {

task<> sleep_with_buffer(event& until) {
    std::array<std::byte, 2000> buffer{};
    co_await until.wait();
    static_cast<void>(buffer);
}

void have_a_peak(io_context& ctx) {
    event over;
    for (int i = 0; i < 3'000; ++i) ctx.spawn(sleep_with_buffer(over));
    ctx.poll();
    over.set();
    while (ctx.poll() > 0) {}
}

}  // namespace

TEST_CASE("after a peak a context that runs gives back what is idle") {
    std::thread([] {
        io_context ctx;
        have_a_peak(ctx);
        const auto peak = this_thread_frame_counters();
        CHECK(peak.bytes_live < 100'000);
        CHECK(peak.bytes_held > 2'000'000);  // of one size some thousand blocks are kept
        CHECK_FALSE(ctx.next_deadline());
        ctx.spawn([]() -> task<> { (void)co_await sleep_for(1h); }());
        while (this_thread_frame_counters().bytes_held > peak.bytes_held / 2) ctx.run_for(100ms);
        CHECK(this_thread_frame_counters().to_system > peak.to_system);
    }).join();
}

REACTOR_TEST("trim gives back all that waits at once") {
    std::thread([kind] {
        io_context ctx(kind);
        have_a_peak(ctx);
        const auto before = this_thread_frame_counters();
        CHECK(before.bytes_held > 2'000'000);
        ctx.trim();
        const auto after = this_thread_frame_counters();
        CHECK(after.bytes_held == after.bytes_live);
        CHECK(after.bytes_live == before.bytes_live);
        have_a_peak(ctx);  // nothing is amiss
    }).join();
    frame_pool pool;
    {
        io_context ctx(kind);
        ctx.frames(&pool);
        const frame_resource_scope use(&pool);
        have_a_peak(ctx);
        pool.trim();
        CHECK(pool.counters().bytes_held == pool.counters().bytes_live);
    }
}
#endif
