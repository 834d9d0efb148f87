// Requests of UDP sockets that make calls of their own (see operation_call): datagrams of which it
// is told which way they go, and several of them at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <system_error>

#include "../platform/types.hpp"
#include "requests.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::udp {

/// Which way a datagram has come, so that the answer can go back the same way: see
/// `socket::tell_paths`.
struct path {
    path() = default;

    ip::endpoint peer;  ///< who has sent it, or is to get it
    /// Where to answer from, on a host that has several addresses; unspecified: the system's
    /// choice.
    ip::address local;
    /// What it was sent to: the same, or the address of a group, or a broadcast address. (When
    /// sending it does not count.)
    ip::address destination;
    /// The number of the interface it has come through; 0: not known. An answer goes through it
    /// where the peer's address does not say which: a group, a link-local or a broadcast address.
    std::uint32_t interface_index = 0;
    /// DSCP in the upper six bits, ECN in the lower two. (When sending it does not count.)
    std::uint8_t traffic_class = 0;
};

/// One of several datagrams to be sent: see `socket::send_many`.
struct outgoing_datagram {
    const_buffer bytes;     ///< which remain the caller's
    ip::endpoint receiver;  ///< unspecified: the connected peer
};

/// Room for one of several datagrams: see `socket::receive_many`.
struct incoming_datagram {
    mutable_buffer room;   ///< which remains the caller's
    ip::endpoint sender;   ///< filled in: where it came from
    std::size_t size = 0;  ///< filled in: how many bytes have come
    bool was_cut = false;  ///< filled in: it did not fit, and its rest is lost
};

}  // namespace curfew::udp

namespace curfew::detail {

/// Whether it leaves open which interface leads there: a group, a broadcast or a link-local
/// address.
inline bool needs_interface(const platform::socket_address& to) noexcept {
    const std::uint8_t* const bytes = to.bytes;
    if (to.family == platform::family::v4)
        return bytes[0] >= 224 || (bytes[0] == 169 && bytes[1] == 254);
    return bytes[0] == 0xff || (bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80);
}

/// Sends one datagram from a certain address of this host.
struct send_path_request : operation_call, request_of<operation_kind::call>, yields_count {
    buffers_of<1> bytes;
    platform::datagram_path way;

    send_path_request(socket_state* on, const platform::buffer& buffer,
                      const udp::path& chosen) noexcept
        : operation_call{make, "send_to", false}, request_of{on}, bytes{{buffer}} {
        way.peer = chosen.peer.raw();
        way.local = ip::endpoint(chosen.local, 0).raw();
        if (needs_interface(way.peer)) way.interface_index = chosen.interface_index;
    }

    static constexpr readiness directions() noexcept { return readiness::writable; }
    void describe(operation& op) const noexcept {
        bytes.describe(op);
        op.call = this;
    }
    static platform::transfer make(const operation& op) {
        return platform::send_path(op.socket->handle, op.buffers, op.buffer_count,
                                   static_cast<const send_path_request&>(*op.call).way);
    }
};

/// Receives one datagram, and which way it has come.
struct receive_path_request : operation_call, request_of<operation_kind::call>, yields_count {
    buffers_of<1> bytes;
    udp::path* told;

    receive_path_request(socket_state* on, const platform::buffer& buffer, udp::path& way) noexcept
        : operation_call{make, "receive_from", false}, request_of{on}, bytes{{buffer}}, told(&way) {
    }

    void describe(operation& op) const noexcept {
        bytes.describe(op);
        op.call = this;
    }
    static platform::transfer make(const operation& op) {
        platform::datagram_path way;
        const auto got =
            platform::receive_path(op.socket->handle, op.buffers, op.buffer_count, way);
        if (got.error && got.error != platform::message_too_long) return got;
        udp::path& told = *static_cast<const receive_path_request&>(*op.call).told;
        told.peer = ip::endpoint(way.peer);
        told.local = ip::endpoint(way.local).address();
        told.destination = ip::endpoint(way.destination).address();
        told.interface_index = way.interface_index;
        told.traffic_class = way.traffic_class;
        return got;
    }
};

/// What one call of these requests moves at the most, before others have a turn: that takes a part
/// of a millisecond.
inline constexpr std::size_t datagrams_a_turn = 256;

/// Sends all of the datagrams. However it ends, `done` of them have gone: that is counted with each
/// call, since what a call has sent no cancellation takes back.
struct send_many_request : operation_call, request_of<operation_kind::call> {
    std::span<const udp::outgoing_datagram> list;
    mutable std::size_t done = 0;

    send_many_request(socket_state* on, std::span<const udp::outgoing_datagram> all) noexcept
        : operation_call{make, "send_many", false}, request_of{on}, list(all) {}

    static constexpr readiness directions() noexcept { return readiness::writable; }
    void describe(operation& op) const noexcept { op.call = this; }
    static platform::transfer make(const operation& op) {
        const auto& self = static_cast<const send_many_request&>(*op.call);
        const std::size_t end = self.done + datagrams_a_turn;
        while (self.done < self.list.size()) {
            if (self.done >= end) {
                self.turn_is_over = true;
                break;
            }
            platform::datagram next[platform::datagrams_at_once];
            std::size_t count = 0;
            for (const auto& each : self.list.subspan(self.done)) {
                if (count == platform::datagrams_at_once) break;
                next[count].bytes = &each.bytes;
                if (!each.receiver.is_unspecified())  // (which is only read)
                    next[count].peer = const_cast<platform::socket_address*>(&each.receiver.raw());
                ++count;
            }
            const auto sent = platform::send_many(op.socket->handle, next, count);
            if (sent.error) return {self.done, sent.error};
            self.done += sent.count;
        }
        return {self.done, 0};
    }
    static result<std::size_t> yield(operation& op, std::error_code error) noexcept {
        return {error, static_cast<const send_many_request&>(*op.call).done};
    }
};

/// Receives what has come, once there is something, and no more than others can wait for.
struct receive_many_request : operation_call, request_of<operation_kind::call>, yields_count {
    std::span<udp::incoming_datagram> list;

    receive_many_request(socket_state* on, std::span<udp::incoming_datagram> all) noexcept
        : operation_call{make, "receive_many", false}, request_of{on}, list(all) {}

    void describe(operation& op) const noexcept { op.call = this; }
    static platform::transfer make(const operation& op) {
        auto rest = static_cast<const receive_many_request&>(*op.call).list;
        if (rest.size() > datagrams_a_turn) rest = rest.first(datagrams_a_turn);
        std::size_t done = 0;
        while (!rest.empty()) {
            platform::datagram next[platform::datagrams_at_once];
            std::size_t count = 0;
            for (auto& each : rest) {
                if (count == platform::datagrams_at_once) break;
                next[count].bytes = &each.room;
                next[count].peer = &each.sender.raw();
                ++count;
            }
            const auto got = platform::receive_many(op.socket->handle, next, count);
            if (got.error && done == 0) return got;
            for (std::size_t i = 0; i < got.count; ++i) {
                rest[i].size = next[i].count;
                rest[i].was_cut = next[i].was_cut;
            }
            done += got.count;
            // What has come is delivered, whatever stops the next one.
            if (got.error || got.count < count) break;
            rest = rest.subspan(got.count);
        }
        return {done, 0};
    }
};

}  // namespace curfew::detail
