// Requests: what an operation on a socket is about. `socket.read_some(buffer)` makes one of the
// socket and its buffers, and nothing happens until it is awaited (see operation_awaiter.hpp).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <system_error>
#include <utility>

#include "../buffer.hpp"
#include "../core/operation.hpp"
#include "../core/socket_state.hpp"
#include "../ip/endpoint.hpp"
#include "../result.hpp"
#include "operation_awaiter.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

/// Buffers inside the request (`Count` of them), or with 0 a list of the caller's.
template <std::size_t Count>
struct buffers_of {
    std::array<platform::buffer, Count> own;

    template <class Buffer, class... Source>
    static buffers_of from(Source&&... sources) noexcept {
        return {{Buffer(std::forward<Source>(sources))...}};
    }
    void describe(operation& op) const noexcept {
        op.buffers = own.data();
        op.buffer_count = Count;
    }
};

template <>
struct buffers_of<0> {
    const platform::buffer* list;
    std::size_t size;

    template <class Buffer>
    static buffers_of from(std::span<const Buffer> buffers) noexcept {
        static_assert(sizeof(Buffer) == sizeof(platform::buffer));
        return {buffers.data(), buffers.size()};
    }
    void describe(operation& op) const noexcept {
        op.buffers = list;
        CURFEW_ASSERT(size <= UINT32_MAX);
        op.buffer_count = static_cast<std::uint32_t>(size);
    }
};

/// Requests of one kind, which fixes the direction.
template <operation_kind Kind>
struct request_of {
    static constexpr operation_kind kind = Kind;
    static constexpr bool one_transfer = false;  // a stream's, with one buffer
    socket_state* socket;

    /// A connect takes the place of both a read and a write: neither makes sense meanwhile.
    static constexpr readiness directions() noexcept {
        switch (Kind) {
        case operation_kind::connect:
            return readiness::readable | readiness::writable;
        case operation_kind::write:
        case operation_kind::send_to:
            return readiness::writable;
        default:
            return readiness::readable;
        }
    }

    /// What an operation holds that has completed, and whose coroutine will not see it.
    static void discard(operation&) noexcept {}
};

struct yields_nothing {
    static result<> yield(operation&, std::error_code error) noexcept { return error; }
};

struct yields_count {
    static result<std::size_t> yield(operation& op, std::error_code error) noexcept {
        return {error, op.transferred};
    }
};

template <std::size_t Count>
struct with_buffers {
    buffers_of<Count> buffers;
};

/// A read or write of a stream. (Aligned, it leaves a gap behind the socket: gcc makes one store,
/// and two instructions more, of neighbours in a frame, even of unrelated objects.)
template <operation_kind Kind, bool Exact, std::size_t Count>
struct alignas(2 * sizeof(void*)) transfer_request : with_buffers<Count>,
                                                     request_of<Kind>,
                                                     yields_count {
    static constexpr bool one_transfer = Count == 1;
    static constexpr bool exact = Exact;

    transfer_request(socket_state* on, const buffers_of<Count>& bytes) noexcept
        : with_buffers<Count>{bytes}, request_of<Kind>{on} {}

    void describe(operation& op) const noexcept {
        this->buffers.describe(op);
        op.exact = Exact;
    }
};

template <std::size_t Count>
struct send_request : request_of<operation_kind::send_to>, yields_count {
    buffers_of<Count> buffers;
    platform::socket_address receiver;  // unspecified: the connected peer

    send_request(socket_state* on, const buffers_of<Count>& bytes,
                 const ip::endpoint& to = {}) noexcept
        : request_of{on}, buffers(bytes), receiver(to.raw()) {}

    void describe(operation& op) const noexcept {
        buffers.describe(op);
        op.address = receiver.family != platform::family::unspecified
                         ? const_cast<platform::socket_address*>(&receiver)  // which is only read
                         : nullptr;
    }
};

template <std::size_t Count>
struct receive_request : request_of<operation_kind::receive_from>, yields_count {
    buffers_of<Count> buffers;
    platform::socket_address* sender;

    receive_request(socket_state* on, const buffers_of<Count>& bytes,
                    platform::socket_address* from = nullptr) noexcept
        : request_of{on}, buffers(bytes), sender(from) {}

    void describe(operation& op) const noexcept {
        buffers.describe(op);
        op.address = sender;
    }
};

struct connect_request : request_of<operation_kind::connect>, yields_nothing {
    platform::socket_address to;

    connect_request(socket_state* on, const ip::endpoint& endpoint) noexcept
        : request_of{on}, to(endpoint.raw()) {}
    void describe(operation& op) const noexcept {
        op.address = const_cast<platform::socket_address*>(&to);  // which is only read
    }
};

struct wait_request : yields_nothing {
    static void discard(operation&) noexcept {}
    static constexpr operation_kind kind = operation_kind::wait;
    static constexpr bool one_transfer = false;
    socket_state* socket;
    readiness what;
    readiness directions() const noexcept { return what; }
    void describe(operation&) const noexcept {}
};

}  // namespace curfew::detail
