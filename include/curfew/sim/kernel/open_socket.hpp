// What a descriptor stands for.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "../../config.hpp"
#include "../../platform/types.hpp"
#include "addresses.hpp"
#include "packet.hpp"
#include "tcp.hpp"
#include "tcp_parameters.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::sim {

enum class connecting : std::uint8_t {
    not_yet,
    begun,
    told,  // the user knows that it is connected
};

struct open_socket {
    platform::family family = platform::family::unspecified;
    platform::transport type = platform::transport::stream;
    bool is_counter = false;
    bool counted = false;
    bool reuse_address = false;
    bool reuse_port = false;
    bool broadcast = false;
    bool v6_only = false;
    bool listening = false;
    bool was_listener = false;
    bool locked_port = false;  // chosen by the user
    bool accepted = false;
    bool bound_anew = false;  // after its connection
    connecting phase = connecting::not_yet;
    bool shut_receive = false;
    bool shut_send = false;
    int error = 0;
    address bound;  // with port 0: not bound
    tcp_options options;
    connection* link = nullptr;

    // A listener's.
    std::size_t backlog = 0;
    std::vector<connection*> queue;

    // A datagram socket's.
    address peer;
    address from;
    std::vector<packet*> datagrams;
    std::size_t first_datagram = 0;
    std::size_t datagram_bytes = 0;
    std::vector<address> groups;
};

/// What a user has given, as it is on the wire. A socket for IPv6 reaches IPv4 by mapped
/// addresses.
inline int to_wire(const open_socket& on, const address& given, address& wire) noexcept {
    if (given.family == platform::family::unspecified) return EAFNOSUPPORT;
    if (given.family == on.family) {
        wire = unmapped(given);
        if (wire.family != given.family && on.v6_only) return ENETUNREACH;
        return 0;
    }
    return on.family == platform::family::v6 ? EINVAL : EAFNOSUPPORT;
}
inline int to_local(const open_socket& on, const address& given, address& local) noexcept {
    if (given.family != on.family) return on.family == platform::family::v6 ? EINVAL : EAFNOSUPPORT;
    local = unmapped(given);
    if (local.family != given.family && on.v6_only) return EINVAL;
    return 0;
}
inline address to_user(const open_socket& on, const address& wire) noexcept {
    if (on.family == platform::family::v6 && wire.family == platform::family::v4)
        return mapped(wire);
    return wire;
}

}  // namespace curfew::sim
