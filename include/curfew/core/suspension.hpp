// What a fiber can be suspended in: a socket operation, a sleep, a channel, other fibers.
#pragma once

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

/// One constant table for each kind of suspension.
struct suspension_type {
    /// Asks for the end of the wait: the fiber's innermost scope, or one around it, is cancelled.
    /// With `abort`, a pending socket operation's socket is aborted. May complete the suspension
    /// at once, never resumes it, and does nothing when it has completed already.
    void (*interrupt)(suspension&, bool abort) noexcept;
    void (*describe)(const suspension&, wait_report&) noexcept;
    bool is_operation = false;
    bool needs_tick = false;  // or the end of other tasks, which may wait for one
};

struct suspension : ready_node {
    const suspension_type* type;  // set, like `since`, when somebody is suspended in it
    ticks since;                  // about when that was: see loop::recent
};

}  // namespace detail
}  // namespace curfew
