// The reference: the echo as a C programmer would write it for speed. One edge-triggered epoll,
// each descriptor registered once. Reads are larger than a message, so each is short and tells that
// the descriptor is drained; send and recv are faster than write and read on a socket.

#include "echo.hpp"

#include <memory>
#include <vector>

#include <sys/epoll.h>

using plain::must;

namespace {

struct end {
    int descriptor;
    bool client;
    std::size_t received = 0;  // of the client's current message
    unsigned long round = 0;
    echo::message text;
    std::array<std::byte, echo::buffer_size> buffer;

    end(int socket, bool is_client, unsigned long connection)
        : descriptor(socket), client(is_client), text(connection) {}
};

void send(end& from, const std::byte* bytes, std::size_t size) {
    ssize_t sent = ::send(from.descriptor, bytes, size, MSG_NOSIGNAL);
    must(sent == static_cast<ssize_t>(size), "send");  // it always fits
}

void send_message(end& client) {
    send(client, client.text.stamp(client.round).data(), echo::message_size);
}

}  // namespace

int main(int argc, char** argv) {
    echo::arguments arguments(argc, argv, {ECHO_OPTIONS});
    echo::meter meter(arguments);
    const unsigned long connections = meter.connections();

    int poller = epoll_create1(0);
    std::vector<std::unique_ptr<end>> ends;
    auto add = [&](int descriptor, bool client, unsigned long connection) {
        ends.push_back(std::make_unique<end>(descriptor, client, connection));
        epoll_event event{};
        event.events = EPOLLIN | EPOLLET;
        event.data.ptr = ends.back().get();
        must(epoll_ctl(poller, EPOLL_CTL_ADD, descriptor, &event) == 0, "epoll_ctl");
    };
    for (const auto [client, server] : echo::connect_all(connections)) {
        const unsigned long number = ends.size() / 2;
        add(server, false, number);
        add(client, true, number);
    }
    for (auto& each : ends)
        if (each->client) send_message(*each);

    std::array<epoll_event, 256> events;
    for (unsigned long working = connections; working > 0;) {
        int ready = epoll_wait(poller, events.data(), static_cast<int>(events.size()), -1);
        must(ready > 0, "epoll_wait");
        for (int i = 0; i < ready; ++i) {
            end& here = *static_cast<end*>(events[static_cast<std::size_t>(i)].data.ptr);
            ssize_t n = recv(here.descriptor, here.buffer.data() + here.received,
                             here.buffer.size() - here.received, 0);
            must(n > 0, "recv");
            if (!here.client) {
                send(here, here.buffer.data(), static_cast<std::size_t>(n));
                continue;
            }
            here.received += static_cast<std::size_t>(n);
            if (here.received < echo::message_size) continue;
            here.text.check(here.buffer.data());
            here.received = 0;
            meter.round_done();
            if (++here.round < meter.rounds_of_each())
                send_message(here);
            else
                --working;
        }
    }
    meter.report();
}
