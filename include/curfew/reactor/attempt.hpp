// One non-blocking try of an operation: what readiness reactors live by, and the short way for what
// can be done at once on any reactor.
#pragma once

#include <cstddef>
#include <utility>

#include "../core/operation.hpp"
#include "wait_failure.hpp"
#include "wait_for_one.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

inline bool completed(operation& op, outcome how, int error = 0) noexcept {
    op.finish(how, error);
    return true;
}

/// The operation has failed, which says nothing about the next one: an edge has been used up.
CURFEW_COLD inline bool failed(operation& op, outcome how, int error = 0) noexcept {
    op.socket->set_worth_trying(op.interest);
    op.socket->error_told = false;
    return completed(op, how, error);
}

/// A read that is to fill its buffers would block. Where such reads follow each other, as where a
/// message begins with its length, each that was filled exactly is followed by one in vain, for it
/// says nothing of what is behind it. So with the second of these the system is asked to say that.
inline void learn_what_is_left([[maybe_unused]] socket_state& socket) noexcept {
#if defined(CURFEW_TELLS_WHAT_IS_LEFT)
    if (socket.blocked_exact_reads == 2 || ++socket.blocked_exact_reads != 2) return;
    socket.reports_remaining = platform::tell_what_is_left(socket.handle, true) == 0;
#endif
}

/// Somebody else is to have the socket, who did not ask for that.
inline void forget_what_is_left([[maybe_unused]] socket_state& socket) noexcept {
#if defined(CURFEW_TELLS_WHAT_IS_LEFT)
    if (socket.reports_remaining) platform::tell_what_is_left(socket.handle, false);
#endif
}

/// A call would block: no more tries until there is an event.
CURFEW_COLD inline bool blocked_or_failed(operation& op, int error) noexcept {
    if (!platform::would_block(error)) return failed(op, outcome::system, error);
    op.socket->set_dry(op.interest);
    if (op.interest != readiness::readable) return false;
    op.socket->tried(true);
    if (op.exact) learn_what_is_left(*op.socket);
    return false;
}

inline void note_read(socket_state& socket, bool fell_short) noexcept {
    if (socket.is_dry_after(fell_short))
        socket.set_dry(readiness::readable);
    else
        socket.set_worth_trying(readiness::readable);
}

/// The next buffers of a read or write for one call, as many as `most` bytes allow, or the
/// beginning of the first one.
struct portion {
    const platform::buffer* list;
    std::size_t count = 0;
    std::size_t skip;
    std::size_t size = 0;  // bytes in all
    platform::buffer part;

    portion(const operation& op, std::size_t most) noexcept : list(op.buffers), skip(op.offset) {
        std::size_t room = 0;
        for (std::size_t filled = 0; count < op.buffer_count; ++count) {
            room = list[count].size - (count == 0 ? skip : 0);
            if (room > most - size || (room > 0 && filled++ == platform::max_buffers)) break;
            size += room;
        }
        if (size > 0 || count == op.buffer_count) return;
        const platform::buffer& large = list[count];
        part = {large.data + (large.size - room), size = most};
        list = &part;
        count = 1;
        skip = 0;
    }
    portion(const portion&) = delete;
    portion& operator=(const portion&) = delete;
};

/// Counts a call that has moved `n` of the `left` bytes of an operation's turn. False: it is over.
inline bool turn_goes_on(std::size_t& left, std::size_t n) noexcept {
    constexpr std::size_t least = fair_size / 64;  // calls take time, too
    if (n < least) n = least;
    left -= n < left ? n : left;
    return left > 0;
}

/// One call, and whether it has left nothing behind, where that is to be had. (What comes after it
/// makes a new event; see socket_state::is_dry_after.)
inline platform::transfer receive(const operation& op, const portion& next,
                                  [[maybe_unused]] bool& nothing_left) noexcept {
    const socket_state& socket = *op.socket;
#if defined(CURFEW_TELLS_WHAT_IS_LEFT)
    if (op.exact && socket.reports_remaining)
        return platform::receive(socket.handle, next.list, next.count, next.skip, nothing_left);
#endif
    return platform::receive(socket.handle, next.list, next.count, next.skip);
}

/// Reads until the operation is complete (true), or the socket dry, or its turn over: then the
/// socket is still worth trying.
inline bool read_on(operation& op) noexcept {
    socket_state& socket = *op.socket;
    std::size_t left = fair_size;
    do {
        const portion next(op, left);
        bool nothing_left = false;
        const platform::transfer moved = receive(op, next, nothing_left);
        if (moved.error) return blocked_or_failed(op, moved.error);
        if (moved.count == 0) return failed(op, outcome::eof);
        note_read(socket, nothing_left || moved.count < next.size);
        if (op.advance(moved.count)) return completed(op, outcome::success);
        if (!turn_goes_on(left, moved.count)) return false;
    } while (socket.may_try(readiness::readable));
    return false;
}

/// Writes until the operation is complete (true), or the socket full, or its turn over: then the
/// socket is still worth trying.
inline bool attempt_write(operation& op) noexcept {
    std::size_t left = fair_size;
    for (;;) {
        const portion next(op, left);
        const platform::transfer moved =
            platform::send(op.socket->handle, next.list, next.count, next.skip);
        if (moved.error) [[unlikely]]
            return blocked_or_failed(op, moved.error);
        if (op.advance(moved.count)) return completed(op, outcome::success);
        if (!turn_goes_on(left, moved.count)) return false;
    }
}

/// A single read or write returned `n`, which is no number of bytes moved.
CURFEW_COLD inline bool after_nothing(operation& op, std::ptrdiff_t n) noexcept {
    const int error = static_cast<int>(-n);
    if (op.single_transfer) op.describe_rest();
    // An empty write: a call was made all the same, since that costs less than to look for it.
    if (op.wants_nothing() &&
        (!error || platform::interrupted(error) || platform::would_block(error)))
        return completed(op, outcome::success);
    if (platform::interrupted(error))
        return op.kind == operation_kind::read ? read_on(op) : attempt_write(op);
    if (error) return blocked_or_failed(op, error);
    return failed(op, outcome::eof);
}

/// Reads, or goes on reading. True: the operation is complete.
inline bool attempt_read(operation& op) noexcept {
    if (op.buffer_count != 1 || (op.exact && op.socket->reports_remaining)) return read_on(op);
    std::size_t room = op.buffers->size - op.offset;
    if (room > fair_size) room = fair_size;
    const auto n = platform::receive(op.socket->handle, op.buffers->data + op.offset, room);
    if (n <= 0) [[unlikely]]
        return after_nothing(op, n);
    const auto count = static_cast<std::size_t>(n);
    note_read(*op.socket, count < room);
    if (op.advance(count)) return completed(op, outcome::success);
    return op.socket->may_try(readiness::readable) && read_on(op);
}

/// The same for a single transfer that is pending on `socket`, which nobody thinks worth trying
/// yet.
CURFEW_HOT inline bool attempt_single_read(operation& op, socket_state& socket) noexcept {
    const platform::buffer buffer = *op.buffers;
    const auto n = platform::receive(socket.handle, buffer.data, buffer.size);
    if (n <= 0) [[unlikely]]
        return after_nothing(op, n);
    op.transferred = static_cast<std::size_t>(n);
    if (!socket.is_dry_after(op.transferred < op.buffers->size)) [[unlikely]]
        socket.set_worth_trying(readiness::readable);
    return completed(op, outcome::success);
}

inline bool datagram_moved(operation& op, platform::transfer moved) noexcept {
    if (moved.error && moved.error != platform::message_too_long)
        return blocked_or_failed(op, moved.error);
    op.transferred = moved.count;
    if (op.interest == readiness::readable) op.socket->tried(false);
    return completed(op, moved.error ? outcome::system : outcome::success, moved.error);
}

inline bool attempt_accept(operation& op) noexcept {
    for (;;) {
        const int error = platform::accept(op.socket->handle, op.accepted, op.peer);
        if (error == 0) {
            op.socket->tried(false);
            return completed(op, outcome::success);
        }
        if (!platform::accept_may_go_on(error)) return blocked_or_failed(op, error);
    }
}

inline bool attempt_call(operation& op) noexcept {
    const platform::transfer made = op.call->make(op);
    if (std::exchange(op.call->turn_is_over, false))
        return false;  // the socket is as ready as before
    if (made.error && made.error != platform::message_too_long)
        return blocked_or_failed(op, made.error);
    if (!made.error && made.count == 0 && op.call->nothing_is_eof) return failed(op, outcome::eof);
    op.transferred = made.count;
    return completed(op, made.error ? outcome::system : outcome::success, made.error);
}

/// A look at a single socket has failed: is that the socket's doing, or nobody's?
CURFEW_COLD inline bool after_failed_look(operation& op, int error) noexcept {
    const socket_state& socket = *op.socket;
    if (error == platform::too_many_descriptors) return failed(op, outcome::system, error);
    switch (meaning_of(error)) {
    case wait_failure::of_a_socket:
        return completed(op, outcome::success);  // the operation that follows will tell
    case wait_failure::bad_descriptor:
        if (!platform::is_closed(socket.handle)) break;
        return failed(op, outcome::system, error);
    case wait_failure::of_the_loop:
        return failed(op, outcome::system, error);
    case wait_failure::interrupted:
    case wait_failure::out_of_resources:
        // One that stays registered may have had its event already.
        if (socket.stays_registered) return failed(op, outcome::system, error);
        break;
    }
    op.socket->set_dry(op.interest);
    return false;
}

/// What precedes a connect: a descriptor, and a look whether it is connected already. (Asked first:
/// Linux answers the first connect after a pending one with success.) True: the operation is
/// complete, as it cannot begin.
inline bool open_to_connect(operation& op) noexcept {
    socket_state& socket = *op.socket;
    socket.lost_with = 0;
    if (!socket.is_open()) {
        const int error = platform::open(op.address->family, socket.type, socket.handle);
        socket.ignore_short_reads = op.address->family == platform::family::local;
        return error && completed(op, outcome::system, error);
    }
    return platform::is_connected(socket.handle) &&
           completed(op, outcome::system, platform::already_connected);
}

/// Looks whether the socket is ready, without doing anything.
inline bool attempt_wait(operation& op) noexcept {
    socket_state& socket = *op.socket;
    int ready = 0;
    int error = 0;
    bool only_problem = false;
    for (int tries = 0; tries < 8; ++tries) {
        error = wait_for_one(socket.handle, op.interest, std::chrono::nanoseconds::zero(), ready,
                             only_problem);
        // Interrupted, or failed without a reason: once more.
        if (ready >= 0 || (error && !platform::interrupted(error))) break;
    }
    if (ready < 0) return after_failed_look(op, error);
    if (ready > 0 && !(only_problem && socket.error_told)) {
        socket.error_told = only_problem;
        return completed(op, outcome::success);
    }
    socket.error_told = only_problem;
    socket.set_dry(op.interest);
    return false;
}

/// Any kind but a connect, on a socket that is open. True: the operation is complete. False: it
/// would block, and the socket has been set dry.
inline bool attempt(operation& op) noexcept {
    switch (op.kind) {
    case operation_kind::read:
        return attempt_read(op);
    case operation_kind::write:
        return attempt_write(op);
    case operation_kind::receive_from:
        return datagram_moved(
            op, platform::receive_from(op.socket->handle, op.buffers, op.buffer_count, op.address));
    case operation_kind::send_to:
        return datagram_moved(
            op, platform::send_to(op.socket->handle, op.buffers, op.buffer_count, op.address));
    case operation_kind::accept:
        return attempt_accept(op);
    case operation_kind::wait:
        return attempt_wait(op);
    case operation_kind::call:
        return attempt_call(op);
    case operation_kind::connect:
        break;
    }
    return false;
}

}  // namespace curfew::detail
