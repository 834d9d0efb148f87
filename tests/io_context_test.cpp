#include <curfew/io_context.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include <curfew/curfew.hpp>

#include "support/counted.hpp"
#include "support/events.hpp"
#include "support/fatal.hpp"
#include "support/loop.hpp"
#include "support/platform.hpp"
#include "support/reactors.hpp"
#include "support/watched_reactor.hpp"

using namespace curfew;
using namespace std::chrono_literals;
using test::any_port;
using test::counted;
using test::events;
using test::note;
using test::note_and_yield;
using test::sleep_and_note;
using test::watched;
using test::work_until;
using time_point = curfew::clock::time_point;

// Run ---------------------------------------------------------------------------------------------

REACTOR_TEST("a context says which reactor it has") {
    CHECK(io_context(kind).name() == to_string(kind));
    CHECK(watched(kind).ctx.name() == "watched");
}

REACTOR_TEST("run with nothing to do returns at once, as often as it is called") {
    watched own(kind);
    CHECK(own.ctx.run() == 0);
    CHECK(own.ctx.run() == 0);
    CHECK(own.ctx.run_one() == 0);
    CHECK(own.ctx.poll() == 0);
    CHECK(own.ctx.run_for(1h) == 0);
    for (const auto wait : own.log->waits) CHECK(wait == 0ns);
}

REACTOR_TEST("run returns when all tasks have returned and all functions have run, and counts") {
    io_context ctx(kind);
    events log;
    ctx.spawn(note(log, 1));
    ctx.spawn(note(log, 2));
    ctx.post([&] { log.push_back(3); });
    ctx.spawn([](events& to) -> task<> {
        co_await yield();
        co_await yield();
        to.push_back(4);
    }(log));
    CHECK(ctx.run() == 6);  // of the last one three steps
    CHECK(log == events{1, 2, 3, 4});
}

REACTOR_TEST("run can be called again, without a restart") {
    io_context ctx(kind);
    events log;
    for (int i = 0; i < 3; ++i) {
        ctx.spawn(sleep_and_note(10us, log, i));
        CHECK(ctx.run() == 2);
    }
    CHECK(log == events{0, 1, 2});
}

REACTOR_TEST("run waits for what a task waits for, and not a moment less") {
    watched own(kind);
    events log;
    const auto before = curfew::clock::now();
    own.ctx.spawn(sleep_and_note(3ms, log, 1));
    own.ctx.run();
    CHECK(log == events{1});
    CHECK(curfew::clock::now() - before >= 3ms);
    for (const auto wait : own.log->waits) CHECK(wait <= 3ms);
}

REACTOR_TEST("without a deadline the loop waits for ever") {
    watched own(kind);
    auto handle =
        own.ctx.spawn([]() -> task<> { (void)co_await sleep_until(time_point::max()); }());
    std::thread other([&] {
        while (!own.log->waiting.load()) std::this_thread::yield();
        own.ctx.post([&] { handle.cancel(); });
    });
    own.ctx.run();  // in which it has waited: nothing else ends it
    other.join();
    for (const auto wait : own.log->waits) CHECK((wait == 0ns || wait == platform::unlimited));
}

REACTOR_TEST("run_for returns when its time is over, and what is left goes on with the next run") {
    io_context ctx(kind);
    events log;
    auto handle = ctx.spawn(sleep_and_note(1h, log, 1));
    const auto before = curfew::clock::now();
    ctx.run_for(2ms);
    CHECK(curfew::clock::now() - before >= 2ms);
    CHECK(log.empty());
    CHECK_FALSE(handle.done());
    handle.cancel();
    ctx.run();
    CHECK(log == events{1});
}

REACTOR_TEST("run_for returns early when the work is done") {
    watched own(kind);
    events log;
    own.ctx.spawn(note(log, 1));
    CHECK(own.ctx.run_for(1h) == 1);
    for (const auto wait : own.log->waits) CHECK(wait == 0ns);
}

REACTOR_TEST("run_for of no time does what is ready, without waiting") {
    for (const auto time : {0ns, -5ns}) {
        watched own(kind);
        events log;
        own.ctx.spawn(note(log, 1));
        own.ctx.spawn(sleep_and_note(1h, log, 3));
        own.ctx.post([&] { log.push_back(2); });
        own.ctx.run_for(time);
        CHECK(log == events{1, 2});
        for (const auto wait : own.log->waits) CHECK(wait == 0ns);
    }
}

REACTOR_TEST("run_for of any length is possible") {
    io_context ctx(kind);
    events log;
    ctx.spawn(sleep_and_note(100us, log, 1));
    ctx.run_for(std::chrono::hours::max());
    ctx.spawn(sleep_and_note(100us, log, 2));
    ctx.run_until(time_point::max());
    CHECK(log == events{1, 2});
}

REACTOR_TEST("run_until returns at that point in time") {
    io_context ctx(kind);
    events log;
    auto handle = ctx.spawn(sleep_and_note(1h, log, 1));
    const auto end = curfew::clock::now() + 2ms;
    ctx.run_until(end);
    CHECK(curfew::clock::now() >= end);
    CHECK_FALSE(handle.done());
    ctx.run_until(end - 1h);  // long past: returns
    ctx.run_until(time_point::min());
    CHECK_FALSE(handle.done());
}

REACTOR_TEST("run_one does one thing, and waits for it if it must") {
    io_context ctx(kind);
    events log;
    ctx.post([&] { log.push_back(1); });
    ctx.post([&] { log.push_back(2); });
    CHECK(ctx.run_one() == 1);
    CHECK(log == events{1});
    CHECK(ctx.run_one() == 1);
    CHECK(log == events{1, 2});
    ctx.spawn(sleep_and_note(500us, log, 3));
    CHECK(ctx.run_one() == 1);  // the task begins
    CHECK(log == events{1, 2});
    CHECK(ctx.run_one() == 1);  // and its sleep ends
    CHECK(log == events{1, 2, 3});
    CHECK(ctx.run_one() == 0);
}

// Poll --------------------------------------------------------------------------------------------

REACTOR_TEST("poll runs what is ready and never waits") {
    watched own(kind);
    events log;
    own.ctx.spawn(note(log, 1));
    own.ctx.spawn(sleep_and_note(1h, log, 3));
    own.ctx.post([&] { log.push_back(2); });
    CHECK(own.ctx.poll() == 3);
    CHECK(log == events{1, 2});
    CHECK(own.ctx.poll() == 0);
    for (const auto wait : own.log->waits) CHECK(wait == 0ns);
}

REACTOR_TEST("poll runs what becomes ready by what it runs") {
    io_context ctx(kind);
    events log;
    ctx.post([&] {
        log.push_back(1);
        ctx.post([&] { log.push_back(2); });
        ctx.spawn(note(log, 3));
    });
    CHECK(ctx.poll() == 3);
    CHECK(log == events{1, 2, 3});
}

REACTOR_TEST("poll looks at the sockets") {
    io_context ctx(kind);
    events log;
    ctx.spawn([](io_context& own, events& to) -> task<> {
        tcp::acceptor acceptor(own);
        acceptor.listen(any_port()).value();
        tcp::socket client(own);
        (co_await client.connect(acceptor.local_endpoint())).value();
        tcp::socket server = (co_await acceptor.accept()).value();
        (co_await server.write_some("x")).value();
        std::array<char, 8> buffer;
        const auto [ec, n] = co_await client.read_some(buffer);
        to.push_back(static_cast<int>(n));
    }(ctx, log));
    for (int i = 0; i < 100'000 && log.empty(); ++i) ctx.poll();
    CHECK(log == events{1});
}

REACTOR_TEST("poll_for of a long time returns as soon as nothing is ready") {
    watched own(kind);
    events log;
    own.ctx.spawn(note(log, 1));
    own.ctx.spawn(sleep_and_note(1h, log, 2));
    CHECK(own.ctx.poll_for(1h) == 2);
    CHECK(log == events{1});
    for (const auto wait : own.log->waits) CHECK(wait == 0ns);
}

REACTOR_TEST("poll_for starts nothing after its budget, not even what completes at once") {
    io_context ctx(kind);
    event always;
    always.set();
    int steps = 0;
    ctx.spawn([](event& what, int& count) -> task<> {
        for (; count < 50; ++count) {
            co_await what.wait();
            for (const auto end = clock::now() + 1ms; clock::now() < end;) {}
        }
    }(always, steps));
    while (steps == 0) ctx.poll_for(2ms);  // which a busy machine may spend before the first one
    CHECK(steps <= 2);                     // each takes a millisecond
    ctx.run();
    CHECK(steps == 50);
}

REACTOR_TEST("what poll_for starts with its budget spent does not go on at once") {
    io_context ctx(kind);
    event always;
    always.set();
    int steps = 0;
    ctx.spawn([](event& what, int& count) -> task<> {
        for (; count < 50; ++count) co_await what.wait();
    }(always, steps));
    for (int calls = 1; calls <= 20; ++calls) {
        CHECK(ctx.poll_for(1ns) == 1);
        CHECK(steps < calls);
    }
    ctx.run();
    CHECK(steps == 50);
}

REACTOR_TEST("poll_for goes on with what yields until its budget is spent") {
    io_context ctx(kind);
    int steps = 0;
    ctx.spawn([](int& count) -> task<> {
        for (; count < 100; ++count) co_await yield();
    }(steps));
    ctx.poll_for(1h);
    CHECK(steps == 100);
    events log;
    auto handle = ctx.spawn(note_and_yield(log, 1));  // for ever
    const auto before = curfew::clock::now();
    ctx.poll_for(2ms);
    CHECK(curfew::clock::now() - before >= 2ms);
    handle.cancel();
}

REACTOR_TEST("poll_for starts nothing new once its budget is spent; the rest goes on later") {
    io_context ctx(kind);
    events log;
    const auto heavy = [](events& to, int id) -> task<> {
        to.push_back(id);
        work_until(curfew::clock::now() + 11ms);
        co_return;
    };
    for (int id = 1; id <= 5; ++id) ctx.spawn(heavy(log, id));
    while (log.empty()) ctx.poll_for(10ms);  // spent by the first one
    CHECK(log == events{1});
    ctx.poll_for(1h);
    CHECK(log == events{1, 2, 3, 4, 5});
}

REACTOR_TEST("poll_for of no time starts nothing") {
    for (const auto budget : {0ns, -1ns}) {
        io_context ctx(kind);
        events log;
        for (int id = 1; id <= 5; ++id) ctx.spawn(note(log, id));
        CHECK(ctx.poll_for(budget) == 0);
        CHECK(log.empty());
    }
}

REACTOR_TEST("poll_for starts one thing each time, even if looking has spent the budget") {
    io_context ctx(kind);
    events log;
    for (int id = 1; id <= 5; ++id) ctx.spawn(note_and_yield(log, id));
    for (int calls = 1; calls <= 20; ++calls) {
        CHECK(ctx.poll_for(1ns) == 1);
        CHECK(log.size() == static_cast<std::size_t>(calls));
    }
    for (int id = 1; id <= 5; ++id)  // each in its turn
        CHECK(std::count(log.begin(), log.end(), id) == 4);
    ctx.stop();
    CHECK(ctx.poll_for(1ns) == 0);
}

REACTOR_TEST("poll_until ticks once, serves the network, and lasts until its end") {
    watched own(kind);
    events log;
    own.ctx.spawn([](events& to) -> task<> {
        for (;;) {
            co_await next_tick();
            to.push_back(1);
        }
    }(log));
    own.ctx.poll();
    auto end = curfew::clock::now();
    for (int frame = 1; frame <= 5; ++frame) {
        own.ctx.spawn(sleep_and_note(1ms, log, 2));
        // Others bring something in the midst of it, too.
        std::thread other([&] { own.ctx.post([&] { log.push_back(3); }); });
        end = std::max(end, curfew::clock::now()) + 5ms;
        own.ctx.poll_until(end);
        CHECK(curfew::clock::now() >= end);
        other.join();
        CHECK(std::count(log.begin(), log.end(), 1) == frame);
    }
    const std::size_t waits = own.log->waits.size();
    // A busy machine, or one whose clock ticks seldom, may have left some.
    while (std::count(log.begin(), log.end(), 2) < 5 || std::count(log.begin(), log.end(), 3) < 5)
        own.ctx.poll();
    CHECK(waits < 500);
}

REACTOR_TEST("poll_until lasts until its end with nothing to do at all, asleep") {
    watched own(kind);
    const auto end = curfew::clock::now() + 5ms;
    CHECK(own.ctx.poll_until(end) == 0);
    CHECK(curfew::clock::now() >= end);
    CHECK(own.log->waits.size() < 20);
}

REACTOR_TEST("poll_until with its end in the past gives all their tick, and the system one look") {
    watched own(kind);
    int ticks = 0;
    int steps = 0;
    for (int i = 0; i < 1'000; ++i)
        own.ctx.spawn([](int& count) -> task<> {
            for (;;) {
                co_await next_tick();
                ++count;
            }
        }(ticks));
    own.ctx.spawn([](int& count) -> task<> {  // never out of work
        for (;;) {
            ++count;
            co_await yield();
        }
    }(steps));
    own.ctx.poll();
    for (int frame = 1; frame <= 5; ++frame) {
        own.log->waits.clear();
        const int before = steps;
        CHECK(own.ctx.poll_until(curfew::clock::now() - 1ms) >= 1'000);
        CHECK(ticks == frame * 1'000);
        CHECK(steps > before);
        CHECK_FALSE(own.log->waits.empty());
        for (const auto wait : own.log->waits) CHECK(wait == 0ns);
    }
}

REACTOR_TEST("poll_until starts nothing new after its end but what its tick has made ready") {
    io_context ctx(kind);
    events log;
    const auto heavy = [](events& to, int id) -> task<> {
        to.push_back(id);
        work_until(curfew::clock::now() + 5ms);
        co_return;
    };
    const auto spawns = [&](io_context& own) -> task<> {
        co_await next_tick();
        for (int id = 1; id <= 3; ++id) own.spawn(heavy(log, id));
    };
    ctx.spawn(spawns(ctx));
    ctx.poll();
    ctx.poll_until(curfew::clock::now() + 4ms);  // spent by the first one, if not before
    CHECK(log.size() <= 1);
    while (log.size() < 3) ctx.poll_until(curfew::clock::now() + 1ms);
    CHECK(log == events{1, 2, 3});
}

REACTOR_TEST("a stop ends poll_until before its time, and a tick is not lost by it") {
    io_context ctx(kind);
    events log;
    ctx.spawn([](io_context& own, events& to) -> task<> {
        co_await next_tick();
        to.push_back(1);
        own.stop();
    }(ctx, log));
    ctx.poll();
    ctx.spawn([](events& to) -> task<> {
        co_await next_tick();
        to.push_back(2);
    }(log));
    ctx.poll();  // the first has stopped it
    const auto distant = curfew::clock::now() + 1h;
    ctx.spawn(sleep_and_note(1ms, log, 3));
    ctx.spawn([](io_context& own, events& to) -> task<> {
        while (to.back() != 3) (void)co_await sleep_for(100us);
        own.stop();
    }(ctx, log));
    ctx.poll_until(distant);
    CHECK(log == events{1, 2, 3});
    ctx.stop();
    CHECK(ctx.poll_until(distant) == 0);
}

#if CURFEW_EXCEPTIONS
REACTOR_TEST("what leaves a task comes out of poll_until, and the next one goes on") {
    io_context ctx(kind);
    events log;
    for (int id = 1; id <= 2; ++id)
        ctx.spawn([](events& to, int own) -> task<> {
            co_await next_tick();
            to.push_back(own);
            throw std::runtime_error("from a task");
        }(log, id));
    ctx.post([] { throw std::runtime_error("from a function"); });
    CHECK_THROWS_AS(ctx.poll_until(curfew::clock::now() + 1h), std::runtime_error);
    for (int i = 0; i < 2; ++i)
        CHECK_THROWS_AS(ctx.poll_until(curfew::clock::now() + 1h), std::runtime_error);
    CHECK(log == events{1, 2});
    ctx.poll_until(curfew::clock::now() + 1ms);
}
#endif

// block_on ----------------------------------------------------------------------------------------

REACTOR_TEST("block_on gives what the task returns, of every kind") {
    io_context ctx(kind);
    int there = 3;
    CHECK(ctx.block_on([]() -> task<int> { co_return 5; }()) == 5);
    CHECK(ctx.block_on([](int& to) -> task<int&> { co_return to; }(there)) == 3);
    static_assert(std::is_same_v<decltype(ctx.block_on(std::declval<task<int&>>())), int&>);
    CHECK(*ctx.block_on([]() -> task<std::unique_ptr<int>> {
        co_await yield();
        co_return std::make_unique<int>(6);
    }()) == 6);
    ctx.block_on([]() -> task<> { co_return; }());
}

REACTOR_TEST(
    "block_on takes functions that make tasks, operations and all else that can be awaited") {
    io_context ctx(kind);
    int there = 3;
    CHECK(ctx.block_on([kept = std::string(100, 'x')]() -> task<std::size_t> {
        co_await yield();
        co_return kept.size();
    }) == 100);
    const auto refer = [&there]() -> task<int&> { co_return there; };
    static_assert(std::is_same_v<decltype(ctx.block_on(refer)), int&>);
    CHECK(&ctx.block_on(refer) == &there);
    ctx.block_on([&there]() -> task<> {
        there = 4;
        co_return;
    });
    CHECK(there == 4);

    udp::socket one(ctx), other(ctx);
    one.bind(ip::endpoint(ip::address::loopback_v4(), 0)).value();
    CHECK(ctx.block_on(other.send_to("ping", one.local_endpoint())).value() == 4);
    std::array<char, 8> bytes;
    ip::endpoint sender;
    auto receive = one.receive_from(bytes, sender);
    CHECK(ctx.block_on(receive).value() == 4);
    CHECK(ctx.block_on(with_timeout(one.receive_from(bytes, sender), 1ms)).ec == errc::timed_out);
    CHECK(ctx.block_on(sleep_for(1ms)).ok());
    const auto [first, second] =
        ctx.block_on(when_all(yield(), []() -> task<int> { co_return 7; }()));
    CHECK(first.ok());
    CHECK(second == 7);
    auto spawned = ctx.spawn([]() -> task<int> { co_return 8; });
    CHECK(ctx.block_on(spawned) == 8);
    task<int> lvalue = []() -> task<int> { co_return 9; }();
    CHECK(ctx.block_on(std::move(lvalue)) == 9);
}

REACTOR_TEST("block_on runs other tasks meanwhile, and leaves them suspended") {
    io_context ctx(kind);
    events log;
    auto endless = ctx.spawn(note_and_yield(log, 1));
    auto sleeper = ctx.spawn(sleep_and_note(1h, log, 2));
    ctx.block_on([]() -> task<> {
        for (int i = 0; i < 3; ++i) co_await yield();
    }());
    CHECK(log.size() >= 3);
    CHECK_FALSE(endless.done());
    CHECK_FALSE(sleeper.done());
    endless.cancel();
    sleeper.cancel();
    ctx.run();
    CHECK(endless.done());
    CHECK(sleeper.done());
}

REACTOR_TEST("block_on frees the frame when it returns") {
    int alive = 0;
    io_context ctx(kind);
    ctx.block_on([](counted) -> task<> { co_await yield(); }(counted(alive)));
    CHECK(alive == 0);
}

#if CURFEW_EXCEPTIONS

REACTOR_TEST("block_on throws what leaves the task, once") {
    io_context ctx(kind);
    const auto fails = []() -> task<int> {
        co_await yield();
        throw std::runtime_error("from the task");
    };
    CHECK_THROWS_WITH_AS((void)ctx.block_on(fails()), "from the task", std::runtime_error);
    CHECK_NOTHROW(ctx.run());
}

REACTOR_TEST("stop ends block_on with canceled, and the task is destroyed where it stands") {
    int alive = 0;
    io_context ctx(kind);
    events log;
    const auto forever = [](counted, events& to) -> task<int> {
        (void)co_await sleep_for(1h);
        to.push_back(1);
        co_return 1;
    };
    ctx.post([&] { ctx.stop(); });
    std::error_code ec;
    try {
        (void)ctx.block_on(forever(counted(alive), log));
    } catch (const std::system_error& error) {
        ec = error.code();
    }
    CHECK(ec == errc::canceled);
    CHECK(alive == 0);
    CHECK(log.empty());  // it was not resumed
    CHECK_FALSE(ctx.next_deadline());
    ctx.spawn(note(log, 2));
    CHECK(ctx.run() == 1);  // the context is as good as before
}

REACTOR_TEST("another task's exception ends block_on, and the task is destroyed where it stands") {
    int alive = 0;
    io_context ctx(kind);
    events log;
    ctx.spawn([]() -> task<> {
        co_await yield();
        throw std::runtime_error("another's");
    }());
    const auto forever = [](counted, events& to) -> task<> {
        (void)co_await sleep_for(1h);
        to.push_back(1);
    };
    CHECK_THROWS_WITH_AS(ctx.block_on(forever(counted(alive), log)), "another's",
                         std::runtime_error);
    CHECK(alive == 0);
    CHECK(log.empty());
    CHECK(ctx.run() == 0);
}

REACTOR_TEST("a block_on task is destroyed in whatever it is suspended") {
    int alive = 0;
    io_context ctx(kind);
    std::stop_source source;
    udp::socket socket(ctx);
    socket.bind(any_port()).value();
    const auto receives = [](counted, udp::socket& from) -> task<> {
        std::array<std::byte, 100> buffer;
        (void)co_await from.receive(buffer);
    };
    const auto limited = [&](counted) -> task<> {
        (void)co_await with_timeout(receives(counted(alive), socket), 1h);
    };
    const auto stoppable = [&](counted) -> task<> {
        (void)co_await cancel_on(sleep_for(1h), source.get_token());
    };
    const auto joins = [&](counted) -> task<> {
        co_await this_context().spawn(limited(counted(alive)));
    };
    const auto yields = [&](counted) -> task<> {
        for (;;) co_await yield();
    };
    const auto blocked = [&](task<> work) {
        ctx.post([&] { ctx.post([&] { ctx.stop(); }); });
        CHECK_THROWS_AS(ctx.block_on(std::move(work)), std::system_error);
    };
    blocked(receives(counted(alive), socket));
    CHECK(alive == 0);
    blocked(limited(counted(alive)));
    CHECK(alive == 0);
    blocked(stoppable(counted(alive)));
    CHECK(alive == 0);
    blocked(yields(counted(alive)));
    CHECK(alive == 0);
    blocked(joins(counted(alive)));
    ctx.run();  // the joined task has been cancelled
    CHECK(alive == 0);

    // Nothing that is gone is resumed, and the socket works on.
    source.request_stop();
    std::array<char, 4> buffer{};
    const std::size_t n =
        ctx.block_on([](udp::socket& own, std::span<char> to) -> task<std::size_t> {
            (co_await own.send_to("hi", own.local_endpoint())).value();
            co_return (co_await own.receive(to)).value();
        }(socket, buffer));
    CHECK(n == 2);
}

REACTOR_TEST("an error of the reactor comes out of run, and the next run goes on") {
    watched own(kind);
    events log;
    own.ctx.spawn(sleep_and_note(1us, log, 1));
    own.log->fail_with = test::out_of_memory;
    std::error_code ec;
    try {
        own.ctx.run();
    } catch (const std::system_error& error) {
        ec = error.code();
    }
    CHECK(ec == std::errc::not_enough_memory);
    own.ctx.run();
    CHECK(log == events{1});
}

#elif TEST_CAN_DIE

REACTOR_TEST("without exceptions, a stop that ends block_on is fatal and says so") {
    const auto end = test::death_of([kind] {
        io_context ctx(kind);
        ctx.post([&] { ctx.stop(); });
        ctx.block_on([]() -> task<> { (void)co_await sleep_for(1h); }());
    });
    CHECK(end.signal == SIGABRT);
    CHECK(end.said.find("curfew::io_context::block_on was stopped") != std::string::npos);
}

REACTOR_TEST("without exceptions, an error of the reactor is fatal and says what it is") {
    const auto end = test::death_of([kind] {
        watched own(kind);
        events log;
        own.ctx.spawn(sleep_and_note(1us, log, 1));
        own.log->fail_with = test::out_of_memory;
        own.ctx.run();
    });
    CHECK(end.signal == SIGABRT);
    CHECK(end.said.find("the reactor failed") != std::string::npos);
    CHECK(end.said.find(std::make_error_code(std::errc::not_enough_memory).message()) !=
          std::string::npos);
}

#endif

// Contexts in contexts ----------------------------------------------------------------------------

REACTOR_TEST("a task of one context may poll another one") {
    io_context outer(kind), inner(kind);
    events log;
    io_context* seen_inside = nullptr;
    inner.spawn([](events& to, io_context*& seen) -> task<> {
        to.push_back(2);
        co_await yield();
        seen = &this_context();
        (void)co_await sleep_for(100us);
        to.push_back(3);
    }(log, seen_inside));
    const auto frames = [](io_context& own, io_context& other, events& to) -> task<> {
        to.push_back(1);
        while (to.back() != 3) {
            other.poll();
            CHECK(&this_context() == &own);
            co_await yield();
            CHECK(&this_context() == &own);
        }
        to.push_back(4);
    };
    outer.block_on(frames(outer, inner, log));
    CHECK(seen_inside == &inner);
    CHECK(log == events{1, 2, 3, 4});
}

REACTOR_TEST("a task of one context may run another one to its end") {
    io_context outer(kind), inner(kind);
    events log;
    const auto inside = [](events& to) -> task<int> {
        (void)co_await sleep_for(100us);
        to.push_back(2);
        co_return 7;
    };
    const auto outside = [&](events& to) -> task<int> {
        to.push_back(1);
        const int value = inner.block_on(inside(to));
        (void)co_await sleep_for(100us);
        to.push_back(3);
        co_return value;
    };
    CHECK(outer.block_on(outside(log)) == 7);
    CHECK(log == events{1, 2, 3});
}

REACTOR_TEST("a task may post to and spawn in another context, which runs it in its own time") {
    io_context first(kind), second(kind);
    events log;
    first.block_on([](io_context& other, events& to) -> task<> {
        other.post([&to] { to.push_back(2); });
        other.spawn(note(to, 3));
        to.push_back(1);
        co_return;
    }(second, log));
    CHECK(log == events{1});
    second.run();
    CHECK(log.size() == 3);
}

REACTOR_TEST("a function posted to the outer context from inside the inner one is not lost") {
    io_context outer(kind), inner(kind);
    events log;
    inner.post([&] { outer.post([&] { log.push_back(1); }); });
    outer.block_on([](io_context& other, events& to) -> task<> {
        other.poll();
        while (to.empty()) co_await yield();
    }(inner, log));
    CHECK(log == events{1});
}

REACTOR_TEST("a task that awaits a handle of another context goes on in its own") {
    io_context outer(kind), inner(kind);
    io_context* where = nullptr;
    auto handle = inner.spawn([]() -> task<> {
        co_await yield();
        co_await yield();
    }());
    auto joiner = outer.spawn([](join_handle<>& other, io_context*& to) -> task<> {
        co_await other;
        to = &this_context();
    }(handle, where));
    outer.poll();
    while (!handle.done()) inner.poll();
    for (int i = 0; i < 10 && !joiner.done(); ++i) outer.poll();
    CHECK(joiner.done());
    CHECK(where == &outer);
}

// Choosing a reactor ------------------------------------------------------------------------------

namespace {

/// CURFEW_REACTOR for a while.
class reactor_variable {
public:
    explicit reactor_variable(const char* value) {
        if (const char* before = std::getenv("CURFEW_REACTOR")) before_ = before;
        test::native::set_environment("CURFEW_REACTOR", value);
    }
    ~reactor_variable() {
        test::native::set_environment("CURFEW_REACTOR", before_ ? before_->c_str() : nullptr);
    }
    reactor_variable(const reactor_variable&) = delete;
    reactor_variable& operator=(const reactor_variable&) = delete;

private:
    std::optional<std::string> before_;
};

bool is_here(reactor_kind kind) { return test::make_reactor(kind) != nullptr; }

constexpr reactor_kind best_first[] = {reactor_kind::iocp, reactor_kind::io_uring,
                                       reactor_kind::epoll, reactor_kind::poll,
                                       reactor_kind::select};

}  // namespace

TEST_CASE("the environment variable CURFEW_REACTOR chooses the default reactor") {
    for (const auto kind : best_first) {
        if (!is_here(kind)) continue;
        const std::string name(to_string(kind));
        const reactor_variable variable(name.c_str());
        CHECK(io_context().name() == name);
    }
}

TEST_CASE("without CURFEW_REACTOR, or with an empty one, the best reactor is chosen") {
    std::string best;
    for (const auto kind : best_first)
        if (best.empty() && is_here(kind)) best = to_string(kind);
    {
        const reactor_variable variable(nullptr);
        CHECK(io_context().name() == best);
    }
    const reactor_variable variable("");
    CHECK(io_context().name() == best);
}

TEST_CASE("CURFEW_REACTOR says nothing about contexts that name their reactor") {
    const reactor_variable variable("nonsense");
    for (const auto kind : test::reactors()) CHECK(io_context(kind).name() == to_string(kind));
}

#if CURFEW_EXCEPTIONS

namespace {

struct refusal {
    std::error_code code;
    std::string message;
};

template <class Function>
refusal refused(Function make) {
    try {
        make();
    } catch (const std::system_error& error) {
        return {error.code(), error.what()};
    }
    return {};
}

bool mentions(const std::string& text, std::string_view word) {
    return text.find(word) != text.npos;
}

}  // namespace

TEST_CASE(
    "a CURFEW_REACTOR that is no reactor's name is an error that names it and those there are") {
    for (const char* name : {"nonsense", "EPOLL", "epoll ", " poll", "poll,select", "0"}) {
        CAPTURE(name);
        const reactor_variable variable(name);
        const auto [code, message] = refused([] { io_context ctx; });
        CHECK(code == std::errc::invalid_argument);
        CHECK(mentions(message, "CURFEW_REACTOR"));
        CHECK(mentions(message, std::string("'") + name + "'"));
        for (const auto kind : best_first) CHECK(mentions(message, to_string(kind)));
    }
}

TEST_CASE("a reactor that this machine does not have is an error that names it, not another one") {
    int missing = 0;
    for (const auto kind : best_first) {
        if (is_here(kind)) continue;
        ++missing;
        const std::string name(to_string(kind));
        CAPTURE(name);
        const reactor_variable variable(name.c_str());
        const auto by_environment = refused([] { io_context ctx; });
        CHECK(by_environment.code);
        CHECK(mentions(by_environment.message, "CURFEW_REACTOR"));
        CHECK(mentions(by_environment.message, name));
        const auto by_kind = refused([&] { io_context ctx(kind); });
        CHECK(by_kind.code);
        CHECK(mentions(by_kind.message, name));
#if defined(_WIN32)
        const bool elsewhere = kind == reactor_kind::epoll || kind == reactor_kind::io_uring;
#else
        const bool elsewhere = kind == reactor_kind::iocp;
#endif
        if (elsewhere) {
            CHECK(by_environment.code == errc::not_supported);
            CHECK(by_kind.code == errc::not_supported);
        }
    }
    CHECK(missing > 0);  // no system has them all
}

#elif TEST_CAN_DIE

TEST_CASE("without exceptions, a CURFEW_REACTOR that is no reactor's name is fatal and says so") {
    const auto end = test::death_of([] {
        const reactor_variable variable("nonsense");
        io_context ctx;
    });
    CHECK(end.signal == SIGABRT);
    CHECK(end.said.find("CURFEW_REACTOR='nonsense'") != std::string::npos);
}

#endif
