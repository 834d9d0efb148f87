// buffered: a stream that is read by lines, delimiters and counts.
#pragma once

#include <concepts>
#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "about.hpp"
#include "await/buffered_read.hpp"
#include "await/read_wants.hpp"
#include "buffer.hpp"
#include "core/operation.hpp"
#include "core/read_buffer.hpp"
#include "descriptor_base.hpp"
#include "socket_base.hpp"
#include "stream.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

namespace detail {

/// A socket whose reads are one operation each.
template <class Stream>
concept reads_by_operation = std::derived_from<Stream, socket_base> &&
    requires(Stream& stream, mutable_buffer buffer) {
    {
        stream.read_some(buffer)
        } -> std::same_as<socket_operation<transfer_request<operation_kind::read, false, 1>>>;
};

template <class Stream>
concept readable_stream = requires(Stream& stream, mutable_buffer buffer) {
    { stream.read_some(buffer) } -> awaitable;
};

/// A read of a buffered stream, until it is awaited.
template <class Want, class Stream>
class [[nodiscard("nothing is read until this is awaited")]] read_request {
public:
    read_request(buffered_parts<Stream> & from, const typename Want::arguments& given) noexcept
        : from_(from), given_(given) {}

    auto operator co_await() const noexcept {
        if constexpr (reads_by_operation<std::remove_reference_t<Stream>>)
            return buffered_read<Want, Stream>(from_, given_);
        else
            return buffered_read_by_task<Want, Stream>(from_, given_);
    }

private:
    buffered_parts<Stream>& from_;
    typename Want::arguments given_;
};

}  // namespace detail

/// A stream with a buffer in front: what was read of it, and has not been taken yet. It owns the
/// stream (`buffered<tcp::socket>`) or refers to it (`buffered<tcp::socket&>`), which may be any
/// with a `read_some` like tcp::socket's, and is a stream itself.
///
/// ```cpp
/// buffered in(std::move(socket));
/// for (;;) {
///     auto [ec, line] = co_await with_timeout(in.read_line(8192), 30s);
///     if (ec == errc::timed_out) continue;  // the half of a line is still there
///     if (ec) co_return;                    // eof; std::errc::message_size: the line is too long
///     auto [wec, sent] = co_await in.write_all(line);
/// }
/// ```
/// Views are good until the next read, and while the object is there. The buffer is taken from the
/// `frame_resource` with the first read, and grows when something larger is wanted in one piece.
///
/// One read at a time: a second one fails with `std::errc::operation_in_progress`. A write may be
/// pending beside it. The object may be moved. During a read it may only if the stream is a socket
/// of curfew's; if such a one is destroyed then, the read ends with `closed`.
///
/// Cancellation, and limits, of every read: what has arrived stays in the buffer, or is counted,
/// and the next read goes on where this one stood. What is there already is taken without a look at
/// the system, in no time (but not in a scope that is cancelled: there a read says `canceled`).
/// Errors are the stream's; with one, nothing is taken unless it says so.
template <class Stream>
class buffered {
    using stream_type = std::remove_reference_t<Stream>;
    static_assert(detail::readable_stream<stream_type>,
                  "curfew::buffered<Stream>: the stream needs a member read_some(mutable_buffer) "
                  "that can be awaited, like tcp::socket's");

    template <class Want>
    using request = detail::read_request<Want, Stream>;

public:
    /// As many bytes as are read at a time, unless told otherwise.
    static constexpr std::size_t default_capacity = 4096 - 24;  // with its head, a round number

    /// `capacity`: as many bytes are read at a time.
    explicit buffered(Stream stream, std::size_t capacity = default_capacity) noexcept(
        std::is_nothrow_constructible_v<Stream, Stream&&>)
        : parts_{static_cast<Stream&&>(stream), detail::read_buffer(capacity)} {}

    /// Reads a line and yields it without its end, which is "\n" or "\r\n":
    /// `result<std::string_view>`. If it is longer than `limit` bytes: `std::errc::message_size`,
    /// and nothing is taken. With `eof` the value is what was there of a line that has no end.
    request<detail::wants_line> read_line(std::size_t limit) noexcept { return {parts_, {limit}}; }

    /// Reads up to a delimiter, and yields all of that, the delimiter included:
    /// `result<std::string_view>`. If that is more than `limit` bytes: `std::errc::message_size`,
    /// and nothing is taken. With `eof` the value is the rest. (The delimiter must live until the
    /// end.)
    request<detail::wants_delimiter> read_until(std::string_view delimiter,
                                                std::size_t limit) noexcept {
        return {parts_, {delimiter, limit}};
    }

    /// Waits for `count` bytes and shows them; `consume` takes them: `result<std::string_view>`.
    /// With `eof` the value is what there is, which stays there.
    request<detail::wants_look> peek(std::size_t count) noexcept { return {parts_, {count}}; }

    /// Takes `count` of the bytes that are there. Views of them are good as before.
    void consume(std::size_t count) noexcept {
        CURFEW_ASSERT(count <= parts_.in.size() && "more is consumed than there is");
        parts_.in.consume_meanwhile(count < parts_.in.size() ? count : parts_.in.size());
    }

    /// What is there already, and can be taken without waiting. It stays there.
    std::string_view available() const noexcept { return parts_.in.all(); }

    /// Reads what there is, at least one byte, into a buffer of the caller's.
    request<detail::wants_bytes<false>> read_some(mutable_buffer buffer) noexcept {
        return {parts_, {buffer}};
    }

    /// Reads until the buffer is full. With an error, `eof` included, the value says how far it
    /// got; these bytes are taken.
    request<detail::wants_bytes<true>> read_exactly(mutable_buffer buffer) noexcept {
        return {parts_, {buffer}};
    }

    /// Gives away what was read and not taken, to whoever goes on with the stream: after STARTTLS
    /// or an upgrade, say.
    std::string take_rest() {
        std::string rest(parts_.in.all());
        parts_.in.consume_meanwhile(parts_.in.size());
        return rest;
    }

    /// Writes are the stream's own.
    template <class... Source>
    auto write_some(Source&&... buffers) noexcept(
        noexcept(std::declval<stream_type&>().write_some(std::forward<Source>(buffers)...))) {
        return parts_.stream.write_some(std::forward<Source>(buffers)...);
    }
    /// The same, of all the bytes.
    template <class... Source>
    auto write_all(Source&&... buffers) {
        return curfew::write_all(parts_.stream, std::forward<Source>(buffers)...);
    }

    /// The stream. What is read from it directly is missing here.
    stream_type& next_layer() noexcept { return parts_.stream; }
    /// The same, of a constant.
    const stream_type& next_layer() const noexcept { return parts_.stream; }

    /// The socket at the bottom, for `about`.
    auto& lowest_layer() noexcept requires detail::leads_to_socket<stream_type> {
        if constexpr (std::derived_from<stream_type, detail::descriptor_base>)
            return parts_.stream;
        else
            return parts_.stream.lowest_layer();
    }

private:
    detail::buffered_parts<Stream> parts_;
};

/// `buffered in(std::move(stream))` owns it, `buffered in(stream)` refers to it.
template <class Stream>
buffered(Stream&&) -> buffered<Stream>;
template <class Stream>
buffered(Stream&&, std::size_t) -> buffered<Stream>;

}  // namespace curfew
