// Two simulated hosts and the wire between them, without any of the library on them.
#pragma once

#include <curfew/sim/kernel/stack.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace two_hosts {

using namespace curfew::sim;
using curfew::platform::family;
using curfew::platform::shutdown_side;
using curfew::platform::transport;

inline address v4(int last, std::uint16_t port) {
    address made;
    made.family = family::v4;
    made.bytes[0] = 10;
    made.bytes[3] = static_cast<std::uint8_t>(last);
    made.port = port;
    return made;
}

inline address v6(int last, std::uint16_t port) {
    address made;
    made.family = family::v6;
    made.bytes[0] = 0xfd;
    made.bytes[15] = static_cast<std::uint8_t>(last);
    made.port = port;
    return made;
}

inline address any(family which, std::uint16_t port) {
    address made;
    made.family = which;
    made.port = port;
    return made;
}

/// `a` is 10.0.0.1 and fd00::1, `b` is 10.0.0.2 and fd00::2.
struct world {
    explicit world(std::uint64_t seed = 1)
        : choices(seed), wire(events, choices), a(wire), b(wire) {
        a.add_address(v4(1, 0));
        a.add_address(v6(1, 0));
        b.add_address(v4(2, 0));
        b.add_address(v6(2, 0));
    }

    /// Until nothing more happens in so much time.
    void run_for(nanoseconds time) {
        const nanoseconds end = wire.now() + time;
        while (step(end)) {}
        wire.set_now(end);
    }

    /// Until `done()`, or so much time has gone by: false.
    template <class Done>
    bool run_until(Done done, nanoseconds most = 10'000 * second) {
        const nanoseconds end = wire.now() + most;
        while (!done())
            if (!step(end)) return false;
        return true;
    }

    bool step(nanoseconds end) {
        if (events.next_time() > end) return false;
        wire.set_now(events.next_time());
        event* const next = events.take();
        next->happen(*next);
        return true;
    }

    /// A listener of `b`, and a connection to it from `a`.
    struct pair {
        descriptor listener = -1;
        descriptor client = -1;
        descriptor server = -1;
    };
    pair connect(family which = family::v4) {
        pair made;
        const address to = which == family::v4 ? v4(2, 80) : v6(2, 80);
        b.open(which, transport::stream, made.listener);
        b.bind(made.listener, any(which, 80));
        b.listen(made.listener, 16);
        a.open(which, transport::stream, made.client);
        a.connect(made.client, to);
        run_until([&] { return b.accept(made.listener, made.server, nullptr) == 0; });
        run_until([&] { return (a.poll(made.client) & poll_bit_out) != 0; });
        return made;
    }

    event_queue events;
    seeded_chooser choices;
    network wire;
    stack a;
    stack b;
};

inline std::ptrdiff_t send(stack& from, descriptor on, std::string_view text) {
    return from.send(on, reinterpret_cast<const std::byte*>(text.data()), text.size());
}

inline std::string receive(stack& to, descriptor on, std::size_t most = 100) {
    std::string text(most, '\0');
    const auto n = to.receive(on, reinterpret_cast<std::byte*>(text.data()), most);
    text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return text;
}

/// The error of a receive; 0 for the end of the stream, or bytes.
inline int receive_error(stack& to, descriptor on) {
    std::byte one[1];
    const auto n = to.receive(on, one, 1);
    return n < 0 ? static_cast<int>(-n) : 0;
}

}  // namespace two_hosts
