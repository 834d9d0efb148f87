// When a loop looks at its limits and reads the clock for that: after each turn where turns take
// time, less often where they do not; and when a turn has to end for that.
//
// A reading costs little, and telling the system how long to wait a little more; but a turn of a
// busy loop may be a single read and write, and with limits it would pay both for every one of
// them. So a loop whose turns are short, and find something to do each time, goes on for a few
// turns as if no time had passed. Limits armed meanwhile count from the next reading, so that they
// are not early, and those that are due are noticed then. A turn that goes on like that must not
// wait, as nobody knows for how long.
//
// What it costs: a look at the system in vain when a busy loop becomes idle (after one it is taken
// for idle for a while), and limits that are late by a few turns: by no more than the
// `longest_stretch`, as long as turns take no longer than those before.
//
// A turn ends by time, not only by counts: however many are ready, and whatever completes at once
// again and again, the limits of others have to be looked at. What a turn does is counted in steps
// (a coroutine resumed, an operation that completes at once), and after some of them the clock is
// asked: after as many as take some 25 to 100 microseconds, judged by those before.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../config.hpp"
#include "clock_gaps.hpp"
#include "time.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

class turn_clock {
public:
    static constexpr ticks longest_stretch = 1'024'000;  // ns
    /// Steps (waits, and coroutines resumed) of a busy loop between two looks.
    static constexpr unsigned stretch = 16;
    /// Looks of one that is not, before it is judged again; without limits, short turns before the
    /// clock is read seldom.
    static constexpr unsigned patience = 64;
    /// Steps between two readings where no limit is late, but `last` is old.
    static constexpr unsigned seldom = 128;
    static constexpr ticks long_step = 500'000;  // ns

    /// Since the last look at the limits a turn takes no longer, but for the steps in between two
    /// questions for the time.
    static constexpr ticks longest_turn = 250'000;  // ns
    /// Steps of a turn between two such questions, at the most.
    static constexpr int most_steps = 64;

    explicit turn_clock(ticks now) noexcept : last_judged_(now), last_(now) {}

    /// The last reading: from this turn, or some short turns old.
    ticks last() const noexcept { return last_; }

    /// Whether `last` is of this turn.
    bool is_fresh() const noexcept { return read_at_ == steps_; }

    /// A reading within a turn.
    ticks read(ticks now) noexcept { return read_after(0, now); }

    /// When something was that has noted `last` then: in the turn that has begun there, if it is
    /// known to be that one. A turn is one moment here, however long it lasts.
    moment when(ticks noted) const noexcept { return gaps_.after(noted); }

    /// Whether it is polled: then it does not wait between two readings.
    void polls(bool on) noexcept {
        polled_ = on;
        resumed_ = 0;
    }

    /// Waits, and coroutines and functions resumed in runs, ever.
    std::uint64_t steps() const noexcept { return steps_; }

    /// The loop has looked at the system, and perhaps waited.
    void waited() noexcept { ++steps_; }

    /// Steps that a turn may take before it asks `turn_goes_on`.
    int share() const noexcept { return share_; }

    /// As many steps have been taken: the number of those that may follow, or 0: the turn is to
    /// end, as it is time to look at the limits.
    CURFEW_APART int turn_goes_on(ticks now) noexcept {
        constexpr ticks long_share = 100'000, short_share = 25'000;  // ns
        const ticks spent = now - shared_at_;
        shared_at_ = now;
        // (After an idle wait it seems longer than it was: that is made good soon. And who is asked
        // once more at the end of a turn has taken no steps since.)
        if (!is_shared_) return 0;
        if (spent > long_share)
            share_ = share_ > 4 ? share_ / 4 : 1;
        else if (spent < short_share && share_ < most_steps)
            share_ *= 2;
        if (now - looked_at_ < longest_turn) return share_;
        due_ = due_without_limits_ = 0;
        is_shared_ = false;
        return 0;
    }

    /// At the end of a turn that has resumed so many coroutines: may the next one begin without a
    /// reading, and without waiting if there are limits?
    bool may_go_on(std::size_t resumed, bool limits) noexcept {
        steps_ += resumed;
        return resumed != 0 && steps_ < (limits ? due_ : due_without_limits_);
    }

    /// What `may_go_on` was told, before the reading for a look at the limits.
    void note_resumed(std::size_t resumed) noexcept { resumed_ = resumed; }

    /// The reading for a look at the limits at the end of a turn; `resumed`: the turn has found
    /// something to do.
    CURFEW_HOT ticks read_for_limits(ticks now, bool resumed) noexcept {
        if (--looks_to_come_ == 0) [[unlikely]]
            judge(now, resumed);
        looked_at_ = now;
        is_shared_ = true;
        return read_after(resumed_, now);
    }

    /// The reading at the end of a turn without limits. The next one is due at the end of the next
    /// turn, unless the loop has not been idle for a while: whatever begins to wait between two
    /// readings that lie far apart has noted the first of them.
    void read_without_limits(ticks now) noexcept {
        const auto steps = static_cast<ticks>(steps_ - read_at_);
        const bool is_long = now - last_ > steps * long_step;
        if (looks_until_seldom_ > 0) --looks_until_seldom_;
        due_without_limits_ = steps_ + (is_long || looks_until_seldom_ > 0 ? 1 : seldom);
        looked_at_ = now;
        is_shared_ = true;
        read_after(resumed_, now);
    }

private:
    /// The turn has resumed so many coroutines.
    CURFEW_HOT ticks read_after(const std::size_t& resumed, ticks now) noexcept {
        if (now - last_ > clock_gaps::shortest) [[unlikely]]
            note_gap(now, resumed);
        read_at_ = steps_;
        return last_ = now;
    }

    /// One wait and what it has brought are all the steps since the last reading, or else the loop
    /// may have waited several times.
    CURFEW_COLD void note_gap(ticks now, std::size_t resumed) noexcept {
        looks_until_seldom_ = patience;
        gaps_.note({last_, now, polled_ || steps_ - read_at_ <= 1 + resumed});
    }

    /// Is the loop busy? Not if its last turn found nothing to do, or turns take long.
    CURFEW_COLD void judge(ticks now, bool resumed) noexcept {
        const auto steps = static_cast<ticks>(steps_ - judged_at_);
        const bool busy =
            resumed && now - last_judged_ <= steps * (longest_stretch / ticks{stretch});
        due_ = busy ? steps_ + stretch : 0;
        looks_to_come_ = busy ? 1 : patience;
        judged_at_ = steps_;
        last_judged_ = now;
    }

    clock_gaps gaps_;
    bool polled_ = false;
    std::size_t resumed_ = 0;
    unsigned looks_until_seldom_ = patience;
    ticks shared_at_ = 0;  // when `turn_goes_on` was asked
    ticks looked_at_ = 0;  // when the limits were looked at
    // What each turn needs comes last.
    ticks last_judged_;
    std::uint64_t judged_at_ = 0;
    unsigned looks_to_come_ = patience;  // until it is judged
    std::uint64_t read_at_ = 0;
    std::uint64_t due_ = 0;  // at so many steps a look is due; 0: at the end of each turn
    std::uint64_t due_without_limits_ = 0;
    std::uint64_t steps_ = 0;
    ticks last_;
    int share_ = most_steps;
    bool is_shared_ = true;  // there has been a look since a turn was told to end
};

}  // namespace curfew::detail
