// Counts the allocations of the whole program.
#pragma once

#include <cstddef>

namespace test {

/// Calls of operator new since the program began; always 0 with thread sanitizer, which brings an
/// operator new of its own.
std::size_t allocations() noexcept;

}  // namespace test
