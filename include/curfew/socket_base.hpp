// What all sockets have in common: an owned descriptor, its options, and how it ends.
#pragma once

#include <utility>

#include "io_context.hpp"
#include "ip/endpoint.hpp"
#include "await/requests.hpp"
#include "result.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

using enum readiness;  // socket.wait(readable)

/// Which directions of a connection `shutdown` ends.
using shutdown_how = platform::shutdown_side;

namespace detail {

/// For what works on the records of sockets directly.
struct socket_access {
    template <class Socket>
    static socket_state& state(const Socket& socket) noexcept {
        return *socket.state_;
    }
};

/// Base of the sockets. Movable, also while operations are pending; a moved-from one is closed.
class socket_base {
public:
    using native_handle_type = platform::socket_handle;

    socket_base(const socket_base&) = delete;
    socket_base& operator=(const socket_base&) = delete;

    bool is_open() const noexcept { return state_->is_open(); }

    /// The descriptor, still curfew's; `platform::invalid_socket` if it is closed.
    native_handle_type native_handle() const noexcept { return state_->handle; }

    /// Gives the descriptor away, open, non-blocking and to be closed on exec; it is the caller's to close. Pending
    /// operations end with `canceled`. `platform::invalid_socket` if it was closed.
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
        if (state_->reader) cancel_operation(*state_->reader, outcome::canceled, false);
        if (state_->writer) cancel_operation(*state_->writer, outcome::canceled, false);
    }

    /// The unspecified endpoint where there is none.
    ip::endpoint local_endpoint() const noexcept {
        return is_open() ? ip::endpoint(platform::local_address(state_->handle)) : ip::endpoint();
    }

    // Options: setting one gives an error that may be ignored; asking for it gives its value.
    // `closed` without an open descriptor; a socket to be connected can be opened with `open`.

    /// SO_RCVBUF in bytes; some systems report twice what was asked for.
    optional_result receive_buffer_size(int bytes) noexcept {
        return set(platform::option::receive_buffer_size, bytes);
    }
    result<int> receive_buffer_size() const noexcept {
        return get(platform::option::receive_buffer_size);
    }
    /// SO_SNDBUF in bytes.
    optional_result send_buffer_size(int bytes) noexcept {
        return set(platform::option::send_buffer_size, bytes);
    }
    result<int> send_buffer_size() const noexcept {
        return get(platform::option::send_buffer_size);
    }
    /// SO_REUSEADDR.
    optional_result reuse_address(bool on) noexcept {
        return set(platform::option::reuse_address, on);
    }
    result<bool> reuse_address() const noexcept { return flag(platform::option::reuse_address); }

protected:
    socket_base() noexcept = default;
    socket_base(loop& own, platform::transport type,
                native_handle_type handle = platform::invalid_socket)
        : state_(own.make_socket(type, handle)) {}
    socket_base(socket_base&& other) noexcept : state_(std::exchange(other.state_, &no_socket)) {}
    socket_base& operator=(socket_base&& other) noexcept {
        if (this != &other) {
            retire();
            state_ = std::exchange(other.state_, &no_socket);
        }
        return *this;
    }
    ~socket_base() { retire(); }

    result<> open_handle(ip::family family) noexcept {
        if (!state_->loop) return errc::closed;
        if (state_->is_open()) return {};
        if (family == ip::family::unspecified)
            return std::make_error_code(std::errc::invalid_argument);
        native_handle_type handle = platform::invalid_socket;
        const int error = loop::make_reopenable(*state_)
                              ? platform::open(family, state_->type, handle)
                              : platform::out_of_memory;
        if (!error) state_->loop->opened(*state_, handle);
        return to_result(error);
    }

    static result<> to_result(int error) noexcept {
        return error ? result<>(system_error(error)) : result<>();
    }

    optional_result set(platform::option which, int value) noexcept {
        if (!is_open()) return errc::closed;
        return to_result(platform::set_option(state_->handle, which, value));
    }
    result<int> get(platform::option which) const noexcept {
        if (!is_open()) return errc::closed;
        int value = 0;
        if (const int error = platform::get_option(state_->handle, which, value))
            return system_error(error);
        return value;
    }
    result<bool> flag(platform::option which) const noexcept {
        const auto [ec, value] = get(which);
        return {ec, value != 0};
    }

    socket_state* state_ = &no_socket;

private:
    friend struct socket_access;
    void retire() noexcept {
        check_thread(*state_);
        if (!state_->nobodys) loop::retire(state_);
    }
    void end(close_mode how) noexcept {
        check_thread(*state_);
        if (state_->loop) state_->loop->system().close(*state_, how, state_->loop->done());
    }
};

}  // namespace detail
}  // namespace curfew
