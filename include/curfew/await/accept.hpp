// Taking in a connection: what `co_await acceptor.accept()` does.
//
// A connection for which the system has no descriptor, or no memory, waits in the listener's queue,
// and the listener is ready all the time: a loop of accepts that fail would spin. So an accept does
// not fail then, but tries again after a while (`accept_steps`). In between it is an operation all
// the same, of the same socket: a wait for what a listener never is, writable. So whatever ends an
// operation ends it (a limit, a cancellation, `close`), on every reactor.
#pragma once

#include <coroutine>
#include <cstdint>
#include <system_error>
#include <type_traits>
#include <utility>

#include "../core/cancellation.hpp"
#include "../core/operation.hpp"
#include "../core/outcome.hpp"
#include "../core/promise.hpp"
#include "../core/socket_reference.hpp"
#include "../core/socket_state.hpp"
#include "../core/suspension.hpp"
#include "../core/time.hpp"
#include "../core/timer_list.hpp"
#include "../error.hpp"
#include "../platform/types.hpp"
#include "../reactor/reactor.hpp"
#include "../result.hpp"
#include "operation_awaiter.hpp"
#include "requests.hpp"
#include "start.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

/// What an acceptor of `Socket`s waits for.
template <class Socket>
struct accept_request : request_of<operation_kind::accept> {
    platform::socket_address* peer;

    accept_request(socket_state* on, platform::socket_address* who) noexcept
        : request_of{on}, peer(who) {}
    static result<Socket> yield(operation& op, std::error_code error) {
        if (error) return error;
        // The acceptor may be gone by now; the fiber's loop is not. Should there be no memory
        // for the socket, the descriptor is still the operation's, which closes it.
        Socket made(*op.owner->loop, op.accepted, op.ignore_short_reads);
        op.accepted = platform::invalid_socket;
        // (Not every reactor is told by the system who it was.)
        if (op.peer && op.peer->family == platform::family::unspecified)
            *op.peer = platform::last_remote_address(made.native_handle());
        return made;
    }
};

/// Whether an accept has failed for want of something that the system, or the process, will have
/// again when others have given it back.
CURFEW_COLD inline bool is_shortage(int error) noexcept {
    if (error == platform::too_many_descriptors || error == platform::out_of_memory) return true;
    const std::error_code code = platform::error_code(error);
    return code == std::errc::too_many_files_open ||
           code == std::errc::too_many_files_open_in_system || code == std::errc::no_buffer_space ||
           code == std::errc::not_enough_memory;
}

/// Tries and pauses, one after the other, all in the place of one operation: the end of the first
/// is this accept's end only if it is no shortage.
///
/// While it is under way the operation is pending, or is complete and queued. What ends it in the
/// latter case is found before the next step: `end` has noted it, or the socket has.
class accept_steps : public operation {
public:
    accept_steps(socket_state* on, platform::socket_address* who) noexcept
        : operation(operation_kind::accept, readiness::readable, on), peer_(who), timer_(*this) {}
    /// A connection that nobody will see is closed.
    ~accept_steps() {
        if (!pauses_ && progress == state::complete && result == outcome::success &&
            accepted != platform::invalid_socket)
            platform::close(accepted);
    }

    bool is_under_way() const noexcept { return is_under_way_; }

    /// False: the coroutine goes on.
    bool begin(std::coroutine_handle<> coroutine, fiber& awaiting) noexcept {
        waiter = coroutine_ = coroutine;
        owner = &awaiting;
        return begin_step() || go_on();
    }

    /// Does what cancel_operation does.
    void end(outcome why, bool abort) noexcept {
        if (!is_under_way_) return;
        cancel_operation(*this, why, abort);
        const bool is_heard = progress == state::pending && !time_is_up_;
        if (is_heard || late_reason_ != outcome::success) return;
        late_reason_ = why;
        late_abort_ = abort;
    }

    std::error_code ending() noexcept {
        if (result != outcome::success && owner->cancelled()) {
            // What cancels the scope may close the socket for another operation's sake.
            if (result == outcome::closed) result = outcome::canceled;
            if (result == outcome::canceled) owner->note_cut_short();
        }
        return error_of(result, error);
    }

private:
    static constexpr ticks first_pause = 1'000'000;  // ns; each is twice as long as the one before
    static constexpr ticks longest_pause = 100'000'000;  // ns
    static constexpr int most_false_alarms = 8;          // in one pause

    struct timer : timer_node {
        accept_steps& of;
        explicit timer(accept_steps& whole) noexcept : timer_node(&on_expiry), of(whole) {}
        static void on_expiry(timer_node& node, limit_report* asked) noexcept {
            if (!asked) static_cast<timer&>(node).of.end_pause();
        }
    };

    static accept_steps& of(suspension& self) noexcept {
        return static_cast<accept_steps&>(static_cast<operation&>(self));
    }
    static bool interrupt(suspension& pending, cancellation& by) noexcept {
        of(pending).end(outcome::canceled, by.aborts());
        return true;
    }
    static void describe_wait(const suspension& pending, wait_report& report) noexcept {
        operation_suspension.describe(pending, report);
        report.what = to_string(operation_kind::accept);
    }
    static std::coroutine_handle<> step(suspension& complete) noexcept {
        accept_steps& self = of(complete);
        if (self.go_on()) return {};
        return self.coroutine_;
    }
    static constexpr suspension_type accepting{&interrupt, &describe_wait, true,
                                               false,      false,          &step};

    /// After a step has completed: begins others until one has to wait (true), or the accept has
    /// ended (false).
    bool go_on() noexcept {
        do {
            if (!has_ended()) continue;
            is_under_way_ = false;
            timer_.disarm();
            reference_.forget();
            return false;
        } while (!begin_step());
        return true;
    }

    /// As new: the last one has completed, and nobody refers to it.
    void describe_step() noexcept {
        progress = state::idle;
        result = reason = outcome::success;
        if (pauses_) {
            describe(operation_kind::wait, readiness::writable, 0);
        } else {
            describe(operation_kind::accept, readiness::readable, 0);
            ignore_short_reads = socket->ignore_short_reads;
            peer = peer_;
            if (peer) *peer = {};
        }
        accepted = platform::invalid_socket;
    }

    /// False: it has completed, and nothing has been waited for.
    bool begin_step() noexcept {
        describe_step();
        handle_ = socket->handle;
        interruptions_ = socket->interruptions;
        if (!pauses_ && socket->writer && socket->is_open() && !owner->cancelled()) {
            // Another one pauses.
            finish(outcome::system, platform::already_in_progress);
            if (!yield_if_share_is_used_up(*this)) return false;
        } else if (!detail::begin(*this)) {
            return false;
        }
        if (!is_under_way_) reference_.refer(*socket);
        is_under_way_ = true;
        type = &accepting;
        waiter = {};
        if (pauses_ && progress == state::pending && !timer_.armed()) {
            timer_.deadline = pause_;
            pause_ = pause_ < longest_pause / 2 ? pause_ * 2 : longest_pause;
            socket->loop->arm_after(timer_);
        }
        return true;
    }

    /// The pause is over. (If something else has ended it by now, that holds.)
    void end_pause() noexcept {
        if (reason != outcome::success) return;
        time_is_up_ = true;
        cancel_operation(*this, outcome::canceled, false);
    }

    /// After a step has completed: whether nothing is left to do.
    bool has_ended() noexcept {
        if (!pauses_) {
            if (result != outcome::system || !is_shortage(error) || socket_tells_of_shortage())
                return true;
            shortage_ = error;
            pauses_ = true;
            false_alarms_ = 0;
            return must_end();
        }
        if (std::exchange(time_is_up_, false)) {
            pauses_ = false;
            return must_end();
        }
        if (result == outcome::success && ++false_alarms_ < most_false_alarms) return must_end();
        if (result == outcome::success || result == outcome::system) {
            result = outcome::system;  // where it is not possible to wait like this
            error = shortage_;
        }
        return true;
    }

    /// (Nobody goes on without the socket: see must_end.)
    bool socket_tells_of_shortage() const noexcept {
        const socket_state* const on = is_under_way_ ? reference_.socket : socket;
        return on && on->tells_of_shortage;
    }

    /// It was asked to end when a step had completed, or there is no socket for another one.
    bool must_end() noexcept {
        if (!is_under_way_) return false;  // nobody has had the time to
        socket_state* const left = reference_.socket;
        if (late_reason_ != outcome::success) {
            result = late_reason_;
            if (late_abort_ && left && left->is_open())
                left->loop->system().close(*left, close_mode::abortive, left->loop->done());
        } else if (!left || left->handle != handle_) {
            result = outcome::closed;
        } else if (left->interruptions != interruptions_) {
            result = outcome::canceled;
        } else {
            socket = left;
            return false;
        }
        return true;
    }

    platform::socket_address* peer_;
    timer timer_;
    std::coroutine_handle<> coroutine_;
    socket_reference reference_;
    platform::socket_handle handle_ = platform::invalid_socket;
    ticks pause_ = first_pause;
    int shortage_ = 0;
    int false_alarms_ = 0;
    std::uint8_t interruptions_ = 0;
    outcome late_reason_ = outcome::success;
    bool late_abort_ = false;
    bool is_under_way_ = false;
    bool pauses_ = false;      // the step is a pause, or will be
    bool time_is_up_ = false;  // of the pause
};

/// The awaiter of an accept.
template <class Socket>
class operation_awaiter<accept_request<Socket>> {
public:
    explicit operation_awaiter(const accept_request<Socket>& request) noexcept
        : steps_(request.socket, request.peer) {}

    operation& op() noexcept { return steps_; }
    bool is_pending() const noexcept { return steps_.is_under_way(); }
    void end(outcome why, bool abort) noexcept { steps_.end(why, abort); }

    bool await_ready() const noexcept { return false; }

    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> coroutine) noexcept {
        if constexpr (std::is_base_of_v<promise_base, Promise>)
            return steps_.begin(coroutine, fiber_of(coroutine));
        else
            return steps_.begin(coroutine, outside_fiber(steps_.socket->loop));
    }

    /// (Needs memory.)
    result<Socket> await_resume() { return accept_request<Socket>::yield(steps_, steps_.ending()); }

private:
    accept_steps steps_;
};

}  // namespace curfew::detail
