// Limits: what `with_timeout(awaitable, time)` is, from being armed to carrying out its policy.
//
// On a bare operation it is a timer beside that (`limited_operation`), on anything else a timer and
// a cancel scope around it (`limited_scope`). The timer is armed only if the awaitable has to wait,
// and disarmed with the awaiter. When it expires the loop calls it, after all that has completed
// has been resumed; the policy is carried out by cancel_operation (see cancel_operation.hpp), for
// an operation directly, for a scope by way of all that waits in it (see core/cancellation.hpp).
#pragma once

#include <coroutine>
#include <cstdint>
#include <system_error>
#include <type_traits>
#include <utility>

#include "../core/cancellation.hpp"
#include "../core/outcome.hpp"
#include "../core/suspension.hpp"
#include "../core/time.hpp"
#include "../core/timer_list.hpp"
#include "../core/timer_wheel.hpp"
#include "operation_awaiter.hpp"
#include "scoped.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

/// What happens to a socket when a limit on one of its operations expires.
enum class on_timeout : std::uint8_t {
    cancel,  ///< the operation is cancelled; the socket stays open and usable
    close,   ///< the socket is closed abortively: the peer gets a RST
};

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

/// The timer of a limit; what it limits is around it. When the time is up the loop calls
/// `on_expiry`, and `Limited::carry_out_policy(abort)` does what the caller has chosen.
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
        if (!asked) return self.carry_out_policy(Abort);
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
    bool is_pending() const noexcept { return inner_.is_pending(); }
    void end(outcome why, bool abort) noexcept { inner_.end(why, abort); }

    bool await_ready() noexcept { return inner_.await_ready(); }

    template <class Promise>
    CURFEW_HOT bool await_suspend(std::coroutine_handle<Promise> coroutine) noexcept {
        if (!inner_.await_suspend(coroutine)) return false;
        if (is_pending()) [[likely]]
            this->arm(*op().socket->loop);
        return true;
    }

    /// The timer is disarmed with this awaiter, at the end of the expression that awaits it; until
    /// then it finds the operation complete.
    auto await_resume() noexcept(noexcept(std::declval<Inner&>().await_resume())) {
        return inner_.await_resume();
    }

private:
    void carry_out_policy(bool abort) noexcept { end(outcome::timed_out, abort); }
    const void* target() noexcept { return static_cast<const suspension*>(&op()); }

    Inner inner_;
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
    void carry_out_policy(bool abort) noexcept { scoped_.self->cancel(scoped_.scope, abort); }
    const void* target() const noexcept { return &scoped_.scope; }

    /// Nesting: the limit that has expired says `timed_out`, and those inside it leave `canceled` as
    /// it is. True: this one has, and has cut something short, instead of merely passing while the
    /// last step completed.
    bool expired() const noexcept { return scoped_.scope.cut_short_by_itself(); }

    /// For what yields no error of its own: whether it was cut short, and by whom.
    std::error_code cut_short() const noexcept {
        if (!scoped_.scope.cut_short) return {};
        return make_error_code(scoped_.scope.cancelled_itself() ? errc::timed_out : errc::canceled);
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

/// What with_timeout returns: the awaitable, held until it is awaited.
template <class Awaitable, limit_kind Kind>
class [[nodiscard("a limit does nothing until it is awaited")]] limited {
    using inner = awaiter_of_t<Awaitable>;

public:
    using awaiter =
        typename std::conditional_t<holds_operation<inner>,
                                    std::type_identity<limited_operation<inner, Kind>>,
                                    std::type_identity<limited_scope<Awaitable, Kind>>>::type;

    limited(Awaitable && awaitable, limit_terms<Kind> terms)
        : awaitable_(static_cast<Awaitable&&>(awaitable)), terms_(terms) {}

    awaiter operator co_await()&& { return awaiter(static_cast<Awaitable&&>(awaitable_), terms_); }
    awaiter operator co_await() const& requires holds_operation<inner> {
        return awaiter(awaitable_, terms_);
    }

private:
    /// A reference if it was given as an lvalue. (What follows may lie in its padding.)
    [[no_unique_address]] Awaitable awaitable_;
    limit_terms<Kind> terms_;
};

}  // namespace detail
}  // namespace curfew
