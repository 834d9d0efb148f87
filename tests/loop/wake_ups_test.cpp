// What comes to a loop from within its own thread; from others: wake_ups_cross_thread_test.cpp.
#include <curfew/loop/wake_ups.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>

#include <curfew/curfew.hpp>

#include "support/counted.hpp"
#include "support/events.hpp"
#include "support/fatal.hpp"
#include "support/loop.hpp"
#include "support/platform.hpp"
#include "support/reactors.hpp"

#if TEST_HAS_SIGNALS
#include <pthread.h>

#include <csignal>
#endif

using namespace curfew;
using namespace std::chrono_literals;
using test::counted;
using test::events;
using test::note;

// Stop
// ---------------------------------------------------------------------------------------------

REACTOR_TEST("stop before run makes it return at once, and only once") {
    io_context ctx(kind);
    events log;
    ctx.spawn(note(log, 1));
    ctx.stop();
    CHECK(ctx.run() == 0);
    CHECK(log.empty());
    CHECK(ctx.run() == 1);
    CHECK(log == events{1});
}

REACTOR_TEST("several stops before a run are one") {
    io_context ctx(kind);
    events log;
    ctx.spawn(note(log, 1));
    for (int i = 0; i < 5; ++i) ctx.stop();
    CHECK(ctx.run() == 0);
    CHECK(ctx.run() == 1);
}

REACTOR_TEST("stop holds for every way to run") {
    io_context ctx(kind);
    events log;
    ctx.spawn(note(log, 1));
    ctx.stop();
    CHECK(ctx.run_for(1h) == 0);
    ctx.stop();
    CHECK(ctx.run_until(curfew::clock::now() + 1h) == 0);
    ctx.stop();
    CHECK(ctx.run_one() == 0);
    ctx.stop();
    CHECK(ctx.poll() == 0);
    ctx.stop();
    CHECK(ctx.poll_for(1h) == 0);
    CHECK(log.empty());
    CHECK(ctx.poll() == 1);
}

REACTOR_TEST("stop from inside poll_for makes it return before its budget is spent") {
    io_context ctx(kind);
    int steps = 0;
    ctx.spawn([](io_context& own, int& count) -> task<> {
        for (; count < 1000; co_await yield())
            if (++count == 3) own.stop();
    }(ctx, steps));
    ctx.poll_for(1h);
    CHECK(steps == 3);
    ctx.poll_for(1h);
    CHECK(steps == 1000);
}

REACTOR_TEST("a stop with no work is used up by the run that finds none") {
    io_context ctx(kind);
    events log;
    ctx.stop();
    CHECK(ctx.run() == 0);
    ctx.spawn(note(log, 1));
    CHECK(ctx.run() == 1);
}

REACTOR_TEST("stop from inside makes run return; what it left goes on with the next run") {
    io_context ctx(kind);
    events log;
    ctx.spawn([](io_context& own, events& to) -> task<> {
        to.push_back(1);
        own.stop();
        to.push_back(2);  // until it is suspended
        co_await yield();
        to.push_back(3);
    }(ctx, log));
    CHECK(ctx.run() == 1);
    CHECK(log == events{1, 2});
    CHECK(ctx.run() == 1);
    CHECK(log == events{1, 2, 3});
}

REACTOR_TEST("stop makes run return before anything else that is ready is run") {
    io_context ctx(kind);
    events log;
    ctx.post([&] {
        log.push_back(1);
        ctx.stop();
    });
    ctx.post([&] { log.push_back(2); });
    ctx.post([&] { log.push_back(3); });
    CHECK(ctx.run() == 1);
    CHECK(log == events{1});
    CHECK(ctx.run() == 2);
    CHECK(log == events{1, 2, 3});
}

REACTOR_TEST("stop from inside poll ends that poll, and not the next one too") {
    io_context ctx(kind);
    events log;
    ctx.post([&] {
        log.push_back(1);
        ctx.stop();
    });
    ctx.post([&] { log.push_back(2); });
    CHECK(ctx.poll() == 1);
    CHECK(log == events{1});
    CHECK(ctx.poll() == 1);
    CHECK(log == events{1, 2});
}

#if TEST_HAS_SIGNALS
REACTOR_TEST("stop from a signal handler ends the run, wherever the loop is") {
    static io_context* target = nullptr;
    struct sigaction action {};
    struct sigaction before {};
    action.sa_handler = [](int) { target->stop(); };
    ::sigaction(SIGUSR1, &action, &before);
    io_context ctx(kind);
    target = &ctx;
    ctx.spawn([]() -> task<> {
        for (;;) (void)co_await sleep_for(50us);
    }());
    for (int i = 0; i < 20; ++i) {
        const pthread_t self = ::pthread_self();
        std::thread killer([self] { ::pthread_kill(self, SIGUSR1); });
        ctx.run();  // would not return
        killer.join();
    }
    ::sigaction(SIGUSR1, &before, nullptr);
}
#endif

// Post
// ---------------------------------------------------------------------------------------------

REACTOR_TEST("posted functions run in their order, in the loop, not in post") {
    io_context ctx(kind);
    events log;
    for (int i = 0; i < 1'000; ++i) ctx.post([&log, i] { log.push_back(i); });
    CHECK(log.empty());
    CHECK(ctx.run() == 1'000);
    REQUIRE(log.size() == 1'000);
    for (int i = 0; i < 1'000; ++i) REQUIRE(log[static_cast<std::size_t>(i)] == i);
}

REACTOR_TEST("a function posted from inside runs after what is ready, within the same run") {
    io_context ctx(kind);
    events log;
    ctx.post([&] {
        ctx.post([&] { log.push_back(3); });
        log.push_back(1);
    });
    ctx.post([&] { log.push_back(2); });
    CHECK(ctx.run() == 3);
    CHECK(log == events{1, 2, 3});
}

REACTOR_TEST("functions that can only be moved can be posted") {
    io_context ctx(kind);
    int seen = 0;
    ctx.post([&seen, owned = std::make_unique<int>(7)] { seen = *owned; });
    ctx.run();
    CHECK(seen == 7);
}

REACTOR_TEST("a function is destroyed when it has run") {
    int alive = 0;
    io_context ctx(kind);
    events log;
    ctx.post([&, held = counted(alive)] { log.push_back(alive); });
    ctx.post([&] { log.push_back(alive); });
    CHECK(alive == 1);
    ctx.run();
    CHECK(log == events{1, 0});
}

REACTOR_TEST("functions that never run are destroyed with the context, once") {
    int alive = 0;
    bool ran = false;
    {
        io_context ctx(kind);
        for (int i = 0; i < 10; ++i) ctx.post([&, held = counted(alive)] { ran = true; });
        CHECK(alive == 10);
    }
    CHECK(alive == 0);
    CHECK_FALSE(ran);
}

REACTOR_TEST("a function may spawn tasks, and a task may post functions") {
    io_context ctx(kind);
    events log;
    ctx.post([&] { ctx.spawn(note(log, 1)); });
    ctx.spawn([](events& to) -> task<> {
        this_context().post([&to] { to.push_back(2); });
        co_return;
    }(log));
    CHECK(ctx.run() == 4);
    std::sort(log.begin(), log.end());
    CHECK(log == events{1, 2});
}

#if CURFEW_EXCEPTIONS
REACTOR_TEST("what a function throws comes out of run; the others run with the next") {
    int alive = 0;
    events log;
    io_context ctx(kind);
    ctx.post([&] { log.push_back(1); });
    ctx.post([held = counted(alive)] { throw std::runtime_error("posted"); });
    ctx.post([&] { log.push_back(2); });
    CHECK_THROWS_WITH_AS(ctx.run(), "posted", std::runtime_error);
    CHECK(alive == 0);
    CHECK(log == events{1});
    CHECK(ctx.run() == 1);
    CHECK(log == events{1, 2});
}
#endif

#if TEST_CAN_DIE && !defined(NDEBUG)
REACTOR_TEST("touching a context from another thread while it runs is fatal and says what to do") {
    const auto end = test::death_of([kind] {
        io_context ctx(kind);
        ctx.post(
            [&ctx] { std::thread([&ctx] { ctx.spawn([]() -> task<> { co_return; }()); }).join(); });
        ctx.run();
    });
    CHECK(end.signal == SIGABRT);
    CHECK(end.said.find("use post(), or a stop_token") != std::string::npos);
}
#endif
