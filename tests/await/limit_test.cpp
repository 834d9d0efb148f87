// Limits: that they are never early, and how they nest.
#include <curfew/await/limit.hpp>

#include <array>
#include <chrono>
#include <thread>
#include <vector>

#include "support/crowd.hpp"
#include "support/loop.hpp"

using namespace test;

REACTOR_TEST("never early: a limit fires at its time, and soon after it") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        std::array<char, 16> buffer;
        for (const auto limit : {100us, 999us, 1000us, 1001us, 5000us, 20000us}) {
            auto least = std::chrono::nanoseconds::max();
            // A busy machine is not the library's fault, but it is not busy again and again.
            for (int i = 0; i < 5 || (i < 100 && least >= limit + 2ms); ++i) {
                const auto before = clock::now();
                auto [ec, n] = co_await with_timeout(client.read_some(buffer), limit);
                const std::chrono::nanoseconds taken = clock::now() - before;
                CHECK(ec == errc::timed_out);
                CHECK(taken >= limit);
                least = std::min(least, taken);
            }
            CHECK(least < limit + 2ms);
        }
    });
}

REACTOR_TEST(
    "never early: not even by the time that passed since the loop last looked at the clock") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        std::array<char, 16> buffer;
        // Something else wakes the loop long before the limit.
        ctx.spawn([]() -> task<> { (void)co_await sleep_for(21ms); }());
        (void)co_await sleep_for(1ms);
        (void)ctx.now();
        std::this_thread::sleep_for(20ms);  // a coroutine that computes for long
        const auto before = clock::now();
        auto [ec, n] = co_await with_timeout(client.read_some(buffer), 10ms);
        CHECK(ec == errc::timed_out);
        CHECK(clock::now() - before >= 10ms);
    });
}

REACTOR_TEST("nesting: of limits on an operation the earliest fires, in both orders, to depth 8") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        std::array<char, 16> buffer;
        const auto before = clock::now();
        auto [ec, n] = co_await with_timeout(
            with_timeout(
                with_timeout(
                    with_timeout(
                        with_timeout(
                            with_timeout(
                                with_timeout(with_timeout(client.read_some(buffer), 5ms), 10s),
                                20s),
                            30s),
                        40s),
                    50s),
                60s),
            70s);
        CHECK(ec == errc::timed_out);
        auto [ec2, n2] = co_await with_timeout(
            with_timeout(
                with_timeout(
                    with_timeout(
                        with_timeout(
                            with_timeout(
                                with_timeout(with_timeout(client.read_some(buffer), 70s), 60s),
                                50s),
                            40s),
                        30s),
                    20s),
                10s),
            5ms);
        CHECK(ec2 == errc::timed_out);
        CHECK(clock::now() - before < 5s);
        CHECK(client.is_open());
    });
}

REACTOR_TEST("nesting: the policy of the limit that fires is carried out") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        std::array<char, 16> buffer;
        CHECK((co_await with_timeout(with_timeout(client.read_some(buffer), 2ms), 10s,
                                     on_timeout::close))
                  .error() == errc::timed_out);
        CHECK(client.is_open());
        CHECK((co_await with_timeout(with_timeout(client.read_some(buffer), 10s), 2ms,
                                     on_timeout::close))
                  .error() == errc::timed_out);
        CHECK_FALSE(client.is_open());
    });
}

namespace {

/// Awaits `depth` tasks inside each other, each under a limit; notes what each one saw.
task<result<std::size_t>> nested(tcp::socket& socket, const std::vector<int>& limits,
                                 std::size_t depth, std::vector<std::error_code>& seen) {
    std::array<char, 16> buffer;
    result<std::size_t> own;
    if (depth == limits.size())
        own = co_await socket.read_some(buffer);
    else
        own = co_await with_timeout(nested(socket, limits, depth + 1, seen),
                                    std::chrono::milliseconds(limits[depth]));
    seen[depth] = own.ec;
    co_return own;
}

}  // namespace

REACTOR_TEST(
    "nesting: of limits on tasks the expired one says timed_out, those inside see canceled") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        const int never = 60'000;
        for (std::size_t first = 0; first < 8; ++first) {
            std::vector<int> limits(8, never);
            limits[first] = 3;
            std::vector<std::error_code> seen(9);
            auto [ec, n] = co_await nested(client, limits, 0, seen);
            CHECK(ec == errc::timed_out);
            for (std::size_t depth = 0; depth < 9; ++depth) {
                // seen[depth] is what the task at that depth got from the limit at that depth.
                if (depth <= first)
                    CHECK(seen[depth] == errc::timed_out);
                else
                    CHECK(seen[depth] == errc::canceled);
            }
        }
        CHECK(client.is_open());
        (co_await write_all(server, "still there")).value();
        std::array<char, 16> buffer;
        CHECK((co_await client.read_some(buffer)).value() == 11);
    });
}

REACTOR_TEST("nesting: the earliest of two limits wins when the loop was late for both") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        std::array<char, 16> buffer;
        std::error_code inner;
        auto blocked = [&](std::chrono::microseconds limit) -> task<result<>> {
            ctx.post([] { std::this_thread::sleep_for(10ms); });
            inner = (co_await with_timeout(client.read_some(buffer), limit)).ec;
            co_return inner;
        };
        auto [ec] = co_await with_timeout(blocked(1010us), 1ms);
        CHECK(ec == errc::timed_out);
        CHECK(inner == errc::canceled);
        auto [ec2] = co_await with_timeout(blocked(1ms), 1100us);
        CHECK(ec2 == errc::timed_out);
        CHECK(inner == errc::timed_out);
    });
}

REACTOR_TEST("nesting: a limit inside a limit inside a task inside a limit") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        std::array<char, 16> buffer;
        std::vector<std::error_code> seen;
        auto inside = [&]() -> task<result<std::size_t>> {
            auto own = co_await with_timeout(with_timeout(client.read_some(buffer), 2ms), 10s);
            seen.push_back(own.ec);
            own = co_await with_timeout(with_timeout(client.read_some(buffer), 10s), 2ms);
            seen.push_back(own.ec);
            own = co_await with_timeout(with_timeout(client.read_some(buffer), 10s), 20s);
            seen.push_back(own.ec);
            co_return own;
        };
        auto [ec, n] = co_await with_timeout(inside(), 100ms);
        CHECK(ec == errc::timed_out);
        REQUIRE(seen.size() == 3);
        CHECK(seen[0] == errc::timed_out);
        CHECK(seen[1] == errc::timed_out);
        CHECK(seen[2] == errc::canceled);
    });
}
