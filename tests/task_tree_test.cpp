// io_context::tasks and io_context::dump: what a person sees who debugs a hung program.
#include <curfew/task_tree.hpp>

#include <doctest/doctest.h>

#include <array>
#include <memory>
#include <source_location>
#include <sstream>
#include <string>
#include <thread>

#include "support/loop.hpp"

using namespace test;
using condition = task_info::condition;

namespace {

using std::source_location;

constexpr std::uint_least32_t next_line(source_location here = source_location::current()) {
    return here.line() + 1;
}

task<> read_with_limits(tcp::socket& socket, std::uint_least32_t& line) {
    std::array<char, 16> buffer;
    auto read = with_timeout(socket.read_some(buffer), 30s);
    line = next_line();
    (void)co_await with_timeout(std::move(read), 1h, on_timeout::close);
}

task<> wait_for(event& what, std::uint_least32_t& line) {
    line = next_line();
    co_await what.wait();
}

task<> through(event& what, std::uint_least32_t& inner, std::uint_least32_t& outer) {
    outer = next_line();
    co_await wait_for(what, inner);
}

bool about(std::chrono::nanoseconds actual, std::chrono::nanoseconds expected) {
    return actual <= expected && actual > expected - 10s;
}

std::string text_of(io_context& ctx) {
    std::ostringstream text;
    ctx.dump(text);
    return text.str();
}

}  // namespace

REACTOR_TEST("a context without tasks has an empty tree") {
    io_context ctx(kind);
    CHECK(ctx.tasks().empty());
    CHECK(text_of(ctx) == std::string(to_string(kind)) + ": 0 tasks\n");
}

REACTOR_TEST("a task is starting, then waiting, then ready, and runs when it asks itself") {
    io_context ctx(kind);
    event never;
    std::uint_least32_t line = 0;
    ctx.spawn(wait_for(never, line));
    REQUIRE(ctx.tasks().size() == 1);
    CHECK(ctx.tasks()[0].state == condition::starting);
    CHECK(text_of(ctx).find("has not begun yet") != std::string::npos);
    ctx.poll();
    CHECK(ctx.tasks()[0].state == condition::waiting);
    CHECK(ctx.tasks()[0].waits_for == "event");
    never.set();
    CHECK(ctx.tasks()[0].state == condition::ready);
    ctx.poll();
    CHECK(ctx.tasks().empty());

    ctx.block_on([](io_context& own) -> task<> {
        const auto tasks = own.tasks();
        CHECK(tasks.size() == 1);
        CHECK(tasks[0].state == condition::running);
        CHECK(tasks[0].waits_for.empty());
        co_return;
    }(ctx));
}

namespace {

/// What a task says of itself that runs, having waited before.
void check_runs(io_context& ctx) {
    const auto tasks = ctx.tasks();
    REQUIRE(tasks.size() == 1);
    CHECK(tasks[0].state == condition::running);
    CHECK(tasks[0].waits_for.empty());
    CHECK(tasks[0].waiting == 0ns);
    CHECK(tasks[0].stack.empty());
}

}  // namespace

REACTOR_TEST("a task that has waited and goes on runs, whatever it has waited for") {
    run(kind, [](io_context& ctx) -> task<> {
        connection both = co_await connect(ctx);
        check_runs(ctx);
        {
            (void)co_await sleep_for(1ms);
            check_runs(ctx);
        }
        (void)co_await with_timeout(sleep_for(1h), 1ms);
        check_runs(ctx);
        co_await yield();
        check_runs(ctx);
        co_await when_all(yield(), sleep_for(1ms));
        check_runs(ctx);
        event set;
        ctx.post([&] { set.set(); });
        co_await set.wait();
        check_runs(ctx);
        std::array<char, 4> buffer;
        (void)co_await with_timeout(both.server.read_some(buffer), 1ms);
        check_runs(ctx);
        thread_promise<> promise;
        auto future = promise.get_future();
        std::thread other([&] { promise.set_value(); });
        (void)co_await future;
        check_runs(ctx);
        other.join();
    });
}

#if CURFEW_SOURCE_LOCATIONS
REACTOR_TEST("a task that has awaited another one is shown without it") {
    io_context ctx(kind);
    event first;
    event second;
    std::uint_least32_t inner = 0;
    std::uint_least32_t outer = 0;
    std::uint_least32_t later = 0;
    const auto goes_on = [](event& one, event& two, std::uint_least32_t& in,
                            std::uint_least32_t& out, std::uint_least32_t& last) -> task<> {
        co_await through(one, in, out);
        last = next_line();
        co_await two.wait();
    };
    ctx.spawn(goes_on(first, second, inner, outer, later));
    ctx.poll();
    REQUIRE(ctx.tasks().size() == 1);
    CHECK(ctx.tasks()[0].stack.size() == 3);
    first.set();
    ctx.poll();
    REQUIRE(ctx.tasks().size() == 1);
    REQUIRE(ctx.tasks()[0].stack.size() == 1);
    CHECK(ctx.tasks()[0].stack[0].line == later);
    second.set();
    ctx.run();
}
#endif

REACTOR_TEST("a read tells its peer, its limits from the inside out, and where it is awaited") {
    run(kind, [](io_context& ctx) -> task<> {
        connection both = co_await connect(ctx);
        std::uint_least32_t line = 0;
        auto reading = ctx.spawn(read_with_limits(both.server, line));
        co_await sleep_for(5ms);
        const auto tasks = ctx.tasks();
        REQUIRE(tasks.size() == 2);
        const task_info& read = tasks[1];
        CHECK(read.state == condition::waiting);
        CHECK(read.waits_for == "read");
        CHECK(read.peer == both.client.local_endpoint());
        CHECK(read.waiting >= 5ms);
        REQUIRE(read.limits.size() == 2);
        CHECK(about(read.limits[0].left, 30s));
        CHECK(read.limits[0].policy == on_timeout::cancel);
        CHECK(about(read.limits[1].left, 1h));
        CHECK(read.limits[1].policy == on_timeout::close);
        CHECK_FALSE(read.cancelled);
#if CURFEW_SOURCE_LOCATIONS
        REQUIRE(read.stack.size() == 1);
        CHECK(read.stack[0].file == source_location::current().file_name());
        CHECK(read.stack[0].line == line);
        CHECK(read.stack[0].function.find("read_with_limits") != std::string::npos);
#endif
        CHECK(text_of(ctx).find("- read " + both.client.local_endpoint().to_string() + ", for ") !=
              std::string::npos);
        reading.cancel();
        co_await reading;
    });
}

REACTOR_TEST("how long a task has waited does not include the time for which the loop was idle") {
    for (const bool limits : {false, true}) {
        io_context ctx(kind);
        event never;
        curfew::clock::time_point begun;
        ctx.spawn([](event& waits_for, bool limited) -> task<> {
            if (limited)
                (void)co_await with_timeout(waits_for.wait(), 1h);
            else
                co_await waits_for.wait();
        }(never, limits));
        std::thread other([&] {
            // The longer the loop is idle, the surer this is.
            std::this_thread::sleep_for(100ms);
            begun = curfew::clock::now();
            ctx.post([&] {
                ctx.spawn([](event& waits_for) -> task<> { co_await waits_for.wait(); }(never));
            });
            std::this_thread::sleep_for(5ms);
            ctx.post([&] { ctx.stop(); });
        });
        ctx.run();
        other.join();
        const auto tasks = ctx.tasks();
        REQUIRE(tasks.size() == 2);
        CHECK(tasks[0].waiting >= tasks[1].waiting);
        CHECK(tasks[1].waiting <= curfew::clock::now() - begun + 20ms);
        for (const auto& each : tasks) CHECK_FALSE(each.waiting_at_most);
    }
}

REACTOR_TEST("accept, connect and datagrams tell the address that matters") {
    run(kind, [](io_context& ctx) -> task<> {
        tcp::acceptor acceptor(ctx);
        acceptor.listen(any_port()).value();
        udp::socket datagrams(ctx);
        datagrams.bind(any_port()).value();
        task_group waiting;
        waiting.spawn(
            [](tcp::acceptor& from) -> task<> { (void)co_await from.accept(); }(acceptor));
        waiting.spawn([](udp::socket& from) -> task<> {
            std::array<char, 16> buffer;
            ip::endpoint sender;
            (void)co_await from.receive_from(buffer, sender);
        }(datagrams));
        co_await yield();
        const auto tasks = ctx.tasks();
        REQUIRE(tasks.size() == 1);
        REQUIRE(tasks[0].children.size() == 2);
        CHECK(tasks[0].children[0].waits_for == "accept");
        CHECK(tasks[0].children[0].peer == acceptor.local_endpoint());
        CHECK(tasks[0].children[1].waits_for == "receive_from");
        CHECK(tasks[0].children[1].peer == datagrams.local_endpoint());
        waiting.cancel();
        CHECK((co_await waiting.join()).ok());
    });
}

#if CURFEW_SOURCE_LOCATIONS
REACTOR_TEST("the stack names every task that awaits another, the innermost first") {
    io_context ctx(kind);
    event never;
    std::uint_least32_t inner = 0, outer = 0;
    ctx.spawn(through(never, inner, outer));
    ctx.poll();
    const auto tasks = ctx.tasks();
    REQUIRE(tasks.size() == 1);
    REQUIRE(tasks[0].stack.size() == 2);
    CHECK(tasks[0].stack[0].line == inner);
    CHECK(tasks[0].stack[0].function.find("wait_for") != std::string::npos);
    CHECK(tasks[0].stack[1].line == outer);
    CHECK(tasks[0].stack[1].function.find("through") != std::string::npos);
}
#endif

REACTOR_TEST("branches and children of groups stand under their task, the oldest first") {
    io_context ctx(kind);
    event never;
    std::uint_least32_t line = 0;
    channel<int> messages(0);
    semaphore none(0);
    ctx.spawn(
        [](event& what, channel<int>& from, semaphore& permits, std::uint_least32_t& at) -> task<> {
            task_group group;
            group.spawn(wait_for(what, at));
            co_await when_all(when_any(from.receive(), sleep_for(1h)), permits.acquire());
            (void)co_await group.join();
        }(never, messages, none, line));
    ctx.poll();
    ctx.poll();

    const auto tasks = ctx.tasks();
    REQUIRE(tasks.size() == 1);
    CHECK(tasks[0].waits_for == "when_all");
    REQUIRE(tasks[0].children.size() == 3);
    CHECK(tasks[0].children[0].waits_for == "event");
    CHECK(tasks[0].children[1].waits_for == "when_any");
    CHECK(tasks[0].children[2].waits_for == "semaphore");
    const auto& inner = tasks[0].children[1].children;
    REQUIRE(inner.size() == 2);
    CHECK(inner[0].waits_for == "receive from a channel");
    CHECK(inner[1].waits_for == "sleep");
    REQUIRE(inner[1].sleep_left);
    CHECK(about(*inner[1].sleep_left, 1h));
    CHECK(text_of(ctx).find(": 6 tasks\n- when_all") != std::string::npos);
}

REACTOR_TEST("limits on a game clock are told in its time, and what a shield keeps off is not") {
    io_context ctx(kind);
    event never;
    game_clock game;
    ctx.spawn([](event& what, game_clock& clock) -> task<> {
        co_await clock.with_timeout(shielded(clock.with_timeout(what.wait(), 10s)), 20s);
    }(never, game));
    ctx.spawn([](game_clock& clock) -> task<> { co_await clock.sleep_for(3s); }(game));
    ctx.poll();
    game.advance(1s);

    const auto tasks = ctx.tasks();
    REQUIRE(tasks.size() == 2);
    REQUIRE(tasks[0].limits.size() == 1);
    CHECK(tasks[0].limits[0].left == 9s);
    CHECK(tasks[0].limits[0].on_game_clock);
    CHECK(tasks[1].sleep_left == std::chrono::nanoseconds(2s));
}

REACTOR_TEST("a cancelled task that still waits in a shield says so once it is out of it") {
    io_context ctx(kind);
    event never, goodbye;
    auto handle = ctx.spawn([](event& what, event& last) -> task<> {
        co_await what.wait();
        co_await shielded(last.wait());
    }(never, goodbye));
    ctx.poll();
    handle.cancel();
    CHECK(ctx.tasks()[0].cancelled);
    CHECK(ctx.tasks()[0].state == condition::ready);
    ctx.poll();
    REQUIRE(ctx.tasks().size() == 1);
    CHECK_FALSE(ctx.tasks()[0].cancelled);  // where it waits now
    goodbye.set();
    ctx.poll();
    CHECK(ctx.tasks().empty());
}

REACTOR_TEST("a look at the tree disturbs no limit") {
    run(kind, [](io_context& ctx) -> task<> {
        connection both = co_await connect(ctx);
        auto look = [](io_context& own) -> task<> {
            for (int i = 0; i < 20; ++i) {
                CHECK_FALSE(own.tasks().empty());
                co_await sleep_for(1ms);
            }
        };
        std::array<char, 1> buffer;
        const auto before = clock::now();
        auto [looked, read] =
            co_await when_all(look(ctx), with_timeout(both.client.read_some(buffer), 10ms));
        CHECK(looked.ok());
        CHECK(read.ec == errc::timed_out);
        CHECK(clock::now() - before >= 20ms);
    });
}
