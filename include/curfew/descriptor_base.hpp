// What sockets and other descriptors have in common: they are owned, and end in the same ways.
#pragma once

#include <utility>

#include "await/requests.hpp"
#include "core/outcome.hpp"
#include "core/socket_state.hpp"
#include "io_context.hpp"
#include "platform/types.hpp"
#include "reactor/reactor.hpp"
#include "result.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

using enum readiness;  // socket.wait(readable)

namespace detail {

/// Closes a handle that nobody has taken.
struct unowned_handle {
    platform::socket_handle handle;

    explicit unowned_handle(platform::socket_handle made = platform::invalid_socket) noexcept
        : handle(made) {}
    unowned_handle(const unowned_handle&) = delete;
    unowned_handle& operator=(const unowned_handle&) = delete;
    ~unowned_handle() {
        if (handle != platform::invalid_socket) platform::close(handle);
    }
};

/// Base of all that owns a descriptor. Movable, also while operations are pending; a moved-from one
/// is closed.
class descriptor_base {
public:
    /// What the platform calls a socket: a file descriptor, or a SOCKET.
    using native_handle_type = platform::socket_handle;

    descriptor_base(const descriptor_base&) = delete;
    descriptor_base& operator=(const descriptor_base&) = delete;

    /// Whether it has a descriptor.
    bool is_open() const noexcept { return state_->is_open(); }

    /// The descriptor, still curfew's; `platform::invalid_socket` if it is closed.
    native_handle_type native_handle() const noexcept { return state_->handle; }

    /// Gives the descriptor away, open, non-blocking and to be closed on exec; it is the caller's
    /// to close. Pending operations end with `canceled`. `platform::invalid_socket` if it was
    /// closed.
    native_handle_type release() noexcept {
        if (!is_open()) return platform::invalid_socket;
        check_thread(*state_);
        const native_handle_type handle = state_->handle;
        state_->loop->system().release(*state_, state_->loop->done());
        return handle;
    }

    /// Closes the socket. Pending operations end with `closed`, and so do later ones. What was
    /// written is still delivered; but when bytes are left unread, Linux and others tell the peer
    /// of a stream so with a RST. The socket can be opened again at once (connected, bound, made to
    /// listen), also while operations that were pending have yet to end.
    void close() noexcept { end(close_mode::graceful); }

    /// Closes the socket at once, throwing away what was not delivered: the peer of a stream gets
    /// a RST. Pending operations end with `closed`. It can be opened again as after `close`.
    void abort() noexcept { end(close_mode::abortive); }

    /// Ends the pending operations with `canceled`; the socket stays usable, except that a
    /// cancelled `connect` closes it.
    void cancel() noexcept {
        check_thread(*state_);
        if (state_->loop) ++state_->interruptions;  // nobody writes to a placeholder
        if (state_->reader) cancel_operation(*state_->reader, outcome::canceled, false);
        if (state_->writer) cancel_operation(*state_->writer, outcome::canceled, false);
    }

protected:
    descriptor_base() noexcept = default;
    /// `handle`, if it is one, belongs to this from now on, unless there is no memory for it.
    descriptor_base(loop& own, platform::transport type,
                    native_handle_type handle = platform::invalid_socket)
        : state_(own.make_socket(type, handle)) {}
    descriptor_base(descriptor_base&& other) noexcept
        : state_(std::exchange(other.state_, &no_socket)) {}
    descriptor_base& operator=(descriptor_base&& other) noexcept {
        if (this != &other) {
            remove();
            state_ = std::exchange(other.state_, &no_socket);
        }
        return *this;
    }
    ~descriptor_base() { remove(); }

    static result<> to_result(int error) noexcept {
        return error ? result<>(system_error(error)) : result<>();
    }

    socket_state* state_ = &no_socket;

private:
    friend struct socket_access;
    void remove() noexcept {
        check_thread(*state_);
        if (!state_->placeholder) loop::remove(*state_);
    }
    void end(close_mode how) noexcept {
        check_thread(*state_);
        if (state_->loop) state_->loop->system().close(*state_, how, state_->loop->done());
    }
};

}  // namespace detail
}  // namespace curfew
