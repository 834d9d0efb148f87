#include <curfew/core/ready_queue.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <deque>
#include <random>
#include <vector>

using curfew::detail::ready_node;
using curfew::detail::ready_queue;

namespace {

std::vector<ready_node*> drained(ready_queue& queue) {
    std::vector<ready_node*> all;
    while (ready_node* node = queue.pop()) all.push_back(node);
    return all;
}

using nodes = std::vector<ready_node*>;

}  // namespace

TEST_CASE("a ready queue gives back what was pushed, first in, first out") {
    ready_queue queue;
    std::array<ready_node, 3> node;
    CHECK(queue.empty());
    CHECK(queue.pop() == nullptr);

    for (auto& each : node) queue.push(each);
    CHECK_FALSE(queue.empty());
    CHECK(drained(queue) == nodes{&node[0], &node[1], &node[2]});
    CHECK(queue.empty());
}

TEST_CASE("a ready queue can be used again after it was emptied") {
    ready_queue queue;
    ready_node a, b;
    for (int i = 0; i < 3; ++i) {
        queue.push(a);
        CHECK(queue.pop() == &a);
        CHECK(queue.empty());
        queue.push(b);
        queue.push(a);
        CHECK(drained(queue) == nodes{&b, &a});
    }
}

TEST_CASE("appending puts the other queue's nodes behind one's own and empties it") {
    ready_queue queue, other;
    std::array<ready_node, 5> node;
    queue.push(node[0]);
    queue.push(node[1]);
    other.push(node[2]);
    other.push(node[3]);

    queue.append(other);
    CHECK(other.empty());
    other.push(node[4]);  // and is usable
    CHECK(drained(queue) == nodes{&node[0], &node[1], &node[2], &node[3]});
    CHECK(drained(other) == nodes{&node[4]});
}

TEST_CASE("appending to or from an empty queue keeps the order of later pushes") {
    ready_queue queue, other;
    ready_node a, b;
    queue.append(other);
    CHECK(queue.empty());
    other.push(a);
    queue.append(other);
    queue.append(other);
    queue.push(b);
    CHECK(drained(queue) == nodes{&a, &b});
}

TEST_CASE("a node can be removed from any place, and the rest keeps its order") {
    for (std::size_t gone = 0; gone < 4; ++gone) {
        CAPTURE(gone);
        ready_queue queue;
        std::array<ready_node, 4> node;
        ready_node late;
        for (auto& each : node) queue.push(each);
        queue.remove(node[gone]);
        queue.push(late);

        nodes expected;
        for (std::size_t i = 0; i < 4; ++i)
            if (i != gone) expected.push_back(&node[i]);
        expected.push_back(&late);
        CHECK(drained(queue) == expected);
    }
}

TEST_CASE("removing the only node leaves an empty queue that works") {
    ready_queue queue;
    ready_node a, b;
    queue.push(a);
    queue.remove(a);
    CHECK(queue.empty());
    CHECK(queue.pop() == nullptr);
    queue.push(b);
    CHECK(drained(queue) == nodes{&b});
}

TEST_CASE("a ready queue behaves like a deque in random sequences") {
    const unsigned seed = std::random_device()();
    CAPTURE(seed);
    std::mt19937 random(seed);
    std::array<ready_node, 64> node;
    std::array<int, 64> place{};  // 0: in no queue
    ready_queue queue[2];
    std::deque<ready_node*> model[2];
    for (int i = 0; i < 20'000; ++i) {
        const std::size_t n = random() % 64;
        const int which = static_cast<int>(random() % 2);
        switch (random() % 8) {
        default:
            if (place[n]) break;
            queue[which].push(node[n]);
            model[which].push_back(&node[n]);
            place[n] = which + 1;
            break;
        case 0: {
            ready_node* const expected = model[which].empty() ? nullptr : model[which].front();
            REQUIRE(queue[which].pop() == expected);
            if (!expected) break;
            model[which].pop_front();
            place[static_cast<std::size_t>(expected - node.data())] = 0;
            break;
        }
        case 1:
            queue[which].append(queue[1 - which]);
            for (ready_node* each : model[1 - which])
                place[static_cast<std::size_t>(each - node.data())] = which + 1;
            model[which].insert(model[which].end(), model[1 - which].begin(),
                                model[1 - which].end());
            model[1 - which].clear();
            break;
        case 2:
            if (place[n] == 0) break;
            queue[place[n] - 1].remove(node[n]);
            std::erase(model[place[n] - 1], &node[n]);
            place[n] = 0;
            break;
        }
        REQUIRE(queue[which].empty() == model[which].empty());
    }
}
