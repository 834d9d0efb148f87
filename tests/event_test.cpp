#include <curfew/event.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <curfew/curfew.hpp>

#include "support/foreign.hpp"
#include "support/loop.hpp"
#include "support/reactors.hpp"

using namespace curfew;
using namespace std::chrono_literals;
using test::act_when_limits_are_over;
using test::join;
using test::run;

namespace {

using ids = std::vector<int>;

/// Notes `id` when the event has let it pass, and `-id` when something else has ended the wait.
task<> pass(event& what, ids& log, int id) {
    const auto [ec] = co_await what.wait();
    log.push_back(ec ? -id : id);
}

task<std::error_code> wait_for(event& what) {
    const auto [ec] = co_await what.wait();
    co_return ec;
}

task<> note(ids& log, int id) {
    log.push_back(id);
    co_return;
}

}  // namespace

REACTOR_TEST("an event that is set lets pass at once, before anybody else runs") {
    io_context ctx(kind);
    event open;
    open.set();
    ids log;
    ctx.spawn([](event& what, ids& to) -> task<> {
        for (int i = 1; i <= 3; ++i) {
            co_await what.wait();
            to.push_back(i);
        }
    }(open, log));
    ctx.spawn(note(log, 4));
    ctx.run();
    CHECK(log == ids{1, 2, 3, 4});
}

REACTOR_TEST("set lets all who wait pass, in the order in which they came") {
    io_context ctx(kind);
    event open;
    ids log;
    for (int id = 1; id <= 5; ++id) ctx.spawn(pass(open, log, id));
    ctx.poll();
    CHECK(log.empty());
    open.set();
    CHECK(log.empty());  // nobody runs inside of set
    ctx.run();
    CHECK(log == ids{1, 2, 3, 4, 5});
}

REACTOR_TEST("an event stays set until it is reset, and then makes wait again") {
    io_context ctx(kind);
    event open;
    ids log;
    CHECK_FALSE(open.is_set());
    open.set();
    open.set();
    CHECK(open.is_set());
    ctx.spawn(pass(open, log, 1));
    ctx.poll();
    ctx.spawn(pass(open, log, 2));
    ctx.poll();
    CHECK(log == ids{1, 2});
    open.reset();
    CHECK_FALSE(open.is_set());
    ctx.spawn(pass(open, log, 3));
    ctx.poll();
    CHECK(log == ids{1, 2});
    open.set();
    ctx.run();
    CHECK(log == ids{1, 2, 3});
}

REACTOR_TEST("who waits when it is set passes, even if it is reset before their turn") {
    io_context ctx(kind);
    event open;
    ids log;
    for (int id = 1; id <= 3; ++id) ctx.spawn(pass(open, log, id));
    ctx.poll();
    open.set();
    open.reset();
    ctx.spawn(pass(open, log, 4));  // came too late
    ctx.poll();
    CHECK(log == ids{1, 2, 3});
    open.set();
    ctx.run();
    CHECK(log == ids{1, 2, 3, 4});
}

REACTOR_TEST("a limit on the wait says timed_out, and who has left no longer counts") {
    io_context ctx(kind);
    event open;
    ids log;
    ctx.spawn(pass(open, log, 1));
    auto limited = ctx.spawn([](event& what) -> task<std::error_code> {
        const auto before = curfew::clock::now();
        const auto [ec] = co_await with_timeout(what.wait(), 2ms);
        CHECK(curfew::clock::now() - before >= 2ms);
        co_return ec;
    }(open));
    ctx.spawn(pass(open, log, 2));
    while (!limited.done()) ctx.run_one();
    CHECK(log.empty());
    open.set();
    ctx.run();
    CHECK(log == ids{1, 2});
    ctx.block_on([](join_handle<std::error_code>& done) -> task<> {
        CHECK(co_await done == errc::timed_out);
    }(limited));
}

REACTOR_TEST("an event that was set before the loop looks at an expired limit lets pass") {
    io_context ctx(kind);
    event open;
    int tried = 0;
    for (int round = 0; round < 10; ++round) {
        open.reset();
        auto waiter = ctx.spawn([](event& what) -> task<std::error_code> {
            const auto [ec] = co_await with_timeout(what.wait(), 10ms);
            // The limit has expired, too; it is over, and cancels nothing more.
            const auto [after] = co_await yield();
            CHECK_FALSE(after);
            co_return ec;
        }(open));
        const bool acted = act_when_limits_are_over(ctx, 10ms, [&] { open.set(); });
        if (acted) CHECK_FALSE(waiter.done());
        const std::error_code ec = join(ctx, waiter);
        if (!acted) continue;
        ++tried;
        CHECK_FALSE(ec);
    }
    CHECK(tried > 0);
}

REACTOR_TEST("with no time at all a wait succeeds if the event is set, and else times out") {
    run(kind, [](io_context&) -> task<> {
        event open;
        for (const auto limit : {0ns, -1ns}) {
            CHECK((co_await with_timeout(open.wait(), limit)).error() == errc::timed_out);
            open.set();
            CHECK((co_await with_timeout(open.wait(), limit)).ok());
            open.reset();
        }
    });
}

REACTOR_TEST("in a cancelled scope a wait ends with canceled, even if the event is set") {
    io_context ctx(kind);
    event open, shut;
    open.set();
    std::vector<std::error_code> seen;
    auto handle = ctx.spawn([](event& a, event& b, std::vector<std::error_code>& to) -> task<> {
        to.push_back((co_await b.wait()).ec);
        to.push_back((co_await a.wait()).ec);
        to.push_back((co_await with_timeout(a.wait(), 1h)).ec);
        to.push_back((co_await shielded(a.wait())).ec);
    }(open, shut, seen));
    ctx.poll();
    handle.cancel();
    ctx.run();
    REQUIRE(seen.size() == 4);
    CHECK(seen[0] == errc::canceled);
    CHECK(seen[1] == errc::canceled);
    CHECK(seen[2] == errc::canceled);
    CHECK_FALSE(seen[3]);
}

REACTOR_TEST(
    "a wait that has been let pass is a success, also if it is cancelled before its turn") {
    io_context ctx(kind);
    event open;
    auto handle = ctx.spawn(wait_for(open));
    ctx.poll();
    open.set();
    handle.cancel();
    ctx.block_on([](join_handle<std::error_code>& done) -> task<> {
        const std::error_code ec = co_await done;
        CHECK_FALSE(ec);
    }(handle));
}

REACTOR_TEST("the limit that expired says timed_out, those inside it see canceled") {
    run(kind, [](io_context&) -> task<> {
        event never;
        std::error_code seen;
        auto inside = [&]() -> task<result<>> {
            seen = (co_await with_timeout(never.wait(), 1h)).ec;
            co_return seen;
        };
        CHECK((co_await with_timeout(inside(), 1ms)).error() == errc::timed_out);
        CHECK(seen == errc::canceled);
    });
}

REACTOR_TEST("who still waits when the event is destroyed is told closed") {
    io_context ctx(kind);
    auto doomed = std::make_unique<event>();
    std::vector<join_handle<std::error_code>> waiting;
    for (int i = 0; i < 3; ++i) waiting.push_back(ctx.spawn(wait_for(*doomed)));
    ctx.poll();
    doomed.reset();
    ctx.block_on([](std::vector<join_handle<std::error_code>>& all) -> task<> {
        for (auto& each : all) CHECK(co_await each == errc::closed);
    }(waiting));
}

REACTOR_TEST("who was let pass before the event was destroyed has passed") {
    io_context ctx(kind);
    auto doomed = std::make_unique<event>();
    ids log;
    ctx.spawn(pass(*doomed, log, 1));
    ctx.poll();
    doomed->set();
    doomed.reset();
    ctx.run();
    CHECK(log == ids{1});
}

REACTOR_TEST("a task that awaits a set event again and again starves nobody") {
    io_context ctx(kind);
    event open;
    open.set();
    bool enough = false;
    int passed = 0;
    ctx.spawn([](event& what, bool& end, int& count) -> task<> {
        while (!end && count < 1'000'000) {
            co_await what.wait();
            ++count;
        }
    }(open, enough, passed));
    ctx.spawn([](bool& end) -> task<> {
        for (int i = 0; i < 10; ++i) co_await yield();
        end = true;
    }(enough));
    ctx.run();
    CHECK(enough);
    CHECK(passed < 10'000);
}

REACTOR_TEST("a cancelled task that awaits an event again and again starves nobody") {
    io_context ctx(kind);
    event never;
    bool enough = false;
    int waits = 0;
    auto handle = ctx.spawn([](event& what, bool& end, int& count) -> task<> {
        while (!end && count < 1'000'000) {
            CHECK((co_await what.wait()).error() == errc::canceled);
            ++count;
        }
    }(never, enough, waits));
    handle.cancel();
    ctx.spawn([](bool& end) -> task<> {
        for (int i = 0; i < 10; ++i) co_await yield();
        end = true;
    }(enough));
    ctx.run();
    CHECK(enough);
    CHECK(waits < 10'000);
}

REACTOR_TEST("a request to wait can be kept and awaited several times") {
    run(kind, [](io_context& ctx) -> task<> {
        event open;
        const auto opened = open.wait();
        for (int i = 0; i < 3; ++i) {
            open.reset();
            ctx.post([&] { open.set(); });
            CHECK((co_await opened).ok());
        }
    });
}

REACTOR_TEST("a coroutine that is no task can wait for an event in the loop that runs it") {
    run(kind, [](io_context&) -> task<> {
        event open, done;
        [](event& first, event& last) -> test::detached {
            const auto [ec] = co_await first.wait();
            CHECK_FALSE(ec);
            last.set();
        }(open, done);
        co_await yield();
        CHECK_FALSE(done.is_set());
        open.set();
        CHECK((co_await with_timeout(done.wait(), 10s)).ok());
    });
}

REACTOR_TEST("who wakes others and waits for their answer meets them turn by turn") {
    run(kind, [](io_context&) -> task<> {
        event ping, pong;
        int heard = 0;
        auto asks = [&]() -> task<> {
            for (int i = 0; i < 100; ++i) {
                ping.set();
                co_await pong.wait();
                pong.reset();
            }
        };
        auto answers = [&]() -> task<> {
            for (int i = 0; i < 100; ++i) {
                co_await ping.wait();
                ping.reset();
                ++heard;
                pong.set();
            }
        };
        co_await when_all(asks(), answers());
        CHECK(heard == 100);
    });
}

// The end of waiting frames -----------------------------------------------------------------------

REACTOR_TEST("a frame that is destroyed while it waits leaves the event as if it had never come") {
    event open;
    ids log;
    {
        io_context ctx(kind);
        for (int id = 1; id <= 3; ++id) ctx.spawn(pass(open, log, id));
        ctx.poll();
    }
    open.set();
    CHECK(log.empty());
    open.reset();
    io_context ctx(kind);
    ctx.spawn(pass(open, log, 4));
    ctx.poll();
    open.set();
    ctx.run();
    CHECK(log == ids{4});
}

REACTOR_TEST("waiters that were let pass and had no turn go with their context") {
    event open;
    ids log;
    {
        io_context ctx(kind);
        for (int id = 1; id <= 3; ++id) ctx.spawn(pass(open, log, id));
        ctx.poll();
        open.set();
    }
    CHECK(log.empty());
}

REACTOR_TEST("an event in one branch that the other branch waits for goes with their context") {
    ids log;
    {
        io_context ctx(kind);
        ctx.spawn([](ids& to) -> task<> {
            event* made = nullptr;
            const auto makes = [](event*& out) -> task<> {
                event own;
                out = &own;
                co_await sleep_for(1h);
            };
            const auto waits = [](event*& in, ids& log_) -> task<> { co_await pass(*in, log_, 1); };
            co_await when_all(makes(made), waits(made, to));
        }(log));
        ctx.poll();
    }
    CHECK(log.empty());
}

REACTOR_TEST("a task that waits for an event declared after it goes with their context") {
    ids log;
    {
        io_context ctx(kind);
        ctx.spawn([](ids& to) -> task<> {
            task<> waits;
            event own;
            waits = pass(own, to, 1);
            co_await waits;
        }(log));
        ctx.poll();
    }
    CHECK(log.empty());
}

#if CURFEW_EXCEPTIONS

REACTOR_TEST("a waiter that a stopped block_on destroys leaves the others in their order") {
    io_context ctx(kind);
    event open;
    ids log;
    ctx.spawn(pass(open, log, 1));
    ctx.poll();
    ctx.post([&] {
        ctx.spawn(pass(open, log, 3));
        ctx.post([&] { ctx.stop(); });
    });
    CHECK_THROWS_AS(ctx.block_on(pass(open, log, 2)), std::system_error);
    ctx.poll();
    open.set();
    ctx.run();
    CHECK(log == ids{1, 3});
}

#endif
