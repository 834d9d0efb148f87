// A socket from open to close: names, connections, and what it is.
#pragma once

#include "../types.hpp"
#include "addresses.hpp"
#include "errors.hpp"
#include "options.hpp"
#include "system.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::platform {

namespace detail {

/// Starts Winsock, once; the error number.
inline int start_winsock() noexcept {
    static const int error = [] {
        WSADATA data;
        return ::WSAStartup(MAKEWORD(2, 2), &data);
    }();
    return error;
}

inline int control(socket_handle handle, DWORD code, BOOL value) noexcept {
    DWORD written = 0;
    return error_of(
        ::WSAIoctl(handle, code, &value, sizeof value, nullptr, 0, &written, nullptr, nullptr));
}

/// Puts a socket into the state that all of curfew's have: calls that are not overlapped do not
/// block, and a UDP socket's receives do not fail because of what became of an earlier datagram of
/// its own (which would hit others than the one that it is about).
inline int prepare(socket_handle handle, transport type) noexcept {
    u_long on = 1;
    if (const int error = error_of(::ioctlsocket(handle, static_cast<long>(FIONBIO), &on)))
        return error;
    if (type == transport::datagram) {
        constexpr DWORD connection_resets = IOC_IN | IOC_VENDOR | 12;  // SIO_UDP_CONNRESET
        constexpr DWORD network_resets = IOC_IN | IOC_VENDOR | 15;     // SIO_UDP_NETRESET
        control(handle, connection_resets, FALSE);
        control(handle, network_resets, FALSE);
    }
    return 0;
}

}  // namespace detail

inline void close(socket_handle handle) noexcept { ::closesocket(handle); }

inline int open(family which, transport type, socket_handle& handle) noexcept {
    if (const int error = detail::start_winsock()) return error;
    const bool local = which == family::local;
    const bool stream = type == transport::stream;
    const int protocol = local ? 0 : stream ? IPPROTO_TCP : IPPROTO_UDP;
    const socket_handle made =
        ::WSASocketW(detail::native_family(which), stream ? SOCK_STREAM : SOCK_DGRAM, protocol,
                     nullptr, 0, WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
    if (made == INVALID_SOCKET && local) return unsupported;  // Wine, and Windows before version 10
    if (made == INVALID_SOCKET) return detail::last_error();
    if (const int error = detail::prepare(made, type)) {
        platform::close(made);
        return error;
    }
    handle = made;
    return 0;
}

/// Takes in a socket from elsewhere: checks its type and makes it non-blocking. For IOCP it must
/// have been made for overlapped use, as `socket` and WSASocket do, and belong to no port. After
/// an error it is as it was.
inline int adopt(socket_handle handle, transport type) noexcept {
    if (const int error = detail::start_winsock()) return error;
    int kind = 0;
    int size = sizeof kind;
    if (const int error = detail::error_of(
            ::getsockopt(handle, SOL_SOCKET, SO_TYPE, reinterpret_cast<char*>(&kind), &size)))
        return error;
    if (kind != (type == transport::stream ? SOCK_STREAM : SOCK_DGRAM)) return WSAEPROTOTYPE;
    return detail::prepare(handle, type);
}

/// True if a read from this stream that falls short of its buffer has taken all there was.
inline bool is_tcp(socket_handle handle) noexcept {
    WSAPROTOCOL_INFOW info{};
    int size = sizeof info;
    return ::getsockopt(handle, SOL_SOCKET, SO_PROTOCOL_INFOW, reinterpret_cast<char*>(&info),
                        &size) == 0 &&
           info.iProtocol == IPPROTO_TCP;
}

inline int bind(socket_handle handle, const socket_address& address) noexcept {
    auto native = detail::to_native(address);
    return detail::error_of(::bind(handle, native.get(), native.size));
}

inline int listen(socket_handle handle, int backlog) noexcept {
    return detail::error_of(::listen(handle, backlog));
}

inline constexpr int max_backlog = SOMAXCONN;

/// 0: connected. `connect_pending(error)`: under way.
inline int connect(socket_handle handle, const socket_address& address) noexcept {
    auto native = detail::to_native(address);
    return detail::error_of(::connect(handle, native.get(), native.size));
}

/// After `connect` was pending and the socket became writable: 0 connected, `connect_pending` not
/// yet (the wake-up was spurious), else why it failed.
inline int connect_result(socket_handle handle) noexcept {
    int error = 0;
    int size = sizeof error;
    if (const int failed = detail::error_of(
            ::getsockopt(handle, SOL_SOCKET, SO_ERROR, reinterpret_cast<char*>(&error), &size)))
        return failed;
    if (error) return error;
    detail::native_address peer;
    const int unknown = detail::error_of(::getpeername(handle, peer.get(), &peer.size));
    return unknown == WSAENOTCONN ? WSAEWOULDBLOCK : unknown;
}

/// Leaves in `*peer`, if that is not null, who has connected.
inline int accept(socket_handle listener, socket_handle& handle, socket_address* peer) noexcept {
    detail::native_address address;
    const socket_handle made =
        ::accept(listener, peer ? address.get() : nullptr, peer ? &address.size : nullptr);
    if (made == INVALID_SOCKET) return detail::last_error();
    ::SetHandleInformation(reinterpret_cast<HANDLE>(made), HANDLE_FLAG_INHERIT, 0);
    if (const int error = detail::prepare(made, transport::stream)) {
        platform::close(made);
        return error;
    }
    if (peer) *peer = detail::from_native(address);
    handle = made;
    return 0;
}

inline int shutdown(socket_handle handle, shutdown_side side) noexcept {
    const int how = side == shutdown_side::receive ? SD_RECEIVE
                    : side == shutdown_side::send  ? SD_SEND
                                                   : SD_BOTH;
    return detail::error_of(::shutdown(handle, how));
}

/// True if this is no socket.
inline bool is_closed(socket_handle handle) noexcept {
    int kind = 0;
    int size = sizeof kind;
    return detail::error_of(::getsockopt(handle, SOL_SOCKET, SO_TYPE,
                                         reinterpret_cast<char*>(&kind), &size)) == WSAENOTSOCK;
}

}  // namespace curfew::platform
