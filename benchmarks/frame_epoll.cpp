// A frame's look at the network with epoll alone: see frame.hpp.

#include "frame.hpp"

#include <array>

#include <sys/epoll.h>

int main(int argc, char** argv) {
    bench::arguments arguments(argc, argv, {"--connections", "--frames"});
    bench::frame_meter meter(arguments);
    const int listener = plain::listening(SOCK_STREAM);
    const int poller = epoll_create1(0);
    for (unsigned long i = 0; i < meter.connections(); ++i) {
        meter.connect(ntohs(plain::address_of(listener).sin_port));
        epoll_event event{};
        event.events = EPOLLIN | EPOLLET;
        event.data.fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK);
        plain::must(event.data.fd >= 0, "accept4");
        plain::must(epoll_ctl(poller, EPOLL_CTL_ADD, event.data.fd, &event) == 0, "epoll_ctl");
    }
    std::array<epoll_event, 256> events;
    meter.measure([&] {
        const int ready = epoll_wait(poller, events.data(), static_cast<int>(events.size()), 0);
        plain::must(ready >= 0, "epoll_wait");
        for (int i = 0; i < ready; ++i) {
            std::array<char, 16> bytes;  // more than comes, so that a read tells that it was all
            const int from = events[static_cast<std::size_t>(i)].data.fd;
            plain::must(recv(from, bytes.data(), bytes.size(), 0) == 1, "recv");
            meter.received();
        }
    });
}
