// when_any: the first branch wins, and nothing that the others received is lost.
#include <curfew/when_any.hpp>

#include <array>
#include <chrono>
#include <memory>
#include <random>
#include <ranges>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "support/counted.hpp"
#include "support/loop.hpp"

using namespace test;

namespace {

using events = std::vector<int>;
using bytes = std::array<char, 16>;

std::string text(const bytes& buffer, std::size_t size) { return std::string(buffer.data(), size); }

task<int> number(int value) {
    co_await yield();
    co_return value;
}

task<> nap() { (void)co_await sleep_for(1h); }

task<int> sleep_and_say(int value) {
    (void)co_await sleep_for(1h);
    co_return value;
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

REACTOR_TEST("when_any yields the index of the first, and what every branch yields") {
    run(kind, [&](io_context&) -> task<> {
        auto [index, results] = co_await when_any(sleep_for(1h), number(7), nap());
        static_assert(
            std::is_same_v<decltype(results), std::tuple<optional_result, int, result<>>>);
        CHECK(index == 1);
        auto& [slept, seven, napped] = results;
        CHECK(slept.error() == errc::canceled);
        CHECK(seven == 7);
        CHECK(napped.error() == errc::canceled);
    });
}

REACTOR_TEST("of branches that end in the same turn the first in time has won, and all are there") {
    run(kind, [&](io_context&) -> task<> {
        auto [index, results] = co_await when_any(number(1), number(2), number(3));
        CHECK(index == 0);
        CHECK(results == std::tuple(1, 2, 3));

        const auto at_once = []() -> task<int> { co_return 4; };
        auto [second, both] = co_await when_any(number(1), at_once());
        CHECK(second == 1);
        CHECK(std::get<1>(both) == 4);
    });
}

REACTOR_TEST("when_any waits for a single branch like for many, and has no first among none") {
    run(kind, [&](io_context&) -> task<> {
        auto [index, results] = co_await when_any(number(1));
        CHECK(index == 0);
        CHECK(std::get<0>(results) == 1);
        const auto none = co_await when_any();
        CHECK(none.index == 0);
        static_assert(std::tuple_size_v<decltype(none.results)> == 0);
    });
}

REACTOR_TEST("when_any of a range yields a vector, and of an empty one an index past its end") {
    run(kind, [&](io_context& ctx) -> task<> {
        std::vector<task<int>> tasks;
        for (int i = 0; i < 3; ++i) tasks.push_back(i == 2 ? number(i) : sleep_and_say(i));
        auto [index, results] = co_await when_any(std::move(tasks));
        CHECK(index == 2);
        REQUIRE(results.size() == 3);
        CHECK(results[0] == 0);
        CHECK(results[2] == 2);

        auto [none, nothing] = co_await when_any(std::vector<task<int>>());
        CHECK(nothing.empty());
        CHECK(none == nothing.size());

        std::array handles{ctx.spawn(sleep_and_say(1)), ctx.spawn(number(2))};
        auto [ended, values] = co_await when_any(handles);
        CHECK(ended == 1);
        CHECK(values[0] == 1);  // cancelled with its branch, and waited for
        CHECK(handles[0].done());

        auto [of_view, all] =
            co_await when_any(std::views::iota(0, 3) | std::views::transform(number));
        CHECK(of_view == 0);
        CHECK(all.size() == 3);
    });
}

REACTOR_TEST("an error ends when_any like any other result") {
    run(kind, [&](io_context& ctx) -> task<> {
        tcp::socket closed(ctx);
        bytes buffer;
        auto [index, results] = co_await when_any(sleep_for(1h), closed.read_some(buffer));
        CHECK(index == 1);
        CHECK(std::get<1>(results).error() == errc::closed);
        CHECK(std::get<0>(results).error() == errc::canceled);
    });
}

REACTOR_TEST("when_any passes on values that can only be moved") {
    run(kind, [&](io_context&) -> task<> {
        const auto owner = [](int value) -> task<std::unique_ptr<int>> {
            if (value != 1) (void)co_await sleep_for(1h);
            co_return std::make_unique<int>(value);
        };
        auto [index, results] = co_await when_any(owner(1), owner(2));
        CHECK(index == 0);
        CHECK(*std::get<0>(results) == 1);
        CHECK(*std::get<1>(results) == 2);  // a loser that has a value has not lost it
    });
}

// Nothing is lost ---------------------------------------------------------------------------------

REACTOR_TEST("two reads that have data before the call both deliver it") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        auto [client2, server2] = co_await test::connect(ctx);
        bytes a, b;
        for (int i = 0; i < 3; ++i) {
            (co_await server.write_some("first")).value();
            (co_await server2.write_some("second")).value();
            auto [index, results] = co_await when_any(client.read_some(a), client2.read_some(b));
            CHECK(index < 2);
            CHECK(text(a, std::get<0>(results).value()) == "first");
            CHECK(text(b, std::get<1>(results).value()) == "second");
        }
    });
}

REACTOR_TEST("two reads whose data comes in the same turn both deliver it") {
    run(kind, [&](io_context& ctx) -> task<> {
        blocking_listener listener;
        auto [first, first_peer] = co_await test::connect(ctx, listener);
        auto [second, second_peer] = co_await test::connect(ctx, listener);
        bytes a, b;
        const auto reads = [](tcp::socket& from, bytes& to) -> task<result<std::size_t>> {
            co_return co_await from.read_some(to);
        };
        for (int i = 0; i < 5; ++i) {
            soon(ctx, [&one = first_peer, &two = second_peer] {
                CHECK(one.send("first") == 0);
                CHECK(two.send("second") == 0);
            });
            // The deeper the reads are, the more steps lie between their end and the branch's.
            auto [index, results] =
                co_await when_any(with_timeout(first.read_some(a), 1h), reads(second, b));
            CHECK(index < 2);
            CHECK(text(a, std::get<0>(results).value()) == "first");
            CHECK(text(b, std::get<1>(results).value()) == "second");
        }
    });
}

REACTOR_TEST("a message and bytes that come in the same turn are both delivered") {
    run(kind, [&](io_context& ctx) -> task<> {
        blocking_listener listener;
        auto [socket, peer] = co_await test::connect(ctx, listener);
        bytes buffer;
        event happened;
        // The bytes are found in the look at the system in which nothing else is ready yet.
        soon(ctx, [&, &from = peer] {
            CHECK(from.send("bytes") == 0);
            ctx.spawn([](event& what) -> task<> {
                co_await yield();
                what.set();
            }(happened));
        });
        auto [index, results] = co_await when_any(happened.wait(), socket.read_some(buffer));
        CHECK(std::get<0>(results).ok());
        CHECK(text(buffer, std::get<1>(results).value()) == "bytes");
    });
}

REACTOR_TEST("a loser that has read a part says canceled, and how much it has") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        bytes whole{};
        (co_await server.write_some("0123")).value();
        auto [index, results] = co_await when_any(read_exactly(client, whole), sleep_for(2ms));
        CHECK(index == 1);
        auto& [read, slept] = results;
        CHECK(read.error() == errc::canceled);
        CHECK(text(whole, read.data) == "0123");
        CHECK(slept.ok());
        (co_await server.write_some("456789abcdef")).value();  // the stream goes on where it stood
        CHECK((co_await read_exactly(client, std::span(whole).subspan(4))).value() == 12);
        CHECK(text(whole, 16) == "0123456789abcdef");
    });
}

REACTOR_TEST("a read that loses again and again misses no byte of its stream") {
    run(kind, [&](io_context& ctx) -> task<> {
        blocking_listener listener;
        auto [first, first_peer] = co_await test::connect(ctx, listener);
        auto [second, second_peer] = co_await test::connect(ctx, listener);
        constexpr std::size_t total = 4000;
        std::thread sender([&one = first_peer, &two = second_peer] {
            std::mt19937 random(1);
            std::size_t sent[2]{};
            while (sent[0] < total || sent[1] < total) {
                const auto which = random() % 2;
                if (sent[which] == total) continue;
                const char next = static_cast<char>('a' + sent[which]++ % 26);
                if ((which ? two : one).send({&next, 1}) != 0) break;
            }
        });
        bytes a, b;
        std::string got[2];
        bool good = true;
        while (good && got[0].size() + got[1].size() < 2 * total) {
            auto [index, results] = co_await when_any(first.read_some(a), second.read_some(b));
            auto& [one, two] = results;
            got[0] += text(a, one.data);
            got[1] += text(b, two.data);
            good = (one.ok() || one.error() == errc::canceled) &&
                   (two.ok() || two.error() == errc::canceled) && (one.ok() || two.ok());
        }
        sender.join();
        CHECK(good);
        for (const auto& each : got) {
            CHECK(each.size() == total);
            std::size_t wrong = 0;
            for (std::size_t i = 0; i < each.size(); ++i)
                wrong += each[i] != static_cast<char>('a' + i % 26);
            CHECK(wrong == 0);
        }
    });
}

// Losers ------------------------------------------------------------------------------------------

REACTOR_TEST("all branches begin, also when the first of them ends at once") {
    run(kind, [&](io_context&) -> task<> {
        events log;
        const auto at_once = [](events& to) -> task<> {
            to.push_back(1);
            co_return;
        };
        const auto begins = [](events& to) -> task<> {
            to.push_back(2);
            const auto [ec] = co_await sleep_for(1h);
            to.push_back(ec == errc::canceled ? 3 : 0);
        };
        auto [index, results] = co_await when_any(at_once(log), begins(log));
        CHECK(index == 0);
        CHECK(log == events{1, 2, 3});
    });
}

REACTOR_TEST("losers are waited for: their shielded clean-up is over when when_any returns") {
    run(kind, [&](io_context&) -> task<> {
        events log;
        auto [index, results] = co_await when_any(clean_up(log, 1), number(7), clean_up(log, 2));
        CHECK(index == 1);
        CHECK(log.size() == 2);  // in whatever order
        CHECK(std::get<0>(results) == errc::canceled);
        CHECK((co_await sleep_for(1ms)).ok());  // the caller itself was never cancelled
    });
}

REACTOR_TEST("a loser cannot be kept from its end by what it starts") {
    run(kind, [&](io_context&) -> task<> {
        int tries = 0;
        const auto stubborn = [](int& count) -> task<> {
            while (count < 100 && (co_await sleep_for(1h)).error() == errc::canceled) ++count;
        };
        auto [index, results] = co_await when_any(stubborn(tries), number(1));
        CHECK(index == 1);
        CHECK(tries == 100);
    });
}

REACTOR_TEST("the frames of all branches are gone when the expression that awaits them has ended") {
    run(kind, [&](io_context&) -> task<> {
        int alive = 0;
        const auto holds = [](counted) -> task<> { (void)co_await sleep_for(1h); };
        (void)co_await when_any(holds(counted(alive)), number(1), holds(counted(alive)));
        CHECK(alive == 0);
        std::vector<task<>> many;
        for (int i = 0; i < 100; ++i) many.push_back(holds(counted(alive)));
        many.push_back([](counted) -> task<> { co_return; }(counted(alive)));
        auto [index, results] = co_await when_any(std::move(many));
        CHECK(index == 100);
        CHECK(alive == 0);
    });
}

REACTOR_TEST("a context destroyed when the first has won and the others clean up destroys them") {
    int alive = 0;
    {
        io_context ctx(kind);
        const auto cleans = [](counted) -> task<> {
            (void)co_await sleep_for(1h);
            (void)co_await shielded(sleep_for(1h));
        };
        ctx.spawn([](task<> loser, counted) -> task<> {
            (void)co_await when_any(std::move(loser), number(1));
        }(cleans(counted(alive)), counted(alive)));
        // This one is stopped with the cancellation of the loser queued.
        const auto stops = [](io_context& own) -> task<> {
            own.stop();
            co_return;
        };
        ctx.run_for(2ms);
        CHECK(alive == 2);
        ctx.spawn([](task<> loser, task<> winner, counted) -> task<> {
            (void)co_await when_any(std::move(winner), std::move(loser));
        }(cleans(counted(alive)), stops(ctx), counted(alive)));
        ctx.run();
        CHECK(alive == 4);
    }
    CHECK(alive == 0);
}

// Limits and cancellation -------------------------------------------------------------------------

REACTOR_TEST("a limit around when_any says timed_out when no branch has ended") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        bytes buffer;
        auto [ec, any] =
            co_await with_timeout(when_any(sleep_for(1h), client.read_some(buffer), nap()), 2ms);
        CHECK(ec == errc::timed_out);
        CHECK(std::get<0>(any.results).error() == errc::canceled);
        CHECK(std::get<1>(any.results).error() == errc::canceled);
        CHECK(std::get<2>(any.results).error() == errc::canceled);
        CHECK(client.is_open());
    });
}

REACTOR_TEST(
    "a branch that has completed by the limit around when_any has won, and nothing timed out") {
    const honest_system now;
    io_context ctx(kind);
    auto [silent, silent_peer] = ctx.block_on(test::connect(ctx));
    auto [client, server] = ctx.block_on(test::connect(ctx));
    blocking_socket peer(descriptor_of(server.release()));
    const auto fixed = [](tcp::socket& a, tcp::socket& b) -> task<std::string> {
        bytes nothing, buffer;
        auto [ec, any] =
            co_await with_timeout(when_any(a.read_some(nothing), b.read_some(buffer)), 10ms);
        if (ec || any.index != 1) co_return ec.message();
        CHECK(std::get<0>(any.results).error() == errc::canceled);
        co_return text(buffer, std::get<1>(any.results).value());
    };
    const auto range = [](tcp::socket& a, tcp::socket& b) -> task<std::string> {
        bytes nothing, buffer;
        std::vector<decltype(a.read_some(nothing))> reads{a.read_some(nothing),
                                                          b.read_some(buffer)};
        auto [ec, any] = co_await with_timeout(when_any(reads), 10ms);
        co_return ec || any.index != 1 ? ec.message() : text(buffer, any.results[1].value());
    };
    const auto within_a_task = [](tcp::socket& a, tcp::socket& b) -> task<std::string> {
        bytes buffer;
        const auto first = [&]() -> task<std::size_t> {
            bytes nothing;
            auto [index, results] = co_await when_any(a.read_some(nothing), b.read_some(buffer));
            co_return index == 1 ? std::get<1>(results).value() : 0;
        };
        auto [ec, n] = co_await with_timeout(first(), 10ms);
        co_return ec ? ec.message() : text(buffer, n);
    };
    int tried = 0;
    for (int round = 0; round < 9; ++round) {
        const auto begun = curfew::clock::now();
        auto reading = round % 3 == 0   ? ctx.spawn(fixed(silent, client))
                       : round % 3 == 1 ? ctx.spawn(range(silent, client))
                                        : ctx.spawn(within_a_task(silent, client));
        while (ctx.poll() > 0) {}
        bool acted = false;
        ctx.post([&] {
            if (curfew::clock::now() >= begun + 10ms) return;  // a slow machine
            // It is the look before limits expire that finds the bytes.
            std::this_thread::sleep_for(12ms);
            CHECK(peer.send("in time") == 0);
            acted = true;
        });
        const std::string got = join(ctx, reading);
        if (!acted) continue;
        ++tried;
        CHECK(got == "in time");
    }
    CHECK(tried > 0);
}

REACTOR_TEST(
    "a branch that comes to its own end has won against those that a limit has cut short") {
    run(kind, [&](io_context&) -> task<> {
        const auto carries_on = []() -> task<int> {
            (void)co_await shielded(sleep_for(5ms));
            co_return 7;
        };
        auto [ec, any] = co_await with_timeout(when_any(sleep_for(1h), carries_on(), nap()), 2ms);
        CHECK_FALSE(ec);
        CHECK(any.index == 1);
        CHECK(std::get<1>(any.results) == 7);
        CHECK(std::get<0>(any.results).error() == errc::canceled);
#if CURFEW_EXCEPTIONS
        // What the other one throws because it was cut short wins, and says why.
        const auto throws = []() -> task<> { (co_await sleep_for(1h)).value(); };
        auto [thrown, none] = co_await with_timeout(when_any(carries_on(), throws()), 2ms);
        CHECK(thrown == errc::timed_out);
#endif
    });
}

REACTOR_TEST("a limit with `close` around when_any aborts the sockets of its branches") {
    blocking_listener listener;
    run(kind, [&](io_context& ctx) -> task<> {
        auto [socket, peer] = co_await test::connect(ctx, listener);
        bytes buffer;
        auto [ec, any] = co_await with_timeout(
            when_any(sleep_for(1h), when_any(socket.read_some(buffer))), 2ms, on_timeout::close);
        CHECK(ec == errc::timed_out);
        CHECK_FALSE(socket.is_open());
        CHECK(peer.receive().error == native::error_after_reset());
    });
}

REACTOR_TEST("the socket of a loser stays open, also under a limit with `close`") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        bytes buffer;
        auto [ec, any] = co_await with_timeout(when_any(number(1), client.read_some(buffer)), 10s,
                                               on_timeout::close);
        CHECK_FALSE(ec);
        CHECK(any.index == 0);
        CHECK(client.is_open());
        CHECK((co_await client.write_some("fine")).ok());
    });
}

REACTOR_TEST("a limit that expires while losers clean up changes nothing") {
    run(kind, [&](io_context&) -> task<> {
        const auto cleans = []() -> task<std::error_code> {
            (void)co_await sleep_for(1h);
            (void)co_await shielded(sleep_for(20ms));
            const auto [ec] = co_await sleep_for(1h);
            co_return ec;
        };
        auto [ec, any] = co_await with_timeout(when_any(number(7), cleans()), 5ms);
        CHECK_FALSE(ec);
        CHECK(any.index == 0);
        CHECK(std::get<0>(any.results) == 7);
        CHECK(std::get<1>(any.results) == errc::canceled);
    });
}

REACTOR_TEST("a limit on a branch ends when_any, and says timed_out there") {
    run(kind, [&](io_context&) -> task<> {
        auto [index, results] = co_await when_any(sleep_for(1h), with_timeout(nap(), 2ms));
        CHECK(index == 1);
        CHECK(std::get<0>(results).error() == errc::canceled);
        CHECK(std::get<1>(results).error() == errc::timed_out);

        auto [other, ends] = co_await when_any(with_timeout(nap(), 1h), number(1));
        CHECK(other == 1);
        CHECK(std::get<0>(ends).error() == errc::canceled);
    });
}

REACTOR_TEST("cancelling the caller cancels all branches, and waits for them") {
    run(kind, [&](io_context& ctx) -> task<> {
        events log;
        auto handle = ctx.spawn([](events& to) -> task<> {
            auto [index, results] = co_await when_any(clean_up(to, 1), nap());
            CHECK(index == 1);  // needs no clean-up
            CHECK(std::get<0>(results) == errc::canceled);
            CHECK(std::get<1>(results).error() == errc::canceled);
            to.push_back(2);
        }(log));
        for (int i = 0; i < 3; ++i) co_await yield();
        handle.cancel();
        co_await handle;
        CHECK(log == events{1, 2});
    });
}

REACTOR_TEST("when_any nests in when_all and in itself") {
    run(kind, [&](io_context&) -> task<> {
        events log;
        auto [first, second] =
            co_await when_all(when_any(number(1), clean_up(log, 1)), when_any(nap(), number(2)));
        CHECK(first.index == 0);
        CHECK(second.index == 1);
        CHECK(log == events{1});

        auto [index, results] = co_await when_any(
            when_all(nap(), when_any(clean_up(log, 2), clean_up(log, 3))), number(3));
        CHECK(index == 1);
        auto& [lost, three] = results;
        CHECK(three == 3);
        CHECK(std::get<0>(lost).error() == errc::canceled);
        CHECK(log.size() == 3);
    });
}

REACTOR_TEST("10,000 branches, of which one wins") {
    run(kind, [&](io_context&) -> task<> {
        std::vector<task<int>> many;
        for (int i = 0; i < 10'000; ++i) many.push_back(i == 5000 ? number(i) : sleep_and_say(i));
        auto [index, results] = co_await when_any(std::move(many));
        CHECK(index == 5000);
        std::size_t wrong = 0;
        for (std::size_t i = 0; i < results.size(); ++i) wrong += results[i] != static_cast<int>(i);
        CHECK(results.size() == 10'000);
        CHECK(wrong == 0);
    });
}

// Exceptions --------------------------------------------------------------------------------------

#if CURFEW_EXCEPTIONS

namespace {

task<int> fails(const char* why) {
    co_await yield();
    throw std::runtime_error(why);
}

task<int> fails_when_cancelled(const char* why) {
    (void)co_await sleep_for(1h);
    throw std::runtime_error(why);
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

REACTOR_TEST("an exception of the winner is thrown when the losers have ended") {
    run(kind, [&](io_context&) -> task<> {
        events log;
        CHECK(co_await thrown_by(when_any(clean_up(log, 1), fails("winner"))) == "winner");
        CHECK(log == events{1});
    });
}

REACTOR_TEST("an exception of a loser is thrown when all have ended") {
    run(kind, [&](io_context&) -> task<> {
        events log;
        CHECK(co_await thrown_by(
                  when_any(fails_when_cancelled("loser"), number(1), clean_up(log, 1))) == "loser");
        CHECK(log == events{1});
        CHECK(co_await thrown_by(when_any(fails_when_cancelled("loser"), fails("winner"))) ==
              "winner");

        std::vector<task<int>> many;
        many.push_back(number(1));
        many.push_back(fails_when_cancelled("of a range"));
        CHECK(co_await thrown_by(when_any(std::move(many))) == "of a range");
    });
}

#endif

REACTOR_TEST("a limit that expires once the first is known aborts nobody else's socket") {
    run(kind, [](io_context& ctx) -> task<> {
        connection both = co_await connect(ctx);
        game_clock game;
        event first;
        bytes buffer;
        soon(ctx, [&] {
            first.set();                           // it is the first, and says so in its turn
            ctx.post([&] { game.advance(1ms); });  // before the others are cancelled for that
        });
        const auto any = co_await game.with_timeout(
            when_any(first.wait(), both.server.read_some(buffer)), 1ms, on_timeout::close);
        CHECK_FALSE(any.ec);
        CHECK(any.data.index == 0);
        CHECK(std::get<1>(any.data.results).ec == errc::canceled);
        CHECK(both.server.is_open());
        (co_await write_all(both.client, "still there")).value();
        CHECK((co_await both.server.read_some(buffer)).value() > 0);
    });
}

#if CURFEW_EXCEPTIONS
REACTOR_TEST("a combination is destroyed when one has won and the others are not cancelled yet") {
    io_context ctx(kind);
    const auto stops = [](io_context& own) -> task<> {
        co_await yield();
        own.stop();
    };
    const auto races = [](task<> first) -> task<> {
        (void)co_await when_any(std::move(first), sleep_for(1h));
    };
    CHECK_THROWS_AS(ctx.block_on(races(stops(ctx))), std::system_error);
    CHECK(ctx.poll() == 0);  // nothing of it is queued any more
}
#endif
