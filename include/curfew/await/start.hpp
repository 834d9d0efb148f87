// The start of an operation: from the awaiter that holds it to the reactor.
//
// `begin` decides whether it may start at all, and tries it without blocking; what would block is
// handed to the reactor, unless that watches the socket anyway, and the fiber is suspended in it.
// `begin_transfer` is the short way of reads and writes with one buffer, which most operations are.
//
// An operation knows who awaits it (`waiter` and `owner`) before it is started, so that the rare
// ways need nothing else and the common ones keep nothing for them.
#pragma once

#include <cstddef>

#include "../core/fiber.hpp"
#include "../core/outcome.hpp"
#include "../core/socket_state.hpp"
#include "../platform/types.hpp"
#include "cancel_operation.hpp"

#if CURFEW_DEFINITIONS
#include "../reactor/attempt.hpp"
#endif

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

/// Suspends the fiber in `op`, which is pending, or complete and to be resumed in a later turn.
CURFEW_HOT inline void suspend_in(operation& op, fiber& owner, const loop& own) noexcept {
    op.type = &operation_suspension;
    op.since = own.recent();
    owner.waiting = &op;
}

CURFEW_COLD inline bool suspend_until_next_turn(operation& op) noexcept {
    if (!op.owner->loop) return false;
    suspend_in(op, *op.owner, *op.owner->loop);
    op.owner->loop->defer(op);
    return true;
}

/// Bounded turns: an operation has completed at once. False: its coroutine goes on. True: that one
/// has had its share of this turn, and goes on in the next.
CURFEW_HOT inline bool yield_if_share_is_used_up(operation& op) noexcept {
    return share_is_used_up() && suspend_until_next_turn(op);
}

#if !CURFEW_DEFINITIONS
CURFEW_API bool begin(operation& op) noexcept;
CURFEW_API bool go_on_after_nothing(operation& op, std::ptrdiff_t n) noexcept;
#else

/// Starts an operation that has to wait, and enters it as its socket's pending one.
inline bool start(operation& op) noexcept {
    socket_state& socket = *op.socket;
    op.progress = operation::state::pending;
    const bool connects = op.kind == operation_kind::connect;
    // Its turn is over: no event will come.
    const bool goes_on = !connects && socket.may_try(op.interest);
    if (goes_on) socket.set_dry(op.interest);
    if ((!socket.stays_registered || connects || goes_on) && socket.loop->system().start(op))
        return yield_if_share_is_used_up(op);
    if (op.waits_for(readiness::readable)) socket.reader = &op;
    if (op.waits_for(readiness::writable)) socket.writer = &op;
    suspend_in(op, *op.owner, *socket.loop);
    return true;
}

/// A datagram can be sent from a socket that was never open: it is opened for it. False: `op` has
/// failed.
CURFEW_COLD inline bool open_for(operation& op) noexcept {
    socket_state& socket = *op.socket;
    if (op.kind != operation_kind::send_to || socket.was_open || !op.address) return true;
    platform::socket_handle handle = platform::invalid_socket;
    if (const int error = platform::open(op.address->family, socket.type, handle)) {
        op.finish(outcome::system, error);
        return false;
    }
    socket.loop->opened(socket, handle);
    return true;
}

/// That a read or a write would block says nothing to who waits for anything that is to be told: an
/// error may be there that neither got, and its event have been seen.
///
/// Nor does it to who makes a call of its own: one that is about something else, say a descriptor
/// that comes with the next byte, or of a regular file, which is always ready.
inline bool must_look(const operation& op) noexcept {
    return (op.kind == operation_kind::wait && op.socket->stays_registered) ||
           op.kind == operation_kind::call;
}

/// Begins `op`. False: it is complete, and its coroutine goes on.
CURFEW_COLD CURFEW_INLINE bool begin(operation& op) noexcept {
    socket_state* const socket = op.socket;
    check_thread(*socket);
    if (!op.owner->loop && socket->loop) socket->loop->adopt(*op.owner);
    const bool openable = op.kind == operation_kind::connect;
    // Level-triggered: in a scope that is cancelled nothing is begun, until it is left.
    if (op.owner->cancelled())
        op.finish(outcome::canceled);
    else if (!socket->loop)
        op.finish(outcome::closed);
    else if (!open_for(op))
        return yield_if_share_is_used_up(op);
    else if (!socket->is_open() && !openable)
        op.finish(outcome::closed);
    else if (socket->write_broken && op.kind == operation_kind::write)
        op.finish(outcome::system, platform::broken_pipe);
    else if ((op.kind == operation_kind::read || op.kind == operation_kind::write) &&
             op.wants_nothing())
        op.finish(outcome::success);
    else if (openable && !socket->is_open() && !loop::make_reopenable(*socket))
        op.finish(outcome::system, platform::out_of_memory);
    else if ((op.waits_for(readiness::readable) && socket->reader) ||
             (op.waits_for(readiness::writable) && socket->writer))
        op.finish(outcome::system, platform::already_in_progress);
    else if (openable || !(socket->may_try(op.interest) || must_look(op)) || !attempt(op))
        return start(op);
    return yield_if_share_is_used_up(op);
}

/// After the call of a read or write that has returned `n`, which is no number of bytes moved.
CURFEW_COLD CURFEW_INLINE bool go_on_after_nothing(operation& op, std::ptrdiff_t n) noexcept {
    return after_nothing(op, n) ? yield_if_share_is_used_up(op) : start(op);
}

#endif

/// The longer ways of `begin_transfer`, each of which describes the operation first.
template <operation_kind Kind, bool Exact>
struct transfer_ways {
    static constexpr bool reads = Kind == operation_kind::read;
    static constexpr readiness direction = reads ? readiness::readable : readiness::writable;

    CURFEW_HOT static void describe(operation& op) noexcept {
        op.describe(Kind, direction, 1, !Exact);
    }

    CURFEW_COLD static bool otherwise(operation& op) noexcept {
        describe(op);
        return begin(op);
    }

    /// The call has moved some bytes, and is to go on until it has moved all.
    CURFEW_COLD static bool after_a_part(operation& op, std::size_t count) noexcept {
        describe(op);
        op.advance(count);
        return begin(op);
    }

    /// The call has returned `n`, which is no number of bytes.
    CURFEW_COLD static bool after_nothing(operation& op, std::ptrdiff_t n) noexcept {
        describe(op);
        return go_on_after_nothing(op, n);
    }

    CURFEW_COLD static bool yield_after(operation& op, std::size_t count) noexcept {
        describe(op);
        op.transferred = count;
        return suspend_until_next_turn(op);
    }
};

/// `begin` for a read or write with one buffer. Most of them are one call that succeeds, or have to
/// wait and nothing stands in their way: these take the short way.
template <operation_kind Kind, bool Exact>
CURFEW_HOT inline bool begin_transfer(operation& op) noexcept {
    using ways = transfer_ways<Kind, Exact>;
    socket_state* const socket = op.socket;
    const platform::buffer buffer = *op.buffers;
    fiber& owner = *op.owner;
    if (owner.in_cancelled || (ways::reads && buffer.size == 0)) [[unlikely]]
        return ways::otherwise(op);
    check_thread(*socket);
    if (socket->may_try(ways::direction)) {
        // A write has its turn; a read ends by itself when it has taken what the system holds for
        // it, but one that asks what it leaves behind makes another call than this.
        if (ways::reads ? Exact && socket->reports_remaining : buffer.size > fair_size)
            [[unlikely]]
            return ways::otherwise(op);
        std::ptrdiff_t n;
        if constexpr (ways::reads)
            n = platform::receive(socket->handle, buffer.data, buffer.size);
        else
            n = platform::send(socket->handle, buffer.data, buffer.size);
        if (n <= 0) [[unlikely]]
            return ways::after_nothing(op, n);
        const auto count = static_cast<std::size_t>(n);
        if (ways::reads && socket->is_dry_after(count < buffer.size))
            socket->set_dry(readiness::readable);
        if (Exact && count < buffer.size) [[unlikely]]
            return ways::after_a_part(op, count);
        op.transferred = count;
        // The socket's loop is the one that runs. Should it be another, which gives no shares then,
        // the coroutine gives way each time.
        return socket->loop->share_is_used_up() && ways::yield_after(op, count);
    }
    operation*& place = ways::reads ? socket->reader : socket->writer;
    if (place || (!ways::reads && (socket->write_broken || buffer.size == 0))) [[unlikely]]
        return ways::otherwise(op);
    const auto park = [&] {
        place = &op;
        suspend_in(op, owner, *socket->loop);
        return true;
    };
    if (!socket->stays_registered) {
        if (!socket->is_open()) [[unlikely]]
            return ways::otherwise(op);
        ways::describe(op);
        op.progress = operation::state::pending;
        return socket->loop->system().start(op) ? yield_if_share_is_used_up(op) : park();
    }
    if constexpr (ways::reads && !Exact)
        op.describe_single_transfer(Kind, ways::direction);
    else
        ways::describe(op);
    op.progress = operation::state::pending;
    return park();
}

}  // namespace curfew::detail
