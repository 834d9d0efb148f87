// with_timeout and with_deadline: a limit on anything that can be awaited.
#pragma once

#include <coroutine>
#include <optional>
#include <type_traits>
#include <utility>

#include "await/awaitable.hpp"
#include "core/fiber.hpp"
#include "core/time.hpp"
#include "platform/std_chrono.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

namespace detail {

/// Whether a limit counts from when it is awaited, is a point in time, or counts on a clock that
/// the program moves.
enum class limit_kind : std::uint8_t { duration, deadline, manual };

template <limit_kind Kind>
struct limit_clock {};
template <>
struct limit_clock<limit_kind::manual> {
    manual_time* on;
};

/// What a limit is. Time and policy share a word, which lies in the frame that awaits it: a time is
/// never negative, and that of a limit that closes is complemented.
template <limit_kind Kind>
class limit_terms : public limit_clock<Kind> {
public:
    limit_terms(limit_clock<Kind> clock, ticks time, on_timeout policy) noexcept
        : limit_clock<Kind>(clock), word_(policy == on_timeout::close ? ~time : time) {}

    /// Of a deadline: since the clock's epoch.
    ticks length() const noexcept { return closes() ? ~word_ : word_; }
    bool closes() const noexcept { return word_ < 0; }

private:
    ticks word_;
};

/// The timer of a limit; what it limits is around it. `Limited::expire(abort)` carries out its
/// policy.
template <class Limited, limit_kind Kind>
struct limit_timer : timer_node, limit_clock<Kind> {
    explicit limit_timer(limit_terms<Kind> terms) noexcept
        : timer_node(terms.closes() ? &on_expiry<true> : &on_expiry<false>, terms.length()),
          limit_clock<Kind>(terms) {}

    CURFEW_HOT void arm(loop& own) noexcept {
        if constexpr (Kind == limit_kind::manual) {
            deadline += this->on->now;
            this->on->wheel.arm(*this);
        } else if constexpr (Kind == limit_kind::duration) {
            own.arm_after(*this);
        } else {
            own.arm_at(*this);
        }
    }

private:
    template <bool Abort>
    static void on_expiry(timer_node& node, limit_report* asked) noexcept {
        auto& self = static_cast<Limited&>(node);
        if (!asked) return self.expire(Abort);
        asked->target = self.target();
        asked->abort = Abort;
        if constexpr (Kind == limit_kind::manual) asked->now = self.on->now;
    }
};

/// A limit on a bare operation: a timer beside it, no scope. Limits on limits nest the same way.
template <class Inner, limit_kind Kind>
class limited_operation : limit_timer<limited_operation<Inner, Kind>, Kind> {
    using timer = limit_timer<limited_operation, Kind>;
    friend timer;

public:
    template <class Awaitable>
    limited_operation(const Awaitable& awaitable, limit_terms<Kind> terms) noexcept
        : timer(terms), inner_(awaitable.operator co_await()) {}

    operation& op() noexcept { return inner_.op(); }

    bool await_ready() const noexcept { return false; }

    template <class Promise>
    CURFEW_HOT bool await_suspend(std::coroutine_handle<Promise> coroutine) noexcept {
        if (!inner_.await_suspend(coroutine)) return false;
        if (op().progress == operation::state::pending) [[likely]]
            this->arm(*op().socket->loop);
        return true;
    }

    /// The timer is disarmed with this awaiter, at the end of the expression that awaits it; until
    /// then it finds the operation complete.
    auto await_resume() noexcept(noexcept(std::declval<Inner&>().await_resume())) {
        return inner_.await_resume();
    }

private:
    void expire(bool abort) noexcept { end_early(op(), outcome::timed_out, abort); }
    const void* target() noexcept { return static_cast<const suspension*>(&op()); }

    Inner inner_;
};

/// Runs an awaitable in a cancel scope of its own.
template <class Awaitable>
class scoped {
public:
    explicit scoped(Awaitable&& awaitable)
        : inner_(awaiter_of(static_cast<Awaitable&&>(awaitable))) {}
    scoped(const scoped&) = delete;
    scoped& operator=(const scoped&) = delete;

    cancel_scope scope;
    fiber* self = nullptr;

    template <class Promise>
    void enter(std::coroutine_handle<Promise> coroutine) noexcept {
        static_assert(std::is_base_of_v<promise_base, Promise>,
                      "curfew: limits on tasks, shielded and cancel_on are awaited in a "
                      "curfew::task; other coroutine types have nothing that could be cancelled");
        self = &fiber_of(coroutine);
        loop_for(*self).check_thread();
        self->enter(scope);
    }

    template <class Promise>
    bool suspend(std::coroutine_handle<Promise> coroutine) {
        struct leaver {
            scoped* all;
            ~leaver() {
                if (all) all->self->leave(all->scope);
            }
        } leave{this};
        const bool suspended = suspend_in(inner_, coroutine);
        leave.all = nullptr;
        return suspended;
    }

    decltype(auto) resume() {
        struct leaver {
            scoped& all;
            ~leaver() { all.self->leave(all.scope); }
        } const leave{*this};
        return inner_.await_resume();  // may still note that it was cancelled in this scope
    }

private:
    awaiter_of_t<Awaitable> inner_;
};

/// A limit on a task or any other awaitable: a cancel scope with a timer.
template <class Awaitable, limit_kind Kind>
class limited_scope : limit_timer<limited_scope<Awaitable, Kind>, Kind> {
    using timer = limit_timer<limited_scope, Kind>;
    friend timer;
    using awaited = awaited_t<Awaitable>;
    static_assert(!std::is_reference_v<awaited>,
                  "curfew::with_timeout: the awaitable yields a reference, which a result cannot "
                  "hold; let it yield a pointer or a value");
    using yielded = result_of_t<awaited>;

public:
    using enable_limits = void;
    limited_scope(Awaitable&& awaitable, limit_terms<Kind> terms)
        : timer(terms), scoped_(static_cast<Awaitable&&>(awaitable)) {
        scoped_.scope.limit = this;
    }

    bool await_ready() const noexcept { return false; }

    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> coroutine) {
        scoped_.enter(coroutine);
        this->arm(loop_for(*scoped_.self));
        return scoped_.suspend(coroutine);
    }

    yielded await_resume() {
        this->disarm();
#if CURFEW_EXCEPTIONS
        try {
            return take();
        } catch (const std::system_error& error) {
            if (expired() && error.code() == errc::canceled) return errc::timed_out;
            throw;
        }
#else
        return take();
#endif
    }

private:
    void expire(bool abort) noexcept { scoped_.self->cancel(scoped_.scope, abort); }
    const void* target() const noexcept { return &scoped_.scope; }

    /// The limit has cut something short, and not merely passed while the last step completed.
    bool expired() const noexcept { return scoped_.scope.origin && scoped_.scope.noticed; }

    /// For what yields no error of its own: whether it was cut short, and by whom.
    std::error_code cut_short() const noexcept {
        if (!scoped_.scope.noticed) return {};
        return make_error_code(scoped_.scope.origin ? errc::timed_out : errc::canceled);
    }

    yielded take() {
        if constexpr (std::is_void_v<awaited>) {
            scoped_.resume();
            return cut_short();
        } else if constexpr (is_result<awaited>) {
            yielded own = scoped_.resume();
            if (expired() && own.ec == errc::canceled) own.ec = errc::timed_out;
            return own;
        } else {
            yielded own({}, scoped_.resume());
            own.ec = cut_short();
            return own;
        }
    }

    scoped<Awaitable> scoped_;
};

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

/// What with_timeout returns: the awaitable, held until it is awaited.
template <class Awaitable, limit_kind Kind>
class [[nodiscard("a limit does nothing until it is awaited")]] limited {
    using inner = awaiter_of_t<Awaitable>;

public:
    using awaiter =
        typename std::conditional_t<holds_operation<inner>,
                                    std::type_identity<limited_operation<inner, Kind>>,
                                    std::type_identity<limited_scope<Awaitable, Kind>>>::type;

    limited(Awaitable&& awaitable, limit_terms<Kind> terms)
        : awaitable_(static_cast<Awaitable&&>(awaitable)), terms_(terms) {}

    awaiter operator co_await() && { return awaiter(static_cast<Awaitable&&>(awaitable_), terms_); }
    awaiter operator co_await() const& requires holds_operation<inner> {
        return awaiter(awaitable_, terms_);
    }

private:
    /// A reference if it was given as an lvalue. (What follows may lie in its padding.)
    [[no_unique_address]] Awaitable awaitable_;
    limit_terms<Kind> terms_;
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

template <class T>
inline constexpr bool checked_awaitable = [] {
    static_assert(awaitable<T>,
                  "curfew::with_timeout, with_deadline and shielded take what can be awaited: an "
                  "operation (socket.read_some(...)), a task, or a combination of them");
    return true;
}();

/// What may be cut short, too.
template <class T>
inline constexpr bool checked_cancellable = [] {
    if constexpr (checked_awaitable<T> && awaitable<T>)
        static_assert(is_cancellable<T>,
                      "curfew::with_timeout, with_deadline and cancel_on could not cut this short: "
                      "it is, or contains, an awaitable of another library; see "
                      "curfew::enable_limits for one that ends by itself");
    return true;
}();

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
/// ends with `errc::canceled`; `close` aborts the sockets whose operations are pending in it then.
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
auto with_deadline(Awaitable&& awaitable, std::chrono::time_point<clock, Duration> deadline,
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
