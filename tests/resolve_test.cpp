// What resolve yields, and what limits and cancellation do to it.
#include <curfew/resolve.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <curfew/curfew.hpp>

#include "support/loop.hpp"
#include "support/reactors.hpp"
#include "support/slow_names.hpp"

using namespace curfew;
using namespace std::chrono_literals;
using test::run;
using test::slow_names;

namespace {

using endpoints = std::vector<ip::endpoint>;

ip::endpoint parsed(const char* text) { return ip::endpoint::parse(text).value(); }

endpoints list(const char* first, const char* second = nullptr) {
    endpoints all(1, parsed(first));
    if (second) all.push_back(parsed(second));
    return all;
}

#if defined(CURFEW_HAS_THREADS)
constexpr unsigned places = 32;  // look-ups at a time

/// Begins as many look-ups as can be at a time, none of which is answered. Returns when they hang.
std::vector<join_handle<result<endpoints>>> take_all_places(io_context& ctx) {
    std::vector<join_handle<result<endpoints>>> all;
    for (unsigned i = 0; i < places; ++i)
        all.push_back(ctx.spawn(resolve<slow_names>("silent", 80)));
    while (slow_names::begun < static_cast<int>(places)) ctx.run_for(1ms);
    return all;
}
#endif

}  // namespace

REACTOR_TEST("the text of an address stands for itself, at once") {
    run(kind, [](io_context& ctx) -> task<> {
        bool others_ran = false;
        ctx.post([&] { others_ran = true; });
        CHECK((co_await resolve("127.0.0.1", 80)).value() == list("127.0.0.1:80"));
        CHECK((co_await resolve("::1", 65535)).value() == list("[::1]:65535"));
        CHECK((co_await resolve("fe80::1%7", 0)).value()[0].address().scope() == 7);
        CHECK((co_await resolve("192.0.2.1", "8080")).value()[0].port() == 8080);
        CHECK((co_await resolve("192.0.2.1", 1, {.family = ip::family::v6})).ec ==
              resolve_errc::no_data);
        CHECK_FALSE(others_ran);
    });
}

REACTOR_TEST("the system's names are found, or the platform has none") {
    run(kind, [](io_context&) -> task<> {
        auto [ec, found] = co_await resolve("localhost", 7);
#if defined(CURFEW_HAS_NAMES)
        REQUIRE_FALSE(ec);
        REQUIRE_FALSE(found.empty());
        for (const auto& each : found) {
            CHECK(each.address().is_loopback());
            CHECK(each.port() == 7);
        }
        auto [four_ec, four] = co_await resolve("localhost", 7, {.family = ip::family::v4});
        CHECK_FALSE(four_ec);
        CHECK(four == list("127.0.0.1:7"));
        auto [service_ec, service] = co_await resolve("127.0.0.1", "http");
        CHECK_FALSE(service_ec);
        CHECK(service == list("127.0.0.1:80"));
        CHECK((co_await resolve("127.0.0.1", "no-such-service")).ec ==
              resolve_errc::service_not_found);
#else
        CHECK(ec == errc::not_supported);
        CHECK(found.empty());
#endif
    });
}

REACTOR_TEST("what can be no name is refused") {
    run(kind, [](io_context&) -> task<> {
        const std::string with_zero("local\0host", 10);
        CHECK((co_await resolve("", 80)).ec == std::errc::invalid_argument);
        CHECK((co_await resolve(with_zero, 80)).ec == std::errc::invalid_argument);
        CHECK((co_await resolve(std::string(2000, 'a'), 80)).ec == std::errc::invalid_argument);
        CHECK((co_await resolve("localhost", "")).ec == std::errc::invalid_argument);
        CHECK((co_await resolve("localhost", "65536")).ec == std::errc::invalid_argument);
        CHECK((co_await resolve("localhost", "4294967376")).ec == std::errc::invalid_argument);
    });
}

TEST_CASE("errors of names are a category of their own") {
    const std::error_code none = resolve_errc::host_not_found;
    CHECK(none.category().name() == std::string_view("curfew.resolve"));
    CHECK(none == resolve_errc::host_not_found);
    CHECK(none != resolve_errc::no_data);
    CHECK(none != std::error_code(errc::timed_out));
    CHECK(none != std::errc::resource_unavailable_try_again);
    CHECK(std::error_code(resolve_errc::try_again) == std::errc::resource_unavailable_try_again);
    for (int i = 1; i <= static_cast<int>(resolve_errc::service_not_found); ++i)
        CHECK(make_error_code(static_cast<resolve_errc>(i)).message() != "unknown error");
    CHECK(std::error_code(0x7fff, resolve_category()).message() == "unknown error");
}

#if defined(CURFEW_HAS_THREADS)

REACTOR_TEST("a name has the addresses that were found, in their order, with the port") {
    run(kind, [](io_context&) -> task<> {
        auto [ec, found] = co_await resolve<slow_names>("host", 443);
        CHECK_FALSE(ec);
        CHECK(found == list("[2001:db8::1]:443", "192.0.2.1:443"));
        auto [none_ec, none] = co_await resolve<slow_names>("none", 443);
        CHECK(none_ec == resolve_errc::host_not_found);
        CHECK(none.empty());
    });
}

REACTOR_TEST("texts may be gone when the look-up begins") {
    run(kind, [](io_context&) -> task<> {
        auto text = std::make_unique<std::string>("none of a length that is allocated, and so on");
        auto looking_up = resolve<slow_names>(*text, 443);
        text = nullptr;
        CHECK((co_await std::move(looking_up)).ec == resolve_errc::host_not_found);
    });
}

REACTOR_TEST("a limit of either policy ends a look-up that hangs") {
    const slow_names::silent_servers silent;
    run(kind, [](io_context&) -> task<> {
        for (const on_timeout policy : {on_timeout::cancel, on_timeout::close}) {
            auto [ec, found] =
                co_await with_timeout(resolve<slow_names>("silent", 80), 5ms, policy);
            CHECK(ec == errc::timed_out);
            CHECK(found.empty());
        }
    });
    CHECK(slow_names::ended < 2);  // neither was waited for
}

REACTOR_TEST("a look-up that was cancelled before it began never begins") {
    const slow_names::silent_servers silent;
    io_context ctx(kind);
    auto hanging = take_all_places(ctx);
    {
        std::vector<join_handle<result<endpoints>>> others;
        for (int i = 0; i < 3'000; ++i)
            others.push_back(ctx.spawn([]() -> task<result<endpoints>> {
                co_return co_await with_timeout(resolve<slow_names>("other", 80), 5ms);
            }));
        for (auto& each : others) CHECK(test::join(ctx, each).ec == errc::timed_out);
    }
    CHECK(slow_names::begun == static_cast<int>(places));
    slow_names::silence = false;
    for (auto& each : hanging) CHECK(test::join(ctx, each).ok());
    CHECK(slow_names::begun == static_cast<int>(places));
}

REACTOR_TEST("thousands of look-ups go on while eight hang, and more wait for a place") {
    const slow_names::silent_servers silent;
    io_context ctx(kind);
    std::vector<join_handle<result<endpoints>>> hanging, others;
    for (int i = 0; i < 8; ++i) hanging.push_back(ctx.spawn(resolve<slow_names>("silent", 80)));
    for (int i = 0; i < 3'000; ++i) others.push_back(ctx.spawn(resolve<slow_names>("host", 80)));
    for (auto& each : others) CHECK(test::join(ctx, each).value().size() == 2);
    CHECK(slow_names::ended == 3'000);
    slow_names::silence = false;
    for (auto& each : hanging) CHECK(test::join(ctx, each).value().size() == 2);
}

REACTOR_TEST("an abandoned look-up keeps its place until the system is done with it") {
    const slow_names::silent_servers silent;
    io_context ctx(kind);
    for (auto& each : take_all_places(ctx)) {
        each.cancel();
        CHECK(test::join(ctx, each).ec == errc::canceled);
    }
    auto next = ctx.spawn(resolve<slow_names>("host", 80));
    ctx.run_for(5ms);
    CHECK(slow_names::begun == static_cast<int>(places));
    slow_names::silence = false;
    CHECK(test::join(ctx, next).ok());
}

REACTOR_TEST("a context ends while look-ups hang, and others wait") {
    const slow_names::silent_servers silent;
    {
        io_context ctx(kind);
        take_all_places(ctx);
        for (int i = 0; i < 100; ++i) ctx.spawn(resolve<slow_names>("other", 80));
        ctx.run_for(1ms);
    }
    CHECK(slow_names::ended == 0);
    CHECK(slow_names::begun == static_cast<int>(places));
}

REACTOR_TEST("the look-up that loses a race is cancelled") {
    const slow_names::silent_servers silent;
    run(kind, [](io_context&) -> task<> {
        auto [index, results] =
            co_await when_any(resolve<slow_names>("silent", 80), resolve<slow_names>("host", 80));
        auto& [first, second] = results;
        CHECK(index == 1);
        CHECK(first.ec == errc::canceled);
        CHECK(second.value().size() == 2);
    });
}

#endif
