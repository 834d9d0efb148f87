// Local sockets: Windows has those of streams since version 10 1803, without pairs, abstract names
// and credentials, and hands no handles over with them.
#pragma once

#include <cstddef>
#include <cstring>

#include "../types.hpp"
#include "addresses.hpp"
#include "errors.hpp"
#include "system.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::platform {

inline local_name own_name(socket_handle handle) noexcept {
    local_name name;
    detail::native_address address;
    if (::getsockname(handle, address.get(), &address.size) == 0) detail::store(address, name);
    return name;
}

inline local_name peer_name(socket_handle handle) noexcept {
    local_name name;
    detail::native_address address;
    if (::getpeername(handle, address.get(), &address.size) == 0) detail::store(address, name);
    return name;
}

inline int open_pair(transport, socket_handle&, socket_handle&) noexcept { return unsupported; }

/// Removes the name of a local socket, which is a file (a reparse point) that outlives the socket.
inline int remove_name(const local_name& name) noexcept {
    if (name.size == 0 || name.text[0] == 0) return WSAEINVAL;
    char path[sizeof name.text + 1] = {};
    std::memcpy(path, name.text, name.size);
    const DWORD about = ::GetFileAttributesA(path);
    if (about == INVALID_FILE_ATTRIBUTES) return static_cast<int>(::GetLastError());
    if (!(about & FILE_ATTRIBUTE_REPARSE_POINT)) return WSAENOTSOCK;
    return ::DeleteFileA(path) ? 0 : static_cast<int>(::GetLastError());
}

inline int peer_credentials(socket_handle, credentials& peer) noexcept {
    peer = {};
    return unsupported;
}

inline constexpr std::size_t max_descriptors = 1;

inline transfer send_with(socket_handle, const buffer*, std::size_t, const socket_handle*,
                          std::size_t) noexcept {
    return {0, unsupported};
}

inline transfer receive_with(socket_handle, const buffer*, std::size_t, socket_handle*,
                             std::size_t& count) noexcept {
    count = 0;
    return {0, unsupported};
}

}  // namespace curfew::platform
