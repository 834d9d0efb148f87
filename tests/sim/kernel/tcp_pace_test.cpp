#include <curfew/sim/kernel/tcp_pace.hpp>

#include <doctest/doctest.h>

namespace {

using namespace curfew::sim;

constexpr std::uint32_t mss = 1000;

TEST_CASE("the time-out follows the round trip, and is never less than Linux's least") {
    const tcp_parameters with;
    round_trip own;
    own.begin(with, 0);
    CHECK(own.timeout() == second);
    own.acknowledged(1, with, 100 * millisecond);  // the handshake
    CHECK(own.timeout() == 300 * millisecond);
    own.back_off(with);
    CHECK(own.timeout() == 600 * millisecond);
    for (int i = 0; i < 20; ++i) own.back_off(with);
    CHECK(own.timeout() == with.most_timeout);
}

TEST_CASE("what has been sent twice measures nothing") {
    const tcp_parameters with;
    round_trip own;
    own.begin(with, 0);
    own.forget();
    own.acknowledged(1, with, 10 * second);
    CHECK(own.timeout() == second);
    own.sent(1, 10 * second);
    own.sent(1001, 11 * second);             // one at a time
    own.acknowledged(1, with, 12 * second);  // that is not it
    CHECK(own.timeout() == second);
    own.acknowledged(2001, with, 12 * second);
    CHECK(own.timeout() == 6 * second);
}

TEST_CASE("the window doubles, then grows by a segment a round, and shrinks at a loss") {
    congestion own;
    own.begin(10, mss);
    CHECK(own.window() == 10 * mss);
    for (std::uint64_t i = 1; i <= 10; ++i) CHECK_FALSE(own.acknowledged(i * mss, mss, mss));
    CHECK(own.window() == 20 * mss);

    CHECK_FALSE(own.repeated(10 * mss, 30 * mss, mss));
    CHECK_FALSE(own.repeated(10 * mss, 30 * mss, mss));
    CHECK(own.repeated(10 * mss, 30 * mss, mss));
    CHECK_FALSE(own.repeated(10 * mss, 30 * mss, mss));  // once
    CHECK(own.window() == 10 * mss);
    CHECK(own.acknowledged(20 * mss, 10 * mss, mss));        // the next one was lost as well
    CHECK_FALSE(own.acknowledged(30 * mss, 10 * mss, mss));  // it is over
    CHECK(own.window() < 11 * mss);

    own.timed_out(8 * mss, mss);
    CHECK(own.window() == mss);
    CHECK_FALSE(own.acknowledged(31 * mss, mss, mss));
    CHECK(own.window() == 2 * mss);
}

}  // namespace
