#include <curfew/core/loop_dependent.hpp>

#include <doctest/doctest.h>

#include <optional>
#include <vector>

using curfew::detail::loop_dependent;

namespace {

std::vector<int> told;

struct dependent : loop_dependent {
    int number;
    explicit dependent(int which)
        : loop_dependent([](loop_dependent& self) noexcept {
              told.push_back(static_cast<dependent&>(self).number);
          }),
          number(which) {}
};

}  // namespace

TEST_CASE("each dependent is told once, the last that joined first") {
    told.clear();
    loop_dependent* first = nullptr;
    dependent a(1), b(2), c(3);
    for (dependent* each : {&a, &b, &c}) each->join(first);
    loop_dependent::tell_all(first);
    CHECK(told == std::vector<int>{3, 2, 1});
    CHECK(first == nullptr);
    loop_dependent::tell_all(first);
    CHECK(told.size() == 3);
}

TEST_CASE("one that is destroyed before is not told") {
    told.clear();
    loop_dependent* first = nullptr;
    dependent a(1), c(3);
    std::optional<dependent> b(2);
    a.join(first);
    b->join(first);
    c.join(first);
    b.reset();
    loop_dependent::tell_all(first);
    CHECK(told == std::vector<int>{3, 1});
}
