// Counts the system calls that curfew makes: the linker puts the counters in front of them
// (--wrap, see tests/CMakeLists.txt).
#pragma once

#include <cstddef>

namespace test {

/// Calls of the wrapped functions since the program began.
std::size_t system_calls();

}  // namespace test
