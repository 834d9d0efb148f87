// Options of sockets.
#pragma once

#include "../types.hpp"
#include "errors.hpp"
#include "system.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::platform {

namespace detail {

inline int set_flag(socket_handle handle, int level, int name, int value) noexcept {
    return error_of(::setsockopt(handle, level, name, reinterpret_cast<const char*>(&value),
                                 static_cast<int>(sizeof value)));
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
    case option::reuse_port:
        return no_option;
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

/// The names in that version of IP. (Programs have no say in the traffic class: IP_TOS is taken and
/// ignored.)
inline option_name native_ip_option(option which, bool v6) noexcept {
    constexpr int dont_fragment = 14;  // IP_DONTFRAGMENT and IPV6_DONTFRAG
    const int level = v6 ? static_cast<int>(IPPROTO_IPV6) : static_cast<int>(IPPROTO_IP);
    switch (which) {
    case option::hops:
        return {level, v6 ? IPV6_UNICAST_HOPS : IP_TTL};
    case option::dont_fragment:
        return {level, dont_fragment};
    case option::multicast_loop:
        return {level, v6 ? IPV6_MULTICAST_LOOP : IP_MULTICAST_LOOP};
    case option::multicast_hops:
        return {level, v6 ? IPV6_MULTICAST_HOPS : IP_MULTICAST_TTL};
    case option::multicast_interface:
        return {level, v6 ? IPV6_MULTICAST_IF : IP_MULTICAST_IF};
    default:
        return no_option;
    }
}

/// Whether it is a socket for IPv6. (One that is not bound has no address to tell it.)
inline bool is_v6(socket_handle handle) noexcept {
    WSAPROTOCOL_INFOW about{};
    int size = sizeof about;
    return ::getsockopt(handle, SOL_SOCKET, SO_PROTOCOL_INFOW, reinterpret_cast<char*>(&about),
                        &size) == 0 &&
           about.iAddressFamily == AF_INET6;
}

inline int set_ip_option(socket_handle handle, option which, int value) noexcept {
    const bool v6 = is_v6(handle);
    const auto native = native_ip_option(which, v6);
    if (native.level < 0) return unsupported;
    if (which == option::multicast_interface && !v6)
        value = static_cast<int>(::htonl(static_cast<u_long>(value)));
    return set_flag(handle, native.level, native.name, value);
}

}  // namespace detail

/// Makes the coming `close` reset the connection. Errors do not matter: a socket that cannot
/// linger has no connection to reset.
inline void reset_on_close(socket_handle handle) noexcept {
    const linger abortive{1, 0};
    ::setsockopt(handle, SOL_SOCKET, SO_LINGER, reinterpret_cast<const char*>(&abortive),
                 static_cast<int>(sizeof abortive));
}

/// Windows lets a port be listened on while old connections linger there. Its SO_REUSEADDR would
/// do more: take a port away from somebody who listens on it.
inline void allow_lingering(socket_handle) noexcept {}

inline int set_option(socket_handle handle, option which, int value) noexcept {
    if (detail::is_of_ip(which)) return detail::set_ip_option(handle, which, value);
    const auto native = detail::native_option(which);
    return native.level < 0 ? unsupported
                            : detail::set_flag(handle, native.level, native.name, value);
}

inline int get_option(socket_handle handle, option which, int& value) noexcept {
    const auto native = detail::is_of_ip(which)
                            ? detail::native_ip_option(which, detail::is_v6(handle))
                            : detail::native_option(which);
    if (native.level < 0) return unsupported;
    value = 0;  // some options fill in one byte
    int size = sizeof value;
    return detail::error_of(
        ::getsockopt(handle, native.level, native.name, reinterpret_cast<char*>(&value), &size));
}

}  // namespace curfew::platform
