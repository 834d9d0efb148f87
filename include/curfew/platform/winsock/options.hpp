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
    }
    return no_option;
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
    const auto native = detail::native_option(which);
    return native.level < 0 ? unsupported
                            : detail::set_flag(handle, native.level, native.name, value);
}

inline int get_option(socket_handle handle, option which, int& value) noexcept {
    const auto native = detail::native_option(which);
    if (native.level < 0) return unsupported;
    value = 0;  // some options fill in one byte
    int size = sizeof value;
    return detail::error_of(
        ::getsockopt(handle, native.level, native.name, reinterpret_cast<char*>(&value), &size));
}

}  // namespace curfew::platform
