// What tests have to know of the platform that curfew runs on (see ../platforms), as programs of
// the system underneath.
#pragma once

#include <cerrno>
#include <vector>

#include <curfew/platform/platform.hpp>

namespace test {

#if defined(TEST_PLATFORM_QUIRKY)
inline constexpr bool has_ipv6 = false;
inline constexpr bool has_reuse_port = false;
inline constexpr int tcp_timeout = console::error::timedout;
// Waits that go wrong by themselves make some more calls, or fewer.
inline constexpr std::size_t stray_calls = 5;
inline int descriptor_of(curfew::platform::socket_handle handle) {
    return console::native(static_cast<int>(handle));
}
inline curfew::platform::socket_handle handle_of(int descriptor) {
    return curfew::platform::socket_handle{console::from_native(descriptor)};
}
#else
inline constexpr bool has_ipv6 = true;
inline constexpr bool has_reuse_port = true;
inline constexpr int tcp_timeout = ETIMEDOUT;
inline constexpr std::size_t stray_calls = 0;
inline int descriptor_of(int handle) { return handle; }
inline int handle_of(int descriptor) { return descriptor; }
#endif

/// While it lives, the system tells the truth, and at once: for tests of what holds only then.
struct honest_system {
#if defined(TEST_PLATFORM_FAULTY)
    honest_system() { faults::here().paused = true; }
    ~honest_system() { faults::here().paused = false; }
#else
    honest_system() {}
#endif
    honest_system(const honest_system&) = delete;
    honest_system& operator=(const honest_system&) = delete;
};

/// Where to listen: on any port of each loopback address there is.
inline const std::vector<const char*> loopbacks =
    has_ipv6 ? std::vector{"127.0.0.1:0", "[::1]:0"} : std::vector{"127.0.0.1:0"};

}  // namespace test
