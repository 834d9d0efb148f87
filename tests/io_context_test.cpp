#include <curfew/io_context.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <coroutine>
#include <cstdio>
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
#include <vector>

#include <curfew/curfew.hpp>

#include "support/counted.hpp"
#include "support/crowd.hpp"
#include "support/effort.hpp"
#include "support/fatal.hpp"
#include "support/foreign.hpp"
#include "support/platform.hpp"
#include "support/reactors.hpp"
#include "support/small_stack.hpp"
#include "support/watched_reactor.hpp"

#if TEST_HAS_SIGNALS
#include <pthread.h>

#include <csignal>
#endif

using namespace curfew;
using namespace std::chrono_literals;
using test::counted;
using test::crowd;
using test::honest_system;
using test::join;
using test::watched_reactor;
using time_point = curfew::clock::time_point;

namespace {

using events = std::vector<int>;

task<> note(events& log, int id) {
    log.push_back(id);
    co_return;
}

task<> sleep_and_note(std::chrono::nanoseconds time, events& log, int id) {
    (void)co_await sleep_for(time);
    log.push_back(id);
}

task<> note_and_yield(events& log, int id) {
    for (;;) {
        log.push_back(id);
        const auto [ec] = co_await yield();
        if (ec) co_return;
    }
}

ip::endpoint any_port() { return {ip::address::loopback_v4(), 0}; }

/// A context on a watched reactor, and what that saw.
struct watched {
    std::shared_ptr<watched_reactor::log> log = std::make_shared<watched_reactor::log>();
    io_context ctx;
    explicit watched(reactor_kind kind) : ctx(std::make_unique<watched_reactor>(kind, log)) {}
};

/// Keeps the processor busy until then.
void work_until(time_point end) {
    while (curfew::clock::now() < end) {}
}

}  // namespace

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

REACTOR_TEST("only a run that is to last settles in its thread, and it moves out at its end") {
    watched own(kind);
    own.log->keep_waits = false;
    const auto last = [&own](bool fail) {
        own.ctx.spawn([](bool throws) -> task<> {
            for (int i = 0; i < CURFEW_SETTLE_AFTER + 200; ++i) co_await yield();
            if (throws) detail::raise(std::make_error_code(std::errc::io_error), "at the end");
        }(fail));
    };
    last(false);
    CHECK(own.ctx.run_for(1h) > CURFEW_SETTLE_AFTER);
    last(false);
    while (own.ctx.poll() > 0) {}
    last(false);
    while (own.ctx.run_one() > 0) {}
    CHECK(own.log->settled == 0);
    if (CURFEW_SETTLE_AFTER > 0) own.ctx.run();
    CHECK(own.log->settled == 0);

    last(false);
    own.ctx.run();
    CHECK(own.log->settled == 1);
    CHECK(own.log->unsettled == 1);
    // One within the other: it is the outermost that moves out.
    last(false);
    own.ctx.post([&] {
        last(false);
        own.ctx.run();
        CHECK(own.log->settled == 2);
        own.ctx.run_one();
        CHECK(own.log->unsettled == 1);
    });
    own.ctx.run();
    CHECK(own.log->settled == 2);
    CHECK(own.log->unsettled == 2);
#if CURFEW_EXCEPTIONS
    last(true);
    CHECK_THROWS_AS(own.ctx.run(), std::system_error);
    CHECK(own.log->settled == 3);
    CHECK(own.log->unsettled == 3);
#endif
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

REACTOR_TEST("poll takes all that is ready, more than a system call tells at once") {
    constexpr std::size_t count = 400;
    // A reactor may have the system tell less at a time after it has brought much.
    for (const std::size_t size : {std::size_t{1}, std::size_t{16'384}}) {
        CAPTURE(size);
        io_context ctx(kind);
        crowd all(ctx, count);
        std::size_t received = 0;
        for (udp::socket& each : all.sockets)
            ctx.spawn([](udp::socket& from, std::size_t wanted, std::size_t& total) -> task<> {
                std::vector<char> buffer(wanted);
                for (int round = 0; round < 2; ++round) {
                    auto [ec, n] = co_await from.receive(buffer);
                    total += !ec && n == wanted;
                }
            }(each, size, received));
        while (ctx.poll() > 0) {}
        CHECK(received == 0);
        for (std::size_t round = 1; round <= 2; ++round) {
            all.reach(kind, size);
            ctx.poll();
            CHECK(received == round * count);
        }
    }
}

REACTOR_TEST("events that nobody waits for hide nothing, neither from poll nor from a limit") {
    const honest_system now;
    io_context ctx(kind);
    crowd idle(ctx, 200);
    crowd wanted(ctx, 1);
    const auto receive = [](udp::socket& from, std::chrono::milliseconds limit) -> task<bool> {
        std::array<char, 8> buffer;
        auto [ec, n] = co_await with_timeout(from.receive(buffer), limit);
        co_return !ec && n == 1;
    };
    // Since they have waited once, the system is asked about them.
    for (udp::socket& each : idle.sockets) ctx.spawn(receive(each, 1min));
    while (ctx.poll() > 0) {}
    for (udp::socket& each : idle.sockets) each.cancel();
    ctx.run();

    auto polled = ctx.spawn(receive(wanted.sockets.front(), 1min));
    while (ctx.poll() > 0) {}
    idle.reach(kind, 1);
    wanted.reach(kind, 1);
    ctx.poll();
    CHECK(polled.done());
    CHECK(join(ctx, polled));

    auto limited = ctx.spawn(receive(wanted.sockets.front(), 20ms));
    while (ctx.poll() > 0) {}
    idle.reach(kind, 1);
    wanted.reach(kind, 1);
    std::this_thread::sleep_for(25ms);  // nobody looks until the limit is over
    CHECK(join(ctx, limited));
}

REACTOR_TEST("poll returns, and limits expire, though coroutines keep each other ready for ever") {
    io_context ctx(kind);
    channel<int> there(0), back(0);
    bool over = false;
    ctx.spawn([](channel<int>& to, channel<int>& from) -> task<> {
        while (true) {
            const auto [sent] = co_await to.send(1);
            if (sent) co_return;
            const auto [ec, value] = co_await from.receive();
            if (ec) co_return;
        }
    }(there, back));
    ctx.spawn([](channel<int>& from, channel<int>& to) -> task<> {
        while (true) {
            const auto [ec, value] = co_await from.receive();
            if (ec) co_return;
            const auto [sent] = co_await to.send(value);
            if (sent) co_return;
        }
    }(there, back));
    ctx.spawn([](bool& slept, channel<int>& ends) -> task<> {
        (void)co_await sleep_for(2ms);
        slept = true;
        ends.close();
    }(over, there));
    for (int i = 0; i < 10'000 && !over; ++i) ctx.poll();
    CHECK(over);
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

REACTOR_TEST("a loop whose tasks wait for ticks sleeps in the system, and does not spin") {
    watched own(kind);
    own.ctx.spawn([]() -> task<> {
        for (;;)
            if (auto [ec] = co_await next_tick(); ec) co_return;
    }());
    for (int frame = 0; frame < 10; ++frame) {
        own.ctx.poll();
        own.ctx.run_for(3ms);
        own.ctx.poll_until(curfew::clock::now() + 3ms);
    }
    CHECK(own.log->waits.size() < 200);
}

REACTOR_TEST("what yields beside a wait for a tick leaves no chores behind: run_for sleeps") {
    watched own(kind);
    int ticks = 0;
    own.ctx.spawn([](int& count) -> task<> {
        for (int i = 0; i < 5; ++i) {
            co_await next_tick();
            ++count;
        }
    }(ticks));
    own.ctx.spawn([]() -> task<> {
        for (int i = 0; i < 5; ++i) co_await yield();
    }());
    own.ctx.poll_for(10s);
    CHECK(ticks == 0);
    const std::size_t waits = own.log->waits.size();
    own.ctx.run_for(5ms);
    CHECK(ticks == 0);
    CHECK(own.log->waits.size() < waits + 20);
    for (int i = 1; i <= 5; ++i) {
        own.ctx.poll_for(10s);
        CHECK(ticks == i);
    }
}

// Deadlines and the time --------------------------------------------------------------------------

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

// Stop --------------------------------------------------------------------------------------------

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

// Post --------------------------------------------------------------------------------------------

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

// Fairness ----------------------------------------------------------------------------------------

namespace {

/// Awaits what completes at once, until told to end.
task<> complete_at_once(tcp::socket& socket, const bool& end, int& count) {
    std::array<std::byte, 1> buffer;
    while (!end && count < 10'000'000) {
        (void)co_await socket.read_some(std::span(buffer).first(0));
        ++count;
    }
}

}  // namespace

REACTOR_TEST("a task whose operations all complete at once starves no other task") {
    io_context ctx(kind);
    tcp::socket socket(ctx);
    socket.open(ip::family::v4).value();
    bool end = false;
    int count = 0;
    ctx.spawn(complete_at_once(socket, end, count));
    ctx.spawn([](bool& done) -> task<> {
        for (int i = 0; i < 10; ++i) co_await yield();
        done = true;
    }(end));
    ctx.run();
    CHECK(end);
    CHECK(count > 0);
    CHECK(count < 100'000);
}

REACTOR_TEST("a task whose operations all complete at once starves no sleep") {
    io_context ctx(kind);
    tcp::socket closed(ctx);
    bool end = false;
    int count = 0;
    ctx.spawn(complete_at_once(closed, end, count));
    ctx.spawn([](bool& done) -> task<> {
        (void)co_await sleep_for(10us);
        done = true;
    }(end));
    ctx.run();
    CHECK(end);
}

REACTOR_TEST("a task whose operations all complete at once starves no socket and no function") {
    io_context ctx(kind);
    tcp::socket closed(ctx);
    udp::socket receiver(ctx);
    receiver.bind(any_port()).value();
    bool received = false, posted = false;
    int count = 0;
    ctx.spawn(complete_at_once(closed, received, count));
    ctx.spawn([](io_context& own, udp::socket& from, bool& done, bool& after) -> task<> {
        std::array<char, 8> buffer;
        udp::socket sender(own);
        sender.bind(any_port()).value();
        co_await yield();
        own.post([&] { after = true; });
        (void)(co_await sender.send_to("x", from.local_endpoint())).value();
        (void)(co_await from.receive(buffer)).value();
        done = true;
    }(ctx, receiver, received, posted));
    ctx.run();
    CHECK(received);
    CHECK(posted);
    CHECK(count < 10'000'000);
}

REACTOR_TEST("poll returns although a task's operations all complete at once") {
    io_context ctx(kind);
    tcp::socket closed(ctx);
    const bool never = false;
    int count = 0;
    auto handle = ctx.spawn(complete_at_once(closed, never, count));
    ctx.poll();
    CHECK(count > 0);
    CHECK(count < 100'000);
    const int before = count;
    ctx.poll();
    CHECK(count > before);
    CHECK_FALSE(handle.done());
}

REACTOR_TEST("functions that post themselves again starve no sleep of a run") {
    io_context ctx(kind);
    bool end = false;
    int count = 0;
    struct again {
        io_context& ctx;
        const bool& end;
        int& count;
        void operator()() const {
            if (!end && ++count < 10'000'000) ctx.post(*this);
        }
    };
    ctx.post(again{ctx, end, count});
    ctx.spawn([](bool& done) -> task<> {
        (void)co_await sleep_for(10us);
        done = true;
    }(end));
    ctx.run();
    CHECK(end);
    CHECK(count < 10'000'000);
}

// The end of a context ----------------------------------------------------------------------------

REACTOR_TEST("a context destroys every task it still has, exactly once, and resumes none") {
    int alive = 0;
    events log;
    {
        io_context ctx(kind);
        tcp::acceptor acceptor(ctx);
        acceptor.listen(any_port()).value();
        udp::socket datagrams(ctx);
        datagrams.bind(any_port()).value();
        std::stop_source source;
        const auto in = [&](auto make_awaitable) {
            return ctx.spawn([](auto make, counted, events& to) -> task<> {
                (void)co_await make();
                to.push_back(1);
            }(make_awaitable, counted(alive), log));
        };
        const auto nothing = []() -> task<> { co_await yield(); };
        std::array<std::byte, 10> buffer;
        ip::endpoint sender;
        in([] { return sleep_for(1h); });
        in([] { return sleep_for(std::chrono::hours::max()); });
        in([&] { return acceptor.accept(); });
        in([&] { return datagrams.receive_from(buffer, sender); });
        in([] { return with_timeout(sleep_for(2h), 1h); });
        in([&] { return cancel_on(sleep_for(1h), source.get_token()); });
        in([] { return shielded(sleep_for(1h)); });
        in([] {
            return []() -> task<int> {
                (void)co_await sleep_for(1h);
                co_return 1;
            }();
        });
        auto inner = in([] { return sleep_for(1h); });
        const auto join = [&]() -> task<int> {
            co_await inner;
            co_return 1;
        };
        in(join);
        const auto kept = in([] { return sleep_for(1h); });
        ctx.poll();
        ctx.spawn([](counted, task<> held) -> task<> { co_await held; }(counted(alive), nothing()));
        CHECK(alive == 12);
    }
    CHECK(alive == 0);
    CHECK(log.empty());
}

namespace {

task<> read_and_note(tcp::socket peer, counted, events& log) {
    std::array<std::byte, 100> buffer;
    (void)co_await peer.read_some(buffer);
    log.push_back(1);
}

task<> write_and_note(tcp::socket peer, counted, events& log) {
    const std::vector<char> much(50'000'000);
    (void)co_await with_timeout(write_all(peer, much), 1h, on_timeout::close);
    log.push_back(2);
}

task<> begin_everything(io_context& ctx, int& alive, events& log) {
    tcp::acceptor acceptor(ctx);
    acceptor.listen(any_port()).value();
    tcp::socket client(ctx), idle(ctx);
    (co_await client.connect(acceptor.local_endpoint())).value();
    tcp::socket server = (co_await acceptor.accept()).value();
    (co_await idle.connect(acceptor.local_endpoint())).value();
    ctx.spawn(write_and_note(std::move(client), counted(alive), log));
    ctx.spawn(read_and_note(std::move(idle), counted(alive), log));
    for (int i = 0; i < 5; ++i) co_await yield();
    // Nobody reads what is written to this one.
    ctx.spawn([](tcp::socket, counted) -> task<> {
        (void)co_await sleep_for(1h);
    }(std::move(server), counted(alive)));
    for (int i = 0; i < 5; ++i) co_await yield();
}

}  // namespace

REACTOR_TEST("a context with connections in the middle of everything is destroyed cleanly") {
    int alive = 0;
    events log;
    {
        io_context ctx(kind);
        ctx.block_on(begin_everything(ctx, alive, log));
        CHECK(alive == 3);
    }
    CHECK(alive == 0);
    CHECK(log.empty());
}

namespace {

/// Does something at its end.
template <class Function>
class at_end {
public:
    explicit at_end(Function f) : function_(std::move(f)) {}
    at_end(const at_end&) = delete;
    at_end& operator=(const at_end&) = delete;
    ~at_end() { function_(); }

private:
    Function function_;
};

}  // namespace

REACTOR_TEST("what destructors spawn and post while a context ends is destroyed too") {
    int alive = 0;
    events log;
    {
        io_context ctx(kind);
        ctx.spawn([](io_context& own, int& count, events& to) -> task<> {
            const at_end last([&] {
                own.post([&to, held = counted(count)] { to.push_back(1); });
                own.spawn([](counted, events& log_again) -> task<> {
                    log_again.push_back(2);
                    co_return;
                }(counted(count), to));
            });
            (void)co_await sleep_for(1h);
        }(ctx, alive, log));
        ctx.poll();
    }
    CHECK(alive == 0);
    CHECK(log.empty());
}

REACTOR_TEST(
    "a task that is cancelled by another one's destructor while a context ends is not resumed") {
    int alive = 0;
    events log;
    {
        io_context ctx(kind);
        const auto sleeps = [](counted, events& to) -> task<> {
            (void)co_await sleep_for(1h);
            to.push_back(1);
        };
        const auto guards = [](join_handle<> child) -> task<> {
            const at_end cancel([&] { child.cancel(); });
            (void)co_await sleep_for(1h);
        };
        for (int i = 0; i < 3; ++i) {
            ctx.spawn(guards(ctx.spawn(sleeps(counted(alive), log))));
            auto late = ctx.spawn(sleeps(counted(alive), log));
            ctx.spawn(guards(std::move(late)));
        }
        ctx.poll();
        CHECK(alive == 6);
    }
    CHECK(alive == 0);
    CHECK(log.empty());
}

#if TEST_CAN_DIE
REACTOR_TEST("a suspended task that holds its own handle is destroyed once, with the context") {
    const auto end = test::death_of([kind] {
        int alive = 0;
        {
            io_context ctx(kind);
            const auto handle = std::make_shared<join_handle<>>();
            *handle = ctx.spawn([](std::shared_ptr<join_handle<>>, counted) -> task<> {
                (void)co_await sleep_for(1h);
            }(handle, counted(alive)));
            ctx.poll();
        }
        std::fprintf(stderr, "%d left", alive);
    });
    CHECK(end.signal == 0);
    CHECK(end.said == "0 left");
}
#endif

REACTOR_TEST("tasks that hold each other's handles are destroyed, each once") {
    int alive = 0;
    {
        io_context ctx(kind);
        const auto first = std::make_shared<join_handle<>>();
        const auto second = std::make_shared<join_handle<>>();
        const auto work = [](std::shared_ptr<join_handle<>>, counted) -> task<> {
            (void)co_await sleep_for(1h);
        };
        *first = ctx.spawn(work(second, counted(alive)));
        *second = ctx.spawn(work(first, counted(alive)));
        ctx.poll();
        CHECK(alive == 2);
    }
    CHECK(alive == 0);
}

REACTOR_TEST("sockets that outlive their context are closed") {
    std::optional<tcp::acceptor> acceptor;
    std::optional<udp::socket> datagrams;
    {
        io_context ctx(kind);
        acceptor.emplace(ctx);
        acceptor->listen(any_port()).value();
        datagrams.emplace(ctx);
        datagrams->bind(any_port()).value();
        CHECK(acceptor->is_open());
    }
    CHECK_FALSE(acceptor->is_open());
    CHECK_FALSE(datagrams->is_open());
    io_context other(kind);
    const auto accept = [](tcp::acceptor& from) -> task<std::error_code> {
        const auto [ec, peer] = co_await from.accept();
        co_return ec;
    };
    CHECK(other.block_on(accept(*acceptor)) == errc::closed);
    acceptor->close();
    acceptor.reset();
}

REACTOR_TEST("a context can be destroyed within a task of another one") {
    io_context outer(kind);
    int alive = 0;
    outer.block_on([](reactor_kind same, int& count) -> task<> {
        {
            io_context inner(same);
            inner.spawn([](counted) -> task<> { (void)co_await sleep_for(1h); }(counted(count)));
            inner.poll();
        }
        CHECK(count == 0);
        (void)co_await sleep_for(10us);
    }(kind, alive));
    CHECK(alive == 0);
}

REACTOR_TEST("a coroutine that is no task may be destroyed after the context it slept in") {
    std::coroutine_handle<> left;
    int alive = 0;
    {
        io_context ctx(kind);
        const auto foreign = [](std::coroutine_handle<>& to, counted) -> test::detached {
            co_await test::handle_to{to};
            (void)co_await sleep_for(0s);
            (void)co_await sleep_for(1h);  // begins in the second half of the poll
        };
        ctx.post([&] { foreign(left, counted(alive)); });
        ctx.poll();
    }
    CHECK(alive == 1);
    left.destroy();
    CHECK(alive == 0);
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

#if TEST_CAN_DIE
REACTOR_TEST("a context that is destroyed by its own task, or beside its run, is fatal") {
    constexpr int line = __LINE__ + 5;
    const auto by_task = test::death_of([kind] {
        auto ctx = std::make_unique<io_context>(kind);
        ctx->spawn([](std::unique_ptr<io_context>& own) -> task<> {
            const auto destroy = [](std::unique_ptr<io_context>& one) { one.reset(); };
            co_await yield();
            destroy(own);
        }(ctx));
        ctx->run();
    });
    CHECK(said_at(by_task, "destroyed by a task or function that it runs", line));
    const auto by_function = test::death_of([kind] {
        auto ctx = std::make_unique<io_context>(kind);
        ctx->post([&ctx] { ctx.reset(); });
        ctx->run();
    });
    CHECK(by_function.signal == SIGABRT);
    CHECK(by_function.said.find("destroyed by a task or function that it runs") !=
          std::string::npos);
    const auto by_thread = test::death_of([kind] {
        auto ctx = std::make_unique<io_context>(kind);
        ctx->post([&ctx] { std::thread([&ctx] { ctx.reset(); }).join(); });
        ctx->run();
    });
    CHECK(by_thread.signal == SIGABRT);
    CHECK(by_thread.said.find("destroyed while it runs in another thread") != std::string::npos);
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

REACTOR_TEST("a task that another library's callback resumes, and that ends there, has ended") {
    struct callback {
        std::coroutine_handle<>& to;
        bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<> waiting) const noexcept { to = waiting; }
        void await_resume() const noexcept {}
    };
    io_context ctx(kind);
    std::coroutine_handle<> waiting;
    auto handle =
        ctx.spawn([](std::coroutine_handle<>& to) -> task<> { co_await callback{to}; }(waiting));
    ctx.poll();
    waiting.resume();
    ctx.run();  // would wait for ever
    CHECK(handle.done());
}

// Destroying what is deep
// --------------------------------------------------------------------------

namespace {

/// Says when it is destroyed which level of a chain it belongs to.
struct leaves {
    std::vector<std::size_t>& order;
    std::size_t level;
    ~leaves() { order.push_back(level); }
};

task<> deep_chain(std::size_t left, std::vector<std::size_t>& order) {
    const leaves mark{order, left};
    if (left == 0)
        co_await sleep_for(1h);
    else
        co_await deep_chain(left - 1, order);
}

bool is_innermost_first(const std::vector<std::size_t>& order, std::size_t depth) {
    for (std::size_t i = 0; i < order.size(); ++i)
        if (order[i] != i) return false;
    return order.size() == depth + 1;
}

}  // namespace

REACTOR_TEST("a deep chain of tasks is destroyed with its context without stack, innermost first") {
    const std::size_t depth = test::scaled(100'000);
    std::vector<std::size_t> order;
    const bool ran = test::on_small_stack([&] {
        io_context ctx(kind);
        ctx.spawn(deep_chain(depth, order));
        ctx.poll();
    });
    REQUIRE(ran);
    CHECK(is_innermost_first(order, depth));
}

#if CURFEW_EXCEPTIONS
REACTOR_TEST("a deep chain of tasks in block_on is destroyed by a stop without stack") {
    const std::size_t depth = test::scaled(100'000);
    std::vector<std::size_t> order;
    bool stopped = false;
    const bool ran = test::on_small_stack([&] {
        io_context ctx(kind);
        ctx.post([&] { ctx.stop(); });
        try {
            ctx.block_on(deep_chain(depth, order));
        } catch (const std::system_error&) {
            stopped = true;
        }
    });
    REQUIRE(ran);
    CHECK(stopped);
    CHECK(is_innermost_first(order, depth));
}
#endif

REACTOR_TEST("a task may be moved while it is awaited, and is destroyed with whoever holds it") {
    for (const bool to_its_end : {true, false}) {
        std::vector<std::size_t> order;
        std::vector<task<>> held;
        {
            io_context ctx(kind);
            held.push_back([](std::vector<std::size_t>& seen) -> task<> {
                const leaves mark{seen, 0};
                co_await sleep_for(5ms);
            }(order));
            ctx.spawn([](std::vector<task<>>& all, std::vector<std::size_t>& seen) -> task<> {
                const leaves mark{seen, 1};
                co_await all.front();
            }(held, order));
            ctx.poll();
            for (int i = 0; i < 10; ++i) held.emplace_back();  // moves the first
            if (to_its_end) ctx.run();
        }
        CHECK(order == std::vector<std::size_t>{0, 1});
    }
}

REACTOR_TEST("what a task is destroyed within may spawn, post, cancel and drop handles") {
    int alive = 0;
    struct busy {
        io_context& ctx;
        join_handle<>& other;
        counted inside;
        ~busy() {
            ctx.spawn([](counted) -> task<> { co_await sleep_for(1h); }(inside));
            ctx.post([keep = inside] {});
            other.cancel();
            other = join_handle<>();
        }
    };
    for (const bool by_stop : {false, true}) {
        if (by_stop && !CURFEW_EXCEPTIONS) continue;
        join_handle<> other;
        io_context ctx(kind);
        other = ctx.spawn([](counted) -> task<> { co_await sleep_for(1h); }(counted(alive)));
        const auto work = [](io_context& own, join_handle<>& theirs, counted inside) -> task<> {
            const busy first{own, theirs, inside};
            co_await when_all(sleep_for(1h),
                              [](io_context& mine, join_handle<>& its, counted in) -> task<> {
                                  const busy second{mine, its, in};
                                  co_await sleep_for(1h);
                              }(own, theirs, inside));
        };
        if (!by_stop) {
            ctx.spawn(work(ctx, other, counted(alive)));
            ctx.poll();
            continue;
        }
#if CURFEW_EXCEPTIONS
        ctx.spawn([](io_context& own) -> task<> {
            for (int i = 0; i < 3; ++i) co_await yield();
            own.stop();
        }(ctx));
        CHECK_THROWS_AS(ctx.block_on(work(ctx, other, counted(alive))), std::system_error);
        ctx.poll();
        CHECK(ctx.tasks().size() == 2);  // the spawned; the other one was cancelled
#endif
    }
    CHECK(alive == 0);
}
