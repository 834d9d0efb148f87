// thread_promise: a result that another thread brings into the loop.
#pragma once

#include <atomic>
#include <coroutine>
#include <system_error>
#include <type_traits>
#include <utility>

#include "core/suspension.hpp"
#include "error.hpp"
#include "loop/loop.hpp"
#include "loop/queues.hpp"
#include "platform/std_memory.hpp"
#include "result.hpp"
#include "task.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

namespace detail {

/// What a thread_promise and its future share.
///
/// The one who fulfils is in any thread, the one who awaits in its loop's. `phase` says who has
/// come first, and every race is one compare-and-swap of it:
/// - await against fulfil: `empty` goes to `awaited` (the value will be posted) or to `fulfilled`
///   (the awaiting side finds it and does not suspend).
/// - cancel against fulfil: `awaited` goes back to `empty` (canceled; the value may still come, and
///   be awaited again) or to `posting` (the value is on its way, and wins).
/// - the end of the loop against fulfil: whoever awaits waits while the other thread is `posting`,
///   which is but a few instructions, before it resumes or goes away. So nobody posts to a loop
///   that is gone.
template <class T>
struct thread_state_of {
    static_assert(std::is_nothrow_move_assignable_v<result<T>>,
                  "curfew::thread_promise<T>: T must be movable, by assignment too, without "
                  "exceptions");

    enum class phase : unsigned char { empty, awaited, posting, fulfilled };

    std::atomic<phase> now{phase::empty};
    result<T> value;     // written before `posting` and `fulfilled`
    loop* to = nullptr;  // these two, before `awaited`
    posted_function* letter = nullptr;

    void fulfil(result<T>&& with) noexcept {
        value = std::move(with);
        phase seen = now.load(std::memory_order_acquire);
        for (;;) {
            const phase next = seen == phase::awaited ? phase::posting : phase::fulfilled;
            if (now.compare_exchange_weak(seen, next, std::memory_order_acq_rel)) break;
        }
        if (seen != phase::awaited) return;
        to->post(*letter);
        now.store(phase::fulfilled, std::memory_order_release);
    }

    /// False: the value is there.
    bool await(loop& own, posted_function& with) noexcept {
        const phase before = now.load(std::memory_order_relaxed);
        if (before == phase::awaited || before == phase::posting)
            fatal("a thread_future is awaited twice at the same time");
        to = &own;
        letter = &with;
        phase seen = phase::empty;
        return now.compare_exchange_strong(seen, phase::awaited, std::memory_order_acq_rel);
    }

    /// False: the value is on its way.
    bool cancel() noexcept {
        phase seen = phase::awaited;
        return now.compare_exchange_strong(seen, phase::empty, std::memory_order_acq_rel);
    }

    /// The other thread is between two steps of `fulfil`. (Not `now.wait`: without futexes, GCC
    /// 12's may sleep through its notification.)
    void wait_for_poster() const noexcept {
        while (now.load(std::memory_order_acquire) == phase::posting)
            platform::pause(std::chrono::microseconds(20));
    }
};

}  // namespace detail

/// Receives in a loop what a `thread_promise` is given in another thread.
///
/// `co_await future` gives a `result<T>`: the value, the error it was given instead, or `closed` if
/// the promise was destroyed without. One task at a time may await it, and, when that was cut
/// short, again: nothing is lost. It is movable, but not while it is awaited.
///
/// Cancellation: `canceled`, or the value if that comes first.
template <class T>
class [[nodiscard]] thread_future {
    using shared = detail::thread_state_of<T>;

public:
    /// See `thread_promise::get_future`.
    explicit thread_future(std::shared_ptr<shared> state) noexcept : state_(std::move(state)) {}

    class awaiter : detail::suspension, detail::posted_function, detail::loop_dependent {
    public:
        explicit awaiter(shared& state) noexcept
            : loop_dependent(
                  [](loop_dependent& self) noexcept { static_cast<awaiter&>(self).detach(); }),
              state_(state) {
            this->run = [](detail::posted_function& self, bool wanted) {
                auto& arrived = static_cast<awaiter&>(self);
                arrived.state_.wait_for_poster();
                arrived.awaited_ = false;
                if (wanted) arrived.loop_->make_ready(arrived.as_suspension());
            };
        }
        awaiter(const awaiter&) = delete;
        awaiter& operator=(const awaiter&) = delete;
        ~awaiter() { detach(); }

        bool await_ready() const noexcept { return false; }

        template <class Promise>
        bool await_suspend(std::coroutine_handle<Promise> coroutine) noexcept {
            static constexpr detail::suspension_type kind{
                [](detail::suspension& self, detail::cancellation&) noexcept {
                    auto& waiting = static_cast<awaiter&>(self);
                    if (!waiting.awaited_) return true;
                    if (!waiting.state_.cancel()) return false;  // it is on its way
                    waiting.awaited_ = false;
                    waiting.canceled_ = true;
                    waiting.loop_->make_ready(waiting.as_suspension());
                    return true;
                },
                [](const detail::suspension&, detail::wait_report& report) noexcept {
                    report.what = "another thread";
                },
            };
            detail::suspension& self = as_suspension();
            self.owner = &detail::fiber_of(coroutine);
            loop_ = &detail::loop_for(*self.owner);
            self.waiter = coroutine;
            self.type = &kind;
            self.since = loop_->recent();
            canceled_ = self.owner->cancelled();
            awaited_ = !canceled_ && state_.await(*loop_, *this);
            if (awaited_) loop_->add(*this);
            if (!awaited_) {
                if (!detail::share_is_used_up()) return false;
                loop_->defer(self);  // others get their turn first
            }
            self.owner->waiting = &self;
            return true;
        }

        result<T> await_resume() {
            if (!canceled_) return std::move(state_.value);
            as_suspension().owner->note_cut_short();
            return errc::canceled;
        }

    private:
        detail::suspension& as_suspension() noexcept { return *this; }

        /// From here on nobody posts; what has been posted is taken back.
        void detach() noexcept {
            if (!awaited_) return;
            awaited_ = false;
            if (state_.cancel()) return;
            state_.wait_for_poster();
            loop_->withdraw(*this);
        }

        shared& state_;
        detail::loop* loop_ = nullptr;
        bool awaited_ = false;  // of the loop's thread: the letter may still come
        bool canceled_ = false;
    };

    /// The future must live until it has been awaited.
    awaiter operator co_await() const noexcept {
        if (!state_) detail::fatal("an empty thread_future is awaited");
        return awaiter(*state_);
    }

private:
    std::shared_ptr<shared> state_;
};

/// A result that some thread will have, for a task that awaits it.
///
/// ```cpp
/// thread_promise<int> promise;
/// thread_future<int> future = promise.get_future();
/// std::thread worker([promise = std::move(promise)]() mutable { promise.set_value(compute()); });
/// auto [ec, value] = co_await with_timeout(future, 1s);
/// ```
/// It is fulfilled once, from any thread, at any time, also when nobody awaits it any more or the
/// context is gone. Its future is got once, before that. Movable; destroyed unfulfilled it says
/// `closed`.
template <class T = void>
class thread_promise {
public:
    /// Not fulfilled yet.
    thread_promise() : state_(std::make_shared<detail::thread_state_of<T>>()) {}
    thread_promise(thread_promise&&) noexcept = default;
    thread_promise& operator=(thread_promise&& other) noexcept {
        thread_promise moved(std::move(other));
        std::swap(state_, moved.state_);
        return *this;
    }
    ~thread_promise() {
        if (state_) set_error(make_error_code(errc::closed));
    }

    /// The future, once.
    thread_future<T> get_future() const noexcept { return thread_future<T>(state_); }

    /// False: the future is gone, or nobody has got it, so there is nobody to tell; the value has
    /// been left as it is.
    template <class Value>
    bool set_value(Value&& value) {
        if (given_up()) return false;
        fulfil(result<T>({}, std::forward<Value>(value)));
        return true;
    }
    /// The same, of a `thread_promise<>`.
    bool set_value() {
        if (given_up()) return false;
        fulfil(result<T>());
        return true;
    }
    /// Fulfils it with an error instead.
    void set_error(std::error_code error) noexcept { fulfil(result<T>(error)); }

private:
    /// The state is this promise's alone, and ends with that. (A future that goes at this moment,
    /// in another thread, may count or not.)
    bool given_up() noexcept {
        if (state_.use_count() != 1) return false;
        state_ = nullptr;
        return true;
    }

    void fulfil(result<T>&& with) noexcept {
        if (!state_) detail::fatal("a thread_promise is fulfilled twice");
        std::exchange(state_, nullptr)->fulfil(std::move(with));
    }

    std::shared_ptr<detail::thread_state_of<T>> state_;
};

}  // namespace curfew
