// An echo server as a user would write it, whose build is timed: see program_asio.cpp.
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include <curfew/curfew.hpp>

using namespace curfew;
using namespace std::chrono_literals;

task<> serve(tcp::socket peer) {
    std::array<std::byte, 4096> buffer;
    for (;;) {
        auto [ec, n] = co_await with_timeout(peer.read_some(buffer), 30s);
        if (ec) break;
        auto [write_ec, sent] = co_await write_all(peer, std::span(buffer).first(n));
        if (write_ec) break;
    }
}

task<> listen(io_context& ctx, ip::endpoint where) {
    tcp::acceptor acceptor(ctx);
    acceptor.listen(where).value();
    std::printf("listening on %s\n", acceptor.local_endpoint().to_string().c_str());
    for (;;) {
        auto [ec, peer] = co_await acceptor.accept();
        if (ec) {
            std::fprintf(stderr, "accept: %s\n", ec.message().c_str());
            co_return;
        }
        ctx.spawn(serve(std::move(peer)));
    }
}

int main(int argc, char** argv) {
    const int port = argc > 1 ? std::atoi(argv[1]) : 7000;
    const auto where = ip::endpoint(ip::address::loopback_v4(), static_cast<std::uint16_t>(port));
    static io_context ctx;
    std::signal(SIGINT, [](int) { ctx.stop(); });
    ctx.spawn(listen(ctx, where));
    ctx.run();
}
