// Reading and writing a known number of bytes, over any stream.
//
// A stream is anything with `read_some` or `write_some` like tcp::socket's. Where a stream
// can do the whole at once (`read_exactly`, `write_all` as members, as sockets do), that is used:
// one operation, no coroutine frame.
#pragma once

#include <cstddef>
#include <utility>

#include "buffer.hpp"
#include "result.hpp"
#include "task.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

namespace detail {

template <class Stream>
task<result<std::size_t>> read_exactly_from(Stream& stream, mutable_buffer buffer) {
    std::size_t total = 0;
    while (total < buffer.size) {
        auto [ec, n] =
            co_await stream.read_some(mutable_buffer(buffer.data + total, buffer.size - total));
        total += n;
        if (ec) co_return {ec, total};
    }
    co_return total;
}

template <class Stream>
task<result<std::size_t>> write_all_to(Stream& stream, const_buffer buffer) {
    std::size_t total = 0;
    while (total < buffer.size) {
        auto [ec, n] =
            co_await stream.write_some(const_buffer(buffer.data + total, buffer.size - total));
        total += n;
        if (ec) co_return {ec, total};
    }
    co_return total;
}

}  // namespace detail

/// Reads until the buffers are full. With an error (`eof` included), the value says how far it
/// got: `result<std::size_t>`. Cancellation: as of the stream's `read_some`; bytes that were
/// read are counted and in the buffers.
template <class Stream, class... Source>
auto read_exactly(Stream& stream, Source&&... buffers) {
    if constexpr (requires { stream.read_exactly(std::forward<Source>(buffers)...); }) {
        return stream.read_exactly(std::forward<Source>(buffers)...);
    } else {
        static_assert(
            sizeof...(Source) == 1 && (detail::buffer_source<Source, mutable_buffer> && ...),
            "curfew::read_exactly: expected a stream and a buffer of writable bytes (a span, "
            "array, vector or string; of a pointer, std::span(pointer, size)); several buffers "
            "need a stream that takes several");
        return detail::read_exactly_from(stream, mutable_buffer(std::forward<Source>(buffers)...));
    }
}

/// Writes all of the buffers. With an error the value says how many bytes had gone out:
/// `result<std::size_t>`. Cancellation: as of the stream's `write_some`.
template <class Stream, class... Source>
auto write_all(Stream& stream, Source&&... buffers) {
    if constexpr (requires { stream.write_all(std::forward<Source>(buffers)...); }) {
        return stream.write_all(std::forward<Source>(buffers)...);
    } else {
        static_assert(
            sizeof...(Source) == 1 && (detail::buffer_source<Source, const_buffer> && ...),
            "curfew::write_all: expected a stream and a buffer of bytes (a span, array, vector, "
            "string or literal; of a pointer, std::span(pointer, size)); several buffers need a "
            "stream that takes several");
        return detail::write_all_to(stream, const_buffer(std::forward<Source>(buffers)...));
    }
}

}  // namespace curfew
