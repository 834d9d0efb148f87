// Counts the system calls that curfew makes: the linker puts the counters in front of them
// (--wrap, see tests/CMakeLists.txt).
#pragma once

#include <cstddef>
#include <functional>

namespace test {

/// Windows' linkers have nothing of the kind.
#if defined(_WIN32)
inline constexpr bool counts_system_calls = false;
#else
inline constexpr bool counts_system_calls = true;
#endif

/// Calls of the wrapped functions since the program began.
std::size_t system_calls();

#if defined(__linux__)
/// Called before each io_uring_enter of the program, with the ring's descriptor. Null: nobody.
extern void (*before_io_uring_enter)(int ring);
#endif

/// What goes wrong in the next calls. (Not on Windows.)
struct mishaps {
    /// Called instead of the next wait of epoll, poll or select that may block, which is
    /// interrupted by it: it ends with EINTR and has looked at nothing.
    std::function<void()> instead_of_a_wait;
    int pwait2_fails_with = 0;       // what epoll_pwait2 is answered with, if not 0
    bool no_memory_to_grow = false;  // realloc finds none
};
mishaps& next_mishaps();

}  // namespace test
