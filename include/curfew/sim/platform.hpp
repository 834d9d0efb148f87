// The platform of simulated hosts: the calls of a system, as kernel/ answers them. A program is
// compiled with it, in all of its files, by CURFEW_PLATFORM_HEADER="<curfew/sim/platform.hpp>".
//
// It has `poll` to wait with, so what is simulated is what consoles and old systems run: one
// reactor on readiness, with the sanitising, the loop and all else as they are.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <system_error>
#include <utility>
#include <vector>

#include "../config.hpp"
#include "../platform/std_chrono.hpp"
#include "../platform/types.hpp"
#include "kernel/machine.hpp"

#define CURFEW_SIM_PLATFORM 1
#define CURFEW_HAS_POLL 1
#define CURFEW_HAS_THREADS 1
#define CURFEW_HAS_NAMES 1

CURFEW_SYSTEM_HEADER

namespace curfew::platform {

using socket_handle = int;
inline constexpr socket_handle invalid_socket = -1;

namespace detail {

inline sim::machine& here() noexcept {
    sim::machine* const current = sim::current_machine();
    if (!current)
        curfew::detail::fatal("a simulated program uses the network outside of its world: all that "
                              "it does belongs into the functions and tasks of a sim::host");
    return *current;
}
inline sim::stack& sockets() noexcept { return here().sockets; }

}  // namespace detail

// Errors ------------------------------------------------------------------------------------------

inline std::error_code error_code(int error) noexcept { return {error, std::generic_category()}; }

inline constexpr int already_in_progress = EINPROGRESS;
inline constexpr int too_many_descriptors = EMFILE;
inline constexpr int message_too_long = EMSGSIZE;
inline constexpr int broken_pipe = EPIPE;
inline constexpr int already_connected = EISCONN;
inline constexpr int bad_descriptor = EBADF;
inline constexpr int out_of_memory = ENOMEM;

inline bool would_block(int error) noexcept { return error == EAGAIN; }
inline bool interrupted(int) noexcept { return false; }
inline bool connect_pending(int error) noexcept { return error == EINPROGRESS; }
inline bool accept_may_go_on(int error) noexcept { return error == ECONNABORTED; }
inline void clear_last_error() noexcept {}

// Sockets -----------------------------------------------------------------------------------------

inline int open(family which, transport type, socket_handle& handle) noexcept {
    return detail::sockets().open(which, type, handle);
}
inline void close(socket_handle handle) noexcept { detail::sockets().close(handle); }
inline bool is_closed(socket_handle handle) noexcept { return !detail::sockets().is_open(handle); }
inline int adopt(socket_handle handle, transport type) noexcept {
    transport found{};
    if (const int error = detail::sockets().type(handle, found)) return error;
    return found == type ? 0 : EPROTOTYPE;
}
inline bool is_tcp(socket_handle) noexcept { return true; }
inline void reset_on_close(socket_handle handle) noexcept {
    detail::sockets().reset_on_close(handle);
}
inline int set_option(socket_handle handle, option which, int value) noexcept {
    return detail::sockets().set_option(handle, which, value);
}
inline int get_option(socket_handle handle, option which, int& value) noexcept {
    return detail::sockets().get_option(handle, which, value);
}
inline void allow_lingering(socket_handle handle) noexcept {
    platform::set_option(handle, option::reuse_address, 1);
}
inline int bind(socket_handle handle, const socket_address& address) noexcept {
    return detail::sockets().bind(handle, address);
}
inline constexpr int max_backlog = 4096;
inline int listen(socket_handle handle, int backlog) noexcept {
    return detail::sockets().listen(handle, backlog);
}
inline int connect(socket_handle handle, const socket_address& address) noexcept {
    return detail::sockets().connect(handle, address);
}
inline int connect_result(socket_handle handle) noexcept {
    if (const int error = detail::sockets().take_error(handle)) return error;
    return (detail::sockets().poll(handle) & sim::poll_bit_out) ? 0 : EINPROGRESS;
}
inline int accept(socket_handle listener, socket_handle& handle, socket_address* peer) noexcept {
    return detail::sockets().accept(listener, handle, peer);
}
inline int shutdown(socket_handle handle, shutdown_side side) noexcept {
    return detail::sockets().shutdown(handle, side);
}
inline socket_address local_address(socket_handle handle) noexcept {
    return detail::sockets().local_address(handle);
}
inline socket_address remote_address(socket_handle handle) noexcept {
    return detail::sockets().remote_address(handle, false);
}
inline socket_address last_remote_address(socket_handle handle) noexcept {
    return detail::sockets().remote_address(handle, true);
}
inline bool is_connected(socket_handle handle) noexcept {
    return remote_address(handle).family != family::unspecified;
}
inline std::uint32_t interface_index(const char*) noexcept { return 0; }

// Transfer ----------------------------------------------------------------------------------------

inline constexpr std::size_t max_buffers = 16;

inline std::ptrdiff_t receive(socket_handle handle, std::byte* data, std::size_t size) noexcept {
    return detail::sockets().receive(handle, data, size);
}
inline std::ptrdiff_t send(socket_handle handle, const std::byte* data, std::size_t size) noexcept {
    return detail::sockets().send(handle, data, size);
}

namespace detail {

/// Makes a call for each buffer with something in it, behind the first `skip` bytes of the list,
/// until one falls short.
template <class Call>
transfer for_each_buffer(const buffer* list, std::size_t size, std::size_t skip, Call call) {
    transfer all;
    bool any = false;
    for (std::size_t i = 0; i < size && i < max_buffers; ++i) {
        const std::size_t passed = std::exchange(skip, 0);
        if (list[i].size <= passed) continue;
        any = true;
        const std::ptrdiff_t n = call(list[i].data + passed, list[i].size - passed);
        if (n < 0) {
            if (all.count == 0) all.error = static_cast<int>(-n);
            return all;
        }
        all.count += static_cast<std::size_t>(n);
        if (static_cast<std::size_t>(n) < list[i].size - passed) return all;
    }
    if (any) return all;
    const std::ptrdiff_t n = call(nullptr, 0);
    if (n < 0) all.error = static_cast<int>(-n);
    return all;
}

}  // namespace detail

inline transfer receive(socket_handle handle, const buffer* list, std::size_t size,
                        std::size_t skip) noexcept {
    return detail::for_each_buffer(list, size, skip, [&](std::byte* data, std::size_t n) {
        return detail::sockets().receive(handle, data, n);
    });
}
inline transfer send(socket_handle handle, const buffer* list, std::size_t size,
                     std::size_t skip) noexcept {
    return detail::for_each_buffer(list, size, skip, [&](const std::byte* data, std::size_t n) {
        return detail::sockets().send(handle, data, n);
    });
}

inline transfer receive_from(socket_handle handle, const buffer* list, std::size_t size,
                             socket_address* sender) noexcept {
    std::size_t room = 0;
    for (std::size_t i = 0; i < size && i < max_buffers; ++i) room += list[i].size;
    std::vector<std::byte> whole(room);
    bool cut = false;
    const std::ptrdiff_t n =
        detail::sockets().receive_from(handle, whole.data(), room, sender, cut);
    if (n < 0) return {0, static_cast<int>(-n)};
    auto left = static_cast<std::size_t>(n);
    const std::byte* from = whole.data();
    for (std::size_t i = 0; left; ++i) {
        const std::size_t part = left < list[i].size ? left : list[i].size;
        if (part) std::memcpy(list[i].data, from, part);
        from += part;
        left -= part;
    }
    return {static_cast<std::size_t>(n), cut ? message_too_long : 0};
}
inline transfer send_to(socket_handle handle, const buffer* list, std::size_t size,
                        const socket_address* receiver) noexcept {
    if (size > max_buffers) return {0, message_too_long};
    std::vector<std::byte> whole;
    for (std::size_t i = 0; i < size; ++i)
        whole.insert(whole.end(), list[i].data, list[i].data + list[i].size);
    const std::ptrdiff_t n =
        detail::sockets().send_to(handle, whole.data(), whole.size(), receiver);
    if (n < 0) return {0, static_cast<int>(-n)};
    return {static_cast<std::size_t>(n), 0};
}

// Time and waiting --------------------------------------------------------------------------------

inline std::chrono::nanoseconds steady_now() noexcept {
    return std::chrono::nanoseconds(detail::here().now());
}
inline void pause(std::chrono::nanoseconds time) noexcept { detail::here().wait(time.count()); }

struct poll_entry {
    socket_handle fd;
    short events;
    short revents;
};
inline constexpr short poll_in = 1;
inline constexpr short poll_out = 2;
inline constexpr short poll_problem = 4 | 8 | 16;  // an error, hung up, and none that is open
inline constexpr short poll_invalid = 16;

namespace detail {

inline int count_ready(poll_entry* entries, std::size_t count) noexcept {
    int ready = 0;
    for (std::size_t i = 0; i < count; ++i) {
        poll_entry& each = entries[i];
        if (!sockets().is_open(each.fd)) {
            each.revents = poll_invalid;
        } else {
            const unsigned found = sockets().poll(each.fd);
            short told = 0;
            if (found & sim::poll_bit_in) told |= poll_in;
            if (found & sim::poll_bit_out) told |= poll_out;
            told &= each.events;
            if (found & sim::poll_bit_error) told |= 4;
            if (found & sim::poll_bit_hang_up) told |= 8;
            each.revents = told;
        }
        ready += each.revents != 0;
    }
    return ready;
}

}  // namespace detail

inline int poll(poll_entry* entries, std::size_t count, std::chrono::nanoseconds time,
                int& ready) noexcept {
    sim::machine& here = detail::here();
    const sim::nanoseconds end = time == unlimited ? sim::never : here.now() + time.count();
    for (;;) {
        here.changed = false;
        ready = detail::count_ready(entries, count);
        if (ready > 0 || (end != sim::never && here.now() >= end)) return 0;
        here.wait(end == sim::never ? sim::never : end - here.now());
    }
}

/// What ends a wait: in a simulation by the same thread, or from none at all.
class waker {
public:
    waker() noexcept : machine_(detail::here()) { error_ = machine_.sockets.open_counter(handle_); }
    ~waker() { machine_.sockets.close(handle_); }
    waker(const waker&) = delete;
    waker& operator=(const waker&) = delete;

    int error() const noexcept { return error_; }
    socket_handle handle() const noexcept { return handle_; }
    void signal() noexcept { machine_.sockets.count(handle_, true); }
    void drain() noexcept { machine_.sockets.count(handle_, false); }

private:
    sim::machine& machine_;
    socket_handle handle_ = invalid_socket;
    int error_ = 0;
};

// Threads and names -------------------------------------------------------------------------------

/// What a thread would do happens in an instant, some time later: how long a name takes.
template <void (*Run)(void*) noexcept>
int start_thread(void* with) noexcept {
    return detail::here().call_later(5 * sim::millisecond, Run, with);
}

/// The names are those of the world's hosts.
class found_names {
public:
    name_lookup look_up(const char* host, const char* service, family which, transport) noexcept {
        found_.clear();
        std::uint32_t port = 0;
        for (const char* digit = service; digit && *digit; ++digit) {
            if (*digit < '0' || *digit > '9') return {name_error::service_not_found, 0};
            port = port * 10 + static_cast<std::uint32_t>(*digit - '0');
        }
        const std::vector<sim::address> all = detail::here().look_up(host);
        if (all.empty()) return {name_error::host_not_found, 0};
        for (sim::address each : all) {
            if (which != family::unspecified && each.family != which) continue;
            each.port = static_cast<std::uint16_t>(port);
            found_.push_back(each);
        }
        return {found_.empty() ? name_error::no_data : name_error::none, 0};
    }
    template <class Look>
    void for_each(Look look) const {
        for (const sim::address& each : found_) look(each);
    }

private:
    std::vector<sim::address> found_;
};

}  // namespace curfew::platform
