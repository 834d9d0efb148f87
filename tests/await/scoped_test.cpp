// Scopes: that what is cancelled stays so until it is left.
#include <curfew/await/scoped.hpp>

#include <array>
#include <chrono>
#include <string>
#include <vector>

#include "support/loop.hpp"

using namespace test;

namespace {

std::string text(const auto& buffer, std::size_t size) {
    return std::string(reinterpret_cast<const char*>(buffer.data()), size);
}

}  // namespace

REACTOR_TEST("level-triggered: in an expired scope everything ends at once without side effect, "
             "until it is left") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        tcp::acceptor acceptor(ctx);
        acceptor.listen(any_port()).value();
        udp::socket udp(ctx);
        udp.bind(any_port()).value();
        std::array<char, 16> buffer;
        auto stubborn = [&, &peer = client]() -> task<result<>> {
            CHECK((co_await sleep_for(10s)).error() == errc::canceled);
            CHECK((co_await write_all(peer, "never sent")).error() == errc::canceled);
            CHECK((co_await peer.read_some(buffer)).error() == errc::canceled);
            CHECK((co_await peer.write_some(std::string_view())).error() == errc::canceled);
            CHECK((co_await acceptor.accept()).error() == errc::canceled);
            tcp::socket other(ctx);
            CHECK((co_await other.connect(acceptor.local_endpoint())).error() == errc::canceled);
            CHECK((co_await udp.send_to("x", udp.local_endpoint())).error() == errc::canceled);
            CHECK((co_await sleep_for(0s)).error() == errc::canceled);
            CHECK((co_await yield()).error() == errc::canceled);
            CHECK((co_await with_timeout(peer.read_some(buffer), 10s)).error() == errc::canceled);
            CHECK((co_await with_timeout(sleep_for(10s), 0s)).error() == errc::canceled);
            co_return errc::canceled;
        };
        const auto before = clock::now();
        CHECK((co_await with_timeout(stubborn(), 2ms)).error() == errc::timed_out);
        CHECK(clock::now() - before < 5s);
        (co_await write_all(client, "sent")).value();
        auto [ec, n] = co_await server.read_some(buffer);
        CHECK(text(buffer, n) == "sent");
        CHECK((co_await with_timeout(acceptor.accept(), 2ms)).error() == errc::timed_out);
        ip::endpoint sender;
        CHECK((co_await with_timeout(udp.receive_from(buffer, sender), 2ms)).error() ==
              errc::timed_out);
    });
}

REACTOR_TEST(
    "level-triggered: shielded clean-up runs in an expired scope, and its own limits work") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        std::array<char, 16> buffer;
        bool cleaned = false;
        auto goodbye = [&, &peer = client]() -> task<result<std::size_t>> {
            CHECK((co_await with_timeout(sleep_for(10s), 2ms)).error() == errc::timed_out);
            CHECK((co_await sleep_for(2ms)).ok());
            co_return co_await write_all(peer, "bye");
        };
        auto session = [&, &peer = client]() -> task<result<>> {
            auto [ec, n] = co_await peer.read_some(buffer);
            CHECK(ec == errc::canceled);
            auto [ec2, sent] = co_await shielded(goodbye());
            cleaned = !ec2 && sent == 3;
            CHECK((co_await shielded(sleep_for(1ms))).ok());
            CHECK((co_await peer.read_some(buffer)).error() == errc::canceled);
            co_return ec;
        };
        CHECK((co_await with_timeout(session(), 2ms)).error() == errc::timed_out);
        CHECK(cleaned);
        auto [ec, n] = co_await server.read_some(buffer);
        CHECK(text(buffer, n) == "bye");
    });
}

REACTOR_TEST(
    "level-triggered: a limit that expires while a shield is up takes effect when it is left") {
    run(kind, [&](io_context&) -> task<> {
        std::vector<std::error_code> seen;
        auto work = [&]() -> task<result<>> {
            seen.push_back((co_await shielded(sleep_for(20ms))).ec);
            seen.push_back((co_await sleep_for(10s)).ec);
            co_return seen.back();
        };
        const auto before = clock::now();
        CHECK((co_await with_timeout(work(), 2ms)).error() == errc::timed_out);
        CHECK(clock::now() - before >= 20ms);
        REQUIRE(seen.size() == 2);
        CHECK_FALSE(seen[0]);
        CHECK(seen[1] == errc::canceled);
        // A shield around a bare operation under a limit.
        CHECK((co_await with_timeout(shielded(sleep_for(10ms)), 1ms)).ok());
    });
}
