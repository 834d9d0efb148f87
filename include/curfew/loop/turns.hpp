// The turns of a loop: `turn` has their order, which `run`, `poll` and `poll_until` have in common.
//
// Most turns of a busy loop find nothing in queues::slow, take the fast path, and do no more than
// what is needed for that: this is where the loop spends its instructions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "../core/suspension.hpp"
#include "../core/trampoline.hpp"
#include "../core/turn_clock.hpp"
#include "../platform/std_chrono.hpp"
#include "../platform/std_memory.hpp"
#include "limits.hpp"
#include "queues.hpp"
#include "reaping.hpp"
#include "settling.hpp"
#include "sockets.hpp"
#include "tasks.hpp"
#include "wake_ups.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

class turns {
public:
    turns(std::unique_ptr<reactor> with, fiber_tree& all, tasks& work, sockets& open) noexcept
        : reaping(std::move(with), queued, inbound), inbound(*reaping.reactor, queued),
          limited(queued, reaping), tree_(all), tasks_(work), sockets_(open) {}

    // What each turn needs stands together, from the end of the clock to the beginning of the
    // limits: system calls in between have used the caches.
    settling settled;
    reaper reaping;
    wake_ups inbound;
    queues queued;
    run_state state;
    limits limited;  // large

    enum class extent : std::uint8_t { all, one };

    /// Runs until `enough()`, `stop()`, or there is no work left; at most until `end`, or until it
    /// has run one. Returns how many coroutines and functions it has run.
    template <class Enough>
    std::size_t run(ticks end, extent how_many, Enough enough) {
        const settling::lasting_run here(settled, reaping,
                                         end == endless && how_many == extent::all);
        collect_ended();  // who ended outside a run, or when something threw
        tasks_.report_failure();
        reaping.clock.polls(false);
        running turning{end, how_many == extent::one ? 1 : fair_batch, look_closely(true)};
        state.on_trampoline = true;
        const bool stopped = stopping();
        queued.note_left();
        while (!stopped && !enough()) {
            if (!turn(turning)) break;
            if (how_many == extent::one && turning.total > 0) break;
            if (end != endless && limited.now() >= end) [[unlikely]]
                break;
        }
        stopping();  // this run has ended anyway
        tasks_.report_failure();
        if (tasks_.live() == 0 && !enough()) tasks_.report_unclaimed();
        return turning.total;
    }

    struct polled {
        std::size_t resumed;
        bool stopped;
    };

    /// A turn that does not wait, and goes on while there is something to do. Starts nothing new
    /// after `end`, except one thing if it is `owed` and has started none. Coroutines that keep
    /// each other ready for ever do not keep it for ever.
    polled poll(ticks end, bool owed) {
        collect_ended();
        if (stopping()) return {0, true};
        state.on_trampoline = true;
        reaping.clock.polls(true);
        polling turning{end};
        turn(turning);
        bool stopped = stopping();
        if (!stopped) {
            while (turn(turning)) {}  // with what limits have made ready, until none is over
            if (turning.total == 0 && owed) turning.total = resume_ready(1, end, true);
            stopped = stopping();
        }
        tasks_.report_failure();
        return {turning.total, stopped};
    }

    /// A tick, and then turns until `end`, with work or without, or until `stop()`. What is ready
    /// after the tick and a look at the system goes on even if `end` has passed; nothing else is
    /// started after it.
    std::size_t poll_until(ticks end) {
        collect_ended();
        tasks_.report_failure();
        if (stopping()) return 0;
        queued.tick();
        state.on_trampoline = true;
        state.clock = nullptr;
        reaping.clock.polls(false);
        framing turning{end};
        while (turn(turning)) {}
        tasks_.report_failure();
        return turning.total;
    }

    /// Resumes a coroutine from within a posted function.
    void resume(suspension& suspended) {
        state.current = suspended.owner;
        suspended.owner->waiting = nullptr;
        run_coroutine(suspended.waiter);
    }

private:
    static constexpr std::size_t fair_batch = 256;  // resumed between two looks at the system
    static constexpr std::size_t poll_batch = 100'000;
    static constexpr int most_looks = 1000;  // of a poll
    static constexpr int fair_share = 64;    // completions at once, between two suspensions

    // The order of a turn ----------------------------------------------------------------------

    /// 1. The system and other threads are asked what has completed, and what they have sent; this
    ///    may wait.
    /// 2. Who is ready goes on, in the order of `queues`. What completes at once within that is
    ///    part of it. This is bounded by time (see `turn_goes_on`).
    /// 3. Only then does anybody look at the limits: completion beats them (see limits::expire).
    ///    Whom expired limits make ready goes on in the next turn.
    ///
    /// How each of them is done depends on who asks: `running`, `polling` or `framing`. False: it
    /// was the last turn.
    template <class Way>
    CURFEW_HOT bool turn(Way& way) {
        if (!way.look(*this)) return false;
        const std::size_t resumed = way.resume(*this);
        way.total += resumed;
        return way.look_at_limits(*this, resumed);
    }

    /// Of `run`: waits for the system, and resumes a fair batch.
    struct running {
        ticks end;
        std::size_t batch;
        ticks until_deadline;
        std::size_t total = 0;
        bool slow = false;

        CURFEW_HOT bool look(turns& of) {
            slow = of.queued.slow || !of.inbound.none();
            if (slow) [[unlikely]]
                return of.look_slowly(until_deadline, end);
            of.reaping.reap(of.time_to_wait(until_deadline, end));
            return true;
        }
        CURFEW_HOT std::size_t resume(turns& of) {
            return slow ? of.resume_slowly(batch) : of.resume_ready(batch, endless);
        }
        CURFEW_HOT bool look_at_limits(turns& of, std::size_t resumed) {
            until_deadline = of.look_at_deadlines(resumed);
            return true;
        }
    };

    /// Of `poll`: never waits, and resumes all. The first turn brings all that the system has to
    /// tell, the others carry out limits that were over then, a slice each.
    struct polling {
        ticks end;
        std::size_t total = 0;
        int slices = -1;  // those of earlier turns
        ticks looked_at = 0;
        bool more = false;  // the system may have more to tell than it has

        bool look(turns& of) {
            if (++slices > 0) return true;
            more = of.reaping.look_at_once();
            of.queued.join_all();
            of.do_chores();
            return true;
        }
        std::size_t resume(turns& of) {
            std::size_t resumed = of.resume_all(end);
            if (!more) return resumed;
            const ticks begun = ticks_now();
            for (int looks = 1;
                 more && of.queued.ready.empty() && !of.stop_asked_for() && looks < most_looks;
                 ++looks) {
                more = of.reaping.look_at_once();
                resumed += of.resume_all(end);
                if (of.reaping.have_looked_enough(begun)) break;
            }
            more = false;
            return resumed;
        }
        bool look_at_limits(turns& of, std::size_t resumed) {
            if (slices == 0) {
                of.look_closely(resumed > 0);
                looked_at = of.reaping.clock.last();
                return true;
            }
            if (of.limited.armed.bound() > looked_at || of.stop_asked_for() ||
                slices > limits::most_looks || (end != endless && ticks_now() >= end))
                return false;
            of.look_closely(true);
            return true;
        }
    };

    /// Of `poll_until`: waits, and resumes first all who were ready after its tick, whatever time
    /// it is.
    struct framing {
        ticks end;
        std::size_t total = 0;
        std::chrono::nanoseconds time = reaper::no_time;  // to wait
        bool first = true;
        std::size_t owed = 0;  // turns of those who stand in the queue

        bool look(turns& of) {
            of.reaping.reap_with_inbox(time);
            if (of.stopping()) return false;
            of.queued.join_all();
            of.do_chores();
            if (std::exchange(first, false))
                of.queued.ready.for_each([&](const ready_node&) { ++owed; });
            return true;
        }
        std::size_t resume(turns& of) {
            std::size_t resumed = owed ? of.resume_ready(owed, endless) : 0;
            owed = of.queued.ready.empty() ? 0 : owed - resumed;
            if (!owed) resumed += of.resume_ready(fair_batch, end);
            return resumed;
        }
        bool look_at_limits(turns& of, std::size_t resumed) {
            const ticks until_deadline = of.look_at_deadlines(resumed);
            if (of.stopping() || (!owed && of.limited.now() >= end)) return false;
            of.queued.note_ready();  // what has come from other threads, too
            time = of.queued.may_wait() ? of.time_to_wait(until_deadline, end) : reaper::no_time;
            return true;
        }
    };

    // 1. The system and other threads ----------------------------------------------------------

    std::chrono::nanoseconds time_to_wait(ticks until_deadline, ticks end) noexcept {
        if (end != endless) [[unlikely]] {
            const ticks now = limited.now();
            const ticks until_end = end > now ? end - now : 0;
            if (until_end < until_deadline) until_deadline = until_end;
        }
        return std::chrono::nanoseconds(until_deadline);  // endless is platform::unlimited
    }

    /// With something in queues::slow, or from other threads. False: it is the end of the run.
    CURFEW_COLD bool look_slowly(ticks until_deadline, ticks end) {
        if ((queued.slow & queues::no_tasks) && queued.empty() && inbound.none()) return false;
        if (stopping()) return false;
        queued.note_ready();
        if (queued.may_wait() && until_deadline == endless && end == endless) check_ticks();
        reaping.reap_with_inbox(queued.may_wait() ? time_to_wait(until_deadline, end)
                                                  : reaper::no_time);
        if (stopping()) return false;
        do_chores();
        return true;
    }

    CURFEW_HOT bool stop_asked_for() const noexcept {
        return inbound.stop_asked_for() || (queued.slow & queues::has_stopped);
    }

    /// True once for each stop().
    bool stopping() noexcept {
        if (!inbound.none()) inbound.take();
        const bool stopped = queued.slow & queues::has_stopped;
        queued.slow &= ~queues::has_stopped;
        return stopped;
    }

    /// Before a wait without an end, which no tick will cut short.
    void check_ticks() const noexcept {
        if (!queued.ticking.empty() && inbound.none() && tree_.all_wait_for_ticks())
            fatal("all tasks wait for a tick, and run() has none: call poll_until(), poll_for() or "
                  "poll() once a frame");
    }

    /// What is seldom due: sockets that are gone, coroutines that gave way, exceptions that nobody
    /// joins.
    CURFEW_COLD void do_chores() {
        const unsigned due = queued.slow;
        queued.slow &= ~(queues::has_ready | queues::has_chores |
                         (queued.ticking.empty() ? queues::has_ticking : 0));
        if (due & queues::has_draining) sockets_.free_drained();
        if (due & queues::has_chores) tasks_.report_failure();
    }

    // 2. Who is ready --------------------------------------------------------------------------

    /// What is ready, at most `most`, and after a stop or `end` no more, except the first if it is
    /// `owed`. Without an `end`, no more than a turn has time for.
    CURFEW_HOT std::size_t resume_ready(std::size_t most, ticks end, bool owed = false) {
        const std::size_t count = resume_from(queued.ready, most, end, owed);
        queued.note_ready();
        return count;
    }

    /// With more than `ready`.
    CURFEW_COLD std::size_t resume_slowly(std::size_t most) {
        queued.queue_deferred();
        std::size_t resumed = resume_from(queued.expired, most, endless);
        if (!queued.expired.empty()) queued.slow |= queues::has_ready;
        if (resumed < most && !stop_asked_for())
            resumed += resume_from(queued.ready, most - resumed, endless);
        queued.note_ready();
        return resumed;
    }

    /// All, however long that takes if there is no `end`.
    std::size_t resume_all(ticks end) {
        std::size_t total = 0;
        state.clock = nullptr;
        do {
            queued.join_expired();
            total += resume_ready(poll_batch - total, end);
        } while (end == endless && !queued.ready.empty() && total < poll_batch &&
                 !stop_asked_for());
        return total;
    }

    CURFEW_HOT std::size_t resume_from(ready_queue& queue, std::size_t most, ticks end,
                                       bool owed = false) {
        run_state& here = state;
        std::size_t count = 0;
        if (end != endless && !owed && ticks_now() >= end) return 0;
        here.share = reaping.clock.share();
        while (ready_node* const node = queue.pop()) {
            if (end != endless) {
                // What completes at once is counted by the clock too: see share_is_used_up.
                here.share = 1;
                here.reserve = fair_share;
                here.end = end;
            }
            if (node->waiter) [[likely]] {
                here.current = node->owner;
                node->owner->waiting = nullptr;
                run_chain(here, node->waiter);
            } else if (node->owner) {
                go_on(static_cast<suspension&>(*node));
            } else if (queued.take_yielded_entry(*node)) {
                if (queued.yielded.empty()) continue;  // they have had their turn
                count += resume_yielded(most - count) - 1;
            } else {
                call(static_cast<posted_function&>(*node));
            }
            collect_ended();
            ++count;
            if (queue.empty() || count == most || stop_asked_for()) break;
            if (end != endless ? ticks_now() >= end : !turn_goes_on()) break;
        }
        return count;
    }

    CURFEW_COLD std::size_t resume_yielded(std::size_t most) {
        const std::size_t resumed = resume_from(queued.yielded, most, endless);
        queued.queue_yielded();
        return resumed;
    }

    /// The next step of what a fiber waits in; its coroutine goes on after the last one.
    CURFEW_APART void go_on(suspension& complete) {
        state.current = complete.owner;
        complete.owner->waiting = nullptr;
        if (const auto coroutine = complete.type->go_on(complete)) run_chain(state, coroutine);
    }

    void call(posted_function& function) {
        state.current = state.outside;
        state.on_trampoline = false;  // it may resume coroutines itself
        function.run(function, true);
        state.on_trampoline = true;
    }

    CURFEW_HOT void collect_ended() noexcept {
        if (!queued.ended.empty()) [[unlikely]]
            tasks_.collect_ended();
    }

    /// Turns are bounded by time, whatever is always ready. This is asked after each step of a turn
    /// (those that completed at once have been counted already: see share_is_used_up). Every few
    /// steps, as many as are judged to take some 25 to 100 us, it asks the clock, which ends the
    /// turn 250 us after the last look at the limits. And then that look is taken: what is left
    /// stays in its queue. So limits are late by no more than that and the step that runs.
    CURFEW_HOT bool turn_goes_on() noexcept {
        if (--state.share > 0) [[likely]]
            return true;
        state.share = reaping.clock.turn_goes_on(ticks_now());
        state.asked = nullptr;
        return state.share > 0;
    }

    // 3. The limits ----------------------------------------------------------------------------

    /// Returns how long the loop may wait then; `endless` without a limit.
    ///
    /// A loop that is busy does not ask for the time in every turn; it does not wait then (see
    /// turn_clock).
    CURFEW_HOT ticks look_at_deadlines(std::size_t resumed) {
        const bool any = limited.armed.any();
        if (reaping.clock.may_go_on(resumed, any)) [[likely]]
            return any ? 0 : endless;
        reaping.clock.note_resumed(resumed);
        return look_closely(resumed != 0);
    }

    ticks look_closely(bool resumed) {
        if (settled.is_due(reaping.clock)) [[unlikely]] {
            settled.settle(reaping);
            queued.note_ready();
            resumed = true;  // what moves has to be looked at before limits expire
        }
        const ticks now = ticks_now();
        if (!limited.armed.any()) {
            reaping.clock.read_without_limits(now);
            return endless;
        }
        reaping.clock.read_for_limits(now, resumed);
        if (limited.armed.any_fresh()) limited.armed.date(now);
        const ticks left = limited.armed.bound() - now;
        return left > 0 ? left : limited.expire(now, resumed, !state.clock);
    }

    fiber_tree& tree_;
    tasks& tasks_;
    sockets& sockets_;
};

}  // namespace curfew::detail
