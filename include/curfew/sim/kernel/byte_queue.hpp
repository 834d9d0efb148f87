// Bytes that wait: what a socket has not sent, or its user not read. A ring that grows as needed.
#pragma once

#include <cstddef>
#include <cstring>
#include <vector>

#include "../../config.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::sim {

class byte_queue {
public:
    std::size_t size() const noexcept { return size_; }
    bool empty() const noexcept { return size_ == 0; }

    void push(const std::byte* from, std::size_t n) {
        if (n == 0) return;
        if (size_ + n > ring_.size()) grow(size_ + n);
        const std::size_t at = (begin_ + size_) & (ring_.size() - 1);
        const std::size_t first = least(n, ring_.size() - at);
        std::memcpy(ring_.data() + at, from, first);
        if (first < n) std::memcpy(ring_.data(), from + first, n - first);
        size_ += n;
    }

    /// Copies `n` bytes that begin `offset` bytes behind the front, and leaves them.
    void copy(std::size_t offset, std::byte* to, std::size_t n) const noexcept {
        CURFEW_ASSERT(offset + n <= size_);
        if (n == 0) return;
        const std::size_t at = (begin_ + offset) & (ring_.size() - 1);
        const std::size_t first = least(n, ring_.size() - at);
        std::memcpy(to, ring_.data() + at, first);
        if (first < n) std::memcpy(to + first, ring_.data(), n - first);
    }

    void drop(std::size_t n) noexcept {
        CURFEW_ASSERT(n <= size_);
        size_ -= n;
        begin_ = size_ == 0 ? 0 : (begin_ + n) & (ring_.size() - 1);
    }

    void clear() noexcept { begin_ = size_ = 0; }

private:
    static std::size_t least(std::size_t a, std::size_t b) noexcept { return a < b ? a : b; }

    void grow(std::size_t least_size) {
        std::size_t size = ring_.empty() ? 256 : ring_.size();
        while (size < least_size) size *= 2;
        std::vector<std::byte> larger(size);
        copy(0, larger.data(), size_);
        ring_.swap(larger);
        begin_ = 0;
    }

    std::vector<std::byte> ring_;  // its size is a power of two
    std::size_t begin_ = 0;
    std::size_t size_ = 0;
};

}  // namespace curfew::sim
