// The reference: datagrams as a C programmer would echo them for speed. One level-triggered epoll;
// from a socket that is ready as many are taken as can be there, so that with one on its way there
// is no call in vain.

#include "plain.hpp"
#include "udp.hpp"

#include <sys/epoll.h>

using plain::must;

namespace {

void send(int descriptor, const bench::datagram& bytes, const sockaddr_in& to) {
    must(sendto(descriptor, bytes.data(), bytes.size(), MSG_NOSIGNAL, plain::raw(to), sizeof to) ==
             static_cast<ssize_t>(bytes.size()),
         "sendto");
}

}  // namespace

int main(int argc, char** argv) {
    bench::arguments arguments(argc, argv, {"--packets", "--in-flight"});
    bench::udp_meter meter(arguments);
    bench::datagrams datagrams(meter.rounds());

    const int poller = epoll_create1(0);
    auto bound = [&] {
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.fd = plain::bound(SOCK_DGRAM | SOCK_NONBLOCK);
        must(epoll_ctl(poller, EPOLL_CTL_ADD, event.data.fd, &event) == 0, "epoll_ctl");
        return event.data.fd;
    };
    const int first = bound();
    const int echoing = bound();
    const sockaddr_in there = plain::address_of(echoing);

    for (unsigned long i = 0; i < meter.in_flight() && datagrams.one_more(); ++i)
        send(first, datagrams.next(), there);

    std::array<epoll_event, 2> events;
    bench::datagram buffer;
    while (!meter.finished()) {
        const int ready = epoll_wait(poller, events.data(), static_cast<int>(events.size()), -1);
        must(ready > 0, "epoll_wait");
        for (int i = 0; i < ready; ++i) {
            const int here = events[static_cast<std::size_t>(i)].data.fd;
            for (unsigned long most = meter.in_flight(); most > 0; --most) {
                sockaddr_in sender;
                socklen_t length = sizeof sender;
                const ssize_t n = recvfrom(here, buffer.data(), buffer.size(), MSG_TRUNC,
                                           plain::raw(sender), &length);
                if (n < 0 && errno == EAGAIN) break;
                must(n == static_cast<ssize_t>(buffer.size()), "recvfrom");
                meter.one_received();
                if (here == echoing) {
                    send(echoing, buffer, sender);
                    continue;
                }
                datagrams.check(buffer.data(), static_cast<std::size_t>(n));
                if (datagrams.one_more()) send(first, datagrams.next(), there);
            }
        }
    }
    meter.report();
}
