// Who goes on in a turn, and in which order.
#pragma once

#include <cstddef>

#include "../core/fiber.hpp"
#include "../core/ready_queue.hpp"
#include "../core/timer_list.hpp"
#include "../core/timer_wheel.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

/// A function for the loop to call, posted from any thread. `run` disposes of it, having called it
/// or, when the loop ends before it comes to that, without.
struct posted_function : ready_node {
    void (*run)(posted_function&, bool call) = nullptr;
    posted_function() noexcept { owner = nullptr; }
};

/// All queues of a loop. A node stands in one of them at the most, and goes on in this order:
///
/// 1. `expired`: those whose limits have expired, who have waited for longest;
/// 2. `ready`: what is ready, first in, first out;
/// 3. `yielded`: those who gave way in the turns before, for whom one entry stands at the end of
///    `ready` (see queue_deferred).
///
/// This file is the only one that moves nodes from one of these to another.
class queues {
public:
    ready_queue ready;

    /// Why a turn has to take the slow path: it takes the fast one while this is 0.
    unsigned slow = no_tasks;
    static constexpr unsigned has_chores = 1;  // see turns::do_chores; with these it does not wait
    static constexpr unsigned has_draining = 2;  // see sockets
    static constexpr unsigned no_tasks = 4;      // so there may be no work at all
    static constexpr unsigned has_ready = 8;     // somebody can go on: it does not wait
    static constexpr unsigned has_stopped = 16;  // stop() was called
    static constexpr unsigned has_ticking = 32;  // somebody waits for a tick

    /// Fibers at their end, which are collected after each step of a turn: until a coroutine has
    /// returned control its frame is in use.
    ready_queue ended;

    ready_queue expired;
    ready_queue yielded;
    ready_queue deferred;  // who has given way in this turn: one of `yielded` from the next on
    timer_list ticking;    // who waits for a tick

    queues() noexcept { ticking.clear(); }

    // In ---------------------------------------------------------------------------------------

    /// Queues for the next turn, behind what the system has to say.
    void defer(ready_node& node) noexcept {
        deferred.push(node);
        slow |= has_chores;
    }

    /// `node` expires in the next `tick`.
    void arm_for_tick(timer_node& node) noexcept {
        ticking.push_newest(node);
        slow |= has_ticking;
    }

    /// What has waited for the next tick is ready.
    void tick() noexcept {
        while (!ticking.empty()) {
            timer_node& node = ticking.oldest();
            node.disarm();
            node.expired(node, nullptr);
        }
    }

    /// What limits that expire make ready stands in `ready` alone until `queue_expired`.
    void set_aside(ready_queue& others) noexcept { others.append(ready); }

    /// They go on before the `others`, but for more than `most` of them: one limit may end the
    /// waits of many.
    void queue_expired(ready_queue& others, std::size_t most) noexcept {
        ready.append_rest_to(others, most);
        expired.append(ready);
        ready.append(others);
        if (!expired.empty()) slow |= has_ready;
        note_ready();
    }

    // Before a turn resumes --------------------------------------------------------------------

    /// Those who gave way in the turn before stand behind all who are ready now, with one entry for
    /// all of them: when it is its turn, as many go on as the time of a turn allows, and one at
    /// least. So what is always ready, however much of it there is, keeps nobody else waiting for
    /// long.
    void queue_deferred() noexcept {
        yielded.append(deferred);
        queue_yielded();
    }

    /// The same for those that are left when that entry has had its turn.
    void queue_yielded() noexcept {
        if (yielded.empty() || yielded_entry_.queued) return;
        yielded_entry_.queued = true;
        ready.push(yielded_entry_);
    }

    /// Whether it is that entry, which has left `ready` then.
    bool take_yielded_entry(const ready_node& node) noexcept {
        if (&node != &yielded_entry_) return false;
        yielded_entry_.queued = false;
        return true;
    }

    /// For a poll, which resumes all: limits that expire within it come before the rest.
    void join_expired() noexcept {
        expired.append(ready);
        ready.append(expired);
    }

    /// All who can go on, in one queue.
    void join_all() noexcept {
        join_expired();
        ready.append(yielded);
        ready.append(deferred);
    }

    // Between two turns ------------------------------------------------------------------------

    /// What is ready now must not wait for what the system has to say.
    CURFEW_HOT void note_ready() noexcept {
        if (!ready.empty()) slow |= has_ready;
    }

    /// The same for what a run before this one, or around it, may have left.
    void note_left() noexcept {
        note_ready();
        if (!expired.empty() || !deferred.empty() || !yielded.empty()) slow |= has_ready;
    }

    /// Nobody is there who could go on now, and nothing to be done.
    bool may_wait() const noexcept { return !(slow & (has_chores | has_ready | has_stopped)); }

    bool empty() const noexcept {
        return ready.empty() && deferred.empty() && yielded.empty() && expired.empty();
    }

    /// Calls `look` on every node that is queued to go on by itself.
    template <class Look>
    void for_each(Look look) const {
        ready.for_each(look);
        deferred.for_each(look);
        yielded.for_each(look);
        expired.for_each(look);
    }

    /// Drops all of them: coroutines are destroyed with their fibers, which are queued no more.
    void discard() noexcept {
        for (ready_queue* each : {&ready, &deferred, &yielded, &expired})
            while (ready_node* const node = each->pop())
                if (node->owner) {
                    node->owner->waiting = nullptr;
                } else {
                    auto& function = static_cast<posted_function&>(*node);
                    function.run(function, false);
                }
    }

private:
    struct yielded_entry : posted_function {
        bool queued = false;
        yielded_entry() noexcept {
            run = [](posted_function&, bool) {};
        }
    };
    yielded_entry yielded_entry_;
};

}  // namespace curfew::detail
