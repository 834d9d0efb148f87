// Receiving and sending, of streams and of datagrams.
#pragma once

#include <algorithm>
#include <climits>
#include <cstddef>

#include "../types.hpp"
#include "addresses.hpp"
#include "errors.hpp"
#include "system.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::platform {

namespace detail {

/// The system's description of a list of buffers, of which the first `skip` bytes are done. Never
/// empty, so that an empty datagram has a buffer, too.
struct buffer_vector {
    WSABUF entries[max_buffers];
    DWORD count = 0;
    std::size_t bytes = 0;

    buffer_vector(const buffer* list, std::size_t size, std::size_t skip) noexcept {
        constexpr std::size_t most = INT_MAX;  // in all, for a count of bytes that is a DWORD
        for (std::size_t i = 0; i < size && count < max_buffers && bytes < most; ++i) {
            if (list[i].size > skip) {
                const std::size_t length = std::min(list[i].size - skip, most - bytes);
                entries[count++] = {static_cast<ULONG>(length),
                                    reinterpret_cast<char*>(list[i].data + skip)};
                bytes += length;
            }
            skip = 0;
        }
        if (count == 0) entries[count++] = {0, nullptr};
    }
};

inline std::ptrdiff_t count_or_error(int n) noexcept { return n >= 0 ? n : -last_error(); }

inline int bounded_size(std::size_t size) noexcept {
    return static_cast<int>(std::min<std::size_t>(size, INT_MAX));
}

}  // namespace detail

/// Receives into one buffer. The number of bytes (0: end of stream), or the negated error number.
CURFEW_HOT inline std::ptrdiff_t receive(socket_handle handle, std::byte* data,
                                         std::size_t size) noexcept {
    return detail::count_or_error(
        ::recv(handle, reinterpret_cast<char*>(data), detail::bounded_size(size), 0));
}

CURFEW_HOT inline std::ptrdiff_t send(socket_handle handle, const std::byte* data,
                                      std::size_t size) noexcept {
    return detail::count_or_error(
        ::send(handle, reinterpret_cast<const char*>(data), detail::bounded_size(size), 0));
}

/// Receives into `list[0].data + skip` and what follows.
inline transfer receive(socket_handle handle, const buffer* list, std::size_t size,
                        std::size_t skip) noexcept {
    detail::buffer_vector buffers(list, size, skip);
    DWORD count = 0;
    DWORD flags = 0;
    const int error = detail::error_of(
        ::WSARecv(handle, buffers.entries, buffers.count, &count, &flags, nullptr, nullptr));
    return {error ? 0 : count, error};
}

inline transfer send(socket_handle handle, const buffer* list, std::size_t size,
                     std::size_t skip) noexcept {
    detail::buffer_vector buffers(list, size, skip);
    DWORD count = 0;
    const int error = detail::error_of(
        ::WSASend(handle, buffers.entries, buffers.count, &count, 0, nullptr, nullptr));
    return {error ? 0 : count, error};
}

/// Receives one datagram; `message_too_long` with the count that fitted when it was cut.
inline transfer receive_from(socket_handle handle, const buffer* list, std::size_t size,
                             socket_address* sender) noexcept {
    detail::buffer_vector buffers(list, size, 0);
    detail::native_address address;
    DWORD count = 0;
    DWORD flags = 0;
    const int error =
        detail::error_of(::WSARecvFrom(handle, buffers.entries, buffers.count, &count, &flags,
                                       address.get(), &address.size, nullptr, nullptr));
    if (error && error != message_too_long) return {0, error};
    if (sender) detail::store(address, *sender);
    return {error ? buffers.bytes : count, error};
}

/// Sends one datagram, to the connected peer if there is no receiver.
inline transfer send_to(socket_handle handle, const buffer* list, std::size_t size,
                        const socket_address* receiver) noexcept {
    if (size > max_buffers) return {0, message_too_long};
    detail::buffer_vector buffers(list, size, 0);
    detail::native_address address;
    if (receiver) address = detail::to_native(*receiver);
    DWORD count = 0;
    const int error = detail::error_of(
        receiver ? ::WSASendTo(handle, buffers.entries, buffers.count, &count, 0, address.get(),
                               address.size, nullptr, nullptr)
                 : ::WSASend(handle, buffers.entries, buffers.count, &count, 0, nullptr, nullptr));
    return {error ? 0 : count, error};
}

}  // namespace curfew::platform
