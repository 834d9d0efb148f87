// A socket from open to close: names, connections, and what it is.
#pragma once

#include <cerrno>

#include "../types.hpp"
#include "addresses.hpp"
#include "errors.hpp"
#include "options.hpp"
#include "system.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::platform {

namespace detail {

/// Puts a descriptor made without flags into the state that all of curfew's have: it never blocks,
/// and child processes do not inherit it.
inline int prepare_file(socket_handle handle) noexcept {
    const int flags = ::fcntl(handle, F_GETFL, 0);
    if (flags < 0 || ::fcntl(handle, F_SETFL, flags | O_NONBLOCK) < 0) return errno;
    if (::fcntl(handle, F_SETFD, FD_CLOEXEC) < 0) return errno;
#if defined(F_SETNOSIGPIPE)
    ::fcntl(handle, F_SETNOSIGPIPE, 1);
#endif
    return 0;
}

/// The same for a socket, which raises no SIGPIPE either.
inline int prepare(socket_handle handle) noexcept {
    const int error = prepare_file(handle);
#ifdef SO_NOSIGPIPE
    if (!error) set_flag(handle, SOL_SOCKET, SO_NOSIGPIPE, 1);
#endif
    return error;
}

}  // namespace detail

/// Closes a descriptor. Whatever it returns, the descriptor is gone: on Linux even after EINTR, on
/// FreeBSD also after ECONNRESET (close(2) of both).
inline void close(socket_handle handle) noexcept { ::close(handle); }

inline int open(family which, transport type, socket_handle& handle) noexcept {
    const int domain = detail::native_family(which);
    const int kind = type == transport::stream ? SOCK_STREAM : SOCK_DGRAM;
#if defined(SOCK_NONBLOCK) && !defined(CURFEW_POSIX_ONLY)
    handle = ::socket(domain, kind | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return handle < 0 ? errno : 0;
#else
    handle = ::socket(domain, kind, 0);
    if (handle < 0) return errno;
    if (const int error = detail::prepare(handle)) {
        platform::close(handle);
        handle = invalid_socket;
        return error;
    }
    return 0;
#endif
}

/// Takes in a descriptor from elsewhere: checks that it is a socket of this type, and makes it
/// non-blocking (for all who share it), closed on exec (this descriptor alone) and silent where
/// SIGPIPE is concerned (SO_NOSIGPIPE, where there is that). After an error it is as it was, except
/// perhaps for the first of these.
inline int adopt(socket_handle handle, transport type) noexcept {
    int kind = 0;
    socklen_t size = sizeof kind;
    if (::getsockopt(handle, SOL_SOCKET, SO_TYPE, &kind, &size) < 0) return errno;
    if (kind != (type == transport::stream ? SOCK_STREAM : SOCK_DGRAM)) return EPROTOTYPE;
    return detail::prepare(handle);
}

/// True if a read from this stream that falls short of its buffer has taken all there was, as with
/// TCP. Other streams end a read where something else begins: a local one where descriptors or
/// credentials are attached, TLS in the kernel at each of its records (once it is switched on).
inline bool is_tcp(socket_handle handle) noexcept {
#if defined(SO_PROTOCOL) && !defined(CURFEW_POSIX_ONLY)
    int protocol = 0;
    socklen_t size = sizeof protocol;
    if (::getsockopt(handle, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) < 0) return false;
    if (protocol != IPPROTO_TCP) return false;
#if defined(TCP_ULP)
    char upper_layer[16];
    size = sizeof upper_layer;
    if (::getsockopt(handle, IPPROTO_TCP, TCP_ULP, upper_layer, &size) == 0 && size > 0)
        return false;
#endif
    return true;
#else
    detail::native_address own;
    if (::getsockname(handle, own.get(), &own.size) < 0) return false;
    return own.storage.ss_family == AF_INET || own.storage.ss_family == AF_INET6;
#endif
}

inline int bind(socket_handle handle, const socket_address& address) noexcept {
    auto native = detail::to_native(address);
    return ::bind(handle, native.get(), native.size) < 0 ? errno : 0;
}

inline int listen(socket_handle handle, int backlog) noexcept {
    return ::listen(handle, backlog) < 0 ? errno : 0;
}

inline constexpr int max_backlog = SOMAXCONN;

/// 0: connected. `connect_pending(error)`: under way.
inline int connect(socket_handle handle, const socket_address& address) noexcept {
    auto native = detail::to_native(address);
    return ::connect(handle, native.get(), native.size) < 0 ? errno : 0;
}

/// After `connect` was pending and the socket became writable: 0 connected, `connect_pending` not
/// yet (the wake-up was spurious), else why it failed.
inline int connect_result(socket_handle handle) noexcept {
    int error = 0;
    socklen_t size = sizeof error;
    if (::getsockopt(handle, SOL_SOCKET, SO_ERROR, &error, &size) < 0) return errno;
    if (error) return error;
    detail::native_address peer;
    if (::getpeername(handle, peer.get(), &peer.size) == 0) return 0;
    return errno == ENOTCONN ? EINPROGRESS : errno;
}

/// Leaves in `*peer`, if that is not null, who has connected: also if they are gone by now. POSIX
/// has no flag that keeps this call from blocking: on a listener that somebody else has made
/// blocking it waits for a connection, if there is none (any more).
inline int accept(socket_handle listener, socket_handle& handle, socket_address* peer) noexcept {
    detail::native_address address;
    sockaddr* const native = peer ? address.get() : nullptr;
    socklen_t* const size = peer ? &address.size : nullptr;
#if defined(SOCK_NONBLOCK) && !defined(CURFEW_POSIX_ONLY)
    const int error = detail::retrying(
        [&] { return handle = ::accept4(listener, native, size, SOCK_NONBLOCK | SOCK_CLOEXEC); });
    if (error) return error;
#else
    if (const int error =
            detail::retrying([&] { return handle = ::accept(listener, native, size); }))
        return error;
    if (const int error = detail::prepare(handle)) {
        platform::close(handle);
        handle = invalid_socket;
        return error;
    }
#endif
    if (peer) *peer = detail::from_native(address);
    return 0;
}

inline int shutdown(socket_handle handle, shutdown_side side) noexcept {
    const int how = side == shutdown_side::receive ? SHUT_RD
                    : side == shutdown_side::send  ? SHUT_WR
                                                   : SHUT_RDWR;
    return ::shutdown(handle, how) < 0 ? errno : 0;
}

/// True if this descriptor is none.
inline bool is_closed(socket_handle handle) noexcept {
    return ::fcntl(handle, F_GETFD, 0) < 0 && errno == EBADF;
}

}  // namespace curfew::platform
