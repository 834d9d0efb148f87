// The waker of platforms that have no pipes.
#include <curfew/platform/loopback_waker.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include <curfew/reactor/wait_for_one.hpp>

#include "support/platform.hpp"

using namespace curfew;
using namespace std::chrono_literals;

namespace {

bool is_signalled(const platform::loopback_waker& waker, std::chrono::nanoseconds time = 0ns) {
    int ready = 0;
    do {
        detail::wait_for_one(waker.handle(), readiness::readable, time, ready);
    } while (ready < 0);
    return ready > 0;
}

}  // namespace

TEST_CASE("a signal is seen until the waker is drained") {
    const test::honest_system quiet;
    platform::loopback_waker waker;
    REQUIRE(waker.error() == 0);
    CHECK_FALSE(is_signalled(waker));
    waker.signal();
    CHECK(is_signalled(waker, 10s));
    CHECK(is_signalled(waker));
    waker.drain();
    CHECK_FALSE(is_signalled(waker));
    waker.signal();
    CHECK(is_signalled(waker, 10s));
}

TEST_CASE("more signals than fit are one signal") {
    const test::honest_system quiet;  // else something may be left, for the next time
    platform::loopback_waker waker;
    for (int i = 0; i < 10'000; ++i) waker.signal();
    CHECK(is_signalled(waker, 10s));
    waker.drain();
    CHECK_FALSE(is_signalled(waker));
    waker.signal();
    CHECK(is_signalled(waker, 10s));
}

TEST_CASE("a signal from another thread ends a wait") {
    platform::loopback_waker waker;
    std::atomic<bool> signalled{false};
    std::thread other([&] {
        signalled = true;
        waker.signal();
    });
    int ready = 0;
    while (ready <= 0) detail::wait_for_one(waker.handle(), readiness::readable, 10s, ready);
    CHECK(signalled);
    other.join();
}

TEST_CASE("a waker hears nobody but itself") {
    platform::loopback_waker one;
    platform::loopback_waker other;
    const auto address = platform::local_address(one.handle());
    platform::socket_handle stranger = platform::invalid_socket;
    REQUIRE(platform::open(platform::family::v4, platform::transport::datagram, stranger) == 0);
    const std::byte byte{1};
    const platform::buffer bytes{const_cast<std::byte*>(&byte), 1};
    CHECK(platform::send_to(stranger, &bytes, 1, &address).error == 0);
    CHECK_FALSE(is_signalled(one, 2ms));
    one.signal();
    CHECK(is_signalled(one, 10s));
    CHECK_FALSE(is_signalled(other));
    platform::close(stranger);
}
