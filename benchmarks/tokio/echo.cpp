// The echo with Rust's tokio, which is in peer.rs. Here are the connections, the messages and the
// meter, the same as everybody's.

#include "../echo.hpp"

#include <memory>
#include <vector>

namespace {

// The same in peer.rs.
struct tokio_connection {
    int client;
    int server;
    echo::message* message;
};

struct tokio_setting {
    std::size_t message_size;
    std::size_t buffer_size;
    unsigned long rounds_of_each;
    const std::byte* (*stamp)(echo::message*, unsigned long round);
    void (*check)(echo::message*, const std::byte* echoed);
    void (*round_done)();
};

echo::meter* meter;

}  // namespace

extern "C" void tokio_echo(const tokio_connection* connections, std::size_t count,
                           tokio_setting setting, bool limited);

int main(int argc, char** argv) {
    echo::arguments arguments(argc, argv, {ECHO_OPTIONS, "--limit"});
    echo::meter own(arguments);
    meter = &own;
    std::vector<std::unique_ptr<echo::message>> messages;
    std::vector<tokio_connection> connections;
    for (const auto [client, server] : echo::connect_all(own.connections())) {
        messages.push_back(std::make_unique<echo::message>(connections.size()));
        connections.push_back({client, server, messages.back().get()});
    }
    tokio_echo(
        connections.data(), connections.size(),
        {echo::message_size, echo::buffer_size, own.rounds_of_each(),
         [](echo::message* message, unsigned long round) { return message->stamp(round).data(); },
         [](echo::message* message, const std::byte* echoed) { message->check(echoed); },
         [] { meter->round_done(); }},
        arguments.choice("--limit", {"none", "timeout"}) == "timeout");
    own.report();
}
