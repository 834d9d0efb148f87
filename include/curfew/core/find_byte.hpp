// memchr, for what is mostly near.
#pragma once

#include <cstddef>
#include <cstring>

#include "../config.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

/// The first `byte` of the `size` bytes from `first` on; null: there is none. In the next few
/// dozens it is found in place, sixteen at a time, where the compiler has instructions for that:
/// calling memchr costs more than most lines of a protocol are long.
CURFEW_HOT inline const char* find_byte(const char* first, std::size_t size, char byte) noexcept {
#if defined(__SSE2__) && (defined(__GNUC__) || defined(__clang__))
    using sixteen [[gnu::vector_size(16)]] = char;
    sixteen wanted, bytes;
    for (int i = 0; i < 16; ++i) wanted[i] = byte;
    // (Not a loop: its counter would cost as much as a step.)
    if (size >= 16) {
        std::memcpy(&bytes, first, 16);
        if (const int equal = __builtin_ia32_pmovmskb128(bytes == wanted))
            return first + static_cast<unsigned>(__builtin_ctz(static_cast<unsigned>(equal)));
        first += 16;
        size -= 16;
    }
    if (size >= 16) {
        std::memcpy(&bytes, first, 16);
        if (const int equal = __builtin_ia32_pmovmskb128(bytes == wanted))
            return first + static_cast<unsigned>(__builtin_ctz(static_cast<unsigned>(equal)));
        first += 16;
        size -= 16;
    }
#endif
    return size ? static_cast<const char*>(std::memchr(first, byte, size)) : nullptr;
}

}  // namespace curfew::detail
