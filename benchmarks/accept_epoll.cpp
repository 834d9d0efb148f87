// The reference: connections as a C programmer would accept them for speed. One edge-triggered
// epoll, each descriptor registered once; connections are accepted until there are no more. What
// belongs to an event is in its 64 bits, so that nothing has to be allocated.

#include "accept.hpp"
#include "plain.hpp"

#include <array>
#include <cstdint>

#include <sys/epoll.h>
#include <unistd.h>

using plain::must;

namespace {

enum class kind : std::uint32_t { listener, server, client };

int poller;

void watch(int descriptor, kind what, std::uint32_t events) {
    epoll_event event{};
    event.events = events | EPOLLET;
    event.data.u64 = std::uint64_t{static_cast<std::uint32_t>(what)} << 32 |
                     static_cast<std::uint32_t>(descriptor);
    must(epoll_ctl(poller, EPOLL_CTL_ADD, descriptor, &event) == 0, "epoll_ctl");
}

void begin_client(const sockaddr_in& to) {
    const int client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    must(client >= 0, "socket");
    must(connect(client, plain::raw(to), sizeof to) == 0 || errno == EINPROGRESS, "connect");
    watch(client, kind::client, EPOLLIN | EPOLLOUT);
}

void accept_all(int listener) {
    for (;;) {
        const int server = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK);
        if (server < 0 && errno == EAGAIN) return;
        must(server >= 0, "accept4");
        must(send(server, &bench::greeting, 1, MSG_NOSIGNAL) == 1, "send");
        watch(server, kind::server, EPOLLIN);
    }
}

}  // namespace

int main(int argc, char** argv) {
    bench::arguments arguments(argc, argv, {"--connections", "--at-once"});
    bench::accept_meter meter(arguments);

    poller = epoll_create1(0);
    const int listener = plain::listening(SOCK_STREAM | SOCK_NONBLOCK);
    const sockaddr_in address = plain::address_of(listener);
    watch(listener, kind::listener, EPOLLIN);
    for (unsigned long i = 0; i < meter.at_once() && meter.one_more(); ++i) begin_client(address);

    std::array<epoll_event, 256> events;
    while (!meter.finished()) {
        const int ready = epoll_wait(poller, events.data(), static_cast<int>(events.size()), -1);
        must(ready > 0, "epoll_wait");
        for (int i = 0; i < ready; ++i) {
            const epoll_event& event = events[static_cast<std::size_t>(i)];
            const int descriptor = static_cast<int>(event.data.u64 & 0xffff'ffff);
            char byte = 0;
            switch (static_cast<kind>(event.data.u64 >> 32)) {
            case kind::listener:
                accept_all(descriptor);
                break;
            case kind::server:
                must(recv(descriptor, &byte, 1, 0) <= 0, "the client sent something");
                close(descriptor);
                meter.one_done();
                break;
            case kind::client:
                if (!(event.events & EPOLLIN)) {  // it is only connected
                    must(!(event.events & EPOLLERR), "connect");
                    break;
                }
                must(recv(descriptor, &byte, 1, 0) == 1 && byte == bench::greeting, "recv");
                plain::reset_on_close(descriptor);
                close(descriptor);
                if (meter.one_more()) begin_client(address);
                break;
            }
        }
    }
    meter.report();
}
