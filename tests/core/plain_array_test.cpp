#include <curfew/core/plain_array.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>

using curfew::detail::plain_array;

TEST_CASE("what was added last is taken first, and the rest stays as it was") {
    plain_array<int> array;
    CHECK(array.size() == 0);
    CHECK(array.begin() == array.end());
    for (int i = 0; i < 1000; ++i) {
        array.push_back(i);
        REQUIRE(array.size() == static_cast<std::size_t>(i) + 1);
        REQUIRE(array.back() == i);
    }
    for (int i = 999; i >= 500; --i) {
        REQUIRE(array.back() == i);
        array.pop_back();
    }
    CHECK(array.size() == 500);
    CHECK(std::accumulate(array.begin(), array.end(), 0) == 499 * 500 / 2);
    CHECK(array.data() == &array[0]);
    const auto& same = array;
    CHECK(std::is_sorted(same.begin(), same.end()));
    CHECK(same[499] == 499);
}

TEST_CASE("a value of the array itself can be added, also when the array has to grow for it") {
    plain_array<int> array;
    array.push_back(7);
    for (int i = 0; i < 100; ++i) array.push_back(array[0]);
    CHECK(std::count(array.begin(), array.end(), 7) == 101);
}

TEST_CASE("values are made as their type says") {
    struct entry {
        int set = 3;
        void* rest = nullptr;
    };
    plain_array<entry> array;
    for (int i = 0; i < 20; ++i) array.push_back({});
    for (const entry& each : array) CHECK((each.set == 3 && !each.rest));
}

TEST_CASE("what an array no longer holds is given back, and it can grow again") {
    plain_array<int> array;
    for (int i = 0; i < 1000; ++i) array.push_back(i);
    array.shrink(3);
    CHECK(array.size() == 3);
    for (int i = 3; i < 10; ++i) CHECK(array.try_push_back(i));
    for (int i = 0; i < 10; ++i) CHECK(array[static_cast<std::size_t>(i)] == i);
    array.clear();
    CHECK(array.size() == 0);
    array.shrink(0);
    array.push_back(7);
    CHECK(array.back() == 7);
}

TEST_CASE("room is made in proportion, or not at all") {
    plain_array<int> numbers;
    CHECK(numbers.reserve(3));
    numbers.push_back(7);
    CHECK_FALSE(numbers.reserve(~std::size_t{0}));
    REQUIRE(numbers.size() == 1);
    CHECK(numbers[0] == 7);
    std::size_t moves = 0;
    for (const int* before = numbers.data(); numbers.size() < 100'000; before = numbers.data()) {
        REQUIRE(numbers.reserve(numbers.size() + 1));
        moves += numbers.data() != before;
        numbers.push_back(1);
    }
    CHECK(moves < 20);
}

TEST_CASE("a plain array gives back what is idle after a peak, and keeps its values") {
    curfew::detail::plain_array<std::size_t> values;
    for (std::size_t i = 0; i < 100'000; ++i) values.push_back(i);
    CHECK(values.room() >= 100'000);
    while (values.size() > 10) values.pop_back();
    CHECK(values.room() <= 1'024);
    for (std::size_t i = 0; i < 10; ++i) CHECK(values[i] == i);

    // About one size it neither grows nor shrinks again and again.
    for (std::size_t i = 10; i < 5'000; ++i) values.push_back(i);
    const std::size_t room = values.room();
    for (int round = 0; round < 100; ++round) {
        for (int i = 0; i < 2'000; ++i) values.pop_back();
        for (int i = 0; i < 2'000; ++i) values.push_back(1);
        CHECK(values.room() == room);
    }
}
