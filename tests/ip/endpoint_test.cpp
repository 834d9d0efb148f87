#include <curfew/ip/endpoint.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

using curfew::ip::address;
using curfew::ip::endpoint;
using curfew::ip::family;

namespace {

endpoint parsed(std::string_view text) {
    CAPTURE(text);
    const auto result = endpoint::parse(text);
    CHECK(result.error().message() == std::error_code().message());
    return result.data;
}

}  // namespace

TEST_CASE("a default endpoint is none") {
    const endpoint none;
    CHECK(none.is_unspecified());
    CHECK(none.family() == family::unspecified);
    CHECK(none.port() == 0);
    CHECK(none.address() == address());
    CHECK(none.to_string().empty());
}

TEST_CASE("an endpoint gives its address and port back") {
    const endpoint four(address::loopback_v4(), 7000);
    CHECK(four.address() == address::loopback_v4());
    CHECK(four.port() == 7000);
    CHECK(four.family() == family::v4);
    CHECK_FALSE(four.is_unspecified());

    const endpoint six(address(address::v6_bytes{0xfe, 0x80}, 9), 65535);
    CHECK(six.address().scope() == 9);
    CHECK(six.port() == 65535);
    CHECK(six.family() == family::v6);
}

TEST_CASE("an endpoint with the address of all interfaces is one") {
    CHECK_FALSE(endpoint(address::any_v4(), 0).is_unspecified());
    CHECK_FALSE(endpoint(address::any_v6(), 80).is_unspecified());
}

TEST_CASE("the address of an endpoint equals one that never had a port") {
    CHECK(endpoint(address::loopback_v6(), 443).address() == address::loopback_v6());
    CHECK(endpoint(endpoint(address::loopback_v4(), 1).address(), 2) ==
          endpoint(address::loopback_v4(), 2));
}

TEST_CASE("endpoints are read and written with brackets around IPv6 only") {
    struct {
        const char* text;
        endpoint means;
    } const table[] = {
        {"127.0.0.1:7000", {address::loopback_v4(), 7000}},
        {"0.0.0.0:0", {address::any_v4(), 0}},
        {"255.255.255.255:65535", {address(address::v4_bytes{255, 255, 255, 255}), 65535}},
        {"[::1]:7000", {address::loopback_v6(), 7000}},
        {"[::]:0", {address::any_v6(), 0}},
        {"[fe80::%3]:1", {address(address::v6_bytes{0xfe, 0x80}, 3), 1}},
        {"[::ffff:1.2.3.4]:80",
         {address(address::v6_bytes{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 1, 2, 3, 4}), 80}},
    };
    for (const auto& [text, means] : table) {
        CHECK(parsed(text) == means);
        CHECK(means.to_string() == text);
    }
    CHECK(parsed("[0:0:0:0:0:0:0:1]:7000").to_string() == "[::1]:7000");
}

TEST_CASE("anything else is an invalid argument") {
    // clang-format off
    const std::vector<std::string> malformed{
        "", ":", "::", "127.0.0.1", "127.0.0.1:", ":80", "80", "::1", "::1:80", "[::1]", "[::1]:",
        "[::1]80", "::1]:80", "[::1:80", "[]:80", "[:80", "]:80", "[[::1]]:80", "[127.0.0.1]:80",
        "[::1]:80:80", "127.0.0.1:80:80", "localhost:80", "127.0.0.1:http", "127.0.0.1:65536",
        "127.0.0.1:99999", "127.0.0.1:100000", "127.0.0.1:4294967376",
        "127.0.0.1:18446744073709551696",
        "127.0.0.1:-1", "127.0.0.1:+80", "127.0.0.1: 80", "127.0.0.1:80 ", " 127.0.0.1:80",
        "127.0.0.1 :80", "127.0.0.1:0x50", "127.0.0.1:8o", "256.0.0.1:80", "1.2.3:80", "[::g]:80",
        "[::1] :80", "[ ::1]:80", "[fe80::1%]:80", "[::1]:80\n", "127.0.0.1.:80", "127.0.0.1:80.",
        "[1::2::3]:80", "1:2:3:4:5:6:7:8:80", "[1:2:3:4:5:6:7]:80",
    };
    // clang-format on
    for (const std::string& text : malformed) {
        CAPTURE(text);
        const auto result = endpoint::parse(text);
        CHECK(result.error() == std::errc::invalid_argument);
        CHECK(result.data == endpoint());
    }
    using namespace std::string_view_literals;
    CHECK(endpoint::parse("127.0.0.1:80\0"sv).error() == std::errc::invalid_argument);
    CHECK(endpoint::parse("127.0.0.1\0:80"sv).error() == std::errc::invalid_argument);
}

TEST_CASE("what is written is read as the same endpoint") {
    const unsigned seed = std::random_device()();
    CAPTURE(seed);
    std::mt19937 engine(seed);
    const auto random = [&] { return static_cast<std::uint32_t>(engine()); };
    for (int i = 0; i < 10'000; ++i) {
        const auto port = static_cast<std::uint16_t>(random());
        address::v4_bytes four;
        address::v6_bytes six{};
        for (auto& byte : four) byte = static_cast<std::uint8_t>(random());
        for (auto& byte : six)
            if (random() % 3 == 0) byte = static_cast<std::uint8_t>(random());
        const endpoint a(address(four), port);
        const endpoint b(address(six, random() % 2 ? random() % 100 : 0), port);
        REQUIRE(parsed(a.to_string()) == a);
        REQUIRE(parsed(b.to_string()) == b);
    }
}

TEST_CASE("endpoints are ordered by address, then by port") {
    const auto at = [](std::uint8_t last, std::uint16_t port) {
        return endpoint(address(address::v4_bytes{10, 0, 0, last}), port);
    };
    const std::vector<endpoint> ordered{endpoint(),
                                        at(1, 80),
                                        at(1, 256),
                                        at(2, 79),
                                        at(2, 80),
                                        {address::any_v6(), 1},
                                        {address::any_v6(), 2}};
    for (std::size_t a = 0; a < ordered.size(); ++a)
        for (std::size_t b = 0; b < ordered.size(); ++b) {
            CHECK((ordered[a] < ordered[b]) == (a < b));
            CHECK((ordered[a] == ordered[b]) == (a == b));
        }
}

TEST_CASE("an endpoint made of the platform's form is that endpoint") {
    const endpoint there(address::loopback_v6(), 99);
    CHECK(endpoint(there.raw()) == there);
    CHECK(there.raw().port == 99);
}

#if defined(CURFEW_HAS_SOCKADDR)

TEST_CASE("endpoints go to the system's form and come back from it") {
    for (const char* text : {"127.0.0.1:7000", "[::1]:65535", "[fe80::1%7]:80"}) {
        const endpoint there = endpoint::parse(text).value();
        sockaddr_storage storage{};
        const std::size_t size = there.to_sockaddr(&storage, sizeof storage);
        REQUIRE(size > 0);
        CHECK(storage.ss_family == (there.address().is_v4() ? AF_INET : AF_INET6));
        CHECK(endpoint::from_sockaddr(&storage, size).value() == there);
        CHECK(there.to_sockaddr(&storage, size - 1) == 0);
        CHECK(endpoint::from_sockaddr(&storage, size - 1).ec ==
              std::errc::address_family_not_supported);
    }
    sockaddr_storage none{};
    none.ss_family = AF_UNSPEC;
    CHECK(endpoint::from_sockaddr(&none, sizeof none).ec ==
          std::errc::address_family_not_supported);
    CHECK(endpoint::from_sockaddr(&none, 0).ec == std::errc::address_family_not_supported);
    CHECK(endpoint().to_sockaddr(&none, sizeof none) == 0);
}

#endif
