// The end of operations before their time: that completion beats the limit.
#include <curfew/await/cancel_operation.hpp>

#include <array>
#include <chrono>
#include <thread>
#include <vector>

#include "support/crowd.hpp"
#include "support/loop.hpp"
#include "support/watched_reactor.hpp"

using namespace test;

REACTOR_TEST(
    "completion beats the limit: of what has arrived in time, however much it is at once") {
    const honest_system now;
    constexpr std::size_t count = 200;
    for (const std::size_t size : {std::size_t{1}, std::size_t{16'384}}) {
        CAPTURE(size);
        io_context ctx(kind);
        crowd all(ctx, count);
        std::size_t received = 0;
        for (udp::socket& each : all.sockets)
            ctx.spawn([](udp::socket& from, std::size_t wanted, std::size_t& total) -> task<> {
                std::vector<char> buffer(wanted);
                // The first tells the reactor how much it has to expect of each.
                for (const auto limit : {std::chrono::milliseconds(1min), 200ms}) {
                    auto [ec, n] = co_await with_timeout(from.receive(buffer), limit);
                    total += !ec && n == wanted;
                }
            }(each, size, received));
        while (ctx.poll() > 0) {}
        all.reach(kind, size);
        ctx.poll();
        all.reach(kind, size);
        std::this_thread::sleep_for(205ms);  // nobody looks until all limits are over
        ctx.run();
        CHECK(received == 2 * count);
    }
}

REACTOR_TEST("completion beats the limit: of what has arrived in time, when all else that arrived "
             "resumes nobody") {
    const honest_system now;
    const auto log = std::make_shared<watched_reactor::log>();
    io_context ctx(std::make_unique<watched_reactor>(kind, log));
    std::vector<connection> others;
    for (int i = 0; i < 64; ++i) others.push_back(ctx.block_on(test::connect(ctx)));
    std::vector<blocking_socket> peers;
    for (connection& each : others) {
        peers.emplace_back(descriptor_of(each.server.release()));
        ctx.spawn([](tcp::socket& from) -> task<> {
            std::array<char, 2> pair;
            (void)co_await read_exactly(from, pair);
        }(each.client));
    }
    crowd wanted(ctx, 1);
    const auto begun = curfew::clock::now();
    auto limited = ctx.spawn([](udp::socket& from) -> task<bool> {
        std::array<char, 8> buffer;
        auto [ec, n] = co_await with_timeout(from.receive(buffer), 100ms);
        co_return !ec && n == 1;
    }(wanted.sockets.front()));
    while (ctx.poll() > 0) {}
    bool in_time = false;
    log->stall = [&] {  // a wait that takes longer than the limit
        for (blocking_socket& each : peers) CHECK(each.send("1") == 0);
        wanted.reach(kind, 1);
        in_time = curfew::clock::now() < begun + 100ms;
        std::this_thread::sleep_for(105ms);
    };
    const bool received = join(ctx, limited);
    if (in_time)
        CHECK(received);
    else
        MESSAGE("not tried: the machine is too slow");
}

REACTOR_TEST("completion beats the limit: a task that finishes while its limit passes keeps its "
             "own result") {
    run(kind, [&](io_context&) -> task<> {
        auto busy = []() -> task<result<int>> {
            (co_await sleep_for(1ms)).value();
            std::this_thread::sleep_for(10ms);
            co_return 5;
        };
        auto [ec, value] = co_await with_timeout(busy(), 5ms);
        CHECK_FALSE(ec);
        CHECK(value == 5);
    });
}

REACTOR_TEST("completion beats the limit: bytes that arrive before the loop looks at an expired "
             "limit are delivered") {
    const honest_system now;
    run(kind, [&](io_context& ctx) -> task<> {
        blocking_listener listener;
        auto [socket, peer] = co_await test::connect(ctx, listener);
        std::array<char, 16> buffer;
        for (int i = 0; i < 20; ++i) {
            // Runs in the same turn, behind the read that is pending by then: when the loop looks
            // at the limit it has expired, and the bytes are there.
            ctx.post([&other = peer] {
                std::this_thread::sleep_for(2ms);
                CHECK(other.send("x") == 0);
            });
            auto [ec, n] = co_await with_timeout(socket.read_some(buffer), 1ms);
            CHECK_FALSE(ec);
            CHECK(n == 1);
        }
    });
}
