// When a loop looks at its limits and reads the clock for that: once a turn where turns take time,
// less often where they do not.
//
// A reading costs little, and telling the system how long to wait a little more; but a turn of a
// busy loop may be a single read and write, and with limits it would pay both for every one of
// them. So a loop whose turns are short, and find something to do each time, goes on for a few
// turns as if no time had passed. Limits armed meanwhile count from the next reading, so that they
// are not early, and those that are due are noticed then. A turn that goes on like that must not
// wait, as nobody knows for how long.
//
// What it costs: a look at the system in vain when a busy loop becomes idle (after one, the clock
// is read in every turn for a while), and limits that are late by a few turns: by no more than the
// `longest_stretch`, as long as turns take no longer than those before.
#pragma once

#include <cstddef>
#include <cstdint>

#include "time.hpp"

namespace curfew::detail {

class turn_clock {
public:
    static constexpr ticks longest_stretch = 512'000;  // ns
    /// Steps (waits, and coroutines resumed) between two looks.
    static constexpr unsigned most_unseen = 16;
    /// And where no limit is late, but `last` is old.
    static constexpr unsigned most_without_limits = 128;
    static constexpr ticks long_without_limits = 500'000;  // ns for each of them

    explicit turn_clock(ticks now) noexcept : last_(now), last_look_(now) {}

    /// The last reading: from this turn, or some short turns old.
    ticks last() const noexcept { return last_; }

    /// Whether `last` is of this turn.
    bool is_fresh() const noexcept { return read_at_ == steps_; }

    /// A reading within a turn.
    ticks read(ticks now) noexcept {
        read_at_ = steps_;
        return last_ = now;
    }

    /// The loop has looked at the system, and perhaps waited.
    void waited() noexcept { ++steps_; }

    /// At the end of a turn that has resumed so many coroutines: may the next one begin without a
    /// look, and without waiting if there are limits?
    bool may_go_on(std::size_t resumed, bool limits) noexcept {
        steps_ += resumed;
        return resumed != 0 && steps_ < (limits ? due_ : due_without_limits_);
    }

    /// The reading for a look at the end of a turn; `resumed`: the turn has found something to do.
    /// Decides when the next look is due.
    ticks read_for_look(ticks now, bool resumed) noexcept {
        const auto unseen = static_cast<ticks>(steps_ - looked_at_);
        const ticks elapsed = now - last_look_;
        looked_at_ = steps_;
        last_look_ = now;
        if (!resumed && unseen > 1) {  // it has not waited, and there was nothing
            pace_ = 1;
            looks_to_come_ = 64;
        } else if (elapsed > unseen * (longest_stretch / most_unseen)) {
            pace_ = 1;
        } else if (looks_to_come_ > 0) {
            --looks_to_come_;
        } else if (pace_ < most_unseen) {
            pace_ *= 2;
        }
        due_ = steps_ + pace_;
        due_without_limits_ =
            steps_ + (elapsed > unseen * long_without_limits ? 1 : most_without_limits);
        return read(now);
    }

private:
    ticks last_;
    ticks last_look_;
    std::uint64_t steps_ = 0;  // waits, and coroutines resumed
    std::uint64_t read_at_ = 0;
    std::uint64_t looked_at_ = 0;
    std::uint64_t due_ = 1;
    std::uint64_t due_without_limits_ = most_without_limits;
    unsigned pace_ = 1;           // so many steps after a look the next one is due
    unsigned looks_to_come_ = 0;  // before the pace may grow
};

}  // namespace curfew::detail
