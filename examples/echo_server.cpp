// Echo server: sends everything back.
//
//   echo_server PORT [CONNECTIONS [IDLE_MS]]
//
//   echo_server 7000           and in another window: nc 127.0.0.1 7000
//   echo_server 0 100          any free port; ends after 100 connections
//   echo_server [::]:7000      an address of this machine, instead of 127.0.0.1
//
// It shows the two policies of a limit. From a client that says nothing for long the read is
// cancelled, and the connection closed in peace. A client that does not take its bytes back is in
// no state to be talked to: the limit on the write closes the socket, and the client gets a RST.
//
// And it ends in good order: at Ctrl+C (SIGINT) or SIGTERM it accepts no more, and lets connections
// end for a second; the rest is closed in peace then, or at once at another signal.
#include <curfew/curfew.hpp>

#include <array>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <limits>
#include <span>
#include <string>
#include <system_error>
#include <utility>

using namespace curfew;
using namespace std::chrono_literals;

namespace {

constexpr std::chrono::milliseconds write_limit = 5s;
constexpr std::chrono::milliseconds end_limit = 1s;

/// "7000" and "127.0.0.1:7000" are the same.
ip::endpoint parse_endpoint(std::string text) {
    if (text.find(':') == text.npos) text = "127.0.0.1:" + text;
    const auto [ec, endpoint] = ip::endpoint::parse(text);
    if (ec) throw std::system_error(ec, text);
    return endpoint;
}

task<> serve(tcp::socket peer, std::chrono::milliseconds idle_limit) {
    const std::string name = peer.remote_endpoint().to_string();
    std::array<std::byte, 16 * 1024> buffer;
    std::size_t echoed = 0;
    std::error_code why;

    while (!why) {
        auto [read_error, n] = co_await with_timeout(peer.read_some(buffer), idle_limit);
        if (read_error) {  // eof, or timed_out after a long silence, or something worse
            why = read_error;
            break;
        }
        auto [write_error, sent] = co_await with_timeout(
            write_all(peer, std::span(buffer).first(n)), write_limit, on_timeout::close);
        echoed += sent;
        why = write_error;
    }
    std::printf("%s: %zu bytes echoed, %s\n", name.c_str(), echoed, why.message().c_str());
    std::fflush(stdout);
}

task<> accept_all(tcp::acceptor& acceptor, task_group& into, unsigned long connections,
                  std::chrono::milliseconds idle_limit) {
    while (connections > 0) {
        auto [ec, peer] = co_await acceptor.accept();
        if (ec) {
            if (ec != errc::canceled) std::fprintf(stderr, "accept: %s\n", ec.message().c_str());
            co_return;
        }
        into.spawn(serve(std::move(peer), idle_limit));
        --connections;
    }
}

task<> run(io_context& ctx, ip::endpoint at, unsigned long count,
           std::chrono::milliseconds idle_limit) {
    signals interrupts(ctx, {SIGINT, SIGTERM});
    task_group connections(on_error::ignore);
    tcp::acceptor acceptor(ctx);
    if (auto [ec] = acceptor.listen(at); ec)
        throw std::system_error(ec, "listening on " + at.to_string());
    std::printf("listening on %s\n", acceptor.local_endpoint().to_string().c_str());
    std::fflush(stdout);

    const auto accepted =
        co_await when_any(accept_all(acceptor, connections, count, idle_limit), interrupts.wait());
    acceptor.close();
    if (accepted.index == 0) {  // that many have come; the last one is waited for
        const auto ended = co_await when_any(connections.join(), interrupts.wait());
        if (ended.index == 0) co_return;
    }
    std::printf("it ends, with %zu connections left\n", connections.size());
    std::fflush(stdout);
    co_await when_any(with_timeout(connections.join(), end_limit), interrupts.wait());
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2 || argc > 4) {
        std::fprintf(stderr, "usage: %s PORT [CONNECTIONS [IDLE_MS]]\n", argv[0]);
        return 2;
    }
    try {
        const unsigned long connections =
            argc > 2 ? std::stoul(argv[2]) : std::numeric_limits<unsigned long>::max();
        const std::chrono::milliseconds idle_limit(argc > 3 ? std::stol(argv[3]) : 60'000);

        io_context ctx;
        ctx.block_on(run(ctx, parse_endpoint(argv[1]), connections, idle_limit));
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s: %s\n", argv[0], error.what());
        return 1;
    }
}
