#include <curfew/core/cancellation.hpp>

#include <doctest/doctest.h>

#include <memory>
#include <vector>

#include "../support/effort.hpp"
#include "../support/small_stack.hpp"
#include "../support/wait_of.hpp"

using curfew::fiber;
using curfew::detail::cancel_scope;
using curfew::detail::cancellation;
using curfew::detail::nursery;
using curfew::detail::suspension;
using curfew::detail::suspension_type;
using curfew::detail::wait_report;
using test::wait_of;

namespace {

using calls = std::vector<bool>;

}  // namespace

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

// Fibers within a scope ---------------------------------------------------------------------------

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

TEST_CASE("scopes are level-triggered: so is a fiber that begins in a cancelled one") {
    fiber parent;
    nursery children;
    fiber child;
    children.attach(parent.root);
    parent.cancel(parent.root);
    children.add(child);
    CHECK(child.cancelled());
    CHECK_FALSE(child.root.cancelled_itself());
}

TEST_CASE("scopes are level-triggered: so is a nursery that comes into a cancelled one") {
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

TEST_CASE(
    "a cancellation from outside cancels none of its fibers itself, cancel_each all of them") {
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
