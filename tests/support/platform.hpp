// What tests have to know of the platform that curfew runs on (see ../platforms), as programs of
// the system underneath.
#pragma once

#include <cerrno>
#include <system_error>
#include <vector>

#include <curfew/error.hpp>
#include <curfew/platform/platform.hpp>

#include "native.hpp"

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
#if defined(_WIN32)
inline constexpr bool has_reuse_port = false;
inline constexpr int tcp_timeout = WSAETIMEDOUT;
#else
inline constexpr bool has_reuse_port = true;
inline constexpr int tcp_timeout = ETIMEDOUT;
#endif
inline constexpr std::size_t stray_calls = 0;
inline native::socket descriptor_of(native::socket handle) { return handle; }
inline native::socket handle_of(native::socket descriptor) { return descriptor; }
#endif

// Some of the numbers of curfew's platform.
#if defined(_WIN32)
inline constexpr int out_of_memory = WSA_NOT_ENOUGH_MEMORY;
inline constexpr int invalid_argument = WSAEINVAL;
#elif defined(TEST_PLATFORM_QUIRKY)
inline constexpr int out_of_memory = console::error::nomem;
inline constexpr int invalid_argument = console::error::inval;
#else
inline constexpr int out_of_memory = ENOMEM;
inline constexpr int invalid_argument = EINVAL;
#endif

/// What calls say to a descriptor that is none. (On Windows it is no socket, whatever it is.)
inline bool says_bad_descriptor(const std::error_code& ec) {
    return ec == std::errc::bad_file_descriptor || ec == std::errc::not_a_socket;
}

/// What an operation says whose peer has reset the connection. Wine 8 takes it for the end of the
/// stream if nobody was receiving at that time.
inline bool says_reset(const std::error_code& ec) {
    return ec == std::errc::connection_reset || (native::is_wine() && ec == curfew::errc::eof);
}

/// Windows throws away what has arrived; Wine's is not Windows' own.
inline bool keeps_what_came_before_a_reset() {
#if defined(_WIN32)
    return native::is_wine();
#else
    return true;
#endif
}

/// What a write says after that. (Windows says the same again.)
inline bool says_broken(const std::error_code& ec) {
#if defined(_WIN32)
    return ec == std::errc::connection_reset || ec == std::errc::connection_aborted;
#else
    return ec == std::errc::broken_pipe;
#endif
}

// Whether a connected UDP socket hears of nobody being there. On Windows it is told not to listen,
// as it would hear of unconnected ones, too.
#if defined(_WIN32)
inline constexpr bool hears_of_closed_ports = false;
#else
inline constexpr bool hears_of_closed_ports = true;
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
