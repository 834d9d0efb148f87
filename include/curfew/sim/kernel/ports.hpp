// Who uses which port of a host.
#pragma once

#include <algorithm>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "../../config.hpp"
#include "../../platform/types.hpp"
#include "addresses.hpp"
#include "open_socket.hpp"
#include "packet.hpp"
#include "tcp.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::sim {

/// Who has a port: a socket, or a connection whose socket may be gone.
struct port_user {
    open_socket* who;
    const connection* link;
    bool reuse;  // it was made with SO_REUSEADDR
};

class ports {
public:
    /// Those of a port, of the same transport.
    std::vector<port_user>& users(const open_socket& on, std::uint16_t port) {
        return table_[on.type == platform::transport::datagram][port];
    }

    /// Whether there are packets that both could be meant by.
    static bool overlap(const open_socket& a, const open_socket& b,
                        const address& address_of_b) noexcept {
        const address& x = a.bound;
        const address& y = address_of_b;
        const bool any_x = is_unspecified(x);
        const bool any_y = is_unspecified(y);
        if (x.family == y.family) return any_x || any_y || same_host(x, y);
        const bool x_covers = any_x && x.family == platform::family::v6 && !a.v6_only;
        const bool y_covers = any_y && y.family == platform::family::v6 && !b.v6_only;
        return x_covers || y_covers;
    }

    bool may_bind(open_socket& on, const address& local) {
        for (const port_user& each : users(on, local.port)) {
            if (each.who == &on) continue;
            if (each.who) {
                if (!overlap(*each.who, on, local)) continue;
                if (each.who->reuse_port && on.reuse_port) continue;
                if (each.who->reuse_address && on.reuse_address && !each.who->listening) continue;
                return false;
            }
            const bool meets = is_unspecified(local) || same_host(each.link->local(), local) ||
                               (local.family == platform::family::v6 && is_unspecified(local));
            if (!meets || (each.reuse && on.reuse_address)) continue;
            return false;
        }
        return true;
    }

    /// A port that nobody uses; if there is none and it `may_share`, one that others use with other
    /// peers: of which not `is_taken(port)`. 0: there is none.
    template <class Taken>
    std::uint16_t free_port(const open_socket& on, Taken is_taken, bool may_share) {
        constexpr std::uint16_t first = 32768;
        constexpr std::uint16_t count = 60999 - first + 1;
        for (int pass = 0; pass < (may_share ? 2 : 1); ++pass)
            for (std::uint32_t tried = 0; tried < count; ++tried) {
                const auto port = static_cast<std::uint16_t>(first + (next_port_++ % count));
                auto& there = users(on, port);
                if (pass == 0) {
                    if (there.empty()) return port;
                    continue;
                }
                if (!is_taken(port) &&
                    std::none_of(there.begin(), there.end(), [](const port_user& each) {
                        return each.who && each.who->listening;
                    }))
                    return port;
            }
        return 0;
    }

    /// Who takes connections to that address, if anybody; the one that says it most exactly.
    open_socket* listener_for(const address& local) {
        open_socket* best = nullptr;
        int best_score = -1;
        for (const port_user& each : table_[0][local.port]) {
            if (!each.who || !each.who->listening) continue;
            const open_socket& on = *each.who;
            int score = -1;
            if (on.bound.family == local.family)
                score = is_unspecified(on.bound) ? 1 : same_host(on.bound, local) ? 2 : -1;
            else if (is_unspecified(on.bound) && on.bound.family == platform::family::v6 &&
                     !on.v6_only)
                score = 0;
            if (score < 0) continue;
            if (score <= best_score) continue;
            best_score = score;
            best = each.who;
        }
        return best;
    }

    void claim(open_socket& on) {
        users(on, on.bound.port).push_back({&on, nullptr, on.reuse_address});
    }

    /// A connection that may outlive its socket.
    void claim(const connection& link, bool reuse) {
        table_[0][link.local().port].push_back({nullptr, &link, reuse});
    }
    void release(const connection& link) {
        std::erase_if(table_[0][link.local().port],
                      [&](const port_user& each) { return each.link == &link; });
    }

    void release(open_socket& on) {
        if (!on.bound.port) return;
        auto& there = users(on, on.bound.port);
        std::erase_if(there, [&](const port_user& each) { return each.who == &on; });
    }

    std::vector<port_user>& datagrams(std::uint16_t port) { return table_[1][port]; }

    void clear() noexcept {
        table_[0].clear();
        table_[1].clear();
    }

private:
    std::unordered_map<std::uint16_t, std::vector<port_user>> table_[2];  // streams, datagrams
    std::uint32_t next_port_ = 0;
};

}  // namespace curfew::sim
