// Buffers: contiguous bytes that stay the caller's.
//
// An operation takes any contiguous bytes (spans, arrays, vectors, strings), several of them at
// once for scatter/gather, or a list of `mutable_buffer`s or `const_buffer`s made at run time. The
// bytes, and a list, must stay where they are until the operation has ended.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <span>
#include <type_traits>
#include <utility>

#include "platform/types.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

namespace detail {

template <class T>
concept byte_like = sizeof(T) == 1 && std::is_trivially_copyable_v<T> &&
                    !std::is_same_v<std::remove_cv_t<T>, bool>;

template <class Range>
concept contiguous_bytes = requires(Range& range) {
    requires std::is_pointer_v<decltype(std::data(range))>;
    requires byte_like<std::remove_pointer_t<decltype(std::data(range))>>;
    { std::size(range) } -> std::convertible_to<std::size_t>;
};

template <class Range>
concept writable_bytes = contiguous_bytes<Range> &&
    !std::is_const_v<std::remove_pointer_t<decltype(std::data(std::declval<Range&>()))>>;

}  // namespace detail

/// Bytes to be written by an operation.
struct mutable_buffer : platform::buffer {
    /// No bytes.
    mutable_buffer() = default;
    /// These bytes, which remain the caller's.
    mutable_buffer(void* bytes, std::size_t count) noexcept
        : platform::buffer{static_cast<std::byte*>(bytes), count} {}
    /// The bytes of a span, array, vector or string.
    template <class Range>
    requires detail::writable_bytes<Range>
    explicit(false) mutable_buffer(Range&& range) noexcept
        : mutable_buffer(std::data(range), std::size(range)) {}
};

/// Bytes to be read by an operation. A string literal stands for its characters, without the
/// terminating zero.
struct const_buffer : platform::buffer {
    /// No bytes.
    const_buffer() = default;
    /// These bytes, which remain the caller's.
    const_buffer(const void* bytes, std::size_t count) noexcept
        : platform::buffer{static_cast<std::byte*>(const_cast<void*>(bytes)), count} {}
    /// The bytes of a span, array, vector or string.
    template <class Range>
    requires detail::contiguous_bytes<Range>
    explicit(false) const_buffer(Range&& range) noexcept
        : const_buffer(std::data(range), std::size(range)) {}
    /// The characters of a literal.
    template <std::size_t N>
    explicit(false) const_buffer(const char (&text)[N]) noexcept
        : const_buffer(text, text[N - 1] == '\0' ? N - 1 : N) {}
    /// What may be written may be read.
    const_buffer(mutable_buffer bytes) noexcept : platform::buffer(bytes) {}
};

namespace detail {

/// What is no buffer: it does not tell how many bytes there are.
template <class T>
concept bare_pointer = std::is_pointer_v<std::remove_reference_t<T>>;

/// Something that one buffer of type `Buffer` can be made of.
template <class T, class Buffer>
concept buffer_source =
    std::constructible_from<Buffer, T> && !std::same_as<Buffer, platform::buffer>;

/// What a list of buffers made at run time is taken as. Functions that take it are templates, so
/// that only programs with such lists compile them: all the others would pay for it most of what
/// `tcp::socket` takes.
template <class Buffer>
using list_of = std::type_identity_t<std::span<const Buffer>>;

}  // namespace detail
}  // namespace curfew
