// Datagrams with curfew, on any reactor, with or without a limit on each receive.

#include "reactor_option.hpp"
#include "udp.hpp"

#include <chrono>

using namespace curfew;
using namespace std::chrono_literals;

namespace {

void must(std::error_code ec, const char* what) {
    if (ec) bench::fail(what, ec.message());
}

/// The receive that is measured, limited or not.
template <bool Limited>
auto receive(udp::socket& socket, bench::datagram& buffer, ip::endpoint& sender) {
    if constexpr (Limited)
        return with_timeout(socket.receive_from(buffer, sender), 30s);
    else
        return socket.receive_from(buffer, sender);
}

template <bool Limited>
task<> echo(udp::socket& socket, bench::udp_meter& meter) {
    bench::datagram buffer;
    ip::endpoint sender;
    for (unsigned long i = 0; i < meter.rounds(); ++i) {
        auto [ec, n] = co_await receive<Limited>(socket, buffer, sender);
        must(ec, "echoing, receive");
        meter.one_received();
        auto [sec, sent] = co_await socket.send_to(std::span(buffer).first(n), sender);
        must(sec, "echoing, send");
    }
}

template <bool Limited>
task<> talk(udp::socket& socket, ip::endpoint there, bench::udp_meter& meter) {
    bench::datagrams datagrams(meter.rounds());
    for (unsigned long i = 0; i < meter.in_flight() && datagrams.one_more(); ++i) {
        auto [ec, sent] = co_await socket.send_to(datagrams.next(), there);
        must(ec, "send");
    }
    bench::datagram buffer;
    ip::endpoint sender;
    for (unsigned long i = 0; i < meter.rounds(); ++i) {
        auto [ec, n] = co_await receive<Limited>(socket, buffer, sender);
        must(ec, "receive");
        meter.one_received();
        datagrams.check(buffer.data(), n);
        if (!datagrams.one_more()) continue;
        auto [sec, sent] = co_await socket.send_to(datagrams.next(), there);
        must(sec, "send");
    }
}

}  // namespace

int main(int argc, char** argv) {
    bench::arguments arguments(argc, argv, {"--packets", "--in-flight", "--limit", "--reactor"});
    bench::udp_meter meter(arguments);
    io_context ctx(reactor_of(arguments));
    udp::socket first(ctx);
    udp::socket echoing(ctx);
    for (udp::socket* each : {&first, &echoing})
        each->bind(ip::endpoint::parse("127.0.0.1:0").value()).value();
    const ip::endpoint there = echoing.local_endpoint();
    if (arguments.choice("--limit", {"none", "cancel"}) == "cancel") {
        ctx.spawn(echo<true>(echoing, meter));
        ctx.spawn(talk<true>(first, there, meter));
    } else {
        ctx.spawn(echo<false>(echoing, meter));
        ctx.spawn(talk<false>(first, there, meter));
    }
    ctx.run();
    meter.report();
}
