// Counts the allocations of the whole program, and lets one of them fail.
#pragma once

#include <cstddef>

namespace test {

/// Calls of operator new since the program began; always 0 with thread sanitizer, which brings an
/// operator new of its own.
std::size_t allocations() noexcept;

/// Blocks that operator new has given, and that have not come back. (0 with thread sanitizer.)
std::size_t blocks_in_use() noexcept;

/// While it lives, the `which`-th call of operator new from now on fails, counted from 1.
class failing_allocation {
public:
    explicit failing_allocation(std::size_t which) noexcept;
    ~failing_allocation();
    failing_allocation(const failing_allocation&) = delete;
    failing_allocation& operator=(const failing_allocation&) = delete;

    /// Whether it has come to that.
    bool has_failed() const noexcept;
};

}  // namespace test
