// Tasks from spawn to end: how they begin, what happens at their end, how they are destroyed before
// it, and what becomes of exceptions that nobody joins.
#pragma once

#include <coroutine>
#include <cstddef>
#include <exception>
#include <new>
#include <utility>

#include "../core/cancellation.hpp"
#include "../core/frame_memory.hpp"
#include "../core/promise.hpp"
#include "../core/ready_queue.hpp"
#include "../core/suspension.hpp"
#include "../platform/std_memory.hpp"
#include "fiber_tree.hpp"
#include "limits.hpp"
#include "queues.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

struct awaits_end {
    suspension* joiner = nullptr;
};

/// The fiber of a task that was spawned, on its own or into a group. Its `turn` is queued until it
/// begins, at its end among queues::ended, and after that perhaps in a list of `tasks`.
/// `turn.waiter` is the task's frame, null when that has been destroyed; at its end `innermost` is
/// the promise in it, null when it was destroyed before. `joiner` awaits the end.
///
/// That comes first because then what operations touch at the end of the fiber is within 16 bytes
/// that begin at a multiple of 16, and so in one line of the cache.
struct spawned_fiber : awaits_end, fiber, recycled {
    // The flags come first: they fit into what alignment leaves behind those of the fiber.
    bool has_handle = true;  // a join_handle refers to this record
    bool has_ended = false;
    bool frame_being_destroyed = false;
    bool joined = false;     // somebody has awaited the end
    bool reported = false;   // its exception has been thrown at somebody
    bool unclaimed = false;  // its `turn` stands in tasks::unclaimed_
};

class tasks {
public:
    tasks(loop& own, queues& to, fiber_tree& all, limits& idle) noexcept
        : loop_(own), queues_(to), tree_(all), limits_(idle) {
        alone_.holds_tasks = true;
        alone_.attach(tree_.outside.root);
    }

    // From spawn to end ------------------------------------------------------------------------

    void spawn(std::coroutine_handle<> frame, promise_base& promise, spawned_fiber& record,
               nursery& into) noexcept {
        promise.held_by = &record.turn.waiter;
        into.add(record);
        count_begin();
        begin(record, frame, promise);
    }

    /// What was spawned on its own.
    nursery& alone() noexcept { return alone_; }

    /// Queues the start of a fiber.
    void begin(fiber& self, std::coroutine_handle<> frame, promise_base& promise) noexcept {
        self.loop = &loop_;
        self.innermost = &promise;
        promise.owner = &self;
        self.waiting = &not_begun;
        self.turn.waiter = frame;
        queues_.ready.push(self.turn);
    }

    /// How many have begun, or are to, and have not ended.
    std::size_t live() const noexcept { return live_; }

    void count_begin() noexcept {
        ++live_;
        queues_.slow &= ~queues::no_tasks;
    }
    void count_end() noexcept {
        if (--live_ == 0) queues_.slow |= queues::no_tasks;
    }

    /// A task's last coroutine has come to its final suspension.
    void queue_ended(fiber& self) noexcept {
        self.waiting = &not_begun;  // its turn is queued again
        queues_.ended.push(self.turn);
    }

    CURFEW_COLD void collect_ended() noexcept {
        while (ready_node* const node = queues_.ended.pop()) after_end(record_of(*node));
    }

    /// Who waits for the end of a task or a group goes on, unless it is about to be destroyed.
    void resume_joiner(suspension& joiner) noexcept;

    /// The handle is gone: the record lives as long as its task.
    static void detach(spawned_fiber& record) noexcept;

    // By force ---------------------------------------------------------------------------------

    /// Whether frames are being destroyed where they are suspended.
    bool destroying() const noexcept { return destroying_; }

    /// Ends a fiber by force, and all within it: what they wait for is cancelled and reaped, and
    /// then their frames are destroyed, the innermost first. (All of them: but for the first of
    /// `top`, on request, which may belong to somebody else.)
    void destroy(fiber& top, bool first_too = true) noexcept {
        tree_.prepare_to_destroy(top);
        fiber_list path;
        path.push(top);
        while (fiber* const self = path.last()) {
            if (fiber* const inside = tree_.any_within(*self)) {
                tree_.prepare_to_destroy(*inside);  // if a destructor has spawned it
                path.push(*inside);
            } else {
                path.pop();
                destroy_alone(*self, first_too || self != &top);
            }
        }
    }

    /// The same for the children of a group that is about to be destroyed.
    void destroy_all(nursery& children) noexcept {
        children.gone = nullptr;
        for (fiber* each = children.first; each; each = each->next) tree_.prepare_to_destroy(*each);
        while (children.first) destroy(*children.first);
    }

    /// The loop ends: joiners are not resumed any more, and whatever destructors in frames do,
    /// nobody is queued by it who is about to be destroyed.
    void prepare_to_destroy_all() noexcept {
        // The others' tasks are still there.
        while (ready_node* const node = failures_.pop())
            if (!node->owner) delete static_cast<unjoined*>(node);
        while (ready_node* const node = unclaimed_.pop()) record_of(*node).unclaimed = false;
        for (nursery* each = tree_.outside.root.nurseries; each; each = each->next)
            for (fiber* task = each->first; task; task = task->next)
                tree_.prepare_to_destroy(*task);
        loop_ends_ = true;
    }
    bool loop_ends() const noexcept { return loop_ends_; }

    // Exceptions that nobody has seen ----------------------------------------------------------

    /// One that nobody has joined, and whose task is gone, is kept for run(). (If there is no
    /// memory for that, it is lost.)
    void report(const std::exception_ptr& exception) noexcept {
        auto* const failure = new (std::nothrow) unjoined;
        if (!failure) return;
        failure->owner = nullptr;
        failure->exception = exception;
        failures_.push(*failure);
        queues_.slow |= queues::has_chores;
    }

    /// Throws the first of those whose tasks nobody can join any more.
    void report_failure() {
        while (ready_node* const node = failures_.pop()) {
            if (!node->owner) {
                const std::unique_ptr<unjoined> of_group(static_cast<unjoined*>(node));
                rethrow(of_group->exception);
                continue;
            }
            spawned_fiber& failed = record_of(*node);
            const std::exception_ptr exception = failed.innermost->exception;
            destroy_ended(failed);
            rethrow(exception);
        }
    }

    /// With all tasks at their end, exceptions that wait for a join would never be seen: throws the
    /// first of them.
    void report_unclaimed() {
        ready_queue joining;
        spawned_fiber* first = nullptr;
        while (ready_node* const node = unclaimed_.pop()) {
            spawned_fiber& failed = record_of(*node);
            if (!failed.reported && failed.joiner) {
                joining.push(failed.turn);
                continue;
            }
            failed.unclaimed = false;
            if (failed.reported) continue;
            first = &failed;
            break;
        }
        unclaimed_.append(joining);
        if (!first) return;
        first->reported = true;
        rethrow(first->innermost->exception);
    }

private:
    /// A failure whose task is gone.
    struct unjoined : ready_node {
        std::exception_ptr exception;
    };

    static spawned_fiber& record_of(ready_node& turn) noexcept {
        return static_cast<spawned_fiber&>(*turn.owner);
    }

    void after_end(spawned_fiber& record) noexcept {
        limits_.note_idle_memory();
        record.has_ended = true;
        record.ended = nullptr;
        record.waiting = nullptr;
        count_end();
        nursery* const home = record.home;
        const auto gone = home->gone;
        if (gone) {  // who still has a handle, or an exception, outlives its group
            record.leave_home();
            alone_.add(record);
        }
        suspension* const joiner = record.joiner;
        if (joiner) resume_joiner(*joiner);
        if (gone) gone(*home);  // before the frame is destroyed, which may own the group
        if (!joiner && !record.has_handle)
            collect(record);
        else if (has_unseen_failure(record))
            unclaimed_.push(record.turn), record.unclaimed = true;
    }

    static bool has_unseen_failure(const spawned_fiber& record) noexcept {
        return record.innermost && record.innermost->failed() && !record.reported;
    }

    /// Frees an ended fiber that nobody can join any more. An exception that nobody has seen is
    /// kept for run().
    void collect(spawned_fiber& record) noexcept {
        forget_unclaimed(record);
        if (has_unseen_failure(record))
            failures_.push(record.turn), queues_.slow |= queues::has_chores;
        else
            destroy_ended(record);
    }

    static void forget_unclaimed(spawned_fiber& record) noexcept {
        if (std::exchange(record.unclaimed, false)) ready_queue::remove(record.turn);
    }

    /// Its frame may hold the last handle of another task that has ended, and so on: those wait for
    /// their turn.
    void destroy_ended(spawned_fiber& record) noexcept {
        collected_.push(record.turn);
        if (std::exchange(collecting_, true)) return;
        while (ready_node* const node = collected_.pop()) {
            if (node->waiter) node->waiter.destroy();
            delete &record_of(*node);
        }
        collecting_ = false;
    }

    void destroy_alone(fiber& self, bool first_too) noexcept {
        const bool outer = std::exchange(destroying_, true);
        if (self.home->holds_tasks) {
            destroy_task(static_cast<spawned_fiber&>(self));
        } else {
            self.leave_home();
            destroy_frames(self.innermost, first_too);
        }
        destroying_ = outer;
    }

    /// A handle that is left keeps the record.
    void destroy_task(spawned_fiber& record) noexcept {
        nursery& home = *record.home;
        record.leave_home();
        forget_unclaimed(record);
        if (!record.has_ended) count_end();
        record.has_ended = true;
        if (home.gone) home.gone(home);
        if (record.joiner) resume_joiner(*record.joiner);
        record.frame_being_destroyed = true;
        destroy_frames(std::exchange(record.innermost, nullptr));
        record.frame_being_destroyed = false;
        record.loop = nullptr;
        if (!record.has_handle) delete &record;
    }

    static void rethrow([[maybe_unused]] const std::exception_ptr& exception) {
#if CURFEW_EXCEPTIONS
        std::rethrow_exception(exception);
#endif
    }

    loop& loop_;
    queues& queues_;
    fiber_tree& tree_;
    limits& limits_;
    std::size_t live_ = 0;
    bool loop_ends_ = false;
    bool destroying_ = false;
    bool collecting_ = false;
    nursery alone_;
    ready_queue collected_;  // records to be freed, with their frames
    ready_queue failures_;   // whose exceptions run() is to throw
    ready_queue unclaimed_;  // ended with an exception that can still be joined, the first first
};

}  // namespace curfew::detail
