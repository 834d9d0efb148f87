// What the reactors on readiness calls share: an operation is tried without blocking, parked if it
// would block, and tried again when its socket is ready.
#pragma once

#include "reactor.hpp"

namespace curfew::detail {

class readiness_reactor : public reactor {
public:
    bool start(operation& op) noexcept final {
        socket_state& socket = *op.socket;
        if (op.kind == operation_kind::connect) {
            if (begin_connect(op)) return true;
        } else if (may_be_ready(socket, op.interest) && perform(op)) {
            return true;
        }
        if (const int error = watch(socket)) {
            op.finish(outcome::system, error);
            if (op.kind == operation_kind::connect) close_handle(socket);
            return true;
        }
        return false;
    }

    void cancel(operation& op, completions& done) noexcept final {
        socket_state& socket = *op.socket;
        op.finish(outcome::canceled);
        done.push(op);
        // A connection attempt cannot be taken back; its socket is of no use any more.
        if (op.kind == operation_kind::connect)
            close(socket, close_mode::graceful, done);
        else
            unwatch(socket);
    }

    void close(socket_state& socket, close_mode how, completions& done) noexcept final {
        end_pending(socket, outcome::closed, done);
        if (!socket.is_open()) return;
        if (how == close_mode::abortive) platform::reset_on_close(socket.handle);
        close_handle(socket);
    }

    void release(socket_state& socket, completions& done) noexcept final {
        end_pending(socket, outcome::canceled, done);
        forget_handle(socket);
    }

protected:
    // Marks of a socket. `dry` means that the last try would have blocked and no event has come
    // since: another try can be spared.
    static constexpr std::uint8_t dry_read = static_cast<std::uint8_t>(readiness::readable);
    static constexpr std::uint8_t dry_write = static_cast<std::uint8_t>(readiness::writable);
    static constexpr std::uint8_t connecting = 4;
    /// A short read does not mean that nothing is left: the end of the stream, an error or urgent
    /// data may stand behind it, and their event has been seen already.
    static constexpr std::uint8_t more_behind = 8;
    static constexpr std::uint8_t watched = 16;

    /// An operation has been parked on the socket: see that its event arrives. Returns the
    /// system's error number.
    virtual int watch(socket_state& socket) noexcept = 0;

    /// Operations have left the socket: events that no pending operation waits for need not come.
    virtual void unwatch(socket_state& socket) noexcept = 0;

    /// The handle is about to be closed or given away: no event may come for it any more.
    virtual void forget(socket_state& socket) noexcept = 0;

    /// The socket may be ready in `directions`: tries what is parked there.
    void on_ready(socket_state& socket, unsigned directions, completions& done) noexcept {
        socket.marks = static_cast<std::uint8_t>(socket.marks & ~directions);
        if (directions & dry_read)
            if (operation* op = socket.reader; op && perform(*op)) done.push(*op);
        if (directions & dry_write)
            if (operation* op = socket.writer; op && perform(*op)) done.push(*op);
        if (!socket.is_open()) end_pending(socket, outcome::closed, done);  // a failed connect
    }

    /// Ends everything that is pending on a socket whose descriptor the system does not know.
    void on_bad_descriptor(socket_state& socket, completions& done) noexcept {
        for (operation* op : {socket.reader, socket.writer}) {
            if (!op || op->progress == operation::state::complete) continue;
            op->finish(outcome::system, platform::bad_descriptor);
            done.push(*op);
        }
    }

private:
    static bool may_be_ready(const socket_state& socket, readiness directions) noexcept {
        return (~socket.marks & static_cast<unsigned>(directions)) != 0;
    }

    static void set_dry(socket_state& socket, readiness directions) noexcept {
        socket.marks = static_cast<std::uint8_t>(socket.marks | static_cast<unsigned>(directions));
    }

    /// One non-blocking try. True: the operation is complete.
    bool perform(operation& op) noexcept {
        switch (op.kind) {
        case operation_kind::read: return transfer_bytes(op, platform::receive);
        case operation_kind::write: return transfer_bytes(op, platform::send);
        case operation_kind::receive_from:
            return transfer_datagram(op, platform::receive_from(op.socket->handle, op.buffers,
                                                                op.buffer_count, op.address));
        case operation_kind::send_to:
            return transfer_datagram(op, platform::send_to(op.socket->handle, op.buffers,
                                                           op.buffer_count, op.address));
        case operation_kind::accept: return accept(op);
        case operation_kind::connect: return end_connect(op);
        case operation_kind::wait: return look(op);
        }
        return false;
    }

    template <class Call>
    bool transfer_bytes(operation& op, Call call) noexcept {
        socket_state& socket = *op.socket;
        const bool reads = op.kind == operation_kind::read;
        for (;;) {
            const platform::transfer moved =
                call(socket.handle, op.buffers, op.buffer_count, op.offset);
            if (moved.error) {
                if (!platform::would_block(moved.error))
                    return completed(op, outcome::system, moved.error);
                set_dry(socket, op.interest);
                return false;
            }
            if (reads) {
                if (moved.count == 0) return completed(op, outcome::eof);
                // With an edge-triggered reactor in mind: what arrives after this read makes a new
                // event, and what arrived before it was either read or announced (more_behind).
                if (op.buffer_count == 1 && moved.count < op.buffers->size - op.offset &&
                    !(socket.marks & more_behind))
                    set_dry(socket, readiness::readable);
            }
            if (op.advance(moved.count)) return completed(op, outcome::success);
            if (!may_be_ready(socket, op.interest)) return false;
        }
    }

    static bool transfer_datagram(operation& op, platform::transfer moved) noexcept {
        if (platform::would_block(moved.error)) {
            set_dry(*op.socket, op.interest);
            return false;
        }
        op.transferred = moved.count;
        return completed(op, moved.error ? outcome::system : outcome::success, moved.error);
    }

    static bool accept(operation& op) noexcept {
        for (;;) {
            const int error = platform::accept(op.socket->handle, op.accepted);
            if (error == 0) return completed(op, outcome::success);
            if (platform::would_block(error)) {
                set_dry(*op.socket, readiness::readable);
                return false;
            }
            if (!platform::accept_may_go_on(error)) return completed(op, outcome::system, error);
        }
    }

    bool begin_connect(operation& op) noexcept {
        socket_state& socket = *op.socket;
        if (!socket.is_open()) {
            if (const int error = platform::open(op.address->family, socket.type, socket.handle))
                return completed(op, outcome::system, error);
        } else if (platform::remote_address(socket.handle).family != platform::family::unspecified) {
            // Asked first: Linux answers the first connect after a pending one with success.
            return completed(op, outcome::system, platform::already_connected);
        }
        const int error = platform::connect(socket.handle, *op.address);
        if (error == 0) return completed(op, outcome::success);
        if (!platform::connect_pending(error)) return failed_connect(op, error);
        socket.marks = static_cast<std::uint8_t>(socket.marks | connecting | dry_write);
        return false;
    }

    bool end_connect(operation& op) noexcept {
        const int error = platform::connect_result(op.socket->handle);
        if (platform::connect_pending(error)) {
            set_dry(*op.socket, readiness::writable);
            return false;
        }
        if (error) return failed_connect(op, error);
        op.socket->marks = static_cast<std::uint8_t>(op.socket->marks & ~connecting);
        return completed(op, outcome::success);
    }

    /// POSIX leaves the state of a socket unspecified after a failed connect: the next attempt
    /// gets a new one.
    bool failed_connect(operation& op, int error) noexcept {
        close_handle(*op.socket);
        return completed(op, outcome::system, error);
    }

    static bool look(operation& op) noexcept {
        short events = 0;
        if (op.waits_for(readiness::readable)) events |= platform::poll_in;
        if (op.waits_for(readiness::writable)) events |= platform::poll_out;
        if (platform::ready_now(op.socket->handle, events)) return completed(op, outcome::success);
        set_dry(*op.socket, op.interest);
        return false;
    }

    static bool completed(operation& op, outcome how, int error = 0) noexcept {
        op.finish(how, error);
        return true;
    }

    static void end_pending(socket_state& socket, outcome why, completions& done) noexcept {
        for (operation* op : {socket.reader, socket.writer}) {
            if (!op || op->progress == operation::state::complete) continue;
            if (op->reason == outcome::success) op->reason = why;
            op->finish(why);
            done.push(*op);
        }
    }

    void close_handle(socket_state& socket) noexcept {
        const platform::socket_handle handle = socket.handle;
        forget_handle(socket);
        platform::close(handle);
    }

    void forget_handle(socket_state& socket) noexcept {
        forget(socket);
        socket.handle = platform::invalid_socket;
        socket.marks = 0;
    }
};

}  // namespace curfew::detail
