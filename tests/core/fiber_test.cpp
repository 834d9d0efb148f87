#include <curfew/core/fiber.hpp>

#include <doctest/doctest.h>

#include <memory>
#include <vector>

#include "../support/effort.hpp"
#include "../support/small_stack.hpp"

using curfew::fiber;
using curfew::detail::cancel_scope;
using curfew::detail::cancellation;
using curfew::detail::nursery;
using curfew::detail::suspension;
using curfew::detail::suspension_type;
using curfew::detail::wait_report;

namespace {

/// Something to be suspended in that counts its interruptions.
struct wait_of : suspension {
    std::vector<bool> interrupts;  // whether to abort

    explicit wait_of(fiber& self) {
        static constexpr suspension_type counting{
            [](suspension& pending, cancellation& by) noexcept {
                static_cast<wait_of&>(pending).interrupts.push_back(by.aborts());
                return false;
            },
            [](const suspension&, wait_report&) noexcept {},
        };
        type = &counting;
        self.waiting = this;
    }
};

using calls = std::vector<bool>;

}  // namespace

TEST_CASE("a new fiber is in its root scope, waits for nothing and is not cancelled") {
    fiber self;
    CHECK(self.scope == &self.root);
    CHECK(self.waiting == nullptr);
    CHECK_FALSE(self.cancelled());
}

TEST_CASE("cancelling a fiber interrupts what it waits for, once") {
    fiber self;
    wait_of wait(self);
    self.cancel(self.root);
    CHECK(self.cancelled());
    CHECK(wait.interrupts == calls{false});
    self.cancel(self.root);
    self.cancel(self.root, true);
    CHECK(wait.interrupts == calls{false});
}

TEST_CASE("cancelling with abort says so to what is interrupted") {
    fiber self;
    wait_of wait(self);
    self.cancel(self.root, true);
    CHECK(wait.interrupts == calls{true});
}

TEST_CASE("a fiber that runs is cancelled without anything to interrupt") {
    fiber self;
    self.cancel(self.root);
    CHECK(self.cancelled());
}

TEST_CASE("scopes nest: leaving one returns to the one around it") {
    fiber self;
    cancel_scope outer, inner;
    self.enter(outer);
    CHECK(self.scope == &outer);
    CHECK(outer.parent == &self.root);
    self.enter(inner);
    CHECK(self.scope == &inner);
    CHECK(inner.parent == &outer);
    self.leave(inner);
    CHECK(self.scope == &outer);
    self.leave(outer);
    CHECK(self.scope == &self.root);
}

TEST_CASE("cancelling an outer scope cancels those inside it, but not those around it") {
    fiber self;
    cancel_scope outer, middle, inner;
    self.enter(outer);
    self.enter(middle);
    self.enter(inner);
    wait_of wait(self);

    self.cancel(middle);
    CHECK(inner.cancelled());
    CHECK(middle.cancelled());
    CHECK_FALSE(outer.cancelled());
    CHECK_FALSE(self.root.cancelled());
    CHECK(wait.interrupts == calls{false});

    CHECK(self.cancelled());
    self.leave(inner);
    CHECK(self.cancelled());
    self.leave(middle);
    CHECK_FALSE(self.cancelled());
}

TEST_CASE("a scope entered within a cancelled one is cancelled from the start") {
    fiber self;
    self.cancel(self.root);
    cancel_scope inner;
    self.enter(inner);
    CHECK(self.cancelled());
    CHECK_FALSE(inner.cancelled_itself());
    self.leave(inner);
}

TEST_CASE("a scope that is used again forgets that what was around it was cancelled") {
    fiber cancelled, fresh;
    cancelled.cancel(cancelled.root);
    cancel_scope scope;
    cancelled.enter(scope);
    cancelled.leave(scope);
    fresh.enter(scope);
    CHECK_FALSE(fresh.cancelled());
    fresh.leave(scope);
}

TEST_CASE("only the scope that was cancelled itself says so") {
    fiber self;
    cancel_scope outer, inner;
    self.enter(outer);
    self.enter(inner);
    self.cancel(outer);
    CHECK(outer.cancelled_itself());
    CHECK_FALSE(inner.cancelled_itself());
    CHECK_FALSE(self.root.cancelled_itself());

    self.cancel(inner);  // cancelled already by the outer one: that was first
    CHECK_FALSE(inner.cancelled_itself());
}

TEST_CASE("an outer scope can be cancelled after one inside it") {
    fiber self;
    cancel_scope outer, inner;
    self.enter(outer);
    self.enter(inner);
    self.cancel(inner);
    CHECK_FALSE(outer.cancelled());
    self.cancel(outer);
    CHECK(outer.cancelled());
    CHECK(outer.cancelled_itself());
    CHECK(inner.cancelled_itself());
}

// Shields -----------------------------------------------------------------------------------------

TEST_CASE("a shield keeps cancellation from outside away from what is inside it") {
    fiber self;
    cancel_scope outer, shield, inner;
    shield.shield = true;
    self.enter(outer);
    self.enter(shield);
    self.enter(inner);
    wait_of wait(self);

    self.cancel(outer);
    CHECK(outer.cancelled());
    CHECK_FALSE(shield.cancelled());
    CHECK_FALSE(inner.cancelled());
    CHECK_FALSE(self.cancelled());
    CHECK(wait.interrupts.empty());

    self.leave(inner);
    self.leave(shield);
    CHECK(self.cancelled());  // out of the shield, it holds again
}

TEST_CASE("a shield entered in a cancelled scope lets its inside run") {
    fiber self;
    self.cancel(self.root);
    cancel_scope shield, inner;
    shield.shield = true;
    self.enter(shield);
    CHECK_FALSE(self.cancelled());
    self.enter(inner);
    CHECK_FALSE(self.cancelled());
    self.leave(inner);
    self.leave(shield);
    CHECK(self.cancelled());
}

TEST_CASE("a scope inside a shield can be cancelled, and so can the shield itself") {
    fiber self;
    cancel_scope shield, inner;
    shield.shield = true;
    self.enter(shield);
    self.enter(inner);
    wait_of wait(self);
    self.cancel(inner);
    CHECK(inner.cancelled());
    CHECK_FALSE(shield.cancelled());
    CHECK(wait.interrupts == calls{false});

    self.leave(inner);
    self.cancel(shield);
    CHECK(self.cancelled());
    CHECK(wait.interrupts == calls{false, false});
}

TEST_CASE("of several shields the outermost stops a cancellation from outside them all") {
    fiber self;
    cancel_scope between_root_and_shields, outer_shield, between, inner_shield;
    outer_shield.shield = inner_shield.shield = true;
    self.enter(between_root_and_shields);
    self.enter(outer_shield);
    self.enter(between);
    self.enter(inner_shield);
    wait_of wait(self);

    self.cancel(self.root);
    CHECK(between_root_and_shields.cancelled());
    CHECK_FALSE(outer_shield.cancelled());
    CHECK_FALSE(between.cancelled());

    self.cancel(between);
    CHECK(between.cancelled());
    CHECK_FALSE(inner_shield.cancelled());
    CHECK_FALSE(outer_shield.cancelled());
    CHECK(wait.interrupts.empty());
}

// What was cut short ------------------------------------------------------------------------------

TEST_CASE("a notice reaches the scope that was cancelled itself, and no further") {
    fiber self;
    cancel_scope outer, middle, inner;
    self.enter(outer);
    self.enter(middle);
    self.enter(inner);
    self.cancel(middle);
    CHECK_FALSE(middle.cut_short);
    self.note_cut_short();
    CHECK(inner.cut_short);
    CHECK(middle.cut_short);
    CHECK_FALSE(outer.cut_short);
    CHECK_FALSE(self.root.cut_short);
}

TEST_CASE("with an inner and an outer scope cancelled, the inner one takes the notice") {
    fiber self;
    cancel_scope outer, inner;
    self.enter(outer);
    self.enter(inner);
    self.cancel(inner);
    self.cancel(outer);
    self.note_cut_short();
    CHECK(inner.cut_short);
    CHECK_FALSE(outer.cut_short);

    self.leave(inner);
    self.note_cut_short();
    CHECK(outer.cut_short);
}

TEST_CASE("a cancelled fiber's root takes the notice") {
    fiber self;
    self.cancel(self.root);
    self.note_cut_short();
    CHECK(self.root.cut_short);
}

TEST_CASE("a notice in a scope that is not cancelled reaches nobody") {
    fiber self;
    cancel_scope shield;
    shield.shield = true;
    self.cancel(self.root);
    self.enter(shield);
    self.note_cut_short();
    CHECK_FALSE(shield.cut_short);
    CHECK_FALSE(self.root.cut_short);
}

// Nurseries ---------------------------------------------------------------------------------------

TEST_CASE("a nursery knows the living, newest first, and forgets who leaves or is destroyed") {
    nursery children;
    CHECK(children.empty());
    fiber oldest, middle;
    children.add(oldest);
    children.add(middle);
    {
        fiber newest;
        children.add(newest);
        CHECK(children.first == &newest);
        CHECK(newest.next == &middle);
        CHECK(newest.home == &children);
    }
    CHECK(children.first == &middle);
    oldest.leave_home();
    CHECK(oldest.home == nullptr);
    CHECK(middle.next == nullptr);
    oldest.leave_home();  // has left already
    middle.leave_home();
    CHECK(children.empty());
}

TEST_CASE("fibers of a nursery live within the scope it is attached to, until it is detached") {
    fiber parent;
    cancel_scope inner;
    parent.enter(inner);
    nursery children;
    fiber before, after;
    children.add(before);
    CHECK(before.root.parent == nullptr);
    children.attach(inner);
    children.add(after);
    CHECK(inner.nurseries == &children);
    CHECK(before.root.parent == &inner);
    CHECK(after.root.parent == &inner);

    children.detach();
    CHECK(inner.nurseries == nullptr);
    children.detach();  // has been already
    parent.cancel(inner);
    CHECK_FALSE(before.cancelled());
    parent.leave(inner);
}

TEST_CASE("a scope has any number of nurseries, and forgets those that are destroyed") {
    fiber parent;
    nursery first;
    fiber first_child, last_child;
    first.attach(parent.root);
    first.add(first_child);
    {
        nursery between;
        between.attach(parent.root);
        nursery last;
        last.attach(parent.root);
        last.add(last_child);
        between.detach();
        between.attach(parent.root);
        parent.cancel(parent.root);
        last_child.leave_home();
    }
    CHECK(parent.root.nurseries == &first);
    CHECK(first_child.cancelled());
    CHECK(last_child.cancelled());
}

TEST_CASE("cancelling a scope reaches the fibers within it, and theirs, and interrupts each once") {
    fiber parent;
    cancel_scope scope, in_child;
    parent.enter(scope);
    nursery children;
    fiber child;
    nursery grandchildren;
    fiber grandchild;
    children.attach(scope);
    children.add(child);
    child.enter(in_child);
    grandchildren.attach(in_child);
    grandchildren.add(grandchild);
    wait_of wait(parent), child_wait(child), grandchild_wait(grandchild);

    parent.cancel(scope, true);
    CHECK(child.cancelled());
    CHECK(in_child.cancelled());
    CHECK(grandchild.cancelled());
    CHECK(wait.interrupts == calls{true});
    CHECK(child_wait.interrupts == calls{true});
    CHECK(grandchild_wait.interrupts == calls{true});
    CHECK_FALSE(child.root.cancelled_itself());
    CHECK_FALSE(grandchild.root.cancelled_itself());

    parent.cancel(parent.root);
    CHECK(child_wait.interrupts == calls{true});
    CHECK(grandchild_wait.interrupts == calls{true});
    child.leave(in_child);
    parent.leave(scope);
}

TEST_CASE("cancelling a scope reaches nobody in the nurseries of the scopes around it") {
    fiber parent;
    cancel_scope inner;
    nursery children;
    fiber child;
    children.attach(parent.root);
    children.add(child);
    parent.enter(inner);
    parent.cancel(inner);
    CHECK_FALSE(child.cancelled());
    parent.leave(inner);
}

TEST_CASE("a fiber that is added to a nursery of a cancelled scope is cancelled from the start") {
    fiber parent;
    nursery children;
    fiber child;
    children.attach(parent.root);
    parent.cancel(parent.root);
    children.add(child);
    CHECK(child.cancelled());
    CHECK_FALSE(child.root.cancelled_itself());
}

TEST_CASE("a nursery that is attached to a cancelled scope is cancelled with it") {
    fiber parent;
    nursery children;
    fiber child;
    wait_of wait(child);
    children.add(child);
    parent.cancel(parent.root);
    children.attach(parent.root);
    CHECK(child.cancelled());
    CHECK(wait.interrupts == calls{false});
}

TEST_CASE("a shield of the parent keeps cancellation from the nurseries inside it") {
    fiber parent;
    cancel_scope shield, inner;
    shield.shield = true;
    nursery shielded, exposed;
    fiber inside, around;
    exposed.attach(parent.root);
    exposed.add(around);
    parent.enter(shield);
    parent.enter(inner);
    shielded.attach(inner);
    shielded.add(inside);
    parent.cancel(parent.root);
    CHECK(around.cancelled());
    CHECK_FALSE(inside.cancelled());
    parent.leave(inner);
    parent.leave(shield);
    CHECK(inside.cancelled());  // taken over by a scope that is cancelled
}

TEST_CASE("a shield in a child keeps what is inside it, and the fibers there") {
    fiber parent;
    cancel_scope shield;
    shield.shield = true;
    nursery children;
    fiber child;
    nursery grandchildren;
    fiber grandchild;
    children.attach(parent.root);
    children.add(child);
    child.enter(shield);
    grandchildren.attach(shield);
    grandchildren.add(grandchild);
    wait_of wait(child), grandchild_wait(grandchild);

    parent.cancel(parent.root);
    CHECK(child.root.cancelled());
    CHECK_FALSE(child.cancelled());
    CHECK_FALSE(grandchild.cancelled());
    CHECK(wait.interrupts.empty());
    CHECK(grandchild_wait.interrupts.empty());
    grandchildren.detach();
    child.leave(shield);
    CHECK(child.cancelled());
}

TEST_CASE("a cancellation from outside cancels none of its fibers itself, cancel_each all of them") {
    fiber parent;
    nursery children;
    fiber first, second;
    children.attach(parent.root);
    children.add(first);
    cancellation(false).add(children);
    CHECK(first.cancelled());
    CHECK_FALSE(first.root.cancelled_itself());
    CHECK_FALSE(parent.cancelled());

    children.add(second);
    wait_of wait(second);
    children.cancel_each(true);
    CHECK(second.root.cancelled_itself());
    CHECK(wait.interrupts == calls{true});
    CHECK_FALSE(first.root.cancelled_itself());  // somebody else was first
}

TEST_CASE("a notice crosses fibers up to the scope that was cancelled itself") {
    fiber parent;
    cancel_scope limit;
    nursery children;
    fiber child;
    nursery grandchildren;
    fiber grandchild;
    parent.enter(limit);
    children.attach(limit);
    children.add(child);
    grandchildren.attach(child.root);
    grandchildren.add(grandchild);
    parent.cancel(limit);
    grandchild.note_cut_short();
    CHECK(grandchild.root.cut_short);
    CHECK(child.root.cut_short);
    CHECK(limit.cut_short);
    CHECK_FALSE(parent.root.cut_short);
    parent.leave(limit);
}

TEST_CASE("a notice of a fiber that was cancelled for itself stays with it") {
    fiber parent;
    nursery children;
    fiber child;
    children.attach(parent.root);
    children.add(child);
    children.cancel_each();
    parent.cancel(parent.root);  // later
    child.note_cut_short();
    CHECK(child.root.cut_short);
    CHECK_FALSE(parent.root.cut_short);
}

TEST_CASE("a nursery that outlives its scope is taken over by the scope around it") {
    fiber parent;
    cancel_scope outer, inner;
    parent.enter(outer);
    parent.enter(inner);
    nursery children, others;
    fiber child, other_child;
    children.attach(inner);
    others.attach(inner);
    children.add(child);
    others.add(other_child);
    parent.leave(inner);
    CHECK(inner.nurseries == nullptr);
    CHECK(child.root.parent == &outer);
    parent.cancel(outer);
    CHECK(child.cancelled());
    CHECK(other_child.cancelled());
    parent.leave(outer);
}

TEST_CASE("a nursery of a scope that was cancelled stays cancelled when it is taken over") {
    fiber parent;
    cancel_scope inner;
    parent.enter(inner);
    nursery children;
    fiber child, late;
    children.attach(inner);
    children.add(child);
    parent.cancel(inner);
    parent.leave(inner);
    CHECK(child.cancelled());
    children.add(late);
    CHECK_FALSE(late.cancelled());
}

TEST_CASE("a nursery that outlives its fiber is taken over by the scope that fiber lived in") {
    fiber parent;
    nursery children, grandchildren;
    fiber grandchild;
    children.attach(parent.root);
    {
        fiber child;
        child.ended = [](fiber& self) noexcept { self.leave_home(); };
        children.add(child);
        grandchildren.attach(child.root);
        grandchildren.add(grandchild);
        child.end();
        CHECK(children.empty());
    }
    CHECK(grandchild.root.parent == &parent.root);
    parent.cancel(parent.root);
    CHECK(grandchild.cancelled());
}

// Depth -------------------------------------------------------------------------------------------

namespace {

/// A fiber within another, and so on. (Without destructors that call each other.)
struct level {
    nursery home;
    fiber self;
    wait_of wait{self};
};

}  // namespace

TEST_CASE("a tree is cancelled without stack in proportion to its depth, each fiber once") {
    const std::size_t depth = test::scaled(100'000);
    std::size_t reached = 0;
    const bool ran = test::on_small_stack([&] {
        fiber top;
        std::vector<std::unique_ptr<level>> levels;
        for (fiber* around = &top; levels.size() < depth; around = &levels.back()->self) {
            levels.push_back(std::make_unique<level>());
            levels.back()->home.attach(around->root);
            levels.back()->home.add(levels.back()->self);
        }
        top.cancel(top.root, true);
        top.cancel(top.root);
        for (const auto& each : levels)
            reached += each->self.cancelled() && each->wait.interrupts == calls{true};
        while (!levels.empty()) levels.pop_back();  // each refers to the one before
    });
    REQUIRE(ran);
    CHECK(reached == depth);
}

TEST_CASE("what cancels another fiber when it is interrupted uses no stack for each") {
    struct passes_on : suspension {
        fiber* joined;
        passes_on(fiber& self, fiber* other) : joined(other) {
            static constexpr suspension_type passing{
                [](suspension& pending, cancellation& by) noexcept {
                    if (fiber* const its = static_cast<passes_on&>(pending).joined)
                        by.add_itself(*its);
                    return false;
                },
                [](const suspension&, wait_report&) noexcept {},
            };
            type = &passing;
            self.waiting = this;
        }
    };
    const std::size_t length = test::scaled(100'000);
    std::size_t reached = 0;
    const bool ran = test::on_small_stack([&] {
        std::vector<fiber> chain(length);
        std::vector<std::unique_ptr<passes_on>> waits;
        for (std::size_t i = 0; i < length; ++i)
            waits.push_back(
                std::make_unique<passes_on>(chain[i], i + 1 < length ? &chain[i + 1] : nullptr));
        chain.front().cancel(chain.front().root);
        for (const fiber& each : chain) reached += each.cancelled() && each.root.cancelled_itself();
    });
    REQUIRE(ran);
    CHECK(reached == length);
}

TEST_CASE("a fiber that has not begun is cancelled, and its place in the queue is its own") {
    curfew::detail::ready_queue queue;
    fiber parent;
    nursery children;
    children.attach(parent.root);
    fiber first, second;  // which leave the nursery before it goes
    for (fiber* each : {&first, &second}) {
        each->waiting = &curfew::detail::not_begun;
        queue.push(each->turn);
        children.add(*each);
    }
    parent.cancel(parent.root);
    CHECK(first.cancelled());
    CHECK(second.cancelled());
    CHECK(queue.pop() == &first.turn);
    CHECK(queue.pop() == &second.turn);
    CHECK(queue.empty());
}
