#include <curfew/sleep.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <curfew/curfew.hpp>

#include "support/fatal.hpp"
#include "support/foreign.hpp"
#include "support/reactors.hpp"

using namespace curfew;
using namespace std::chrono_literals;
using test::detached;
using time_point = curfew::clock::time_point;

namespace {

using events = std::vector<int>;

task<> sleep_and_note(time_point until, events& log, int id) {
    (void)co_await sleep_until(until);
    log.push_back(id);
}

}  // namespace

// Sleeping ----------------------------------------------------------------------------------------

REACTOR_TEST("a sleep is never shorter than asked for") {
    io_context ctx(kind);
    for (const auto length : {0us, 1us, 100us, 1'000us, 3'333us}) {
        CAPTURE(length.count());
        const auto before = curfew::clock::now();
        const auto [ec] = ctx.block_on([](std::chrono::microseconds d) -> task<result<>> {
            co_return co_await sleep_for(d);
        }(length));
        CHECK_FALSE(ec);
        CHECK(curfew::clock::now() - before >= length);
    }
}

REACTOR_TEST("a sleep until a point in time ends at it or after it") {
    io_context ctx(kind);
    const auto until = curfew::clock::now() + 3ms;
    ctx.block_on([](time_point end) -> task<> {
        const auto [ec] = co_await sleep_until(end);
        CHECK_FALSE(ec);
    }(until));
    CHECK(curfew::clock::now() >= until);
}

REACTOR_TEST("sleeps end in the order of their deadlines, in whatever order they begin") {
    io_context ctx(kind);
    events log;
    const auto now = curfew::clock::now();
    ctx.spawn(sleep_and_note(now + 3ms, log, 3));
    ctx.spawn(sleep_and_note(now + 1ms, log, 1));
    ctx.spawn(sleep_and_note(now + 5ms, log, 5));
    ctx.spawn(sleep_and_note(now + 2ms, log, 2));
    ctx.spawn(sleep_and_note(now + 4ms, log, 4));
    ctx.run();
    CHECK(log == events{1, 2, 3, 4, 5});
}

REACTOR_TEST("ten thousand sleeps end in the order of their deadlines") {
    const unsigned seed = std::random_device()();
    CAPTURE(seed);
    std::mt19937 random(seed);
    io_context ctx(kind);
    events log, expected;
    for (int i = 0; i < 10'000; ++i) expected.push_back(i);
    events shuffled = expected;
    std::shuffle(shuffled.begin(), shuffled.end(), random);
    const auto now = curfew::clock::now();
    for (const int id : shuffled) ctx.spawn(sleep_and_note(now + id * 1us, log, id));
    ctx.poll();  // all begin before the loop looks at any deadline
    ctx.run();
    CHECK(log == expected);
}

REACTOR_TEST("sleeps that expire together end in the order of their deadlines") {
    io_context ctx(kind);
    events log;
    const auto past = curfew::clock::now() - 1s;
    for (const int id : {2, 0, 3, 1}) ctx.spawn(sleep_and_note(past + id * 1ns, log, id));
    ctx.run();
    CHECK(log == events{0, 1, 2, 3});
}

REACTOR_TEST("sleeps of one length that begin one after the other end in that order") {
    io_context ctx(kind);
    events log;
    const auto work = [](events& to, int id) -> task<> {
        (void)co_await sleep_for(2ms);
        to.push_back(id);
    };
    for (int i = 0; i < 5; ++i) ctx.spawn(work(log, i));
    ctx.run();
    CHECK(log == events{0, 1, 2, 3, 4});
}

REACTOR_TEST("a sleep of nothing, or less, or until the past, lets the others go first") {
    io_context ctx(kind);
    events log;
    const auto sleeps = [](events& to, int id, auto sleep) -> task<> {
        const auto [ec] = co_await sleep;
        CHECK_FALSE(ec);
        to.push_back(id);
    };
    const auto notes = [](events& to) -> task<> {
        to.push_back(0);
        co_return;
    };
    ctx.spawn(sleeps(log, 1, sleep_for(0s)));
    ctx.spawn(sleeps(log, 1, sleep_for(-1h)));
    ctx.spawn(sleeps(log, 1, sleep_until(time_point::min())));
    ctx.spawn(sleeps(log, 1, sleep_until(curfew::clock::now() - 1ns)));
    ctx.spawn(notes(log));
    ctx.run();
    CHECK(log == events{0, 1, 1, 1, 1});
}

REACTOR_TEST("a sleep without an end has no deadline in this century, and can be cancelled") {
    io_context ctx(kind);
    const auto work = [](auto sleep) -> task<std::error_code> {
        const auto [ec] = co_await sleep;
        co_return ec;
    };
    ctx.block_on([&](io_context& own) -> task<> {
        auto until = own.spawn(work(sleep_until(time_point::max())));
        for (int i = 0; i < 3; ++i) co_await yield();
        CHECK_FALSE(own.next_deadline());
        auto hours = own.spawn(work(sleep_for(std::chrono::hours::max())));
        auto seconds = own.spawn(work(sleep_for(std::chrono::seconds::max())));
        for (int i = 0; i < 3; ++i) co_await yield();
        if (const auto deadline = own.next_deadline())
            CHECK(*deadline - curfew::clock::now() > std::chrono::years(100));
        for (auto* each : {&hours, &seconds, &until}) {
            CHECK_FALSE(each->done());
            each->cancel();
            CHECK(co_await *each == errc::canceled);
        }
    }(ctx));
}

REACTOR_TEST("a cancelled sleep ends with canceled and leaves no deadline behind") {
    io_context ctx(kind);
    ctx.block_on([](io_context& own) -> task<> {
        auto handle = own.spawn([]() -> task<std::error_code> {
            const auto [ec] = co_await sleep_for(1h);
            co_return ec;
        }());
        co_await yield();
        CHECK(own.next_deadline());
        handle.cancel();
        CHECK_FALSE(own.next_deadline());
        CHECK(co_await handle == errc::canceled);
    }(ctx));
}

REACTOR_TEST("a sleep in a cancelled task ends at once, before anybody else runs") {
    io_context ctx(kind);
    events log;
    const auto cancelled = [](events& to) -> task<> {
        for (int i = 0; i < 3; ++i) {
            const auto [ec] = co_await sleep_for(1h);
            CHECK(ec == errc::canceled);
            to.push_back(1);
        }
    };
    auto handle = ctx.spawn(cancelled(log));
    handle.cancel();
    ctx.spawn([](events& to) -> task<> {
        to.push_back(2);
        co_return;
    }(log));
    ctx.run();
    CHECK(log == events{1, 1, 1, 2});
}

REACTOR_TEST("a cancelled task that sleeps in a loop starves nobody") {
    io_context ctx(kind);
    bool enough = false;
    int sleeps = 0;
    const auto stubborn = [](bool& end, int& count) -> task<> {
        while (!end && count < 1'000'000) {
            (void)co_await sleep_for(1h);
            ++count;
        }
    };
    auto handle = ctx.spawn(stubborn(enough, sleeps));
    handle.cancel();
    ctx.spawn([](bool& end) -> task<> {
        for (int i = 0; i < 10; ++i) co_await yield();
        end = true;
    }(enough));
    ctx.run();
    CHECK(enough);
    CHECK(sleeps < 10'000);
}

REACTOR_TEST("a sleep request can be kept and awaited several times") {
    io_context ctx(kind);
    ctx.block_on([]() -> task<> {
        const auto nap = sleep_for(100us);
        for (int i = 0; i < 3; ++i) {
            const auto before = curfew::clock::now();
            const auto [ec] = co_await nap;
            CHECK_FALSE(ec);
            CHECK(curfew::clock::now() - before >= 100us);
        }
    }());
}

REACTOR_TEST("a coroutine that is no task can sleep in the loop that runs it") {
    io_context ctx(kind);
    events log;
    const auto foreign = [](events& to) -> detached {
        const auto [ec] = co_await sleep_for(100us);
        to.push_back(ec ? -1 : 2);
        co_await yield();
        to.push_back(3);
    };
    ctx.block_on([&](events& to) -> task<> {
        foreign(to);
        to.push_back(1);
        while (to.back() != 3) (void)co_await sleep_for(100us);
    }(log));
    CHECK(log == events{1, 2, 3});
}

// Yielding ----------------------------------------------------------------------------------------

REACTOR_TEST("tasks that yield take turns") {
    io_context ctx(kind);
    events log;
    const auto work = [](events& to, int id) -> task<> {
        for (int i = 0; i < 3; ++i) {
            to.push_back(id);
            co_await yield();
        }
    };
    ctx.spawn(work(log, 1));
    ctx.spawn(work(log, 2));
    ctx.spawn(work(log, 3));
    ctx.run();
    CHECK(log == events{1, 2, 3, 1, 2, 3, 1, 2, 3});
}

REACTOR_TEST("a yield lets everything that is ready go first") {
    io_context ctx(kind);
    events log;
    ctx.block_on([](io_context& own, events& to) -> task<> {
        own.post([&] {
            to.push_back(1);
            own.post([&] { to.push_back(2); });  // ready before the task's next turn
        });
        co_await yield();
        to.push_back(3);
    }(ctx, log));
    CHECK(log == events{1, 2, 3});
}

REACTOR_TEST("with poll, a yield ends the slice") {
    io_context ctx(kind);
    int steps = 0;
    ctx.spawn([](int& count) -> task<> {
        for (;;) {
            ++count;
            co_await yield();
        }
    }(steps));
    for (int i = 1; i <= 5; ++i) {
        CHECK(ctx.poll() == 1);
        CHECK(steps == i);
    }
}

REACTOR_TEST("a task that yields for ever lets sleeps end") {
    io_context ctx(kind);
    bool awake = false;
    const auto spins = [](bool& end) -> task<> {
        while (!end) co_await yield();
    };
    const auto sleeps = [](bool& end) -> task<> {
        (void)co_await sleep_for(1ms);
        end = true;
    };
    ctx.spawn(spins(awake));
    ctx.spawn(sleeps(awake));
    ctx.run();
    CHECK(awake);
}

REACTOR_TEST("a yield in a cancelled task says canceled, at once") {
    io_context ctx(kind);
    events log;
    auto handle = ctx.spawn([](events& to) -> task<> {
        const auto [ec] = co_await yield();
        CHECK(ec == errc::canceled);
        to.push_back(1);
    }(log));
    handle.cancel();
    ctx.spawn([](events& to) -> task<> {
        to.push_back(2);
        co_return;
    }(log));
    ctx.run();
    CHECK(log == events{1, 2});
}

REACTOR_TEST(
    "a yield that is not cut short is a success, also if the task is cancelled meanwhile") {
    io_context ctx(kind);
    ctx.block_on([](io_context& own) -> task<> {
        auto handle = own.spawn([]() -> task<std::error_code> {
            const auto [ec] = co_await yield();
            co_return ec;
        }());
        co_await yield();
        handle.cancel();
        const std::error_code ec = co_await handle;
        CHECK_FALSE(ec);
    }(ctx));
}

// The next tick -----------------------------------------------------------------------------------

REACTOR_TEST("next_tick resumes in the next poll, and once a poll") {
    io_context ctx(kind);
    int ticks = 0;
    ctx.spawn([](int& count) -> task<> {
        for (;;) {
            const auto [ec] = co_await next_tick();
            CHECK_FALSE(ec);
            ++count;
        }
    }(ticks));
    ctx.poll();
    CHECK(ticks == 0);
    for (int i = 1; i <= 5; ++i) {
        CHECK(ctx.poll() == 1);
        CHECK(ticks == i);
    }
}

REACTOR_TEST("next_tick resumes in the next poll_for, and never twice in one, unlike yield") {
    io_context ctx(kind);
    int ticks = 0;
    int yields = 0;
    ctx.spawn([](int& count) -> task<> {
        for (;;) {
            co_await next_tick();
            ++count;
        }
    }(ticks));
    ctx.poll();
    for (int i = 1; i <= 5; ++i) {
        ctx.spawn([](int& count) -> task<> {  // makes the loop look again and again
            for (int n = 0; n < 10; ++n) {
                co_await yield();
                ++count;
            }
        }(yields));
        ctx.poll_for(10s);
        CHECK(ticks == i);
        CHECK(yields == 10 * i);
    }
}

REACTOR_TEST("tasks that wait for the tick go on in the order in which they came") {
    io_context ctx(kind);
    events log;
    const auto work = [](events& to, int id) -> task<> {
        for (int i = 0; i < 2; ++i) {
            co_await next_tick();
            to.push_back(id);
        }
    };
    for (int id = 1; id <= 3; ++id) ctx.spawn(work(log, id));
    ctx.poll();
    ctx.poll_for(1s);
    CHECK(log == events{1, 2, 3});
    ctx.poll();
    CHECK(log == events{1, 2, 3, 1, 2, 3});
}

REACTOR_TEST("a tick that finds the budget spent is not lost") {
    io_context ctx(kind);
    events log;
    ctx.spawn([](events& to) -> task<> {
        co_await next_tick();
        to.push_back(1);
    }(log));
    ctx.poll();
    CHECK(ctx.poll_for(0s) == 0);
    CHECK(log.empty());
    ctx.poll_for(10s);
    CHECK(log == events{1});
}

REACTOR_TEST("run and its kind tick nothing: they last, and who waits for a tick is left waiting") {
    io_context ctx(kind);
    int ticks = 0;
    ctx.spawn([](int& count) -> task<> {
        for (;;) {
            if (auto [ec] = co_await next_tick(); ec) co_return;
            ++count;
        }
    }(ticks));
    ctx.poll();
    const auto begin = curfew::clock::now();
    CHECK(ctx.run_for(10ms) == 0);
    CHECK(ctx.run_until(begin + 20ms) == 0);
    CHECK(curfew::clock::now() >= begin + 20ms);
    ctx.block_on([]() -> task<> { (void)co_await sleep_for(1ms); }());
    ctx.spawn([]() -> task<> { (void)co_await sleep_for(1ms); }());
    CHECK(ctx.run_one() == 1);  // begins
    CHECK(ctx.run_one() == 1);  // has slept
    ctx.post([&] { ctx.stop(); });
    CHECK(ctx.run() == 1);
    CHECK(ticks == 0);
    ctx.poll();
    CHECK(ticks == 1);
}

REACTOR_TEST("who is cancelled while waiting for the tick is told so without one") {
    io_context ctx(kind);
    std::vector<std::error_code> seen;
    auto handle = ctx.spawn([](std::vector<std::error_code>& to) -> task<> {
        for (int i = 0; i < 3; ++i) {
            const auto [ec] = co_await next_tick();
            to.push_back(ec);
        }
    }(seen));
    ctx.poll();
    ctx.poll();
    REQUIRE(seen.size() == 1);
    CHECK_FALSE(seen[0]);
    handle.cancel();
    CHECK(seen.size() == 1);
    ctx.run();
    REQUIRE(seen.size() == 3);
    CHECK(seen[1] == errc::canceled);
    CHECK(seen[2] == errc::canceled);
    CHECK(handle.done());
}

REACTOR_TEST("of many who wait for the tick some may be cancelled; the others keep their order") {
    io_context ctx(kind);
    events log;
    std::vector<join_handle<>> all;
    for (int id = 0; id < 100; ++id)
        all.push_back(ctx.spawn([](events& to, int own) -> task<> {
            const auto [ec] = co_await next_tick();
            to.push_back(ec ? -own : own);
        }(log, id)));
    ctx.poll();
    events expected;
    for (int id = 99; id > 0; id -= 2) {
        all[static_cast<std::size_t>(id)].cancel();
        expected.push_back(-id);
    }
    ctx.run_for(0s);
    CHECK(log == expected);
    for (int id = 0; id < 100; id += 2) expected.push_back(id);
    ctx.poll();
    CHECK(log == expected);
}

#if TEST_CAN_DIE
namespace {

task<> wait_for_tick() { co_await next_tick(); }

task<> join_it(join_handle<>& joined) { co_await joined; }

task<> wait_for_branches() { co_await when_all(wait_for_tick(), wait_for_tick()); }

/// For those who wait for a tick, in all ways there are.
task<> wait_for_waiting(io_context& ctx) {
    auto handle = ctx.spawn(wait_for_tick());
    task_group group;
    group.spawn(wait_for_branches());
    co_await when_any(wait_for_tick(), join_it(handle));
    co_await group.join();
}

}  // namespace

REACTOR_TEST("run with tasks that all wait for a tick says so and ends the program") {
    const auto dies = [&](auto begin) {
        const auto end = test::death_of([&] {
            io_context ctx(kind);
            begin(ctx);
        });
        CHECK(end.signal == SIGABRT);
        CHECK(end.said.starts_with("curfew: all tasks wait for a tick, and run() has none"));
    };
    dies([](io_context& ctx) { ctx.spawn(wait_for_tick()), ctx.run(); });
    dies([](io_context& ctx) { ctx.block_on(wait_for_tick()); });
    dies([](io_context& ctx) {
        ctx.spawn(wait_for_tick());
        while (ctx.run_one() != 0) {}
    });
    dies([](io_context& ctx) {  // when all others have ended
        for (int i = 0; i < 3; ++i) ctx.spawn(wait_for_tick());
        ctx.spawn([]() -> task<> { (void)co_await sleep_for(1ms); }());
        ctx.run();
    });
    dies([](io_context& ctx) { ctx.spawn(wait_for_waiting(ctx)), ctx.run(); });
}
#endif

REACTOR_TEST("run goes on while somebody waits for something else than a tick") {
    io_context ctx(kind);
    event told;
    bool over = false;
    auto ticking = ctx.spawn([]() -> task<> { co_await next_tick(); }());
    ctx.spawn([](event& wanted, bool& end) -> task<> {
        co_await wanted.wait();
        end = true;
        this_context().stop();
    }(told, over));
    std::thread other([&] {
        std::this_thread::sleep_for(2ms);
        ctx.post([&] { told.set(); });
    });
    ctx.run();
    other.join();
    CHECK(over);
    CHECK_FALSE(ticking.done());
    ctx.poll();
    CHECK(ticking.done());
}

REACTOR_TEST("a limit that expires while the tick is waited for says timed_out") {
    io_context ctx(kind);
    game_clock game;
    std::vector<std::error_code> seen;
    ctx.spawn([](game_clock& on, std::vector<std::error_code>& to) -> task<> {
        to.push_back((co_await on.with_timeout(next_tick(), 1ms)).ec);
        to.push_back((co_await on.with_timeout(next_tick(), 1ms)).ec);
    }(game, seen));
    ctx.poll();
    game.advance(1ms);
    CHECK(seen.empty());
    ctx.poll();
    REQUIRE(seen.size() == 1);
    CHECK(seen[0] == errc::timed_out);
    ctx.poll();
    REQUIRE(seen.size() == 2);
    CHECK_FALSE(seen[1]);
}

REACTOR_TEST("a cancelled task that waits for ticks in a loop starves nobody") {
    io_context ctx(kind);
    bool enough = false;
    int waits = 0;
    auto handle = ctx.spawn([](bool& end, int& count) -> task<> {
        while (!end && count < 1'000'000) {
            (void)co_await next_tick();
            ++count;
        }
    }(enough, waits));
    handle.cancel();
    ctx.spawn([](bool& end) -> task<> {
        for (int i = 0; i < 10; ++i) co_await yield();
        end = true;
    }(enough));
    ctx.run();
    CHECK(enough);
    CHECK(waits < 10'000);
}

REACTOR_TEST("tasks that wait for the tick go with their context, and with what kills them") {
    events log;
    const auto waits = [](events& to, int id) -> task<> {
        co_await next_tick();
        to.push_back(id);
    };
    {
        io_context ctx(kind);
        for (int id = 1; id <= 3; ++id) ctx.spawn(waits(log, id));
        ctx.poll();
    }
    CHECK(log.empty());
#if CURFEW_EXCEPTIONS
    io_context ctx(kind);
    ctx.spawn(waits(log, 1));
    ctx.post([&] { ctx.stop(); });
    CHECK_THROWS_AS(ctx.block_on(waits(log, 2)), std::system_error);  // which destroys its task
    ctx.spawn(waits(log, 3));
    ctx.poll();
    ctx.poll();
    CHECK(log == events{1, 3});
#endif
}

// In slices ---------------------------------------------------------------------------------------

REACTOR_TEST("poll wakes a sleep that has ended, and nothing that has not") {
    io_context ctx(kind);
    events log;
    const auto now = curfew::clock::now();
    ctx.spawn(sleep_and_note(now + 1ms, log, 1));
    ctx.spawn(sleep_and_note(now + 1h, log, 2));
    ctx.poll();
    while (curfew::clock::now() < now + 2ms) std::this_thread::sleep_for(1ms);
    ctx.poll();  // unless the machine was too busy for the first one to be in time
    CHECK(log == events{1});
    CHECK(ctx.poll() == 0);
}

REACTOR_TEST("a sleep that begins when another one ends counts from then, with poll too") {
    io_context ctx(kind);
    bool done = false;
    ctx.spawn([](bool& end) -> task<> {
        (void)co_await sleep_for(0s);
        (void)co_await sleep_for(2ms);
        end = true;
    }(done));
    ctx.poll();                         // the first has ended, the second has begun
    std::this_thread::sleep_for(10ms);  // and is over when the next frame comes
    ctx.poll();
    CHECK(done);
}

// The context -------------------------------------------------------------------------------------

REACTOR_TEST("this_context is the context that runs the task, at any depth") {
    io_context ctx(kind);
    const auto inner = []() -> task<io_context*> {
        co_await yield();
        co_return &this_context();
    };
    const auto outer = [&]() -> task<io_context*> { co_return co_await inner(); };
    CHECK(ctx.block_on(outer()) == &ctx);
    io_context* seen = nullptr;
    ctx.post([&] { seen = &this_context(); });
    ctx.run();
    CHECK(seen == &ctx);
}

#if TEST_CAN_DIE

TEST_CASE("outside a running context there is no this_context, and asking for it is fatal") {
    const auto end = test::death_of([] {
        io_context ctx;
        (void)this_context();
    });
    CHECK(end.signal == SIGABRT);
    CHECK(end.said.starts_with("curfew: this_context() outside a running io_context, or "));
}

TEST_CASE("sleeping outside a running context is fatal and says so") {
    const auto end = test::death_of([] {
        io_context ctx;
        []() -> detached { (void)co_await sleep_for(1ms); }();
    });
    CHECK(end.signal == SIGABRT);
    CHECK(end.said == "curfew: waiting outside a running io_context: post() or spawn() what waits "
                      "for more than a socket\n");
}

#endif
