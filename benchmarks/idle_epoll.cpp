// The reference: idle connections as a C programmer would keep them. One epoll, and one record for
// each connection. As all limits are equally long, those that wait form a list in which the first
// is always the next to expire.

#include "idle.hpp"
#include "plain.hpp"

#include <chrono>

#include <sys/epoll.h>

using plain::must;
using namespace std::chrono_literals;
using std::chrono::steady_clock;

namespace {

struct links {
    links* previous = this;
    links* next = this;
};

struct connection : links {
    steady_clock::time_point deadline;
    int descriptor;
    bench::idle_buffer buffer;
};

links waiting;

void unlink(links& which) {
    which.previous->next = which.next;
    which.next->previous = which.previous;
}

void start_limit(connection& mine) {
    mine.deadline = steady_clock::now() + 30s;
    mine.previous = waiting.previous;
    mine.next = &waiting;
    waiting.previous->next = &mine;
    waiting.previous = &mine;
}

void end(connection& mine) {
    unlink(mine);
    close(mine.descriptor);
    delete &mine;
}

void accept(int listener, int poller) {
    auto* mine = new connection;
    mine->descriptor = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK);
    must(mine->descriptor >= 0, "accept4");
    epoll_event event{};
    event.events = EPOLLIN | EPOLLET;
    event.data.ptr = mine;
    must(epoll_ctl(poller, EPOLL_CTL_ADD, mine->descriptor, &event) == 0, "epoll_ctl");
    start_limit(*mine);
}

void end_the_expired() {
    const auto now = steady_clock::now();
    while (waiting.next != &waiting) {
        auto& first = static_cast<connection&>(*waiting.next);
        if (first.deadline > now) return;
        end(first);
    }
}

int milliseconds_left() {
    if (waiting.next == &waiting) return -1;
    const auto left = static_cast<connection&>(*waiting.next).deadline - steady_clock::now();
    if (left <= 0s) return 0;
    return static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(left).count());
}

}  // namespace

int main(int argc, char** argv) {
    bench::arguments arguments(argc, argv, {"--connections"});
    bench::idle_meter meter(arguments);

    const int poller = epoll_create1(0);
    const int listener = plain::listening(SOCK_STREAM | SOCK_NONBLOCK);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = nullptr;  // the listener
    must(epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event) == 0, "epoll_ctl");
    meter.begin(ntohs(plain::address_of(listener).sin_port));

    std::array<epoll_event, 256> events;
    unsigned long accepted = 0;
    while (accepted < meter.connections() || waiting.next != &waiting) {
        const int ready =
            epoll_wait(poller, events.data(), static_cast<int>(events.size()), milliseconds_left());
        must(ready >= 0, "epoll_wait");
        for (int i = 0; i < ready; ++i) {
            void* const whose = events[static_cast<std::size_t>(i)].data.ptr;
            if (!whose) {
                accept(listener, poller);
                if (++accepted == meter.connections()) meter.all_wait();
                continue;
            }
            auto& mine = *static_cast<connection*>(whose);
            if (recv(mine.descriptor, mine.buffer.data(), mine.buffer.size(), 0) <= 0) {
                end(mine);
                continue;
            }
            unlink(mine);
            start_limit(mine);
        }
        end_the_expired();
    }
    meter.report();
}
