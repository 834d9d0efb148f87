// The one kind of operation that all reactors speak: started once, pending at most once, completed
// once. It is a plain record inside an awaiter, so inside the frame of the coroutine that awaits
// it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "../config.hpp"
#include "../platform/platform.hpp"
#include "suspension.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

struct operation;

namespace detail {
class loop;
struct socket_name;
}  // namespace detail

enum class operation_kind : std::uint8_t {
    connect,
    accept,
    read,  // from a stream
    write,
    receive_from,  // one datagram; from the connected peer if there is no address
    send_to,
    wait,
    call,  // one of its own: see operation_call
};

constexpr const char* to_string(operation_kind kind) noexcept {
    constexpr const char* names[]{"connect",      "accept",  "read", "write",
                                  "receive_from", "send_to", "wait", "call"};
    return names[static_cast<unsigned>(kind)];
}

/// What a `wait` waits for; both: whichever comes first.
enum class readiness : std::uint8_t { readable = 1, writable = 2 };

constexpr readiness operator|(readiness a, readiness b) noexcept {
    return static_cast<readiness>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}

constexpr bool operator&(readiness a, readiness b) noexcept {
    return (static_cast<unsigned>(a) & static_cast<unsigned>(b)) != 0;
}

/// How an operation ended. `system` stands for the system's error number beside it.
enum class outcome : std::uint8_t {
    success,
    system,
    eof,
    timed_out,
    canceled,
    closed,
};

/// What the library keeps of a socket for its reactor. It stays where it is while the socket object
/// moves, and lives until no operation is pending on it.
struct socket_state {
    // What every operation looks at stands together: system calls in between have used the caches.
    operation* reader = nullptr;  // the pending operation of each direction
    operation* writer = nullptr;
    detail::loop* loop = nullptr;  // null once the context is gone
    platform::socket_handle handle = platform::invalid_socket;

    /// Directions in which a non-blocking try is worth its system call, as far as the reactor knows
    /// (bits of `readiness`). None while the socket is closed or an operation is pending in that
    /// direction; a reactor that is better off without tries sets none.
    std::uint8_t worth_trying = 0;
    /// Reads that fall short do not mean that nothing is left: the end of the stream, an error or
    /// urgent data may stand behind, and their event has been seen already; or the stream is none
    /// of TCP's, where they never mean that (see platform::is_tcp). With an acceptor: the streams
    /// that it accepts are such.
    bool more_behind = false;
    /// The reactor's word that it will look at `reader` and `writer` whenever the socket may be
    /// ready, until the handle is gone: operations that have to wait need no `start`. Of a `plain`
    /// read it finds the buffer and no more: see operation::describe_plain.
    bool watched = false;

    platform::transport type : 1 = platform::transport::stream;
    /// A `wait` has ended because the socket has an error, and since then no operation has got it:
    /// no other `wait` ends for it. (What stands in an error queue is got by no read.)
    bool error_told : 1 = false;
    std::uint8_t reactor_data : 2 = 0;  // the reactor's own, like `slot`
    /// A cancelled write left an unknown part of its bytes in the stream: all later ones fail.
    bool write_broken : 1 = false;
    bool was_open : 1 = false;  // it has had a handle
    /// The system may still refer to this record: it is freed with the context, not before.
    bool haunted : 1 = false;
    bool nobodys : 1 = false;  // see detail::no_socket
    /// The reactor's word that it says, as often as it is asked, that there is something to receive
    /// or to accept: see `announced`.
    bool tells_again : 1 = false;
    bool probing : 1 = false;  // the next try decides about `skips`
    /// The system was asked to say with a receive whether it leaves something behind.
    bool tells_what_is_left : 1 = false;
    std::uint8_t skips : 4 = 0;  // tries to leave out after each one in vain
    std::uint8_t skips_left : 4 = 0;
    std::uint16_t vain_fills : 2 = 0;  // see detail::learn_what_is_left
    std::uint16_t lost_with : 14 = 0;  // see operation::tell_loss
    std::uint32_t slot = 0;            // the reactor's own; zero in a new socket

    socket_state* next = nullptr;  // the context's list of all sockets
    socket_state** link = nullptr;
    detail::socket_name* names = nullptr;  // see there

    bool is_open() const noexcept { return handle != platform::invalid_socket; }

    bool may_try(readiness directions) const noexcept {
        return (worth_trying & static_cast<unsigned>(directions)) != 0;
    }
    void set_worth_trying(readiness directions) noexcept {
        worth_trying = static_cast<std::uint8_t>(worth_trying | static_cast<unsigned>(directions));
    }
    void set_dry(readiness directions) noexcept {
        worth_trying = static_cast<std::uint8_t>(worth_trying & ~static_cast<unsigned>(directions));
    }

    /// After a read that moved bytes: is another one not worth its call? A read that falls short
    /// has left nothing behind, which holds with an edge-triggered reactor too: what arrives after
    /// it makes a new event, and what arrived before was either read or announced.
    CURFEW_HOT bool is_dry_after(bool fell_short) const noexcept {
        return fell_short && !more_behind;
    }

    /// A datagram, or a connection, that the reactor has announced is there. It says nothing of
    /// what is behind it: of those that come one by one, each would be followed by a try in vain.
    /// So tries are left out, more and more of them as long as they are in vain; what is behind all
    /// the same is announced again.
    void announced() noexcept {
        if (!tells_again) return;
        probing = skips_left == 0;
        if (probing) return;
        --skips_left;
        set_dry(readiness::readable);
    }
    void tried(bool in_vain) noexcept {
        if (!probing) return;
        probing = false;
        skips = in_vain ? (2u * skips + 1) & 15 : 0;
        skips_left = skips;
    }
};

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

/// What a socket object refers to that has no socket. It is closed, belongs to no loop, and nothing
/// ever writes to it.
/// (A module with a copy of the library of its own has one of its own, so no address tells it.)
inline constinit socket_state no_socket{.nobodys = true};

}  // namespace detail

/// What an operation of the kind `call` does: a system call that no other kind stands for, such as
/// reading a terminal. No reactor needs to know it: it waits until the socket may be ready in the
/// direction of the operation's `interest`, and then has `attempt` make the call. It lives in the
/// operation's request, which has more to say of it in a class of its own.
struct operation_call {
    /// Makes the call, without blocking; "would block" where there is nothing (any more). It may be
    /// made any number of times, until it is done, fails, or is cancelled in between.
    platform::transfer (*make)(const operation&);
    const char* name;     // in reports: "read"
    bool nothing_is_eof;  // a call that has moved no byte has found the end of a stream
};

struct operation : detail::suspension {
    enum class state : std::uint8_t { idle, pending, complete };

    socket_state* socket;
    union {                                 // each belongs to some kinds of operations only
        std::size_t offset;                 // read, write: done of buffers[0]
        platform::socket_address* address;  // connect, receive_from, send_to; may be null
        platform::socket_handle accepted;   // accept, with success
        const operation_call* call;         // call
    };
    std::size_t transferred;
    union {
        const platform::buffer* buffers;
        platform::socket_address* peer;  // accept: where to say who has connected; may be null
    };
    std::uint32_t buffer_count;
    int error;  // with outcome::system, else not set; the reactor's own while pending
    operation_kind kind;
    readiness interest;
    bool plain;          // a read or write with one buffer that is done with any byte moved
    bool more_behind;    // accept: of the new socket, see socket_state (one store sets these four)
    bool exact = false;  // read or write: go on until the buffers are full or empty
    state progress = state::idle;
    outcome result = outcome::success;
    /// Why it was asked to end, set before anything else happens; `success`: it was not.
    outcome reason = outcome::success;

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
                  bool is_plain = false) noexcept {
        kind = what;
        interest = directions;
        plain = is_plain;
        more_behind = false;
        buffer_count = count;
        offset = 0;
        transferred = 0;
    }

    /// The same for a plain one whose socket is `watched`. Its reactor makes one call with
    /// `*buffers`, and sets `transferred` if that has moved bytes; if it has not, nothing else is
    /// looked at. To go on in any other way it calls `describe_rest` first.
    CURFEW_HOT void describe_plain(operation_kind what, readiness directions) noexcept {
        kind = what;
        interest = directions;
        plain = true;
        more_behind = false;
    }

    void describe_rest() noexcept {
        buffer_count = 1;
        offset = 0;
        transferred = 0;
    }

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

    /// Ends the operation with what the system said. An end that was asked for wins over the
    /// error it caused; success, and any byte moved by a plain read or write, wins over both.
    void finish(outcome how, int system_error = 0) noexcept {
        CURFEW_ASSERT(progress != state::complete);
        progress = state::complete;
        if (how == outcome::success) return;
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

/// Where a reactor delivers what has completed.
class completions {
public:
    explicit completions(detail::ready_queue& ready) noexcept : ready_(ready) {}

    /// `op.finish` has been called and nothing refers to its buffers any more: the operation is no
    /// longer its socket's pending one, and the coroutine that awaits it will be resumed.
    void push(operation& op) noexcept {
        CURFEW_ASSERT(op.progress == operation::state::complete);
        socket_state& socket = *op.socket;
        if (socket.reader == &op) socket.reader = nullptr;
        if (socket.writer == &op) socket.writer = nullptr;
        ready_.push(op);
    }

    /// The same for a read, or a write, that was pending on `socket`.
    void push_read(operation& op, socket_state& socket) noexcept {
        CURFEW_ASSERT(op.progress == operation::state::complete && socket.reader == &op);
        socket.reader = nullptr;
        ready_.push(op);
    }
    void push_write(operation& op, socket_state& socket) noexcept {
        CURFEW_ASSERT(op.progress == operation::state::complete && socket.writer == &op);
        socket.writer = nullptr;
        ready_.push(op);
    }

    /// This `wait` has brought as much as the system tells at a time: another one may bring more at
    /// once. A reactor whose `wait` always brings all there is has no need to say so.
    void more_may_follow() noexcept { more_may_follow_ = true; }

    /// Whether that has been said since the last time it was asked.
    bool take_more_may_follow() noexcept { return std::exchange(more_may_follow_, false); }

    /// A transfer has had its turn, and will be ready again and again: no reason to look for ever.
    void goes_on() noexcept { goes_on_ = true; }
    bool take_goes_on() noexcept { return std::exchange(goes_on_, false); }

private:
    detail::ready_queue& ready_;
    bool more_may_follow_ = false;
    bool goes_on_ = false;
};

}  // namespace curfew
