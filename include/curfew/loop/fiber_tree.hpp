// The tree of all fibers of a loop, and what is done to a part of it before it is destroyed.
#pragma once

#include <utility>

#include "../core/cancellation.hpp"
#include "../core/fiber.hpp"
#include "../core/operation.hpp"
#include "../core/ready_queue.hpp"
#include "reaping.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

class fiber_tree {
public:
    explicit fiber_tree(loop& own, reaper& from) noexcept : reaper_(from) { outside.loop = &own; }

    /// Of coroutines that are not tasks, and the root of the tree.
    fiber outside;

    /// Marks fibers that are about to be destroyed, a fiber and all within it, and ends what they
    /// wait for: nothing outside refers to their frames then. From here on nobody makes them ready,
    /// whatever destructors in these frames do.
    void prepare_to_destroy(fiber& top) noexcept {
        fiber_list left;
        const auto mark = [&left](fiber& self) {
            if (self.being_destroyed) return;
            self.being_destroyed = true;
            if (!self.has_begun()) {
                self.waiting = nullptr;
                ready_queue::remove(self.turn);
            }
            left.push(self);
        };
        mark(top);
        while (fiber* const self = left.pop()) {
            self->for_each_scope([&](cancel_scope& scope) {
                for (nursery* inside = scope.nurseries; inside; inside = inside->next)
                    for (fiber* each = inside->first; each; each = each->next) mark(*each);
            });
            if (self->waiting) end_wait(*std::exchange(self->waiting, nullptr));
        }
    }

    /// A fiber within one that is about to be destroyed. Leaves the scopes in which there is none
    /// any more, and does not look there again. Groups may belong to somebody else.
    fiber* any_within(fiber& self) noexcept {
        for (;; self.leave(*self.scope)) {
            for (nursery* each; (each = self.scope->nurseries);) {
                if (each->first) return each->first;
                if (each->holds_tasks)
                    each->attach(outside.root);
                else
                    each->detach();
            }
            if (self.scope == &self.root) return nullptr;
        }
    }

    /// Groups in a scope live on when its fiber is destroyed: it may not own them.
    void move_groups_out_of(cancel_scope& scope) noexcept {
        for (nursery* inside = scope.nurseries; inside;) {
            nursery* const next = inside->next;
            if (inside->holds_tasks) inside->attach(outside.root);
            inside = next;
        }
    }

    /// The groups in all scopes of a fiber that is prepared but stays, and of its branches.
    void move_groups_out_of(fiber& top) noexcept {
        fiber_list left;
        left.push(top);
        while (fiber* const self = left.pop())
            self->for_each_scope([&](cancel_scope& scope) {
                move_groups_out_of(scope);
                for (nursery* branches = scope.nurseries; branches; branches = branches->next)
                    for (fiber* each = branches->first; each; each = each->next) left.push(*each);
            });
    }

    /// Whether all tasks wait for a tick, or for each other. (A tree that is too deep to be looked
    /// at is taken for one that does not.)
    bool all_wait_for_ticks() const noexcept {
        constexpr int deepest = 100;
        return all_wait_for_ticks(outside.root, deepest);
    }

private:
    void end_wait(suspension& waiting) noexcept {
        cancellation passed_on(false);
        const bool complete = waiting.type->interrupt(waiting, passed_on);
        if (waiting.type->is_operation)
            reaper_.wait_until_system_is_done(static_cast<operation&>(waiting));
        if (complete) ready_queue::remove(waiting);
    }

    static bool all_wait_for_ticks(const cancel_scope& scope, int depth) noexcept {
        if (depth == 0) return false;
        for (const nursery* each = scope.nurseries; each; each = each->next)
            for (const fiber* task = each->first; task; task = task->next) {
                if (!task->ended) continue;
                if (!task->waiting || !task->waiting->type->needs_tick) return false;
                bool all = true;
                task->for_each_scope([&](const cancel_scope& inside) {
                    all = all && all_wait_for_ticks(inside, depth - 1);
                });
                if (!all) return false;
            }
        return true;
    }

    reaper& reaper_;
};

}  // namespace curfew::detail
