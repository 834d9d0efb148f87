// A wait for a single socket, by whichever call the platform has.
#pragma once

#include "../core/operation.hpp"
#include "../platform/std_chrono.hpp"

#if !defined(CURFEW_HAS_POLL) && !defined(CURFEW_HAS_SELECT)
#error "curfew: the platform header defines neither CURFEW_HAS_POLL nor CURFEW_HAS_SELECT"
#endif

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

/// Waits up to `time` until the socket is ready: `ready` is positive then, and negative if the call
/// failed. Returns the system's error number, which may be 0 all the same. `only_problem` says of a
/// socket that is ready that it is for nothing that was asked for, but for an error. (A platform
/// without `poll` cannot tell.)
inline int wait_for_one(platform::socket_handle handle, readiness what,
                        std::chrono::nanoseconds time, int& ready, bool& only_problem) noexcept {
    only_problem = false;
    platform::clear_last_error();
#if defined(CURFEW_HAS_POLL)
    const int reads = what & readiness::readable ? platform::poll_in : 0;
    const int writes = what & readiness::writable ? platform::poll_out : 0;
    platform::poll_entry entry{handle, static_cast<short>(reads | writes), 0};
    const int error = platform::poll(&entry, 1, time, ready);
    only_problem = ready > 0 && !(entry.revents & (reads | writes));
    if (error || !(entry.revents & platform::poll_invalid)) return error;
    ready = -1;
    return platform::bad_descriptor;
#else
    ready = -1;
    if (!platform::select_set::can_hold(handle)) return platform::too_many_descriptors;
    platform::select_set readable, writable, failed;
    if (what & readiness::readable) readable.add(handle);
    if (what & readiness::writable) writable.add(handle);
    failed.add(handle);
    return platform::select(handle, readable, writable, failed, time, ready);
#endif
}

inline int wait_for_one(platform::socket_handle handle, readiness what,
                        std::chrono::nanoseconds time, int& ready) noexcept {
    bool only_problem = false;
    return wait_for_one(handle, what, time, ready, only_problem);
}

}  // namespace curfew::detail
