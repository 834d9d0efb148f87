#include <curfew/buffer.hpp>

#include <doctest/doctest.h>

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

using curfew::const_buffer;
using curfew::mutable_buffer;
using curfew::detail::buffer_source;

namespace {

template <class T, class Buffer>
concept buffer_list = std::convertible_to<T, curfew::detail::list_of<Buffer>>;

template <class T>
concept readable_bytes = buffer_source<T, const_buffer>;
template <class T>
concept writable_bytes = buffer_source<T, mutable_buffer>;

enum class octet : unsigned char {};

struct wide_record {
    std::uint32_t number;
};

}  // namespace

// What can be written into, and so read from too.
static_assert(writable_bytes<std::span<std::byte>> && readable_bytes<std::span<std::byte>>);
static_assert(writable_bytes<std::span<char, 4>> && readable_bytes<std::span<char, 4>>);
static_assert(writable_bytes<std::vector<char>&> && readable_bytes<std::vector<char>&>);
static_assert(writable_bytes<std::vector<std::byte>&>);
static_assert(writable_bytes<std::vector<std::uint8_t>&>);
static_assert(writable_bytes<std::array<std::byte, 8>&>);
static_assert(writable_bytes<std::string&> && readable_bytes<std::string&>);
static_assert(writable_bytes<char (&)[8]> && readable_bytes<char (&)[8]>);
static_assert(writable_bytes<std::byte (&)[8]>);
static_assert(writable_bytes<octet (&)[8]>);
static_assert(writable_bytes<mutable_buffer> && readable_bytes<mutable_buffer>);
static_assert(writable_bytes<const mutable_buffer&>);  // a handle: its constness is not the bytes'

// What is constant can only be read.
static_assert(readable_bytes<std::span<const std::byte>> &&
              !writable_bytes<std::span<const std::byte>>);
static_assert(readable_bytes<const std::vector<char>&> &&
              !writable_bytes<const std::vector<char>&>);
static_assert(readable_bytes<const std::array<char, 4>&> &&
              !writable_bytes<const std::array<char, 4>&>);
static_assert(readable_bytes<std::array<const char, 4>&> &&
              !writable_bytes<std::array<const char, 4>&>);
static_assert(readable_bytes<const std::string&> && !writable_bytes<const std::string&>);
static_assert(readable_bytes<std::string_view> && !writable_bytes<std::string_view>);
static_assert(readable_bytes<const char (&)[4]> && !writable_bytes<const char (&)[4]>);
static_assert(readable_bytes<decltype("text")> && !writable_bytes<decltype("text")>);
static_assert(readable_bytes<const std::byte (&)[4]> && !writable_bytes<const std::byte (&)[4]>);
static_assert(readable_bytes<const_buffer> && !writable_bytes<const_buffer>);
static_assert(!std::is_constructible_v<mutable_buffer, const void*, std::size_t>);

// What is not bytes, or not contiguous, or has no size, is no buffer.
static_assert(!readable_bytes<std::vector<int>&> && !writable_bytes<std::vector<int>&>);
static_assert(!readable_bytes<int (&)[4]>);
static_assert(!readable_bytes<std::wstring&> && !readable_bytes<std::u16string&>);
static_assert(!readable_bytes<std::span<wide_record>>);
static_assert(!readable_bytes<bool (&)[4]> && !readable_bytes<std::vector<bool>&>);
static_assert(!readable_bytes<std::array<bool, 4>&>);
static_assert(!readable_bytes<std::vector<std::string>&>);
static_assert(!readable_bytes<const char*> && !readable_bytes<char*> && !readable_bytes<void*>);
static_assert(!readable_bytes<int> && !readable_bytes<char>);

// Lists of buffers are not buffers, and are lists of one kind.
static_assert(buffer_list<std::vector<mutable_buffer>&, mutable_buffer>);
static_assert(buffer_list<std::array<const_buffer, 2>&, const_buffer>);
static_assert(!buffer_list<std::vector<const_buffer>&, mutable_buffer>);
static_assert(!readable_bytes<std::vector<const_buffer>&>);
static_assert(!writable_bytes<std::vector<mutable_buffer>&>);

TEST_CASE("a buffer is where the bytes are, and as long") {
    std::vector<char> vector(10);
    std::array<std::byte, 7> array{};
    std::string string = "hello";
    unsigned char plain[3] = {};
    std::uint8_t numbers[6] = {};
    const std::span<std::uint8_t> span(numbers + 1, 4);

    const auto is = [](const curfew::platform::buffer& buffer, const void* data, std::size_t size) {
        return buffer.data == data && buffer.size == size;
    };
    CHECK(is(mutable_buffer(vector), vector.data(), 10));
    CHECK(is(mutable_buffer(array), array.data(), 7));
    CHECK(is(mutable_buffer(string), string.data(), 5));
    CHECK(is(mutable_buffer(plain), plain, 3));
    CHECK(is(mutable_buffer(span), numbers + 1, 4));
    CHECK(is(mutable_buffer(vector.data() + 2, 3), vector.data() + 2, 3));

    CHECK(is(const_buffer(vector), vector.data(), 10));
    CHECK(is(const_buffer(std::as_const(array)), array.data(), 7));
    CHECK(is(const_buffer(std::as_const(string)), string.data(), 5));
    CHECK(is(const_buffer(std::string_view(string).substr(1, 2)), string.data() + 1, 2));
    CHECK(is(const_buffer(static_cast<const void*>(plain), 2), plain, 2));
    CHECK(is(const_buffer(mutable_buffer(span)), numbers + 1, 4));
}

TEST_CASE("a string literal stands for its characters, without the zero at its end") {
    CHECK(const_buffer("abc").size == 3);
    CHECK(const_buffer("").size == 0);
    CHECK(const_buffer("GET / HTTP/1.0\r\n\r\n").size == 18);
    CHECK(const_buffer("a\0b").size == 3);  // zeros inside are characters
    CHECK(const_buffer("ab\0").size == 3);  // and so is one that was written out
    static const char text[] = "name";
    CHECK(const_buffer(text).data == reinterpret_cast<const std::byte*>(text));
}

TEST_CASE("an array of characters that can be written is all of its characters") {
    char text[] = "abc";
    CHECK(const_buffer(text).size == 4);
    CHECK(mutable_buffer(text).size == 4);
    const std::array<char, 4> array{'a', 'b', 'c', '\0'};
    CHECK(const_buffer(array).size == 4);
    const unsigned char bytes[4] = {1, 2, 3, 0};
    CHECK(const_buffer(bytes).size == 4);
}

TEST_CASE("a constant array that does not end with a zero is all of its characters") {
    const char magic[4] = {'P', 'N', 'G', '!'};
    CHECK(const_buffer(magic).size == 4);
}

TEST_CASE("empty things are empty buffers") {
    std::vector<std::byte> none;
    CHECK(mutable_buffer().size == 0);
    CHECK(const_buffer().size == 0);
    CHECK(mutable_buffer(none).size == 0);
    CHECK(const_buffer(std::string_view()).size == 0);
    CHECK(const_buffer(std::span<const char>()).size == 0);
}
