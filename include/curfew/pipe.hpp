// Pipes, terminals and other descriptors that are no sockets, and the standard input.
#pragma once

#include <cstddef>
#include <utility>

#include "await/call_requests.hpp"
#include "buffer.hpp"
#include "descriptor_base.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

/// Base of both ends.
class pipe_base : public descriptor_base {
protected:
    pipe_base() noexcept = default;
    pipe_base(loop& own, native_handle_type handle)
        : descriptor_base(own, platform::transport::stream, handle) {}

    template <class Buffer, class... Source>
    auto transfer(readiness which, platform::transfer (*how)(native_handle_type,
                                                             const platform::buffer*, std::size_t),
                  Source&&... sources) const noexcept {
        constexpr std::size_t count = sizeof...(Source);
        static_assert(count <= platform::max_buffers,
                      "curfew: one read or write takes no more buffers than "
                      "platform::max_buffers");
        return socket_operation<file_request<count>>(
            {state_, which, how,
             buffers_of<count>::template from<Buffer>(std::forward<Source>(sources)...)});
    }
};

}  // namespace curfew::detail

namespace curfew::pipe {

/// What is read from: the end of a pipe, a terminal, or a file. It is a stream: `read_exactly` and
/// all else that reads streams takes it.
///
/// One read at a time may be pending. A regular file is always ready, as the system has it: a read
/// from a slow disk keeps the loop waiting. `errc::not_supported` on Windows, whose pipes and
/// consoles cannot be waited for together with sockets, and where there are no descriptors.
class reader : public detail::pipe_base {
public:
    /// Belongs to nothing: every operation says `closed`.
    reader() noexcept = default;

    /// Takes in a descriptor, which nobody else should read from. It is made non-blocking
    /// (O_NONBLOCK), which all see who share it, and will be closed on exec. With an error it
    /// remains the caller's.
    static result<reader> adopt(io_context& context, native_handle_type handle) {
        if (const int error = platform::adopt_file(handle)) return detail::system_error(error);
        return reader(detail::loop_of(context), handle, platform::read_file);
    }

    /// Reads from a descriptor that remains the caller's, and leaves it as it is: whether it blocks
    /// belongs to all who share it, as a shell and its programs share a terminal. What this owns,
    /// and closes, is a duplicate.
    ///
    /// A read of it takes what is there, and never waits inside of the call. (Should several
    /// processes read from one terminal at a time, one may be quicker than another that has been
    /// told that there is something: that one waits for the next line, and its loop with it. Nor
    /// does that happen with pipes on Linux.)
    static result<reader> share(io_context& context, native_handle_type handle) {
        native_handle_type duplicate = platform::invalid_socket;
        if (const int error = platform::share_file(handle, duplicate))
            return detail::system_error(error);
        detail::unowned_handle guard{duplicate};
        reader made(detail::loop_of(context), duplicate, platform::read_shared);
        guard.handle = platform::invalid_socket;
        return made;
    }

    /// Reads what is there, at least one byte, and at most 256 KiB; `eof` when all who write have
    /// closed their ends, at the end of a file, and where a terminal ends it (Ctrl-D). A terminal
    /// gives a line at a time, unless the program has switched that off. Several buffers are filled
    /// one after the other.
    ///
    /// Cancellation: it ends with `canceled` (or `timed_out` under a limit), and no byte is lost.
    template <class... Source>
    requires(sizeof...(Source) > 0) && (detail::buffer_source<Source, mutable_buffer> &&
                                        ...) auto read_some(Source&&... buffers) noexcept {
        return transfer<mutable_buffer>(readable, how_, std::forward<Source>(buffers)...);
    }
    template <detail::bare_pointer P, class... More>
    result<> read_some(P&&, More&&...) = delete;  // a pointer has no size: std::span(p, size)

    /// Waits until a read would not block, or would fail at once, without doing it.
    auto wait() noexcept {
        return detail::socket_operation<detail::wait_request>({{}, state_, readable});
    }

private:
    friend result<std::pair<reader, class writer>> pair(io_context& context);
    using read_call = platform::transfer (*)(native_handle_type, const platform::buffer*,
                                             std::size_t);
    reader(detail::loop& own, native_handle_type handle, read_call how)
        : pipe_base(own, handle), how_(how) {}

    read_call how_ = platform::read_file;
};

/// What is written to: the end of a pipe, or a file. It is a stream: `write_all` and all else that
/// writes to streams takes it. One write at a time may be pending.
class writer : public detail::pipe_base {
public:
    /// Belongs to nothing: every operation says `closed`.
    writer() noexcept = default;

    /// Takes in a descriptor, as `reader::adopt` does. (Not the standard output where that may be a
    /// terminal: whoever shares it would not expect it not to block.)
    static result<writer> adopt(io_context& context, native_handle_type handle) {
        if (const int error = platform::adopt_file(handle)) return detail::system_error(error);
        return writer(detail::loop_of(context), handle);
    }

    /// Writes as much as fits, at least one byte, and at most 256 KiB. `std::errc::broken_pipe`,
    /// and no SIGPIPE, when nobody reads any more.
    ///
    /// Cancellation: it ends with `canceled` (or `timed_out` under a limit) if nothing was written.
    template <class... Source>
    requires(sizeof...(Source) > 0) && (detail::buffer_source<Source, const_buffer> &&
                                        ...) auto write_some(Source&&... buffers) noexcept {
        return transfer<const_buffer>(writable, platform::write_file,
                                      std::forward<Source>(buffers)...);
    }
    template <detail::bare_pointer P, class... More>
    result<> write_some(P&&, More&&...) = delete;  // a pointer has no size: std::span(p, size)

    /// Waits until a write would not block, or would fail at once, without doing it: also until
    /// nobody reads any more.
    auto wait() noexcept {
        return detail::socket_operation<detail::wait_request>({{}, state_, writable});
    }

private:
    friend result<std::pair<reader, writer>> pair(io_context& context);
    writer(detail::loop& own, native_handle_type handle) : pipe_base(own, handle) {}
};

/// A pipe: what is written to the second end is read from the first. A child process that is given
/// one of them (by `release`, or dup2 of its `native_handle`) gets one that does not block.
inline result<std::pair<reader, writer>> pair(io_context& context) {
    detail::unowned_handle first, second;
    if (const int error = platform::open_pipe(first.handle, second.handle))
        return detail::system_error(error);
    detail::loop& own = detail::loop_of(context);
    std::pair<reader, writer> made;
    made.first = reader(own, first.handle, platform::read_file);
    first.handle = platform::invalid_socket;
    made.second = writer(own, second.handle);
    second.handle = platform::invalid_socket;
    return made;
}

}  // namespace curfew::pipe

namespace curfew {

/// The standard input: a terminal, a pipe, a file, whatever the program was started with. Its flags
/// stay as they are (see pipe::reader::share), so the shell finds its terminal as it was. A read
/// that has timed out, or that nobody waits for any more, has taken no key, and keeps nothing from
/// ending: neither the loop nor the program.
///
/// ```cpp
/// auto input = standard_input(ctx).value();
/// std::array<char, 256> line;
/// auto [ec, n] = co_await with_timeout(input.read_some(line), 10s);
/// if (ec == errc::timed_out) std::puts("still there?");
/// ```
/// `std::errc::bad_file_descriptor` if the program was started without one; `errc::not_supported`
/// on Windows.
inline result<pipe::reader> standard_input(io_context& context) {
    return pipe::reader::share(context, platform::standard_input_number);
}

}  // namespace curfew
