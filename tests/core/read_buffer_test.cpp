#include <curfew/core/read_buffer.hpp>

#include <doctest/doctest.h>

#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

using namespace curfew;
using detail::buffered_reader;
using detail::read_buffer;

namespace {

void add(read_buffer& to, std::string_view bytes) {
    REQUIRE(to.room().size >= bytes.size());
    std::memcpy(to.room().data, bytes.data(), bytes.size());
    to.add(bytes.size());
}

}  // namespace

TEST_CASE("what is added at the back is there until it is taken at the front") {
    read_buffer in(8);
    CHECK(in.empty());
    REQUIRE(in.make_room());
    CHECK(in.room().size == 8);
    add(in, "abcde");
    in.consume(2);
    CHECK(in.all() == "cde");
    add(in, "fgh");
    CHECK(in.all() == "cdefgh");
    in.consume_until(in.data() + 6);
    CHECK(in.empty());
}

TEST_CASE("bytes move to the front when there is little room behind them, and only then") {
    read_buffer in(8);
    REQUIRE(in.make_room());
    add(in, "abc");
    in.consume(1);
    const char* const shown = in.data();
    REQUIRE(in.make_room());
    CHECK(in.data() == shown);
    add(in, "defgh");
    in.consume(1);
    REQUIRE(in.make_room());
    CHECK(in.all() == "cdefgh");
    CHECK(in.room().size == 2);
}

TEST_CASE("a full buffer grows, and so does one that is to hold more as a whole") {
    read_buffer in(4);
    REQUIRE(in.make_room());
    add(in, "abcd");
    REQUIRE(in.make_room());
    CHECK(in.capacity() == 8);
    CHECK(in.all() == "abcd");
    add(in, "efg");
    in.consume(3);
    REQUIRE(in.make_room(8));
    CHECK(in.capacity() == 8);
    CHECK(in.room().size == 4);
    REQUIRE(in.make_room(100));
    CHECK(in.capacity() == 100);
    CHECK(in.all() == "defg");
    CHECK(in.room().size == 96);
    read_buffer none(0);
    REQUIRE(none.make_room());
    CHECK(none.room().size == 1);
}

TEST_CASE("the read under way follows a buffer that moves, and keeps the block of one that ends") {
    std::optional<read_buffer> first(std::in_place, 8);
    REQUIRE(first->make_room());
    const platform::buffer room = first->room();
    buffered_reader reader(*first);
    first->reader = &reader;
    std::optional<read_buffer> second(std::move(*first));
    CHECK(reader.in == &*second);
    CHECK(first->reader == nullptr);
    first.reset();
    second.reset();
    CHECK(reader.in == nullptr);
    std::memset(room.data, 'x', room.size);  // the system, which has not been told
}
