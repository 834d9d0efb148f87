#include <curfew/core/posted_queue.hpp>

#include <array>
#include <vector>

#include <doctest/doctest.h>

using curfew::detail::posted_function;
using curfew::detail::posted_queue;

TEST_CASE("a posted_queue is first in, first out") {
    posted_queue queue;
    std::array<posted_function, 3> each;
    CHECK(queue.empty());
    CHECK(queue.pop() == nullptr);
    for (int round = 0; round < 2; ++round) {
        for (auto& function : each) queue.push(function);
        CHECK_FALSE(queue.empty());
        for (auto& function : each) CHECK(queue.pop() == &function);
        CHECK(queue.empty());
    }
}

TEST_CASE("a function is taken out of a posted_queue wherever it stands, and may be pushed again") {
    for (std::size_t which = 0; which < 4; ++which) {
        posted_queue queue;
        std::array<posted_function, 4> each;
        for (auto& function : each) queue.push(function);
        queue.remove(each[which]);
        queue.remove(each[which]);  // it is in none, so nothing happens
        queue.push(each[which]);
        std::vector<std::size_t> order;
        while (const posted_function* const next = queue.pop())
            order.push_back(static_cast<std::size_t>(next - each.data()));
        std::vector<std::size_t> expected;
        for (std::size_t i = 0; i < each.size(); ++i)
            if (i != which) expected.push_back(i);
        expected.push_back(which);
        CHECK(order == expected);
        queue.remove(each[which]);
        CHECK(queue.empty());
    }
}
