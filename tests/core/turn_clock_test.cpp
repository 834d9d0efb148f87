#include <curfew/core/turn_clock.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>

using curfew::detail::ticks;
using curfew::detail::turn_clock;

namespace {

constexpr ticks microsecond = 1'000;

/// A loop with limits, whose turns all take the same time and resume one coroutine each.
struct turns {
    ticks time = 0;
    turn_clock clock{0};

    /// One turn. True: it has looked at its limits.
    bool turn(ticks duration, std::size_t resumed = 1, bool limits = true) {
        clock.waited();
        time += duration;
        if (clock.may_go_on(resumed, limits)) return false;
        clock.note_resumed(resumed);
        if (limits)
            clock.read_for_limits(time, resumed != 0);
        else
            clock.read_without_limits(time);
        return true;
    }

    int looks_in(int count, ticks duration) {
        int looks = 0;
        for (int i = 0; i < count; ++i) looks += turn(duration);
        return looks;
    }
};

}  // namespace

TEST_CASE("a loop of long turns looks at its limits in each") {
    turns loop;
    CHECK(loop.looks_in(200, 200 * microsecond) == 200);
}

TEST_CASE("a loop of short turns looks at its limits in some") {
    turns loop;
    loop.looks_in(100, 2 * microsecond);
    CHECK(loop.looks_in(800, 2 * microsecond) == 100);  // a turn is a wait and a coroutine
}

TEST_CASE("a turn that resumes many is followed by a look") {
    turns loop;
    loop.looks_in(100, 2 * microsecond);
    CHECK(loop.turn(2 * microsecond, turn_clock::stretch));
}

TEST_CASE("limits are noticed within the longest stretch, however short the turns") {
    for (ticks duration = 1; duration < 1'000'000; duration += duration / 2 + 1) {
        turns loop;
        ticks last_look = 0;
        for (int i = 0; i < 1000; ++i) {
            if (!loop.turn(duration)) continue;
            CHECK(loop.time - last_look <= std::max(duration, turn_clock::longest_stretch));
            last_look = loop.time;
        }
    }
}

TEST_CASE("when turns become long, each has its look after the first") {
    turns loop;
    loop.looks_in(100, 2 * microsecond);
    while (!loop.turn(1000 * microsecond)) {}
    CHECK(loop.looks_in(200, 1000 * microsecond) == 200);
}

TEST_CASE("a turn that has found nothing has its look, and so have those after it for a while") {
    turns loop;
    while (loop.turn(2 * microsecond)) {}
    CHECK(loop.turn(2 * microsecond, 0));
    CHECK(loop.looks_in(turn_clock::patience, 2 * microsecond) == turn_clock::patience);
    CHECK(loop.looks_in(80, 2 * microsecond) == 10);
}

TEST_CASE("who reads the clock within turns puts off no look") {
    turns loop;
    loop.looks_in(100, 2 * microsecond);
    int looks = 0;
    for (int i = 0; i < 80; ++i) {
        looks += loop.turn(2 * microsecond);
        loop.clock.read(loop.time);
    }
    CHECK(looks >= 10);
}

TEST_CASE("a reading is fresh until the loop has waited") {
    turn_clock clock(5);
    CHECK(clock.is_fresh());
    CHECK(clock.last() == 5);
    clock.waited();
    CHECK_FALSE(clock.is_fresh());
    CHECK(clock.last() == 5);
    CHECK(clock.read(7) == 7);
    CHECK(clock.is_fresh());
    CHECK(clock.last() == 7);
    clock.waited();
    clock.read_for_limits(9, true);
    CHECK(clock.is_fresh());
}

TEST_CASE("without limits the clock is read seldom, unless turns take long") {
    turns loop;
    const auto looks_in = [&](int count, ticks duration) {
        int looks = 0;
        for (int i = 0; i < count; ++i) looks += loop.turn(duration, 1, false);
        return looks;
    };
    for (int i = 0; i < 2; ++i) {  // from the beginning, and after it was idle
        CHECK(looks_in(turn_clock::patience, 2 * microsecond) == turn_clock::patience);
        CHECK(looks_in(640, 2 * microsecond) == 10);  // every 64 turns
        while (!loop.turn(5000 * microsecond, 1, false)) {}
        CHECK(looks_in(10, 5000 * microsecond) == 10);
        CHECK(loop.turn(1'000'000 * microsecond, 1, false));
    }
}

TEST_CASE("a turn goes on until it is time to look at the limits") {
    turn_clock clock(0);
    clock.waited();
    clock.read_for_limits(0, true);
    CHECK(clock.share() > 0);
    CHECK(clock.turn_goes_on(100 * microsecond) > 0);
    CHECK(clock.turn_goes_on(turn_clock::longest_turn - 1) > 0);
    CHECK(clock.turn_goes_on(turn_clock::longest_turn) == 0);
    for (const bool limits : {true, false}) CHECK_FALSE(clock.may_go_on(1, limits));
    CHECK(clock.turn_goes_on(turn_clock::longest_turn) == 0);
    clock.read_for_limits(turn_clock::longest_turn, true);
    CHECK(clock.share() > 0);
    CHECK(clock.turn_goes_on(turn_clock::longest_turn + 1) > 0);
}

TEST_CASE("the longer steps take, the fewer there are until the clock is asked") {
    turn_clock clock(0);
    CHECK(clock.share() == turn_clock::most_steps);
    ticks now = 0;
    const auto ask_after = [&](ticks a_step) {
        now += a_step * clock.share();
        clock.read_for_limits(now, true);  // so that the turn is not over
        return clock.turn_goes_on(now);
    };
    for (int i = 0; i < 4; ++i) ask_after(20 * microsecond);
    CHECK(clock.share() * 20 <= 100);  // microseconds
    for (int i = 0; i < 4; ++i) ask_after(1000 * microsecond);
    CHECK(clock.share() == 1);
    for (int i = 0; i < 10; ++i) ask_after(microsecond / 10);
    CHECK(clock.share() == turn_clock::most_steps);
    for (int i = 0; i < 4; ++i) ask_after(1000 * microsecond);
    // At the end of a turn it is asked again: that says nothing of what steps take.
    now += turn_clock::longest_turn;
    CHECK(clock.turn_goes_on(now) == 0);
    for (int i = 0; i < 10; ++i) CHECK(clock.turn_goes_on(now) == 0);
    CHECK(clock.share() == 1);
}

TEST_CASE("what begins after an idle wait is known to have begun after it") {
    constexpr ticks idle = 3'000'000 * microsecond;
    for (const bool limits : {true, false}) {
        turns loop;
        loop.turn(2 * microsecond, 1, limits);
        const ticks before = loop.clock.last();
        CHECK(loop.turn(idle, 5, limits));
        CHECK(loop.clock.when(before).at == loop.time);
        CHECK_FALSE(loop.clock.when(before).or_later);
        loop.clock.waited();
        const ticks next = loop.clock.last();
        loop.clock.read(loop.time += idle);  // within a turn
        CHECK(loop.clock.when(next).at == loop.time);
        CHECK_FALSE(loop.clock.when(next).or_later);
        CHECK(loop.clock.when(loop.time).at == loop.time);
    }
}

TEST_CASE("with several waits between two readings it is known when it has begun at the earliest") {
    turns loop;
    while (loop.turn(2 * microsecond, 1, false)) {}
    const ticks before = loop.clock.last();
    CHECK_FALSE(loop.turn(1'000'000 * microsecond, 1, false));
    loop.clock.waited();
    loop.clock.read(loop.time += 1'000'000 * microsecond);
    CHECK(loop.clock.when(before).at == before);
    CHECK(loop.clock.when(before).or_later);
}
