// All limits and sleeps of a loop.
//
// A limit's life: armed in this turn of the loop, it is fresh, and its deadline still a duration.
// At the turn's end all fresh ones are dated and become young: a generation that counts from the
// same reading of the clock, of which only the shortest matters yet. Generations stand in a ring;
// when their place is needed again, those of their limits that are left are placed in the wheel.
// Most operations complete before that, and never touch it.
#pragma once

#include <cstddef>
#include <utility>

#include "timer_list.hpp"
#include "timer_wheel.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

class deadlines {
public:
    explicit deadlines(ticks now) noexcept : wheel_(now) {
        for (generation& each : young_)
            each.next = &each == young_ + generations - 1 ? young_ : &each + 1;
    }
    deadlines(const deadlines&) = delete;
    deadlines& operator=(const deadlines&) = delete;

    ~deadlines() {
        place_in_wheel();
        while (fresh_) node_of(*fresh_).disarm();
    }

    /// Never early: the deadline of a limit that was armed for `duration`, and dated by a reading
    /// of the clock that was made after that. The clock is read once for all that were armed in a
    /// turn, at its end (`date`), so no limit is early by the age of a reading; a duration that is
    /// no whole number of ticks was rounded up (`to_ticks`); and a limit expires when a reading has
    /// reached its deadline (`is_due`), whatever unit of the wheel it stands in. (The sum does not
    /// overflow: see `longest`.)
    static constexpr ticks never_early(ticks reading, ticks duration) noexcept {
        return reading + duration;
    }

    /// Arms `node` for `node.deadline` from now, a duration.
    CURFEW_HOT void arm_after(timer_node& node) noexcept { node.link_to(fresh_); }

    /// Arms `node` for `node.deadline`, a point in time.
    void arm_at(timer_node& node) noexcept {
        wheel_.arm(node);
        note_bound();
    }

    /// Whether limits wait for being dated.
    bool any_fresh() const noexcept { return fresh_ != nullptr; }

    /// Whether there are limits at all; true for a while after the last one, too.
    bool any() const noexcept { return fresh_ != nullptr || bound_ != endless; }

    /// All fresh limits count from `now`, which has been read after they were armed.
    void date(ticks now) noexcept {
        CURFEW_ASSERT(fresh_);
        generation& place = *oldest_;
        oldest_ = place.next;
        if (place.first) [[unlikely]] {
            place_in_wheel(place);
            note_bound();
        }
        ticks shortest = node_of(*fresh_).deadline;
        for (timer_link* each = fresh_->next; each; each = each->next)
            if (node_of(*each).deadline < shortest) shortest = node_of(*each).deadline;
        place.first = std::exchange(fresh_, nullptr);
        place.first->link = &place.first;
        place.birth = now;
        const ticks bound = never_early(now, shortest);
        if (bound < bound_) bound_ = bound;
    }

    /// No dated limit expires before this. When it is that of a limit disarmed since, the loop
    /// wakes up once for nothing.
    ticks bound() const noexcept { return bound_; }

    /// Places all young limits in the wheel, the oldest first.
    CURFEW_COLD void place_in_wheel() noexcept {
        std::size_t place = static_cast<std::size_t>(oldest_ - young_) + generations;
        const std::size_t end = place;
        while (end - place < generations && young_[(place - 1) % generations].birth != placed)
            --place;
        for (; place != end; ++place) {
            generation& each = young_[place % generations];
            if (each.first) place_in_wheel(each);
            each.birth = placed;
        }
    }

    /// Calls `expired` on all that are due, in their order, until `enough()`: what is left then is
    /// due again (see timer_wheel::expire). Nothing is young then.
    template <class Enough>
    CURFEW_COLD void expire(ticks now, Enough enough) noexcept {
        place_in_wheel();
        wheel_.expire(now, enough);
        bound_ = wheel_.bound();
    }
    void expire(ticks now) noexcept {
        expire(now, [] { return false; });
    }

    /// The earliest deadline exactly; nothing is fresh.
    ticks earliest() noexcept {
        place_in_wheel();
        return wheel_.earliest();
    }

    /// Calls `look` on every limit; nothing is fresh.
    template <class Look>
    void for_each(Look look) {
        place_in_wheel();
        wheel_.for_each(look);
    }

private:
    // As many as thousands of connections need to be served once, each with a limit.
    static constexpr std::size_t generations = 64;
    static constexpr ticks placed = endless;

    struct generation {
        timer_link* first = nullptr;
        ticks birth = placed;        // when it was dated; or that it has been placed since
        generation* next = nullptr;  // in the ring
    };

    CURFEW_COLD void place_in_wheel(generation& old) noexcept {
        timer_link* oldest_first = nullptr;  // the list begins with the newest
        while (old.first) {
            timer_node& node = node_of(*old.first);
            node.disarm();
            node.link_to(oldest_first);
        }
        while (oldest_first) {
            timer_node& node = node_of(*oldest_first);
            node.disarm();
            node.deadline = never_early(old.birth, node.deadline);
            wheel_.arm(node);
        }
    }

    void note_bound() noexcept {
        if (wheel_.bound() < bound_) bound_ = wheel_.bound();
    }

    timer_link* fresh_ = nullptr;
    ticks bound_ = endless;
    generation* oldest_ = young_;  // the next place in the ring
    generation young_[generations];
    timer_wheel wheel_;
};

}  // namespace curfew::detail
