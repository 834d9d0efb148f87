// Where a reactor delivers the operations that have completed.
#pragma once

#include <utility>

#include "operation.hpp"
#include "ready_queue.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

/// Where a reactor delivers what has completed.
class completions {
public:
    /// Delivers into a loop's queue.
    explicit completions(detail::ready_queue& ready) noexcept : ready_(ready) {}

    /// `op.finish` has been called and nothing refers to its buffers any more: the operation is no
    /// longer its socket's pending one, and the coroutine that awaits it will be resumed. (One that
    /// completes while it is started is not pushed: its coroutine goes on at once.)
    void push(operation& op) noexcept {
        CURFEW_ASSERT(op.progress == operation::state::complete);
        socket_state& socket = *op.socket;
        CURFEW_ASSERT(!op.waits_for(readiness::readable) || socket.reader == &op);
        CURFEW_ASSERT(!op.waits_for(readiness::writable) || socket.writer == &op);
        if (socket.reader == &op) socket.reader = nullptr;
        if (socket.writer == &op) socket.writer = nullptr;
        ready_.push(op);
    }

    /// The same for a read, or a write, that was pending on `socket`.
    void push_read(operation& op, socket_state& socket) noexcept {
        CURFEW_ASSERT(op.progress == operation::state::complete && socket.reader == &op);
        socket.reader = nullptr;
        ready_.push(op);
    }
    /// The same for a write.
    void push_write(operation& op, socket_state& socket) noexcept {
        CURFEW_ASSERT(op.progress == operation::state::complete && socket.writer == &op);
        socket.writer = nullptr;
        ready_.push(op);
    }

    /// This `wait` has brought as much as the system tells at a time: another one may bring more at
    /// once. A reactor whose `wait` always brings all there is has no need to say so.
    void more_may_follow() noexcept { more_may_follow_ = true; }

    /// Whether that has been said since the last time it was asked.
    bool take_more_may_follow() noexcept { return std::exchange(more_may_follow_, false); }

    /// A transfer has had its turn, and will be ready again and again: no reason to look for ever.
    void transfer_continues() noexcept { transfer_continues_ = true; }
    /// Whether that has been said since the last time it was asked.
    bool take_transfer_continues() noexcept { return std::exchange(transfer_continues_, false); }

private:
    detail::ready_queue& ready_;
    bool more_may_follow_ = false;
    bool transfer_continues_ = false;
};

}  // namespace curfew
