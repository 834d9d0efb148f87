#include <curfew/core/cancel_scope.hpp>

#include <curfew/core/cancellation.hpp>

#include <doctest/doctest.h>

using curfew::fiber;
using curfew::detail::cancel_cause;
using curfew::detail::cancel_scope;

TEST_CASE("a scope says whether it was cancelled itself, or because of what is around it") {
    cancel_scope scope;
    CHECK_FALSE(scope.cancelled());
    scope.cancel_from_around();
    CHECK(scope.cancelled());
    CHECK_FALSE(scope.cancelled_itself());
    scope.cancel_itself();
    CHECK(scope.cancelled_itself());
    scope.cancel_from_around();  // too late
    CHECK(scope.cancelled_itself());
}

TEST_CASE("what was cut short was so by the scope itself or by what is around it") {
    cancel_scope scope;
    scope.cut_short = true;
    CHECK(scope.cut_short_from_around());
    CHECK_FALSE(scope.cut_short_by_itself());
    scope.cancel_itself();
    CHECK(scope.cut_short_by_itself());
    CHECK_FALSE(scope.cut_short_from_around());
    scope.cut_short = false;
    CHECK_FALSE(scope.cut_short_by_itself());
    CHECK_FALSE(scope.cut_short_from_around());
}

TEST_CASE("scopes are level-triggered: one within a cancelled one is cancelled from the start") {
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

TEST_CASE("a shield is not cancelled because it begins within a cancelled scope") {
    cancel_scope scope;
    scope.shield = true;
    scope.begin_within(true);
    CHECK_FALSE(scope.cancelled());
    scope.shield = false;
    scope.begin_within(true);
    CHECK(scope.cause == cancel_cause::around);
    scope.begin_within(false);
    CHECK(scope.cause == cancel_cause::none);
}
