// The one kind of operation that all reactors speak: started once, pending at most once, completed
// once. It is a record inside an awaiter, so inside the frame of the coroutine that awaits it.
//
// Everything here belongs to the loop's thread: the kernel sees buffers, never an operation. While
// it is pending, an operation stands in its socket (`reader`, `writer`, or both), and its reactor
// may use all of it. From its completion on it is its coroutine's:
// - `owner` is good for as long as the operation: it is the fiber whose frame that lies in. (Of a
//   coroutine that is none of the library's, it is its loop's `outside` fiber; outside of any loop,
//   no_fiber.)
// - `socket` is not: the socket object may be destroyed before the coroutine is resumed, and its
//   record is kept only while something is pending on it. Who completes an operation (`finish`,
//   completions::push) may use it still, as may a coroutine that goes on at once; whoever is
//   resumed may not, nor may anybody else who looks at the operation when `progress` is `complete`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <system_error>

#include "../config.hpp"
#include "../platform/platform.hpp"
#include "outcome.hpp"
#include "socket_state.hpp"
#include "suspension.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

/// What an operation asks of the system.
enum class operation_kind : std::uint8_t {
    connect,
    accept,
    read,  ///< from a stream
    write,
    receive_from,  ///< one datagram; from the connected peer if there is no address
    send_to,
    wait,
    call,  ///< one of its own: see operation_call
};

/// As `dump` calls it.
constexpr const char* to_string(operation_kind kind) noexcept {
    constexpr const char* names[]{"connect",      "accept",  "read", "write",
                                  "receive_from", "send_to", "wait", "call"};
    return names[static_cast<unsigned>(kind)];
}

namespace detail {

/// Whether it tells of the end of the connection, and not of this call alone. (Not broken_pipe:
/// that may be what this side has shut down, and leaves the other direction as it was.)
CURFEW_COLD inline bool is_loss(int error) noexcept {
    const std::error_code code = platform::error_code(error);
    return code == std::errc::connection_reset || code == std::errc::connection_aborted ||
           code == std::errc::timed_out || code == std::errc::host_unreachable ||
           code == std::errc::network_unreachable;
}

/// How many bytes an operation moves before everybody else has a turn. One that has a fast peer,
/// and much to move, would otherwise keep the loop from its limits for as long as that takes: a
/// system call does not end while the peer keeps up.
inline constexpr std::size_t fair_size = std::size_t{256} << 10;

}  // namespace detail

/// What an operation of the kind `call` does: a system call that no other kind stands for, such as
/// reading a terminal. No reactor needs to know it: it waits until the socket may be ready in the
/// direction of the operation's `interest`, and then has `attempt` make the call. It lives in the
/// operation's request, which has more to say of it in a class of its own.
struct operation_call {
    /// Makes the call, without blocking; "would block" where there is nothing (any more). It may be
    /// made any number of times, until it is done, fails, or is cancelled in between.
    platform::transfer (*make)(const operation&);
    const char* name;     ///< in reports: "read"
    bool nothing_is_eof;  ///< a call that has moved no byte has found the end of a stream
    /// Set by a call that is not done, although it could go on: it is made again when others have
    /// had a turn.
    mutable bool turn_is_over = false;
};

/// A request to the system and its result, inside the awaiter of who has made it: it does not move
/// while it is pending. `start` of a reactor begins it, and `finish` ends it, once.
struct operation : detail::suspension {
    /// How far it is.
    enum class state : std::uint8_t { idle, pending, complete };

    socket_state* socket;                   ///< of which socket
    union {                                 // each belongs to some kinds of operations only
        std::size_t offset;                 ///< read, write: done of buffers[0]
        platform::socket_address* address;  ///< connect, receive_from, send_to; may be null
        platform::socket_handle accepted;   ///< accept, with success
        const operation_call* call;         ///< call
    };
    std::size_t transferred;  ///< how many bytes it has moved
    union {
        const platform::buffer* buffers;  ///< all others: to be filled or sent
        platform::socket_address* peer;   ///< accept: where to say who has connected; may be null
    };
    std::uint32_t buffer_count;  ///< how many are left of `buffers`
    union {
        int error;                   ///< once complete: with outcome::system, else not set
        std::uint32_t reactor_data;  ///< while pending: the reactor's own
    };
    operation_kind kind;           ///< what it is to do
    readiness interest;            ///< what the socket has to be ready for
    bool single_transfer;          ///< a read or write with one buffer, done with any byte moved
    bool ignore_short_reads;       ///< accept: of the new socket (one store sets these four)
    bool exact = false;            ///< read or write: go on until the buffers are full or empty
    state progress = state::idle;  ///< idle, pending, complete
    outcome result = outcome::success;  ///< once complete
    /// Why it was asked to end, set before anything else happens; `success`: it was not.
    outcome reason = outcome::success;

    /// An operation without buffers.
    operation(operation_kind what, readiness directions, socket_state* on) noexcept
        : socket(on), buffers(nullptr) {
        describe(what, directions, 0);
    }

    /// A read or write with one buffer. Most are done with a single call, so what that does not
    /// need is left to `describe`, which comes before all else.
    operation(socket_state* on, const platform::buffer* buffer, bool all_of_it) noexcept
        : socket(on), buffers(buffer), exact(all_of_it) {}

    operation(const operation&) = delete;
    operation& operator=(const operation&) = delete;
    ~operation() { CURFEW_ASSERT(progress != state::pending); }

    /// Says what it is to do, with `count` buffers; nothing of it has been done yet.
    void describe(operation_kind what, readiness directions, std::uint32_t count,
                  bool is_single_transfer = false) noexcept {
        kind = what;
        interest = directions;
        single_transfer = is_single_transfer;
        ignore_short_reads = false;
        buffer_count = count;
        offset = 0;
        transferred = 0;
    }

    /// The same for a single transfer whose socket stays registered. Its reactor makes one call
    /// with `*buffers`, and sets `transferred` if that has moved bytes; if it has not, nothing else
    /// is looked at. To go on in any other way it calls `describe_rest` first.
    CURFEW_HOT void describe_single_transfer(operation_kind what, readiness directions) noexcept {
        kind = what;
        interest = directions;
        single_transfer = true;
        ignore_short_reads = false;
    }

    /// What `describe_single_transfer` has left out.
    void describe_rest() noexcept {
        buffer_count = 1;
        offset = 0;
        transferred = 0;
    }

    /// Whether it needs the socket to be ready in this direction.
    bool waits_for(readiness direction) const noexcept { return interest & direction; }

    /// For a read or write: true if the buffers that are left have no room, or no bytes, at all.
    bool wants_nothing() const noexcept {
        for (std::size_t i = 0; i < buffer_count; ++i)
            if (buffers[i].size != (i == 0 ? offset : 0)) return false;
        return true;
    }

    /// For a read or write: counts `n` bytes as moved. True if the operation is done.
    bool advance(std::size_t n) noexcept {
        transferred += n;
        if (!exact) return true;
        offset += n;
        while (buffer_count && offset >= buffers->size) {
            offset -= buffers->size;
            ++buffers;
            --buffer_count;
        }
        return buffer_count == 0;
    }

    /// Completion beats the limit: what the system has done is delivered, whoever asked for an end
    /// meanwhile, with whatever `reason`. It holds because nobody ends an operation but its
    /// reactor, by `finish`, once it knows how the system's call has ended: a cancellation only
    /// asks, and one that comes too late finds a success. A transfer that has moved bytes is a
    /// success, or (where it is to move all) counts them in `transferred`, which comes with every
    /// error. Whether the system has done something of which the reactor does not know yet is for
    /// the loop to see: before limits are carried out it has looked, and cancel_operation looks
    /// again where that may have brought less than all.
    static constexpr bool completion_beats_the_limit(outcome how) noexcept {
        return how == outcome::success;
    }

    /// Ends the operation with what the system said. An end that was asked for wins over the
    /// error it caused.
    void finish(outcome how, int system_error = 0) noexcept {
        CURFEW_ASSERT(progress != state::complete);
        progress = state::complete;
        if (completion_beats_the_limit(how)) return;  // and `result` says so from the start
        if (how == outcome::system || how == outcome::eof) tell_loss(how, system_error);
        result = reason != outcome::success ? reason : how;
        error = system_error;
    }

private:
    /// The system tells only one of those that use a connection that it is lost, and with what
    /// error. A read after that finds the end of the stream, as if the peer had ended it in good
    /// order. So the socket keeps the error, for as long as it has the same handle, and every later
    /// read is told the same.
    CURFEW_COLD void tell_loss(outcome& how, int& system_error) const noexcept {
        if (kind != operation_kind::read && kind != operation_kind::write) return;
        if (how == outcome::system) {
            if (detail::is_loss(system_error)) socket->lost_with = system_error & 0x3fff;
        } else if (socket->lost_with != 0) {
            how = outcome::system;
            system_error = socket->lost_with;
        }
    }
};

}  // namespace curfew
