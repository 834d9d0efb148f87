// UDP: datagrams.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <system_error>
#include <utility>

#include "await/datagram_requests.hpp"
#include "await/requests.hpp"
#include "buffer.hpp"
#include "core/socket_state.hpp"
#include "error.hpp"
#include "io_context.hpp"
#include "platform/types.hpp"
#include "result.hpp"
#include "socket_base.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::udp {

/// What the network has answered to a datagram: see `socket::receive_error`.
struct network_error {
    std::error_code error;  ///< the system's: refused, unreachable, too large...
    ip::endpoint receiver;  ///< to whom the datagram was sent
    ip::address reporter;   ///< who answered: that host, or one on the way; unspecified: this one
    std::size_t size = 0;   ///< how much of the datagram is in the buffer
    std::uint32_t mtu = 0;  ///< with `std::errc::message_size`, the largest that would have passed
};

/// A UDP socket. A datagram is sent and received as a whole: one that does not fit into the buffers
/// yields `std::errc::message_size` with the count of bytes that did, and its rest is lost.
///
/// One receive and one send at a time may be pending. Buffers, and the `sender`, must live until
/// the operation has ended. Cancellation: no datagram is lost by it; the operation ends with
/// `canceled` or `timed_out`, or with success if it had completed.
class socket : public detail::socket_base {
public:
    /// Belongs to nothing: every operation says `closed`.
    socket() noexcept = default;
    /// Closed, of this context.
    explicit socket(io_context& context)
        : socket_base(detail::loop_of(context), platform::transport::datagram) {}

    /// Takes in a descriptor. With an error it remains the caller's. It is changed as
    /// tcp::socket::adopt says: O_NONBLOCK, FD_CLOEXEC, SO_NOSIGPIPE.
    static result<socket> adopt(io_context& context, native_handle_type handle) {
        if (const int error = platform::adopt(handle, platform::transport::datagram))
            return detail::system_error(error);
        return socket(detail::loop_of(context), handle);
    }

    /// Makes the descriptor without binding it, so that options can be set before `bind`.
    result<> open(ip::family family) noexcept { return open_handle(family); }

    /// Opens the socket if it is closed, and binds it. With port 0 the system chooses one.
    result<> bind(const ip::endpoint& at) noexcept {
        if (auto opened = open_handle(at.family()); !opened.ok()) return opened;
        return to_result(platform::bind(state_->handle, at.raw()));
    }

    /// Chooses the peer of `send` and `receive`; opens the socket if it is closed. Never waits.
    result<> connect(const ip::endpoint& to) noexcept {
        if (auto opened = open_handle(to.family()); !opened.ok()) return opened;
        return to_result(platform::connect(state_->handle, to.raw()));
    }

    /// Sends one datagram. A socket that was never open is opened when this is awaited, and bound
    /// to a port of the system's choice; if it cannot be opened, that is the error.
    template <class Source>
    requires detail::buffer_source<Source, const_buffer>
    auto send_to(Source&& buffer, const ip::endpoint& receiver) noexcept {
        return detail::socket_operation<detail::send_request<1>>(
            {state_, buffers<const_buffer>(std::forward<Source>(buffer)), receiver});
    }
    template <detail::bare_pointer P, class... More>
    result<> send_to(P&&, More&&...) = delete;  // a pointer has no size: std::span(p, size)

    /// Receives one datagram; `sender` says where it came from.
    template <class Source>
    requires detail::buffer_source<Source, mutable_buffer>
    auto receive_from(Source&& buffer, ip::endpoint& sender) noexcept {
        return detail::socket_operation<detail::receive_request<1>>(
            {state_, buffers<mutable_buffer>(std::forward<Source>(buffer)), &sender.raw()});
    }
    template <detail::bare_pointer P, class... More>
    result<> receive_from(P&&, More&&...) = delete;  // a pointer has no size: std::span(p, size)

    /// Sends one datagram, if there is room for it at once: for frames of a game, which do not
    /// wait, and need no coroutine. Else `std::errc::operation_would_block`, and nothing is sent.
    /// A socket that was never open is opened as `send_to` does. A pending send does not mind.
    template <class Source>
    requires detail::buffer_source<Source, const_buffer>
    result<std::size_t> try_send_to(Source&& buffer, const ip::endpoint& receiver) noexcept {
        detail::check_thread(*state_);
        if (!is_open()) {
            if (state_->was_open) return errc::closed;
            if (auto opened = open_handle(receiver.family()); !opened.ok()) return opened.error();
        }
        const const_buffer bytes(std::forward<Source>(buffer));
        return moved(platform::send_to(state_->handle, &bytes, 1, &receiver.raw()));
    }
    template <detail::bare_pointer P, class... More>
    result<> try_send_to(P&&, More&&...) = delete;  // a pointer has no size: std::span(p, size)

    /// Receives one datagram, if one has come: `std::errc::operation_would_block` if not. One that
    /// does not fit is `std::errc::message_size`, as with `receive_from`. If a receive is pending,
    /// a datagram is given to either of them.
    ///
    ///     for (;;) {  // in each frame
    ///         auto [ec, n] = socket.try_receive_from(buffer, sender);
    ///         if (ec) break;
    ///         apply(std::span(buffer).first(n), sender);
    ///     }
    template <class Source>
    requires detail::buffer_source<Source, mutable_buffer>
    result<std::size_t> try_receive_from(Source&& buffer, ip::endpoint& sender) noexcept {
        detail::check_thread(*state_);
        if (!is_open()) return errc::closed;
        const mutable_buffer bytes(std::forward<Source>(buffer));
        return moved(platform::receive_from(state_->handle, &bytes, 1, &sender.raw()));
    }
    template <detail::bare_pointer P, class... More>
    result<> try_receive_from(P&&, More&&...) = delete;  // a pointer has no size: std::span(p, size)

    /// Has the system tell of each datagram which way it has come, for the `receive_from` that
    /// takes a `path`. On a host with several addresses an answer would else leave from any of
    /// them, and its receiver take it for somebody else's. Linux and macOS; elsewhere
    /// `errc::not_supported`. The socket has to be open: `open` or `bind` before.
    optional_result tell_paths(bool on) noexcept {
        if (!is_open()) return errc::closed;
        return to_result(platform::tell_paths(state_->handle, on));
    }

    /// Receives one datagram, and which way it has come, of which nothing but the peer is told
    /// without `tell_paths`. `way` must live until the operation has ended. Cancellation: as ever,
    /// no datagram is lost.
    ///
    ///     udp::path way;
    ///     auto [ec, n] = co_await server.receive_from(buffer, way);
    ///     if (!ec) co_await server.send_to(answer, way);  // from where the other was sent to
    template <class Source>
    requires detail::buffer_source<Source, mutable_buffer>
    auto receive_from(Source&& buffer, path& way) noexcept {
        return detail::socket_operation<detail::receive_path_request>(
            {state_, mutable_buffer(std::forward<Source>(buffer)), way});
    }

    /// Sends one datagram to `way.peer` from the address `way.local`. The socket has to be open.
    template <class Source>
    requires detail::buffer_source<Source, const_buffer>
    auto send_to(Source&& buffer, const path& way) noexcept {
        return detail::socket_operation<detail::send_path_request>(
            {state_, const_buffer(std::forward<Source>(buffer)), way});
    }

    /// Sends all of the datagrams, with few calls where the system has one for that (Linux), from a
    /// socket that is open. It yields how many have gone, also with an error: of a limit, or of the
    /// datagram that comes after them. The list, and the bytes, must live until it has ended.
    auto send_many(std::span<const outgoing_datagram> datagrams) noexcept {
        return detail::socket_operation<detail::send_many_request>({state_, datagrams});
    }

    /// Waits until a datagram has come, and receives as many as have come and there is room for, 256
    /// at the most. It yields how many; each says where it came from, its size, and whether it was cut (which is no
    /// error of the whole). The list, and the room, must live until it has ended. Cancellation: no
    /// datagram is lost.
    ///
    ///     std::array<std::array<std::byte, 1500>, 64> room;
    ///     std::array<udp::incoming_datagram, 64> datagrams;
    ///     for (std::size_t i = 0; i < 64; ++i) datagrams[i].room = room[i];
    ///     auto [ec, n] = co_await socket.receive_many(datagrams);
    ///     for (auto& each : std::span(datagrams).first(n)) apply(each);
    auto receive_many(std::span<incoming_datagram> datagrams) noexcept {
        return detail::socket_operation<detail::receive_many_request>({state_, datagrams});
    }

    /// Sends one datagram, gathered from the buffers, to the connected peer.
    template <class... Source>
    requires(sizeof...(Source) > 0) && (detail::buffer_source<Source, const_buffer> &&
                                        ...) auto send(Source&&... sources) noexcept {
        return detail::socket_operation<detail::send_request<sizeof...(Source)>>(
            {state_, buffers<const_buffer>(std::forward<Source>(sources)...)});
    }
    template <detail::bare_pointer P, class... More>
    result<> send(P&&, More&&...) = delete;  // a pointer has no size: std::span(p, size)

    /// Receives one datagram, scattered over the buffers, from the connected peer.
    template <class... Source>
    requires(sizeof...(Source) > 0) && (detail::buffer_source<Source, mutable_buffer> &&
                                        ...) auto receive(Source&&... sources) noexcept {
        return detail::socket_operation<detail::receive_request<sizeof...(Source)>>(
            {state_, buffers<mutable_buffer>(std::forward<Source>(sources)...)});
    }
    template <detail::bare_pointer P, class... More>
    result<> receive(P&&, More&&...) = delete;  // a pointer has no size: std::span(p, size)

    /// Lets the system keep in a queue what the network answers to each datagram (Linux:
    /// IP_RECVERR and IPV6_RECVERR), for `receive_error`; elsewhere `errc::not_supported`. A
    /// receive or send that comes first fails with such an error, also on a socket that is not
    /// connected.
    ///
    /// Whoever switches this on is to empty the queue: until then the socket counts as ready.
    /// curfew does not spin for that, and a `wait` is told once; but with reactors other than epoll
    /// what arrives may be noticed as late as 16 ms afterwards.
    optional_result queue_errors(bool on) noexcept {
        if (!is_open()) return errc::closed;
#if defined(CURFEW_HAS_ERROR_QUEUE)
        return to_result(platform::queue_errors(state_->handle, on));
#else
        return to_result((static_cast<void>(on), platform::unsupported));
#endif
    }

    /// Takes the first error of that queue, and as much of the datagram it is about as fits into
    /// `datagram`. Never waits: `std::errc::resource_unavailable_try_again` if there is none (any
    /// more). `wait(readable)` ends when one comes.
    ///
    ///     (co_await socket.wait(readable)).value();
    ///     for (;;) {
    ///         auto [ec, answer] = socket.receive_error();
    ///         if (ec) break;
    ///         std::cerr << answer.receiver.to_string() << ": " << answer.error.message() << '\n';
    ///     }
    result<network_error> receive_error(mutable_buffer datagram = {}) noexcept {
        if (!is_open()) return errc::closed;
#if defined(CURFEW_HAS_ERROR_QUEUE)
        const platform::buffer& buffer = datagram;
        platform::queued_error told;
        const auto got = platform::receive_error(state_->handle, &buffer, 1, told);
        if (got.error) return detail::system_error(got.error);
        state_->error_told = false;
        network_error answer;
        answer.error = detail::system_error(told.error);
        answer.receiver = ip::endpoint(told.receiver);
        answer.reporter = ip::endpoint(told.reporter).address();
        answer.size = got.count;
        answer.mtu = told.mtu;
        return answer;
#else
        static_cast<void>(datagram);
        return detail::system_error(platform::unsupported);
#endif
    }

    /// Waits until a receive or send would not block, without doing it. An error that nobody takes
    /// ends one, and not one after the other: see tcp::socket::wait.
    auto wait(readiness what) noexcept {
        return detail::socket_operation<detail::wait_request>({{}, state_, what});
    }

    /// The peer chosen by `connect`.
    ip::endpoint remote_endpoint() const noexcept {
        return is_open() ? ip::endpoint(platform::remote_address(state_->handle)) : ip::endpoint();
    }

    /// SO_BROADCAST: datagrams to broadcast addresses are allowed.
    optional_result broadcast(bool on) noexcept { return set(platform::option::broadcast, on); }
    /// Whether it is on.
    result<bool> broadcast() const noexcept { return flag(platform::option::broadcast); }

    // What follows says `errc::not_supported` where the system has nothing of the kind. Of a socket
    // for IPv6 it also holds for what goes to IPv4, where the system has options for that.

    /// SO_REUSEPORT: several sockets may be bound to the same port. Linux spreads the datagrams
    /// over them by who has sent them. To be set before `bind`, by each of them.
    optional_result reuse_port(bool on) noexcept { return set(platform::option::reuse_port, on); }
    /// Whether it is on.
    result<bool> reuse_port() const noexcept { return flag(platform::option::reuse_port); }

    /// IPV6_V6ONLY: the socket, which is one for IPv6, has nothing to do with IPv4. To be set
    /// before `bind`. Without it `[::]` is IPv4, too, on most systems.
    optional_result v6_only(bool on) noexcept { return set(platform::option::v6_only, on); }
    /// Whether it is on.
    result<bool> v6_only() const noexcept { return flag(platform::option::v6_only); }

    /// How many hosts may pass a datagram on (TTL, hop limit), 1 to 255.
    optional_result hops(int count) noexcept { return set(platform::option::hops, count); }
    /// The same as it is now.
    result<int> hops() const noexcept { return get(platform::option::hops); }

    /// The traffic class of what is sent: DSCP in the upper six bits, ECN in the lower two. 0xb8 is
    /// "expedited forwarding", which is for voice and games. Not on Windows.
    optional_result traffic_class(int value) noexcept {
        return set(platform::option::traffic_class, value);
    }
    /// The same as it is now.
    result<int> traffic_class() const noexcept { return get(platform::option::traffic_class); }

    /// Datagrams are not fragmented, on the way or before: what is too large for the way is
    /// `std::errc::message_size`, or lost. To find out what passes, see `queue_errors`.
    optional_result dont_fragment(bool on) noexcept {
        return set(platform::option::dont_fragment, on);
    }
    /// Whether it is on.
    result<bool> dont_fragment() const noexcept { return flag(platform::option::dont_fragment); }

    /// What is sent to this group comes to the socket, too, if it arrives at that interface (a
    /// number, as platform::interface_index gives; 0: one of the system's choice). The socket is to
    /// be bound to the group's port. One socket may join several groups, and one at several
    /// interfaces.
    optional_result join_group(const ip::address& group, std::uint32_t at_interface = 0) noexcept {
        if (!is_open()) return errc::closed;
        return to_result(
            platform::join_group(state_->handle, ip::endpoint(group, 0).raw(), at_interface));
    }
    /// Undoes `join_group`, as the end of the socket does.
    optional_result leave_group(const ip::address& group, std::uint32_t at_interface = 0) noexcept {
        if (!is_open()) return errc::closed;
        return to_result(
            platform::leave_group(state_->handle, ip::endpoint(group, 0).raw(), at_interface));
    }

    /// Whether what is sent to a group comes to members on this host, too, as it does by default.
    /// (On Windows it is the receiver's option.)
    optional_result multicast_loop(bool on) noexcept {
        return set(platform::option::multicast_loop, on);
    }
    /// Whether it is on.
    result<bool> multicast_loop() const noexcept { return flag(platform::option::multicast_loop); }

    /// How many hosts may pass on what is sent to a group. By default it stays in its network: 1.
    optional_result multicast_hops(int count) noexcept {
        return set(platform::option::multicast_hops, count);
    }
    /// The same as it is now.
    result<int> multicast_hops() const noexcept { return get(platform::option::multicast_hops); }

    /// The interface through which what is sent to a group leaves; 0: the system's choice.
    optional_result multicast_interface(std::uint32_t index) noexcept {
        return set(platform::option::multicast_interface, static_cast<int>(index));
    }

private:
    /// What a call that was made without waiting yields.
    result<std::size_t> moved(platform::transfer done) noexcept {
        if (!done.error) return done.count;
        if (!platform::would_block(done.error)) state_->error_told = false;
        return {detail::system_error(done.error), done.count};
    }

    template <class Buffer, class... Source>
    static auto buffers(Source&&... sources) noexcept {
        static_assert(sizeof...(Source) <= platform::max_buffers,
                      "curfew: the system moves a datagram with one call, which takes no more "
                      "buffers than platform::max_buffers");
        return detail::buffers_of<sizeof...(Source)>::template from<Buffer>(
            std::forward<Source>(sources)...);
    }

    socket(detail::loop& own, native_handle_type handle)
        : socket_base(own, platform::transport::datagram, handle) {}
};

}  // namespace curfew::udp
