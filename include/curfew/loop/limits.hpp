// The limits and sleeps of a loop: armed, asked for, and carried out when they have expired.
#pragma once

#include <cstddef>

#include "../core/deadlines.hpp"
#include "../core/frame_memory.hpp"
#include "../core/timer_list.hpp"
#include "../core/turn_clock.hpp"
#include "queues.hpp"
#include "reaping.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

class limits {
public:
    limits(queues& to, reaper& from) noexcept
        : armed(from.clock.last()), queues_(to), reaper_(from) {}

    deadlines armed;

    /// The time, read at most once between two waits (and when limits are armed).
    ticks now() noexcept { return reaper_.clock.is_fresh() ? reaper_.clock.last() : read_clock(); }

    /// Those that were armed since the last reading count from now.
    void date_fresh() noexcept {
        if (armed.any_fresh()) armed.date(read_clock());
    }

    /// The earliest deadline; `endless` if there is none.
    ticks next_deadline() noexcept {
        date_fresh();
        armed.place_in_wheel();
        if (!idle_memory_.armed()) return armed.earliest();
        idle_memory_.disarm();  // which is none of the program's
        const ticks earliest = armed.earliest();
        armed.arm_at(idle_memory_);
        return earliest;
    }

    /// Calls `look` on every limit that is armed, its deadline a point in time.
    template <class Look>
    void for_each(Look look) {
        date_fresh();
        armed.for_each(look);
    }

    /// A task has ended: what its frame leaves in the thread's free lists may never be used again.
    void note_idle_memory() noexcept {
        if (!idle_memory_.armed() && this_thread_frames().lists.bytes_held() > little_memory)
            [[unlikely]]
            idle_memory_.begin();
    }

    /// While limits expire: the system may have had more to tell than there was time for.
    bool more_may_follow() const noexcept { return more_may_follow_; }

    /// Carries out the policies of limits that have expired, a slice of them: those who wait for
    /// nothing of this do not wait for a million limits of one instant.
    ///
    /// Completion beats the limit: the system is asked once more what has completed, unless nothing
    /// can have since it was asked last; and who is complete by then has no limit any more that
    /// could expire. Where there is more to reap than there is time for, each operation whose limit
    /// expires is looked at by itself (see `more_may_follow`).
    ///
    /// Returns how long the loop may wait then. `resumed`: coroutines were, since the last look.
    /// `by_itself`: of a poll, which carries out slice after slice and looks at the rest of a turn
    /// in between.
    CURFEW_COLD ticks expire(ticks now, bool resumed, bool by_itself) {
        bool more = reaper_.done.take_more_may_follow() || resumed;
        for (int looks = 0; more && looks < most_looks; ++looks) {
            more = reaper_.look_at_once();
            if (more && reaper_.is_long(now)) break;
        }
        // Few limits are carried out at a time, and fewer while others are ready, so that those who
        // are told of it go on soon.
        ready_queue others;
        queues_.set_aside(others);
        const bool others_wait = !others.empty() || !queues_.expired.empty();
        int asked = 0;
        more_may_follow_ = more;
        reaper_.reactor->begin_closes();
        armed.expire(now, [&] {
            return (!by_itself && (others_wait || ++asked == 4)) ||
                   ticks_now() - now > longest_slice;
        });
        reaper_.reactor->end_closes(reaper_.done);
        more_may_follow_ = false;
        queues_.queue_expired(others, most_expired);
        const ticks bound = armed.bound();
        return bound == endless ? endless : bound > now ? bound - now : 0;
    }

    static constexpr int most_looks = 10'000;  // before limits are carried out

private:
    static constexpr ticks longest_slice = 250'000;   // ns, of limits that expire together
    static constexpr std::size_t most_expired = 256;  // that go on before others, of one slice
    static constexpr std::ptrdiff_t little_memory = 256 * 1024;
    static constexpr ticks decay_time = 500'000'000;  // ns

    /// What waits in the thread's free lists is idle memory when nothing needs it any more, as
    /// after a peak. While there is much of it, half of that is given back each time.
    struct idle_memory : timer_node {
        limits& of;
        explicit idle_memory(limits& self) noexcept : timer_node(&on_expiry), of(self) {}
        static void on_expiry(timer_node& node, limit_report* asked) noexcept {
            if (asked) return;
            if (this_thread_frames().lists.decay() > std::size_t{little_memory})
                static_cast<idle_memory&>(node).begin();
        }
        void begin() noexcept {
            // (Not from the end of this turn: an idle loop is to wake up for it.)
            deadline = of.reaper_.clock.last() + decay_time;
            of.armed.arm_at(*this);
        }
    };

    ticks read_clock() noexcept { return reaper_.clock.read(ticks_now()); }

    bool more_may_follow_ = false;
    queues& queues_;
    reaper& reaper_;
    idle_memory idle_memory_{*this};
};

}  // namespace curfew::detail
