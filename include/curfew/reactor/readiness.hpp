// What the reactors on readiness calls share: an operation that would block is parked, and tried
// again when its socket is ready.
#pragma once

#include <utility>

#include "../core/outcome.hpp"
#include "../core/socket_state.hpp"
#include "attempt.hpp"
#include "reactor.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

class readiness_reactor : public reactor {
public:
    bool start(operation& op) noexcept final {
        check_start(op);
        if (op.kind == operation_kind::connect && begin_connect(op)) return true;
        return !watch_for(op);
    }

    bool complete_if_ready(operation& op, completions& done) noexcept final {
        socket_state& socket = *op.socket;
        if (op.kind == operation_kind::connect) {
            go_on_connecting(op, done);
        } else if (op.single_transfer && op.kind == operation_kind::read
                       ? attempt_single_read(op, socket)
                       : attempt(op)) {
            done.push(op);
            unwatch(socket);
        }
        return op.progress == operation::state::complete;
    }

    void cancel(operation& op, completions& done) noexcept final {
        socket_state& socket = *op.socket;
        op.finish(outcome::canceled);
        done.push(op);
        // It has found an error, of which it was told before, but which the next read may get.
        if (op.kind == operation_kind::wait && socket.error_told)
            socket.set_worth_trying(op.interest);
        // A connection attempt cannot be taken back; its socket is of no use any more.
        if (op.kind == operation_kind::connect)
            close(socket, close_mode::graceful, done);
        else
            unwatch(socket);
    }

    void close(socket_state& socket, close_mode how, completions& done) noexcept final {
        end_pending(socket, outcome::closed, done);
        if (socket.is_open()) {
            if (how == close_mode::abortive) platform::reset_on_close(socket.handle);
            close_handle(socket);
        }
        check_closed(socket);
    }

    void release(socket_state& socket, completions& done) noexcept final {
        end_pending(socket, outcome::canceled, done);
        forget_what_is_left(socket);
        forget_handle(socket);
        check_closed(socket);
    }

protected:
    /// Something whose size says nothing of what is behind it.
    static bool brings_one(const operation& op) noexcept {
        return op.kind == operation_kind::receive_from || op.kind == operation_kind::accept;
    }

    readiness_reactor() noexcept : reactor(tries::first) {}

    /// An operation is to be parked on its socket: see that events arrive for it, also if the
    /// socket is ready now. Returns the system's error number.
    virtual int watch(const operation& op) noexcept = 0;

    /// Operations have left the socket: events that no pending operation waits for need not come.
    virtual void unwatch(socket_state& socket) noexcept = 0;

    /// The handle is about to be closed or given away: no event may come for it any more. False: it
    /// has turned out that the number is not the socket's any more.
    virtual bool forget(socket_state& socket) noexcept = 0;

    /// The socket may be ready: tries what is parked there.
    CURFEW_HOT static void on_readable(socket_state& socket, completions& done) noexcept {
        operation* const op = socket.reader;
        if (op && op->single_transfer) [[likely]] {
            if (attempt_single_read(*op, socket)) [[likely]]
                done.push_read(*op, socket);
        } else {
            look_for_reader(socket, done);
        }
    }

    CURFEW_HOT static void on_writable(socket_state& socket, completions& done) noexcept {
        if (operation* const op = socket.writer) return retry_write(*op, done);
        socket.set_worth_trying(readiness::writable);
    }

    /// Somebody has closed the descriptor of `socket` behind our back, and its number is that of
    /// another socket now: this one has none any more. What is pending on it stays so, as if
    /// nothing came any more, until a limit or a `close` ends it.
    CURFEW_COLD static void disown(socket_state& socket) noexcept {
        socket.handle = platform::invalid_socket;
        socket.worth_trying = 0;
        socket.stays_registered = false;
        socket.reactor_data = 0;
    }

    /// The socket's descriptor has turned out to be none: somebody has closed it behind our back.
    /// Everything that is pending on the socket ends with `error`. The number is forgotten and not
    /// closed: it may be somebody else's by now.
    CURFEW_COLD void on_bad_descriptor(socket_state& socket, int error,
                                       completions& done) noexcept {
        operation* const reader = socket.reader;
        operation* const writer = socket.writer;
        for (operation* op : {reader, writer == reader ? nullptr : writer}) {
            if (!op) continue;
            op->finish(outcome::system, error);
            done.push(*op);
        }
        forget_handle(socket);
    }

private:
    CURFEW_COLD static void look_for_reader(socket_state& socket, completions& done) noexcept {
        operation* const op = socket.reader;
        if (op && op->kind == operation_kind::connect) return;
        socket.set_worth_trying(readiness::readable);
        if (!op) return;
        retry(*op, done);
        if (op->progress != operation::state::complete || !brings_one(*op)) return;
        socket.announced();
        if (!socket.may_try(readiness::readable)) done.more_may_follow();
    }

    /// (No member, like all that a wait may call, so that the wait need not keep the reactor.)
    CURFEW_COLD static void retry_write(operation& op, completions& done) noexcept {
        if (op.kind == operation_kind::connect) return go_on_connecting(op, done);
        op.socket->set_worth_trying(readiness::writable);
        retry(op, done);
    }

    static void retry(operation& op, completions& done) noexcept {
        if (attempt(op)) return done.push(op);
        socket_state& socket = *op.socket;
        if (!socket.may_try(op.interest)) return;
        socket.set_dry(op.interest);  // its turn is over
        done.transfer_continues();
        if (reactor_of(socket).start(op)) done.push(op);
    }

    static void go_on_connecting(operation& op, completions& done) noexcept {
        socket_state& socket = *op.socket;
        const int error = platform::connect_result(socket.handle);
        if (platform::connect_pending(error)) return;
        connected(op, error);
        done.push(op);
        if (error) reactor_of(socket).close(socket, close_mode::graceful, done);
    }

    CURFEW_COLD bool watch_for(operation& op) noexcept {
        const int error = watch(op);
        if (!error) return true;
        op.finish(outcome::system, error);
        if (op.kind == operation_kind::connect) close_handle(*op.socket);
        return false;
    }

    /// True: the operation is complete.
    bool begin_connect(operation& op) noexcept {
        socket_state& socket = *op.socket;
        if (open_to_connect(op)) return true;
        const int error = platform::connect(socket.handle, *op.address);
        if (platform::connect_pending(error)) {
            socket.worth_trying = 0;
            return false;
        }
        connected(op, error);
        if (error) close_handle(socket);
        return true;
    }

    /// A connect has ended. POSIX leaves the state of a socket unspecified after one that failed:
    /// it is to be closed, and the next attempt gets a new one.
    static void connected(operation& op, int error) noexcept {
        if (error) return op.finish(outcome::system, error);
        op.socket->set_worth_trying(readiness::readable | readiness::writable);
        op.finish(outcome::success);
    }

    /// Who caused it, if anybody, is resumed first.
    static void end_pending(socket_state& socket, outcome why, completions& done) noexcept {
        operation* first = socket.reader;
        operation* second = socket.writer;
        if (second && second->reason != outcome::success) std::swap(first, second);
        for (operation* op : {first, second}) {
            if (!op || op->progress == operation::state::complete) continue;
            if (op->reason == outcome::success) op->reason = why;
            op->finish(why);
            done.push(*op);
        }
    }

    void close_handle(socket_state& socket) noexcept {
        const platform::socket_handle handle = socket.handle;
        if (forget_handle(socket)) platform::close(handle);
    }

    /// False: the number is somebody else's.
    bool forget_handle(socket_state& socket) noexcept {
        const bool is_own = forget(socket);
        socket.handle = platform::invalid_socket;
        socket.worth_trying = 0;
        socket.ignore_short_reads = false;
        socket.stays_registered = false;
        socket.blocked_exact_reads = 0;
        socket.reports_remaining = false;
        return is_own;
    }
};

}  // namespace curfew::detail
