// What is asked of the kernel for each operation: how its entry in the ring is filled in. (An entry
// that is new is all zero.)
#pragma once

#include "../../platform/platform.hpp"

#if defined(CURFEW_HAS_IO_URING)

#include <cstddef>
#include <cstdint>

#include "../../core/operation.hpp"
#include "../attempt.hpp"
#include "request_table.hpp"
#include "ring.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail::uring {

// What a completion belongs to: a request, by its id, or (`of_cancellation`) the cancellation of
// that one; or a watch over the waker, with its number.
//
// A request has one entry at a time, and is free when that is complete. A cancellation may be taken
// by the kernel, or its completion by us, when there is another entry for the request by then, or
// another operation has it: one that is not to end is submitted again, and one that is to end is
// what is meant.
inline constexpr std::uint64_t of_cancellation = std::uint64_t{1} << 63;
inline constexpr std::uint64_t of_waker = of_cancellation | std::uint64_t{1} << 62;
inline constexpr std::uint64_t of_taking_back = of_cancellation | std::uint64_t{1} << 61;

inline bool is_transfer(const operation& op) noexcept {
    return op.kind == operation_kind::read || op.kind == operation_kind::write;
}

/// What is known to be empty need not be tried before the kernel waits: the socket's
/// `reactor_data`, see note_what_is_left.
inline std::uint16_t poll_first(const operation& op) noexcept {
    return static_cast<std::uint16_t>(op.socket->reactor_data);
}

/// After a read: says how the next one of the socket is to be submitted.
CURFEW_HOT inline void note_what_is_left(socket_state& socket, const io_uring_cqe& completion,
                                         bool is_recent) noexcept {
    const bool empty = !(completion.flags & ring_socket_nonempty);
    socket.reactor_data = empty && is_recent ? ring_poll_first : 0;
}

/// A read or write with one buffer. Returns how many bytes the kernel may copy when it takes it.
CURFEW_HOT inline std::size_t fill_transfer(io_uring_sqe& entry, const operation& op,
                                            platform::buffer buffer) noexcept {
    entry.fd = op.socket->handle;
    entry.addr = reinterpret_cast<std::uintptr_t>(buffer.data);
    entry.len = static_cast<std::uint32_t>(buffer.size < fair_size ? buffer.size : fair_size);
    if (op.kind == operation_kind::read) {
        entry.opcode = IORING_OP_RECV;
        entry.ioprio = poll_first(op);
        return entry.ioprio == 0 ? entry.len : 0;
    }
    entry.opcode = IORING_OP_SEND;
    entry.msg_flags = platform::detail::send_flags;
    return entry.len;
}

/// Datagrams, and transfers with several buffers. Returns the same; datagrams do not count, as they
/// are small.
inline std::size_t fill_message(io_uring_sqe& entry, const operation& op,
                                message& details) noexcept {
    std::size_t bytes = 0;
    if (is_transfer(op)) {
        const portion next(op, fair_size);
        details.buffers = {next.list, next.count, next.skip};
        bytes = next.size;
    } else {
        details.buffers = {op.buffers, op.buffer_count, 0};
    }
    platform::detail::native_address* address = nullptr;
    if (!is_transfer(op) && op.address) {
        address = &details.address;
        details.address.size = sizeof details.address.storage;
    }
    if (op.kind == operation_kind::read || op.kind == operation_kind::receive_from) {
        entry.opcode = IORING_OP_RECVMSG;
        if (op.kind == operation_kind::read) entry.ioprio = poll_first(op);
        if (entry.ioprio != 0) bytes = 0;
    } else {
        entry.opcode = IORING_OP_SENDMSG;
        entry.msg_flags = platform::detail::send_flags;
        if (address) *address = platform::detail::to_native(*op.address);
    }
    details.header = platform::detail::message(details.buffers, address);
    entry.addr = reinterpret_cast<std::uintptr_t>(&details.header);
    entry.len = 1;
    return bytes;
}

inline std::uint16_t events_for(const operation& op) noexcept {
    int events = 0;
    if (op.waits_for(readiness::readable) && op.kind != operation_kind::connect) events |= POLLIN;
    if (op.waits_for(readiness::writable)) events |= POLLOUT;
    return static_cast<std::uint16_t>(events);
}

/// The next step of a request. Returns the same.
CURFEW_COLD inline std::size_t fill(io_uring_sqe& entry, const request& next) noexcept {
    const operation& op = *next.op;
    entry.fd = op.socket->handle;
    if (next.next_step == request::step::rest) {
        static constexpr __kernel_timespec rest_time{0, 10'000'000};
        entry.opcode = IORING_OP_TIMEOUT;
        entry.fd = -1;
        entry.addr = reinterpret_cast<std::uintptr_t>(&rest_time);
        entry.len = 1;
    } else if (next.next_step == request::step::poll || op.kind == operation_kind::wait ||
               op.kind == operation_kind::call) {
        entry.opcode = IORING_OP_POLL_ADD;
        entry.poll_events = events_for(op);
    } else if (op.kind == operation_kind::accept) {
        entry.opcode = IORING_OP_ACCEPT;
        entry.accept_flags = SOCK_NONBLOCK | SOCK_CLOEXEC;
    } else if (op.kind == operation_kind::connect) {
        message& details = *next.details;
        details.address = platform::detail::to_native(*op.address);
        entry.opcode = IORING_OP_CONNECT;
        entry.addr = reinterpret_cast<std::uintptr_t>(details.address.get());
        entry.off = details.address.size;
    } else if (is_transfer(op) && op.buffer_count == 1) {
        return fill_transfer(entry, op,
                             {op.buffers->data + op.offset, op.buffers->size - op.offset});
    } else {
        return fill_message(entry, op, *next.details);
    }
    return 0;
}

/// Asks the kernel to end the request that a completion would be of.
inline void fill_cancellation(io_uring_sqe& entry, std::uint64_t whom) noexcept {
    entry.opcode = IORING_OP_ASYNC_CANCEL;
    entry.fd = -1;
    entry.addr = whom;
}

}  // namespace curfew::detail::uring

#endif
