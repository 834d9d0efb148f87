// What WSAPoll keeps to itself.
#include <curfew/platform/platform.hpp>

#if defined(_WIN32)

#include <array>
#include <chrono>
#include <thread>

#include "support/loop.hpp"

using namespace test;

TEST_CASE("a failed connect that WSAPoll keeps to itself is found by select") {
    // Before Windows 10 version 2004; what looks for it is tried here on any system.
    platform::socket_handle handle = platform::invalid_socket;
    REQUIRE(platform::open(platform::family::v4, platform::transport::stream, handle) == 0);
    const auto nobody = closed_port();
    REQUIRE(platform::connect_pending(platform::connect(handle, nobody.raw())));
    std::array<platform::poll_entry, 1> entries{{{handle, platform::poll_out, 0}}};
    int found = 0;
    const auto end = clock::now() + 10s;
    while (found == 0 && clock::now() < end) {
        found = platform::detail::mark_failed_connects(entries.data(), entries.size());
        std::this_thread::sleep_for(1ms);
    }
    CHECK(found == 1);
    CHECK(entries[0].revents == POLLERR);
    CHECK(platform::connect_result(handle) == WSAECONNREFUSED);
    CHECK(platform::detail::mark_failed_connects(entries.data(), entries.size()) == 0);
    platform::close(handle);
}

#endif
