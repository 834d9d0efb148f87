// Groups that a socket receives for.
#pragma once

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "../types.hpp"
#include "system.hpp"

#define CURFEW_HAS_MULTICAST 1

CURFEW_SYSTEM_HEADER

namespace curfew::platform {

namespace detail {

inline int change_membership(socket_handle handle, const socket_address& group,
                             std::uint32_t interface_index, int v4_name, int v6_name) noexcept {
    int done = 0;
    if (group.family == family::v6) {
        ipv6_mreq asked{};
        std::memcpy(&asked.ipv6mr_multiaddr, group.bytes, 16);
        asked.ipv6mr_interface = static_cast<decltype(asked.ipv6mr_interface)>(interface_index);
        done = ::setsockopt(handle, IPPROTO_IPV6, v6_name, &asked, sizeof asked);
    } else if (group.family == family::v4) {
#if defined(__linux__) || defined(__APPLE__) || defined(__FreeBSD__)
        ip_mreqn asked{};
        asked.imr_ifindex = static_cast<int>(interface_index);
#else
        if (interface_index != 0) return unsupported;
        ip_mreq asked{};
#endif
        std::memcpy(&asked.imr_multiaddr, group.bytes, 4);
        done = ::setsockopt(handle, IPPROTO_IP, v4_name, &asked, sizeof asked);
    } else {
        return EINVAL;
    }
    return done < 0 ? errno : 0;
}

}  // namespace detail

/// From now on datagrams that are sent to the group come to the socket, too: those that arrive at
/// this interface (0: one of the system's choice).
inline int join_group(socket_handle handle, const socket_address& group,
                      std::uint32_t interface_index) noexcept {
    return detail::change_membership(handle, group, interface_index, IP_ADD_MEMBERSHIP,
                                     IPV6_JOIN_GROUP);
}

inline int leave_group(socket_handle handle, const socket_address& group,
                       std::uint32_t interface_index) noexcept {
    return detail::change_membership(handle, group, interface_index, IP_DROP_MEMBERSHIP,
                                     IPV6_LEAVE_GROUP);
}

}  // namespace curfew::platform
