// UDP: datagrams.
#pragma once

#include <cstddef>
#include <cstdint>
#include <system_error>
#include <utility>

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

private:
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
