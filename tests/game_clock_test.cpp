#include <curfew/game_clock.hpp>

#include <doctest/doctest.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <ratio>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <curfew/curfew.hpp>

#include "support/loop.hpp"
#include "support/reactors.hpp"

using namespace curfew;
using namespace std::chrono_literals;
using test::run;
using game_time = game_clock::time_point;

namespace {

using ids = std::vector<int>;

task<> sleep_and_note(game_clock& game, std::chrono::nanoseconds time, ids& log, int id) {
    const auto [ec] = co_await game.sleep_for(time);
    log.push_back(ec ? -id : id);
}

task<std::error_code> sleep_in(game_clock& game, std::chrono::nanoseconds time) {
    const auto [ec] = co_await game.sleep_for(time);
    co_return ec;
}

template <class Awaitable>
task<> note_error(Awaitable awaitable, std::error_code& to) {
    const auto got = co_await std::move(awaitable);
    to = got.ec;
}

std::chrono::nanoseconds since_start(const game_clock& game) {
    return game.now().time_since_epoch();
}

}  // namespace

// The time ----------------------------------------------------------------------------------------

TEST_CASE("the clock stands still until it is moved, and then moves by the step") {
    game_clock game;
    CHECK(game.now() == game_time());
    std::this_thread::sleep_for(1ms);
    CHECK(game.now() == game_time());
    CHECK(game.advance(16ms) == 16ms);
    CHECK(game.now() == game_time(16ms));
    CHECK(game.advance(std::chrono::duration<double>(0.5)) == 500ms);
    CHECK(since_start(game) == 516ms);
    CHECK(game.advance(0ms) == 0ms);
    CHECK(game.advance(-5ms) == 0ms);
    CHECK(since_start(game) == 516ms);
}

TEST_CASE("the scale says how fast the game's time passes") {
    game_clock game;
    CHECK(game.scale() == 1.0);
    game.scale(0.5);
    CHECK(game.scale() == 0.5);
    CHECK(game.advance(10ms) == 5ms);
    game.scale(3);
    CHECK(game.advance(10ms) == 30ms);
    game.scale(0);
    CHECK(game.advance(10ms) == 0ms);
    game.scale(1);
    CHECK(game.advance(10ms) == 10ms);
    CHECK(since_start(game) == 45ms);
}

TEST_CASE("a paused clock does not move; resumed, it goes on where it stood") {
    game_clock game;
    game.advance(5ms);
    game.pause();
    CHECK(game.paused());
    CHECK(game.advance(10ms) == 0ms);
    CHECK(since_start(game) == 5ms);
    game.resume();
    CHECK_FALSE(game.paused());
    CHECK(since_start(game) == 5ms);
    CHECK(game.advance(1ms) == 1ms);
}

TEST_CASE("a step counts up to max_step, before it is scaled") {
    game_clock game;
    game.max_step(50ms);
    CHECK(game.max_step() == 50ms);
    CHECK(game.advance(30ms) == 30ms);
    CHECK(game.advance(10s) == 50ms);
    game.scale(2);
    CHECK(game.advance(10s) == 100ms);
    CHECK(since_start(game) == 180ms);
}

TEST_CASE("many small steps lose nothing, whatever the scale") {
    for (const double factor : {1.0 / 3, 0.1, 0.7, 1.5, 2.9}) {
        CAPTURE(factor);
        game_clock game;
        game.scale(factor);
        for (int i = 0; i < 100'000; ++i) game.advance(7ns);
        const auto exact = static_cast<std::int64_t>(700'000 * factor);
        CHECK(std::abs(since_start(game).count() - exact) <= 1);
    }
    game_clock mixed;  // a change of the scale, and a pause, keep the fraction
    for (int i = 0; i < 1'000; ++i) {
        mixed.scale(0.5);
        mixed.advance(1ns);
        mixed.pause();
        mixed.advance(1s);
        mixed.resume();
        mixed.scale(1);
        mixed.advance(1ns);
    }
    CHECK(since_start(mixed) == 1'500ns);
}

TEST_CASE("the clock never goes back or round, however far it is moved") {
    game_clock game;
    for (const double factor : {1.0, 1e6, 0.9, 1.0, 1e300}) {
        game.scale(factor);
        for (int i = 0; i < 3; ++i) {
            const auto before = game.now();
            game.advance(std::chrono::hours::max());
            CHECK(game.now() >= before);
        }
    }
    CHECK(since_start(game) > std::chrono::years(100));
}

TEST_CASE("the first update only starts to count; the next ones move by the real time") {
    game_clock game;
    std::this_thread::sleep_for(2ms);
    CHECK(game.update() == 0ns);
    CHECK(game.now() == game_time());
    const auto before = curfew::clock::now();
    std::this_thread::sleep_for(2ms);
    const auto step = game.update();
    CHECK(step >= 2ms);
    CHECK(since_start(game) == step);
    for (int i = 0; i < 1'000; ++i) {
        const auto at = game.now();
        CHECK(game.update() >= 0ns);
        REQUIRE(game.now() >= at);
    }
    std::this_thread::sleep_for(1ms);
    game.update();
    CHECK(since_start(game) >= 3ms);
    CHECK(since_start(game) <= curfew::clock::now() - before + 2ms);
}

TEST_CASE("the real time of a pause is not made up for, and a hitch counts as max_step") {
    game_clock game;
    game.update();
    game.pause();
    std::this_thread::sleep_for(20ms);
    CHECK(game.update() == 0ns);
    game.resume();
    CHECK(game.update() < 20ms);
    game.max_step(1ms);
    std::this_thread::sleep_for(5ms);
    CHECK(game.update() == 1ms);
}

// Sleeps ------------------------------------------------------------------------------------------

REACTOR_TEST("a sleep on the game's clock ends in the next poll after its time has come") {
    io_context ctx(kind);
    game_clock game;
    ids log;
    ctx.spawn(sleep_and_note(game, 20ms, log, 1));
    ctx.poll();
    std::this_thread::sleep_for(25ms);
    ctx.poll();
    CHECK(log.empty());  // real time is nothing to it
    game.advance(20ms - 1ns);
    ctx.poll();
    CHECK(log.empty());
    game.advance(1ns);
    CHECK(log.empty());  // nobody runs inside of advance
    CHECK(ctx.poll() == 1);
    CHECK(log == ids{1});
}

REACTOR_TEST("sleep_until counts from the clock's beginning, and what is past ends soon") {
    io_context ctx(kind);
    game_clock game;
    game.advance(10ms);
    ids log;
    const auto until = [](game_clock& on, game_time point, ids& to, int id) -> task<> {
        (void)co_await on.sleep_until(point);
        to.push_back(id);
    };
    ctx.spawn(until(game, game_time(30ms), log, 2));
    ctx.spawn(until(game, game_time(5ms), log, 1));
    ctx.spawn(until(game, game_time(-5ms), log, 0));
    ctx.poll();
    game.advance(1ms);
    ctx.poll();
    CHECK(log == ids{0, 1});
    game.advance(19ms);
    ctx.poll();
    CHECK(log == ids{0, 1, 2});
}

REACTOR_TEST("sleeps that end in one step end in the order of their times") {
    io_context ctx(kind);
    game_clock game;
    ids log;
    for (const int id : {4, 1, 5, 3, 2}) ctx.spawn(sleep_and_note(game, id * 1ms, log, id));
    ctx.poll();
    game.advance(1s);
    ctx.poll();
    CHECK(log == ids{1, 2, 3, 4, 5});
}

REACTOR_TEST("a simulation with a fixed step gives the same order each time") {
    const auto simulate = [&] {
        io_context ctx(kind);
        game_clock game;
        ids log;
        const auto blinks = [](game_clock& on, std::chrono::nanoseconds period, ids& to,
                               int id) -> task<> {
            for (int i = 0; i < 20; ++i) {
                (void)co_await on.sleep_for(period);
                to.push_back(id);
            }
        };
        ctx.spawn(blinks(game, 30ms, log, 1));
        ctx.spawn(blinks(game, 50ms, log, 2));
        ctx.spawn(blinks(game, 70ms, log, 3));
        for (int frame = 0; frame < 200; ++frame) {
            game.advance(std::chrono::duration<int, std::ratio<1, 60>>(1));
            ctx.poll();
        }
        return log;
    };
    const ids first = simulate();
    CHECK(first.size() == 60);
    CHECK(simulate() == first);
}

REACTOR_TEST("a sleep of no time ends with the next step, also of a paused clock") {
    io_context ctx(kind);
    game_clock game;
    game.pause();
    ids log;
    ctx.spawn(sleep_and_note(game, 0ns, log, 1));
    ctx.spawn(sleep_and_note(game, 1ns, log, 2));
    ctx.poll();
    game.advance(1s);
    ctx.poll();
    CHECK(log == ids{1});
    game.resume();
    game.advance(1s);
    ctx.poll();
    CHECK(log == ids{1, 2});
}

REACTOR_TEST("a sleep on the game's clock is cancelled like any other") {
    io_context ctx(kind);
    game_clock game;
    ids log;
    auto handle = ctx.spawn(sleep_and_note(game, 1s, log, 1));
    ctx.poll();
    CHECK(game.next_deadline() == game_time(1s));
    handle.cancel();
    CHECK_FALSE(game.next_deadline());
    ctx.run();
    CHECK(log == ids{-1});
}

REACTOR_TEST("next_deadline is when the earliest sleep or limit ends, and nothing to the wire") {
    io_context ctx(kind);
    game_clock game;
    CHECK_FALSE(game.next_deadline());
    game.advance(1s);
    auto late = ctx.spawn(sleep_in(game, 20s));
    auto soon = ctx.spawn(sleep_in(game, 10s));
    event never;
    auto limited = ctx.spawn([](game_clock& on, event& what) -> task<> {
        (void)co_await on.with_timeout(what.wait(), 5s);
    }(game, never));
    ctx.poll();
    CHECK(game.next_deadline() == game_time(6s));
    CHECK_FALSE(ctx.next_deadline());
    limited.cancel();
    ctx.poll();
    CHECK(game.next_deadline() == game_time(11s));
    game.advance(10s);
    CHECK(game.next_deadline() == game_time(21s));
    late.cancel();
    soon.cancel();
    ctx.run();
}

// Limits ------------------------------------------------------------------------------------------

REACTOR_TEST("a limit on the game's clock ends an operation when the game's time is up") {
    io_context ctx(kind);
    game_clock game;
    udp::socket socket(ctx);
    socket.bind(test::any_port()).value();
    for (int round = 0; round < 3; ++round) {
        auto reader = ctx.spawn([](game_clock& on, udp::socket& from) -> task<std::error_code> {
            std::array<char, 8> buffer;
            ip::endpoint sender;
            const auto got = co_await on.with_timeout(from.receive_from(buffer, sender), 20ms);
            co_return got.ec;
        }(game, socket));
        ctx.poll();
        game.advance(19ms);
        ctx.poll();
        CHECK_FALSE(reader.done());
        game.advance(1ms);
        ctx.poll();
        REQUIRE(reader.done());
        ctx.block_on([](join_handle<std::error_code>& done) -> task<> {
            CHECK(co_await done == errc::timed_out);
        }(reader));
    }
    CHECK(socket.is_open());
}

REACTOR_TEST(
    "an operation with a limit on the game's clock that completes is not disturbed by it") {
    io_context ctx(kind);
    game_clock game;
    udp::socket socket(ctx);
    socket.bind(test::any_port()).value();
    auto reader = ctx.spawn([](game_clock& on, udp::socket& own) -> task<std::size_t> {
        std::array<char, 8> buffer;
        ip::endpoint sender;
        (co_await own.send_to("abc", own.local_endpoint())).value();
        const auto got = co_await on.with_timeout(own.receive_from(buffer, sender), 20ms);
        co_return got.ec ? 0 : got.data;
    }(game, socket));
    ctx.block_on(
        [](join_handle<std::size_t>& done) -> task<> { CHECK(co_await done == 3); }(reader));
    CHECK_FALSE(game.next_deadline());
    game.advance(1h);
}

REACTOR_TEST("a limit on the game's clock with `close` closes the socket") {
    io_context ctx(kind);
    game_clock game;
    ctx.block_on([](io_context& own, game_clock& on) -> task<> {
        auto [client, server] = co_await test::connect(own);
        own.post([&] { own.post([&] { on.advance(1s); }); });
        std::array<char, 8> buffer;
        auto [ec, n] = co_await on.with_timeout(client.read_some(buffer), 1s, on_timeout::close);
        CHECK(ec == errc::timed_out);
        CHECK_FALSE(client.is_open());
        auto [reset, m] = co_await server.read_some(buffer);
        CHECK(test::says_reset(reset));
    }(ctx, game));
}

REACTOR_TEST("a limit on the game's clock around a task cancels what it waits for") {
    io_context ctx(kind);
    game_clock game;
    std::vector<std::error_code> seen;
    ctx.spawn([](game_clock& on, std::vector<std::error_code>& to) -> task<> {
        const auto inner = [](std::vector<std::error_code>& log) -> task<result<int>> {
            const auto [ec] = co_await sleep_for(1h);
            log.push_back(ec);
            co_return {ec, 3};
        };
        auto [ec, value] = co_await on.with_timeout(inner(to), 1s);
        to.push_back(ec);
        CHECK(value == 3);
        to.push_back((co_await on.with_timeout(on.sleep_for(1s), 2s)).ec);
    }(game, seen));
    ctx.poll();
    game.advance(1s);
    ctx.poll();
    REQUIRE(seen.size() == 2);
    CHECK(seen[0] == errc::canceled);
    CHECK(seen[1] == errc::timed_out);
    game.advance(1500ms);
    ctx.run();
    REQUIRE(seen.size() == 3);
    CHECK_FALSE(seen[2]);
}

REACTOR_TEST("while the game is paused its limits stand still, and those of the wire go on") {
    io_context ctx(kind);
    game_clock game;
    game.pause();
    std::error_code inner, outer;
    auto both = ctx.spawn([](game_clock& on, std::error_code& in, std::error_code& out) -> task<> {
        event never;
        const auto waits = [](game_clock& clock_, event& what, std::error_code& to) -> task<> {
            to = (co_await clock_.with_timeout(what.wait(), 1ms)).ec;
        };
        out = (co_await with_timeout(waits(on, never, in), 5ms)).ec;
    }(game, inner, outer));
    while (!both.done()) {
        game.advance(10ms);
        ctx.run_for(1ms);
    }
    CHECK(inner == errc::canceled);
    CHECK(outer == errc::timed_out);
    CHECK(game.now() == game_time());
}

REACTOR_TEST("limits of both clocks nest on a bare operation: the first to expire says so") {
    io_context ctx(kind);
    game_clock game;
    udp::socket socket(ctx);
    socket.bind(test::any_port()).value();
    std::array<char, 8> buffer;
    ip::endpoint sender;
    const auto receive = [&] { return socket.receive_from(buffer, sender); };

    std::error_code ec;
    auto first = ctx.spawn(note_error(game.with_timeout(with_timeout(receive(), 1ms), 1h), ec));
    while (!first.done()) ctx.run_one();
    CHECK(ec == errc::timed_out);
    auto second = ctx.spawn(note_error(with_timeout(game.with_timeout(receive(), 1ms), 1h), ec));
    ec = {};
    ctx.poll();
    game.advance(1ms);
    while (!second.done()) ctx.run_one();
    CHECK(ec == errc::timed_out);
    auto third = ctx.spawn(note_error(with_timeout(game.with_timeout(receive(), 1h), 1ms), ec));
    ec = {};
    while (!third.done()) ctx.run_one();
    CHECK(ec == errc::timed_out);
    CHECK_FALSE(game.next_deadline());
}

REACTOR_TEST("a limit of the game inside one of the wire sees canceled, and the other way round") {
    io_context ctx(kind);
    game_clock game;
    std::vector<std::error_code> seen;
    auto all = ctx.spawn([](game_clock& on, std::vector<std::error_code>& to) -> task<> {
        event never;
        const auto game_inside = [&]() -> task<result<>> {
            to.push_back((co_await on.with_timeout(never.wait(), 1h)).ec);
            co_return errc::canceled;
        };
        const auto wire_inside = [&]() -> task<result<>> {
            to.push_back((co_await with_timeout(never.wait(), 1h)).ec);
            co_return errc::canceled;
        };
        to.push_back((co_await with_timeout(game_inside(), 1ms)).ec);
        to.push_back((co_await on.with_timeout(wire_inside(), 1ms)).ec);
    }(game, seen));
    while (seen.size() < 2) ctx.run_one();
    ctx.poll();
    game.advance(1ms);
    while (!all.done()) ctx.run_one();
    REQUIRE(seen.size() == 4);
    CHECK(seen[0] == errc::canceled);
    CHECK(seen[1] == errc::timed_out);
    CHECK(seen[2] == errc::canceled);
    CHECK(seen[3] == errc::timed_out);
}

REACTOR_TEST("with no time at all an operation gets one try, also when the game is paused") {
    io_context ctx(kind);
    game_clock game;
    game.pause();
    channel<int> messages(1);
    CHECK(messages.try_send(1));
    std::vector<std::error_code> seen;
    auto handle = ctx.spawn(
        [](game_clock& on, channel<int>& from, std::vector<std::error_code>& to) -> task<> {
            to.push_back((co_await on.with_timeout(from.receive(), 0s)).ec);
            to.push_back((co_await on.with_timeout(from.receive(), -1s)).ec);
        }(game, messages, seen));
    for (int frame = 0; frame < 3; ++frame) {
        game.update();
        ctx.poll();
    }
    REQUIRE(handle.done());
    CHECK_FALSE(seen[0]);
    CHECK(seen[1] == errc::timed_out);
}

REACTOR_TEST("a task may move the clock on which it has a limit itself") {
    run(kind, [](io_context&) -> task<> {
        game_clock game;
        const auto plays = [&]() -> task<result<int>> {
            co_await yield();
            game.advance(10s);
            const auto [ec] = co_await sleep_for(1h);
            co_return {ec, 1};
        };
        auto [ec, value] = co_await game.with_timeout(plays(), 5s);
        CHECK(ec == errc::timed_out);
        CHECK(value == 1);
    });
}

// Lifetimes ---------------------------------------------------------------------------------------

REACTOR_TEST("what sleeps on a clock that is destroyed waits until it is cancelled") {
    io_context ctx(kind);
    auto game = std::make_unique<game_clock>();
    ids log;
    auto handle = ctx.spawn(sleep_and_note(*game, 1ms, log, 1));
    ctx.spawn(sleep_and_note(*game, 1ms, log, 2));
    event never;
    ctx.spawn([](game_clock& on, event& what) -> task<> {
        (void)co_await on.with_timeout(what.wait(), 1ms);
    }(*game, never));
    ctx.poll();
    game.reset();
    ctx.poll();
    CHECK(log.empty());
    handle.cancel();
    ctx.poll();
    CHECK(log == ids{-1});
}

REACTOR_TEST("tasks that go with their context leave the clock nothing to end") {
    game_clock game;
    ids log;
    {
        io_context ctx(kind);
        ctx.spawn(sleep_and_note(game, 1ms, log, 1));
        ctx.poll();
        CHECK(game.next_deadline());
    }
    CHECK_FALSE(game.next_deadline());
    game.advance(1s);
    {
        io_context ctx(kind);
        ctx.spawn(sleep_and_note(game, 1ms, log, 1));
        ctx.poll();
        game.advance(1s);  // ended, but without a turn
    }
    CHECK(log.empty());
}
