// A hierarchical timer wheel of intrusive nodes: arming and disarming take a few instructions
// however many are armed, and nothing is allocated.
//
// Time is cut into units of 65.5 µs; a digit of six bits of the unit's number selects a slot at
// each of eight levels. A node stands at the level of the highest digit in which its time differs
// from the wheel's. When the wheel's time reaches a slot above the lowest level, its nodes move
// down (at most once a level, and never for a limit that is disarmed in time). The units only
// sort: nodes expire by their exact deadline, in the order of their deadlines.
#pragma once

#include <bit>
#include <cstdint>

#include "../config.hpp"
#include "time.hpp"

namespace curfew::detail {

/// What a limit tells of itself when somebody looks at the tree of tasks.
struct limit_report {
    const void* target = nullptr;  // the operation or cancel scope that it limits
    bool abort = false;            // on_timeout::close
    ticks now = endless;           // the time, if its deadline is not one of the loop's
};

/// What is armed. It unlinks itself when it is destroyed.
struct timer_node {
    timer_node* next;
    timer_node** link = nullptr;  // what points at this node; null while it is not armed
    ticks deadline;
    /// Its time has come; or, asked for a report, it says what it limits and does nothing else.
    void (*expired)(timer_node&, limit_report*) noexcept;

    explicit timer_node(void (*on_expiry)(timer_node&, limit_report*) noexcept,
                        ticks when = 0) noexcept
        : deadline(when), expired(on_expiry) {}
    timer_node(const timer_node&) = delete;
    timer_node& operator=(const timer_node&) = delete;
    ~timer_node() {
        if (link) unlink();
    }

    bool armed() const noexcept { return link != nullptr; }

    CURFEW_HOT void link_to(timer_node*& head) noexcept {
        CURFEW_ASSERT(!armed());
        next = head;
        if (head) head->link = &next;
        head = this;
        link = &head;
    }

    CURFEW_HOT void disarm() noexcept {
        if (!link) return;
        unlink();
        link = nullptr;
    }

private:
    CURFEW_HOT void unlink() noexcept {
        *link = next;
        if (next) next->link = link;
    }
};

class timer_wheel {
public:
    explicit timer_wheel(ticks now) noexcept : base_(unit_of(now)) {}
    timer_wheel(const timer_wheel&) = delete;
    timer_wheel& operator=(const timer_wheel&) = delete;

    ~timer_wheel() {
        for (auto& level : slots_)
            for (auto& each : level)
                while (each.head) each.head->disarm();
    }

    /// Arms `node` for `node.deadline`. One that lies in the past expires at the next `expire`.
    void arm(timer_node& node) noexcept {
        if (node.deadline < bound_) bound_ = node.deadline;
        place(node);
    }

    /// No node expires before this: the earliest deadline, unless that node has been disarmed
    /// since (then this is at most one wake-up too early). `endless` when nothing is armed.
    ticks bound() const noexcept { return bound_; }

    /// Calls `expired` on every node whose deadline is at or before `now`, in their order, each
    /// disarmed first. A node's `expired` may arm and disarm any other. `now` must not go back.
    void expire(ticks now) noexcept {
        if (now < bound_) return;
        timer_node* due = nullptr;
        while (collect(now, due)) {}
        due = sorted(due);
        if (due) due->link = &due;
        // Nodes disarmed by an `expired` leave this list like any other.
        while (due) {
            timer_node& node = *due;
            node.disarm();
            node.expired(node, nullptr);
        }
    }

    /// The earliest deadline exactly; looks at every node of one slot.
    ticks earliest() noexcept {
        ticks least = endless;
        if (const slot* first = find_first().where)
            for (const timer_node* node = first->head; node; node = node->next)
                least = node->deadline < least ? node->deadline : least;
        return least;
    }

    /// Calls `look` on every node that is armed.
    template <class Look>
    void for_each(Look look) {
        for (auto& level : slots_)
            for (auto& each : level)
                for (timer_node* node = each.head; node; node = node->next) look(*node);
    }

private:
    using unit = std::uint64_t;
    static constexpr int unit_bits = 16;
    static constexpr unsigned digit_bits = 6;
    static constexpr unsigned width = 1 << digit_bits;
    static constexpr unsigned levels = 8;  // 16 + 8 * 6 = 64 bits: every deadline has its place

    struct slot {
        timer_node* head = nullptr;
        ticks least = endless;  // at most the earliest deadline of its nodes
    };

    struct position {
        slot* where;
        unit start;  // the first unit that the slot stands for
        unsigned level;
    };

    static unit unit_of(ticks time) noexcept { return static_cast<unit>(time) >> unit_bits; }

    void place(timer_node& node) noexcept {
        unit at = unit_of(node.deadline);
        if (at < base_) at = base_;
        const unit difference = at ^ base_;
        const auto level =
            static_cast<unsigned>(63 - std::countl_zero(difference | 1)) / digit_bits;
        const auto digit = static_cast<unsigned>(at >> (level * digit_bits)) % width;
        slot& to = slots_[level][digit];
        if (!to.head || node.deadline < to.least) to.least = node.deadline;
        node.link_to(to.head);
        used_slots_[level] |= std::uint64_t{1} << digit;
        used_levels_ |= 1u << level;
    }

    /// The first slot in time that is in use; null when there is none. A node that is disarmed
    /// leaves its slot marked, which spares it finding the slot; marks of empty slots end here.
    position find_first() noexcept {
        while (used_levels_) {
            const auto level = static_cast<unsigned>(std::countr_zero(used_levels_));
            std::uint64_t& used = used_slots_[level];
            while (used) {
                const auto digit = static_cast<unsigned>(std::countr_zero(used));
                slot& found = slots_[level][digit];
                if (found.head) {
                    const unsigned shift = level * digit_bits;
                    const unit above = (base_ >> shift) & ~unit{width - 1};
                    return {&found, (above | digit) << shift, level};
                }
                used &= used - 1;
            }
            used_levels_ &= used_levels_ - 1;
        }
        return {nullptr, 0, 0};
    }

    /// Moves the due nodes of the first slot to `due`, or down a level. False: nothing more is due;
    /// the wheel's time is `now` then, and the bound is known again.
    bool collect(ticks now, timer_node*& due) noexcept {
        const unit target = unit_of(now);
        const position first = find_first();
        if (!first.where || first.start > target) {
            // No slot in use is passed, so every node keeps its level and slot.
            if (target > base_) base_ = target;
            bound_ = first.where ? first.where->least : endless;
            return false;
        }
        if (first.start > base_) base_ = first.start;
        timer_node* node = first.where->head;
        first.where->head = nullptr;
        timer_node* later = nullptr;
        while (node) {
            timer_node* const next = node->next;
            node->link = nullptr;
            if (node->deadline <= now) {
                node->next = due;  // a plain list until it is sorted
                due = node;
            } else {
                node->next = later;
                later = node;
            }
            node = next;
        }
        while (later) {
            timer_node* const next = later->next;
            place(*later);
            later = next;
        }
        if (first.level == 0 && first.where->head) {  // the rest of the current unit
            bound_ = first.where->least;
            return false;
        }
        return true;
    }

    /// Merge sort of a list linked by `next` alone; the result is linked both ways.
    static timer_node* sorted(timer_node* list) noexcept {
        timer_node* runs[64];  // the first `used` are empty or, runs[i], 2^i nodes long
        int used = 0;
        while (list) {
            timer_node* run = list;
            list = list->next;
            run->next = nullptr;
            int i = 0;
            for (; i < used && runs[i]; ++i) {
                run = merged(runs[i], run);
                runs[i] = nullptr;
            }
            if (i == used) ++used;
            runs[i] = run;
        }
        timer_node* all = nullptr;
        for (int i = 0; i < used; ++i) all = merged(runs[i], all);
        for (timer_node* node = all; node && node->next; node = node->next)
            node->next->link = &node->next;
        return all;
    }

    static timer_node* merged(timer_node* a, timer_node* b) noexcept {
        timer_node* head = nullptr;
        timer_node** end = &head;
        while (a && b) {
            timer_node*& less = b->deadline < a->deadline ? b : a;
            *end = less;
            end = &less->next;
            less = less->next;
        }
        *end = a ? a : b;
        return head;
    }

    unit base_;
    ticks bound_ = endless;
    unsigned used_levels_ = 0;
    std::uint64_t used_slots_[levels] = {};
    slot slots_[levels][width];
};

/// A clock that the program moves, and what is armed on it.
struct manual_time {
    ticks now = 0;
    timer_wheel wheel{0};
};

}  // namespace curfew::detail
