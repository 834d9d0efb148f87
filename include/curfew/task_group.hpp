// task_group: a changing number of tasks that end together.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <system_error>
#include <type_traits>
#include <utility>

#include "core/call_site.hpp"
#include "core/fiber.hpp"
#include "core/suspension.hpp"
#include "io_context.hpp"
#include "join_handle.hpp"
#include "loop/loop.hpp"
#include "platform/std_memory.hpp"
#include "result.hpp"
#include "task.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

/// What an error that a child *returns*, as a `result` or an `std::error_code`, does to its group.
/// (An exception always cancels the rest.)
enum class on_error : std::uint8_t {
    cancel_rest,  ///< it is a failure of the group: the first cancels the other children
    ignore,       ///< it concerns the child alone
};

/// Runs tasks beside the one that owns the group, and never lets them outlive it: they may refer to
/// what was declared before the group. The first failure cancels the rest, and is what `join`
/// reports. Ended children are freed at once, so a server may keep one group for all connections.
///
/// A group belongs to the cancel scope in which it is made: limits and cancellation there reach its
/// children whatever the owner is doing. One that is made outside a task belongs to nobody.
///
/// ```cpp
/// task<> serve_all(tcp::acceptor& acceptor) {
///     task_group connections(on_error::ignore);
///     for (;;) {
///         auto [ec, peer] = co_await acceptor.accept();
///         if (ec) break;
///         connections.spawn(serve(std::move(peer)));
///     }
///     connections.cancel();
///     co_await connections.join();
/// }
/// ```
/// `join` is to be awaited before the group goes out of scope. When children are left then, the
/// program is ended with a message, except where an exception is on its way out of the owner, or
/// the owner is itself destroyed with its context: there the children are destroyed where they
/// stand, without being resumed. An exception that left a child, and that no join has thrown, comes
/// out of `io_context::run` when the group goes out of scope, if it is not on the way of another
/// one.
class task_group : detail::nursery {
public:
    /// In the context that runs the caller.
    explicit task_group(on_error policy = on_error::cancel_rest,
                        detail::call_site at = CURFEW_CALL_SITE)
        : task_group(this_context(), policy, at) {}

    /// In a context that is named: also outside of tasks.
    explicit task_group(io_context& context, on_error policy = on_error::cancel_rest,
                        detail::call_site at = CURFEW_CALL_SITE) noexcept
        : loop_(detail::loop_of(context)), made_at_(at), policy_(policy) {
        loop_.check_thread();
        holds_tasks = true;
        gone = &note_gone;
        const detail::run_state& state = detail::this_thread();
        attach(*(state.running == &loop_ ? state.current : &loop_.outside())->scope);
    }

    task_group(const task_group&) = delete;
    task_group& operator=(const task_group&) = delete;

    ~task_group() {
        // Detached, it has outlived its context.
        const bool left = scope && !loop_.destroying() && std::uncaught_exceptions() == exceptions_;
        if (left && failed_by_) loop_.report(failed_by_);
        if (empty()) return;
        if (left)
            detail::fatal_at(made_at_,
                             "a task_group goes out of scope with children: co_await join() first");
        loop_.destroy_all(*this);
    }

    /// Starts `work` in the loop's next turn. The handle may be dropped; who keeps it can cancel
    /// this child, or await what it returns. In a group that has been cancelled the child is
    /// cancelled from the start.
    template <class T>
    join_handle<T> spawn(task<T> work) {
        detail::spawned_fiber& record = loop_.make_fiber();
        const auto frame = detail::task_access::take(work);
        record.ended = &note_end<T>;
        loop_.spawn(frame, frame.promise(), record, *this);
        if (size_++ == 0 && joiner_) loop_.unready(*joiner_);  // its join goes on waiting
        if (cancelled_) record.cancel(record.root);
        if (interrupted_) record.cancel_root_from_around();
        return join_handle<T>(record);
    }

    /// The same with what `function()` makes. The function lives as long as its task, so that it
    /// may be a lambda with captures.
    template <detail::makes_task Function>
    auto spawn(Function function) {
        return spawn(detail::kept(std::move(function)));
    }

    /// Cancels all children, and those that are spawned before the next join has ended. It is no
    /// failure of the group.
    void cancel() noexcept {
        loop_.check_thread();
        cancelled_ = true;
        cancel_each();
    }

    /// How many children have not ended yet.
    std::size_t size() const noexcept { return size_; }

    class joiner : detail::suspension {
    public:
        explicit joiner(task_group& group) noexcept : group_(group) { owner = nullptr; }
        joiner(const joiner&) = delete;
        joiner& operator=(const joiner&) = delete;
        ~joiner() {
            if (group_.joiner_ == this) group_.joiner_ = nullptr;
        }

        bool await_ready() const noexcept { return group_.size_ == 0; }

        template <class Promise>
        void await_suspend(std::coroutine_handle<Promise> coroutine) noexcept {
            group_.loop_.check_thread();
            if (group_.joiner_) detail::fatal("a task_group is joined twice at the same time");
            static constexpr detail::suspension_type joining{
                [](suspension& self, detail::cancellation& by) noexcept {
                    auto& group = static_cast<joiner&>(self).group_;
                    group.interrupted_ = true;
                    by.add(group);
                    return group.size_ == 0;
                },
                [](const suspension&, detail::wait_report& report) noexcept {
                    report.what = "join of a task_group";
                },
                false,
                true,
            };
            waiter = coroutine;
            owner = &detail::fiber_of(coroutine, &group_.loop_);
            type = &joining;
            since = group_.loop_.recent();
            owner->waiting = this;
            group_.joiner_ = this;
            if (!owner->cancelled()) return;
            detail::cancellation passed_on(false);
            joining.interrupt(*this, passed_on);
        }

        optional_result await_resume() { return group_.report(owner); }

    private:
        task_group& group_;
    };

    /// Waits until all children have ended, also those that are spawned meanwhile. Yields the first
    /// error that a child returned (see `on_error`), in a `result<>` that may be ignored, or throws
    /// the first exception that left one. The group is as new then, and may be used again.
    ///
    /// Cancellation, and limits: who is cancelled while joining passes it on to the children and
    /// still waits for them; `canceled` if that cut any of them short.
    detail::request_on<joiner, task_group> join() noexcept {
        return detail::request_on<joiner, task_group>(*this);
    }

private:
    /// Runs at the child's final suspension.
    template <class T>
    static void note_end(fiber& self) noexcept {
        self.loop->check_thread();
        auto& child = static_cast<detail::spawned_fiber&>(self);
        auto& group = static_cast<task_group&>(*child.home);
        auto& promise = static_cast<detail::promise<T>&>(*child.innermost);
        if (promise.failed()) {
            child.reported = true;
            if (!group.failed()) group.failed_by_ = promise.exception;
            group.fail();
        } else if constexpr (detail::is_result<T> || std::is_same_v<T, std::error_code>) {
            const std::error_code error = error_of(promise.value());
            const bool asked_for = child.root.cancelled() && error == errc::canceled;
            if (error && !asked_for && group.policy_ == on_error::cancel_rest) {
                if (!group.failed()) group.error_ = error;
                group.fail();
            }
        }
        if (child.root.cut_short_from_around()) group.cut_short_ = true;
        detail::loop::note_end(self);
    }

    static void note_gone(detail::nursery& home) noexcept {
        auto& group = static_cast<task_group&>(home);
        if (--group.size_ == 0 && group.joiner_) group.loop_.resume_joiner(*group.joiner_);
    }

    static std::error_code error_of(const std::error_code& error) noexcept { return error; }
    template <class T>
    static std::error_code error_of(const result<T>& value) noexcept {
        return value.ec;
    }

    bool failed() const noexcept { return error_ || failed_by_; }

    /// Each of many children may fail: the others are cancelled once.
    void fail() noexcept {
        if (!std::exchange(cancelled_, true)) cancel_each();
    }

    /// What has happened since the last join.
    result<> report(fiber* joined_by) {
        const std::error_code error = error_;
        const std::exception_ptr exception = std::move(failed_by_);
        const bool cut_short = cut_short_;
        error_ = {};
        failed_by_ = nullptr;
        cut_short_ = cancelled_ = interrupted_ = false;
#if CURFEW_EXCEPTIONS
        if (exception) std::rethrow_exception(exception);
#endif
        if (error) return error;
        if (!cut_short) return {};
        if (joined_by && joined_by->cancelled()) joined_by->note_cut_short();
        return errc::canceled;
    }

    detail::loop& loop_;
    const detail::call_site made_at_;
    const on_error policy_;
    bool cancelled_ = false;
    bool interrupted_ = false;  // the one who joins is cancelled, so its children are
    bool cut_short_ = false;    // a child has been, by what is around the group
    const int exceptions_ = std::uncaught_exceptions();
    std::size_t size_ = 0;
    detail::suspension* joiner_ = nullptr;
    std::error_code error_;
    std::exception_ptr failed_by_;
};

}  // namespace curfew
