// What a thread_promise does in the loop's own thread; its races stand in
// thread_promise_cross_thread_test.cpp.
#include <curfew/thread_promise.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

#include <curfew/curfew.hpp>

#include "support/counted.hpp"
#include "support/fatal.hpp"
#include "support/loop.hpp"
#include "support/reactors.hpp"

using namespace curfew;
using namespace std::chrono_literals;
using test::run;

REACTOR_TEST("a value that is there before it is awaited is given at once") {
    run(kind, [](io_context& ctx) -> task<> {
        thread_promise<int> promise;
        auto future = promise.get_future();
        promise.set_value(42);
        bool others_ran = false;
        ctx.post([&] { others_ran = true; });
        auto [ec, value] = co_await future;
        CHECK_FALSE(ec);
        CHECK(value == 42);
        CHECK_FALSE(others_ran);
    });
}

REACTOR_TEST("a value that comes while it is awaited wakes the task") {
    run(kind, [](io_context& ctx) -> task<> {
        thread_promise<std::string> promise;
        auto future = promise.get_future();
        ctx.post([&] { promise.set_value("a text"); });
        auto [ec, value] = co_await future;
        CHECK_FALSE(ec);
        CHECK(value == "a text");
    });
}

REACTOR_TEST("a value that nobody can get any more stays with who has it") {
    run(kind, [](io_context&) -> task<> {
        auto value = std::make_unique<int>(7);
        {
            thread_promise<std::unique_ptr<int>> dropped;
            { const auto future = dropped.get_future(); }
            CHECK_FALSE(dropped.set_value(std::move(value)));
            REQUIRE(value);
            CHECK(*value == 7);
        }
        {
            thread_promise<std::unique_ptr<int>> never_got;
            CHECK_FALSE(never_got.set_value(std::move(value)));
            REQUIRE(value);
            thread_promise<> of_nothing;
            CHECK_FALSE(of_nothing.set_value());
        }
        // Who gave up waiting may still come back for it.
        thread_promise<std::unique_ptr<int>> promise;
        auto future = promise.get_future();
        CHECK((co_await with_timeout(future, 1ms)).error() == errc::timed_out);
        CHECK(promise.set_value(std::move(value)));
        CHECK_FALSE(value);
        CHECK(*(co_await future).value() == 7);
    });
}

REACTOR_TEST("a value that is an error code is no error") {
    run(kind, [](io_context&) -> task<> {
        thread_promise<std::error_code> promise;
        auto future = promise.get_future();
        promise.set_value(errc::eof);
        const auto [ec, value] = co_await future;
        CHECK_FALSE(ec);
        CHECK(value == errc::eof);
    });
}

REACTOR_TEST("an error comes as the error of the result, before and while it is awaited") {
    run(kind, [](io_context& ctx) -> task<> {
        for (const bool before : {true, false}) {
            thread_promise<int> promise;
            auto future = promise.get_future();
            auto set = [&] { promise.set_error(std::make_error_code(std::errc::io_error)); };
            if (before)
                set();
            else
                ctx.post(set);
            CHECK((co_await future).error() == std::errc::io_error);
        }
    });
}

REACTOR_TEST("a promise of nothing says only that it is done") {
    run(kind, [](io_context& ctx) -> task<> {
        thread_promise<> promise;
        auto future = promise.get_future();
        ctx.post([&] { promise.set_value(); });
        auto [ec] = co_await future;
        CHECK_FALSE(ec);
    });
}

REACTOR_TEST("a promise that is dropped says closed, before and while it is awaited") {
    run(kind, [](io_context& ctx) -> task<> {
        for (const bool before : {true, false}) {
            std::optional<thread_promise<int>> promise(std::in_place);
            auto future = promise->get_future();
            if (before)
                promise.reset();
            else
                ctx.post([&] { promise.reset(); });
            CHECK((co_await future).error() == errc::closed);
        }
        thread_promise<int> first;
        auto future = first.get_future();
        first = thread_promise<int>();  // the old one is dropped
        CHECK((co_await future).error() == errc::closed);
    });
}

REACTOR_TEST(
    "a promise that was moved away is not dropped, and its future may move before the wait") {
    run(kind, [](io_context& ctx) -> task<> {
        std::optional<thread_promise<int>> first(std::in_place);
        auto future = first->get_future();
        thread_promise<int> second(std::move(*first));
        first.reset();
        auto moved = std::move(future);
        ctx.post([&] { second.set_value(7); });
        CHECK((co_await moved).value() == 7);
    });
}

REACTOR_TEST("a future that is made for the await alone is good for it") {
    run(kind, [](io_context& ctx) -> task<> {
        thread_promise<int> promise;
        ctx.post([&] { promise.set_value(1); });
        CHECK((co_await promise.get_future()).value() == 1);
        thread_promise<int> other;
        ctx.post([&] { other.set_value(2); });
        CHECK((co_await with_timeout(other.get_future(), 10s)).value() == 2);
    });
}

REACTOR_TEST("values may be movable only") {
    run(kind, [](io_context& ctx) -> task<> {
        thread_promise<std::unique_ptr<int>> promise;
        auto future = promise.get_future();
        ctx.post([&] { promise.set_value(std::make_unique<int>(5)); });
        const auto value = (co_await future).value();
        REQUIRE(value);
        CHECK(*value == 5);
    });
}

// Limits and cancellation -------------------------------------------------------------------------

REACTOR_TEST("after a limit the future can be awaited again, and nothing is lost") {
    run(kind, [](io_context& ctx) -> task<> {
        for (const bool meanwhile : {true, false}) {
            thread_promise<int> promise;
            auto future = promise.get_future();
            CHECK((co_await with_timeout(future, 1ms)).error() == errc::timed_out);
            CHECK((co_await with_timeout(future, 0s)).error() == errc::timed_out);
            if (meanwhile)
                promise.set_value(3);
            else
                ctx.post([&] { promise.set_value(3); });
            CHECK((co_await with_timeout(future, 10s)).value() == 3);
        }
    });
}

REACTOR_TEST("with no time at all a value that is there is given") {
    run(kind, [](io_context&) -> task<> {
        thread_promise<int> promise;
        auto future = promise.get_future();
        promise.set_value(3);
        CHECK((co_await with_timeout(future, 0s)).value() == 3);
    });
}

REACTOR_TEST("who is cancelled while awaiting is told so, and the value stays for the next") {
    io_context ctx(kind);
    thread_promise<int> promise;
    auto future = promise.get_future();
    const auto await = [](thread_future<int>& what) -> task<result<int>> {
        co_return co_await what;
    };
    auto first = ctx.spawn(await(future));
    ctx.poll();
    first.cancel();
    promise.set_value(9);
    ctx.block_on([](join_handle<result<int>>& handle, thread_future<int>& again) -> task<> {
        CHECK((co_await handle).error() == errc::canceled);
        CHECK((co_await again).value() == 9);
    }(first, future));
}

REACTOR_TEST("a value that has come before the cancellation wins") {
    io_context ctx(kind);
    thread_promise<int> promise;
    auto future = promise.get_future();
    auto first = ctx.spawn([](thread_future<int>& what) -> task<result<int>> {
        auto own = co_await with_timeout(what, 1h);
        co_return own;
    }(future));
    ctx.poll();
    promise.set_value(9);
    first.cancel();
    ctx.block_on([](join_handle<result<int>>& handle) -> task<> {
        CHECK((co_await handle).value() == 9);
    }(first));
}

REACTOR_TEST("in a cancelled scope even a value that is there is not taken") {
    io_context ctx(kind);
    thread_promise<int> promise;
    auto future = promise.get_future();
    promise.set_value(4);
    auto handle = ctx.spawn([](thread_future<int>& what) -> task<> {
        CHECK((co_await what).error() == errc::canceled);
        CHECK((co_await with_timeout(what, 1h)).error() == errc::canceled);
        CHECK((co_await shielded(what)).value() == 4);
    }(future));
    handle.cancel();
    ctx.run();
    CHECK(handle.done());
}

REACTOR_TEST("a cancelled task that awaits a future again and again starves nobody") {
    io_context ctx(kind);
    thread_promise<int> promise;
    auto future = promise.get_future();
    bool enough = false;
    int waits = 0;
    auto handle = ctx.spawn([](thread_future<int>& what, bool& end, int& count) -> task<> {
        while (!end && count < 1'000'000) {
            CHECK((co_await what).error() == errc::canceled);
            ++count;
        }
    }(future, enough, waits));
    handle.cancel();
    ctx.spawn([](bool& end) -> task<> {
        for (int i = 0; i < 10; ++i) co_await yield();
        end = true;
    }(enough));
    ctx.run();
    CHECK(enough);
    CHECK(waits < 10'000);
}

REACTOR_TEST("a task that awaits values that are there, one after the other, starves nobody") {
    io_context ctx(kind);
    bool enough = false;
    int taken = 0;
    ctx.spawn([](bool& end, int& count) -> task<> {
        while (!end && count < 100'000) {
            thread_promise<int> promise;
            auto future = promise.get_future();
            promise.set_value(count);
            CHECK((co_await future).value() == count);
            ++count;
        }
    }(enough, taken));
    ctx.spawn([](bool& end) -> task<> {
        for (int i = 0; i < 10; ++i) co_await yield();
        end = true;
    }(enough));
    ctx.run();
    CHECK(enough);
    CHECK(taken < 10'000);
}

// In combinations ---------------------------------------------------------------------------------

REACTOR_TEST("a future is a branch like any other") {
    run(kind, [](io_context& ctx) -> task<> {
        thread_promise<int> one, two, never;
        auto first = one.get_future(), second = two.get_future(), third = never.get_future();
        ctx.post([&] {
            two.set_value(2);
            one.set_value(1);
        });
        auto [a, b] = co_await when_all(first, second);
        CHECK(a.value() == 1);
        CHECK(b.value() == 2);

        auto race = co_await when_any(third, sleep_for(1ms));
        CHECK(race.index == 1);
        CHECK(std::get<0>(race.results).error() == errc::canceled);
        ctx.post([&] { never.set_value(3); });
        auto again = co_await when_any(sleep_for(1h), third);
        CHECK(again.index == 1);
        CHECK(std::get<1>(again.results).value() == 3);
    });
}

// The end of one side -----------------------------------------------------------------------------

REACTOR_TEST("a promise that outlives the context may be fulfilled all the same") {
    int alive = 0;
    {
        using message = std::shared_ptr<test::counted>;
        thread_promise<message> promise, dropped;
        {
            io_context ctx(kind);
            const auto await = [](thread_future<message> what) -> task<> {
                (void)co_await what;
                FAIL("resumed");
            };
            ctx.spawn(await(promise.get_future()));
            ctx.spawn(await(dropped.get_future()));
            ctx.poll();
        }
        const auto late = promise.get_future();
        promise.set_value(std::make_shared<test::counted>(alive));
        CHECK(alive == 1);
    }
    CHECK(alive == 0);
}

REACTOR_TEST("a task whose value is on its way goes with its context") {
    thread_promise<int> promise;
    io_context ctx(kind);
    auto handle = ctx.spawn([](thread_future<int> what) -> task<> {
        (void)co_await what;
        FAIL("resumed");
    }(promise.get_future()));
    ctx.poll();
    promise.set_value(1);  // posted, and not yet seen
    CHECK_FALSE(handle.done());
}

REACTOR_TEST("a promise and the future that waits for it may go with one context, in any order") {
    for (const bool promise_first : {true, false}) {
        io_context ctx(kind);
        const auto keeps = [](thread_promise<int> own) -> task<> {
            (void)own;
            co_await sleep_for(1h);
        };
        const auto awaits = [](thread_future<int> what) -> task<> {
            (void)co_await what;
            FAIL("resumed");
        };
        thread_promise<int> promise;
        auto future = promise.get_future();
        const auto both = [&](thread_promise<int> one, thread_future<int> other) -> task<> {
            if (promise_first)
                co_await when_all(keeps(std::move(one)), awaits(std::move(other)));
            else
                co_await when_all(awaits(std::move(other)), keeps(std::move(one)));
        };
        ctx.spawn(both(std::move(promise), std::move(future)));
        ctx.poll();
    }
}

// Misuse ------------------------------------------------------------------------------------------

#if TEST_CAN_DIE

TEST_CASE("fulfilling a promise twice is fatal and says so") {
    const auto end = test::death_of([] {
        thread_promise<int> promise;
        promise.set_value(1);
        promise.set_value(2);
    });
    CHECK(end.signal == SIGABRT);
    CHECK(end.said == "curfew: a thread_promise is fulfilled twice\n");
}

TEST_CASE("awaiting an empty future is fatal and says so") {
    const auto end = test::death_of([] {
        io_context ctx;
        thread_promise<int> promise;
        auto future = promise.get_future();
        auto moved = std::move(future);
        ctx.block_on([](thread_future<int>& empty) -> task<> { (void)co_await empty; }(future));
    });
    CHECK(end.signal == SIGABRT);
    CHECK(end.said == "curfew: an empty thread_future is awaited\n");
}

TEST_CASE("awaiting what somebody awaits already is fatal and says so") {
    const auto end = test::death_of([] {
        io_context ctx;
        thread_promise<int> promise;
        const auto await = [](thread_future<int> what) -> task<> { (void)co_await what; };
        ctx.spawn(await(promise.get_future()));
        ctx.spawn(await(promise.get_future()));
        ctx.poll();
    });
    CHECK(end.signal == SIGABRT);
    CHECK(end.said == "curfew: a thread_future is awaited twice at the same time\n");
}

#endif
