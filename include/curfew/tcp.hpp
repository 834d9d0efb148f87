// TCP: connections and the acceptor that takes them in.
#pragma once

#include <span>
#include <utility>

#include "socket_base.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::tcp {

class acceptor;

/// A TCP connection, or one to be.
///
/// One read and one write at a time may be pending; a second one fails with
/// `std::errc::operation_in_progress`. Operations on a closed or moved-from socket fail with
/// `errc::closed`. The buffers of an operation must live until it has ended.
///
/// Cancellation, of every operation here: it ends with `canceled` (or `timed_out` under a limit)
/// when the system has let go of its buffers; if it had moved any byte by then, with success and
/// that count. The stream goes on where it stood.
class socket : public detail::socket_base {
    template <operation_kind Kind, bool Exact, class Buffer, class... Source>
    auto transfer(Source&&... sources) const noexcept {
        constexpr std::size_t count = sizeof...(Source);
        return detail::socket_operation<detail::transfer_request<Kind, Exact, count>>(
            {state_,
             detail::buffers_of<count>::template from<Buffer>(std::forward<Source>(sources)...)});
    }

    template <operation_kind Kind, bool Exact, class Buffer>
    auto transfer_list(std::span<const Buffer> list) const noexcept {
        return detail::socket_operation<detail::transfer_request<Kind, Exact, 0>>(
            {state_, detail::buffers_of<0>::from(list)});
    }

public:
    /// Belongs to nothing: every operation says `closed`.
    socket() noexcept = default;
    explicit socket(io_context& context)
        : socket_base(detail::loop_of(context), platform::transport::stream) {}

    /// Takes in a connected (or connecting) descriptor of a stream. With an error it remains the
    /// caller's.
    ///
    /// The descriptor is changed: it is made non-blocking (O_NONBLOCK), which all see who share it,
    /// will be closed on exec (FD_CLOEXEC; on Windows it is left as it was), and raises no SIGPIPE
    /// any more (SO_NOSIGPIPE, where there is that). `release` undoes none of this. Whoever makes it
    /// blocking again does no harm to reads and writes where the system has MSG_DONTWAIT.
    ///
    /// It may be another stream than TCP's, a local one say, whose reads cost one call more each
    /// then. With TLS in the kernel (TCP_ULP) adopt it after that has been switched on.
    static result<socket> adopt(io_context& context, native_handle_type handle) {
        if (const int error = platform::adopt(handle, platform::transport::stream))
            return detail::system_error(error);
        return socket(detail::loop_of(context), handle, !platform::is_tcp(handle));
    }

    /// Makes the descriptor without connecting it, so that options can be set before `connect`.
    result<> open(ip::family family) noexcept { return open_handle(family); }

    /// Connects; opens the socket if it is closed. After an error, a limit or a cancellation the
    /// socket is closed, and `connect` may be tried again. (A socket that is connected, or busy,
    /// stays as it is.) Meanwhile it takes the place of a read and of a write.
    auto connect(const ip::endpoint& to) noexcept {
        return detail::socket_operation<detail::connect_request>({state_, to});
    }

    /// Reads what is there, at least one byte; `eof` when the peer has ended the stream. Several
    /// buffers are filled one after the other. If the connection is lost (reset, or given up by the
    /// system), and a write was told so before, reads are told the same error, and not `eof`.
    template <class... Source>
    requires(sizeof...(Source) > 0) && (detail::buffer_source<Source, mutable_buffer> &&
                                        ...) auto read_some(Source&&... buffers) noexcept {
        return transfer<operation_kind::read, false, mutable_buffer>(
            std::forward<Source>(buffers)...);
    }
    template <class Buffer = mutable_buffer>
    auto read_some(detail::list_of<Buffer> list) noexcept {
        return transfer_list<operation_kind::read, false, Buffer>(list);
    }
    template <detail::bare_pointer P, class... More>
    result<> read_some(P&&, More&&...) = delete;  // a pointer has no size: std::span(p, size)

    /// Writes as much as fits, at least one byte, and at most 256 KiB: then it is others' turn.
    /// `write_all` writes more.
    template <class... Source>
    requires(sizeof...(Source) > 0) && (detail::buffer_source<Source, const_buffer> &&
                                        ...) auto write_some(Source&&... buffers) noexcept {
        return transfer<operation_kind::write, false, const_buffer>(
            std::forward<Source>(buffers)...);
    }
    template <class Buffer = const_buffer>
    auto write_some(detail::list_of<Buffer> list) noexcept {
        return transfer_list<operation_kind::write, false, Buffer>(list);
    }
    template <detail::bare_pointer P, class... More>
    result<> write_some(P&&, More&&...) = delete;  // a pointer has no size: std::span(p, size)

    /// Reads until the buffers are full. With an error, `eof` included, the value says how far it
    /// got.
    template <class... Source>
    requires(sizeof...(Source) > 0) && (detail::buffer_source<Source, mutable_buffer> &&
                                        ...) auto read_exactly(Source&&... buffers) noexcept {
        return transfer<operation_kind::read, true, mutable_buffer>(
            std::forward<Source>(buffers)...);
    }
    template <class Buffer = mutable_buffer>
    auto read_exactly(detail::list_of<Buffer> list) noexcept {
        return transfer_list<operation_kind::read, true, Buffer>(list);
    }
    template <detail::bare_pointer P, class... More>
    result<> read_exactly(P&&, More&&...) = delete;  // a pointer has no size: std::span(p, size)

    /// Writes all of the buffers. With an error the value says how many bytes had gone out.
    template <class... Source>
    requires(sizeof...(Source) > 0) && (detail::buffer_source<Source, const_buffer> &&
                                        ...) auto write_all(Source&&... buffers) noexcept {
        return transfer<operation_kind::write, true, const_buffer>(
            std::forward<Source>(buffers)...);
    }
    template <class Buffer = const_buffer>
    auto write_all(detail::list_of<Buffer> list) noexcept {
        return transfer_list<operation_kind::write, true, Buffer>(list);
    }
    template <detail::bare_pointer P, class... More>
    result<> write_all(P&&, More&&...) = delete;  // a pointer has no size: std::span(p, size)

    /// Waits until a read or write would not block (or would fail at once), without doing it.
    /// `readable | writable`: whichever comes first. It takes the place of a read or write.
    ///
    /// It ends for data, for the end of the stream, and for an error. An error that no read or
    /// write gets (it stands in an error queue: timestamps, say) ends one wait (or two, where its
    /// event comes late), and no more before a look has found it gone. Urgent data ends none.
    auto wait(readiness what) noexcept {
        return detail::socket_operation<detail::wait_request>({{}, state_, what});
    }

    /// Ends one direction or both: with `send` the peer reads the end of the stream.
    optional_result shutdown(shutdown_how how) noexcept {
        if (!is_open()) return errc::closed;
        return to_result(platform::shutdown(state_->handle, how));
    }

    /// Who the peer is. On Linux and Windows also after it has reset the connection; elsewhere
    /// accept(peer) tells it. The unspecified endpoint where there is none.
    ip::endpoint remote_endpoint() const noexcept {
        return is_open() ? ip::endpoint(platform::last_remote_address(state_->handle))
                         : ip::endpoint();
    }

    /// TCP_NODELAY: small writes are sent at once.
    optional_result no_delay(bool on) noexcept { return set(platform::option::no_delay, on); }
    result<bool> no_delay() const noexcept { return flag(platform::option::no_delay); }

    /// SO_KEEPALIVE.
    optional_result keep_alive(bool on) noexcept { return set(platform::option::keep_alive, on); }
    result<bool> keep_alive() const noexcept { return flag(platform::option::keep_alive); }

private:
    friend class acceptor;
    socket(detail::loop& own, native_handle_type handle, bool more_behind)
        : socket_base(own, platform::transport::stream, handle) {
        state_->more_behind = more_behind;
    }
};

struct listen_options {
    int backlog = platform::max_backlog;  ///< connections that wait to be accepted
    bool reuse_address = true;            ///< also while old connections linger on the port
    bool reuse_port = false;              ///< share the port with other listeners
    bool v6_only = false;                 ///< an IPv6 listener takes no IPv4 connections
};

/// Takes in connections.
class acceptor : public detail::socket_base {
    struct accept_request : detail::request_of<operation_kind::accept> {
        platform::socket_address* peer;

        accept_request(socket_state* on, platform::socket_address* who) noexcept
            : request_of{on}, peer(who) {}
        void describe(operation& op) const noexcept {
            if (peer) *peer = {};
            op.accepted = platform::invalid_socket;
            op.peer = peer;
            op.more_behind = socket->more_behind;
        }
        static result<tcp::socket> yield(operation& op, std::error_code error) {
            if (error) return error;
            // The acceptor may be gone by now; the fiber's loop is not. Should there be no memory
            // for the socket, the descriptor is still the operation's, which closes it.
            tcp::socket made(*op.owner->loop, op.accepted, op.more_behind);
            op.accepted = platform::invalid_socket;
            // (Not every reactor is told by the system who it was.)
            if (op.peer && op.peer->family == platform::family::unspecified)
                *op.peer = platform::last_remote_address(made.native_handle());
            return made;
        }
        static void discard(operation& op) noexcept {
            if (op.progress == operation::state::complete && op.result == outcome::success &&
                op.accepted != platform::invalid_socket)
                platform::close(op.accepted);
        }
    };

public:
    acceptor() noexcept = default;
    explicit acceptor(io_context& context)
        : socket_base(detail::loop_of(context), platform::transport::stream) {}

    /// Takes in a descriptor that listens, and changes it as `socket::adopt` does. With an error it
    /// remains the caller's. (No flag keeps accept(2) from blocking: should somebody who shares the
    /// descriptor make it blocking again, the loop stands still whenever another process is quicker
    /// to take a connection.)
    static result<acceptor> adopt(io_context& context, native_handle_type handle) {
        if (const int error = platform::adopt(handle, platform::transport::stream))
            return detail::system_error(error);
        return acceptor(detail::loop_of(context), handle, !platform::is_tcp(handle));
    }

    /// Opens, binds and listens. With port 0 the system chooses one: see `local_endpoint`. After
    /// an error the acceptor is closed.
    result<> listen(const ip::endpoint& at, const listen_options& options = {}) noexcept {
        if (is_open()) return std::make_error_code(std::errc::already_connected);
        if (auto opened = open_handle(at.family()); !opened.ok()) return opened;
        const int error = start_listening(at, options);
        if (error) close();
        return to_result(error);
    }

    /// Waits for a connection. `std::errc::too_many_files_open` when the process has no
    /// descriptor for it: it stays in the queue, for a later `accept`. Connections that
    /// died in the queue are passed over.
    auto accept() noexcept {
        return detail::socket_operation<accept_request>(accept_request(state_, nullptr));
    }

    /// The same, and `peer` says who has connected, also if they are gone by then, which not every
    /// system tells the socket (see `socket::remote_endpoint`). It must live until the operation
    /// has ended.
    auto accept(ip::endpoint& peer) noexcept {
        return detail::socket_operation<accept_request>(accept_request(state_, &peer.raw()));
    }

private:
    acceptor(detail::loop& own, native_handle_type handle, bool more_behind)
        : socket_base(own, platform::transport::stream, handle) {
        state_->more_behind = more_behind;
    }

    int start_listening(const ip::endpoint& at, const listen_options& options) noexcept {
        const auto handle = state_->handle;
        if (options.reuse_address) platform::allow_lingering(handle);
        if (options.reuse_port)
            if (const int error = platform::set_option(handle, platform::option::reuse_port, 1))
                return error;
        if (at.address().is_v6())
            if (const int error =
                    platform::set_option(handle, platform::option::v6_only, options.v6_only))
                return error;
        if (const int error = platform::bind(handle, at.raw())) return error;
        return platform::listen(handle, options.backlog);
    }
};

}  // namespace curfew::tcp
