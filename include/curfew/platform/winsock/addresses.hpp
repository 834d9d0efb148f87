// Addresses as the system has them, those of sockets, and interfaces.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "../types.hpp"
#include "system.hpp"

// <netioapi.h> would bring in much more. (ULONG WINAPI if_nametoindex(PCSTR), iphlpapi.)
extern "C" __declspec(dllimport) unsigned long __stdcall if_nametoindex(const char* name);

CURFEW_SYSTEM_HEADER

namespace curfew::platform {

namespace detail {

struct native_address {
    sockaddr_storage storage;
    int size = sizeof(sockaddr_storage);

    sockaddr* get() noexcept { return reinterpret_cast<sockaddr*>(&storage); }
};

/// That of no family is refused by the system; 0 would be its choice.
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
    return -1;
}

/// <afunix.h> has it as SOCKADDR_UN, where there is that header.
struct local_sockaddr {
    unsigned short family;
    char path[108];
};

/// Without a name, or with an abstract one, of no size: calls refuse it.
CURFEW_COLD inline void to_native(const local_name& from, native_address& to) noexcept {
    local_sockaddr named{};
    named.family = AF_UNIX;
    to.size = 0;
    if (from.size == 0 || from.text[0] == 0) return;
    std::memcpy(named.path, from.text, from.size);
    std::memcpy(&to.storage, &named, sizeof named);
    to.size = sizeof named;
}

inline native_address to_native(const socket_address& from) noexcept {
    native_address to;
    if (from.family == family::v4) {
        sockaddr_in in{};
        in.sin_family = AF_INET;
        in.sin_port = ::htons(from.port);
        std::memcpy(&in.sin_addr, from.bytes, 4);
        std::memcpy(&to.storage, &in, sizeof in);
        to.size = sizeof in;
    } else if (from.family == family::local) {
        to_native(static_cast<const local_name&>(from), to);
    } else {
        sockaddr_in6 in{};
        in.sin6_family = AF_INET6;
        in.sin6_port = ::htons(from.port);
        in.sin6_scope_id = from.scope;
        std::memcpy(&in.sin6_addr, from.bytes, 16);
        std::memcpy(&to.storage, &in, sizeof in);
        to.size = sizeof in;
    }
    return to;
}

inline socket_address from_native(const native_address& from) noexcept {
    socket_address to;
    if (from.size < static_cast<int>(sizeof(sockaddr_in))) return to;
    if (from.storage.ss_family == AF_INET) {
        sockaddr_in in;
        std::memcpy(&in, &from.storage, sizeof in);
        to.family = family::v4;
        to.port = ::ntohs(in.sin_port);
        std::memcpy(to.bytes, &in.sin_addr, 4);
    } else if (from.storage.ss_family == AF_INET6) {
        sockaddr_in6 in;
        std::memcpy(&in, &from.storage, sizeof in);
        to.family = family::v6;
        to.port = ::ntohs(in.sin6_port);
        to.scope = in.sin6_scope_id;
        std::memcpy(to.bytes, &in.sin6_addr, 16);
    }
    return to;
}

CURFEW_COLD inline void store(const native_address& from, local_name& to) noexcept {
    to = {};
    constexpr int before = offsetof(local_sockaddr, path);
    if (from.size <= before || from.storage.ss_family != AF_UNIX) return;
    auto size = static_cast<std::size_t>(from.size - before);
    if (size > sizeof to.text) size = sizeof to.text;
    std::memcpy(to.text, reinterpret_cast<const char*>(&from.storage) + before, size);
    std::size_t length = 0;
    while (length < size && to.text[length] != 0) ++length;
    to.size = static_cast<std::uint8_t>(length);
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
    if (::getsockname(handle, address.get(), &address.size) != 0) return {};
    return detail::from_native(address);
}

/// Whether the socket has a peer, of whatever family.
inline bool is_connected(socket_handle handle) noexcept {
    detail::native_address address;
    return ::getpeername(handle, address.get(), &address.size) == 0;
}

inline socket_address remote_address(socket_handle handle) noexcept {
    detail::native_address address;
    if (::getpeername(handle, address.get(), &address.size) != 0) return {};
    return detail::from_native(address);
}

/// Who the peer is, or was: Windows tells it of a connection that has been reset, too.
inline socket_address last_remote_address(socket_handle handle) noexcept {
    return remote_address(handle);
}

/// The unspecified address if it is one of neither family, or cut short.
inline socket_address from_sockaddr(const void* from, std::size_t size) noexcept {
    detail::native_address address{};
    if (size > sizeof address.storage) return {};
    std::memcpy(&address.storage, from, size);
    const bool whole = address.storage.ss_family == AF_INET    ? size >= sizeof(sockaddr_in)
                       : address.storage.ss_family == AF_INET6 ? size >= sizeof(sockaddr_in6)
                                                               : false;
    address.size = static_cast<int>(size);
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
