#include <curfew/sim/kernel/tcp_receiver.hpp>

#include <doctest/doctest.h>

#include <string>
#include <string_view>

namespace {

using namespace curfew::sim;

constexpr std::size_t capacity = 20;

struct receiving : tcp_receiver {
    receiving() { begin(capacity); }

    bool take(std::uint64_t from, std::string_view text) {
        packet segment;
        segment.sequence = from;
        for (char each : text) segment.payload.push_back(static_cast<std::byte>(each));
        return tcp_receiver::take(segment);
    }
    std::string read() {
        std::string text(bytes.size(), '\0');
        bytes.copy(0, reinterpret_cast<std::byte*>(text.data()), text.size());
        bytes.drop(text.size());
        return text;
    }
};

TEST_CASE("what comes before its turn waits for what is missing") {
    receiving own;
    CHECK_FALSE(own.take(7, "ghi"));
    CHECK_FALSE(own.take(4, "de"));
    CHECK(own.misses_something());
    CHECK(own.read().empty());
    CHECK(own.take(1, "abc"));
    CHECK(own.misses_something());  // there is no "f" yet
    CHECK(own.received() == 6);
    CHECK(own.take(6, "f"));
    CHECK(own.read() == "abcdefghi");
    CHECK_FALSE(own.misses_something());
}

TEST_CASE("what comes twice, or in other pieces, is taken once") {
    receiving own;
    CHECK(own.take(1, "abcd"));
    CHECK(own.take(1, "abcd"));
    CHECK(own.take(3, "cdef"));
    CHECK_FALSE(own.take(9, "ij"));
    CHECK_FALSE(own.take(9, "ijk"));
    CHECK(own.take(5, "efgh"));
    CHECK(own.read() == "abcdefghijk");
}

TEST_CASE("no more is taken than the peer was told there is room for, and no room is taken back") {
    receiving own;
    CHECK(own.open() == capacity);
    CHECK(own.take(1, "0123456789012345678901234"));
    CHECK(own.received() == 1 + capacity);
    CHECK(own.window(capacity) == 0);
    CHECK(own.window(capacity / 2) == 0);
    CHECK(own.read().size() == capacity);
    CHECK(own.open() == 0);  // until it is told
    CHECK(own.window(capacity) == capacity);
    CHECK(own.window(1) == capacity);
}

TEST_CASE("a segment is acceptable that is, in part, within the window") {
    receiving own;
    own.take(1, "abc");
    CHECK(own.accepts(4, 0));
    CHECK_FALSE(own.accepts(3, 0));  // a probe
    CHECK(own.accepts(1, 4));
    CHECK_FALSE(own.accepts(1, 3));
    CHECK(own.accepts(1 + capacity - 1, 5));
    CHECK_FALSE(own.accepts(1 + capacity, 5));
}

}  // namespace
