// The interface between the loop and the operating system. Programs may plug in their own.
#pragma once

#include <cstdint>
#include <string_view>

#include "../core/completions.hpp"
#include "../core/outcome.hpp"
#include "../core/socket_state.hpp"
#include "../platform/std_chrono.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

/// The reactors of the library's own; which of them there are depends on the system.
enum class reactor_kind : std::uint8_t { select, poll, epoll, io_uring, iocp };

/// How a socket ends.
enum class close_mode : std::uint8_t {
    graceful,  ///< what was written is still delivered
    abortive,  ///< the peer of a connection gets a RST
};

/// Starts operations, cancels them and reports their completion: a proactor's language, which a
/// reactor on readiness calls speaks too (see readiness.hpp).
///
/// What the loop promises:
/// - One reactor belongs to one `io_context`. All calls but `wake` come from one thread at a time,
///   none while another one is under way: from that which runs the loop, or holds it while it does
///   not run. From one call to the next it may be another thread, except while the loop is settled.
/// - An operation stays where it is, and its buffers live, until it is delivered. One whose `start`
///   left it pending is entered as its socket's `reader` or `writer` (or both, for a `wait` for
///   both directions), of which each is one operation at a time; `completions::push` takes it out
///   again.
/// - `op.socket` lives as long as the operation is pending, though it may be another record after
///   each call: if a closed socket is opened again, what has yet to be reaped of its earlier life
///   gets a record of its own. So a reactor goes from the operation to the socket when it needs it.
/// - Nothing is started on a socket without a handle, except a connect. But such a socket may have
///   a `reader` and a `writer`, which were pending when it was closed.
///
/// What the reactor promises:
/// - It never resumes anybody. It calls `op.finish(...)` when nothing outside refers to the
///   operation's buffers any more, and hands it to `completions`, each operation once. Both the
///   operation and its socket are still there until that call of the reactor's returns, and no
///   longer.
/// - Nothing throws. Only `start` may fail for want of memory: it completes the operation with
///   `platform::out_of_memory`. Nobody could be told by the other calls, so these need none: what
///   they allocate makes them faster, and they do without.
class reactor {
public:
    /// Whether an operation is tried without blocking before it is started.
    enum class tries : std::uint8_t { first, never };

    virtual ~reactor() = default;
    reactor(const reactor&) = delete;
    reactor& operator=(const reactor&) = delete;

    /// What `io_context::name` says.
    virtual std::string_view name() const noexcept = 0;

    /// Why the reactor could not be made (the system's error number, or `platform::unsupported`);
    /// 0 if it was. A context that is given one which could not be made throws, and calls nothing
    /// else of it.
    virtual int error() const noexcept { return 0; }

    /// Begins `op`, whose `progress` is pending, and which could not be done at once by a try. (A
    /// connect is always begun here; another operation is not if its socket `stays_registered`,
    /// unless the socket may be ready: it has moved `detail::fair_size` bytes and it is others'
    /// turn.) A `call` is begun by waiting until the socket is ready for its `interest`; then
    /// detail::attempt_call makes it.
    /// True: it is complete (`finish` has been called) and must not be pushed; the coroutine goes
    /// on.
    virtual bool start(operation& op) noexcept = 0;

    /// Asks a pending operation to end; `op.reason` says why. It completes the usual way, now or in
    /// a later `wait`, possibly with success. A cancelled connect closes its socket.
    virtual void cancel(operation& op, completions& done) noexcept = 0;

    /// A pending operation is about to be cancelled, and the last `wait` may have left out what is
    /// there for it (see completions::more_may_follow): if it is there, completes the operation and
    /// delivers it, and returns true. A proactor need not for what the system has: what has been
    /// done there is not lost.
    virtual bool complete_if_ready(operation&, completions&) noexcept { return false; }

    /// Closes the socket's handle and ends its pending operations; those without a reason get
    /// `outcome::closed` for one. The state is closed for its user when this returns
    /// (`handle` is invalid), even if operations on it remain pending until they are reaped. Should
    /// the socket be opened again before that, they belong to another `socket_state` by then.
    virtual void close(socket_state& socket, close_mode how, completions& done) noexcept = 0;

    /// Ends the pending operations like `cancel` and forgets the handle without closing it.
    virtual void release(socket_state& socket, completions& done) noexcept = 0;

    /// What is closed between these two may stay pending until `end_closes`, and its handle open:
    /// so that many limits that expire together cost no system call each. No operation is started
    /// meanwhile, and nobody resumed.
    virtual void begin_closes() noexcept {}
    /// The end of that: now they are closed.
    virtual void end_closes(completions&) noexcept {}

    /// Delivers what has completed. Waits up to `time` (zero: not at all; `platform::unlimited`)
    /// if nothing has, returns at the latest a little after it, and never before it without a
    /// reason to. If it may have left something that is there, it calls `done.more_may_follow()`.
    /// Returns 0, or the system's error number if the reactor as a whole has failed.
    virtual int wait(std::chrono::nanoseconds time, completions& done) noexcept = 0;

    /// Ends the current `wait`, or else the next one, at once. From any thread.
    ///
    /// Whatever else is called before that `wait` (`close`, `release` and `cancel`, also from a
    /// destructor, `settle`, `unsettle`) may deliver what has completed, but must not take the
    /// wake-up away: one that it comes across is left, or remembered, for the next `wait`. This
    /// holds as well if another thread runs the loop by then, whatever the thread before does.
    virtual void wake() noexcept = 0;

    /// The loop goes on running in the thread that calls this until it calls `unsettle`: nothing
    /// but `wake` is called in another thread meanwhile. False: this is no time to make use of
    /// it; the loop may ask again. Both may deliver what has completed. `unsettle` comes at the end
    /// of every `run` and `block_on`, whether `settle` was called before or not.
    virtual bool settle(completions&) noexcept { return true; }
    /// The end of that.
    virtual void unsettle(completions&) noexcept {}

    /// What a socket with a new handle is `worth_trying`.
    std::uint8_t initially_worth_trying() const noexcept { return initially_worth_trying_; }

protected:
    /// For reactors on readiness calls, which are better off if operations are tried first.
    explicit reactor(tries when = tries::never) noexcept
        : initially_worth_trying_(when == tries::first ? std::uint8_t{3} : std::uint8_t{0}) {}

private:
    std::uint8_t initially_worth_trying_;
};

namespace detail {

/// What `reactor::start` may rely on.
inline void check_start([[maybe_unused]] const operation& op) noexcept {
    CURFEW_ASSERT(op.progress == operation::state::pending);
    CURFEW_ASSERT(op.socket->is_open() || op.kind == operation_kind::connect);
    // (Itself: one whose turn was over is started again.)
    CURFEW_ASSERT(!op.waits_for(readiness::readable) || !op.socket->reader ||
                  op.socket->reader == &op);
    CURFEW_ASSERT(!op.waits_for(readiness::writable) || !op.socket->writer ||
                  op.socket->writer == &op);
}

/// What `reactor::close` and `reactor::release` leave behind.
inline void check_closed([[maybe_unused]] const socket_state& socket) noexcept {
    CURFEW_ASSERT(!socket.is_open());
    CURFEW_ASSERT(!socket.reader || socket.reader->reason != outcome::success);
    CURFEW_ASSERT(!socket.writer || socket.writer->reason != outcome::success);
}

/// The reactor of the loop that an open socket belongs to.
reactor& reactor_of(const socket_state& socket) noexcept;

/// All sockets of that loop: the first one, which leads to the others by `next`.
socket_state* first_socket_beside(const socket_state& socket) noexcept;

}  // namespace detail
}  // namespace curfew
