// when_all: what the branches yield, who is cancelled when, and that all of them are waited for.
#include <curfew/when_all.hpp>

#include <array>
#include <chrono>
#include <memory>
#include <ranges>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "support/counted.hpp"
#include "support/effort.hpp"
#include "support/loop.hpp"
#include "support/small_stack.hpp"

using namespace test;

namespace {

using events = std::vector<int>;
using bytes = std::array<char, 16>;

task<int> number(int value) {
    co_await yield();
    co_return value;
}

task<> nothing() { co_await yield(); }

/// The numbers from `first` on, so many. (gcc 12 knows no list of values in a coroutine.)
std::vector<int> numbers(int first, int count) {
    std::vector<int> all;
    for (int i = 0; i < count; ++i) all.push_back(first + i);
    return all;
}

task<> nap() { (void)co_await sleep_for(1h); }

task<result<>> cut_short() { co_return co_await sleep_for(1h); }

task<> note(events& log, int id) {
    log.push_back(id);
    co_return;
}

/// Sleeps until it is cancelled; cleans up behind a shield, and only then notes that it has ended.
task<std::error_code> clean_up(events& log, int id) {
    const auto [ec] = co_await sleep_for(1h);
    (void)co_await shielded(sleep_for(5ms));
    log.push_back(id);
    co_return ec;
}

/// Calls `function` when what awaits now has begun to wait: two rounds later in the same turn.
template <class Function>
void soon(io_context& ctx, Function function) {
    ctx.post([&ctx, function] { ctx.post(function); });
}

}  // namespace

// Results -----------------------------------------------------------------------------------------

REACTOR_TEST("when_all yields what each branch yields, in their order, whichever ends first") {
    run(kind, [&](io_context&) -> task<> {
        const auto slow = []() -> task<int> {
            (void)co_await sleep_for(2ms);
            co_return 1;
        };
        const auto at_once = []() -> task<std::string> { co_return "two"; };
        auto [one, two, three] = co_await when_all(slow(), at_once(), number(3));
        CHECK(one == 1);
        CHECK(two == "two");
        CHECK(three == 3);
    });
}

REACTOR_TEST("the branches of when_all may be anything that can be awaited, side by side") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        bytes buffer, other;
        auto all = co_await when_all(
            number(1), nothing(), client.read_some(buffer), server.write_some("abc"),
            with_timeout(server.read_some(other), 1ms), sleep_for(1ms), ctx.spawn(number(2)),
            when_all(number(3), nothing()), with_timeout(number(4), 10s), shielded(number(5)));
        static_assert(
            std::is_same_v<decltype(all),
                           std::tuple<int, result<>, result<std::size_t>, result<std::size_t>,
                                      result<std::size_t>, optional_result, int,
                                      std::tuple<int, result<>>, result<int>, int>>);
        CHECK(std::get<0>(all) == 1);
        CHECK(std::get<1>(all).ok());
        CHECK(std::get<2>(all).value() == 3);
        CHECK(std::string(buffer.data(), 3) == "abc");
        CHECK(std::get<3>(all).value() == 3);
        CHECK(std::get<4>(all).error() == errc::timed_out);
        CHECK(std::get<5>(all).ok());
        CHECK(std::get<6>(all) == 2);
        CHECK(std::get<0>(std::get<7>(all)) == 3);
        CHECK(std::get<8>(all).value() == 4);
        CHECK(std::get<9>(all) == 5);
    });
}

REACTOR_TEST("when_all of one branch is a tuple of one, and of none is an empty one, at once") {
    run(kind, [&](io_context&) -> task<> {
        auto [one] = co_await when_all(number(1));
        CHECK(one == 1);
        const std::tuple<> none = co_await when_all();
        (void)none;
    });
}

REACTOR_TEST("when_all passes on values that can only be moved") {
    run(kind, [&](io_context&) -> task<> {
        const auto owner = [](int value) -> task<std::unique_ptr<int>> {
            co_await yield();
            co_return std::make_unique<int>(value);
        };
        auto [first, second] = co_await when_all(owner(1), owner(2));
        CHECK(*first == 1);
        CHECK(*second == 2);
        std::vector<task<std::unique_ptr<int>>> many;
        for (int i = 0; i < 3; ++i) many.push_back(owner(i));
        const auto owned = co_await when_all(std::move(many));
        CHECK(*owned[2] == 2);
    });
}

REACTOR_TEST("a reference that a branch yields refers to what the branch referred to") {
    run(kind, [&](io_context&) -> task<> {
        int there = 1;
        const auto reference = [](int& to) -> task<int&> {
            co_await yield();
            co_return to;
        };
        auto all = co_await when_all(reference(there), number(2));
        static_assert(std::is_same_v<decltype(all), std::tuple<int&, int>>);
        CHECK(&std::get<0>(all) == &there);
    });
}

REACTOR_TEST("awaitables given as lvalues are referred to, not moved from") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        bytes buffer;
        auto handle = ctx.spawn(number(1));
        auto work = number(2);
        const auto read = client.read_some(buffer);
        auto [joined, worked, received, sent] =
            co_await when_all(handle, work, read, server.write_some("x"));
        CHECK(joined == 1);
        CHECK(worked == 2);
        CHECK(received.value() == 1);
        CHECK(handle.done());  // still refers to its task, and that has ended
        (co_await server.write_some("yz")).value();
        CHECK((co_await read).value() == 2);  // an operation's description may be used again
    });
}

REACTOR_TEST("a combination may be made first and awaited later") {
    run(kind, [&](io_context&) -> task<> {
        events log;
        auto both = when_all(note(log, 1), note(log, 2));
        co_await yield();
        CHECK(log.empty());
        auto [first, second] = co_await std::move(both);
        CHECK(first.ok());
        CHECK(log == events{1, 2});
    });
}

REACTOR_TEST("when_all of a vector of tasks yields a vector of what they yield, in their order") {
    run(kind, [&](io_context&) -> task<> {
        const auto late = [](int value) -> task<int> {
            (void)co_await sleep_for(std::chrono::milliseconds(3 - value));
            co_return value;
        };
        std::vector<task<int>> tasks;
        for (int i = 0; i < 3; ++i) tasks.push_back(late(i));
        CHECK((co_await when_all(std::move(tasks))) == numbers(0, 3));

        std::vector<task<int>> kept;
        for (int i = 0; i < 3; ++i) kept.push_back(number(i));
        CHECK((co_await when_all(kept)) == numbers(0, 3));
        CHECK(kept.size() == 3);

        std::vector<task<>> silent;
        for (int i = 0; i < 3; ++i) silent.push_back(nothing());
        const std::vector<result<>> ends = co_await when_all(std::move(silent));
        REQUIRE(ends.size() == 3);
        CHECK(ends[2].ok());
    });
}

REACTOR_TEST("when_all of an empty range yields an empty vector, without suspending") {
    run(kind, [&](io_context& ctx) -> task<> {
        bool posted = false;
        ctx.post([&] { posted = true; });
        const std::vector<int> none = co_await when_all(std::vector<task<int>>());
        CHECK(none.empty());
        std::vector<task<>> empty;
        CHECK((co_await when_all(empty)).empty());
        CHECK_FALSE(posted);
    });
}

REACTOR_TEST("when_all takes ranges of operations, arrays of handles and views that make tasks") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        auto [client2, server2] = co_await test::connect(ctx);
        std::array<bytes, 2> buffers;
        std::array reads{client.read_some(buffers[0]), client2.read_some(buffers[1])};
        (co_await server.write_some("a")).value();
        (co_await server2.write_some("bc")).value();
        const auto received = co_await when_all(reads);
        CHECK(received[0].value() == 1);
        CHECK(received[1].value() == 2);

        std::array handles{ctx.spawn(number(1)), ctx.spawn(number(2))};
        CHECK((co_await when_all(handles)) == numbers(1, 2));
        CHECK(handles[0].done());

        CHECK((co_await when_all(std::views::iota(0, 4) | std::views::transform(number))) ==
              numbers(0, 4));
        const auto view = std::views::iota(4, 6) | std::views::transform(number);
        CHECK((co_await when_all(view)) == numbers(4, 2));
    });
}

// Order and memory --------------------------------------------------------------------------------

REACTOR_TEST("the branches begin in their order, when the caller is suspended") {
    run(kind, [&](io_context& ctx) -> task<> {
        events log;
        ctx.post([&] { log.push_back(0); });  // was there before them
        (void)co_await when_all(note(log, 1), note(log, 2), note(log, 3));
        CHECK(log == events{0, 1, 2, 3});
        std::vector<task<>> more;
        for (int i = 4; i < 7; ++i) more.push_back(note(log, i));
        (void)co_await when_all(std::move(more));
        CHECK(log == events{0, 1, 2, 3, 4, 5, 6});
    });
}

REACTOR_TEST("the frames of the branches are gone when the expression that awaits them has ended") {
    run(kind, [&](io_context&) -> task<> {
        int alive = 0;
        const auto holds = [](counted) -> task<int> {
            co_await yield();
            co_return 1;
        };
        (void)co_await when_all(holds(counted(alive)), holds(counted(alive)));
        CHECK(alive == 0);
        std::vector<task<int>> many;
        for (int i = 0; i < 100; ++i) many.push_back(holds(counted(alive)));
        CHECK(alive == 100);
        (void)co_await when_all(std::move(many));
        CHECK(alive == 0);
        {
            const auto never_awaited = when_all(holds(counted(alive)), holds(counted(alive)));
            CHECK(alive == 2);
        }
        CHECK(alive == 0);
    });
}

REACTOR_TEST("a context destroyed in the middle of when_all destroys every branch") {
    int alive = 0;
    int resumed = 0;
    {
        io_context ctx(kind);
        const auto waits = [](counted, int& count) -> task<> {
            (void)co_await sleep_for(1h);
            ++count;
        };
        const auto reads = [](counted, io_context& own, int& count) -> task<> {
            auto [client, server] = co_await test::connect(own);
            bytes buffer;
            (void)co_await client.read_some(buffer);
            ++count;
        };
        const auto range = [&](counted) -> task<> {
            std::vector<task<>> many;
            for (int i = 0; i < 3; ++i) many.push_back(waits(counted(alive), resumed));
            (void)co_await when_all(std::move(many));
            ++resumed;
        };
        const auto outer = [&](counted) -> task<> {
            (void)co_await when_all(waits(counted(alive), resumed),
                                    when_all(range(counted(alive)), nothing()),
                                    reads(counted(alive), ctx, resumed));
            ++resumed;
        };
        ctx.spawn(outer(counted(alive)));
        ctx.run_for(5ms);
        CHECK(alive >= 7);  // some stand in the expression that has made the frame, too
        // And one whose branches have not begun.
        const auto stopped = [&](counted) -> task<> {
            ctx.stop();
            (void)co_await when_all(waits(counted(alive), resumed), waits(counted(alive), resumed));
        };
        ctx.spawn(stopped(counted(alive)));
        ctx.run();
        CHECK(alive >= 10);
    }
    CHECK(alive == 0);
    CHECK(resumed == 0);
}

// Errors and cancellation -------------------------------------------------------------------------

REACTOR_TEST("an error in one branch is its result and disturbs no other") {
    run(kind, [&](io_context& ctx) -> task<> {
        tcp::socket closed(ctx);
        bytes buffer;
        const auto fails = []() -> task<std::error_code> {
            co_return make_error_code(errc::closed);
        };
        auto [read, failed, slept, seven] =
            co_await when_all(closed.read_some(buffer), fails(), sleep_for(2ms), number(7));
        CHECK(read.error() == errc::closed);
        CHECK(failed == errc::closed);
        CHECK(slept.ok());
        CHECK(seven == 7);
    });
}

REACTOR_TEST("cancelling the caller cancels all branches, and waits for them") {
    run(kind, [&](io_context& ctx) -> task<> {
        events log;
        auto handle = ctx.spawn([](events& to) -> task<> {
            auto [first, second, third, quick] =
                co_await when_all(clean_up(to, 1), clean_up(to, 1), nap(), nothing());
            to.push_back(2);
            CHECK(first == errc::canceled);
            CHECK(second == errc::canceled);
            CHECK(third.error() == errc::canceled);  // a task<>, cut short
            CHECK(quick.ok());                       // had ended before
        }(log));
        for (int i = 0; i < 3; ++i) co_await yield();
        handle.cancel();
        co_await handle;
        CHECK(log == events{1, 1, 2});
    });
}

REACTOR_TEST("branches that begin in a cancelled task are cancelled from the start") {
    run(kind, [&](io_context& ctx) -> task<> {
        events log;
        auto handle = ctx.spawn([](events& to) -> task<> {
            const auto begun = [](events& seen) -> task<result<>> {
                seen.push_back(1);
                co_return co_await sleep_for(1h);
            };
            auto [first, second] = co_await when_all(begun(to), shielded(sleep_for(1ms)));
            CHECK(first.error() == errc::canceled);
            CHECK(second.ok());
            std::vector<task<>> many;
            many.push_back(nap());
            CHECK((co_await when_all(std::move(many)))[0].error() == errc::canceled);
        }(log));
        handle.cancel();
        co_await handle;
        CHECK(log == events{1});
    });
}

REACTOR_TEST("a limit around when_all says timed_out; what it cut short says canceled") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        bytes buffer, exact;
        (co_await server.write_some("123")).value();
        auto [ec, all] = co_await with_timeout(
            when_all(number(1), nap(), read_exactly(client, exact), cut_short(),
                     with_timeout(server.read_some(buffer), 10s)),
            2ms);
        CHECK(ec == errc::timed_out);
        CHECK(std::get<0>(all) == 1);
        CHECK(std::get<1>(all).error() == errc::canceled);
        CHECK(std::get<2>(all).error() == errc::canceled);
        CHECK(std::get<2>(all).data == 3);  // what had come is not lost
        CHECK(std::get<3>(all).error() == errc::canceled);
        CHECK(std::get<4>(all).error() == errc::canceled);
        CHECK(client.is_open());
        CHECK((co_await client.write_some("fine")).ok());
    });
}

REACTOR_TEST("of limits around and inside when_all the one that expires says timed_out") {
    run(kind, [&](io_context&) -> task<> {
        {
            auto [ec, all] = co_await with_timeout(
                when_all(with_timeout(cut_short(), 1ms), with_timeout(nap(), 2ms)), 10s);
            CHECK_FALSE(ec);
            CHECK(std::get<0>(all).error() == errc::timed_out);
            CHECK(std::get<1>(all).error() == errc::timed_out);
        }
        {
            auto [ec, all] = co_await with_timeout(
                with_timeout(when_all(with_timeout(when_all(nap()), 10s), nap()), 2ms), 10s);
            CHECK(ec == errc::timed_out);
            CHECK(std::get<0>(all).error() == errc::canceled);
            CHECK(std::get<1>(all).error() == errc::canceled);
        }
    });
}

REACTOR_TEST("a limit with `close` around when_all aborts the sockets of all branches") {
    blocking_listener listener;
    run(kind, [&](io_context& ctx) -> task<> {
        auto [first, first_peer] = co_await test::connect(ctx, listener);
        auto [second, second_peer] = co_await test::connect(ctx, listener);
        auto [idle, idle_peer] = co_await test::connect(ctx, listener);
        bytes a, b;
        const auto reads = [](tcp::socket& from, bytes& to) -> task<result<std::size_t>> {
            co_return co_await from.read_some(to);
        };
        auto [ec, all] = co_await with_timeout(
            when_all(first.read_some(a), when_all(reads(second, b)), sleep_for(1h)), 2ms,
            on_timeout::close);
        CHECK(ec == errc::timed_out);
        CHECK(std::get<0>(all).error() == errc::canceled);
        CHECK(std::get<0>(std::get<1>(all)).error() == errc::canceled);
        CHECK(std::get<2>(all).error() == errc::canceled);
        CHECK_FALSE(first.is_open());
        CHECK_FALSE(second.is_open());
        CHECK(first_peer.receive().error == native::error_after_reset());
        CHECK(second_peer.receive().error == native::error_after_reset());
        CHECK(idle.is_open());  // nothing was pending on it
        CHECK((co_await idle.write_some("fine")).ok());
        CHECK(idle_peer.receive().bytes == "fine");
    });
}

REACTOR_TEST("a stop requested through cancel_on reaches all branches") {
    run(kind, [&](io_context& ctx) -> task<> {
        std::stop_source source;
        soon(ctx, [&source] { source.request_stop(); });
        auto [first, second] = co_await cancel_on(when_all(cut_short(), nap()), source.get_token());
        CHECK(first.error() == errc::canceled);
        CHECK(second.error() == errc::canceled);
        CHECK((co_await sleep_for(1ms)).ok());  // the scope has been left

        std::stop_source one;
        soon(ctx, [&one] { one.request_stop(); });
        auto [stopped, left_alone] =
            co_await when_all(cancel_on(cut_short(), one.get_token()), sleep_for(2ms));
        CHECK(stopped.error() == errc::canceled);
        CHECK(left_alone.ok());
    });
}

REACTOR_TEST("a shield in a branch keeps the limit away from that branch only") {
    run(kind, [&](io_context&) -> task<> {
        auto [ec, all] =
            co_await with_timeout(when_all(shielded(sleep_for(10ms)), sleep_for(1h)), 1ms);
        CHECK(ec == errc::timed_out);
        CHECK(std::get<0>(all).ok());
        CHECK(std::get<1>(all).error() == errc::canceled);

        auto [none, both] = co_await with_timeout(
            shielded(when_all(sleep_for(5ms), shielded(sleep_for(5ms)))), 1ms);
        CHECK_FALSE(none);
        CHECK(std::get<0>(both).ok());
    });
}

REACTOR_TEST(
    "completion beats the limit when all branches complete in the turn in which it passes") {
    run(kind, [&](io_context& ctx) -> task<> {
        blocking_listener listener;
        auto [first, first_peer] = co_await test::connect(ctx, listener);
        auto [second, second_peer] = co_await test::connect(ctx, listener);
        bytes a, b;
        for (int i = 0; i < 5; ++i) {
            // When the loop looks at the limit it has expired, and the bytes are there.
            soon(ctx, [&one = first_peer, &two = second_peer] {
                std::this_thread::sleep_for(2ms);
                CHECK(one.send("x") == 0);
                CHECK(two.send("yz") == 0);
            });
            auto [ec, all] = co_await with_timeout(
                when_all(first.read_some(a), with_timeout(second.read_some(b), 1ms)), 1ms);
            CHECK_FALSE(ec);
            CHECK(std::get<0>(all).value() == 1);
            CHECK(std::get<1>(all).value() == 2);
        }
    });
}

REACTOR_TEST("a limit that passes when one branch has completed cuts only the other short") {
    run(kind, [&](io_context& ctx) -> task<> {
        blocking_listener listener;
        auto [first, first_peer] = co_await test::connect(ctx, listener);
        auto [second, second_peer] = co_await test::connect(ctx, listener);
        bytes a, b;
        soon(ctx, [&one = first_peer] {
            std::this_thread::sleep_for(2ms);
            CHECK(one.send("x") == 0);
        });
        auto [ec, all] =
            co_await with_timeout(when_all(first.read_some(a), second.read_some(b)), 1ms);
        CHECK(ec == errc::timed_out);
        CHECK(std::get<0>(all).value() == 1);
        CHECK(std::get<1>(all).error() == errc::canceled);
        CHECK(second_peer.send("later") == 0);
        CHECK((co_await second.read_some(b)).value() == 5);
    });
}

REACTOR_TEST("two branches may read and write one socket, and two reads of it do not mix") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        bytes a, b, c;
        auto [sent, read, again, echoed] =
            co_await when_all(client.write_some("ping"), client.read_some(a), client.read_some(b),
                              [](tcp::socket& peer, bytes& to) -> task<result<std::size_t>> {
                                  (co_await peer.read_some(to)).value();
                                  co_return co_await peer.write_some("pong!");
                              }(server, c));
        CHECK(sent.value() == 4);
        CHECK(read.value() == 5);
        CHECK(again.error() == std::errc::operation_in_progress);
        CHECK(echoed.value() == 5);
    });
}

// Many --------------------------------------------------------------------------------------------

REACTOR_TEST("10,000 sleeps at once") {
    run(kind, [&](io_context&) -> task<> {
        std::vector<decltype(sleep_for(1ms))> sleeps(10'000, sleep_for(1ms));
        std::size_t good = 0;
        for (const auto& each : co_await when_all(sleeps)) good += each.ok();
        CHECK(good == 10'000);

        std::vector<task<>> tasks;
        for (int i = 0; i < 10'000; ++i) tasks.push_back(nap());
        auto [ec, ends] = co_await with_timeout(when_all(std::move(tasks)), 1ms);
        CHECK(ec == errc::timed_out);
        std::size_t cut = 0;
        for (const auto& each : ends) cut += each.error() == errc::canceled;
        CHECK(cut == 10'000);
    });
}

// Exceptions --------------------------------------------------------------------------------------

#if CURFEW_EXCEPTIONS

namespace {

task<int> fails(const char* why) {
    co_await yield();
    throw std::runtime_error(why);
}

task<int> fails_at_once(const char* why) {
    throw std::runtime_error(why);
    co_return 0;
}

/// What awaiting throws; empty if nothing.
template <class Awaitable>
task<std::string> thrown_by(Awaitable awaitable) {
    std::string message;
    try {
        (void)co_await std::move(awaitable);
    } catch (const std::runtime_error& error) {
        message = error.what();
    }
    co_return message;
}

}  // namespace

REACTOR_TEST("an exception in a branch cancels the others, waits for them, and is thrown") {
    run(kind, [&](io_context&) -> task<> {
        events log;
        int alive = 0;
        const auto holds = [](counted, events& to) -> task<> { (void)co_await clean_up(to, 1); };
        CHECK(co_await thrown_by(when_all(holds(counted(alive), log), fails("why"),
                                          holds(counted(alive), log))) == "why");
        CHECK(log == events{1, 1});
        CHECK(alive == 0);
        CHECK((co_await sleep_for(1ms)).ok());  // the caller itself was never cancelled

        std::vector<task<int>> many;
        many.push_back(fails("range"));
        many.push_back([](events& to) -> task<int> {
            (void)co_await clean_up(to, 2);
            co_return 0;
        }(log));
        CHECK(co_await thrown_by(when_all(std::move(many))) == "range");
        CHECK(log == events{1, 1, 2});
    });
}

REACTOR_TEST("of several exceptions the first in time is thrown, wherever its branch stands") {
    run(kind, [&](io_context&) -> task<> {
        const auto late = [](const char* why) -> task<int> {
            (void)co_await sleep_for(1h);  // ends with the failure of the other
            throw std::runtime_error(why);
        };
        CHECK(co_await thrown_by(when_all(late("late"), fails("first"), late("too late"))) ==
              "first");
        CHECK(co_await thrown_by(when_all(fails("a turn later"), fails_at_once("at once"))) ==
              "at once");
        CHECK(co_await thrown_by(when_all(fails("one"), fails("two"))) == "one");
        CHECK(co_await thrown_by(when_all(number(1), fails("only"))) == "only");
    });
}

REACTOR_TEST("an exception in the first branch lets the others begin, cancelled after that") {
    run(kind, [&](io_context&) -> task<> {
        events log;
        const auto begins = [](events& to) -> task<> {
            to.push_back(1);
            const auto [ec] = co_await sleep_for(1h);
            to.push_back(ec == errc::canceled ? 2 : 0);
        };
        CHECK(co_await thrown_by(when_all(fails_at_once("why"), begins(log))) == "why");
        CHECK(log == events{1, 2});
    });
}

REACTOR_TEST("an exception passes through nested combinations and limits around them") {
    run(kind, [&](io_context&) -> task<> {
        events log;
        CHECK(co_await thrown_by(
                  when_all(clean_up(log, 1), with_timeout(when_all(fails("inner"), nap()), 10s))) ==
              "inner");
        CHECK(log == events{1});
    });
}

REACTOR_TEST("canceled thrown by value() in a branch is the timed_out of the limit around") {
    run(kind, [&](io_context&) -> task<> {
        const auto by_value = []() -> task<int> {
            (co_await sleep_for(1h)).value();
            co_return 1;
        };
        auto [ec, all] = co_await with_timeout(when_all(by_value(), nap()), 2ms);
        CHECK(ec == errc::timed_out);
    });
}

REACTOR_TEST("an exception after the limit has cut a branch short is thrown nevertheless") {
    run(kind, [&](io_context&) -> task<> {
        const auto breaks = []() -> task<int> {
            (void)co_await sleep_for(1h);
            throw std::runtime_error("in clean-up");
        };
        CHECK(co_await thrown_by(with_timeout(when_all(breaks(), nap()), 1ms)) == "in clean-up");
    });
}

#endif

#if CURFEW_EXCEPTIONS
REACTOR_TEST("a limit that expires once a branch has failed aborts nobody else's socket") {
    run(kind, [](io_context& ctx) -> task<> {
        connection both = co_await connect(ctx);
        game_clock game;
        event first;
        bytes buffer;
        const auto fails = [](event& when) -> task<> {
            co_await when.wait();
            throw std::runtime_error("failed");
        };
        ctx.post([&] {
            ctx.post([&] {
                first.set();
                ctx.post([&] { game.advance(1ms); });  // before the others are cancelled for it
            });
        });
        bool failed = false;
        try {
            (void)co_await game.with_timeout(when_all(fails(first), both.server.read_some(buffer)),
                                             1ms, on_timeout::close);
        } catch (const std::runtime_error&) {
            failed = true;
        }
        CHECK(failed);
        CHECK(both.server.is_open());
        (co_await write_all(both.client, "still there")).value();
        CHECK((co_await both.server.read_some(buffer)).value() > 0);
    });
}
#endif

// Depth -------------------------------------------------------------------------------------------

namespace {

task<result<>> deep_branches(std::size_t left, std::chrono::nanoseconds time, counted alive) {
    if (left == 0) co_return co_await sleep_for(time);
    auto [inner] = co_await when_all(deep_branches(left - 1, time, alive));
    co_return inner;
}

}  // namespace

REACTOR_TEST("combinations within combinations end, and are cancelled, without stack") {
    const std::size_t depth = test::scaled(50'000);
    for (const bool cancelled : {false, true}) {
        int alive = 0;
        std::error_code ec = errc::eof;
        const bool ran = test::on_small_stack([&] {
            io_context ctx(kind);
            const auto time = cancelled ? std::chrono::nanoseconds(1h) : 1ms;
            auto handle = ctx.spawn(deep_branches(depth, time, counted(alive)));
            for (int begun = 0; begun != alive;) begun = alive, ctx.poll();
            if (cancelled) handle.cancel();
            ec = ctx.block_on([](join_handle<result<>>& joined) -> task<result<>> {
                        co_return co_await joined;
                    }(handle))
                     .error();
        });
        REQUIRE(ran);
        CHECK(ec == (cancelled ? std::error_code(errc::canceled) : std::error_code()));
        CHECK(alive == 0);
    }
}

REACTOR_TEST("combinations within combinations are destroyed without stack") {
    const std::size_t depth = test::scaled(50'000);
    int alive = 0, begun = 0;
    const bool ran = test::on_small_stack([&] {
        io_context ctx(kind);
        ctx.spawn(deep_branches(depth, 1h, counted(alive)));
        while (begun != alive) begun = alive, ctx.poll();
    });
    REQUIRE(ran);
    CHECK(begun > static_cast<int>(depth));
    CHECK(alive == 0);
}
