// The same as program_curfew.cpp with Asio.
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include <asio.hpp>
#include <asio/experimental/awaitable_operators.hpp>

using asio::awaitable;
using asio::use_awaitable;
using asio::ip::tcp;
using namespace asio::experimental::awaitable_operators;
using namespace std::chrono_literals;

awaitable<void> serve(tcp::socket peer) {
    std::array<std::byte, 4096> buffer;
    asio::steady_timer timer(peer.get_executor());
    for (;;) {
        timer.expires_after(30s);
        auto first = co_await (peer.async_read_some(asio::buffer(buffer), use_awaitable) ||
                               timer.async_wait(use_awaitable));
        if (first.index() != 0) break;
        const std::size_t n = std::get<0>(first);
        co_await async_write(peer, asio::buffer(buffer, n), use_awaitable);
    }
}

awaitable<void> listen(tcp::endpoint where) {
    auto executor = co_await asio::this_coro::executor;
    tcp::acceptor acceptor(executor, where);
    std::printf("listening on %s:%d\n", acceptor.local_endpoint().address().to_string().c_str(),
                acceptor.local_endpoint().port());
    for (;;) {
        tcp::socket peer = co_await acceptor.async_accept(use_awaitable);
        co_spawn(executor, serve(std::move(peer)), asio::detached);
    }
}

int main(int argc, char** argv) {
    const int port = argc > 1 ? std::atoi(argv[1]) : 7000;
    asio::io_context context(1);
    asio::signal_set signals(context, SIGINT);
    signals.async_wait([&](auto, auto) { context.stop(); });
    co_spawn(context, listen({asio::ip::address_v4::loopback(), static_cast<unsigned short>(port)}),
             asio::detached);
    context.run();
}
