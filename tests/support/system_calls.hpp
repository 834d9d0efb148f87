// Counts the system calls that curfew makes: the linker puts the counters in front of them
// (--wrap, see tests/CMakeLists.txt).
#pragma once

#include <cstddef>

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

}  // namespace test
