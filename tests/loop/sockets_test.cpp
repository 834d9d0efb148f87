#include <curfew/loop/sockets.hpp>

#include <doctest/doctest.h>

#include <optional>
#include <system_error>

#include <curfew/curfew.hpp>

#include "support/loop.hpp"
#include "support/reactors.hpp"

using namespace curfew;
using namespace std::chrono_literals;
using test::any_port;

REACTOR_TEST("sockets that outlive their context are closed") {
    std::optional<tcp::acceptor> acceptor;
    std::optional<udp::socket> datagrams;
    {
        io_context ctx(kind);
        acceptor.emplace(ctx);
        acceptor->listen(any_port()).value();
        datagrams.emplace(ctx);
        datagrams->bind(any_port()).value();
        CHECK(acceptor->is_open());
    }
    CHECK_FALSE(acceptor->is_open());
    CHECK_FALSE(datagrams->is_open());
    io_context other(kind);
    const auto accept = [](tcp::acceptor& from) -> task<std::error_code> {
        const auto [ec, peer] = co_await from.accept();
        co_return ec;
    };
    CHECK(other.block_on(accept(*acceptor)) == errc::closed);
    acceptor->close();
    acceptor.reset();
}
