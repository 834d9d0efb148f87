// Windows: I/O completion ports. A proactor: the system does the whole operation, and tells when it
// is done.
//
// Here is what the loop asks of it. The folder iocp/ has, from the system up:
//   system_calls.hpp  calls that are found at run time
//   port.hpp          the port, and limits finer than the clock's tick
//   packets.hpp       the system's record of each pending operation
//   calls.hpp         the calls that are made for an operation, and what their end means
#pragma once

#include "../platform/platform.hpp"

#if defined(CURFEW_HAS_IOCP)

#include <string_view>
#include <utility>

#include "../core/outcome.hpp"
#include "attempt.hpp"
#include "iocp/calls.hpp"
#include "iocp/packets.hpp"
#include "iocp/port.hpp"
#include "reactor.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

/// Connects, accepts and receives are overlapped calls. What a cancelled overlapped *send* has
/// moved is not known, so there is none: a write is tried without blocking and, if there is no
/// room, waits until there is. So the position in the stream is exact after every cancellation, as
/// on all other reactors.
///
/// Errors: those of the calls. Cancellation: CancelIoEx. Whatever comes of it is told by the
/// operation's own completion: bytes that had come, or a connection that was accepted, are
/// delivered. No socket is closed in good order before its operations have been reaped, since the
/// peer might get a RST for them; so it may be closed a little after `close` has returned.
///
/// A handle is tied to the reactor's port by its first operation that has to wait. `release` unties
/// it, on Windows 8.1 and later; elsewhere only this reactor can take it in again.
class iocp_reactor final : public reactor {
public:
    iocp_reactor() noexcept : reactor(tries::first) {}

    /// Why the reactor could not be made (the system's error number); 0 if it was.
    int error() const noexcept override { return port_.error(); }

    std::string_view name() const noexcept override { return "iocp"; }

    bool start(operation& op) noexcept override {
        detail::check_start(op);
        if (op.kind == operation_kind::connect && detail::open_to_connect(op)) return true;
        if (op.kind == operation_kind::connect && op.address->family == platform::family::local)
            return calls::connect_local(op);
        if (const int error = attach(*op.socket)) return calls::fail(op, error);
        packet* const with = packets_.take(op);
        if (!with) return calls::fail(op, platform::out_of_memory);
        if (!run(*with)) return false;
        packets_.give_back(*with);
        return true;
    }

    void cancel(operation& op, completions& done) noexcept override {
        // A connection attempt cannot be taken back; its socket is of no use any more.
        if (op.kind == operation_kind::connect)
            close(*op.socket, close_mode::graceful, done);
        else
            cancel(packets_.of(op));
    }

    void close(socket_state& socket, close_mode how, completions& done) noexcept override {
        const platform::socket_handle handle = socket.handle;
        const bool connecting = socket.writer && socket.writer->kind == operation_kind::connect;
        if (how == close_mode::abortive && socket.is_open()) platform::reset_on_close(handle);
        end_all(socket, outcome::closed);
        if (handle == platform::invalid_socket) return;
        if (how == close_mode::graceful && !connecting && (socket.reader || socket.writer)) {
            look(0, done);
            if (packet::close_at_end(socket.reader ? &packets_.of(*socket.reader) : nullptr,
                                     socket.writer ? &packets_.of(*socket.writer) : nullptr))
                return;
        }
        platform::close(handle);
    }

    void release(socket_state& socket, completions& done) noexcept override {
        const platform::socket_handle handle = socket.handle;
        const bool attached = socket.reactor_data != detail::iocp::detached;
        end_all(socket, outcome::canceled);
        // What is pending is reported to this port or to none. CancelIoEx takes no time, so the
        // bound is only for a driver that ignores it.
        for (DWORD ms = 0; ms < 100 && (socket.reader || socket.writer); ++ms) look(ms, done);
        // (Without memory to remember it this reactor takes it in no more than others do.)
        if (attached && !detail::iocp::completion_port::detach(handle)) tied_.add(handle);
    }

    int wait(std::chrono::nanoseconds time, completions& done) noexcept override {
        bool more = false;
        const int error = port_.reap(
            time, more, [&](OVERLAPPED& each, DWORD count) { deliver(each, count, done); });
        if (more) done.more_may_follow();
        if (std::exchange(transfer_continues_, false)) done.transfer_continues();
        return error;
    }

    void wake() noexcept override { port_.wake(); }

private:
    using packet = detail::iocp::packet;
    using calls = detail::iocp::calls;

    static constexpr int most_calls = 2;  // of an operation that goes on, in its turn

    // Sockets ----------------------------------------------------------------------------------

    int attach(socket_state& socket) noexcept {
        if (socket.reactor_data != detail::iocp::detached) return 0;
        // Of datagrams, what has succeeded at once may be reported all the same (Microsoft's
        // knowledge base, 2568167).
        bool skip = socket.type == platform::transport::stream;
        const int error = port_.attach(socket.handle, skip);
        const bool was_ours = tied_.has(socket.handle);
        tied_.remove(socket.handle);
        if (error && !(was_ours && error == ERROR_INVALID_PARAMETER)) return error;
        socket.reactor_data = skip ? detail::iocp::skips_success : detail::iocp::reports_all;
        return 0;
    }

    /// Asks an operation to end. If it is about to complete by itself (ERROR_NOT_FOUND), or even
    /// has, its packet comes all the same, or is there: it is reaped once in any case, and not
    /// used for another operation before.
    static void cancel(packet& with) noexcept {
        ::CancelIoEx(reinterpret_cast<HANDLE>(with.handle), &with);
    }

    /// Asks all that is pending on a socket to end; it has no handle from now on. Who caused it, if
    /// anybody, is asked first.
    void end_all(socket_state& socket, outcome why) noexcept {
        calls::forget(socket, false);
        operation* first = socket.reader;
        operation* second = socket.writer == first ? nullptr : socket.writer;
        if (second && second->reason != outcome::success) std::swap(first, second);
        for (operation* op : {first, second}) {
            if (!op) continue;
            if (op->reason == outcome::success) op->reason = why;
            packet& with = packets_.of(*op);
            with.closed = why == outcome::closed;
            cancel(with);
        }
        detail::check_closed(socket);
    }

    // Doing ------------------------------------------------------------------------------------

    /// Has the system do the operation, or what is left of it. True: it is complete.
    bool run(packet& with) noexcept {
        for (int made = 0;; ++made) {
            DWORD count = 0;
            const int error = calls_.begin(with, count);
            if (error == WSA_IO_PENDING) return false;
            if (!error && with.op->socket->reactor_data != detail::iocp::skips_success)
                return false;  // it is reported
            // Its turn is over: that is reported, too.
            if (!error && made == most_calls && port_.post(with, count)) {
                transfer_continues_ = true;
                return false;
            }
            if (calls_.conclude(with, error, count)) return true;
        }
    }

    // Completing -------------------------------------------------------------------------------

    void deliver(OVERLAPPED& reported, DWORD count, completions& done) noexcept {
        auto& with = static_cast<packet&>(reported);
        const bool failed = static_cast<detail::iocp::nt_status>(with.Internal) < 0;
        if (calls_.conclude(with, failed ? calls::error_of(with) : 0, count) || run(with))
            done.push(packets_.give_back(with));
    }

    /// Delivers what has completed while a socket is closed or released.
    void look(DWORD ms, completions& done) noexcept {
        port_.look(ms, [&](OVERLAPPED& each, DWORD count) { deliver(each, count, done); });
    }

    detail::iocp::completion_port port_;
    detail::iocp::packet_pool packets_;
    calls calls_;
    bool transfer_continues_ = false;  // an operation's turn was over, and there is more for it
    platform::detail::handle_set<platform::socket_handle> tied_;  // released, and still tied
};

}  // namespace curfew

#endif
