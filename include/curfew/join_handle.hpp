// join_handle<T>: the end of a spawned task.
#pragma once

#include <coroutine>
#include <utility>

#include "core/suspension.hpp"
#include "loop/loop.hpp"
#include "result.hpp"
#include "task.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

/// What `io_context::spawn` returns. It may be dropped: the task goes on without it.
///
/// `co_await handle` (once) gives what the task returned, or throws what left it. An exception that
/// nobody awaits comes out of `io_context::run`: at once if the handle has been dropped, else when
/// the loop has nothing left to do.
///
/// Cancellation: who is cancelled while awaiting a handle passes it on to the task and
/// still waits for its end, as if it had awaited the task itself.
template <class T = void>
class join_handle {
public:
    /// Of no task.
    join_handle() noexcept = default;
    /// Of a task that has been spawned.
    explicit join_handle(detail::spawned_fiber& record) noexcept : record_(&record) {}
    join_handle(join_handle&& other) noexcept : record_(std::exchange(other.record_, nullptr)) {}
    join_handle& operator=(join_handle&& other) noexcept {
        join_handle moved(std::move(other));
        std::swap(record_, moved.record_);
        return *this;
    }
    ~join_handle() {
        if (record_) detail::tasks::detach(*record_);
    }

    /// Cancels the task: what it waits for, and all it starts from now on, ends with
    /// `errc::canceled`. It runs on until it returns. From the loop's thread only.
    void cancel() noexcept {
        if (!record_ || record_->has_ended) return;
        record_->loop->check_thread();
        record_->cancel(record_->root);
    }

    /// True when the task has returned, or has been destroyed with its context.
    bool done() const noexcept { return !record_ || record_->has_ended; }

    class awaiter : detail::suspension {
    public:
        explicit awaiter(detail::spawned_fiber& joined) noexcept : joined_(joined) {
            owner = nullptr;
        }
        awaiter(const awaiter&) = delete;
        awaiter& operator=(const awaiter&) = delete;
        ~awaiter() {
            if (joined_.joiner == this) joined_.joiner = nullptr;
        }

        bool await_ready() const noexcept { return joined_.has_ended; }

        template <class Promise>
        void await_suspend(std::coroutine_handle<Promise> parent) noexcept {
            joined_.loop->check_thread();
            waiter = parent;
            owner = &detail::fiber_of(parent, joined_.loop);
            static constexpr detail::suspension_type kind{
                [](suspension& self, detail::cancellation& by) noexcept {
                    auto& join = static_cast<awaiter&>(self);
                    if (join.joined_.has_ended) return true;
                    if (!join.joined_.root.cut_short) join.passed_on_ = true;
                    by.add_itself(join.joined_);
                    return false;
                },
                [](const suspension&, detail::wait_report& report) noexcept {
                    report.what = "join";
                },
                false,
                true,
            };
            type = &kind;
            since = joined_.loop->recent();
            owner->waiting = this;
            joined_.joiner = this;
            if (!owner->cancelled()) return;
            detail::cancellation passed_on(false);
            kind.interrupt(*this, passed_on);
        }

        T await_resume() {
            joined_.joined = joined_.reported = true;
            if (passed_on_ && joined_.root.cut_short && owner->cancelled()) owner->note_cut_short();
            if (!joined_.innermost)
                detail::raise(errc::canceled,
                              "curfew::join_handle: the task was destroyed before its end");
            return static_cast<detail::promise<T>*>(joined_.innermost)->take();
        }

    private:
        detail::spawned_fiber& joined_;
        bool passed_on_ = false;  // a cancellation, before one had cut the task short
    };

    /// The handle must live until the task has ended.
    awaiter operator co_await() const noexcept {
        if (!record_) detail::fatal("an empty join_handle is awaited");
        if (record_->joiner || record_->joined) detail::fatal("a join_handle is awaited twice");
        return awaiter(*record_);
    }

private:
    detail::spawned_fiber* record_ = nullptr;
};

}  // namespace curfew
