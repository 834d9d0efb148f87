#include <curfew/sim/kernel/byte_queue.hpp>

#include <doctest/doctest.h>

#include <string>
#include <string_view>

namespace {

using curfew::sim::byte_queue;

void push(byte_queue& to, std::string_view text) {
    to.push(reinterpret_cast<const std::byte*>(text.data()), text.size());
}

std::string copy(const byte_queue& from, std::size_t offset, std::size_t n) {
    std::string text(n, '\0');
    from.copy(offset, reinterpret_cast<std::byte*>(text.data()), n);
    return text;
}

TEST_CASE("bytes leave as they came, around the end of the ring and through its growth") {
    byte_queue queue;
    std::string expected;
    std::size_t next = 0;
    for (int round = 0; round < 200; ++round) {
        std::string text;
        for (int i = 0; i < round % 37 + round % 5 * 100; ++i)
            text += static_cast<char>('a' + next++ % 26);
        push(queue, text);
        expected += text;
        const std::size_t gone = expected.size() / 3;
        CHECK(copy(queue, 0, gone) == expected.substr(0, gone));
        queue.drop(gone);
        expected.erase(0, gone);
        REQUIRE(queue.size() == expected.size());
        CHECK(copy(queue, 0, queue.size()) == expected);
    }
    CHECK(copy(queue, 7, 9) == expected.substr(7, 9));
    queue.clear();
    CHECK(queue.empty());
    push(queue, "");
    CHECK(queue.empty());
}

}  // namespace
