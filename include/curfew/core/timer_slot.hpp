// A slot of the timer wheel, and what becomes of one in which many nodes are placed: a crowd.
//
// All at once, a hundred thousand nodes would take some 20 ms to move down, and as long to expire.
// So a crowd keeps two lists. In one are those of a single deadline, such as the limits of all that
// began in one turn: they move down, and are known to be due, in one step. In the other are all
// others, which do so one by one.
#pragma once

#include <cstdint>

#include "timer_list.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

struct timer_slot {
    /// Nodes that make a crowd.
    static constexpr std::uint32_t few = 256;

    timer_list nodes;      // of a crowd: those of its one deadline
    ticks least;           // at most the earliest deadline of its nodes
    std::uint32_t placed;  // nodes since it was empty; of a crowd, `few` and its `others`
    // Of a crowd only:
    std::uint32_t same;  // how many of its one deadline have been placed
    ticks deadline;      // which that is
    timer_list others;

    bool is_crowd() const noexcept { return placed >= few; }
    bool empty() const noexcept { return nodes.empty() && (!is_crowd() || others.empty()); }

    /// Empties what is not in use: nothing in it means anything before.
    void begin() noexcept {
        nodes.clear();
        least = endless;
        placed = 0;
    }

    /// Whether a node with that deadline, which has been counted in `placed`, is one of those of a
    /// crowd's one deadline. The slot is a crowd, or becomes one with it.
    bool joins(ticks its) noexcept {
        if (placed == few)
            make_crowd(its);
        else if (its != deadline)
            return false;
        else
            --placed;
        ++same;
        return true;
    }

    /// Adds the newest node, for which `joins` has said whether it is one of the single deadline.
    void push_newest(timer_node& node, bool joined) noexcept {
        if (joined) return nodes.push_newest(node);
        others.push_newest(node);
        if (placed % few == 0 && same < few) elect(node.deadline);
    }

    /// Takes the nodes of the one deadline of `from`, as older ones than those that are here.
    /// False: this is a crowd of another deadline, so there they are others.
    bool take_crowd(timer_slot& from) noexcept {
        if (!is_crowd()) make_crowd(from.deadline);
        if (deadline != from.deadline && same < few) elect(from.deadline);
        const bool joined = deadline == from.deadline;
        if (joined) {
            nodes.prepend(from.nodes);
            same += from.same;
        } else {
            others.prepend(from.nodes);
            placed += from.same;
        }
        from.same = 0;
        return joined;
    }

    /// Moves what is due at `now` to `due`, or to `backlog` if that is a crowd's one deadline.
    void take_due(ticks now, timer_list& due, timer_list& backlog) noexcept {
        if (least > now) return;
        if (!is_crowd()) [[likely]]
            return take_due(nodes, now, due);
        take_due(others, now, due);
        if (nodes.empty()) return;
        if (is_due(deadline, now)) {
            backlog.append(nodes);
            same = 0;
        } else if (deadline < least) {
            least = deadline;
        }
    }

    /// `look` may take the node out.
    template <class Look>
    void for_each(Look look) {
        nodes.for_each(look);
        if (is_crowd()) others.for_each(look);
    }

private:
    /// It becomes a crowd, whose one deadline is `its`.
    void make_crowd(ticks its) noexcept {
        deadline = its;
        placed = few;
        same = 0;
        others.clear();
        nodes.for_each([&](timer_node& node) {
            if (node.deadline == its) {
                ++same;
                return;
            }
            node.disarm();
            others.push_newest(node);
            ++placed;
        });
    }

    /// Those with another deadline have turned out to be more: it is the one from now on.
    void elect(ticks its) noexcept {
        others.prepend(nodes);
        placed += same;
        same = 0;
        deadline = its;
        for (; !others.empty() && others.newest().deadline == its; ++same) {
            timer_node& node = others.newest();
            node.disarm();
            nodes.push_oldest(node);
        }
        placed -= same;
    }

    void take_due(timer_list& from, ticks now, timer_list& due) noexcept {
        least = endless;
        from.for_each([&](timer_node& node) {
            if (!is_due(node.deadline, now)) {
                if (node.deadline < least) least = node.deadline;
                return;
            }
            node.disarm();
            due.push_newest(node);
        });
    }
};

}  // namespace curfew::detail
