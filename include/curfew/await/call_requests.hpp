// Requests that make calls of their own (see operation_call): what only some sockets can, and what
// is no socket.
#pragma once

#include <cstddef>
#include <span>
#include <system_error>

#include "requests.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

/// Sends bytes with descriptors attached.
struct send_with_request : operation_call, request_of<operation_kind::call>, yields_count {
    buffers_of<1> bytes;
    std::span<const platform::socket_handle> attached;
    bool is_stream;

    send_with_request(socket_state* on, const platform::buffer& buffer,
                      std::span<const platform::socket_handle> descriptors) noexcept
        : operation_call{make, "send", false}, request_of{on}, bytes{{buffer}},
          attached(descriptors), is_stream(on->type == platform::transport::stream) {}

    static constexpr readiness directions() noexcept { return readiness::writable; }
    void describe(operation& op) const noexcept {
        bytes.describe(op);
        op.call = this;
    }
    static platform::transfer make(const operation& op) {
        const auto attached = static_cast<const send_with_request&>(*op.call).attached;
        return platform::send_with(op.socket->handle, op.buffers, op.buffer_count, attached.data(),
                                   attached.size());
    }
    static result<std::size_t> yield(operation& op, std::error_code error) noexcept {
        // What comes with no byte of a stream comes nowhere.
        if (!error && op.transferred == 0 &&
            static_cast<const send_with_request&>(*op.call).is_stream)
            error = std::make_error_code(std::errc::invalid_argument);
        return {error, op.transferred};
    }
};

/// Receives bytes, and the descriptors that are attached to them.
struct receive_with_request : operation_call, request_of<operation_kind::call>, yields_count {
    buffers_of<1> bytes;
    platform::socket_handle* list;  // with room for platform::max_descriptors
    std::size_t* count;
    bool is_empty;  // and of a stream: there is nothing to wait for

    receive_with_request(socket_state* on, const platform::buffer& buffer,
                         platform::socket_handle* descriptors, std::size_t& number) noexcept
        : operation_call{make, "receive", false}, request_of{on}, bytes{{buffer}},
          list(descriptors), count(&number) {
        const bool is_stream = on->type == platform::transport::stream;
        is_empty = is_stream && buffer.size == 0;
        nothing_is_eof = is_stream && !is_empty;
    }

    void describe(operation& op) const noexcept {
        bytes.describe(op);
        op.call = this;
    }
    static platform::transfer make(const operation& op) {
        const auto& self = static_cast<const receive_with_request&>(*op.call);
        if (self.is_empty) return {};
        return platform::receive_with(op.socket->handle, op.buffers, op.buffer_count, self.list,
                                      *self.count);
    }
};

/// Reads from, or writes to, what is no socket.
template <std::size_t Count>
struct file_request : operation_call, request_of<operation_kind::call>, yields_count {
    using transfer_call = platform::transfer (*)(platform::socket_handle, const platform::buffer*,
                                                 std::size_t);

    buffers_of<Count> bytes;
    transfer_call transfer;
    readiness direction;
    bool is_empty;

    /// At most `fair_size` bytes: a file has them all at once, and other tasks are to have a turn.
    file_request(socket_state* on, readiness which, transfer_call how,
                 const buffers_of<Count>& buffers) noexcept
        : operation_call{make, which == readiness::readable ? "read" : "write", false},
          request_of{on}, bytes(buffers), transfer(how), direction(which) {
        std::size_t left = fair_size;
        for (platform::buffer& each : bytes.own) {
            if (each.size > left) each.size = left;
            left -= each.size;
        }
        is_empty = left == fair_size;
        nothing_is_eof = which == readiness::readable && !is_empty;
    }

    readiness directions() const noexcept { return direction; }
    void describe(operation& op) const noexcept {
        bytes.describe(op);
        op.call = this;
    }
    static platform::transfer make(const operation& op) {
        const auto& self = static_cast<const file_request&>(*op.call);
        if (self.is_empty) return {};
        return self.transfer(op.socket->handle, op.buffers, op.buffer_count);
    }
};

}  // namespace curfew::detail
