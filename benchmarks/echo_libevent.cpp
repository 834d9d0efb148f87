// The echo with libevent, as its documentation recommends it for speed: a persistent event for each
// connection, and the calls of the system in its callback. (A bufferevent is the more comfortable
// way, and copies.)
//
// `--limit timer` limits both reads by a timeout of the event itself, which libevent starts again
// each time the event has come. All are equally long, so it is one of its "common timeouts", which
// are kept in a list instead of in a heap.

#include "echo.hpp"
#include "event_plain.hpp"

#include <memory>
#include <vector>

using plain::must;

namespace {

struct end {
    event readable;
    int descriptor;
    bool client;
    std::size_t received = 0;  // of the client's current message
    unsigned long round = 0;
    echo::message text;
    std::array<std::byte, echo::buffer_size> buffer;

    end(int socket, bool is_client, unsigned long connection)
        : descriptor(socket), client(is_client), text(connection) {}
};

event_base* base;
echo::meter* meter;
unsigned long working;

void send(end& from, const std::byte* bytes, std::size_t size) {
    const ssize_t sent = ::send(from.descriptor, bytes, size, MSG_NOSIGNAL);
    must(sent == static_cast<ssize_t>(size), "send");  // it always fits
}

void send_message(end& client) {
    send(client, client.text.stamp(client.round).data(), echo::message_size);
}

void on_event(evutil_socket_t, short what, void* whose) {
    end& here = *static_cast<end*>(whose);
    if (what & EV_TIMEOUT) echo::fail("read", "timed out");
    const ssize_t n = recv(here.descriptor, here.buffer.data() + here.received,
                           here.buffer.size() - here.received, 0);
    must(n > 0, "recv");
    if (!here.client) {
        send(here, here.buffer.data(), static_cast<std::size_t>(n));
        return;
    }
    here.received += static_cast<std::size_t>(n);
    if (here.received < echo::message_size) return;
    here.text.check(here.buffer.data());
    here.received = 0;
    meter->round_done();
    if (++here.round < meter->rounds_of_each())
        send_message(here);
    else if (--working == 0)
        event_base_loopbreak(base);
}

}  // namespace

int main(int argc, char** argv) {
    echo::arguments arguments(argc, argv, {ECHO_OPTIONS, "--limit"});
    echo::meter own(arguments);
    meter = &own;
    working = own.connections();
    const bool limited = arguments.choice("--limit", {"none", "timer"}) == "timer";

    base = libevent::loop();
    const timeval* const limit = limited ? libevent::common(base, 30) : nullptr;
    std::vector<std::unique_ptr<end>> ends;
    const auto open = [&](int descriptor, bool client, unsigned long connection) {
        ends.push_back(std::make_unique<end>(descriptor, client, connection));
        end& made = *ends.back();
        libevent::assign(base, made.readable, descriptor, EV_READ | EV_PERSIST | EV_ET, on_event,
                         &made);
        libevent::add(made.readable, limit);
    };
    unsigned long number = 0;
    for (const auto [client, server] : echo::connect_all(working)) {
        open(server, false, number);
        open(client, true, number++);
    }
    for (const auto& each : ends)
        if (each->client) send_message(*each);
    event_base_dispatch(base);
    meter->report();
    for (const auto& each : ends) event_del(&each->readable);
    event_base_free(base);
}
