// A set of descriptor numbers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../core/plain_array.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

/// A bit for each number. Every call but `make_room` is for one that there is room for.
class number_set {
public:
    /// Makes room for that number. False: there is no memory for it.
    bool make_room(int number) noexcept {
        const std::size_t size = static_cast<std::size_t>(number) / bits + 1;
        if (size <= words_.size()) return true;
        if (!words_.reserve(size)) return false;
        while (words_.size() < size) words_.push_back(0);
        return true;
    }

    bool has(int number) const noexcept { return words_[index(number)] & mask_of(number); }
    void add(int number) noexcept { words_[index(number)] |= mask_of(number); }
    void remove(int number) noexcept { words_[index(number)] &= ~mask_of(number); }

private:
    static constexpr std::size_t bits = 64;
    static std::size_t index(int number) noexcept {
        return static_cast<std::size_t>(number) / bits;
    }
    static std::uint64_t mask_of(int number) noexcept {
        return std::uint64_t{1} << static_cast<std::size_t>(number) % bits;
    }

    plain_array<std::uint64_t> words_;
};

}  // namespace curfew::detail
