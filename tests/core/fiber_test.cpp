#include <curfew/core/fiber.hpp>

#include <curfew/core/cancellation.hpp>

#include <doctest/doctest.h>

using curfew::fiber;
using curfew::detail::cancel_scope;
using curfew::detail::nursery;

TEST_CASE("a new fiber is in its root scope, waits for nothing and is not cancelled") {
    fiber self;
    CHECK(self.scope == &self.root);
    CHECK(self.waiting == nullptr);
    CHECK_FALSE(self.cancelled());
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

// What was cut short ------------------------------------------------------------------------------

TEST_CASE("nesting: a cut is told up to the scope that was cancelled itself, and no further") {
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

TEST_CASE("nesting: with an inner and an outer scope cancelled, the inner one says so") {
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

TEST_CASE("nesting: of a cancelled fiber the root says so") {
    fiber self;
    self.cancel(self.root);
    self.note_cut_short();
    CHECK(self.root.cut_short);
}

TEST_CASE("nesting: in a scope that is not cancelled nothing is cut short") {
    fiber self;
    cancel_scope shield;
    shield.shield = true;
    self.cancel(self.root);
    self.enter(shield);
    self.note_cut_short();
    CHECK_FALSE(shield.cut_short);
    CHECK_FALSE(self.root.cut_short);
}

TEST_CASE("nesting: a cut is told across fibers up to the scope that was cancelled itself") {
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

TEST_CASE("nesting: a fiber that was cancelled itself tells nobody else") {
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
