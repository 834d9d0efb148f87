#include <curfew/core/timer_slot.hpp>

#include <doctest/doctest.h>

#include <deque>
#include <vector>

using curfew::detail::endless;
using curfew::detail::ticks;
using curfew::detail::timer_list;
using curfew::detail::timer_node;
using curfew::detail::timer_slot;

namespace {

struct node : timer_node {
    explicit node(ticks when)
        : timer_node([](timer_node&, curfew::detail::limit_report*) noexcept {}, when) {}
};

/// A slot, into which nodes go as the wheel has them go.
struct filled {
    timer_slot slot;
    timer_list due, backlog;
    std::deque<node> nodes;

    filled() {
        slot.begin();
        due.clear();
        backlog.clear();
    }

    void add(ticks deadline) {
        node& added = nodes.emplace_back(deadline);
        if (deadline < slot.least) slot.least = deadline;
        if (++slot.placed < timer_slot::few)
            slot.nodes.push_newest(added);
        else
            slot.push_newest(added, slot.joins(deadline));
    }
    void add(unsigned count, ticks deadline) {
        for (; count > 0; --count) add(deadline);
    }
};

std::size_t size_of(timer_list& list) {
    std::size_t count = 0;
    list.for_each([&](const timer_node&) { ++count; });
    return count;
}

constexpr unsigned few = timer_slot::few;

}  // namespace

TEST_CASE("a slot with few nodes is no crowd, and says what is due one by one") {
    filled own;
    CHECK(own.slot.empty());
    for (ticks i = 1; i <= 100; ++i) own.add(i);
    CHECK_FALSE(own.slot.is_crowd());
    own.slot.take_due(0, own.due, own.backlog);
    CHECK(own.due.empty());
    own.slot.take_due(40, own.due, own.backlog);
    CHECK(size_of(own.due) == 40);
    CHECK(own.backlog.empty());
    CHECK(own.slot.least == 41);
    own.slot.take_due(100, own.due, own.backlog);
    CHECK(size_of(own.due) == 100);
    CHECK(own.slot.empty());
    CHECK(own.slot.least == endless);
}

TEST_CASE("a crowd keeps those of one deadline apart, and they are due in one step") {
    filled own;
    own.add(10, 5);
    own.add(few, 7);
    own.add(10, 9);
    REQUIRE(own.slot.is_crowd());
    CHECK(own.slot.deadline == 7);
    CHECK(size_of(own.slot.nodes) == few);
    CHECK(size_of(own.slot.others) == 20);
    own.slot.take_due(6, own.due, own.backlog);
    CHECK(size_of(own.due) == 10);
    CHECK(own.slot.least == 7);
    own.slot.take_due(8, own.due, own.backlog);
    CHECK(size_of(own.due) == 10);
    CHECK(size_of(own.backlog) == few);
    CHECK(own.slot.least == 9);
    CHECK_FALSE(own.slot.empty());
    own.slot.take_due(9, own.due, own.backlog);
    CHECK(own.slot.empty());
}

TEST_CASE("never early: a crowd of one deadline waits for it") {
    filled own;
    own.add(2 * few, 7);
    own.slot.take_due(6, own.due, own.backlog);
    CHECK(own.backlog.empty());
    own.slot.take_due(7, own.due, own.backlog);
    CHECK(size_of(own.backlog) == 2 * few);
}

TEST_CASE("another deadline is a crowd's one when there are more of it") {
    filled own;
    for (ticks i = 0; i < ticks{few}; ++i) own.add(1000 + i);
    REQUIRE(own.slot.is_crowd());
    const ticks chosen_first = own.slot.deadline;
    own.add(2 * few, 7);
    CHECK(own.slot.deadline == 7);
    CHECK(own.slot.deadline != chosen_first);
    CHECK(size_of(own.slot.nodes) + size_of(own.slot.others) == 3 * few);
    CHECK(size_of(own.slot.nodes) >= few);
}

TEST_CASE("a crowd takes another one of its deadline as older nodes, and of no other") {
    filled third, to, from;  // who takes outlives whose nodes it takes
    from.add(few, 7);
    to.add(few, 7);
    CHECK(to.slot.take_crowd(from.slot));
    CHECK(size_of(to.slot.nodes) == 2 * few);
    CHECK(&to.slot.nodes.oldest() == &from.nodes.front());
    CHECK(&to.slot.nodes.newest() == &to.nodes.back());
    CHECK(from.slot.nodes.empty());
    third.add(few, 8);
    CHECK_FALSE(third.slot.take_crowd(to.slot));
    CHECK(third.slot.deadline == 8);
    CHECK(size_of(third.slot.nodes) == few);
    CHECK(size_of(third.slot.others) == 2 * few);
}

TEST_CASE("a slot that is used again begins anew") {
    filled own;
    own.add(2 * few, 7);
    own.slot.take_due(7, own.due, own.backlog);
    REQUIRE(own.slot.empty());
    own.slot.begin();
    CHECK_FALSE(own.slot.is_crowd());
    own.add(9);
    CHECK(own.slot.least == 9);
    unsigned seen = 0;
    own.slot.for_each([&](timer_node& each) {
        each.disarm();
        ++seen;
    });
    CHECK(seen == 1);
    CHECK(own.slot.empty());
}
