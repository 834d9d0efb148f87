// Cancellation by handle and by stop_token, within the loop's thread.
#include <curfew/cancel.hpp>

#include <array>

#include "support/loop.hpp"

using namespace test;

REACTOR_TEST("cancel_on ends what is awaited when a stop is requested") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        std::array<char, 16> buffer;
        std::stop_source source;
        ctx.post([&source] { source.request_stop(); });
        auto [ec, n] = co_await cancel_on(client.read_some(buffer), source.get_token());
        CHECK(ec == errc::canceled);
        CHECK(client.is_open());
        // Requested before: nothing is started.
        CHECK((co_await cancel_on(write_all(client, "unsent"), source.get_token())).error() ==
              errc::canceled);
        (co_await write_all(client, "sent")).value();
        auto [ec2, m] = co_await server.read_some(buffer);
        CHECK(std::string(buffer.data(), m) == "sent");
    });
}

REACTOR_TEST("cancel_on leaves alone what completes first") {
    run(kind, [&](io_context& ctx) -> task<> {
        std::stop_source source;
        CHECK((co_await cancel_on(sleep_for(1ms), source.get_token())).ok());
        source.request_stop();
        CHECK((co_await sleep_for(1ms)).ok());
        CHECK((co_await cancel_on(sleep_for(1ms), std::stop_token())).ok());
        auto number = []() -> task<int> { co_return 3; };
        CHECK((co_await cancel_on(number(), std::stop_token())) == 3);
        (void)ctx;
    });
}

REACTOR_TEST("cancel_on and limits nest in both orders") {
    run(kind, [&](io_context&) -> task<> {
        std::stop_source source;
        CHECK((co_await with_timeout(cancel_on(sleep_for(10s), source.get_token()), 2ms)).error() ==
              errc::timed_out);
        CHECK((co_await cancel_on(with_timeout(sleep_for(10s), 2ms), source.get_token())).error() ==
              errc::timed_out);
        this_context().post([&source] { source.request_stop(); });
        CHECK((co_await with_timeout(cancel_on(sleep_for(10s), source.get_token()), 5s)).error() ==
              errc::canceled);
    });
}

REACTOR_TEST("a cancelled handle cancels all its task waits for, now and later") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        std::vector<std::error_code> seen;
        auto work = ctx.spawn([](tcp::socket& s, std::vector<std::error_code>& codes) -> task<> {
            std::array<char, 16> buffer;
            codes.push_back((co_await with_timeout(s.read_some(buffer), 10s)).ec);
            codes.push_back((co_await sleep_for(10s)).ec);
            codes.push_back((co_await shielded(sleep_for(1ms))).ec);
        }(client, seen));
        co_await yield();
        work.cancel();
        work.cancel();
        co_await work;
        REQUIRE(seen.size() == 3);
        CHECK(seen[0] == errc::canceled);
        CHECK(seen[1] == errc::canceled);
        CHECK_FALSE(seen[2]);
        CHECK(work.done());
    });
}

REACTOR_TEST("who is cancelled while joining a task cancels that task and waits for it") {
    run(kind, [&](io_context& ctx) -> task<> {
        std::vector<int> order;
        auto child = [](std::vector<int>& log) -> task<result<>> {
            auto own = co_await sleep_for(10s);
            (void)co_await shielded(sleep_for(1ms));
            log.push_back(1);
            co_return own;
        };
        auto parent = ctx.spawn([](io_context& c, auto make, std::vector<int>& log) -> task<> {
            auto handle = c.spawn(make(log));
            auto [ec] = co_await handle;
            CHECK(ec == errc::canceled);
            log.push_back(2);
        }(ctx, child, order));
        co_await yield();
        co_await yield();
        parent.cancel();
        co_await parent;
        CHECK(order == std::vector<int>{1, 2});
        // Already cancelled when it begins to join.
        auto late = [&]() -> task<result<>> {
            auto handle = ctx.spawn(child(order));
            (void)co_await sleep_for(10s);
            co_return co_await handle;
        };
        CHECK((co_await with_timeout(late(), 2ms)).error() == errc::timed_out);
    });
}
