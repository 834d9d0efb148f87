// Groups that a socket receives for.
#pragma once

#include <cstdint>
#include <cstring>

#include "../types.hpp"
#include "errors.hpp"
#include "system.hpp"

#define CURFEW_HAS_MULTICAST 1

CURFEW_SYSTEM_HEADER

namespace curfew::platform {

namespace detail {

inline int change_membership(socket_handle handle, const socket_address& group,
                             std::uint32_t interface_index, int v4_name, int v6_name) noexcept {
    if (group.family == family::v6) {
        ipv6_mreq asked{};
        std::memcpy(&asked.ipv6mr_multiaddr, group.bytes, 16);
        asked.ipv6mr_interface = interface_index;
        return error_of(::setsockopt(handle, IPPROTO_IPV6, v6_name,
                                     reinterpret_cast<const char*>(&asked), sizeof asked));
    }
    if (group.family != family::v4) return WSAEINVAL;
    ip_mreq asked{};
    std::memcpy(&asked.imr_multiaddr, group.bytes, 4);
    // An address of 0.x.x.x is the number of an interface (IP_ADD_MEMBERSHIP, "Remarks").
    const std::uint32_t chosen = ::htonl(interface_index);
    std::memcpy(&asked.imr_interface, &chosen, sizeof chosen);
    return error_of(::setsockopt(handle, IPPROTO_IP, v4_name, reinterpret_cast<const char*>(&asked),
                                 sizeof asked));
}

}  // namespace detail

/// From now on datagrams that are sent to the group come to the socket, too: those that arrive at
/// this interface (0: one of the system's choice).
inline int join_group(socket_handle handle, const socket_address& group,
                      std::uint32_t interface_index) noexcept {
    return detail::change_membership(handle, group, interface_index, IP_ADD_MEMBERSHIP,
                                     IPV6_ADD_MEMBERSHIP);
}

inline int leave_group(socket_handle handle, const socket_address& group,
                       std::uint32_t interface_index) noexcept {
    return detail::change_membership(handle, group, interface_index, IP_DROP_MEMBERSHIP,
                                     IPV6_DROP_MEMBERSHIP);
}

}  // namespace curfew::platform
