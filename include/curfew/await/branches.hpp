// The branches of when_all and when_any: fibers that one fiber waits for together, and when the end
// of one ends the others.
#pragma once

#include <coroutine>
#include <cstddef>
#include <source_location>
#include <type_traits>
#include <utility>

#include "../core/awaiter.hpp"
#include "../core/suspension.hpp"
#include "../loop/loop.hpp"
#include "../loop/queues.hpp"
#include "../result.hpp"
#include "../task.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

// Any awaitable as a task -------------------------------------------------------------------------

/// The task that a branch runs: a task itself, or one that awaits something else.
template <class T>
task<T> as_task(task<T>&& work) noexcept {
    return std::move(work);
}

/// What awaiting yields, as a task can return it.
template <class Awaitable>
using yield_of_t =
    std::conditional_t<std::is_rvalue_reference_v<awaited_t<Awaitable>>,
                       std::remove_cvref_t<awaited_t<Awaitable>>, awaited_t<Awaitable>>;

#if CURFEW_SOURCE_LOCATIONS
/// As `co_await`s in this file give it: they are none of the user's.
inline const char* branches_file() noexcept { return std::source_location::current().file_name(); }
#endif

template <class Awaitable>
task<yield_of_t<Awaitable>> await_as_task(Awaitable awaitable) {
    co_return co_await static_cast<Awaitable&&>(awaitable);
}

template <class Awaitable>
auto as_task(Awaitable&& awaitable) {
    static_assert(detail::awaitable<Awaitable>,
                  "curfew::when_all and when_any take what can be awaited: operations, tasks, "
                  "combinations of them, or a range of those");
    return await_as_task<Awaitable>(static_cast<Awaitable&&>(awaitable));
}

// Branches ----------------------------------------------------------------------------------------

class branch_set;

struct branch_fiber : fiber {
    branch_set* set = nullptr;
    std::size_t index = 0;
};

/// A branch and what it runs.
template <class T>
struct branch : branch_fiber {
    task<T> work;

    explicit branch(task<T> run) noexcept : work(std::move(run)) {}

    decltype(auto) take() {
        if constexpr (std::is_void_v<T>) {
            // Nothing to return, so this is all there is to say about it.
            return root.cut_short ? result<>(errc::canceled) : result<>();
        } else {
            return static_cast<detail::promise<T>*>(innermost)->take();
        }
    }
};

/// What stands in the results for a branch that yields `T`.
template <class T>
using branch_value_t = std::conditional_t<std::is_void_v<T>, result<>, T>;

/// When a branch's end cancels the others. Its failure, an exception, always does.
enum class ends_all : bool { failure, first };

/// A fiber that waits for branches.
///
/// The branches are queued and begin in their order; one that ends says so from its final
/// suspension, and the last one makes the waiting fiber ready. The verdict that cancels those who
/// are left is queued too: all have begun by then, because their starts stand before it in the same
/// queue, and what the system had for them in this turn has reached them. It comes before the
/// waiting fiber goes on, which is queued later still. Their frames live until then.
class branch_set : public suspension {
public:
    branch_set(const branch_set&) = delete;
    branch_set& operator=(const branch_set&) = delete;
    ~branch_set() {
        if (verdict_.queued_in) verdict_.queued_in->unready(verdict_);
    }

protected:
    explicit branch_set(ends_all when) noexcept : when_(when) {}

    /// False: there are no branches to wait for.
    template <class Promise>
    bool open(std::coroutine_handle<Promise> coroutine, std::size_t count) noexcept {
        static_assert(
            std::is_base_of_v<promise_base, Promise>,
            "curfew: when_all and when_any are awaited in a curfew::task; other coroutine "
            "types have nothing that could be cancelled");
        if (count == 0) return false;
        owner = &fiber_of(coroutine);
        waiter = coroutine;
        type = &type_of(when_);
        loop& own = loop_for(*owner);
        own.check_thread();
        since = own.recent();
        living_ = count;
        nursery_.attach(*owner->scope);
        owner->waiting = this;
        return true;
    }

    template <class T>
    void begin(branch<T>& each, std::size_t index) noexcept {
        const auto frame = task_access::begin(each.work);
        each.set = this;
        each.index = index;
        each.root.keeps_to_itself = when_ == ends_all::first;
        each.loop = owner->loop;
        each.ended = [](fiber& self) noexcept {
            auto& ended = static_cast<branch_fiber&>(self);
            ended.set->note_end(ended);
        };
        nursery_.add(each);
        each.loop->begin(each, frame, frame.promise());
    }

    /// The waiting coroutine goes on; throws what the first branch that failed has thrown.
    void close() {
        nursery_.detach();
        if (cut_short_ || (failed_ && was_cut_short(*failed_))) owner->note_cut_short();
        if (failed_) failed_->innermost->rethrow();
    }

    std::size_t first() const noexcept { return first_; }

private:
    struct verdict : posted_function {
        branch_set& of;
        loop* queued_in = nullptr;
        explicit verdict(branch_set& set) noexcept : of(set) {
            run = [](posted_function& self, bool wanted) {
                auto& its = static_cast<verdict&>(self);
                its.queued_in = nullptr;
                if (wanted) its.of.nursery_.cancel_each();
            };
        }
    };

    /// A limit or a cancellation around the combination has cut a branch of `when_any` short. It
    /// has cut the combination short only if no branch came to its own end: one whose operation had
    /// completed by then is the first, whatever was resumed before it.
    static bool was_cut_short(const branch_fiber& ended) noexcept {
        return ended.root.keeps_to_itself && ended.root.cut_short_from_around();
    }

    void note_end(branch_fiber& ended) noexcept {
        ended.loop->check_thread();
        ended.leave_home();
        const bool failed = ended.innermost->failed();
        const bool cut_short = was_cut_short(ended);
        if (!any_ended_ || (cut_short_ && !cut_short)) {
            first_ = ended.index;
            cut_short_ = cut_short;
        }
        any_ended_ = true;
        if (failed && !failed_) failed_ = &ended;
        if (--living_ == 0) {
            ended.loop->make_ready(*this);
        } else if (!decided_ && (failed || when_ == ends_all::first)) {
            decided_ = true;
            nursery_.shielded = true;  // a limit that expires from here on cuts nothing short
            verdict_.queued_in = ended.loop;
            ended.loop->make_ready(verdict_);
        }
    }

    /// Its branches stand in the scope that is cancelled, so they know already.
    static bool has_ended(suspension& self, cancellation&) noexcept {
        return static_cast<branch_set&>(self).living_ == 0;
    }

    static const suspension_type& type_of(ends_all when) noexcept {
        static constexpr suspension_type all{
            &has_ended,
            [](const suspension&, wait_report& report) noexcept { report.what = "when_all"; },
            false,
            true,
        };
        static constexpr suspension_type any{
            &has_ended,
            [](const suspension&, wait_report& report) noexcept { report.what = "when_any"; },
            false,
            true,
        };
        return when == ends_all::first ? any : all;
    }

    const ends_all when_;
    bool any_ended_ = false;
    bool decided_ = false;
    bool cut_short_ = false;  // the first was
    std::size_t living_ = 0;
    std::size_t first_ = 0;
    const branch_fiber* failed_ = nullptr;
    nursery nursery_;
    verdict verdict_{*this};
};

}  // namespace curfew::detail
