// Connections with curfew, on any reactor: a task for each that is accepted.

#include "accept.hpp"
#include "reactor_option.hpp"

#include <span>

using namespace curfew;

namespace {

void must(bool ok, const char* what, std::error_code ec) {
    if (!ok) bench::fail(what, ec.message());
}

task<> serve(tcp::socket peer, bench::accept_meter& meter) {
    auto [wec, sent] = co_await peer.write_some(std::span(&bench::greeting, 1));
    must(!wec, "server, write", wec);
    std::array<char, 1> byte;
    auto [ec, n] = co_await peer.read_some(byte);
    must(ec == errc::eof || ec == std::errc::connection_reset, "server, read", ec);
    peer.close();
    meter.one_done();
}

task<> listen(tcp::acceptor& acceptor, io_context& ctx, bench::accept_meter& meter) {
    for (unsigned long i = 0; i < meter.total(); ++i) {
        auto [ec, peer] = co_await acceptor.accept();
        must(!ec, "accept", ec);
        ctx.spawn(serve(std::move(peer), meter));
    }
}

task<> connect(io_context& ctx, ip::endpoint server, bench::accept_meter& meter) {
    while (meter.one_more()) {
        tcp::socket socket(ctx);
        auto [cec] = co_await socket.connect(server);
        must(!cec, "connect", cec);
        std::array<char, 1> byte;
        auto [ec, n] = co_await socket.read_some(byte);
        must(!ec && byte[0] == bench::greeting, "client, read", ec);
        socket.abort();  // a RST
    }
}

}  // namespace

int main(int argc, char** argv) {
    bench::arguments arguments(argc, argv, {"--connections", "--at-once", "--reactor"});
    bench::accept_meter meter(arguments);
    io_context ctx(reactor_of(arguments));
    tcp::acceptor acceptor(ctx);
    acceptor.listen(ip::endpoint::parse("127.0.0.1:0").value()).value();
    ctx.spawn(listen(acceptor, ctx, meter));
    for (unsigned long i = 0; i < meter.at_once(); ++i)
        ctx.spawn(connect(ctx, acceptor.local_endpoint(), meter));
    ctx.run();
    meter.report();
}
