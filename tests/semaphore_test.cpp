#include <curfew/semaphore.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <random>
#include <system_error>
#include <tuple>
#include <vector>

#include <curfew/curfew.hpp>

#include "support/loop.hpp"
#include "support/reactors.hpp"

using namespace curfew;
using namespace std::chrono_literals;
using test::act_when_limits_are_over;
using test::join;
using test::run;

namespace {

using ids = std::vector<int>;

/// Notes `id` when it has got a permit, which it keeps, and `-id` when it has not.
task<> take(semaphore& from, ids& log, int id) {
    const auto [ec] = co_await from.acquire();
    log.push_back(ec ? -id : id);
}

task<std::error_code> acquire(semaphore& from) {
    const auto [ec] = co_await from.acquire();
    co_return ec;
}

}  // namespace

REACTOR_TEST("a semaphore gives as many permits as it has, and then makes wait") {
    io_context ctx(kind);
    semaphore slots(2);
    ids log;
    for (int id = 1; id <= 4; ++id) ctx.spawn(take(slots, log, id));
    CHECK(slots.available() == 2);
    ctx.poll();
    CHECK(log == ids{1, 2});
    CHECK(slots.available() == 0);
    slots.release();
    CHECK(slots.available() == 0);  // it is the third's
    ctx.poll();
    CHECK(log == ids{1, 2, 3});
    slots.release();
    slots.release();
    CHECK(slots.available() == 1);
    ctx.run();
    CHECK(log == ids{1, 2, 3, 4});
}

REACTOR_TEST("permits go to those who wait in the order in which they came, and nobody overtakes") {
    io_context ctx(kind);
    semaphore slots(0);
    ids log;
    for (int id = 1; id <= 3; ++id) ctx.spawn(take(slots, log, id));
    ctx.poll();
    slots.release();
    CHECK_FALSE(slots.try_acquire());  // the first has it, before its turn
    ctx.spawn(take(slots, log, 4));
    ctx.poll();
    CHECK(log == ids{1});
    slots.release(2);
    CHECK_FALSE(slots.try_acquire());
    slots.release(2);
    CHECK(slots.try_acquire());
    CHECK_FALSE(slots.try_acquire());
    ctx.run();
    CHECK(log == ids{1, 2, 3, 4});
}

REACTOR_TEST("release of several permits lets as many go on, and keeps the rest") {
    io_context ctx(kind);
    semaphore slots(0);
    ids log;
    for (int id = 1; id <= 3; ++id) ctx.spawn(take(slots, log, id));
    ctx.poll();
    slots.release(0);
    ctx.poll();
    CHECK(log.empty());
    slots.release(5);
    CHECK(slots.available() == 2);
    ctx.run();
    CHECK(log == ids{1, 2, 3});
    CHECK(slots.available() == 2);
}

TEST_CASE("try_acquire takes a permit that is free, and never waits") {
    semaphore slots(2);
    CHECK(slots.try_acquire());
    CHECK(slots.try_acquire());
    CHECK_FALSE(slots.try_acquire());
    slots.release();
    CHECK(slots.available() == 1);
    CHECK(slots.try_acquire());
}

REACTOR_TEST("a permit is given back at the end of its block") {
    run(kind, [](io_context& ctx) -> task<> {
        semaphore slots(1);
        ids log;
        {
            (co_await slots.acquire()).value();
            const permit slot(slots);
            ctx.spawn(take(slots, log, 1));
            for (int i = 0; i < 3; ++i) co_await yield();
            CHECK(log.empty());
        }
        co_await yield();
        CHECK(log == ids{1});
        CHECK(slots.available() == 0);
    });
}

REACTOR_TEST("an acquire that times out takes no permit, and who stood behind it does not wait") {
    run(kind, [](io_context& ctx) -> task<> {
        semaphore slots(0);
        ids log;
        auto behind = [&]() -> task<> { co_await take(slots, log, 1); };
        auto first = [&]() -> task<> {
            CHECK((co_await with_timeout(slots.acquire(), 2ms)).error() == errc::timed_out);
        };
        auto handle = ctx.spawn(behind());
        co_await first();
        slots.release();
        co_await handle;
        CHECK(log == ids{1});
        CHECK((co_await with_timeout(slots.acquire(), 0s)).error() == errc::timed_out);
        CHECK(slots.available() == 0);
        slots.release();
        CHECK((co_await with_timeout(slots.acquire(), 0s)).ok());
        CHECK(slots.available() == 0);
    });
}

REACTOR_TEST("in a cancelled scope an acquire ends with canceled and takes no permit") {
    io_context ctx(kind);
    semaphore slots(3);
    auto handle = ctx.spawn([](semaphore& from) -> task<> {
        for (int i = 0; i < 200; ++i)  // more than a turn's share, too
            CHECK((co_await from.acquire()).error() == errc::canceled);
    }(slots));
    handle.cancel();
    ctx.run();
    CHECK(slots.available() == 3);
}

REACTOR_TEST("a cancelled acquire leaves the line, and the next one gets the permit") {
    io_context ctx(kind);
    semaphore slots(0);
    ids log;
    ctx.spawn(take(slots, log, 1));
    auto second = ctx.spawn(take(slots, log, 2));
    ctx.spawn(take(slots, log, 3));
    ctx.poll();
    second.cancel();
    slots.release(2);
    CHECK(slots.available() == 0);
    ctx.run();
    CHECK(log == ids{-2, 1, 3});
}

REACTOR_TEST("a permit that was given before the loop looks at an expired limit has been taken") {
    io_context ctx(kind);
    semaphore slots(0);
    int tried = 0;
    for (int round = 0; round < 10; ++round) {
        auto waiter = ctx.spawn([](semaphore& from) -> task<std::error_code> {
            const auto [ec] = co_await with_timeout(from.acquire(), 10ms);
            co_return ec;
        }(slots));
        const bool acted = act_when_limits_are_over(ctx, 10ms, [&] { slots.release(); });
        if (acted && round % 2) waiter.cancel();
        const std::error_code ec = join(ctx, waiter);
        CHECK(slots.available() == 0);
        if (!acted) continue;
        ++tried;
        CHECK_FALSE(ec);
    }
    CHECK(tried > 0);
}

REACTOR_TEST("who still waits when the semaphore is destroyed is told closed") {
    io_context ctx(kind);
    auto doomed = std::make_unique<semaphore>(1);
    std::vector<join_handle<std::error_code>> waiting;
    for (int i = 0; i < 3; ++i) waiting.push_back(ctx.spawn(acquire(*doomed)));
    ctx.poll();
    doomed.reset();
    ctx.block_on([](std::vector<join_handle<std::error_code>>& all) -> task<> {
        const std::error_code first = co_await all[0];
        CHECK_FALSE(first);
        CHECK(co_await all[1] == errc::closed);
        CHECK(co_await all[2] == errc::closed);
    }(waiting));
}

REACTOR_TEST("a task that acquires again and again without waiting starves nobody") {
    io_context ctx(kind);
    semaphore slots(1);
    bool enough = false;
    int taken = 0;
    ctx.spawn([](semaphore& from, bool& end, int& count) -> task<> {
        while (!end && count < 1'000'000) {
            (co_await from.acquire()).value();
            const permit slot(from);
            ++count;
        }
    }(slots, enough, taken));
    ctx.spawn([](bool& end) -> task<> {
        for (int i = 0; i < 10; ++i) co_await yield();
        end = true;
    }(enough));
    ctx.run();
    CHECK(enough);
    CHECK(taken < 10'000);
}

REACTOR_TEST(
    "never more than the permits are out, and none is lost, under any limits and cancels") {
    const unsigned seed = std::random_device()();
    CAPTURE(seed);
    std::mt19937 random(seed);
    for (const std::size_t permits : {1u, 3u}) {
        io_context ctx(kind);
        semaphore slots(permits);
        std::size_t held = 0, most = 0;
        int acquired = 0, refused = 0, wrong = 0;
        const auto work = [&]() -> task<> {
            const auto hold = [&](std::error_code ec) -> task<> {
                if (ec == errc::timed_out || ec == errc::canceled)
                    ++refused;
                else if (ec)
                    ++wrong;
                if (ec) co_return;
                const permit slot(slots);
                ++acquired;
                most = std::max(most, ++held);
                for (auto n = random() % 3; n > 0; --n) co_await yield();
                --held;
            };
            for (int i = 0; i < 50; ++i) {
                switch (random() % 3) {
                case 0:
                    co_await hold((co_await slots.acquire()).ec);
                    break;
                case 1: {
                    const std::chrono::nanoseconds limit(random() % 20'000);
                    co_await hold((co_await with_timeout(slots.acquire(), limit)).ec);
                    break;
                }
                default: {
                    const auto pause = [](unsigned n) -> task<> {
                        for (; n > 0; --n) co_await yield();
                    };
                    auto first = co_await when_any(slots.acquire(), pause(random() % 4));
                    co_await hold(std::get<0>(first.results).ec);
                    break;
                }
                }
                if (random() % 2) co_await yield();
            }
        };
        std::vector<join_handle<>> workers;
        for (int i = 0; i < 20; ++i) workers.push_back(ctx.spawn(work()));
        auto canceller = [&]() -> task<> {
            for (std::size_t i = 0; i < workers.size(); i += 5) {
                for (auto n = random() % 20; n > 0; --n) co_await yield();
                workers[i].cancel();
            }
        };
        ctx.spawn(canceller());
        ctx.run();
        CHECK(slots.available() == permits);
        CHECK(held == 0);
        CHECK(most <= permits);
        CHECK(acquired > 0);
        CHECK(refused > 0);
        CHECK(wrong == 0);
    }
}

REACTOR_TEST("a branch that holds what the other one waits for goes with their context") {
    semaphore slots(1);
    {
        io_context ctx(kind);
        ctx.spawn([](semaphore& from) -> task<> {
            const auto work = [](semaphore& shared) -> task<> {
                (co_await shared.acquire()).value();
                const permit slot(shared);
                co_await sleep_for(1h);
            };
            co_await when_all(work(from), work(from), work(from));
        }(slots));
        ctx.poll();
        CHECK(slots.available() == 0);
    }
    CHECK(slots.available() == 1);
}
