// Idle connections with libevent: an event with a limit for each connection, and the buffer.

#include "event_plain.hpp"
#include "idle.hpp"

using plain::must;

namespace {

const timeval* limit;
bench::idle_meter* meter;
unsigned long living = 0;
unsigned long accepted = 0;

struct connection {
    event readable;
    bench::idle_buffer buffer;
};

void on_event(evutil_socket_t descriptor, short what, void* whose) {
    auto& mine = *static_cast<connection*>(whose);
    if (!(what & EV_TIMEOUT) && recv(descriptor, mine.buffer.data(), mine.buffer.size(), 0) > 0)
        return;
    event_del(&mine.readable);
    close(descriptor);
    delete &mine;
    --living;
}

void accept(evutil_socket_t listener, short, void* own) {
    const int descriptor = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK);
    must(descriptor >= 0, "accept4");
    auto* mine = new connection;
    event& accepts = *static_cast<event*>(own);
    libevent::assign(event_get_base(&accepts), mine->readable, descriptor,
                     EV_READ | EV_PERSIST | EV_ET, on_event, mine);
    libevent::add(mine->readable, limit);
    ++living;
    if (++accepted < meter->connections()) return;
    event_del(&accepts);
    meter->all_wait();
}

}  // namespace

int main(int argc, char** argv) {
    bench::arguments arguments(argc, argv, {"--connections"});
    bench::idle_meter own(arguments);
    meter = &own;
    event_base* const base = libevent::loop();
    limit = libevent::common(base, 30);
    const int listener = plain::listening(SOCK_STREAM | SOCK_NONBLOCK);
    event accepts;
    libevent::assign(base, accepts, listener, EV_READ | EV_PERSIST, accept, &accepts);
    libevent::add(accepts, nullptr);
    meter->begin(ntohs(plain::address_of(listener).sin_port));
    event_base_dispatch(base);  // until no event is left
    must(living == 0, "a connection");
    event_base_free(base);
    meter->report();
}
