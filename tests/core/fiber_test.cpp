#include <curfew/core/fiber.hpp>

#include <doctest/doctest.h>

#include <vector>

using curfew::fiber;
using curfew::detail::cancel_scope;
using curfew::detail::suspension;
using curfew::detail::suspension_type;
using curfew::detail::wait_report;

namespace {

/// Something to be suspended in that counts its interruptions.
struct wait_of : suspension {
    std::vector<bool> interrupts;  // whether to abort

    explicit wait_of(fiber& self) {
        static constexpr suspension_type counting{
            [](suspension& pending, bool abort) noexcept {
                static_cast<wait_of&>(pending).interrupts.push_back(abort);
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
    CHECK(inner.cancelled);
    CHECK(middle.cancelled);
    CHECK_FALSE(outer.cancelled);
    CHECK_FALSE(self.root.cancelled);
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
    CHECK_FALSE(inner.origin);
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

TEST_CASE("only the scope that was cancelled itself is the origin") {
    fiber self;
    cancel_scope outer, inner;
    self.enter(outer);
    self.enter(inner);
    self.cancel(outer);
    CHECK(outer.origin);
    CHECK_FALSE(inner.origin);
    CHECK_FALSE(self.root.origin);

    self.cancel(inner);  // cancelled already by the outer one: that was first
    CHECK_FALSE(inner.origin);
}

TEST_CASE("an outer scope can be cancelled after one inside it") {
    fiber self;
    cancel_scope outer, inner;
    self.enter(outer);
    self.enter(inner);
    self.cancel(inner);
    CHECK_FALSE(outer.cancelled);
    self.cancel(outer);
    CHECK(outer.cancelled);
    CHECK(outer.origin);
    CHECK(inner.origin);
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
    CHECK(outer.cancelled);
    CHECK_FALSE(shield.cancelled);
    CHECK_FALSE(inner.cancelled);
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
    CHECK(inner.cancelled);
    CHECK_FALSE(shield.cancelled);
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
    CHECK(between_root_and_shields.cancelled);
    CHECK_FALSE(outer_shield.cancelled);
    CHECK_FALSE(between.cancelled);

    self.cancel(between);
    CHECK(between.cancelled);
    CHECK_FALSE(inner_shield.cancelled);
    CHECK_FALSE(outer_shield.cancelled);
    CHECK(wait.interrupts.empty());
}

// Who has noticed ---------------------------------------------------------------------------------

TEST_CASE("a notice reaches the scope that was cancelled itself, and no further") {
    fiber self;
    cancel_scope outer, middle, inner;
    self.enter(outer);
    self.enter(middle);
    self.enter(inner);
    self.cancel(middle);
    CHECK_FALSE(middle.noticed);
    self.notice();
    CHECK(inner.noticed);
    CHECK(middle.noticed);
    CHECK_FALSE(outer.noticed);
    CHECK_FALSE(self.root.noticed);
}

TEST_CASE("with an inner and an outer scope cancelled, the inner one takes the notice") {
    fiber self;
    cancel_scope outer, inner;
    self.enter(outer);
    self.enter(inner);
    self.cancel(inner);
    self.cancel(outer);
    self.notice();
    CHECK(inner.noticed);
    CHECK_FALSE(outer.noticed);

    self.leave(inner);
    self.notice();
    CHECK(outer.noticed);
}

TEST_CASE("a cancelled fiber's root takes the notice") {
    fiber self;
    self.cancel(self.root);
    self.notice();
    CHECK(self.root.noticed);
}

TEST_CASE("a notice in a scope that is not cancelled reaches nobody") {
    fiber self;
    cancel_scope shield;
    shield.shield = true;
    self.cancel(self.root);
    self.enter(shield);
    self.notice();
    CHECK_FALSE(shield.noticed);
    CHECK_FALSE(self.root.noticed);
}
