#include <curfew/core/timer_list.hpp>

#include <doctest/doctest.h>

#include <deque>
#include <vector>

using curfew::detail::is_due;
using curfew::detail::ticks;
using curfew::detail::timer_link;
using curfew::detail::timer_list;
using curfew::detail::timer_node;

namespace {

struct node : timer_node {
    explicit node(ticks when = 0)
        : timer_node([](timer_node&, curfew::detail::limit_report*) noexcept {}, when) {}
};

struct list : timer_list {
    list() { clear(); }
    list(const list&) = delete;
    list& operator=(const list&) = delete;
    ~list() {
        for_each([](timer_node& each) { each.disarm(); });
    }

    std::vector<const timer_node*> nodes() {
        std::vector<const timer_node*> all;
        for_each([&](const timer_node& each) { all.push_back(&each); });
        return all;
    }
};

using nodes = std::vector<const timer_node*>;

}  // namespace

TEST_CASE("never early: what is armed for a tick is due with that tick") {
    CHECK_FALSE(is_due(10, 9));
    CHECK(is_due(10, 10));
    CHECK(is_due(10, 11));
}

TEST_CASE("a node leaves a list without knowing which") {
    node a, b, c;
    timer_link* first = nullptr;
    for (node* each : {&a, &b, &c}) each->link_to(first);
    CHECK(first == &c);
    b.disarm();
    CHECK_FALSE(b.armed());
    CHECK(c.next == &a);
    b.disarm();  // nothing
    c.disarm();
    CHECK(first == &a);
    a.disarm();
    CHECK(first == nullptr);
}

TEST_CASE("a node that is destroyed leaves its list") {
    list all;
    node first;
    all.push_newest(first);
    {
        node gone;
        all.push_newest(gone);
        CHECK(&all.newest() == &gone);
    }
    CHECK(all.nodes() == nodes{&first});
    CHECK(&all.newest() == &first);
}

TEST_CASE("a list goes from the oldest to the newest") {
    list all;
    CHECK(all.empty());
    node a, b, c;
    all.push_newest(b);
    all.push_newest(c);
    all.push_oldest(a);
    CHECK(all.nodes() == nodes{&a, &b, &c});
    CHECK(&all.oldest() == &a);
    CHECK(&all.newest() == &c);
    c.disarm();
    CHECK(&all.newest() == &b);
    a.disarm();
    b.disarm();
    CHECK(all.empty());
}

TEST_CASE("lists are put together, as newer nodes or as older ones") {
    list all, others, none;
    node a, b, c, d, e;
    all.push_newest(c);
    others.push_newest(d);
    others.push_newest(e);
    all.append(others);
    CHECK(others.empty());
    CHECK(all.nodes() == nodes{&c, &d, &e});
    others.push_newest(a);
    others.push_newest(b);
    all.prepend(others);
    CHECK(others.empty());
    CHECK(all.nodes() == nodes{&a, &b, &c, &d, &e});
    all.append(none);
    all.prepend(none);
    none.append(all);
    CHECK(all.empty());
    CHECK(none.nodes() == nodes{&a, &b, &c, &d, &e});
    CHECK(&none.newest() == &e);
    all.prepend(none);
    e.disarm();
    CHECK(all.nodes() == nodes{&a, &b, &c, &d});
}

TEST_CASE("sorting goes by deadline, and keeps the order of those with the same one") {
    for (const unsigned count : {0u, 1u, 2u, 3u, 7u, 64u, 1000u}) {
        CAPTURE(count);
        std::deque<node> all;
        list due;
        unsigned random = 7;
        for (unsigned i = 0; i < count; ++i) {
            random = random * 1'103'515'245 + 12'345;
            due.push_newest(all.emplace_back(random >> 16 & 15));
        }
        sort(due);
        const nodes sorted = due.nodes();
        REQUIRE(sorted.size() == count);
        for (std::size_t i = 1; i < sorted.size(); ++i) {
            REQUIRE(sorted[i - 1]->deadline <= sorted[i]->deadline);
            if (sorted[i - 1]->deadline != sorted[i]->deadline) continue;
            const auto place = [&](const timer_node* of) {
                std::size_t at = 0;
                while (&all[at] != of) ++at;
                return at;
            };
            REQUIRE(place(sorted[i - 1]) < place(sorted[i]));
        }
        if (count > 0) CHECK(&due.newest() == sorted.back());
    }
}
