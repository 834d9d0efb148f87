// A hierarchical timer wheel of intrusive nodes: arming and disarming take a few instructions
// however many are armed, and nothing is allocated.
//
// Time is cut into units of 65.5 µs. A slot of level L stands for 32^L of them, and a node for a
// time that is at least 32^L and less than 32^(L+1) units away goes into one of level L; when the
// wheel's time reaches that slot, its nodes move down (at most once a level, and never for a limit
// that is disarmed in time). The units only sort: nodes expire by their exact deadline, in the
// order of their deadlines, and of those with the same one in the order in which they were armed.
//
// A slot in which many are placed is a crowd (see timer_slot.hpp). Each level has room for twice as
// many slots as it needs, so the nodes of the slot that is next fit into the level below already,
// and those of a crowd move there a few at a time. What is due of a crowd is carried out in slices,
// between which its owner does other things, and what becomes due meanwhile need not wait for all
// of it.
#pragma once

#include <bit>
#include <cstdint>

#include "../config.hpp"
#include "time.hpp"
#include "timer_slot.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

class timer_wheel {
public:
    explicit timer_wheel(ticks now) noexcept : base_(unit_of(now)) {
        due_.clear();
        backlog_.clear();
    }
    timer_wheel(const timer_wheel&) = delete;
    timer_wheel& operator=(const timer_wheel&) = delete;

    ~timer_wheel() {
        for_each([](timer_node& node) { node.disarm(); });
    }

    /// Arms `node` for `node.deadline`. One that lies in the past expires at the next `expire`.
    void arm(timer_node& node) noexcept {
        if (node.deadline < bound_) bound_ = node.deadline;
        unit at = unit_of(node.deadline);
        if (at < base_) at = base_;
        auto level = static_cast<unsigned>(63 - std::countl_zero((at - base_) | 1)) / digit_bits;
        // Not into the slot that is next, whose nodes may be on their way down.
        if (level > 0 && index_of(at, level) - index_of(base_, level) == 1) --level;
        slot& to = slot_for(node.deadline, index_of(at, level), level);
        if (++to.placed >= slot::few) [[unlikely]]
            return arm_in_crowd(node, index_of(at, level), level, to);
        to.nodes.push_newest(node);
    }

    /// No node expires before this: the earliest deadline, or something before it that takes an
    /// `expire` to find out (a node that has been disarmed since, or many that are to move down).
    /// `endless` when nothing is armed.
    ticks bound() const noexcept { return bound_; }

    /// Calls `expired` on every node whose deadline is at or before `now`, in their order, each
    /// disarmed first. A node's `expired` may arm and disarm any other. `now` must not go back.
    void expire(ticks now) noexcept {
        expire(now, [] { return false; });
    }

    /// The same until `enough()`, which is asked now and then. What is left is due again with the
    /// next call, and `bound` says so. When that has gone on for 250 nodes, what has become due
    /// since takes turns with those that are left, though its deadline be later: there are so many
    /// of them that it would have to wait for long.
    template <class Enough>
    void expire(ticks now, Enough enough) noexcept {
        if (now < bound_) return;
        const ticks asked_for = bound_;
        const std::uint32_t late = !due_.empty() || !backlog_.empty();  // something was left
        expired_late_ *= late;
        collect(now);
        if (prepare_at_ <= now) [[unlikely]]
            prepare(now, (now - asked_for) / prepare_every + 1);
        if (prepare_at_ < bound_) bound_ = prepare_at_;
        // Nodes disarmed by an `expired` leave these lists like any other.
        for (unsigned count = 1; !due_.empty() || !backlog_.empty(); ++count) {
            timer_node& node = next_due(count % 2 == 0);
            expired_late_ += late;
            node.disarm();
            node.expired(node, nullptr);
            if (count % asked_after == 0 && enough()) [[unlikely]]
                break;
        }
        if (!due_.empty() || !backlog_.empty()) [[unlikely]]
            bound_ = asked_for < bound_ ? asked_for : bound_;
    }

    /// The earliest deadline exactly; looks at every node of one slot of each level, but of a crowd
    /// in order at one.
    ticks earliest() noexcept {
        ticks least = endless;
        const auto look = [&](const timer_node& node) {
            if (node.deadline < least) least = node.deadline;
        };
        for (timer_list* each : {&due_, &backlog_})
            if (!each->empty()) look(each->oldest());
        for (unsigned left = used_levels_; left; left &= left - 1) {
            slot* const first = first_of(lowest_of(left)).where;
            if (!first) continue;
            timer_list* const apart = first->is_crowd() ? &first->others : &first->nodes;
            apart->for_each(look);
            if (!first->nodes.empty()) look(first->nodes.oldest());
        }
        return least;
    }

    /// Calls `look` on every node that is armed; it may disarm it.
    template <class Look>
    void for_each(Look look) {
        due_.for_each(look);
        backlog_.for_each(look);
        for (unsigned level = 0; level < levels; ++level)
            for (unsigned place = 0; place < slot_count; ++place) {
                if (!used_[level].has(place)) continue;
                slots_[level][place].for_each(look);
            }
    }

private:
    using slot = timer_slot;
    using unit = std::uint64_t;
    static constexpr int unit_bits = 16;
    static constexpr unsigned digit_bits = 5;
    /// Of a level: a slot's place is its index modulo this.
    static constexpr unsigned slot_count = 2 << digit_bits;
    static constexpr unsigned levels = 10;  // 16 + 10 * 5 > 64 bits: every deadline has its place

    // So many at a time move down ahead of their time, at most every millisecond; or more, when it
    // is longer until somebody asks again, as in a game that does so once a frame, or when there
    // are too many for the time that is left.
    static constexpr ticks prepare_every = 1'000'000;  // ns
    static constexpr ticks most_steps = 16;
    static constexpr unsigned asked_after = 16;  // nodes that have expired
    static constexpr std::uint32_t kept_in_order = 250;

    /// A number of the slots of one level.
    class slot_set {
    public:
        bool has(unsigned place) const noexcept { return bits_ >> place & 1; }
        void add(unsigned place) noexcept { bits_ |= std::uint64_t{1} << place; }
        void remove(unsigned place) noexcept { bits_ &= ~(std::uint64_t{1} << place); }

        /// How far it is from `place` to the first one at or after it, going round; `slot_count` if
        /// there is none.
        unsigned distance_from(unsigned place) const noexcept {
            return static_cast<unsigned>(
                std::countr_zero(std::rotr(bits_, static_cast<int>(place))));
        }

    private:
        std::uint64_t bits_ = 0;
        static_assert(slot_count == 64);
    };

    struct position {
        slot* where = nullptr;  // null: there is none
        unit start = ~unit{0};  // the first unit that the slot stands for
        unsigned level = 0;
    };

    static unit unit_of(ticks time) noexcept { return static_cast<unit>(time) >> unit_bits; }
    static unit index_of(unit at, unsigned level) noexcept { return at >> (level * digit_bits); }
    static unsigned place_of(unit index) noexcept {
        return static_cast<unsigned>(index % slot_count);
    }
    static unit start_of(unit index, unsigned level) noexcept {
        return index << (level * digit_bits);
    }

    /// A slot, into which a node with that deadline is about to go.
    slot& slot_for(ticks deadline, unit index, unsigned level) noexcept {
        const unsigned place = place_of(index);
        slot& to = slots_[level][place];
        if (!used_[level].has(place) || to.empty()) {
            used_[level].add(place);
            used_levels_ |= 1u << level;
            to.begin();
        }
        if (deadline < to.least) to.least = deadline;
        return to;
    }

    // Crowds -----------------------------------------------------------------------------------

    /// A node goes into a slot that is a crowd, or becomes one with it.
    CURFEW_COLD void arm_in_crowd(timer_node& node, unit index, unsigned level, slot& to) noexcept {
        to.push_newest(node, joins_crowd(node, index, level, to));
    }

    /// Whether a node, which has been counted in `placed`, is one of a crowd's one deadline.
    bool joins_crowd(const timer_node& node, unit index, unsigned level, slot& to) noexcept {
        if (to.joins(node.deadline)) return true;
        if (to.placed == 2 * slot::few) note_crowd(index, level);
        return false;
    }

    /// The nodes with a crowd's one deadline move down, where those with the same deadline are
    /// newer.
    void move_crowd_down(slot& from, unsigned level) noexcept {
        if (from.same < slot::few) return move_down(from.nodes, level, slot::few);
        if (from.nodes.empty()) return;
        const unit index = index_of(unit_of(from.deadline), level - 1);
        slot& to = slot_for(from.deadline, index, level - 1);
        if (!to.take_crowd(from)) note_crowd(index, level - 1);  // one of them goes on apart
    }

    /// Somebody is to ask when the slot is next.
    void note_crowd(unit index, unsigned level) noexcept {
        if (level == 0) return;
        crowded_[level].add(place_of(index));
        const ticks next = time_before(index, level);
        if (next < prepare_at_) prepare_at_ = next;
        if (next < bound_) bound_ = next;
    }

    /// When the slot before this one begins.
    static ticks time_before(unit index, unsigned level) noexcept {
        return static_cast<ticks>(start_of(index - 1, level) << unit_bits);
    }

    static unsigned lowest_of(unsigned set_of_levels) noexcept {
        return static_cast<unsigned>(std::countr_zero(set_of_levels));
    }

    /// The first slot in use of a level. A node that is disarmed leaves its slot marked, which
    /// spares it finding the slot; marks of empty slots end here.
    position first_of(unsigned level) noexcept {
        const unit current = index_of(base_, level);
        for (;;) {
            const unsigned distance = used_[level].distance_from(place_of(current));
            if (distance == slot_count) break;
            const unit index = current + distance;
            const unsigned place = place_of(index);
            slot& found = slots_[level][place];
            if (!found.empty()) return {&found, start_of(index, level), level};
            used_[level].remove(place);
        }
        used_levels_ &= ~(1u << level);
        return {};
    }

    /// The first slot in use of the levels above the lowest, of those that begin together the
    /// highest. None of their nodes has its deadline before `least`.
    position first_above(ticks& least) noexcept {
        position first;
        least = endless;
        for (unsigned left = used_levels_ & ~1u; left; left &= left - 1) {
            const position here = first_of(lowest_of(left));
            if (!here.where) continue;
            if (here.start <= first.start) first = here;
            if (here.where->least < least) least = here.where->least;
        }
        return first;
    }

    /// Sets the wheel's time, moves what is due to `due_` or `backlog_`, and knows the bound.
    void collect(ticks now) noexcept {
        timer_list due;
        due.clear();
        const unit target = unit_of(now);
        ticks least_above;
        position above = first_above(least_above);
        position lowest;
        for (;;) {
            lowest = first_of(0);
            const bool down = above.start <= lowest.start;  // what is in it may come first
            const unit start = down ? above.start : lowest.start;
            if (start > target) break;
            if (start > base_) base_ = start;
            if (down) {
                move_down(*above.where, above.level, ~std::uint64_t{0});
                above = first_above(least_above);
            } else {
                lowest.where->take_due(now, due, backlog_);
                if (!lowest.where->empty()) break;  // the rest of the current unit
            }
        }
        sort(due);
        due_.append(due);
        // No slot in use is passed, so every node keeps its place.
        if (target > base_) base_ = target;
        bound_ = lowest.where ? lowest.where->least : endless;
        if (least_above < bound_) bound_ = least_above;
    }

    /// The next node that is due, of which there is one.
    timer_node& next_due(bool backlogs_turn) noexcept {
        if (backlog_.empty()) return due_.oldest();
        if (due_.empty()) return backlog_.oldest();
        if (expired_late_ < kept_in_order)
            backlogs_turn = backlog_.oldest().deadline <= due_.oldest().deadline;
        return backlogs_turn ? backlog_.oldest() : due_.oldest();
    }

    /// Moves nodes to the level below, where those with the same deadline are newer ones: a node
    /// that is armed later never stands higher.
    void move_down(slot& from, unsigned level, std::uint64_t most) noexcept {
        if (from.is_crowd()) [[unlikely]] {
            move_crowd_down(from, level);
            return move_down(from.others, level, most);
        }
        move_down(from.nodes, level, most);
    }

    void move_down(timer_list& from, unsigned level, std::uint64_t most) noexcept {
        for (; most > 0 && !from.empty(); --most) {
            timer_node& node = from.newest();
            node.disarm();
            const unit index = index_of(unit_of(node.deadline), level - 1);
            slot& to = slot_for(node.deadline, index, level - 1);
            const bool apart = ++to.placed >= slot::few && !joins_crowd(node, index, level - 1, to);
            (apart ? to.others : to.nodes).push_oldest(node);
        }
    }

    /// Where the slot that is next is crowded, some of its nodes move down now: they fit into the
    /// level below.
    CURFEW_COLD void prepare(ticks now, ticks steps) noexcept {
        const auto most =
            slot::few * static_cast<std::uint64_t>(steps < most_steps ? steps : most_steps);
        ticks again = endless;
        for (unsigned level = levels - 1; level > 0; --level) {
            const unit next = index_of(base_, level) + 1;
            for (;;) {
                const unsigned distance = crowded_[level].distance_from(place_of(next));
                if (distance == slot_count) break;
                const unit index = next + distance;
                const unsigned place = place_of(index);
                slot& crowded = slots_[level][place];
                if (distance == 0) {
                    // As many as have to, if it is to be empty when its time comes.
                    const ticks left = time_before(index + 1, level) - now;
                    const std::uint64_t due = left > prepare_every
                                                  ? crowded.placed *
                                                        static_cast<std::uint64_t>(prepare_every) /
                                                        static_cast<std::uint64_t>(left)
                                                  : most;
                    move_down(crowded, level, most > due ? most : due);
                }
                if (crowded.empty()) {
                    crowded_[level].remove(place);
                    continue;
                }
                const ticks when = distance == 0 ? now + prepare_every : time_before(index, level);
                if (when < again) again = when;
                break;
            }
        }
        prepare_at_ = again;  // whatever has become crowded meanwhile has been looked at
        first_above(bound_);
        if (const slot* const lowest = first_of(0).where)
            if (lowest->least < bound_) bound_ = lowest->least;
    }

    unit base_;
    ticks bound_ = endless;
    ticks prepare_at_ = endless;      // when the first crowded slot is the next of its level
    timer_list due_;                  // what has been found to be due, in its order
    timer_list backlog_;              // the same of crowds
    std::uint32_t expired_late_ = 0;  // nodes since something was left
    unsigned used_levels_ = 0;
    slot_set used_[levels];
    slot_set crowded_[levels];        // in which many have been placed, but for the lowest level
    slot slots_[levels][slot_count];  // nothing in it means anything unless it is used
};

/// A clock that the program moves, and what is armed on it.
struct manual_time {
    ticks now = 0;
    timer_wheel wheel{0};
};

}  // namespace curfew::detail
