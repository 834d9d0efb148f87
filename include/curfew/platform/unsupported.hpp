// What a platform header need not have: local sockets, and files. Where it does not say that it has
// them, they are these, which do nothing and say so.
#pragma once

#include <cstddef>

#include "platform.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::platform {

#if !defined(CURFEW_HAS_LOCAL)

inline local_name own_name(socket_handle) noexcept { return {}; }
inline local_name peer_name(socket_handle) noexcept { return {}; }
inline int open_pair(transport, socket_handle&, socket_handle&) noexcept { return unsupported; }
inline int remove_name(const local_name&) noexcept { return unsupported; }
inline int peer_credentials(socket_handle, credentials&) noexcept { return unsupported; }

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

#endif

#if !defined(CURFEW_HAS_FILES)

inline constexpr socket_handle standard_input_number = invalid_socket;

inline int open_pipe(socket_handle&, socket_handle&) noexcept { return unsupported; }
inline int adopt_file(socket_handle) noexcept { return unsupported; }
inline int share_file(socket_handle, socket_handle&) noexcept { return unsupported; }
inline transfer read_file(socket_handle, const buffer*, std::size_t) noexcept {
    return {0, unsupported};
}
inline transfer read_shared(socket_handle, const buffer*, std::size_t) noexcept {
    return {0, unsupported};
}
inline transfer write_file(socket_handle, const buffer*, std::size_t) noexcept {
    return {0, unsupported};
}

#endif

}  // namespace curfew::platform
