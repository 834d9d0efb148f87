// The reactors of this machine, by kind and by name.
#include <curfew/reactor/make_reactor.hpp>

#include "support/fatal.hpp"
#include "support/loop.hpp"

using namespace test;

TEST_CASE("every kind has a name that leads back to it") {
    for (const auto kind : {reactor_kind::select, reactor_kind::poll, reactor_kind::epoll,
                            reactor_kind::io_uring, reactor_kind::iocp})
        CHECK(parse_reactor_kind(to_string(kind)) == kind);
    CHECK_FALSE(parse_reactor_kind("kqueue").has_value());
    CHECK_FALSE(parse_reactor_kind("").has_value());
    CHECK_FALSE(parse_reactor_kind("Poll").has_value());
}

TEST_CASE("a context has the reactor that it was asked for") {
    for (const auto kind : test::reactors()) {
        io_context ctx(kind);
        CHECK(ctx.name() == to_string(kind));
    }
}

#if defined(_WIN32)
constexpr reactor_kind missing = reactor_kind::epoll;
#else
constexpr reactor_kind missing = reactor_kind::iocp;
#endif

#if CURFEW_EXCEPTIONS
TEST_CASE("a kind that the machine does not have is an error that names it") {
    try {
        io_context ctx(missing);
        FAIL("made a reactor of another system");
    } catch (const std::system_error& error) {
        CHECK(error.code() == errc::not_supported);
        CHECK(std::string(error.what()).find(to_string(missing)) != std::string::npos);
    }
}
#elif TEST_CAN_DIE
TEST_CASE("without exceptions, a kind that the machine does not have is fatal and is named") {
    const auto end = test::death_of([] { io_context ctx(missing); });
    CHECK(end.signal == SIGABRT);
    CHECK(end.said.find("reactor '" + std::string(to_string(missing)) + "'") != std::string::npos);
}
#endif
