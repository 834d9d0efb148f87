// Connections with Asio's C++20 coroutines, as its documentation recommends them: one for each that
// is accepted. The reads that end with an error as a matter of course get it by as_tuple, not as
// an exception.

#include "accept.hpp"

#include <array>
#include <exception>

#include <asio.hpp>
#include <asio/experimental/as_tuple.hpp>

using asio::awaitable;
using asio::use_awaitable;
using asio::experimental::as_tuple;
using asio::ip::tcp;

namespace {

void rethrow(std::exception_ptr error) {
    if (error) std::rethrow_exception(error);
}

awaitable<void> serve(tcp::socket peer, bench::accept_meter& meter) {
    co_await async_write(peer, asio::buffer(&bench::greeting, 1), use_awaitable);
    std::array<char, 1> byte;
    auto [error, n] = co_await peer.async_read_some(asio::buffer(byte), as_tuple(use_awaitable));
    if (error != asio::error::eof && error != asio::error::connection_reset)
        bench::fail("server, read", error.message());
    peer.close();
    meter.one_done();
}

awaitable<void> listen(tcp::acceptor& acceptor, bench::accept_meter& meter) {
    for (unsigned long i = 0; i < meter.total(); ++i) {
        tcp::socket peer = co_await acceptor.async_accept(use_awaitable);
        co_spawn(acceptor.get_executor(), serve(std::move(peer), meter), rethrow);
    }
}

awaitable<void> connect(tcp::endpoint server, bench::accept_meter& meter) {
    auto executor = co_await asio::this_coro::executor;
    while (meter.one_more()) {
        tcp::socket socket(executor);
        co_await socket.async_connect(server, use_awaitable);
        std::array<char, 1> byte;
        co_await socket.async_read_some(asio::buffer(byte), use_awaitable);
        if (byte[0] != bench::greeting) bench::fail("client", "not what the server sent");
        socket.set_option(asio::socket_base::linger(true, 0));
        socket.close();  // a RST
    }
}

}  // namespace

int main(int argc, char** argv) {
    bench::arguments arguments(argc, argv, {"--connections", "--at-once"});
    bench::accept_meter meter(arguments);
    asio::io_context context(1);
    tcp::acceptor acceptor(context, {asio::ip::address_v4::loopback(), 0});
    co_spawn(context, listen(acceptor, meter), rethrow);
    for (unsigned long i = 0; i < meter.at_once(); ++i)
        co_spawn(context, connect(acceptor.local_endpoint(), meter), rethrow);
    context.run();
    meter.report();
}
