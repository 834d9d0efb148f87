// Options of sockets.
#pragma once

#include <cerrno>

#include "../types.hpp"
#include "addresses.hpp"
#include "system.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::platform {

namespace detail {

inline int set_flag(socket_handle handle, int level, int name, int value) noexcept {
    return ::setsockopt(handle, level, name, &value, sizeof value) < 0 ? errno : 0;
}

struct option_name {
    int level;
    int name;
};

inline constexpr option_name no_option{-1, 0};

/// The system's names of an option; `no_option` where it has none.
inline option_name native_option(option which) noexcept {
    switch (which) {
    case option::no_delay:
        return {IPPROTO_TCP, TCP_NODELAY};
    case option::keep_alive:
        return {SOL_SOCKET, SO_KEEPALIVE};
    case option::reuse_address:
        return {SOL_SOCKET, SO_REUSEADDR};
#ifdef SO_REUSEPORT
    case option::reuse_port:
        return {SOL_SOCKET, SO_REUSEPORT};
#else
    case option::reuse_port:
        return no_option;
#endif
    case option::broadcast:
        return {SOL_SOCKET, SO_BROADCAST};
    case option::v6_only:
        return {IPPROTO_IPV6, IPV6_V6ONLY};
    case option::receive_buffer_size:
        return {SOL_SOCKET, SO_RCVBUF};
    case option::send_buffer_size:
        return {SOL_SOCKET, SO_SNDBUF};
    case option::hops:
    case option::traffic_class:
    case option::dont_fragment:
    case option::multicast_loop:
    case option::multicast_hops:
    case option::multicast_interface:
        break;  // see below
    }
    return no_option;
}

inline bool is_of_ip(option which) noexcept { return which >= option::hops; }

/// The names in that version of IP. (Linux calls the bit that forbids fragments after what it is
/// for: to discover how much may pass.)
inline option_name native_ip_option(option which, bool v6) noexcept {
    switch (which) {
    case option::hops:
        return v6 ? option_name{IPPROTO_IPV6, IPV6_UNICAST_HOPS} : option_name{IPPROTO_IP, IP_TTL};
    case option::traffic_class:
#if defined(IPV6_TCLASS)
        if (v6) return {IPPROTO_IPV6, IPV6_TCLASS};
#endif
        return v6 ? no_option : option_name{IPPROTO_IP, IP_TOS};
    case option::dont_fragment:
#if defined(IP_MTU_DISCOVER) && defined(IPV6_MTU_DISCOVER)
        return v6 ? option_name{IPPROTO_IPV6, IPV6_MTU_DISCOVER}
                  : option_name{IPPROTO_IP, IP_MTU_DISCOVER};
#else
#if defined(IPV6_DONTFRAG)
        if (v6) return {IPPROTO_IPV6, IPV6_DONTFRAG};
#endif
#if defined(IP_DONTFRAG)
        if (!v6) return {IPPROTO_IP, IP_DONTFRAG};
#endif
        return no_option;
#endif
    case option::multicast_loop:
        return v6 ? option_name{IPPROTO_IPV6, IPV6_MULTICAST_LOOP}
                  : option_name{IPPROTO_IP, IP_MULTICAST_LOOP};
    case option::multicast_hops:
        return v6 ? option_name{IPPROTO_IPV6, IPV6_MULTICAST_HOPS}
                  : option_name{IPPROTO_IP, IP_MULTICAST_TTL};
    case option::multicast_interface:
        return v6 ? option_name{IPPROTO_IPV6, IPV6_MULTICAST_IF}
                  : option_name{IPPROTO_IP, IP_MULTICAST_IF};
    default:
        return no_option;
    }
}

/// Those two are bytes with IPv4: some systems take nothing else, and all take that.
inline bool is_byte(option which, bool v6) noexcept {
    return !v6 && (which == option::multicast_loop || which == option::multicast_hops);
}

inline int set_ip_option(socket_handle handle, option which, bool v6, int value) noexcept {
    const auto native = native_ip_option(which, v6);
    if (native.level < 0) return unsupported;
    if (which == option::multicast_interface && !v6) {
#if defined(__linux__) || defined(__APPLE__) || defined(__FreeBSD__)
        ip_mreqn chosen{};
        chosen.imr_ifindex = value;
        return ::setsockopt(handle, native.level, native.name, &chosen, sizeof chosen) < 0 ? errno
                                                                                           : 0;
#else
        return unsupported;
#endif
    }
    if (is_byte(which, v6)) {
        if (value < 0 || value > 255) return EINVAL;
        const auto byte = static_cast<unsigned char>(value);
        return ::setsockopt(handle, native.level, native.name, &byte, sizeof byte) < 0 ? errno : 0;
    }
#if defined(IP_MTU_DISCOVER) && defined(IPV6_MTU_DISCOVER)
    if (which == option::dont_fragment)
        value = v6 ? (value ? IPV6_PMTUDISC_DO : IPV6_PMTUDISC_DONT)
                   : (value ? IP_PMTUDISC_DO : IP_PMTUDISC_DONT);
#endif
    return set_flag(handle, native.level, native.name, value);
}

inline int set_ip_option(socket_handle handle, option which, int value) noexcept {
    const family own = local_address(handle).family;
    if (own == family::v4) return set_ip_option(handle, which, false, value);
    const int error = set_ip_option(handle, which, true, value);
    // What goes to IPv4 through a socket for IPv6, where it may, goes by the other name.
    if (!error) set_ip_option(handle, which, false, value);
    return error;
}

inline int get_ip_option(socket_handle handle, option which, int& value) noexcept {
    const bool v6 = local_address(handle).family != family::v4;
    const auto native = native_ip_option(which, v6);
    if (native.level < 0 || (which == option::multicast_interface && !v6)) return unsupported;
    if (is_byte(which, v6)) {
        unsigned char byte = 0;
        socklen_t size = sizeof byte;
        if (::getsockopt(handle, native.level, native.name, &byte, &size) < 0) return errno;
        value = byte;
        return 0;
    }
    socklen_t size = sizeof value;
    if (::getsockopt(handle, native.level, native.name, &value, &size) < 0) return errno;
#if defined(IP_MTU_DISCOVER) && defined(IPV6_MTU_DISCOVER)
    if (which == option::dont_fragment)
        value = value == (v6 ? IPV6_PMTUDISC_DO : IP_PMTUDISC_DO) ||
                value == (v6 ? IPV6_PMTUDISC_PROBE : IP_PMTUDISC_PROBE);
#endif
    return 0;
}

}  // namespace detail

/// Makes the coming `close` reset the connection. Errors do not matter: a socket that cannot
/// linger has no connection to reset.
inline void reset_on_close(socket_handle handle) noexcept {
    const linger abortive{1, 0};
    ::setsockopt(handle, SOL_SOCKET, SO_LINGER, &abortive, sizeof abortive);
}

/// Lets a port be listened on while old connections linger there: the coming `bind` does not mind
/// them.
inline void allow_lingering(socket_handle handle) noexcept {
    detail::set_flag(handle, SOL_SOCKET, SO_REUSEADDR, 1);
}

inline int set_option(socket_handle handle, option which, int value) noexcept {
    if (detail::is_of_ip(which)) return detail::set_ip_option(handle, which, value);
    const auto native = detail::native_option(which);
    return native.level < 0 ? unsupported
                            : detail::set_flag(handle, native.level, native.name, value);
}

inline int get_option(socket_handle handle, option which, int& value) noexcept {
    if (detail::is_of_ip(which)) return detail::get_ip_option(handle, which, value);
    const auto native = detail::native_option(which);
    if (native.level < 0) return unsupported;
    socklen_t size = sizeof value;
    return ::getsockopt(handle, native.level, native.name, &value, &size) < 0 ? errno : 0;
}

}  // namespace curfew::platform
