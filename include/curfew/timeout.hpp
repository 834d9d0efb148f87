// with_timeout and with_deadline: a limit on anything that can be awaited; shielded: none from
// around.
#pragma once

#include <coroutine>
#include <utility>

#include "await/enable_limits.hpp"
#include "await/limit.hpp"
#include "await/scoped.hpp"
#include "core/time.hpp"
#include "platform/std_chrono.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

namespace detail {

template <class Awaitable>
class shield {
public:
    using enable_limits = void;
    explicit shield(Awaitable&& awaitable) : scoped_(static_cast<Awaitable&&>(awaitable)) {
        scoped_.scope.shield = true;
    }

    bool await_ready() const noexcept { return false; }
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> coroutine) {
        scoped_.enter(coroutine);
        return scoped_.suspend(coroutine);
    }
    decltype(auto) await_resume() { return scoped_.resume(); }

private:
    scoped<Awaitable> scoped_;
};

template <class Awaitable>
class [[nodiscard("a shield does nothing until it is awaited")]] shielded_request {
public:
    explicit shielded_request(Awaitable && awaitable)
        : awaitable_(static_cast<Awaitable&&>(awaitable)) {}
    shield<Awaitable> operator co_await()&& {
        return shield<Awaitable>(static_cast<Awaitable&&>(awaitable_));
    }

private:
    Awaitable awaitable_;
};

}  // namespace detail

/// Limits `awaitable` to `time` from now. Yields its own `result<T>`; a `T` that is no result
/// becomes `result<T>`.
///
/// When the time is up, `policy` decides: `cancel` ends the pending operation and keeps the socket,
/// its stream exactly where it stood; `close` closes the socket abortively, so that its peer gets
/// a RST. Either way the result is `errc::timed_out` with what was transferred so far, and comes
/// when the system has let go of the buffers. With zero or a negative time the operation
/// gets one try.
///
/// An operation that has completed, or moved any byte, by the time the loop looks at
/// the limit delivers its own result. A limit is never early. Around a task, everything in it
/// ends with `errc::canceled`; `close` aborts the sockets whose operations are pending in it then,
/// and those that it says it is about. (An operation that completes at that moment is not pending
/// any more, as happens where a peer sends without a pause: a task whose socket is to be closed in
/// any case says so, see `scope_about`.)
/// Limits nest: the one that expires first says `timed_out`, those inside it see `canceled`.
///
/// An awaitable of another library cannot be cancelled, and is refused (see `enable_limits`).
/// Within a task it is waited for, whatever limit is around the task.
///
/// ```cpp
/// auto [ec, n] = co_await with_timeout(socket.read_some(buffer), 30s);
/// auto [ec] = co_await with_timeout(handshake(socket), 5s, on_timeout::close);
/// ```
template <class Awaitable, class Rep, class Period>
auto with_timeout(Awaitable&& awaitable, std::chrono::duration<Rep, Period> time,
                  on_timeout policy = on_timeout::cancel) {
    static_assert(detail::checked_cancellable<Awaitable>);
    return detail::limited<Awaitable, detail::limit_kind::duration>(
        static_cast<Awaitable&&>(awaitable), {{}, detail::to_ticks(time), policy});
}

/// Limits `awaitable` to a point in time; otherwise like `with_timeout`.
template <class Awaitable, class Duration>
auto with_deadline(Awaitable&& awaitable, detail::point_in_time<Duration> deadline,
                   on_timeout policy = on_timeout::cancel) {
    static_assert(detail::checked_cancellable<Awaitable>);
    return detail::limited<Awaitable, detail::limit_kind::deadline>(
        static_cast<Awaitable&&>(awaitable), {{}, detail::to_ticks(deadline), policy});
}

/// Chosen when the arguments are wrong: says what is expected. (And returns something to await,
/// lest more errors follow.)
template <class Awaitable, class Time>
Awaitable&& with_timeout(Awaitable&& awaitable, const Time&, on_timeout = on_timeout::cancel) {
    static_assert(detail::always_false<Time>,
                  "curfew::with_timeout(awaitable, time) takes the time second, and as a duration "
                  "with its unit (500ms); for a point in time there is with_deadline");
    return static_cast<Awaitable&&>(awaitable);
}
template <class Awaitable, class Time>
Awaitable&& with_deadline(Awaitable&& awaitable, const Time&, on_timeout = on_timeout::cancel) {
    static_assert(detail::always_false<Time>,
                  "curfew::with_deadline(awaitable, time) takes the time second, and as a point of "
                  "curfew::clock, the steady one; for a duration there is with_timeout");
    return static_cast<Awaitable&&>(awaitable);
}

/// Awaits `awaitable` out of reach of the cancellations and limits around it, so that clean-up can
/// run (say goodbye, flush). Limits inside it work. What it yields is unchanged.
template <class Awaitable>
auto shielded(Awaitable&& awaitable) {
    static_assert(detail::checked_awaitable<Awaitable>);
    return detail::shielded_request<Awaitable>(static_cast<Awaitable&&>(awaitable));
}

}  // namespace curfew
