// A frame's look at the network with Asio's coroutines: see frame.hpp.

#include "frame.hpp"

#include <asio.hpp>

using asio::awaitable;
using asio::use_awaitable;
using asio::ip::tcp;

namespace {

awaitable<void> serve(tcp::socket peer, bench::frame_meter& meter) {
    std::array<char, 16> bytes;
    for (;;) {
        const std::size_t n = co_await peer.async_read_some(asio::buffer(bytes), use_awaitable);
        if (n != 1) bench::fail("read", "not one byte");
        meter.received();
    }
}

}  // namespace

int main(int argc, char** argv) {
    bench::arguments arguments(argc, argv, {"--connections", "--frames"});
    bench::frame_meter meter(arguments);
    asio::io_context context(1);
    tcp::acceptor acceptor(context, {asio::ip::address_v4::loopback(), 0});
    for (unsigned long i = 0; i < meter.connections(); ++i) {
        meter.connect(acceptor.local_endpoint().port());
        co_spawn(context, serve(acceptor.accept(), meter), asio::detached);
    }
    meter.measure([&] { context.poll(); });
}
