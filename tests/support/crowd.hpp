// Many datagram sockets at once, and what arrives at them.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "loop.hpp"

namespace test {

struct crowd {
    std::vector<udp::socket> sockets;

    crowd(io_context& ctx, std::size_t count) {
        for (; count > 0; --count) sockets.emplace_back(ctx).bind(any_port()).value();
    }

    /// A datagram of so many bytes arrives at each of them, in their order.
    void reach(reactor_kind kind, std::size_t bytes) const {
        run(kind, [&](io_context& ctx) -> task<> {
            udp::socket from(ctx);
            const std::string datagram(bytes, 'x');
            for (const udp::socket& each : sockets)
                (co_await from.send_to(datagram, each.local_endpoint())).value();
        });
    }
};

}  // namespace test
