// The ordinary platform, with everything going wrong that a hostile system may do: short transfers,
// interruptions, readiness that is not, or that comes late, connections that die in the queue,
// waits that fail. See faults.hpp.
#pragma once

#include <iterator>

#include <curfew/config.hpp>
#include <curfew/platform/types.hpp>

#include "faults.hpp"

// The ordinary platform, under another name.
namespace curfew::ordinary {
using namespace curfew::platform;
}
#define platform ordinary
#include <curfew/platform/posix.hpp>
#undef platform

namespace curfew::platform {

// What is not declared below is the ordinary platform's.
using namespace curfew::ordinary;

namespace faulty {

/// A fault that the reactor has to get over: "would block" although there is something.
inline bool would_block_for_nothing() { return faults::level_triggered() && faults::one_in(8); }

/// The error that a transfer fails with; 0: none.
inline int transfer_error(socket_handle handle) {
    int expected = handle;
    if (faults::here().broken.compare_exchange_strong(expected, -1)) return ECONNRESET;
    if (would_block_for_nothing()) return EAGAIN;
    if (faults::here().visible && faults::one_in(32)) return faults::one_in(2) ? ENOBUFS : ENOMEM;
    return 0;
}

/// A part of `size` bytes. Not less than tests of a few bytes expect in one piece, unless a test is
/// prepared for everything.
inline std::size_t part_of(std::size_t size) {
    const std::size_t least = faults::here().visible ? 1 : 256;
    return size > least && faults::one_in(4) ? least + faults::below(size - least) : size;
}

/// How many of these buffers a call is to see: all, or, the first one having room, that alone.
inline std::size_t part_of(const buffer* list, std::size_t size, std::size_t skip) {
    const bool may_cut = faults::here().visible && size > 1 && list[0].size > skip;
    return may_cut && faults::one_in(4) ? 1 : size;
}

/// The error that a whole wait fails with; 0: none. That of a single socket says nothing of it.
inline int wait_error(std::size_t sockets) {
    if (!faults::one_in(16)) return 0;
    if (sockets == 1 && !faults::level_triggered()) return EINTR;
    constexpr int errors[] = {EINTR, EAGAIN, ENOMEM, ECONNRESET, EPIPE, EHOSTUNREACH, EBADF};
    return errors[faults::below(sockets == 1 ? 3 : std::size(errors))];
}

}  // namespace faulty

inline std::ptrdiff_t receive(socket_handle handle, std::byte* data, std::size_t size) noexcept {
    if (faults::one_in(16)) return -EINTR;
    if (const int error = faulty::transfer_error(handle)) return -error;
    if (faults::level_triggered()) size = faulty::part_of(size);
    return ordinary::receive(handle, data, size);
}

inline std::ptrdiff_t send(socket_handle handle, const std::byte* data, std::size_t size) noexcept {
    if (faults::one_in(16)) return -EINTR;
    if (const int error = faulty::transfer_error(handle)) return -error;
    return ordinary::send(handle, data, faulty::part_of(size));
}

inline transfer receive(socket_handle handle, const buffer* list, std::size_t size,
                        std::size_t skip) noexcept {
    if (const int error = faulty::transfer_error(handle)) return {0, error};
    if (faults::level_triggered()) size = faulty::part_of(list, size, skip);
    return ordinary::receive(handle, list, size, skip);
}

#if defined(CURFEW_TELLS_WHAT_IS_LEFT)
inline transfer receive(socket_handle handle, const buffer* list, std::size_t size,
                        std::size_t skip, bool& nothing_left) noexcept {
    nothing_left = false;
    if (const int error = faulty::transfer_error(handle)) return {0, error};
    if (faults::level_triggered()) size = faulty::part_of(list, size, skip);
    return ordinary::receive(handle, list, size, skip, nothing_left);
}
#endif

inline transfer send(socket_handle handle, const buffer* list, std::size_t size,
                     std::size_t skip) noexcept {
    if (const int error = faulty::transfer_error(handle)) return {0, error};
    return ordinary::send(handle, list, faulty::part_of(list, size, skip), skip);
}

inline transfer receive_from(socket_handle handle, const buffer* list, std::size_t size,
                             socket_address* sender) noexcept {
    if (const int error = faulty::transfer_error(handle)) return {0, error};
    return ordinary::receive_from(handle, list, size, sender);
}

inline transfer send_to(socket_handle handle, const buffer* list, std::size_t size,
                        const socket_address* receiver) noexcept {
    if (const int error = faulty::transfer_error(handle)) return {0, error};
    return ordinary::send_to(handle, list, size, receiver);
}

inline transfer receive_path(socket_handle handle, const buffer* list, std::size_t size,
                             datagram_path& path) noexcept {
    if (const int error = faulty::transfer_error(handle)) return {0, error};
    return ordinary::receive_path(handle, list, size, path);
}

inline transfer send_path(socket_handle handle, const buffer* list, std::size_t size,
                          const datagram_path& path) noexcept {
    if (const int error = faulty::transfer_error(handle)) return {0, error};
    return ordinary::send_path(handle, list, size, path);
}

/// How many of these datagrams a call is to see.
inline std::size_t some_of(std::size_t size) {
    return size > 1 && faults::one_in(4) ? 1 + faults::below(size - 1) : size;
}

inline transfer send_many(socket_handle handle, datagram* list, std::size_t size) noexcept {
    if (const int error = faulty::transfer_error(handle)) return {0, error};
    return ordinary::send_many(handle, list, some_of(size));
}

inline transfer receive_many(socket_handle handle, datagram* list, std::size_t size) noexcept {
    if (const int error = faulty::transfer_error(handle)) return {0, error};
    return ordinary::receive_many(handle, list, some_of(size));
}

inline int accept(socket_handle listener, socket_handle& handle, socket_address* peer) noexcept {
    if (faults::one_in(4)) return ECONNABORTED;
    if (faulty::would_block_for_nothing()) return EAGAIN;
    if (faults::here().visible && faults::one_in(4)) return EMFILE;
    return ordinary::accept(listener, handle, peer);
}

inline int connect(socket_handle handle, const socket_address& address) noexcept {
    const int error = ordinary::connect(handle, address);
    return error == EINPROGRESS && faults::one_in(2) ? EINTR : error;
}

inline int connect_result(socket_handle handle) noexcept {
    return faulty::would_block_for_nothing() ? EINPROGRESS : ordinary::connect_result(handle);
}

inline transfer send_with(socket_handle handle, const buffer* list, std::size_t size,
                          const socket_handle* descriptors, std::size_t count) noexcept {
    if (const int error = faulty::transfer_error(handle)) return {0, error};
    return ordinary::send_with(handle, list, size, descriptors, count);
}

inline transfer receive_with(socket_handle handle, const buffer* list, std::size_t size,
                             socket_handle* descriptors, std::size_t& count) noexcept {
    count = 0;
    if (const int error = faulty::transfer_error(handle)) return {0, error};
    return ordinary::receive_with(handle, list, size, descriptors, count);
}

inline transfer read_file(socket_handle handle, const buffer* list, std::size_t size) noexcept {
    if (const int error = faulty::transfer_error(handle)) return {0, error};
    return ordinary::read_file(handle, list, size);
}

inline transfer read_shared(socket_handle handle, const buffer* list, std::size_t size) noexcept {
    if (const int error = faulty::transfer_error(handle)) return {0, error};
    return ordinary::read_shared(handle, list, size);
}

inline transfer write_file(socket_handle handle, const buffer* list, std::size_t size) noexcept {
    if (const int error = faulty::transfer_error(handle)) return {0, error};
    return ordinary::write_file(handle, list, size);
}

inline int poll(poll_entry* entries, std::size_t count, std::chrono::nanoseconds time,
                int& ready) noexcept {
    if (const int error = faulty::wait_error(count)) {
        ready = -1;
        return error;
    }
    if (faults::one_in(16)) time = std::chrono::nanoseconds::zero();  // it returns too early
    const int error = ordinary::poll(entries, count, time, ready);
    if (error || count == 1) return error;
    for (std::size_t i = 0; i < count; ++i) {
        if (entries[i].revents ? faults::one_in(8) : faults::one_in(64)) {
            ready += entries[i].revents ? -1 : 1;
            entries[i].revents = entries[i].revents ? short{0} : entries[i].events;
        }
    }
    if (faults::one_in(32)) ++ready;  // it counts one that it does not mark
    return 0;
}

inline int select(socket_handle highest, select_set& readable, select_set& writable,
                  select_set& failed, std::chrono::nanoseconds time, int& ready) noexcept {
    if (const int error = faulty::wait_error(2)) {
        ready = -1;
        for (select_set* set : {&readable, &writable, &failed})
            for (socket_handle each = 0; each <= highest; ++each)
                faults::one_in(2) ? void(set->add(each)) : set->remove(each);
        return error;
    }
    if (faults::one_in(16)) time = std::chrono::nanoseconds::zero();
    const select_set asked[] = {readable, writable, failed};
    const int error = ordinary::select(highest, readable, writable, failed, time, ready);
    if (error) return error;
    select_set* const told[] = {&readable, &writable, &failed};
    for (std::size_t i = 0; i < std::size(told); ++i) {
        for (socket_handle each = 0; each <= highest; ++each) {
            if (!asked[i].has(each) ||
                !(told[i]->has(each) ? faults::one_in(8) : faults::one_in(64)))
                continue;
            ready += told[i]->has(each) ? -1 : 1;
            told[i]->has(each) ? told[i]->remove(each) : void(told[i]->add(each));
        }
    }
    if (faults::one_in(32)) ++ready;
    return 0;
}

}  // namespace curfew::platform
