// No step of the library costs more than in proportion to what it does: each crowd here is handled
// once with n members and once with 10 n, and callgrind counts the instructions of both.
//
// `tools/bench --check` runs this program under callgrind, which leaves a profile for each part,
// named "what|n", and compares. Crowds are left in an order that suits nobody, neither first come,
// first gone nor the reverse: who looks for one of many in a list finds it in the middle.
//
// `--what NAME` does one of them (with `--count` members, and ten times as many), `--what list` names
// them.

#include "measure.hpp"

#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sys/resource.h>

#include <curfew/curfew.hpp>

using namespace curfew;
using namespace std::chrono_literals;

namespace {

using number = unsigned long;

void must(bool holds, const char* what) {
    if (!holds) bench::fail(what, "it did not do what it is counted for");
}

/// Where all records and frames come from: what an allocator does with many blocks is none of the
/// library's steps. Nothing is used twice, and all is given back at the end.
class single_use final : public frame_resource {
public:
    void* allocate(std::size_t bytes) override {
        bytes = (bytes + alignment - 1) / alignment * alignment;
        if (bytes > left_) {
            left_ = bytes > chunk_size ? bytes : chunk_size;
            chunks_.push_back(std::make_unique_for_overwrite<std::byte[]>(left_));
            next_ = chunks_.back().get();
        }
        left_ -= bytes;
        return std::exchange(next_, next_ + bytes);
    }
    void deallocate(void*, std::size_t) noexcept override {}

    void release() noexcept {
        chunks_.clear();
        left_ = 0;
    }

private:
    static constexpr std::size_t alignment = __STDCPP_DEFAULT_NEW_ALIGNMENT__;
    static constexpr std::size_t chunk_size = 1 << 20;
    std::vector<std::unique_ptr<std::byte[]>> chunks_;
    std::byte* next_ = nullptr;
    std::size_t left_ = 0;
} memory;

struct context : io_context {
    explicit context(reactor_kind kind = reactor_kind::epoll) : io_context(kind) {
        frames(&memory);
    }
};

/// What is counted of a part.
template <class Act>
void counted(Act act) {
    bench::begin_counting();
    act();
    bench::end_counting();
}

/// The i-th of `count` (which no multiple of 7919 is), each once, in that order.
number shuffled(number i, number count) { return i * 7919 % count; }

/// Until all that was begun waits.
void let_all_wait(io_context& ctx) {
    while (ctx.poll() > 0) {}
}

// Waits that are taken back, all in one turn ------------------------------------------------------

template <class Wait>
task<> wait_and_be_told(Wait& begin, number& told) {
    const auto ended = co_await begin();
    if (ended.ec == errc::canceled) ++told;
}

/// `wait()` waits for ever; `count` of them are cancelled, one after the other.
template <class Wait>
void take_back(number count, Wait wait) {
    context ctx;
    number canceled = 0;
    std::vector<join_handle<>> all;
    for (number i = 0; i < count; ++i)
        all.push_back(ctx.spawn(wait_and_be_told(wait, canceled)));
    let_all_wait(ctx);
    counted([&] {
        for (number i = 0; i < count; ++i) all[shuffled(i, count)].cancel();
        ctx.run();
    });
    must(canceled == count, "cancel");
}

void waits_in_an_event(number count) {
    event never;
    take_back(count, [&] { return never.wait(); });
}

void waits_to_receive(number count) {
    channel<int> empty(1);
    take_back(count, [&] { return empty.receive(); });
}

void waits_to_send(number count) {
    channel<int> full(0);
    take_back(count, [&] { return full.send(1); });
}

void waits_for_a_permit(number count) {
    semaphore none(0);
    take_back(count, [&] { return none.acquire(); });
}

void sleeps(number count) {
    take_back(count, [length = 3'600'000ms]() mutable { return sleep_for(length += 1ms); });
}

void limited_waits(number count) {
    event never;
    take_back(count, [&] { return with_timeout(never.wait(), 1h); });
}

// What comes from other threads -------------------------------------------------------------------

#if defined(__cpp_lib_jthread)
/// `too` : in the turn in which the stop is requested, all of them also get what they wait for.
void stop_tokens(number count, bool too) {
    context ctx;
    event happens;
    std::stop_source source;
    number ended = 0;
    for (number i = 0; i < count; ++i)
        ctx.spawn([](event& e, std::stop_token token, number& told) -> task<> {
            (void)co_await cancel_on(e.wait(), std::move(token));
            ++told;
        }(happens, source.get_token(), ended));
    let_all_wait(ctx);
    counted([&] {
        if (too) happens.set();
        source.request_stop();
        ctx.run();
    });
    must(ended == count, "stop_token");
}

void stops(number count) { stop_tokens(count, false); }
void stops_that_come_too_late(number count) { stop_tokens(count, true); }
#endif

void promises_that_nobody_hears(number count) {
    std::optional<context> ctx;
    ctx.emplace();
    std::vector<thread_promise<int>> promises(count);
    for (thread_promise<int>& each : promises)
        ctx->spawn([](thread_future<int> future) -> task<> {
            (void)co_await future;
        }(each.get_future()));
    let_all_wait(*ctx);
    counted([&] {
        for (number i = 0; i < count; ++i) promises[shuffled(i, count)].set_value(1);
        ctx.reset();
    });
}

// Trees of fibers ---------------------------------------------------------------------------------

task<> branching(number count) {
    task_group inside;
    for (number i = 1; i < count; ++i)
        inside.spawn([]() -> task<> { (void)co_await sleep_for(1h); }());
    (void)co_await inside.join();
}

void destroyed_trees(number count) {
    std::optional<context> ctx;
    ctx.emplace();
    for (number i = 0; i < count; i += 10) ctx->spawn(branching(10));
    let_all_wait(*ctx);
    counted([&] { ctx.reset(); });
}

void destroyed_crowd(number count) {
    std::optional<context> ctx;
    ctx.emplace();
    ctx->spawn(branching(count));
    let_all_wait(*ctx);
    counted([&] { ctx.reset(); });
}

task<result<>> chain(number length, number& ended) {
    result<> told;
    if (length > 1)
        told = co_await with_timeout(chain(length - 1, ended), 1h);
    else
        told = co_await sleep_for(1h);
    ++ended;
    co_return told;
}

void destroyed_chain(number count) {
    std::optional<context> ctx;
    ctx.emplace();
    number ended = 0;
    ctx->spawn(chain(count, ended));
    let_all_wait(*ctx);
    counted([&] { ctx.reset(); });
    must(ended == 0, "destroy");
}

void cancelled_chain(number count) {
    context ctx;
    number ended = 0;
    auto top = ctx.spawn(chain(count, ended));
    let_all_wait(ctx);
    counted([&] {
        top.cancel();
        ctx.run();
    });
    must(ended == count, "cancel");
}

/// As `chain`; but each link, too, waits for something, and is told that it is cancelled.
task<> noticing_chain(number length, number& told) {
    if (length > 1) {
        task<> next = noticing_chain(length - 1, told);
        const result<> ended = co_await with_timeout(std::move(next), 1h);
        must(ended.ec == errc::canceled, "cancel");
    }
    const auto [ec] = co_await sleep_for(1h);
    if (ec == errc::canceled) ++told;
}

void cancelled_chain_that_notices(number count) {
    context ctx;
    number told = 0;
    auto top = ctx.spawn(noticing_chain(count, told));
    let_all_wait(ctx);
    counted([&] {
        top.cancel();
        ctx.run();
    });
    must(told == count, "cancel");
}

void failing_children(number count) {
    context ctx;
    event fails;
    const auto all = [](event& e, number children) -> task<result<>> {
        task_group group;
        for (number i = 0; i < children; ++i)
            group.spawn([](event& each) -> task<result<>> {
                (void)co_await each.wait();
                co_return std::make_error_code(std::errc::io_error);
            }(e));
        co_return co_await group.join();
    };
    auto joined = ctx.spawn(all(fails, count));
    let_all_wait(ctx);
    counted([&] {
        fails.set();
        ctx.run();
    });
    must(ctx.block_on([](join_handle<result<>>& h) -> task<bool> {
        co_return (co_await h).error() == std::errc::io_error;
    }(joined)), "group");
}

void spawned_and_ended(number count) {
    context ctx;
    number ended = 0;
    counted([&] {
        for (number i = 0; i < count; ++i)
            ctx.spawn([](number& n) -> task<> {
                co_await yield();
                ++n;
            }(ended));
        ctx.run();
    });
    must(ended == count, "spawn");
}

void posted_functions(number count) {
    context ctx;
    number called = 0;
    counted([&] {
        for (number i = 0; i < count; ++i) ctx.post([&] { ++called; });
        ctx.run();
    });
    must(called == count, "post");
}

void yields(number count) {
    context ctx;
    for (number i = 0; i < count; ++i)
        ctx.spawn([]() -> task<> {
            for (int k = 0; k < 10; ++k) co_await yield();
        }());
    counted([&] { ctx.run(); });
}

void branches_of_when_any(number count) {
    context ctx;
    event never, happens;
    std::vector<task<result<>>> branches;
    for (number i = 0; i < count; ++i)
        branches.push_back([](event& e) -> task<result<>> {
            co_return co_await e.wait();
        }(i == count / 2 ? happens : never));
    number first = 0;
    ctx.spawn([](std::vector<task<result<>>> all, number& index) -> task<> {
        auto [which, results] = co_await when_any(std::move(all));
        index = which;
    }(std::move(branches), first));
    let_all_wait(ctx);
    counted([&] {
        happens.set();
        ctx.run();
    });
    must(first == count / 2, "when_any");
}

void pictures(number count) {
    context ctx;
    for (number i = 0; i < count; i += 10) ctx.spawn(branching(10));
    let_all_wait(ctx);
    std::vector<task_info> all;
    counted([&] { all = ctx.tasks(); });
    must(all.size() == (count + 9) / 10, "tasks");
}

// Limits ------------------------------------------------------------------------------------------

void limits_of_one_instant(number count) {
    context ctx;
    event never;
    number expired = 0;
    for (number i = 0; i < count; ++i)
        ctx.spawn([](event& e, clock::time_point end, number& told) -> task<> {
            const auto [ec] = co_await with_deadline(e.wait(), end);
            if (ec == errc::timed_out) ++told;
        }(never, clock::now() + 1s, expired));
    let_all_wait(ctx);
    counted([&] { ctx.run(); });
    must(expired == count, "limits");
}

struct marker : detail::timer_node {
    static inline number expired_count = 0;
    marker()
        : timer_node([](timer_node&, detail::limit_report* asked) noexcept {
              if (!asked) ++expired_count;
          }) {}
};

/// `deadline(i)` in nanoseconds from now; half of them are disarmed before their time. The wheel is
/// moved on a millisecond at a time.
template <class Deadline>
void through_the_wheel(number count, Deadline deadline) {
    std::vector<marker> nodes(count);
    marker::expired_count = 0;
    counted([&] {
        detail::timer_wheel wheel(0);
        for (number i = 0; i < count; ++i) {
            nodes[i].deadline = deadline(i);
            wheel.arm(nodes[i]);
        }
        for (number i = 0; i < count; i += 2) nodes[i].disarm();
        for (detail::ticks now = 0; now <= 2'000'000'000; now += 1'000'000) wheel.expire(now);
    });
    must(marker::expired_count == count / 2, "wheel");
}

void wheel_of_one_instant(number count) {
    through_the_wheel(count, [](number) { return 1'500'000'000; });
}
void wheel_of_one_slot(number count) {
    through_the_wheel(count, [&](number i) {
        return 1'500'000'000 + static_cast<detail::ticks>(shuffled(i, count));
    });
}
void wheel_of_many_slots(number count) {
    through_the_wheel(count, [&](number i) {
        return static_cast<detail::ticks>(1'900'000'000 / count * shuffled(i, count));
    });
}

// Sockets -----------------------------------------------------------------------------------------

std::vector<udp::socket> bound_sockets(io_context& ctx, number count) {
    std::vector<udp::socket> all;
    for (number i = 0; i < count; ++i) {
        all.emplace_back(ctx);
        all.back().bind({ip::address::loopback_v4(), 0}).value();
    }
    return all;
}

task<> receive_one(udp::socket& from, std::error_code expected, number& told) {
    std::array<char, 16> buffer;
    ip::endpoint sender;
    const auto [ec, size] = co_await from.receive_from(buffer, sender);
    if (ec == expected) ++told;
}

template <reactor_kind Kind>
struct on {
    /// Closed in one turn, while somebody waits for each, from the highest descriptor on.
    static void closed(number count) {
        context ctx(Kind);
        auto all = bound_sockets(ctx, count);
        number told = 0;
        for (udp::socket& each : all) ctx.spawn(receive_one(each, errc::closed, told));
        let_all_wait(ctx);
        counted([&] {
            for (number i = count; i-- > 0;) all[i].close();
            ctx.run();
        });
        must(told == count, "close");
    }

    /// The same in no order, by cancellations, and opened again.
    static void cancelled(number count) {
        context ctx(Kind);
        auto all = bound_sockets(ctx, count);
        number told = 0;
        for (udp::socket& each : all) ctx.spawn(receive_one(each, errc::canceled, told));
        let_all_wait(ctx);
        counted([&] {
            for (number i = 0; i < count; ++i) all[shuffled(i, count)].cancel();
            ctx.run();
        });
        must(told == count, "cancel");
    }

    /// With their context, and whoever waits for them.
    static void destroyed(number count) {
        std::optional<context> ctx;
        ctx.emplace(Kind);
        auto all = bound_sockets(*ctx, count);
        number told = 0;
        for (udp::socket& each : all) ctx->spawn(receive_one(each, {}, told));
        let_all_wait(*ctx);
        counted([&] { ctx.reset(); });
        must(told == 0, "destroy");
    }

    /// There is something for each of them at once.
    static void ready(number count) {
        context ctx(Kind);
        auto all = bound_sockets(ctx, count);
        number told = 0;
        for (udp::socket& each : all) ctx.spawn(receive_one(each, {}, told));
        let_all_wait(ctx);
        context other;  // whose runs resume none of them
        udp::socket sender(other);
        for (udp::socket& each : all)
            other.block_on(sender.send_to("x", each.local_endpoint())).value();
        counted([&] { ctx.run(); });
        must(told == count, "receive");
    }

    /// Limits of one instant that close them.
    static void limited(number count) {
        context ctx(Kind);
        auto all = bound_sockets(ctx, count);
        number told = 0;
        for (udp::socket& each : all)
            ctx.spawn([](udp::socket& from, clock::time_point end, number& n) -> task<> {
                std::array<char, 16> buffer;
                ip::endpoint sender;
                auto [ec, size] = co_await with_deadline(from.receive_from(buffer, sender), end,
                                                         on_timeout::close);
                if (ec == errc::timed_out) ++n;
            }(each, clock::now() + 1s, told));
        let_all_wait(ctx);
        counted([&] { ctx.run(); });
        must(told == count, "limits");
    }
};

struct subject {
    std::string name;
    number count;  // n; and then ten times as many
    void (*handle)(number count);
};

constexpr number some = 600;  // not too few to show what is squared

std::vector<subject> subjects() {
    std::vector<subject> all{
        {"waits in an event, taken back", some, &waits_in_an_event},
        {"receives from a channel, taken back", some, &waits_to_receive},
        {"sends to a channel, taken back", some, &waits_to_send},
        {"waits for a permit, taken back", some, &waits_for_a_permit},
        {"sleeps, taken back", some, &sleeps},
        {"limited waits, taken back", some, &limited_waits},
#if defined(__cpp_lib_jthread)
        {"stop tokens", some, &stops},
        {"stop tokens that come too late", some, &stops_that_come_too_late},
#endif
        {"promises that nobody hears", some, &promises_that_nobody_hears},
        {"trees that are destroyed", some, &destroyed_trees},
        {"a crowd that is destroyed", some, &destroyed_crowd},
        {"a chain that is destroyed", some, &destroyed_chain},
        {"a chain that is cancelled", some, &cancelled_chain},
        {"a chain that notices each for itself", some, &cancelled_chain_that_notices},
        {"children that all fail", some, &failing_children},
        {"tasks that are spawned and end", some, &spawned_and_ended},
        {"functions that are posted", some, &posted_functions},
        {"tasks that yield", some, &yields},
        {"branches of when_any", some, &branches_of_when_any},
        {"the picture of a tree", some, &pictures},
        {"limits of one instant", some, &limits_of_one_instant},
        {"the wheel, one instant", 10 * some, &wheel_of_one_instant},
        {"the wheel, one slot", 10 * some, &wheel_of_one_slot},
        {"the wheel, many slots", 10 * some, &wheel_of_many_slots},
    };
    const auto add = [&]<reactor_kind Kind>(on<Kind>, number count) {
        const std::string name = " on " + std::string(to_string(Kind));
        all.push_back({"sockets, closed" + name, count, &on<Kind>::closed});
        all.push_back({"sockets, cancelled" + name, count, &on<Kind>::cancelled});
        all.push_back({"sockets, destroyed" + name, count, &on<Kind>::destroyed});
        // With these two a look at the system costs in proportion to the sockets, and there is one
        // for each slice of what is ready, or of the limits.
        if (Kind == reactor_kind::select || Kind == reactor_kind::poll) return;
        all.push_back({"sockets, ready" + name, count, &on<Kind>::ready});
        all.push_back({"sockets, limited" + name, count, &on<Kind>::limited});
    };
    add(on<reactor_kind::epoll>(), 300);
    add(on<reactor_kind::poll>(), 300);
    add(on<reactor_kind::select>(), 90);  // which watches descriptors below 1024
    if (!detail::make_reactor(reactor_kind::io_uring).error)  // a sandbox may not permit it
        add(on<reactor_kind::io_uring>(), 300);
    return all;
}

/// Leaves a profile of what was counted since the last one.
void name_profile([[maybe_unused]] const std::string& name) {
#if defined(CALLGRIND_DUMP_STATS_AT)
    CALLGRIND_DUMP_STATS_AT(name.c_str());
#endif
}

}  // namespace

int main(int argc, char** argv) {
    const bench::arguments arguments(argc, argv, {"--what", "--count"});
    const std::string_view wanted = arguments.text("--what", "all");
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    bool found = false;
    for (subject each : subjects()) {
        if (wanted == "list") std::printf("%s\n", each.name.c_str());
        if (wanted != "all" && wanted != each.name) continue;
        found = true;
        each.count = arguments.number("--count", each.count);
        for (const number count : {each.count, 10 * each.count}) {
            {
                const frame_resource_scope use(&memory);
                each.handle(count);
            }
            memory.release();
            name_profile(each.name + "|" + std::to_string(count));
        }
    }
    if (!found && wanted != "list") bench::fail("--what", "no such choice");
}
