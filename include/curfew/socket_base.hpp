// What all sockets have in common beyond other descriptors: names and options.
#pragma once

#include <system_error>

#include "descriptor_base.hpp"
#include "error.hpp"
#include "ip/endpoint.hpp"
#include "platform/types.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

/// Which directions of a connection `shutdown` ends: `receive`, `send` or `both`.
using shutdown_how = platform::shutdown_side;

namespace detail {

/// Base of the sockets.
class socket_base : public descriptor_base {
public:
    /// The unspecified endpoint where there is none.
    ip::endpoint local_endpoint() const noexcept {
        return is_open() ? ip::endpoint(platform::local_address(state_->handle)) : ip::endpoint();
    }

    // Options: setting one gives an error that may be ignored; asking for it gives its value.
    // `closed` without an open descriptor; a socket to be connected can be opened with `open`.

    /// SO_RCVBUF in bytes; some systems report twice what was asked for.
    optional_result receive_buffer_size(int bytes) noexcept {
        return set(platform::option::receive_buffer_size, bytes);
    }
    /// What the system says of it, in bytes.
    result<int> receive_buffer_size() const noexcept {
        return get(platform::option::receive_buffer_size);
    }
    /// SO_SNDBUF in bytes.
    optional_result send_buffer_size(int bytes) noexcept {
        return set(platform::option::send_buffer_size, bytes);
    }
    /// What the system says of it, in bytes.
    result<int> send_buffer_size() const noexcept {
        return get(platform::option::send_buffer_size);
    }
    /// SO_REUSEADDR.
    optional_result reuse_address(bool on) noexcept {
        return set(platform::option::reuse_address, on);
    }
    /// Whether it is on.
    result<bool> reuse_address() const noexcept { return flag(platform::option::reuse_address); }

protected:
    using descriptor_base::descriptor_base;

    result<> open_handle(ip::family family) noexcept {
        if (!state_->loop) return errc::closed;
        if (state_->is_open()) return {};
        if (family == ip::family::unspecified)
            return std::make_error_code(std::errc::invalid_argument);
        native_handle_type handle = platform::invalid_socket;
        const int error = loop::make_reopenable(*state_)
                              ? platform::open(family, state_->type, handle)
                              : platform::out_of_memory;
        if (error) return system_error(error);
        state_->loop->opened(*state_, handle);
        state_->ignore_short_reads = family == ip::family::local;
        return {};
    }

    optional_result set(platform::option which, int value) noexcept {
        if (!is_open()) return errc::closed;
        return to_result(platform::set_option(state_->handle, which, value));
    }
    result<int> get(platform::option which) const noexcept {
        if (!is_open()) return errc::closed;
        int value = 0;
        if (const int error = platform::get_option(state_->handle, which, value))
            return system_error(error);
        return value;
    }
    result<bool> flag(platform::option which) const noexcept {
        const auto [ec, value] = get(which);
        return {ec, value != 0};
    }
};

}  // namespace detail
}  // namespace curfew
