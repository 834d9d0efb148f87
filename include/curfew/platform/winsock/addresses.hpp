// Addresses as the system has them, those of sockets, and interfaces.
#pragma once

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

inline native_address to_native(const socket_address& from) noexcept {
    native_address to;
    if (from.family == family::v4) {
        sockaddr_in in{};
        in.sin_family = AF_INET;
        in.sin_port = ::htons(from.port);
        std::memcpy(&in.sin_addr, from.bytes, 4);
        std::memcpy(&to.storage, &in, sizeof in);
        to.size = sizeof in;
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

}  // namespace detail

/// The unspecified address where there is none.
inline socket_address local_address(socket_handle handle) noexcept {
    detail::native_address address;
    if (::getsockname(handle, address.get(), &address.size) != 0) return {};
    return detail::from_native(address);
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

/// The number of a network interface, for addresses with a scope; 0 if there is none of that name.
inline std::uint32_t interface_index(const char* name) noexcept { return ::if_nametoindex(name); }

}  // namespace curfew::platform
