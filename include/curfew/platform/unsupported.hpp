// What a platform header need not have: local sockets, files, threads, names and so on. Where it does not say that it has
// them, they are these, which do nothing and say so.
#pragma once

#include <cstddef>
#include <cstdint>

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

#if !defined(CURFEW_HAS_MULTICAST)

inline int join_group(socket_handle, const socket_address&, std::uint32_t) noexcept {
    return unsupported;
}
inline int leave_group(socket_handle, const socket_address&, std::uint32_t) noexcept {
    return unsupported;
}

#endif

#if !defined(CURFEW_HAS_PATHS)

inline int tell_paths(socket_handle, bool) noexcept { return unsupported; }
inline transfer receive_path(socket_handle, const buffer*, std::size_t, datagram_path&) noexcept {
    return {0, unsupported};
}
inline transfer send_path(socket_handle, const buffer*, std::size_t,
                          const datagram_path&) noexcept {
    return {0, unsupported};
}

#endif

#if !defined(CURFEW_HAS_SOCKADDR)

inline socket_address from_sockaddr(const void*, std::size_t) noexcept { return {}; }
inline std::size_t to_sockaddr(const socket_address&, void*, std::size_t) noexcept { return 0; }

#endif

#if !defined(CURFEW_HAS_THREADS)

template <void (*Run)(void*) noexcept>
int start_thread(void*) noexcept {
    return unsupported;
}

#endif

#if !defined(CURFEW_HAS_NAMES)

class found_names {
public:
    name_lookup look_up(const char*, const char*, family, transport) noexcept {
        return {name_error::other, unsupported};
    }
    template <class Look>
    void for_each(Look) const {}
};

#endif

}  // namespace curfew::platform
