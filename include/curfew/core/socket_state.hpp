// What the library keeps of a socket for its reactor, and when a try of an operation is worth its
// system call.
#pragma once

#include <cstdint>

#include "../config.hpp"
#include "../platform/platform.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

struct operation;

namespace detail {

class loop;
struct socket_reference;

/// Which tries are left out, of those for what may stand behind a datagram or a connection that has
/// been announced. The announcement says nothing of that: of those that come one by one, each would
/// be followed by a try in vain. So after each try in vain twice as many are left out, up to 15;
/// after one that was not, none.
class try_backoff {
public:
    /// One has been announced. True: no try for the next. False: a try is to be made, and `tried`
    /// to be told of it.
    bool leaves_out_a_try() noexcept {
        awaits_verdict_ = left_ == 0;
        if (awaits_verdict_) return false;
        --left_;
        return true;
    }

    /// A try was made; it counts if it is the one that was asked for.
    void tried(bool in_vain) noexcept {
        if (!awaits_verdict_) return;
        awaits_verdict_ = false;
        const unsigned doublings = !in_vain                      ? 0
                                   : doublings_ < most_doublings ? doublings_ + 1u
                                                                 : most_doublings;
        doublings_ = doublings & 7;
        left_ = ((1u << doublings) - 1) & 15;
    }

private:
    static constexpr unsigned most_doublings = 4;

    bool awaits_verdict_ : 1 = false;
    std::uint8_t doublings_ : 3 = 0;
    std::uint8_t left_ : 4 = 0;  // tries to leave out until the next one
};
static_assert(sizeof(try_backoff) == 1);

}  // namespace detail

/// What a `wait` waits for; both: whichever comes first.
enum class readiness : std::uint8_t { readable = 1, writable = 2 };

/// Either of them.
constexpr readiness operator|(readiness a, readiness b) noexcept {
    return static_cast<readiness>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}

/// Whether they have a direction in common.
constexpr bool operator&(readiness a, readiness b) noexcept {
    return (static_cast<unsigned>(a) & static_cast<unsigned>(b)) != 0;
}

/// What the library keeps of a socket for its reactor. It stays where it is while the socket object
/// moves, and lives until no operation is pending on it. All of it belongs to the loop's thread.
struct socket_state {
    // What every operation looks at stands together: system calls in between have used the caches.

    /// The pending operation that reads, if there is one. It may be set on a socket that is closed:
    /// a proactor has yet to reap what was pending there (sockets::set_pending_aside makes room for
    /// a new connect), or somebody has closed the descriptor behind our back. But nothing becomes
    /// pending on a closed socket except a connect, whose `start` opens it.
    operation* reader = nullptr;
    operation* writer = nullptr;   ///< the pending one that writes, in the same way
    detail::loop* loop = nullptr;  ///< null once the context is gone
    platform::socket_handle handle = platform::invalid_socket;  ///< invalid: closed

    /// Directions in which a non-blocking try is worth its system call, as far as the reactor knows
    /// (bits of `readiness`). None while the socket is closed or an operation is pending in that
    /// direction; a reactor that is better off without tries sets none.
    std::uint8_t worth_trying = 0;
    /// Reads that fall short do not mean that nothing is left: the end of the stream, an error or
    /// urgent data may stand behind, and their event has been seen already; or the stream is none
    /// of TCP's, where they never mean that (see platform::is_tcp). With an acceptor: the streams
    /// that it accepts are such.
    bool ignore_short_reads = false;
    /// The reactor's word that it will look at `reader` and `writer` whenever the socket may be
    /// ready, until the handle is gone: operations that have to wait need no `start`. Of a single
    /// transfer it finds the buffer and no more: see operation::describe_single_transfer.
    bool stays_registered = false;

    /// What the socket is: a stream, or datagrams.
    platform::transport type : 1 = platform::transport::stream;
    /// A `wait` has ended because the socket has an error, and since then no operation has got it:
    /// no other `wait` ends for it. (What stands in an error queue is got by no read.)
    bool error_told : 1 = false;
    /// The reactor's own, like `reactor_data`.
    std::uint8_t reactor_flags : 2 = 0;
    /// A cancelled write left an unknown part of its bytes in the stream: all later ones fail.
    bool write_broken : 1 = false;
    /// It has had a handle.
    bool was_open : 1 = false;
    /// The system may still refer to this record: it is freed with the context, not before.
    bool system_may_refer : 1 = false;
    /// It is what closed socket objects refer to, detail::no_socket.
    bool placeholder : 1 = false;

    /// The reactor's word that it says, as often as it is asked, that there is something to receive
    /// or to accept: see `announced`.
    bool level_triggered : 1 = false;
    /// The system was asked to say with a receive whether it leaves something behind.
    bool reports_remaining : 1 = false;
    /// See detail::learn_what_is_left.
    std::uint8_t blocked_exact_reads : 2 = 0;
    /// Of an acceptor: an accept for which the system has no descriptor fails, instead of waiting.
    bool tells_of_shortage : 1 = false;
    /// How often, modulo 8, somebody has asked what is pending to end, or has opened the socket
    /// anew: for who is between two operations then.
    std::uint8_t interruptions : 3 = 0;
    detail::try_backoff backoff{};     ///< see `announced`
    std::uint16_t lost_with : 14 = 0;  ///< see operation::tell_loss
    std::uint32_t reactor_data = 0;    ///< the reactor's own; zero in a new socket

    socket_state* next = nullptr;          ///< the context's list of all sockets
    socket_state** link = nullptr;         ///< in the same list
    detail::socket_reference* references = nullptr;  ///< all that refer to it

    /// Whether it has a handle.
    bool is_open() const noexcept { return handle != platform::invalid_socket; }

    /// Whether a try is worth its call in one of these directions.
    bool may_try(readiness directions) const noexcept {
        return (worth_trying & static_cast<unsigned>(directions)) != 0;
    }
    /// From now on it is.
    void set_worth_trying(readiness directions) noexcept {
        worth_trying = static_cast<std::uint8_t>(worth_trying | static_cast<unsigned>(directions));
    }
    /// From now on it is not.
    void set_dry(readiness directions) noexcept {
        worth_trying = static_cast<std::uint8_t>(worth_trying & ~static_cast<unsigned>(directions));
    }

    /// After a read that moved bytes: is another one not worth its call? A read that falls short
    /// has left nothing behind, which holds with an edge-triggered reactor too: what arrives after
    /// it makes a new event, and what arrived before was either read or announced.
    CURFEW_HOT bool is_dry_after(bool fell_short) const noexcept {
        return fell_short && !ignore_short_reads;
    }

    /// The reactor has announced a datagram, or a connection. What may stand behind it is announced
    /// again if the socket is level-triggered, so a try for it may be left out: see try_backoff.
    void announced() noexcept {
        if (level_triggered && backoff.leaves_out_a_try()) set_dry(readiness::readable);
    }
    /// A try has been made, and it moved something, or was in vain.
    void tried(bool in_vain) noexcept { backoff.tried(in_vain); }
};

namespace detail {

/// What a socket object refers to that has no socket. It is closed, belongs to no loop, and nothing
/// ever writes to it.
/// (A module with a copy of the library of its own has one of its own, so no address tells it.)
inline constinit socket_state no_socket{.placeholder = true};

/// For what works on the records of sockets directly: of a socket object, which befriends it.
struct socket_access {
    template <class Socket>
    static socket_state& state(const Socket& socket) noexcept {
        return *socket.state_;
    }
};

}  // namespace detail
}  // namespace curfew
