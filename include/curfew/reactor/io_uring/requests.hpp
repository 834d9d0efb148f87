// How requests end: what a completion means for its operation, and what is asked of the kernel next
// if it is not the end.
#pragma once

#include "../../platform/platform.hpp"

#if defined(CURFEW_HAS_IO_URING)

#include <cstddef>
#include <utility>

#include "../../core/completions.hpp"
#include "../../core/outcome.hpp"
#include "../../core/socket_state.hpp"
#include "submissions.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail::uring {

class requests : public submissions {
public:
    using submissions::submissions;

    /// Delivers what has completed. Returns how many completions there were.
    CURFEW_APART unsigned deliver(completions& done) noexcept {
        return ring_.reap([&](const io_uring_cqe& completion) {
            if (completion.res <= 0 || completion.user_data >= of_cancellation) [[unlikely]]
                return deliver_rest(completion, done);
            const auto id = static_cast<request_id>(completion.user_data);
            const request& from = table_[id];
            CURFEW_ASSERT(completion.user_data == id && from.is_in_flight());
            if (from.state != request_state::submitted_single) [[unlikely]]
                return succeeded(id, completion, done);
            operation& op = *from.op;
            table_.give_back_single(id);
            op.transferred = static_cast<std::size_t>(completion.res);
            op.finish(outcome::success);
            if (op.kind == operation_kind::read) {
                note_what_is_left(*op.socket, completion, ring_.is_recent());
                done.push_read(op, *op.socket);
            } else {
                done.push_write(op, *op.socket);
            }
        });
    }

    /// Asks a pending operation, which has a reason, to end. Whatever comes of it is told by the
    /// operation's own completion.
    void end(operation& op, completions& done) noexcept {
        const request_id id = request_table::of(op);
        if (table_[id].state == request_state::queued)
            finish(id, done, outcome::canceled);
        else if (table_[id].state != request_state::cancel_queued)
            cancel(id);
    }

    /// The same, as its socket is closed.
    void end_closed(operation& op, completions& done) noexcept {
        table_[request_table::of(op)].closed = true;
        end(op, done);
    }

    /// Tries one that is queued, and so has not been tried: true if it is complete.
    bool complete_if_ready(operation& op, completions& done) noexcept {
        const request_id id = request_table::of(op);
        const request& untried = table_[id];
        if (untried.state != request_state::queued ||
            untried.next_step != request::step::operation || op.kind == operation_kind::connect)
            return false;
        if (!attempt(op)) return false;
        table_.give_back(id);
        done.push(op);
        return true;
    }

private:
    /// The kernel has nothing to do with the operation any more.
    void finish(request_id id, completions& done, outcome how, int error = 0) noexcept {
        operation& op = *table_[id].op;
        table_.give_back(id);
        op.finish(how, error);
        done.push(op);
    }

    /// Something is left to do: unless the operation is to end, it is submitted once more.
    void go_on(request_id id, completions& done,
               request::step next = request::step::operation) noexcept {
        if (table_[id].op->reason != outcome::success) return finish(id, done, outcome::canceled);
        table_[id].next_step = next;
        submit(id);
    }

    /// It would block. (Where only an error is ready, a poll would not wait.)
    void poll_again(request_id id, completions& done) noexcept {
        go_on(id, done, table_[id].only_error ? request::step::rest : request::step::poll);
    }

    CURFEW_COLD void deliver_rest(const io_uring_cqe& completion, completions& done) noexcept {
        if (completion.user_data == of_taking_back) return;
        if (completion.user_data >= of_waker) return woken(completion);
        const auto id = static_cast<request_id>(completion.user_data);
        if (id >= table_.size()) return;  // of a cancellation, whose request has been given back
        const request& about = table_[id];
        if (completion.user_data & of_cancellation) {
            // Not found, and still not complete: it was between two stations in the kernel.
            if (completion.res < 0 && about.state == request_state::submitted &&
                about.op->reason != outcome::success)
                cancel(id);
            return;
        }
        CURFEW_ASSERT(completion.user_data == id && about.is_in_flight());
        if (completion.res < 0)
            failed(id, -completion.res, done);
        else
            succeeded(id, completion, done);
    }

    void woken(const io_uring_cqe& completion) noexcept {
        if (completion.res > 0) extra_work_ |= return_at_once;
        // The thread that submitted it has ended, completions had no room, or the thread, or the
        // ring, changes. (An earlier watch says so when there is another one already.)
        if (!(completion.flags & IORING_CQE_F_MORE) && completion.user_data == watch())
            extra_work_ |= watch_the_waker;
    }

    CURFEW_COLD void succeeded(request_id id, const io_uring_cqe& completion,
                               completions& done) noexcept {
        const request& from = table_[id];
        operation& op = *from.op;
        if (from.next_step != request::step::operation || !is_transfer(op))
            return rest_succeeded(id, completion.res, done);
        if (op.kind == operation_kind::read) {
            if (completion.res == 0) [[unlikely]]
                return finish(id, done, outcome::eof);
            note_what_is_left(*op.socket, completion, ring_.is_recent());
        }
        if (!op.advance(static_cast<std::size_t>(completion.res))) [[unlikely]]
            return go_on(id, done);
        finish(id, done, outcome::success);
    }

    CURFEW_COLD void rest_succeeded(request_id id, int value, completions& done) noexcept {
        const bool was_polled = table_[id].next_step == request::step::poll;
        operation& op = *table_[id].op;
        if (op.kind == operation_kind::connect)
            return connected(id, was_polled ? platform::connect_result(op.socket->handle) : 0,
                             done);
        if (op.kind == operation_kind::call) return may_call(id, value, done);
        if (was_polled || op.kind == operation_kind::wait) return polled(id, value, done);
        if (op.kind == operation_kind::receive_from)
            return received(id, static_cast<std::size_t>(value), done);
        if (op.kind == operation_kind::send_to) op.transferred = static_cast<std::size_t>(value);
        if (op.kind == operation_kind::accept) return accepted(id, value, done);
        finish(id, done, outcome::success);
    }

    CURFEW_COLD void accepted(request_id id, int value, completions& done) noexcept {
        operation& op = *table_[id].op;
        // An accept may have won against its cancellation, but a closed acceptor accepts nothing.
        if (table_[id].closed) {
            platform::close(value);
            return finish(id, done, outcome::closed);
        }
        op.accepted = value;
        socket_state& socket = *op.socket;
        finish(id, done, outcome::success);
        // Others may have arrived with it: they are taken at once, without a turn for each.
        socket.set_worth_trying(readiness::readable);
    }

    void polled(request_id id, int events, completions& done) noexcept {
        request& from = table_[id];
        const operation& op = *from.op;
        from.only_error = !(events & events_for(op));
        if (op.kind != operation_kind::wait) return go_on(id, done);
        const bool was_told = op.socket->error_told;
        op.socket->error_told = from.only_error;
        if (was_told && from.only_error) return go_on(id, done, request::step::rest);
        finish(id, done, outcome::success);
    }

    /// It is ready for a call that the kernel does not make by itself. If that has nothing to do it
    /// is not to be polled and tried without end for an error that nobody takes.
    CURFEW_COLD void may_call(request_id id, int events, completions& done) noexcept {
        request& from = table_[id];
        operation& op = *from.op;
        if (op.reason == outcome::success && attempt_call(op)) {
            table_.give_back(id);
            return done.push(op);
        }
        from.only_error = !(events & events_for(op));
        poll_again(id, done);
    }

    void received(request_id id, std::size_t count, completions& done) noexcept {
        operation& op = *table_[id].op;
        message& details = *table_[id].details;
        op.transferred = count;
        if (op.address) {
            details.address.size = details.header.msg_namelen;
            platform::detail::store(details.address, *op.address);
        }
        // Others may have arrived with it. (What is left out of these tries is received as this
        // one was.)
        socket_state& socket = *op.socket;
        socket.set_worth_trying(readiness::readable);
        socket.level_triggered = true;
        socket.announced();
        if (!(details.header.msg_flags & MSG_TRUNC)) return finish(id, done, outcome::success);
        op.reason = outcome::success;  // too late: it has taken the datagram
        finish(id, done, outcome::system, platform::message_too_long);
    }

    CURFEW_COLD void failed(request_id id, int error, completions& done) noexcept {
        const request& from = table_[id];
        const operation_kind kind = from.op->kind;
        // Cancelled: by `end`, or because the thread that had submitted it has ended.
        if (error == ECANCELED || platform::interrupted(error) ||
            (kind == operation_kind::accept && platform::accept_may_go_on(error)))
            return go_on(id, done);
        if (kind == operation_kind::connect) return connected(id, error, done);
        // The kernel waits by itself; but not for ever where others take what is there, and before
        // Linux 6.0 not on an acceptor that does not block.
        if (platform::would_block(error)) return poll_again(id, done);
        if (error == ETIME && from.next_step == request::step::rest)
            return go_on(id, done, request::step::poll);
        from.op->socket->error_told = false;
        finish(id, done, outcome::system, error);
    }

    CURFEW_COLD void connected(request_id id, int error, completions& done) noexcept {
        operation& op = *table_[id].op;
        // EALREADY: it was begun by a thread that has ended.
        if (platform::connect_pending(error) || error == EALREADY)
            return go_on(id, done, request::step::poll);
        // Asked to end it has no socket any more, whatever became of the connection.
        if (op.reason != outcome::success) return finish(id, done, outcome::canceled);
        if (!error) return finish(id, done, outcome::success);
        // POSIX leaves the state of a socket unspecified after a failed connect: the next attempt
        // gets a new one.
        platform::close(std::exchange(op.socket->handle, platform::invalid_socket));
        finish(id, done, outcome::system, error);
    }
};

}  // namespace curfew::detail::uring

#endif
