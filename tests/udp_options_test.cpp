// Options of UDP sockets, and groups.
#include <curfew/udp.hpp>

#include <array>
#include <bit>
#include <cstdint>

#include "support/loop.hpp"

using namespace test;

namespace {

/// The number of the loopback interface.
std::uint32_t loopback_interface() { return curfew::platform::interface_index("lo"); }

/// Whether groups can be tried out: on Linux, whose loopback interface has that name.
bool has_groups() {
#if defined(__linux__) && !defined(TEST_PLATFORM_QUIRKY)
    return loopback_interface() != 0;
#else
    return false;
#endif
}

#if defined(TEST_PLATFORM_QUIRKY)
constexpr bool has_ip_options = false;
constexpr bool has_traffic_class = false;
#elif defined(_WIN32)
constexpr bool has_ip_options = true;
constexpr bool has_traffic_class = false;
#else
constexpr bool has_ip_options = true;
constexpr bool has_traffic_class = true;
#endif

/// Emulators do not know all options.
bool unknown(const std::error_code& ec) { return ec == std::errc::no_protocol_option; }

/// Those of another byte order do not see which numbers in an option are to be turned round.
bool garbled(const std::error_code& ec) {
    return unknown(ec) || (ec && std::endian::native == std::endian::big);
}

}  // namespace

REACTOR_TEST("options are those of the socket's version of IP") {
    run(kind, [&](io_context& ctx) -> task<> {
        for (const char* loopback : loopbacks) {
            udp::socket socket(ctx);
            CHECK(socket.hops(3).error() == errc::closed);
            CHECK(socket.join_group(ip::address::loopback_v4()).error() == errc::closed);
            socket.open(ip::endpoint::parse(loopback).value().family()).value();
            const errc missing = errc::not_supported;
            if (!has_ip_options) {
                CHECK(socket.hops(3).error() == missing);
                CHECK(socket.hops().error() == missing);
                CHECK(socket.dont_fragment(true).error() == missing);
                CHECK(socket.multicast_loop(false).error() == missing);
                CHECK(socket.multicast_hops(3).error() == missing);
                CHECK(socket.multicast_interface(1).error() == missing);
                CHECK(socket.join_group(ip::address::loopback_v4()).error() == missing);
                CHECK(socket.leave_group(ip::address::loopback_v4()).error() == missing);
            }
            if (!has_traffic_class) CHECK(socket.traffic_class(0xb8).error() == missing);
            if (has_ip_options) {
                CHECK(socket.hops(3).ok());
                CHECK(socket.hops().value() == 3);
                CHECK(socket.multicast_hops(5).ok());
                CHECK(socket.multicast_hops().value() == 5);
                CHECK(socket.hops().value() == 3);
                for (const bool on : {false, true}) {
                    CHECK(socket.multicast_loop(on).ok());
                    CHECK(socket.multicast_loop().value() == on);
                    const std::error_code ec = socket.dont_fragment(on).error();
                    if (unknown(ec)) continue;
                    CHECK_FALSE(ec);
                    CHECK(socket.dont_fragment().value() == on);
                }
            }
            if (has_traffic_class) {
                const std::error_code ec = socket.traffic_class(0xb8).error();
                if (!unknown(ec)) {
                    CHECK_FALSE(ec);
                    CHECK(socket.traffic_class().value() == 0xb8);
                }
            }
        }
        co_return;
    });
}

REACTOR_TEST("sockets share a port if all of them say so") {
    run(kind, [&](io_context& ctx) -> task<> {
        udp::socket first(ctx);
        first.open(ip::family::v4).value();
        if (!has_reuse_port) {
            CHECK(first.reuse_port(true).error() == errc::not_supported);
            co_return;
        }
        CHECK_FALSE(first.reuse_port().value());
        CHECK(first.reuse_port(true).ok());
        CHECK(first.reuse_port().value());
        first.bind(any_port()).value();
        udp::socket second(ctx);
        second.open(ip::family::v4).value();
        CHECK(second.bind(first.local_endpoint()).error() == std::errc::address_in_use);
        CHECK(second.reuse_port(true).ok());
        CHECK(second.bind(first.local_endpoint()).ok());
    });
}

REACTOR_TEST("a socket for IPv6 alone leaves the port of IPv4 to others") {
    run(kind, [&](io_context& ctx) -> task<> {
        udp::socket six(ctx);
        if (!has_ipv6) {
            six.open(ip::family::v4).value();
            CHECK(six.v6_only(true).error() == errc::not_supported);
            co_return;
        }
        six.open(ip::family::v6).value();
        CHECK(six.v6_only(true).ok());
        CHECK(six.v6_only().value());
        six.bind(ip::endpoint::parse("[::]:0").value()).value();
        udp::socket four(ctx);
        CHECK(four.bind({ip::address::parse("0.0.0.0").value(), six.local_endpoint().port()}).ok());
    });
}

REACTOR_TEST("what is sent to a group comes to who has joined it, until they leave") {
    if (!has_groups()) return;
    run(kind, [&](io_context& ctx) -> task<> {
        const auto group = ip::address::parse("239.255.77.7").value();
        udp::socket member(ctx);
        member.bind(ip::endpoint::parse("0.0.0.0:0").value()).value();
        const std::error_code joined = member.join_group(group, loopback_interface()).error();
        if (garbled(joined)) co_return;
        CHECK_FALSE(joined);
        udp::socket sender(ctx);
        sender.bind(any_port()).value();
        const std::error_code chosen = sender.multicast_interface(loopback_interface()).error();
        if (garbled(chosen)) co_return;
        CHECK_FALSE(chosen);
        const ip::endpoint to(group, member.local_endpoint().port());
        std::array<char, 16> buffer;
        ip::endpoint from;
        CHECK((co_await sender.send_to("to all", to)).ok());
        CHECK((co_await with_timeout(member.receive_from(buffer, from), 10s)).value() == 6);
        CHECK(from == sender.local_endpoint());

        CHECK(member.leave_group(group, loopback_interface()).ok());
        CHECK(member.leave_group(group, loopback_interface()).error() ==
              std::errc::address_not_available);
        CHECK((co_await sender.send_to("nobody", to)).ok());
        const ip::endpoint alone(ip::address::loopback_v4(), to.port());
        CHECK((co_await sender.send_to("one", alone)).ok());
        CHECK((co_await with_timeout(member.receive_from(buffer, from), 10s)).value() == 3);
    });
}
