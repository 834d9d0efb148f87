// `WSAPoll` and `select`. What they say is returned as it is: reactor/sanitizing.hpp judges it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "../std_chrono.hpp"
#include "../types.hpp"
#include "errors.hpp"
#include "handle_set.hpp"
#include "system.hpp"
#include "time.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::platform {

/// Forgets the last error, so that one reported without being set is not taken for it.
inline void clear_last_error() noexcept { ::WSASetLastError(0); }

using poll_entry = WSAPOLLFD;
inline constexpr short poll_in = POLLRDNORM;
inline constexpr short poll_out = POLLWRNORM;
/// What `poll` reports without being asked; both directions have to look.
inline constexpr short poll_problem = POLLERR | POLLHUP | POLLNVAL;
inline constexpr short poll_invalid = POLLNVAL;

/// A set of sockets for `select`: unlike FD_SET's, it grows.
class select_set {
public:
    static bool can_hold(socket_handle) noexcept { return true; }

    select_set() noexcept = default;
    select_set(const select_set& other) noexcept { *this = other; }
    /// Without memory for it this is a set that `select` refuses.
    select_set& operator=(const select_set& other) noexcept {
        if (this != &other) complete_ = set_.assign(other.set_) && other.complete_;
        return *this;
    }

    /// False: there is no memory for it.
    bool add(socket_handle handle) noexcept { return set_.add(handle); }
    void remove(socket_handle handle) noexcept { set_.remove(handle); }
    bool has(socket_handle handle) const noexcept { return set_.has(handle); }

    /// Calls `select` with the system's view of three sets. Its result, and its error number.
    friend int system_select(select_set& readable, select_set& writable, select_set& failed,
                             timeval* limit, int& ready) noexcept {
        ready = SOCKET_ERROR;
        for (const select_set* each : {&readable, &writable, &failed})
            if (!each->complete_) return out_of_memory;
        ready = ::select(0, readable.native(), writable.native(), failed.native(), limit);
        const int error = detail::error_of(ready);
        for (select_set* each : {&readable, &writable, &failed}) each->shrink();
        return error;
    }

private:
    // Winsock takes sets of any size: a count, and that many sockets, which begin where the first
    // one is aligned (select, "Remarks" on FD_SETSIZE).
    static_assert(offsetof(fd_set, fd_array) == sizeof(socket_handle));

    fd_set* native() noexcept {
        if (set_.size() == 0) return nullptr;
        const auto count = static_cast<u_int>(set_.size());
        std::memcpy(set_.front(), &count, sizeof count);
        return reinterpret_cast<fd_set*>(set_.front());
    }
    /// To what the system has left in it.
    void shrink() noexcept {
        if (set_.size() == 0) return;
        u_int count = 0;
        std::memcpy(&count, set_.front(), sizeof count);
        set_.keep(count);
    }

    detail::handle_set<socket_handle> set_;
    bool complete_ = true;
};

/// Returns the system's error number. At least one set must not be empty: the system refuses to
/// wait for nothing at all.
inline int select(socket_handle, select_set& readable, select_set& writable, select_set& failed,
                  std::chrono::nanoseconds time, int& ready) noexcept {
    const DWORD ms = detail::to_milliseconds(time);
    timeval limit{static_cast<long>(ms / 1000), static_cast<long>(ms % 1000 * 1000)};
    return system_select(readable, writable, failed, time == unlimited ? nullptr : &limit, ready);
}

namespace detail {

/// Before Windows 10 version 2004 (build 19041), WSAPoll never reports that a connect has failed
/// (WSAPoll, "Remarks"): `select` does, in its third set.
inline bool poll_misses_failed_connects() noexcept {
#if defined(CURFEW_TEST_OLD_WSAPOLL)
    return true;
#else
    static const bool misses = [] {
        using get_version = LONG(WINAPI*)(OSVERSIONINFOW*);
        OSVERSIONINFOW version{};
        version.dwOSVersionInfoSize = sizeof version;
        const HMODULE library = ::GetModuleHandleW(L"ntdll.dll");
        const auto ask = library ? reinterpret_cast<get_version>(reinterpret_cast<void*>(
                                       ::GetProcAddress(library, "RtlGetVersion")))
                                 : nullptr;
        return ask && ask(&version) == 0 && version.dwMajorVersion <= 10 &&
               version.dwBuildNumber < 19041;
    }();
    return misses;
#endif
}

/// Marks the entries whose connect has failed, of those that nothing has been reported about;
/// returns how many they are, or -1 if the call has failed.
inline int mark_failed_connects(poll_entry* entries, std::size_t count) noexcept {
    select_set readable, writable, failed;
    bool any = false;
    for (std::size_t i = 0; i < count; ++i) {
        if (!(entries[i].events & poll_out) || entries[i].revents) continue;
        if (!failed.add(entries[i].fd)) return -1;
        any = true;
    }
    if (!any) return 0;  // which `select` refuses
    timeval now{0, 0};
    int found = 0;
    system_select(readable, writable, failed, &now, found);
    if (found <= 0) return found;
    int marked = 0;
    for (std::size_t i = 0; i < count; ++i) {
        if (entries[i].revents || !failed.has(entries[i].fd)) continue;
        entries[i].revents = POLLERR;
        ++marked;
    }
    return marked;
}

}  // namespace detail

/// Returns the system's error number and leaves the number of marked entries in `ready`.
inline int poll(poll_entry* entries, std::size_t count, std::chrono::nanoseconds time,
                int& ready) noexcept {
    const auto ask = [&](DWORD ms) {
        ready = ::WSAPoll(entries, static_cast<ULONG>(count), static_cast<int>(ms));
    };
    DWORD left = detail::to_milliseconds(time);  // INFINITE is -1, as WSAPoll has it
    const bool might_miss = detail::poll_misses_failed_connects() &&
                            std::any_of(entries, entries + count, [](const poll_entry& each) {
                                return (each.events & poll_out) != 0;
                            });
    if (!might_miss) {
        ask(left);
        return ready < 0 ? detail::last_error() : 0;
    }
    for (;;) {
        constexpr DWORD slice = 10;  // milliseconds between two looks at what it misses
        const DWORD now = std::min(left, slice);
        ask(now);
        if (ready < 0) return detail::last_error();
        ready += std::max(detail::mark_failed_connects(entries, count), 0);
        if (left != INFINITE) left -= now;
        if (ready || left == 0) return 0;
    }
}

}  // namespace curfew::platform
