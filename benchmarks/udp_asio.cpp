// Datagrams with Asio's C++20 coroutines, as its documentation recommends them.

#include "udp.hpp"

#include <exception>

#include <asio.hpp>

using asio::awaitable;
using asio::use_awaitable;
using asio::ip::udp;

namespace {

void rethrow(std::exception_ptr error) {
    if (error) std::rethrow_exception(error);
}

awaitable<void> echo(udp::socket& socket, bench::udp_meter& meter) {
    bench::datagram buffer;
    udp::endpoint sender;
    for (unsigned long i = 0; i < meter.rounds(); ++i) {
        std::size_t n =
            co_await socket.async_receive_from(asio::buffer(buffer), sender, use_awaitable);
        meter.one_received();
        co_await socket.async_send_to(asio::buffer(buffer, n), sender, use_awaitable);
    }
}

awaitable<void> talk(udp::socket& socket, udp::endpoint there, bench::udp_meter& meter) {
    bench::datagrams datagrams(meter.rounds());
    for (unsigned long i = 0; i < meter.in_flight() && datagrams.one_more(); ++i)
        co_await socket.async_send_to(asio::buffer(datagrams.next()), there, use_awaitable);
    bench::datagram buffer;
    udp::endpoint sender;
    for (unsigned long i = 0; i < meter.rounds(); ++i) {
        std::size_t n =
            co_await socket.async_receive_from(asio::buffer(buffer), sender, use_awaitable);
        meter.one_received();
        datagrams.check(buffer.data(), n);
        if (datagrams.one_more())
            co_await socket.async_send_to(asio::buffer(datagrams.next()), there, use_awaitable);
    }
}

}  // namespace

int main(int argc, char** argv) {
    bench::arguments arguments(argc, argv, {"--packets", "--in-flight"});
    bench::udp_meter meter(arguments);
    asio::io_context context(1);
    const udp::endpoint loopback(asio::ip::address_v4::loopback(), 0);
    udp::socket first(context, loopback);
    udp::socket echoing(context, loopback);
    co_spawn(context, echo(echoing, meter), rethrow);
    co_spawn(context, talk(first, echoing.local_endpoint(), meter), rethrow);
    context.run();
    meter.report();
}
