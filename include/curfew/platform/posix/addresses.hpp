// Addresses as the system has them, those of sockets, and interfaces.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "../types.hpp"
#include "system.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::platform {

namespace detail {

struct native_address {
    sockaddr_storage storage;
    socklen_t size = sizeof(sockaddr_storage);

    sockaddr* get() noexcept { return reinterpret_cast<sockaddr*>(&storage); }
};

/// That of no family is refused by the system.
inline int native_family(family which) noexcept {
    switch (which) {
    case family::v4:
        return AF_INET;
    case family::v6:
        return AF_INET6;
    case family::local:
        return AF_UNIX;
    case family::unspecified:
        break;
    }
    return AF_UNSPEC;
}

/// Without a name, or with one that is too long here, of no size: calls refuse it with EINVAL.
CURFEW_COLD inline void to_native(const local_name& from, native_address& to) noexcept {
    sockaddr_un named{};
    named.sun_family = AF_UNIX;
    const bool is_path = from.size > 0 && from.text[0] != 0;
    to.size = 0;
    if (from.size == 0 || from.size >= sizeof named.sun_path) return;
    std::memcpy(named.sun_path, from.text, from.size);
    std::memcpy(&to.storage, &named, sizeof named);
    // A path ends with a zero, which counts; an abstract name ends where its size says.
    to.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + from.size + is_path);
}

inline native_address to_native(const socket_address& from) noexcept {
    native_address to;
    if (from.family == family::v4) {
        sockaddr_in in{};
        in.sin_family = AF_INET;
        in.sin_port = htons(from.port);
        std::memcpy(&in.sin_addr, from.bytes, 4);
        std::memcpy(&to.storage, &in, sizeof in);
        to.size = sizeof in;
    } else if (from.family == family::local) {
        to_native(static_cast<const local_name&>(from), to);
    } else {
        sockaddr_in6 in{};
        in.sin6_family = AF_INET6;
        in.sin6_port = htons(from.port);
        in.sin6_scope_id = from.scope;
        std::memcpy(&in.sin6_addr, from.bytes, 16);
        std::memcpy(&to.storage, &in, sizeof in);
        to.size = sizeof in;
    }
    return to;
}

inline socket_address from_native(const native_address& from) noexcept {
    socket_address to;
    if (from.size < sizeof(sa_family_t)) return to;
    if (from.storage.ss_family == AF_INET) {
        sockaddr_in in;
        std::memcpy(&in, &from.storage, sizeof in);
        to.family = family::v4;
        to.port = ntohs(in.sin_port);
        std::memcpy(to.bytes, &in.sin_addr, 4);
    } else if (from.storage.ss_family == AF_INET6) {
        sockaddr_in6 in;
        std::memcpy(&in, &from.storage, sizeof in);
        to.family = family::v6;
        to.port = ntohs(in.sin6_port);
        to.scope = in.sin6_scope_id;
        std::memcpy(to.bytes, &in.sin6_addr, 16);
    }
    return to;
}

CURFEW_COLD inline void store(const native_address& from, local_name& to) noexcept {
    to = {};
    constexpr std::size_t before = offsetof(sockaddr_un, sun_path);
    if (from.size <= before || from.storage.ss_family != AF_UNIX) return;
    std::size_t size = from.size - before;
    if (size > sizeof to.text) size = sizeof to.text;
    std::memcpy(to.text, reinterpret_cast<const char*>(&from.storage) + before, size);
    if (to.text[0] != 0)  // some systems count the zero behind a path, and what follows it
        size = ::strnlen(to.text, size);
#if !defined(__linux__)
    else
        size = 0;  // nobody else has abstract names: this is none
#endif
    to.size = static_cast<std::uint8_t>(size);
}

/// Fills in what the system tells of somebody's address: a local one if there is room for it.
inline void store(const native_address& from, socket_address& to) noexcept {
    if (to.family == family::local)
        store(from, static_cast<local_name&>(to));
    else
        to = from_native(from);
}

}  // namespace detail

/// The unspecified address where there is none.
inline socket_address local_address(socket_handle handle) noexcept {
    detail::native_address address;
    if (::getsockname(handle, address.get(), &address.size) < 0) return {};
    return detail::from_native(address);
}

/// Whether the socket has a peer, of whatever family.
inline bool is_connected(socket_handle handle) noexcept {
    detail::native_address address;
    return ::getpeername(handle, address.get(), &address.size) == 0;
}

inline socket_address remote_address(socket_handle handle) noexcept {
    detail::native_address address;
    if (::getpeername(handle, address.get(), &address.size) < 0) return {};
    return detail::from_native(address);
}

/// Who the peer is, or was: unlike getpeername, Linux' SO_PEERNAME also tells it of a connection
/// that has been reset.
inline socket_address last_remote_address(socket_handle handle) noexcept {
    const socket_address now = remote_address(handle);
#if defined(SO_PEERNAME) && !defined(CURFEW_POSIX_ONLY)
    if (now.family != family::unspecified) return now;
    detail::native_address address;
    if (::getsockname(handle, address.get(), &address.size) < 0) return now;
    // It is of the same size; an error if there is less of it than was asked for.
    if (::getsockopt(handle, SOL_SOCKET, SO_PEERNAME, &address.storage, &address.size) < 0)
        return now;
    return detail::from_native(address);
#else
    return now;
#endif
}

/// The unspecified address if it is one of neither family, or cut short.
inline socket_address from_sockaddr(const void* from, std::size_t size) noexcept {
    detail::native_address address{};
    if (size > sizeof address.storage) return {};
    std::memcpy(&address.storage, from, size);
    const bool whole = address.storage.ss_family == AF_INET    ? size >= sizeof(sockaddr_in)
                       : address.storage.ss_family == AF_INET6 ? size >= sizeof(sockaddr_in6)
                                                               : false;
    address.size = static_cast<socklen_t>(size);
    return whole ? detail::from_native(address) : socket_address{};
}

/// The size of what it has written; 0 if there is no address, or not enough room.
inline std::size_t to_sockaddr(const socket_address& from, void* to, std::size_t room) noexcept {
    if (from.family != family::v4 && from.family != family::v6) return 0;
    const auto address = detail::to_native(from);
    const auto size = static_cast<std::size_t>(address.size);
    if (size > room) return 0;
    std::memcpy(to, &address.storage, size);
    return size;
}

/// The number of a network interface, for addresses with a scope; 0 if there is none of that name.
inline std::uint32_t interface_index(const char* name) noexcept { return ::if_nametoindex(name); }

}  // namespace curfew::platform
