// What a fiber can be suspended in: a socket operation, a sleep, a channel, other fibers.
#pragma once

#include <coroutine>
#include <cstddef>

#include "../platform/platform.hpp"
#include "ready_queue.hpp"
#include "time.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

struct socket_state;

namespace detail {

/// What a suspension tells of itself when somebody looks at the tree of tasks.
struct wait_report {
    const char* what = "something else";   // "read", "sleep", ...
    const socket_state* socket = nullptr;  // whose operation it is
    const platform::socket_address* address =
        nullptr;            // where to, if that is not the socket's peer
    ticks until = endless;  // when it ends by itself
    ticks now = endless;    // the time, if `until` is not one of the loop's
};

struct suspension;
class cancellation;

/// One constant table for each kind of suspension.
struct suspension_type {
    /// Asks for the end of the wait: the fiber's innermost scope, or one around it, is cancelled.
    /// May complete the suspension at once, never resumes it, and does nothing when it has
    /// completed already. Where other fibers are to be cancelled with it, they are added to
    /// `by`. True: it is complete, so it is queued until the fiber goes on; for operations this
    /// says nothing.
    bool (*interrupt)(suspension&, cancellation& by) noexcept;
    void (*describe)(const suspension&, wait_report&) noexcept;
    bool is_operation = false;
    bool needs_tick = false;  // or the end of other tasks, which may wait for one
    bool is_start = false;
    /// Called in the place of `waiter`, if there is none, for what takes several steps: begins the
    /// next one (and is suspended in it, `owner` too), or returns the coroutine that goes on.
    std::coroutine_handle<> (*go_on)(suspension&) noexcept = nullptr;
};

struct suspension : ready_node {
    const suspension_type* type;  // set, like `since`, when somebody is suspended in it
    ticks since;                  // about when that was: see loop::recent
};

inline constexpr suspension_type start_suspension{
    [](suspension&, cancellation&) noexcept { return true; },
    [](const suspension&, wait_report& report) noexcept { report.what = ""; }, false, false, true};

/// What every fiber waits in that has not begun yet: it is its `turn` that is queued.
inline constinit suspension not_begun{{}, &start_suspension, endless};

}  // namespace detail
}  // namespace curfew
