// What stream sockets and their acceptors have in common, whatever the family of their addresses.
#pragma once

#include <cstddef>
#include <span>
#include <system_error>
#include <utility>

#include "await/accept.hpp"
#include "await/requests.hpp"
#include "buffer.hpp"
#include "core/operation.hpp"
#include "core/outcome.hpp"
#include "core/socket_state.hpp"
#include "error.hpp"
#include "platform/types.hpp"
#include "result.hpp"
#include "socket_base.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

/// Base of connections: reading, writing, and the end of a direction.
class stream_socket : public socket_base {
    template <operation_kind Kind, bool Exact, class Buffer, class... Source>
    auto transfer(Source&&... sources) const noexcept {
        constexpr std::size_t count = sizeof...(Source);
        return socket_operation<transfer_request<Kind, Exact, count>>(
            {state_, buffers_of<count>::template from<Buffer>(std::forward<Source>(sources)...)});
    }

    template <operation_kind Kind, bool Exact, class Buffer>
    auto transfer_list(std::span<const Buffer> list) const noexcept {
        return socket_operation<transfer_request<Kind, Exact, 0>>(
            {state_, buffers_of<0>::from(list)});
    }

public:
    /// Reads what is there, at least one byte; `eof` when the peer has ended the stream. Several
    /// buffers are filled one after the other. If the connection is lost (reset, or given up by the
    /// system), and a write was told so before, reads are told the same error, and not `eof`.
    template <class... Source>
    requires(sizeof...(Source) > 0) && (buffer_source<Source, mutable_buffer> &&
                                        ...) auto read_some(Source&&... buffers) noexcept {
        return transfer<operation_kind::read, false, mutable_buffer>(
            std::forward<Source>(buffers)...);
    }
    /// The same with a list made at run time, which must live until the operation has ended.
    template <class Buffer = mutable_buffer>
    auto read_some(list_of<Buffer> list) noexcept {
        return transfer_list<operation_kind::read, false, Buffer>(list);
    }
    template <bare_pointer P, class... More>
    result<> read_some(P&&, More&&...) = delete;  // a pointer has no size: std::span(p, size)

    /// Writes as much as fits, at least one byte, and at most 256 KiB: then it is others' turn.
    /// `write_all` writes more.
    template <class... Source>
    requires(sizeof...(Source) > 0) &&
        (buffer_source<Source, const_buffer> && ...) auto write_some(Source&&... buffers) noexcept {
        return transfer<operation_kind::write, false, const_buffer>(
            std::forward<Source>(buffers)...);
    }
    /// The same with a list made at run time, which must live until the operation has ended.
    template <class Buffer = const_buffer>
    auto write_some(list_of<Buffer> list) noexcept {
        return transfer_list<operation_kind::write, false, Buffer>(list);
    }
    template <bare_pointer P, class... More>
    result<> write_some(P&&, More&&...) = delete;  // a pointer has no size: std::span(p, size)

    /// Reads until the buffers are full. With an error, `eof` included, the value says how far it
    /// got.
    template <class... Source>
    requires(sizeof...(Source) > 0) && (buffer_source<Source, mutable_buffer> &&
                                        ...) auto read_exactly(Source&&... buffers) noexcept {
        return transfer<operation_kind::read, true, mutable_buffer>(
            std::forward<Source>(buffers)...);
    }
    /// The same with a list made at run time, which must live until the operation has ended.
    template <class Buffer = mutable_buffer>
    auto read_exactly(list_of<Buffer> list) noexcept {
        return transfer_list<operation_kind::read, true, Buffer>(list);
    }
    template <bare_pointer P, class... More>
    result<> read_exactly(P&&, More&&...) = delete;  // a pointer has no size: std::span(p, size)

    /// Writes all of the buffers. With an error the value says how many bytes had gone out.
    template <class... Source>
    requires(sizeof...(Source) > 0) &&
        (buffer_source<Source, const_buffer> && ...) auto write_all(Source&&... buffers) noexcept {
        return transfer<operation_kind::write, true, const_buffer>(
            std::forward<Source>(buffers)...);
    }
    /// The same with a list made at run time, which must live until the operation has ended.
    template <class Buffer = const_buffer>
    auto write_all(list_of<Buffer> list) noexcept {
        return transfer_list<operation_kind::write, true, Buffer>(list);
    }
    template <bare_pointer P, class... More>
    result<> write_all(P&&, More&&...) = delete;  // a pointer has no size: std::span(p, size)

    /// Waits until a read or write would not block (or would fail at once), without doing it.
    /// `readable | writable`: whichever comes first. It takes the place of a read or write.
    ///
    /// It ends for data, for the end of the stream, and for an error. An error that no read or
    /// write gets (it stands in an error queue: timestamps, say) ends one wait (or two, where its
    /// event comes late), and no more before a look has found it gone. Urgent data ends none.
    auto wait(readiness what) noexcept {
        return socket_operation<wait_request>({{}, state_, what});
    }

    /// Ends one direction or both: with `send` the peer reads the end of the stream.
    optional_result shutdown(shutdown_how how) noexcept {
        if (!is_open()) return errc::closed;
        return to_result(platform::shutdown(state_->handle, how));
    }

protected:
    stream_socket() noexcept = default;
    explicit stream_socket(loop& own) : socket_base(own, platform::transport::stream) {}
    /// `ignore_short_reads`: see socket_state.
    stream_socket(loop& own, native_handle_type handle, bool ignore_short_reads)
        : socket_base(own, platform::transport::stream, handle) {
        state_->ignore_short_reads = ignore_short_reads;
    }
};

/// Base of what takes in connections.
class acceptor_base : public socket_base {
protected:
    acceptor_base() noexcept = default;
    explicit acceptor_base(loop& own) : socket_base(own, platform::transport::stream) {}
    acceptor_base(loop& own, native_handle_type handle, bool ignore_short_reads)
        : socket_base(own, platform::transport::stream, handle) {
        state_->ignore_short_reads = ignore_short_reads;
    }
};

}  // namespace curfew::detail
