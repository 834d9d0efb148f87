// The interface between the loop and the operating system. Programs may plug in their own.
#pragma once

#include <chrono>
#include <string_view>

#include "../core/operation.hpp"

namespace curfew {

enum class reactor_kind : std::uint8_t { select, poll, epoll, io_uring, iocp };

enum class close_mode : std::uint8_t {
    graceful,  ///< what was written is still delivered
    abortive,  ///< the peer of a connection gets a RST
};

/// Starts operations, cancels them and reports their completion: a proactor's language, which a
/// reactor on readiness calls speaks too (see readiness.hpp).
///
/// One belongs to one `io_context` and is called from its thread only, `wake` excepted. It never
/// resumes anybody: it calls `op.finish(...)` when nothing outside refers to the operation's
/// buffers any more, and hands it to `completions`. The caller has entered a pending operation as
/// `socket->reader` or `socket->writer` (or both, for a `wait` of both directions);
/// `completions::push` takes it out again.
class reactor {
public:
    virtual ~reactor() = default;

    virtual std::string_view name() const noexcept = 0;

    /// Begins `op`, whose `progress` is pending. True: it is complete (`finish` has been called) and
    /// must not be pushed; the coroutine goes on at once.
    virtual bool start(operation& op) noexcept = 0;

    /// Asks a pending operation to end; `op.reason` says why. It completes the usual way, now or in
    /// a later `wait`, possibly with success. A cancelled connect closes its socket.
    virtual void cancel(operation& op, completions& done) noexcept = 0;

    /// Closes the socket's handle and ends its pending operations; those without a reason get
    /// `outcome::closed` for one. The state is closed for its user when this returns
    /// (`handle` is invalid), even if operations on it remain pending until they are reaped.
    virtual void close(socket_state& socket, close_mode how, completions& done) noexcept = 0;

    /// Ends the pending operations like `cancel` and forgets the handle without closing it.
    virtual void release(socket_state& socket, completions& done) noexcept = 0;

    /// Delivers what has completed. Waits up to `time` (zero: not at all; `platform::forever`)
    /// if nothing has, returns at the latest a little after it, and never before it without a
    /// reason to. Returns 0, or the system's error number if the reactor as a whole has failed.
    virtual int wait(std::chrono::nanoseconds time, completions& done) noexcept = 0;

    /// Ends the current `wait`, or else the next one, at once. From any thread.
    virtual void wake() noexcept = 0;
};

namespace detail {

/// Enters `op` as its socket's pending operation and starts it. True: it is complete.
inline bool start(reactor& with, operation& op) noexcept {
    socket_state& socket = *op.socket;
    const bool reads = op.waits_for(readiness::readable);
    const bool writes = op.waits_for(readiness::writable);
    CURFEW_ASSERT(op.progress == operation::state::idle);
    op.progress = operation::state::pending;
    if ((reads && socket.reader) || (writes && socket.writer)) {
        op.finish(outcome::system, platform::already_in_progress);
        return true;
    }
    if (reads) socket.reader = &op;
    if (writes) socket.writer = &op;
    if (!with.start(op)) return false;
    if (reads) socket.reader = nullptr;
    if (writes) socket.writer = nullptr;
    return true;
}

}  // namespace detail

}  // namespace curfew
