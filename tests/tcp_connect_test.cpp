// tcp::connect: by name, and to the first of several addresses that answers.
#include <curfew/tcp_connect.hpp>

#include <doctest/doctest.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <curfew/curfew.hpp>

#include "support/full_listener.hpp"
#include "support/loop.hpp"
#include "support/platform.hpp"
#include "support/reactors.hpp"

using namespace curfew;
using namespace std::chrono_literals;
using test::full_listener;
using test::run;

namespace {

using failures = std::vector<tcp::connect_failure>;

ip::endpoint parsed(const char* text) { return ip::endpoint::parse(text).value(); }

/// Nobody listens there (any more).
ip::endpoint refusing(io_context& ctx) {
    tcp::acceptor gone(ctx);
    gone.listen(test::any_port()).value();
    return gone.local_endpoint();
}

std::size_t open_sockets(io_context& ctx) {
    std::size_t count = 0;
    for (auto* each = detail::loop_of(ctx).first_socket(); each; each = each->next)
        count += each->handle != platform::invalid_socket;
    return count;
}

struct listener {
    explicit listener(io_context& ctx) : acceptor(ctx) {
        acceptor.listen(test::any_port()).value();
    }
    ip::endpoint endpoint() const { return acceptor.local_endpoint(); }

    tcp::acceptor acceptor;
};

}  // namespace

TEST_CASE("families take turns, beginning with the first one's; else the order stays") {
    const auto a = parsed("[::1]:1"), b = parsed("[::2]:2"), c = parsed("[::3]:3");
    const auto x = parsed("127.0.0.1:1"), y = parsed("127.0.0.2:2");
    using list = std::vector<ip::endpoint>;
    const auto in_turns = [](list from) { return tcp::detail::interleaved(from); };
    CHECK(in_turns({a, b, c, x, y}) == list{a, x, b, y, c});
    CHECK(in_turns({x, y, a}) == list{x, a, y});
    CHECK(in_turns({x, a, b, c}) == list{x, a, b, c});
    CHECK(in_turns({a, b}) == list{a, b});
    CHECK(in_turns({}).empty());
}

REACTOR_TEST("the first address that answers wins, and no other is asked") {
    run(kind, [](io_context& ctx) -> task<> {
        listener first(ctx), second(ctx);
        const std::vector<ip::endpoint> both{first.endpoint(), second.endpoint()};
        auto [ec, socket] = co_await tcp::connect(both, {.attempt_delay = 1h});
        CHECK_FALSE(ec);
        CHECK(socket.remote_endpoint() == first.endpoint());
        auto accepted = co_await first.acceptor.accept();
        CHECK((co_await write_all(socket, "hello")).ok());
        std::array<char, 5> text;
        CHECK((co_await read_exactly(accepted.value(), text)).ok());
        CHECK((co_await with_timeout(second.acceptor.accept(), 0ms)).ec == errc::timed_out);
    });
}

REACTOR_TEST("a refusal lets the next address begin at once") {
    run(kind, [](io_context& ctx) -> task<> {
        listener good(ctx);
        const std::vector<ip::endpoint> all{refusing(ctx), refusing(ctx), good.endpoint()};
        failures failed;
        auto [ec, socket] = co_await with_timeout(
            tcp::connect(all, {.attempt_delay = 1h, .failures = &failed}), 60s);
        CHECK_FALSE(ec);
        CHECK(socket.remote_endpoint() == good.endpoint());
        REQUIRE(failed.size() == 2);
        for (std::size_t i = 0; i < 2; ++i) {
            CHECK(failed[i].to == all[i]);
            CHECK(failed[i].error == std::errc::connection_refused);
        }
    });
}

REACTOR_TEST("silence costs the head start, and the silent attempt is cancelled") {
    run(kind, [](io_context& ctx) -> task<> {
        full_listener silent(ctx);
        co_await sleep_for(5ms);
        listener good(ctx);
        const std::vector<ip::endpoint> all{silent.endpoint(), good.endpoint()};
        failures failed;
        const auto begun = clock::now();
        auto [ec, socket] =
            co_await tcp::connect(all, {.attempt_delay = 20ms, .failures = &failed});
        CHECK(clock::now() - begun >= 20ms);
        CHECK_FALSE(ec);
        CHECK(socket.remote_endpoint() == good.endpoint());
        CHECK(failed.empty());  // it has not failed
    });
}

REACTOR_TEST("when nobody answers, a limit of either policy leaves no socket") {
    run(kind, [](io_context& ctx) -> task<> {
        full_listener silent(ctx);
        co_await sleep_for(5ms);
        const std::size_t sockets = open_sockets(ctx);
        const std::vector<ip::endpoint> all(3, silent.endpoint());
        for (const on_timeout policy : {on_timeout::cancel, on_timeout::close}) {
            failures failed;
            auto [ec, socket] = co_await with_timeout(
                tcp::connect(all, {.attempt_delay = 1ms, .failures = &failed}), 20ms, policy);
            CHECK(ec == errc::timed_out);
            CHECK_FALSE(socket.is_open());
            CHECK(failed.empty());
            CHECK(open_sockets(ctx) == sockets);
        }
        // In the head start of the first, too.
        auto [ec, socket] = co_await with_timeout(tcp::connect(all), 5ms);
        CHECK(ec == errc::timed_out);
        CHECK(open_sockets(ctx) == sockets);
    });
}

REACTOR_TEST("when all fail, the error is that of the first that tells something of the peer") {
    run(kind, [](io_context& ctx) -> task<> {
        // (No address, which no system can connect to: there is no way there.)
        const std::vector<ip::endpoint> all{ip::endpoint(), refusing(ctx), ip::endpoint()};
        failures failed;
        auto [ec, socket] = co_await tcp::connect(all, {.failures = &failed});
        CHECK(ec == std::errc::connection_refused);
        CHECK_FALSE(socket.is_open());
        CHECK(failed.size() == 3);
        auto [none, nothing] = co_await tcp::connect(std::span<const ip::endpoint>());
        CHECK(none == std::errc::invalid_argument);
    });
}

REACTOR_TEST("who is cancelled has no connection") {
    io_context ctx(kind);
    listener good(ctx);
    const std::vector<ip::endpoint> all{good.endpoint()};
    auto connecting = ctx.spawn(tcp::connect(all));
    connecting.cancel();
    auto [ec, socket] = test::join(ctx, connecting);
    CHECK(ec == errc::canceled);
    CHECK_FALSE(socket.is_open());
}

#if defined(CURFEW_HAS_NAMES)

REACTOR_TEST("a name leads to a connection, whichever of its addresses somebody listens at") {
    run(kind, [](io_context& ctx) -> task<> {
        for (const char* where : test::loopbacks) {
            tcp::acceptor acceptor(ctx);
            acceptor.listen(parsed(where)).value();
            const auto at = acceptor.local_endpoint();
            const bool four = at.address().is_v4();
            auto [ec, socket] = co_await tcp::connect("localhost", at.port());
            // (Not every system's localhost has an IPv6 address.)
            const auto six = co_await resolve("localhost", 1, {.family = ip::family::v6});
            if (!four && !six.ok()) continue;
            CHECK_FALSE(ec);
            CHECK(socket.remote_endpoint() == at);
            auto [by_text, again] =
                co_await tcp::connect("localhost", std::to_string(at.port()),
                                      {.family = four ? ip::family::v4 : ip::family::v6});
            CHECK_FALSE(by_text);
            auto [literal, third] = co_await tcp::connect(at.address().to_string(), at.port());
            CHECK_FALSE(literal);
        }
    });
}

REACTOR_TEST("what is no name cannot be connected to") {
    run(kind, [](io_context&) -> task<> {
        CHECK((co_await tcp::connect("", 80)).ec == std::errc::invalid_argument);
        CHECK((co_await tcp::connect("127.0.0.1", "no-such-service")).ec ==
              resolve_errc::service_not_found);
        CHECK((co_await tcp::connect("::1", 80, {.family = ip::family::v4})).ec ==
              resolve_errc::no_data);
    });
}

#endif
