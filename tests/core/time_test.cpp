#include <curfew/core/time.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <cstdint>
#include <limits>
#include <random>
#include <ratio>

using namespace curfew;
using namespace std::chrono_literals;
using detail::endless;
using detail::longest;
using detail::ticks;
using detail::to_ticks;

namespace {

using femtoseconds = std::chrono::duration<std::int64_t, std::femto>;
using picoseconds = std::chrono::duration<std::int64_t, std::pico>;
using thirds = std::chrono::duration<std::int64_t, std::ratio<1, 3>>;

}  // namespace

TEST_CASE("a duration of whole nanoseconds is converted exactly") {
    CHECK(to_ticks(1ns) == 1);
    CHECK(to_ticks(1us) == 1'000);
    CHECK(to_ticks(2ms) == 2'000'000);
    CHECK(to_ticks(3s) == 3'000'000'000);
    CHECK(to_ticks(1min) == 60'000'000'000);
    CHECK(to_ticks(24h) == 86'400'000'000'000);
    CHECK(to_ticks(std::chrono::nanoseconds(longest - 1)) == longest - 1);
    CHECK(to_ticks(std::chrono::duration<std::uint8_t>(255)) == 255'000'000'000);
    CHECK(to_ticks(std::chrono::duration<std::uint64_t, std::milli>(7)) == 7'000'000);
}

TEST_CASE("what is not a whole nanosecond is rounded up") {
    CHECK(to_ticks(picoseconds(1)) == 1);
    CHECK(to_ticks(picoseconds(999)) == 1);
    CHECK(to_ticks(picoseconds(1'000)) == 1);
    CHECK(to_ticks(picoseconds(1'001)) == 2);
    CHECK(to_ticks(femtoseconds(1)) == 1);
    CHECK(to_ticks(thirds(1)) == 333'333'334);
    CHECK(to_ticks(thirds(2)) == 666'666'667);
    CHECK(to_ticks(thirds(3)) == 1'000'000'000);
    CHECK(to_ticks(std::chrono::duration<double, std::nano>(0.001)) == 1);
    CHECK(to_ticks(std::chrono::duration<double, std::nano>(1.5)) == 2);
    CHECK(to_ticks(std::chrono::duration<float>(0.5f)) == 500'000'000);
    CHECK(to_ticks(std::chrono::duration<double>(0.25)) == 250'000'000);
}

TEST_CASE("no rounding makes a duration shorter") {
    const unsigned seed = std::random_device()();
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    for (int i = 0; i < 10'000; ++i) {
        const auto count = static_cast<std::int64_t>(random() >> (1 + random() % 63));
        const ticks t = to_ticks(picoseconds(count));
        REQUIRE(t == count / 1'000 + (count % 1'000 != 0));
    }
}

TEST_CASE("zero and negative durations are nothing") {
    CHECK(to_ticks(0ns) == 0);
    CHECK(to_ticks(-1ns) == 0);
    CHECK(to_ticks(-5h) == 0);
    CHECK(to_ticks(std::chrono::hours::min()) == 0);
    CHECK(to_ticks(std::chrono::nanoseconds::min()) == 0);
    CHECK(to_ticks(picoseconds(-1)) == 0);
    CHECK(to_ticks(std::chrono::duration<double>(-0.001)) == 0);
    CHECK(to_ticks(std::chrono::duration<double>(-0.0)) == 0);
}

TEST_CASE("what is too long is the longest duration there is") {
    CHECK(to_ticks(std::chrono::hours::max()) == longest);
    CHECK(to_ticks(std::chrono::seconds::max()) == longest);
    CHECK(to_ticks(std::chrono::milliseconds::max()) == longest);
    CHECK(to_ticks(std::chrono::microseconds::max()) == longest);
    CHECK(to_ticks(std::chrono::nanoseconds::max()) == longest);
    CHECK(to_ticks(std::chrono::nanoseconds(longest)) == longest);
    CHECK(to_ticks(std::chrono::nanoseconds(longest + 1)) == longest);
    CHECK(to_ticks(std::chrono::years(300)) == longest);
    CHECK(to_ticks(std::chrono::years(100)) < longest);
    CHECK(to_ticks(std::chrono::seconds(4'611'686'018)) == 4'611'686'018'000'000'000);
    CHECK(to_ticks(std::chrono::seconds(4'611'686'019)) == longest);
    CHECK(to_ticks(std::chrono::duration<std::uint64_t>::max()) == longest);
    CHECK(to_ticks(std::chrono::duration<double>(1e300)) == longest);
    CHECK(to_ticks(std::chrono::duration<double>(std::numeric_limits<double>::infinity())) ==
          longest);
}

TEST_CASE("a duration that is not a number is nothing, as a limit that cannot be met") {
    CHECK(to_ticks(std::chrono::duration<double>(std::numeric_limits<double>::quiet_NaN())) == 0);
}

TEST_CASE("points in time before the clock's epoch are long past, and stay so") {
    CHECK(to_ticks(clock::time_point(-1ns)) == 0);
    CHECK(to_ticks(clock::time_point::min()) == 0);
    CHECK(to_ticks(clock::time_point()) == 0);
    CHECK(to_ticks(clock::time_point(5ns)) == 5);
    CHECK(to_ticks(clock::time_point::max()) == endless);
    CHECK(to_ticks(std::chrono::time_point<std::chrono::steady_clock, std::chrono::hours>(
              std::chrono::hours::max())) == endless);
    CHECK(to_ticks(std::chrono::time_point<std::chrono::steady_clock, std::chrono::duration<double>>(
              std::chrono::duration<double>(0.5))) == 500'000'000);
}

TEST_CASE("the longest duration can be added to any time of the clock without overflow") {
    CHECK(longest <= endless - detail::ticks_now());
    CHECK(std::chrono::nanoseconds(longest) > std::chrono::years(100));
}

TEST_CASE("ticks and points in time are the same moments") {
    const ticks now = detail::ticks_now();
    const auto point = clock::now();
    CHECK(now > 0);
    CHECK(to_ticks(point) >= now);
    CHECK(detail::ticks_now() >= to_ticks(point));
    CHECK(detail::to_time_point(to_ticks(point)) == point);
}
