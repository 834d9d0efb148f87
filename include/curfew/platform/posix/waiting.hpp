// `poll` and `select`. What they say is returned as it is: reactor/sanitizing.hpp judges it.
#pragma once

#include <cerrno>
#include <cstddef>

#include "../std_chrono.hpp"
#include "../types.hpp"
#include "system.hpp"
#include "time.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::platform {

/// Forgets the last error, so that one reported without being set is not taken for it.
inline void clear_last_error() noexcept { errno = 0; }

using poll_entry = pollfd;
inline constexpr short poll_in = POLLIN;
inline constexpr short poll_out = POLLOUT;
/// What `poll` reports without being asked; both directions have to look.
inline constexpr short poll_problem = POLLERR | POLLHUP | POLLNVAL;
inline constexpr short poll_invalid = POLLNVAL;

/// Returns the system's error number and leaves the number of marked entries in `ready`.
inline int poll(poll_entry* entries, std::size_t count, std::chrono::nanoseconds time,
                int& ready) noexcept {
#if defined(__linux__) && !defined(CURFEW_POSIX_ONLY)
    const timespec limit = detail::to_timespec(detail::bounded(time));
    ready =
        ::ppoll(entries, static_cast<nfds_t>(count), time == unlimited ? nullptr : &limit, nullptr);
#else
    ready = ::poll(entries, static_cast<nfds_t>(count), detail::to_milliseconds(time));
#endif
    return ready < 0 ? errno : 0;
}

/// A set of descriptors for `select`.
class select_set {
public:
    static bool can_hold(socket_handle handle) noexcept { return handle < FD_SETSIZE; }

    select_set() noexcept { FD_ZERO(&set_); }
    bool add(socket_handle handle) noexcept {
        FD_SET(handle, &set_);
        return true;
    }
    void remove(socket_handle handle) noexcept { FD_CLR(handle, &set_); }
    bool has(socket_handle handle) const noexcept { return FD_ISSET(handle, &set_); }
    fd_set* get() noexcept { return &set_; }

private:
    fd_set set_;
};

/// `highest` is the highest descriptor in any set. Returns the system's error number.
inline int select(socket_handle highest, select_set& readable, select_set& writable,
                  select_set& failed, std::chrono::nanoseconds time, int& ready) noexcept {
    const auto limit = detail::to_timespec(detail::bounded(time));
    ready = ::pselect(highest + 1, readable.get(), writable.get(), failed.get(),
                      time == unlimited ? nullptr : &limit, nullptr);
    return ready < 0 ? errno : 0;
}

}  // namespace curfew::platform
