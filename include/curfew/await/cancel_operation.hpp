// The end of a pending operation before its time: where its limit expires, where the scope that it
// is in is cancelled, or where its socket is asked to. All of these come here.
#pragma once

#include "../core/operation.hpp"
#include "../core/outcome.hpp"
#include "../core/socket_state.hpp"
#include "../core/suspension.hpp"
#include "../loop/loop.hpp"
#include "../platform/types.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

/// As loop::check_thread. (One expression, so that nothing is left of it without assertions.)
inline void check_thread([[maybe_unused]] const socket_state& socket) noexcept {
    CURFEW_ASSERT(
        (!socket.loop || socket.loop->is_this_thread()) &&
        "a socket is touched in another thread than its io_context: use post(), or a stop_token");
}

/// Completion beats the limit: what the system has had for the operation by now is its result. The
/// loop has reaped and resumed what there was before it looked at limits; only where that would
/// have taken too long, something may have been overlooked, and is looked for once more. True: it
/// has completed.
inline bool completion_beats_the_limit(operation& op) noexcept {
    loop& own = *op.socket->loop;
    return own.more_may_follow() && own.system().complete_if_ready(op, own.done());
}

/// Asks an operation to end, and says why; it may still complete with success. Does nothing if it
/// has completed, or was asked before: the first reason holds. With `abort`, the policy is
/// on_timeout::close.
inline void cancel_operation(operation& op, outcome why, bool abort) noexcept {
    if (op.progress != operation::state::pending || op.reason != outcome::success) return;
    if (completion_beats_the_limit(op)) [[unlikely]]
        return;
    op.reason = why;
    loop& own = *op.socket->loop;
    if (abort)
        own.system().close(*op.socket, close_mode::abortive, own.done());
    else
        own.system().cancel(op, own.done());
}

/// How a fiber is suspended in an operation.
inline constexpr suspension_type operation_suspension{
    [](suspension& pending, cancellation& by) noexcept {
        cancel_operation(static_cast<operation&>(pending), outcome::canceled, by.aborts());
        return true;
    },
    [](const suspension& pending, wait_report& report) noexcept {
        const auto& op = static_cast<const operation&>(pending);
        report.what = op.kind == operation_kind::call ? op.call->name : to_string(op.kind);
        if (op.progress != operation::state::pending) return;  // its socket may be gone
        report.socket = op.socket;
        if ((op.kind == operation_kind::connect || op.kind == operation_kind::send_to) &&
            op.address && op.address->family != platform::family::local)
            report.address = op.address;
    },
    true,
};

}  // namespace curfew::detail
