// The awaiter of socket operations.
#pragma once

#include <concepts>
#include <coroutine>
#include <type_traits>
#include <utility>

#include "../error.hpp"
#include "../loop/loop.hpp"
#include "../result.hpp"

#if CURFEW_DEFINITIONS
#include "../reactor/attempt.hpp"
#endif

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

/// Ends a pending operation before its time; it may still complete with success.
inline void end_early(operation& op, outcome why, bool abort) noexcept {
    if (op.progress != operation::state::pending || op.reason != outcome::success) return;
    loop& own = *op.socket->loop;
    if (own.has_overlooked() && own.system().complete_if_ready(op, own.done())) [[unlikely]]
        return;
    op.reason = why;
    if (abort)
        own.system().close(*op.socket, close_mode::abortive, own.done());
    else
        own.system().cancel(op, own.done());
}

/// As loop::check_thread. (One expression, so that nothing is left of it without assertions.)
inline void check_thread([[maybe_unused]] const socket_state& socket) noexcept {
    CURFEW_ASSERT(
        (!socket.loop || socket.loop->is_this_thread()) &&
        "a socket is touched in another thread than its io_context: use post(), or a stop_token");
}

// From here on an operation knows who awaits it (`waiter` and `owner`), so that the rare ways need
// nothing else and the common ones keep nothing for them.

inline constexpr suspension_type operation_suspension{
    [](suspension& pending, cancellation& by) noexcept {
        end_early(static_cast<operation&>(pending), outcome::canceled, by.aborts());
        return true;
    },
    [](const suspension& pending, wait_report& report) noexcept {
        const auto& op = static_cast<const operation&>(pending);
        report.what = to_string(op.kind);
        if (op.progress != operation::state::pending) return;  // its socket may be gone
        report.socket = op.socket;
        if (op.kind == operation_kind::connect || op.kind == operation_kind::send_to)
            report.address = op.address;
    },
    true,
};

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

/// After an operation has completed at once: false, its coroutine goes on. True: that one has had
/// its share of this turn, and goes on in the next.
CURFEW_HOT inline bool give_way(operation& op) noexcept {
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
    if ((!socket.watched || connects || goes_on) && socket.loop->system().start(op))
        return give_way(op);
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
inline bool must_look(const operation& op) noexcept {
    return op.kind == operation_kind::wait && op.socket->watched;
}

/// Begins `op`. False: it is complete, and its coroutine goes on.
CURFEW_COLD CURFEW_INLINE bool begin(operation& op) noexcept {
    socket_state* const socket = op.socket;
    check_thread(*socket);
    if (!op.owner->loop && socket->loop) socket->loop->adopt(*op.owner);
    const bool openable = op.kind == operation_kind::connect;
    if (op.owner->cancelled())
        op.finish(outcome::canceled);
    else if (!socket->loop)
        op.finish(outcome::closed);
    else if (!open_for(op))
        return give_way(op);
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
    return give_way(op);
}

/// After the call of a read or write that has returned `n`, which is no number of bytes moved.
CURFEW_COLD CURFEW_INLINE bool go_on_after_nothing(operation& op, std::ptrdiff_t n) noexcept {
    return after_nothing(op, n) ? give_way(op) : start(op);
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

    CURFEW_COLD static bool give_way_after(operation& op, std::size_t count) noexcept {
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
        if (ways::reads ? Exact && socket->tells_what_is_left : buffer.size > fair_size)
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
        return socket->loop->share_is_used_up() && ways::give_way_after(op, count);
    }
    operation*& place = ways::reads ? socket->reader : socket->writer;
    if (place || (!ways::reads && (socket->write_broken || buffer.size == 0))) [[unlikely]]
        return ways::otherwise(op);
    const auto park = [&] {
        place = &op;
        suspend_in(op, owner, *socket->loop);
        return true;
    };
    if (!socket->watched) {
        if (!socket->is_open()) [[unlikely]]
            return ways::otherwise(op);
        ways::describe(op);
        op.progress = operation::state::pending;
        return socket->loop->system().start(op) ? give_way(op) : park();
    }
    if constexpr (ways::reads && !Exact)
        op.describe_plain(Kind, ways::direction);
    else
        ways::describe(op);
    op.progress = operation::state::pending;
    return park();
}

/// The awaiter of an operation; the operation lives in it, and so in the awaiting frame, beside the
/// request that it refers to.
template <class Request>
class operation_awaiter {
public:
    explicit operation_awaiter(const Request& request) noexcept
        : op_(Request::kind, request.directions(), request.socket) {
        request.describe(op_);
    }
    explicit operation_awaiter(const Request& request) noexcept
        requires(Request::one_transfer)
        : op_(request.socket, request.buffers.own.data(), Request::exact) {}
    operation_awaiter(const operation_awaiter&) = delete;
    operation_awaiter& operator=(const operation_awaiter&) = delete;
    ~operation_awaiter() { Request::discard(op_); }

    operation& op() noexcept { return op_; }

    bool await_ready() const noexcept { return false; }

    template <class Promise>
    CURFEW_HOT bool await_suspend(std::coroutine_handle<Promise> coroutine) noexcept {
        op_.waiter = coroutine;
        if constexpr (std::is_base_of_v<promise_base, Promise>)
            op_.owner = &fiber_of(coroutine);
        else
            op_.owner = &outside_fiber(op_.socket->loop);
        if constexpr (Request::one_transfer)
            return begin_transfer<Request::kind, Request::exact>(op_);
        else
            return begin(op_);
    }

    /// (What an accept yields needs memory.)
    auto await_resume() noexcept(noexcept(Request::yield(std::declval<operation&>(), {}))) {
        if (op_.result == outcome::success) [[likely]]
            return Request::yield(op_, no_error());
        return Request::yield(op_, failure());
    }

private:
    CURFEW_COLD std::error_code failure() noexcept {
        if (op_.owner->cancelled()) {
            // What cancels the scope may close the socket for another operation's sake.
            if (op_.result == outcome::closed) op_.result = outcome::canceled;
            if (op_.result == outcome::canceled) op_.owner->notice();
        }
        if (op_.plain) op_.transferred = 0;  // see operation::describe_plain
        return error_of(op_.result, op_.error);
    }

    operation op_;
};

/// An operation on a socket that has not been started yet: what `socket.read_some(...)` and its
/// kind return, to be awaited, or given a limit, within the same expression. `Request` says what it
/// is about, and is freely copied.
template <class Request>
class [[nodiscard("an operation does nothing until it is awaited")]] socket_operation {
public:
    using awaiter = operation_awaiter<Request>;

    explicit socket_operation(const Request& request) noexcept : co_await_is_missing_(request) {}

    awaiter operator co_await() const noexcept { return awaiter(co_await_is_missing_); }

private:
    /// Named for what compilers say of `auto [ec, n] = socket.read_some(buffer);`: that they cannot
    /// decompose it. (Its padding is of use to a limit around it.)
    [[no_unique_address]] Request co_await_is_missing_;
};

/// Awaiters that are one operation, and nothing else: a limit on them needs no scope.
template <class Awaiter>
concept holds_operation = requires(Awaiter& a) {
    { a.op() } -> std::same_as<operation&>;
};

}  // namespace curfew::detail

namespace curfew {

/// Whether limits, `cancel_on` and `when_any` take `Awaitable`, though it is another library's.
/// Such a one does not hear of a cancellation, and whoever cancels something waits for its end: so
/// they refuse it when they are compiled. Specialise this as true for one that always ends by
/// itself, and soon enough, or that awaits something of curfew's; or give it a member type
/// `enable_limits`. A limit waits for its end then, and delivers what it yields.
///
/// ```cpp
/// template <>
/// inline constexpr bool curfew::enable_limits<their::lookup> = true;
/// ```
template <class Awaitable>
inline constexpr bool enable_limits = requires {
    typename Awaitable::enable_limits;
};

namespace detail {

template <class Awaiter>
inline constexpr bool is_cancellable_awaiter =
    std::is_base_of_v<suspension, Awaiter> || holds_operation<Awaiter> || enable_limits<Awaiter>;

template <class Awaitable>
inline constexpr bool is_cancellable =
    enable_limits<std::remove_cvref_t<Awaitable>> ||
    is_cancellable_awaiter<std::remove_cvref_t<awaiter_of_t<Awaitable>>>;

/// A combination is what all of its parts are.
template <class Combination>
requires requires { std::remove_cvref_t<Combination>::is_cancellable; }
inline constexpr bool is_cancellable<Combination> =
    std::remove_cvref_t<Combination>::is_cancellable;

}  // namespace detail
}  // namespace curfew
