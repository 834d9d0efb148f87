#include <curfew/loop/limits.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>

#include <curfew/curfew.hpp>

#include "support/effort.hpp"
#include "support/events.hpp"
#include "support/reactors.hpp"

using namespace curfew;
using namespace std::chrono_literals;
using test::events;
using test::sleep_and_note;
using test::work_until;
using time_point = curfew::clock::time_point;

REACTOR_TEST("bounded turns: limits of one instant are carried out in slices") {
    io_context ctx(kind);
    const int many = static_cast<int>(test::scaled(20'000));
    int fired = 0;
    const auto when = curfew::clock::now() + 200ms;
    for (int i = 0; i < many; ++i)
        ctx.spawn([](curfew::clock::time_point at, int& count) -> task<> {
            co_await sleep_until(at);
            ++count;
        }(when, fired));
    int most = 0;
    ctx.spawn([](int all, int& count, int& longest, curfew::clock::time_point at) -> task<> {
        co_await sleep_until(at);
        while (count < all) {
            const int before = count;
            co_await sleep_for(1us);
            longest = std::max(longest, count - before);
        }
    }(many, fired, most, when - 1ms));  // it beats when their time comes
    ctx.run();
    CHECK(fired == many);
    // (The first 250 that are left over keep their order.)
    CHECK(most < 1'000);
}

REACTOR_TEST("a poll carries out all limits that are over") {
    io_context ctx(kind);
    int woken = 0;
    const auto when = curfew::clock::now() + 1ms;
    for (int i = 0; i < 1'000; ++i)
        ctx.spawn([](curfew::clock::time_point at, int& count) -> task<> {
            co_await sleep_until(at);
            ++count;
        }(when, woken));
    ctx.poll();
    while (curfew::clock::now() < when) {}
    ctx.poll();
    CHECK(woken == 1'000);
}

REACTOR_TEST("next_deadline is the earliest end of a sleep or limit, or none") {
    io_context ctx(kind);
    events log;
    CHECK_FALSE(ctx.next_deadline());
    const auto begin = curfew::clock::now();
    auto late = ctx.spawn(
        [](time_point until) -> task<> { (void)co_await sleep_until(until); }(begin + 2h));
    auto early = ctx.spawn(
        [](time_point until) -> task<> { (void)co_await sleep_until(until); }(begin + 1h));
    ctx.poll();
    REQUIRE(ctx.next_deadline());
    CHECK(*ctx.next_deadline() == begin + 1h);
    early.cancel();
    CHECK(*ctx.next_deadline() == begin + 2h);
    late.cancel();
    CHECK_FALSE(ctx.next_deadline());
    ctx.run();
    CHECK_FALSE(ctx.next_deadline());
}

REACTOR_TEST("a relative sleep's deadline is that long after its beginning, at the least") {
    io_context ctx(kind);
    events log;
    const auto begin = curfew::clock::now();
    auto handle = ctx.spawn(sleep_and_note(1h, log, 1));
    ctx.poll();
    REQUIRE(ctx.next_deadline());
    CHECK(*ctx.next_deadline() >= begin + 1h);
    CHECK(*ctx.next_deadline() <= curfew::clock::now() + 1h);
}

REACTOR_TEST("a deadline that has passed stays the next one until the loop runs") {
    io_context ctx(kind);
    events log;
    ctx.spawn(sleep_and_note(1us, log, 1));
    ctx.poll();
    if (log.empty()) {  // else it has ended within the poll
        work_until(curfew::clock::now() + 10us);
        REQUIRE(ctx.next_deadline());
        CHECK(*ctx.next_deadline() <= curfew::clock::now());
        ctx.poll();
    }
    CHECK(log == events{1});
    CHECK_FALSE(ctx.next_deadline());
}

REACTOR_TEST("now stands still between two looks at the system, and never runs backwards") {
    io_context ctx(kind);
    ctx.block_on([](io_context& own) -> task<> {
        time_point last = own.now();
        for (int i = 0; i < 5; ++i) {
            const auto now = own.now();
            work_until(curfew::clock::now() + 100us);
            CHECK(own.now() == now);
            CHECK(now >= last);
            last = now;
            co_await yield();
            CHECK(own.now() > now);
            CHECK(own.now() <= curfew::clock::now());
        }
    }(ctx));
}
