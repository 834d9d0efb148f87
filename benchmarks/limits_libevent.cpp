// What a limit costs with libevent: see limits.hpp. Each reader has a persistent event, whose
// timeout libevent starts again each time the event has come. The measured limits are all of one
// length, and so a "common timeout"; the others are of many lengths, and in its heap.
//
// On "nothing" the events are made active by hand, all of a turn before it. A limit that fires is
// one of no length, which is not started again by itself. What completes at once needs no event
// that could be limited.

#include "event_plain.hpp"
#include "limits.hpp"

#include <list>
#include <memory>
#include <vector>

#include <unistd.h>

using limits::must;

namespace {

class bench_run;

struct reader {
    bench_run* run = nullptr;
    event readable{};
    int descriptor = -1;
    int peer = -1;
    bool waits = false;
    unsigned long left = 0;
};

class bench_run {
public:
    bench_run(const bench::arguments& given, bool limited)
        : how_(given, limited), base_(libevent::loop()) {
        must(how_.event != "at_once", "--case at_once: nothing that is to be waited for");
        if (!fires()) length_ = libevent::common(base_, limits::measured_limit);
        for (unsigned long i = 0; i < how_.readers(); ++i) {
            reader& made = readers_.emplace_back();
            made.run = this;
            if (how_.sockets()) connect(made);
            const int what = how_.sockets() ? EV_READ | EV_PERSIST | EV_ET : EV_PERSIST;
            libevent::assign(base_, made.readable, made.descriptor, what, on_event, &made);
        }
        for (unsigned long i = 1; i < how_.outstanding; ++i) {
            event& other = *others_.emplace_back(std::make_unique<event>());
            libevent::assign(base_, other, -1, 0, [](evutil_socket_t, short, void*) {}, nullptr);
            const long long milliseconds = how_.other_limit(i);
            const timeval until{static_cast<time_t>(milliseconds / 1000),
                                static_cast<suseconds_t>(milliseconds % 1000 * 1000)};
            libevent::add(other, &until);
        }
        event_base_loop(base_, EVLOOP_NONBLOCK);
    }

    void run(bool with_limit, unsigned long rounds) {
        if (fires() && !with_limit) return;  // it would never end
        active_ = readers_.size();
        for (reader& each : readers_) {
            each.left = rounds;
            each.waits = true;
            libevent::add(each.readable, with_limit ? length_ : nullptr);
        }
        while (active_ > 0) {
            if (!fires()) turn();
            event_base_loop(base_, fires() ? EVLOOP_ONCE : EVLOOP_NONBLOCK);
        }
    }

private:
    bool fires() const noexcept { return how_.event == "fires"; }

    static void connect(reader& made) {
        const int listener = plain::listening(SOCK_STREAM);
        const sockaddr_in address = plain::address_of(listener);
        made.peer = ::socket(AF_INET, SOCK_STREAM, 0);
        must(::connect(made.peer, plain::raw(address), sizeof address) == 0, "connect");
        made.descriptor = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK);
        must(made.descriptor >= 0, "accept4");
        close(listener);
    }

    static void on_event(evutil_socket_t descriptor, short what, void* whose) {
        reader& one = *static_cast<reader*>(whose);
        if (what & EV_TIMEOUT) {
            must(one.run->fires(), "a limited read");
        } else if (one.run->how_.sockets()) {
            char byte = 0;
            must(recv(descriptor, &byte, 1, 0) == 1, "a read");
        }
        one.waits = --one.left > 0;
        if (!one.waits) {
            event_del(&one.readable);
            --one.run->active_;
        } else if (what & EV_TIMEOUT) {
            libevent::add(one.readable, one.run->length_);
        }
    }

    /// Completes the reads, or sends a byte to each.
    void turn() {
        for (reader& each : readers_) {
            if (!each.waits) continue;
            if (how_.sockets())
                must(::send(each.peer, "", 1, 0) == 1, "send");
            else
                event_active(&each.readable, EV_READ, 1);
        }
    }

    limits::setting how_;
    event_base* base_;
    timeval none_{};
    const timeval* length_ = &none_;
    std::size_t active_ = 0;
    std::list<reader> readers_;
    std::vector<std::unique_ptr<event>> others_;
};

}  // namespace

int main(int argc, char** argv) { limits::compare_and_exit<bench_run>(argc, argv); }
