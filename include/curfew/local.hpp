// Local sockets: connections and datagrams between programs of one machine, whose names are paths
// (AF_UNIX). They are as fast as pipes, go both ways, know who is at the other end, and hand
// descriptors over.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "await/call_requests.hpp"
#include "descriptor_base.hpp"
#include "io_context.hpp"
#include "local/descriptors.hpp"
#include "local/endpoint.hpp"
#include "stream_socket.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::local {

/// Who made the other end of a connection: see `socket::peer_credentials`.
using credentials = platform::credentials;

/// How an acceptor, or a datagram socket, gets its name.
struct bind_options {
    /// Takes over a path that is in use by nobody: a socket that is there, and refuses connections,
    /// has been left behind by a program that has ended, so its name is removed first. (A program
    /// that has just bound it, and does not listen yet, cannot be told from that.)
    bool replace_stale = true;
};

/// What `acceptor::listen` can be told.
struct listen_options : bind_options {
    int backlog = platform::max_backlog;  ///< connections that wait to be accepted
    bool wait_for_descriptors = true;     ///< accept waits while none is free, and does not fail
};

}  // namespace curfew::local

namespace curfew::detail {

/// Whether a name is that of a socket which nobody has open.
inline bool is_stale(const platform::local_name& name, platform::transport type) noexcept {
    unowned_handle probe;
    if (platform::open(platform::family::local, type, probe.handle)) return false;
    const int error = platform::connect(probe.handle, name);
    return error && platform::error_code(error) == std::errc::connection_refused;
}

/// What local sockets of all kinds can.
template <class Base>
class local_socket : public Base {
public:
    using native_handle_type = typename Base::native_handle_type;

    /// The name it is bound to, if it is.
    local::endpoint local_endpoint() const noexcept {
        return this->is_open() ? local::endpoint(platform::own_name(this->state_->handle))
                               : local::endpoint();
    }

    /// The name that the peer is bound to. Those who connect seldom are: see `peer_credentials`.
    local::endpoint remote_endpoint() const noexcept {
        return this->is_open() ? local::endpoint(platform::peer_name(this->state_->handle))
                               : local::endpoint();
    }

    /// Who is at the other end: the process that has connected, has called `listen`, or has made
    /// the pair, and the user it ran as then. What a system does not tell is -1. It holds when the
    /// peer has gone or has become another user since; but the number of a process that has ended
    /// may be another one's by now. `errc::not_supported` where the system tells nothing.
    result<local::credentials> peer_credentials() const noexcept {
        if (!this->is_open()) return errc::closed;
        local::credentials peer;
        if (const int error = platform::peer_credentials(this->state_->handle, peer))
            return system_error(error);
        return peer;
    }

    /// Sends bytes, at least one, to the connected peer, and with the first of them duplicates of
    /// these descriptors: `platform::max_descriptors` at the most, else
    /// `std::errc::invalid_argument`. They remain the caller's, who may close them when this has
    /// ended. As with `write_some` it may send a part of the bytes; the descriptors have gone then.
    /// Both lists must live until it has ended. Cancellation: if it ends with an error, nothing has
    /// been sent.
    template <class Source>
    requires buffer_source<Source, const_buffer>
    auto send_descriptors(std::span<const native_handle_type> descriptors,
                          Source&& buffer) noexcept {
        return socket_operation<send_with_request>(
            {this->state_, const_buffer(std::forward<Source>(buffer)), descriptors});
    }

    /// Receives bytes as `read_some` (or `receive`) does, and the descriptors that come with them.
    /// Whatever reads without asking for descriptors throws them away; and a read ends where some
    /// are attached, so that it is known which bytes they belong to.
    ///
    /// `received` is emptied first, and must live until the operation has ended.
    /// `std::errc::message_size`: a datagram did not fit into the buffer, or there were too many
    /// descriptors for the system; what has come is there. Cancellation: nothing is lost, neither
    /// bytes nor descriptors.
    template <class Source>
    requires buffer_source<Source, mutable_buffer>
    auto receive_descriptors(Source&& buffer, local::descriptors& received) noexcept {
        received.clear();
        return socket_operation<receive_with_request>({this->state_,
                                                       mutable_buffer(std::forward<Source>(buffer)),
                                                       received.all_, received.size_});
    }

protected:
    using Base::Base;

    /// Gives the socket, which is open, its name.
    int bind_name(const local::endpoint& at, bool replace_stale) noexcept {
        const int error = platform::bind(this->state_->handle, at.raw());
        if (!error || !replace_stale || platform::error_code(error) != std::errc::address_in_use ||
            !is_stale(at.raw(), this->state_->type))
            return error;
        platform::remove_name(at.raw());
        return platform::bind(this->state_->handle, at.raw());
    }
};

struct local_connect_request : request_of<operation_kind::connect>, yields_nothing {
    platform::local_name to;

    local_connect_request(socket_state* on, const local::endpoint& endpoint) noexcept
        : request_of{on}, to(endpoint.raw()) {}
    void describe(operation& op) const noexcept {
        op.address = const_cast<platform::local_name*>(&to);  // which is only read
    }
};

}  // namespace curfew::detail

namespace curfew::local {

/// A connection between programs of one machine, or one to be. It reads and writes as tcp::socket
/// does, with the same rules: one read and one write at a time, and nothing lost by cancellation.
///
/// What the peer has sent before it closed, or aborted, is not lost: there is no RST. An `abort`
/// with bytes left unread is `std::errc::connection_reset` to the peer on Linux, as `close` is.
///
/// Every operation says `errc::not_supported` where the system has no local sockets: consoles,
/// Windows before version 10 1803, Wine.
class socket : public detail::local_socket<detail::stream_socket> {
public:
    /// Belongs to nothing: every operation says `closed`.
    socket() noexcept = default;
    /// Closed, of this context.
    explicit socket(io_context& context) : local_socket(detail::loop_of(context)) {}

    /// Takes in a descriptor of a connected stream, which is changed as tcp::socket::adopt says.
    /// With an error it remains the caller's.
    static result<socket> adopt(io_context& context, native_handle_type handle) {
        if (const int error = platform::adopt(handle, platform::transport::stream))
            return detail::system_error(error);
        return socket(detail::loop_of(context), handle, true);
    }

    /// Makes the descriptor without connecting it, so that options can be set before `connect`.
    result<> open() noexcept { return open_handle(platform::family::local); }

    /// Connects; opens the socket if it is closed. After an error, a limit or a cancellation the
    /// socket is closed, and `connect` may be tried again. It does not wait on most systems:
    /// `std::errc::no_such_file_or_directory` (no such path), `std::errc::connection_refused`
    /// (nobody listens there), `std::errc::permission_denied`, and on Linux
    /// `std::errc::resource_unavailable_try_again` when the listener's queue is full.
    auto connect(const endpoint& to) noexcept {
        return detail::socket_operation<detail::local_connect_request>({state_, to});
    }

private:
    template <class Socket>
    friend struct detail::accept_request;
    friend result<std::pair<socket, socket>> pair(io_context& context);
    socket(detail::loop& own, native_handle_type handle, bool ignore_short_reads)
        : local_socket(own, handle, ignore_short_reads) {}
};

/// Takes in connections at a name.
class acceptor : public detail::local_socket<detail::acceptor_base> {
    using accept_request = detail::accept_request<socket>;

public:
    acceptor() noexcept = default;
    /// Closed, of this context.
    explicit acceptor(io_context& context) : local_socket(detail::loop_of(context)) {}

    /// Takes in a descriptor that listens (from systemd, say), and changes it as
    /// tcp::socket::adopt does. With an error it remains the caller's.
    static result<acceptor> adopt(io_context& context, native_handle_type handle) {
        if (const int error = platform::adopt(handle, platform::transport::stream))
            return detail::system_error(error);
        return acceptor(detail::loop_of(context), handle);
    }

    /// Opens, binds and listens. After an error the acceptor is closed. A path where somebody
    /// listens, or where there is any other file, is `std::errc::address_in_use`. Closing does not
    /// remove the path: see `endpoint`.
    result<> listen(const endpoint& at, const listen_options& options = {}) noexcept {
        if (is_open()) return std::make_error_code(std::errc::already_connected);
        if (auto opened = open_handle(platform::family::local); !opened.ok()) return opened;
        state_->tells_of_shortage = !options.wait_for_descriptors;
        int error = bind_name(at, options.replace_stale);
        if (!error) error = platform::listen(state_->handle, options.backlog);
        if (error) close();
        return to_result(error);
    }

    /// Waits for a connection, as tcp::acceptor::accept does.
    auto accept() noexcept {
        return detail::socket_operation<accept_request>(accept_request(state_, nullptr));
    }

private:
    acceptor(detail::loop& own, native_handle_type handle) : local_socket(own, handle, true) {}
};

/// Datagrams between programs of one machine. None is lost or comes twice, and they come in order;
/// one that does not fit into the buffers yields `std::errc::message_size`, and its rest is lost.
/// `errc::not_supported` on Windows.
class datagram : public detail::local_socket<detail::socket_base> {
public:
    /// Belongs to nothing: every operation says `closed`.
    datagram() noexcept = default;
    /// Closed, of this context.
    explicit datagram(io_context& context)
        : local_socket(detail::loop_of(context), platform::transport::datagram) {}

    /// Takes in a descriptor, which is changed as tcp::socket::adopt says. With an error it remains
    /// the caller's.
    static result<datagram> adopt(io_context& context, native_handle_type handle) {
        if (const int error = platform::adopt(handle, platform::transport::datagram))
            return detail::system_error(error);
        return datagram(detail::loop_of(context), handle);
    }

    /// Makes the descriptor without binding it.
    result<> open() noexcept { return open_handle(platform::family::local); }

    /// Opens the socket if it is closed, and binds it, as `acceptor::listen` does. Without a name
    /// it can send, and nobody can send to it but a peer of `pair`.
    result<> bind(const endpoint& at, const bind_options& options = {}) noexcept {
        if (auto opened = open(); !opened.ok()) return opened;
        return to_result(bind_name(at, options.replace_stale));
    }

    /// Chooses the peer of `send` and `receive`; opens the socket if it is closed. Never waits.
    result<> connect(const endpoint& to) noexcept {
        if (auto opened = open(); !opened.ok()) return opened;
        return to_result(platform::connect(state_->handle, to.raw()));
    }

    /// Sends one datagram to somebody. It never waits: the system does not tell when somebody has
    /// room again to whom one is not connected. `std::errc::resource_unavailable_try_again` (Linux)
    /// or `std::errc::no_buffer_space` then. Opens the socket if it is closed.
    template <class Source>
    requires detail::buffer_source<Source, const_buffer> result<std::size_t>
    try_send_to(Source&& buffer, const endpoint& receiver) {
        if (auto opened = open(); !opened.ok()) return opened.error();
        const const_buffer bytes(std::forward<Source>(buffer));
        const platform::buffer& one = bytes;
        const auto sent = platform::send_to(state_->handle, &one, 1, &receiver.raw());
        if (sent.error) return detail::system_error(sent.error);
        return sent.count;
    }

    /// Receives one datagram; `sender` says where it came from, if that has a name. Both must live
    /// until the operation has ended. Cancellation: no datagram is lost.
    template <class Source>
    requires detail::buffer_source<Source, mutable_buffer>
    auto receive_from(Source&& buffer, endpoint& sender) noexcept {
        return detail::socket_operation<detail::receive_request<1>>(
            {state_,
             detail::buffers_of<1>::template from<mutable_buffer>(std::forward<Source>(buffer)),
             &sender.raw()});
    }

    /// Sends one datagram, gathered from the buffers, to the connected peer; waits while that has
    /// no room for it.
    template <class... Source>
    requires(sizeof...(Source) > 0) && (detail::buffer_source<Source, const_buffer> &&
                                        ...) auto send(Source&&... sources) noexcept {
        return detail::socket_operation<detail::send_request<sizeof...(Source)>>(
            {state_, buffers<const_buffer>(std::forward<Source>(sources)...)});
    }

    /// Receives one datagram, scattered over the buffers.
    template <class... Source>
    requires(sizeof...(Source) > 0) && (detail::buffer_source<Source, mutable_buffer> &&
                                        ...) auto receive(Source&&... sources) noexcept {
        return detail::socket_operation<detail::receive_request<sizeof...(Source)>>(
            {state_, buffers<mutable_buffer>(std::forward<Source>(sources)...)});
    }

    /// Waits until a receive or send would not block, without doing it.
    auto wait(readiness what) noexcept {
        return detail::socket_operation<detail::wait_request>({{}, state_, what});
    }

private:
    template <class Buffer, class... Source>
    static auto buffers(Source&&... sources) noexcept {
        static_assert(sizeof...(Source) <= platform::max_buffers,
                      "curfew: the system moves a datagram with one call, which takes no more "
                      "buffers than platform::max_buffers");
        return detail::buffers_of<sizeof...(Source)>::template from<Buffer>(
            std::forward<Source>(sources)...);
    }

    friend result<std::pair<datagram, datagram>> datagram_pair(io_context& context);
    datagram(detail::loop& own, native_handle_type handle)
        : local_socket(own, platform::transport::datagram, handle) {}
};

/// Two sockets that are connected with each other: to talk to a child process, say, that is given
/// one of them by `release`. `errc::not_supported` on Windows.
inline result<std::pair<socket, socket>> pair(io_context& context) {
    detail::unowned_handle first, second;
    if (const int error =
            platform::open_pair(platform::transport::stream, first.handle, second.handle))
        return detail::system_error(error);
    detail::loop& own = detail::loop_of(context);
    std::pair<socket, socket> made(socket(own, first.handle, true), socket());
    first.handle = platform::invalid_socket;
    made.second = socket(own, second.handle, true);
    second.handle = platform::invalid_socket;
    return made;
}

/// The same for datagrams.
inline result<std::pair<datagram, datagram>> datagram_pair(io_context& context) {
    detail::unowned_handle first, second;
    if (const int error =
            platform::open_pair(platform::transport::datagram, first.handle, second.handle))
        return detail::system_error(error);
    detail::loop& own = detail::loop_of(context);
    std::pair<datagram, datagram> made(datagram(own, first.handle), datagram());
    first.handle = platform::invalid_socket;
    made.second = datagram(own, second.handle);
    second.handle = platform::invalid_socket;
    return made;
}

}  // namespace curfew::local
