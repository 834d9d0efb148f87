// Error numbers, and calls that are repeated when a signal interrupts them.
#pragma once

#include <cerrno>
#include <cstddef>
#include <system_error>

#include "../../config.hpp"
#include "../types.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::platform {

inline std::error_code error_code(int error) noexcept { return {error, std::system_category()}; }

inline constexpr int already_in_progress = EINPROGRESS;
inline constexpr int too_many_descriptors = EMFILE;
inline constexpr int message_too_long = EMSGSIZE;
inline constexpr int broken_pipe = EPIPE;
inline constexpr int already_connected = EISCONN;
inline constexpr int bad_descriptor = EBADF;
inline constexpr int out_of_memory = ENOMEM;

inline bool would_block(int error) noexcept { return error == EAGAIN || error == EWOULDBLOCK; }

inline bool interrupted(int error) noexcept { return error == EINTR; }

/// True for what `accept` says about a connection that died in the queue, or about the network it
/// came from: the listener is fine and the next connection may be too (accept(2), "Error
/// handling").
inline bool accept_may_go_on(int error) noexcept {
    switch (error) {
    case ECONNABORTED:
    case EPROTO:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTUNREACH:
    case ENETUNREACH:
#ifdef EHOSTDOWN
    case EHOSTDOWN:
#endif
#ifdef ENONET
    case ENONET:
#endif
        return true;
    default:
        return false;
    }
}

/// An interrupted connect goes on by itself (POSIX, connect()), so EINTR means pending too.
inline bool connect_pending(int error) noexcept { return error == EINPROGRESS || error == EINTR; }

namespace detail {

template <class Call>
int retrying(Call call) noexcept {
    while (call() < 0)
        if (errno != EINTR) return errno;
    return 0;
}

template <class Call>
transfer transferring(Call call) noexcept {
    for (;;) {
        const auto n = call();
        if (n >= 0) return {static_cast<std::size_t>(n), 0};
        if (errno != EINTR) return {0, errno};
    }
}

}  // namespace detail

}  // namespace curfew::platform
