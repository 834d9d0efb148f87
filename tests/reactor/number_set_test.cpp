// Sets of descriptor numbers.
#include <curfew/reactor/number_set.hpp>

#include "support/loop.hpp"

TEST_CASE("a set of numbers has those that were added and not removed, on both sides of a word") {
    curfew::detail::number_set numbers;
    REQUIRE(numbers.make_room(300));
    for (const int each : {0, 63, 64, 300}) {
        CHECK_FALSE(numbers.has(each));
        numbers.add(each);
    }
    REQUIRE(numbers.make_room(100'000));  // what is there stays
    for (const int each : {0, 63, 64, 300}) CHECK(numbers.has(each));
    for (const int each : {1, 62, 65, 299, 100'000}) CHECK_FALSE(numbers.has(each));
    numbers.remove(64);
    CHECK_FALSE(numbers.has(64));
    CHECK(numbers.has(63));
}
