#include <curfew/core/find_byte.hpp>

#include <doctest/doctest.h>

#include <cstring>
#include <memory>
#include <string>

using curfew::detail::find_byte;

TEST_CASE("a byte is found wherever it is, and nothing else is looked at") {
    for (std::size_t size = 0; size <= 70; ++size) {
        // A block of its own, whose end a sanitizer knows.
        const std::unique_ptr<char[]> bytes(new char[size ? size : 1]);
        std::memset(bytes.get(), 'x', size);
        CHECK(find_byte(bytes.get(), size, '\n') == nullptr);
        for (std::size_t at = 0; at < size; ++at) {
            bytes[at] = '\n';
            if (at + 1 < size) bytes[size - 1] = '\n';  // only the first counts
            CHECK(find_byte(bytes.get(), size, '\n') == bytes.get() + at);
            bytes[size - 1] = bytes[at] = 'x';
        }
    }
    CHECK(find_byte(nullptr, 0, '\n') == nullptr);
}
