#include <curfew/ip/address.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "support/platform.hpp"

using curfew::ip::address;
using curfew::ip::family;

namespace {

address v6(std::vector<unsigned> groups, std::uint32_t scope = 0) {
    address::v6_bytes bytes{};
    for (std::size_t i = 0; i < 8; ++i) {
        bytes[2 * i] = static_cast<std::uint8_t>(groups.at(i) >> 8);
        bytes[2 * i + 1] = static_cast<std::uint8_t>(groups.at(i) & 0xff);
    }
    return address(bytes, scope);
}

address v4(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d) {
    return address(address::v4_bytes{a, b, c, d});
}

address parsed(std::string_view text) {
    CAPTURE(text);
    const auto result = address::parse(text);
    CHECK(result.error().message() == std::error_code().message());
    return result.data;
}

}  // namespace

// Kinds -------------------------------------------------------------------------------------------

TEST_CASE("a default address is none") {
    const address none;
    CHECK(none.family() == family::unspecified);
    CHECK_FALSE(none.is_v4());
    CHECK_FALSE(none.is_v6());
    CHECK(none.is_unspecified());
    CHECK_FALSE(none.is_loopback());
    CHECK(none.to_string().empty());
    CHECK(none.scope() == 0);
}

TEST_CASE("an address knows its family and gives its bytes back") {
    const address four = v4(192, 0, 2, 33);
    CHECK(four.is_v4());
    CHECK_FALSE(four.is_v6());
    CHECK(four.family() == family::v4);
    CHECK(four.to_v4() == address::v4_bytes{192, 0, 2, 33});
    CHECK(four.to_v6() == address::v6_bytes{});  // zeros for another

    const address six = v6({0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x7f}, 3);
    CHECK(six.is_v6());
    CHECK_FALSE(six.is_v4());
    CHECK(six.to_v6()[0] == 0x20);
    CHECK(six.to_v6()[15] == 0x7f);
    CHECK(six.to_v4() == address::v4_bytes{});
    CHECK(six.scope() == 3);
}

TEST_CASE("the well-known addresses are what they are called") {
    CHECK(address::any_v4().to_string() == "0.0.0.0");
    CHECK(address::any_v6().to_string() == "::");
    CHECK(address::loopback_v4().to_string() == "127.0.0.1");
    CHECK(address::loopback_v6().to_string() == "::1");
    CHECK(address::any_v4().is_unspecified());
    CHECK(address::any_v6().is_unspecified());
    CHECK_FALSE(address::loopback_v4().is_unspecified());
    CHECK_FALSE(address::loopback_v6().is_unspecified());
}

TEST_CASE("loopback addresses are 127.0.0.0/8 and ::1") {
    CHECK(address::loopback_v4().is_loopback());
    CHECK(v4(127, 255, 1, 2).is_loopback());
    CHECK_FALSE(v4(128, 0, 0, 1).is_loopback());
    CHECK_FALSE(v4(1, 0, 0, 127).is_loopback());
    CHECK(address::loopback_v6().is_loopback());
    CHECK_FALSE(v6({0, 0, 0, 0, 0, 0, 0, 2}).is_loopback());
    CHECK_FALSE(v6({0x7f00, 0, 0, 0, 0, 0, 0, 1}).is_loopback());
}

// Reading -----------------------------------------------------------------------------------------

TEST_CASE("an IPv4 address is four decimal numbers") {
    CHECK(parsed("0.0.0.0") == v4(0, 0, 0, 0));
    CHECK(parsed("127.0.0.1") == v4(127, 0, 0, 1));
    CHECK(parsed("1.2.3.4") == v4(1, 2, 3, 4));
    CHECK(parsed("255.255.255.255") == v4(255, 255, 255, 255));
    CHECK(parsed("10.0.20.255") == v4(10, 0, 20, 255));
}

TEST_CASE("an IPv6 address is eight groups, of which :: stands for missing zeros") {
    CHECK(parsed("1:2:3:4:5:6:7:8") == v6({1, 2, 3, 4, 5, 6, 7, 8}));
    CHECK(parsed("::") == v6({0, 0, 0, 0, 0, 0, 0, 0}));
    CHECK(parsed("::1") == v6({0, 0, 0, 0, 0, 0, 0, 1}));
    CHECK(parsed("1::") == v6({1, 0, 0, 0, 0, 0, 0, 0}));
    CHECK(parsed("1::8") == v6({1, 0, 0, 0, 0, 0, 0, 8}));
    CHECK(parsed("1:2::7:8") == v6({1, 2, 0, 0, 0, 0, 7, 8}));
    CHECK(parsed("::2:3:4:5:6:7:8") == v6({0, 2, 3, 4, 5, 6, 7, 8}));
    CHECK(parsed("1:2:3:4:5:6:7::") == v6({1, 2, 3, 4, 5, 6, 7, 0}));
    CHECK(parsed("1:2:3::5:6:7:8") == v6({1, 2, 3, 0, 5, 6, 7, 8}));
    CHECK(parsed("0:0:0:0:0:0:0:0") == address::any_v6());
    CHECK(parsed("2001:DB8::aBcD") == v6({0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xabcd}));
    CHECK(parsed("0001:0020:0300:4000::") == v6({1, 0x20, 0x300, 0x4000, 0, 0, 0, 0}));
    CHECK(parsed("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff") ==
          v6({0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff}));
}

TEST_CASE("the last two groups of an IPv6 address may be an IPv4 address") {
    CHECK(parsed("::1.2.3.4") == v6({0, 0, 0, 0, 0, 0, 0x102, 0x304}));
    CHECK(parsed("::ffff:1.2.3.4") == v6({0, 0, 0, 0, 0, 0xffff, 0x102, 0x304}));
    CHECK(parsed("64:ff9b::192.0.2.33") == v6({0x64, 0xff9b, 0, 0, 0, 0, 0xc000, 0x221}));
    CHECK(parsed("1:2:3:4:5:6:7.8.9.10") == v6({1, 2, 3, 4, 5, 6, 0x708, 0x90a}));
    CHECK(parsed("1:2:3:4:5::7.8.9.10") == v6({1, 2, 3, 4, 5, 0, 0x708, 0x90a}));
}

TEST_CASE("a scope is a number, or an interface's name") {
    CHECK(parsed("fe80::1%1") == v6({0xfe80, 0, 0, 0, 0, 0, 0, 1}, 1));
    CHECK(parsed("fe80::1%123456789").scope() == 123'456'789);
    CHECK(parsed("fe80::1").scope() == 0);
#if defined(__linux__)
    if (test::has_ipv6) CHECK(parsed("fe80::1%lo").scope() != 0);  // every Linux has this one
#endif
}

TEST_CASE("anything else is an invalid argument") {
    // clang-format off
    const std::vector<std::string> malformed{
        // No address at all
        "", " ", "localhost", "example.org", "x", "%", "%1", ".", ":", "...", "-1",
        // IPv4
        "1", "1.2", "1.2.3", "1.2.3.", ".1.2.3", "1.2.3.4.", "1.2.3.4.5", "1..2.3", "1.2..3.4",
        "256.1.1.1", "1.256.1.1", "1.1.1.256", "1.1.1.999", "1.1.1.1000", "1.1.1.4294967297",
        "01.2.3.4", "1.02.3.4", "1.2.3.04", "00.0.0.0", "1.2.3.000", "0x1.2.3.4", "a.b.c.d",
        "1.2.3.f", "-1.2.3.4", "+1.2.3.4", "1.-2.3.4", " 1.2.3.4", "1.2.3.4 ", "1. 2.3.4",
        "1,2,3,4",
        "1.2.3.4\n", "1.2.3.4/8", "1.2.3.4:80", "1.2.3.4%1", "2130706433", "1.2.3.4x",
        // IPv6: too few, too many, wrong separators
        "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:", ":1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:", ":1:2:3:4:5:6:7:8", ":::", "::1::", "1::2::3", ":::1", "1:::2", "1:::",
        "::1:", ":1", "1:", ":1:", "1:2", "1::2:3:4:5:6:7:8:9", "::1:2:3:4:5:6:7:8",
        "1:2:3:4::5:6:7:8", "1:2:3:4:5:6:7:8::", "::1:2:3:4:5:6:7:8:",
        // IPv6: bad groups
        "12345::", "::12345", "00001::", "g::", "::g", "::-1", "::+1", "::0x1", ":: 1", " ::1",
        "::1 ",
        "::1\n", "[::1]", "[::1", "::1]", "::1/64",
        // IPv6 with IPv4 inside
        "::1.2.3", "::1.2.3.4.5", "::1.2.3.256", "::01.2.3.4", "1.2.3.4::", "::1.2.3.4:5",
        "1:2:3:4:5:6:7:1.2.3.4", "1:2:3:4:5:6:7:8.9.10.11", "1:2:3:4:5:1.2.3.4", ":1.2.3.4",
        "1.2.3.4:1::", "::ffff:1.2.3.4.", "::.1.2.3", "1:2:3:4:5:6::1.2.3.4",
        // Scopes
        "fe80::1%", "fe80::1%%1", "fe80::1%no_such_interface", "fe80::1%1%1", "fe80::1%-1",
        "fe80::1%1x", "fe80::1% 1", "fe80::1%4294967296", "fe80::1%99999999999999999999",
        "fe80%1::1", "%1::1",
    };
    // clang-format on
    for (const std::string& text : malformed) {
        CAPTURE(text);
        const auto result = address::parse(text);
        CHECK(result.error() == std::errc::invalid_argument);
        CHECK(result.data == address());
    }
}

TEST_CASE("a zero byte in an address is no end of it") {
    using namespace std::string_view_literals;
    for (const auto text : {"1.2.3.4\0"sv, "1.2.3.4\0junk"sv, "::1\0"sv, "\0"sv, "fe80::1%1\0"sv,
                            "fe80::1%lo\0"sv, "fe80::1%lo\0junk"sv}) {
        CAPTURE(std::string(text));
        CHECK(address::parse(text).error() == std::errc::invalid_argument);
    }
}

TEST_CASE("only the text that was given is read") {
    const std::string_view text = "127.0.0.1:80";
    CHECK(parsed(text.substr(0, 9)) == address::loopback_v4());
    CHECK(parsed(std::string_view("[::1]").substr(1, 3)) == address::loopback_v6());
}

TEST_CASE("random bytes of the alphabet of addresses are read or refused, but never misread") {
    const unsigned seed = std::random_device()();
    CAPTURE(seed);
    std::mt19937 random(seed);
    const std::string_view alphabet = "0123456789abcdefF:::....%";
    int good = 0;
    for (int i = 0; i < 200'000; ++i) {
        std::string text(1 + random() % 12, ' ');
        for (char& c : text) c = alphabet[random() % alphabet.size()];
        const auto result = address::parse(text);
        if (!result.ok()) {
            REQUIRE(result.error() == std::errc::invalid_argument);
            continue;
        }
        ++good;
        CAPTURE(text);
        REQUIRE(parsed(result.data.to_string()) == result.data);
    }
    CHECK(good > 0);
}

// Writing -----------------------------------------------------------------------------------------

TEST_CASE("IPv6 addresses are written as in RFC 5952") {
    struct {
        address from;
        const char* text;
    } const table[] = {
        // 4.1: no leading zeros; 4.3: lower case
        {v6({0x2001, 0xdb8, 0xaaaa, 0xbbbb, 0xcccc, 0xdddd, 0xeeee, 0x0001}),
         "2001:db8:aaaa:bbbb:cccc:dddd:eeee:1"},
        {v6({0x2001, 0x0db8, 0x00a0, 0x0b00, 0xc, 1, 1, 1}), "2001:db8:a0:b00:c:1:1:1"},
        // 4.2.1: as short as possible
        {v6({0x2001, 0xdb8, 0, 0, 0, 0, 2, 1}), "2001:db8::2:1"},
        {v6({0x2001, 0xdb8, 0, 0, 0, 0, 0, 1}), "2001:db8::1"},
        // 4.2.2: :: does not stand for a single group
        {v6({0x2001, 0xdb8, 0, 1, 1, 1, 1, 1}), "2001:db8:0:1:1:1:1:1"},
        {v6({0, 1, 2, 3, 4, 5, 6, 7}), "0:1:2:3:4:5:6:7"},
        {v6({1, 2, 3, 4, 5, 6, 7, 0}), "1:2:3:4:5:6:7:0"},
        // 4.2.3: the longest run, and of equal ones the first
        {v6({0x2001, 0, 0, 1, 0, 0, 0, 1}), "2001:0:0:1::1"},
        {v6({0x2001, 0xdb8, 0, 0, 1, 0, 0, 1}), "2001:db8::1:0:0:1"},
        {v6({0, 0, 1, 0, 0, 0, 1, 1}), "0:0:1::1:1"},
        {v6({0, 0, 1, 1, 1, 1, 0, 0}), "::1:1:1:1:0:0"},
        // At the ends
        {v6({0, 0, 0, 0, 0, 0, 0, 0}), "::"},
        {v6({0, 0, 0, 0, 0, 0, 0, 1}), "::1"},
        {v6({1, 0, 0, 0, 0, 0, 0, 0}), "1::"},
        {v6({0xff02, 0, 0, 0, 0, 0, 0, 0xfb}), "ff02::fb"},
        {v6({0, 0, 1, 2, 3, 4, 5, 6}), "::1:2:3:4:5:6"},
        {v6({1, 2, 3, 4, 5, 6, 0, 0}), "1:2:3:4:5:6::"},
        {v6({0, 0, 0, 0, 0, 0, 0x102, 0x304}), "::102:304"},
        // 5: IPv4-mapped addresses
        {v6({0, 0, 0, 0, 0, 0xffff, 0xc000, 0x0201}), "::ffff:192.0.2.1"},
        {v6({0, 0, 0, 0, 0, 0xffff, 0, 0}), "::ffff:0.0.0.0"},
        {v6({0, 0, 0, 0, 0, 0xfffe, 0xc000, 0x0201}), "::fffe:c000:201"},
        {v6({0, 0, 0, 1, 0, 0xffff, 0xc000, 0x0201}), "::1:0:ffff:c000:201"},
        // With a scope (RFC 4007)
        {v6({0xfe80, 0, 0, 0, 0, 0, 0, 1}, 4), "fe80::1%4"},
        {v6({0xfe80, 0, 0, 0, 0, 0, 0, 0}, 12), "fe80::%12"},
    };
    for (const auto& [from, text] : table) {
        CHECK(from.to_string() == text);
        CHECK(parsed(text) == from);
    }
}

TEST_CASE("IPv4 addresses are written as four decimal numbers") {
    CHECK(v4(0, 0, 0, 0).to_string() == "0.0.0.0");
    CHECK(v4(1, 20, 100, 255).to_string() == "1.20.100.255");
}

TEST_CASE("what is written is read as the same address") {
    const unsigned seed = std::random_device()();
    CAPTURE(seed);
    std::mt19937 engine(seed);
    const auto random = [&] { return static_cast<std::uint32_t>(engine()); };
    for (int i = 0; i < 20'000; ++i) {
        std::vector<unsigned> groups(8);
        for (auto& group : groups)
            group = random() % 2 ? 0 : random() % (random() % 2 ? 16 : 65'536);
        if (random() % 4 == 0) groups = {0, 0, 0, 0, 0, 0xffff, groups[6], groups[7]};
        const address six = v6(groups, random() % 4 ? 0 : 1 + random() % 999'999'999);
        REQUIRE(parsed(six.to_string()) == six);

        const auto number = random();
        const address four =
            v4(static_cast<std::uint8_t>(number), static_cast<std::uint8_t>(number >> 8),
               static_cast<std::uint8_t>(number >> 16), static_cast<std::uint8_t>(number >> 24));
        REQUIRE(parsed(four.to_string()) == four);
    }
}

TEST_CASE("a scope of any size is written and read as the same") {
    for (const std::uint32_t scope : {1u, 999'999'999u, 1'000'000'000u, 4'294'967'295u}) {
        const address scoped = v6({0xfe80, 0, 0, 0, 0, 0, 0, 1}, scope);
        CAPTURE(scoped.to_string());
        CHECK(address::parse(scoped.to_string()).data == scoped);
    }
}

// Comparing ---------------------------------------------------------------------------------------

TEST_CASE("addresses are equal if family, bytes and scope are") {
    CHECK(v4(1, 2, 3, 4) == v4(1, 2, 3, 4));
    CHECK(v4(1, 2, 3, 4) != v4(1, 2, 3, 5));
    CHECK(address() == address());
    CHECK(address() != address::any_v4());
    CHECK(address::any_v4() != address::any_v6());
    CHECK(v6({1, 2, 3, 4, 5, 6, 7, 8}) == v6({1, 2, 3, 4, 5, 6, 7, 8}));
    CHECK(v6({1, 2, 3, 4, 5, 6, 7, 8}) != v6({1, 2, 3, 4, 5, 6, 7, 9}));
    CHECK(v6({1, 2, 3, 4, 5, 6, 7, 8}, 1) != v6({1, 2, 3, 4, 5, 6, 7, 8}, 2));
    CHECK(v4(1, 2, 3, 4) != v6({0, 0, 0, 0, 0, 0xffff, 0x102, 0x304}));
}

TEST_CASE("addresses are ordered by family, then bytes, then scope") {
    const std::vector<address> ordered{address(),
                                       v4(0, 0, 0, 0),
                                       v4(1, 2, 3, 4),
                                       v4(1, 2, 4, 0),
                                       v4(200, 0, 0, 0),
                                       v6({0, 0, 0, 0, 0, 0, 0, 1}),
                                       v6({0, 0, 0, 0, 0, 0, 0, 1}, 1),
                                       v6({0, 0, 0, 0, 0, 0, 0, 1}, 2),
                                       v6({0x100, 0, 0, 0, 0, 0, 0, 0})};
    for (std::size_t a = 0; a < ordered.size(); ++a)
        for (std::size_t b = 0; b < ordered.size(); ++b) {
            CHECK((ordered[a] < ordered[b]) == (a < b));
            CHECK((ordered[a] == ordered[b]) == (a == b));
        }
}

TEST_CASE("an IPv4 address mapped into IPv6 is that address, unmapped") {
    const address mapped = address::parse("::ffff:127.0.0.1").value();
    CHECK(mapped.is_v4_mapped());
    CHECK(mapped.is_loopback());
    CHECK(mapped.unmapped() == address::loopback_v4());
    CHECK_FALSE(address::parse("::ffff:128.0.0.1").value().is_loopback());
    for (const char* text : {"127.0.0.1", "::1", "::", "::fffe:127.0.0.1", "1::ffff:127.0.0.1",
                             "::127.0.0.1", "fe80::1%3"}) {
        const address other = address::parse(text).value();
        CAPTURE(text);
        CHECK_FALSE(other.is_v4_mapped());
        CHECK(other.unmapped() == other);
    }
    CHECK_FALSE(address().is_v4_mapped());
    CHECK(address().unmapped() == address());
}
