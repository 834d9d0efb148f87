#include <curfew/core/clock_gaps.hpp>

#include <doctest/doctest.h>

using curfew::detail::clock_gaps;
using curfew::detail::ticks;

namespace {

constexpr ticks second = 1'000'000'000;

}  // namespace

TEST_CASE("what noted the first of two readings far apart was at the second, or between them") {
    clock_gaps gaps;
    CHECK(gaps.after(0).at == 0);
    gaps.note({1 * second, 3 * second, true});
    gaps.note({4 * second, 9 * second, false});
    CHECK(gaps.after(1 * second).at == 3 * second);
    CHECK_FALSE(gaps.after(1 * second).or_later);
    CHECK(gaps.after(4 * second).at == 4 * second);
    CHECK(gaps.after(4 * second).or_later);
    for (const ticks other : {0 * second, 2 * second, 3 * second, 9 * second}) {
        CHECK(gaps.after(other).at == other);
        CHECK_FALSE(gaps.after(other).or_later);
    }
}

TEST_CASE("a long gap is not displaced by many short ones") {
    clock_gaps gaps;
    gaps.note({1, 3'600 * second, true});
    ticks now = 3'600 * second;
    for (int i = 0; i < 1'000; ++i) {
        gaps.note({now, now + second / 10, true});
        now += second / 10;
    }
    CHECK(gaps.after(1).at == 3'600 * second);
    CHECK(gaps.after(now - second / 10).at == now);
}

TEST_CASE("a gap that is forgotten was short for the time since") {
    clock_gaps gaps;
    for (int i = 0; i < 1'000; ++i) gaps.note({i * second, (i + 1) * second, true});
    for (int i = 0; i < 1'000; ++i) {
        const ticks wrong_by = (i + 1) * second - gaps.after(i * second).at;
        CHECK(wrong_by * 31 <= 1'000 * second - i * second);
    }
}
