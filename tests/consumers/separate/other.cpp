#include <curfew/curfew.hpp>

using namespace curfew;

task<> echo(tcp::acceptor& acceptor) {
    auto [ec, peer] = co_await acceptor.accept();
    if (ec) co_return;
    std::array<std::byte, 64> buffer;
    for (;;) {
        const auto [read_ec, n] = co_await peer.read_some(buffer);
        if (read_ec) co_return;
        (co_await write_all(peer, std::span(buffer).first(n))).value();
    }
}
