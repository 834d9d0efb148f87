// When something was that has only noted the last reading of the clock before it.
//
// A loop reads the clock at the end of a turn, and what begins to wait in the next one notes that
// reading. In between lies the wait for the system, and if nobody had anything to do it was long.
// To read the clock once more after each wait would cost more than all else that a short turn does;
// so the readings with much time in between are kept here, and whoever wants to know looks them up:
// what noted the first of such two began when the second was about to be made.
#pragma once

#include "../config.hpp"
#include "time.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

/// A moment, as far as it is known.
struct moment {
    ticks at;
    bool or_later = false;
};

/// Two readings of the clock in a row, and whether the loop has waited but once in between.
struct clock_gap {
    ticks from = 0;
    ticks to = 0;
    bool one_wait = true;
};

class clock_gaps {
public:
    /// What is shorter is not worth to be noted: two such readings pass for one.
    static constexpr ticks shortest = 20'000'000;  // ns

    /// When their places are all taken, the one is forgotten that says least: which was short for
    /// the time that has passed since. Where many are of equal length that is the oldest, and after
    /// a long one many short ones do not displace it.
    CURFEW_COLD void note(clock_gap gap) noexcept {
        clock_gap* least = gaps_;
        for (clock_gap& each : gaps_)
            if (weight(each, gap.from) < weight(*least, gap.from)) least = &each;
        *least = gap;
    }

    /// Of what has noted `reading`.
    moment after(ticks reading) const noexcept {
        for (const clock_gap& each : gaps_)
            if (each.from == reading && each.to != 0)
                return each.one_wait ? moment{each.to} : moment{reading, true};
        return {reading};
    }

private:
    static double weight(const clock_gap& gap, ticks now) noexcept {
        return static_cast<double>(gap.to - gap.from) / (static_cast<double>(now - gap.to) + 1);
    }

    clock_gap gaps_[32];
};

}  // namespace curfew::detail
