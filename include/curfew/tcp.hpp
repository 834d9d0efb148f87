// TCP: connections and the acceptor that takes them in.
#pragma once

#include <system_error>

#include "await/requests.hpp"
#include "io_context.hpp"
#include "ip/endpoint.hpp"
#include "platform/types.hpp"
#include "result.hpp"
#include "stream_socket.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::tcp {

/// A TCP connection, or one to be.
///
/// One read and one write at a time may be pending; a second one fails with
/// `std::errc::operation_in_progress`. Operations on a closed or moved-from socket fail with
/// `errc::closed`. The buffers of an operation must live until it has ended.
///
/// Cancellation, of every operation here: it ends with `canceled` (or `timed_out` under a limit)
/// when the system has let go of its buffers; if it had moved any byte by then, with success and
/// that count. The stream goes on where it stood.
class socket : public detail::stream_socket {
public:
    /// Belongs to nothing: every operation says `closed`.
    socket() noexcept = default;
    /// Closed, of this context.
    explicit socket(io_context& context)
        : stream_socket(detail::loop_of(context)) {}

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

    /// Who the peer is. On Linux and Windows also after it has reset the connection; elsewhere
    /// accept(peer) tells it. The unspecified endpoint where there is none.
    ip::endpoint remote_endpoint() const noexcept {
        return is_open() ? ip::endpoint(platform::last_remote_address(state_->handle))
                         : ip::endpoint();
    }

    /// TCP_NODELAY: small writes are sent at once.
    optional_result no_delay(bool on) noexcept { return set(platform::option::no_delay, on); }
    /// Whether it is on.
    result<bool> no_delay() const noexcept { return flag(platform::option::no_delay); }

    /// SO_KEEPALIVE.
    optional_result keep_alive(bool on) noexcept { return set(platform::option::keep_alive, on); }
    /// Whether it is on.
    result<bool> keep_alive() const noexcept { return flag(platform::option::keep_alive); }

private:
    template <class Socket>
    friend struct detail::accept_request;
    socket(detail::loop& own, native_handle_type handle, bool ignore_short_reads)
        : stream_socket(own, handle, ignore_short_reads) {}
};

/// What `acceptor::listen` can be told.
struct listen_options {
    int backlog = platform::max_backlog;  ///< connections that wait to be accepted
    bool reuse_address = true;            ///< also while old connections linger on the port
    bool reuse_port = false;              ///< share the port with other listeners
    bool v6_only = false;                 ///< an IPv6 listener takes no IPv4 connections
    bool wait_for_descriptors = true;     ///< accept waits while none is free, and does not fail
};

/// Takes in connections.
class acceptor : public detail::acceptor_base {
    using accept_request = detail::accept_request<socket>;

public:
    /// Belongs to nothing: every operation says `closed`.
    acceptor() noexcept = default;
    /// Closed, of this context.
    explicit acceptor(io_context& context) : acceptor_base(detail::loop_of(context)) {}

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
        state_->tells_of_shortage = !options.wait_for_descriptors;
        const int error = start_listening(at, options);
        if (error) close();
        return to_result(error);
    }

    /// Waits for a connection. Connections that died in the queue are passed over.
    ///
    /// While the process or the system has no descriptor for a connection, or no memory, it stays
    /// in the queue, and this waits on: it tries again after 1 ms, then 2 ms and so on, up to
    /// 100 ms. So a loop that accepts neither ends nor spins, and goes on by itself when some have
    /// been closed. With `listen_options::wait_for_descriptors` off it fails at once, with
    /// `std::errc::too_many_files_open` and the like, and whoever tries again waits a little before.
    ///
    /// Cancellation, at any time: no connection is lost.
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
    acceptor(detail::loop& own, native_handle_type handle, bool ignore_short_reads)
        : acceptor_base(own, handle, ignore_short_reads) {}

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
