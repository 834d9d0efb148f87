// Ports that are taken, and those that linger.
#include <curfew/platform/platform.hpp>

#if defined(_WIN32)

#include "support/loop.hpp"

using namespace test;

TEST_CASE("a port that somebody listens on is not to be had, one with old connections is") {
    io_context ctx;
    tcp::acceptor first(ctx), second(ctx);
    first.listen(any_port()).value();
    const auto at = first.local_endpoint();
    CHECK(second.listen(at).error() == std::errc::address_in_use);
    auto client = ctx.block_on([](io_context& c, tcp::acceptor& a) -> task<tcp::socket> {
        tcp::socket socket(c);
        (co_await socket.connect(a.local_endpoint())).value();
        auto peer = (co_await a.accept()).value();
        peer.close();  // this side lingers
        co_return socket;
    }(ctx, first));
    client.close();
    first.close();
    CHECK(second.listen(at).ok());
}

#endif
