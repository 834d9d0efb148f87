// A port of curfew to the console of console.hpp: the finished example of docs/porting.md.
//
// It uses the console's network library and the standard library, and nothing else.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <system_error>
#include <thread>

#include <curfew/config.hpp>
#include <curfew/platform/types.hpp>

#include "console.hpp"

// What there is to wait with.
#if !defined(CONSOLE_WITHOUT_POLL)  // some consoles have one of them only
#define CURFEW_HAS_POLL 1
#endif
#define CURFEW_HAS_SELECT 1
// There is no pipe to wake a wait with.
#define CURFEW_LOOPBACK_WAKER 1

namespace curfew::platform {

// Errors ------------------------------------------------------------------------------------------

namespace detail {

/// The console's error numbers are its own, so they need a category of their own.
class console_category final : public std::error_category {
public:
    const char* name() const noexcept override { return "console"; }

    std::string message(int number) const override {
        const auto condition = default_error_condition(number);
        return condition.category() == *this ? "console error " + std::to_string(number)
                                             : condition.message();
    }

    std::error_condition default_error_condition(int number) const noexcept override {
        namespace error = console::error;
        static constexpr struct {
            int number;
            std::errc condition;
        } known[] = {
            {error::perm, std::errc::operation_not_permitted},
            {error::intr, std::errc::interrupted},
            {error::badf, std::errc::bad_file_descriptor},
            {error::nomem, std::errc::not_enough_memory},
            {error::acces, std::errc::permission_denied},
            {error::fault, std::errc::bad_address},
            {error::inval, std::errc::invalid_argument},
            {error::mfile, std::errc::too_many_files_open},
            {error::pipe, std::errc::broken_pipe},
            {error::again, std::errc::operation_would_block},
            {error::inprogress, std::errc::operation_in_progress},
            {error::already, std::errc::connection_already_in_progress},
            {error::notsock, std::errc::not_a_socket},
            {error::destaddrreq, std::errc::destination_address_required},
            {error::msgsize, std::errc::message_size},
            {error::prototype, std::errc::wrong_protocol_type},
            {error::noprotoopt, std::errc::no_protocol_option},
            {error::protonosupport, std::errc::protocol_not_supported},
            {error::opnotsupp, std::errc::operation_not_supported},
            {error::afnosupport, std::errc::address_family_not_supported},
            {error::addrinuse, std::errc::address_in_use},
            {error::addrnotavail, std::errc::address_not_available},
            {error::netdown, std::errc::network_down},
            {error::netunreach, std::errc::network_unreachable},
            {error::netreset, std::errc::network_reset},
            {error::connaborted, std::errc::connection_aborted},
            {error::connreset, std::errc::connection_reset},
            {error::nobufs, std::errc::no_buffer_space},
            {error::isconn, std::errc::already_connected},
            {error::notconn, std::errc::not_connected},
            {error::timedout, std::errc::timed_out},
            {error::connrefused, std::errc::connection_refused},
            {error::hostdown, std::errc::host_unreachable},
            {error::hostunreach, std::errc::host_unreachable},
        };
        for (const auto& each : known)
            if (each.number == number) return each.condition;
        return {number, *this};
    }
};

/// The error number of a call that returned -1, else 0.
template <class Number>
int error_of(Number returned) noexcept {
    return returned < 0 ? console::last_error() : 0;
}

}  // namespace detail

inline std::error_code error_code(int error) noexcept {
    static const detail::console_category category;
    return {error, category};
}

inline constexpr int already_in_progress = console::error::inprogress;
inline constexpr int too_many_descriptors = console::error::mfile;
inline constexpr int message_too_long = console::error::msgsize;
inline constexpr int broken_pipe = console::error::pipe;
inline constexpr int already_connected = console::error::isconn;
inline constexpr int bad_descriptor = console::error::badf;
inline constexpr int out_of_memory = console::error::nomem;

inline bool would_block(int error) noexcept { return error == console::error::again; }
inline bool interrupted(int error) noexcept { return error == console::error::intr; }
inline bool accept_may_go_on(int error) noexcept { return error == console::error::connaborted; }
inline bool connect_pending(int error) noexcept {
    return error == console::error::inprogress || error == console::error::intr;
}

// Sockets -----------------------------------------------------------------------------------------

// A type of its own: what is no number in disguise cannot be taken for one.
enum class socket_handle : int {};
inline constexpr socket_handle invalid_socket{-1};

inline constexpr std::size_t max_buffers = 16;
inline constexpr int max_backlog = console::somaxconn;

namespace detail {

inline int number_of(socket_handle handle) noexcept { return static_cast<int>(handle); }

inline console::address to_native(const socket_address& from) noexcept {
    console::address to;
    to.port[0] = static_cast<std::uint8_t>(from.port >> 8);
    to.port[1] = static_cast<std::uint8_t>(from.port & 0xff);
    for (int i = 0; i < 4; ++i) to.host[i] = from.bytes[i];
    return to;
}

inline socket_address from_native(const console::address& from) noexcept {
    socket_address to;
    to.family = family::v4;
    to.port = static_cast<std::uint16_t>(from.port[0] << 8 | from.port[1]);
    for (int i = 0; i < 4; ++i) to.bytes[i] = from.host[i];
    return to;
}

inline int set(socket_handle handle, int level, int name, int value) noexcept {
    return error_of(console::setsockopt(number_of(handle), level, name, &value, sizeof value));
}

inline int get(socket_handle handle, int level, int name, int& value) noexcept {
    std::size_t size = sizeof value;
    return error_of(console::getsockopt(number_of(handle), level, name, &value, &size));
}

/// Makes a new socket non-blocking; if it cannot be, it is closed again.
inline int make_handle(int number, socket_handle& handle) noexcept {
    const socket_handle made{number};
    if (const int error = set(made, console::sol_socket, console::so_nbio, 1)) {
        console::socketclose(number);
        return error;
    }
    handle = made;
    return 0;
}

/// The console's description of a list of buffers, of which the first `skip` bytes are done; never
/// empty, which BSD systems refuse.
struct vectors {
    console::io_vector entries[max_buffers];
    console::message message;

    vectors(const buffer* list, std::size_t size, std::size_t skip) noexcept {
        message.vectors = entries;
        for (std::size_t i = 0; i < size && message.vector_count < max_buffers; ++i) {
            if (list[i].size > skip)
                entries[message.vector_count++] = {list[i].data + skip, list[i].size - skip};
            skip = 0;
        }
        if (message.vector_count == 0) entries[message.vector_count++] = {nullptr, 0};
    }
    vectors(const vectors&) = delete;
    vectors& operator=(const vectors&) = delete;
};

template <class Call>
transfer transferring(Call call) noexcept {
    for (;;) {
        const std::ptrdiff_t n = call();
        if (n >= 0) return {static_cast<std::size_t>(n), 0};
        if (!interrupted(console::last_error())) return {0, console::last_error()};
    }
}

}  // namespace detail

inline void close(socket_handle handle) noexcept {
    console::socketclose(detail::number_of(handle));
}

inline int open(family which, transport type, socket_handle& handle) noexcept {
    if (which == family::v6 || which == family::local) return unsupported;
    const int number =
        console::socket(which == family::v4 ? console::af_inet : 0,
                        type == transport::stream ? console::sock_stream : console::sock_dgram, 0);
    if (number < 0) return console::last_error();
    return detail::make_handle(number, handle);
}

inline int adopt(socket_handle handle, transport type) noexcept {
    int kind = 0;
    if (const int error = detail::get(handle, console::sol_socket, console::so_type, kind))
        return error;
    if (kind != (type == transport::stream ? console::sock_stream : console::sock_dgram))
        return console::error::prototype;
    return detail::set(handle, console::sol_socket, console::so_nbio, 1);
}

inline bool is_tcp(socket_handle) noexcept { return true; }  // it has no other streams

inline void reset_on_close(socket_handle handle) noexcept {
    const console::linger abortive{1, 0};
    console::setsockopt(detail::number_of(handle), console::sol_socket, console::so_linger,
                        &abortive, sizeof abortive);
}

inline void allow_lingering(socket_handle handle) noexcept {
    detail::set(handle, console::sol_socket, console::so_reuseaddr, 1);
}

inline int bind(socket_handle handle, const socket_address& address) noexcept {
    if (address.family == family::v6) return unsupported;
    const auto native = detail::to_native(address);
    return detail::error_of(console::bind(detail::number_of(handle), &native));
}

inline int listen(socket_handle handle, int backlog) noexcept {
    return detail::error_of(console::listen(detail::number_of(handle), backlog));
}

inline int connect(socket_handle handle, const socket_address& address) noexcept {
    if (address.family == family::v6) return unsupported;
    const auto native = detail::to_native(address);
    return detail::error_of(console::connect(detail::number_of(handle), &native));
}

inline int connect_result(socket_handle handle) noexcept {
    int error = 0;
    if (const int failed = detail::get(handle, console::sol_socket, console::so_error, error))
        return failed;
    if (error) return error;
    console::address peer;
    if (console::getpeername(detail::number_of(handle), &peer) == 0) return 0;
    return console::last_error() == console::error::notconn ? console::error::inprogress
                                                            : console::last_error();
}

inline int accept(socket_handle listener, socket_handle& handle, socket_address* peer) noexcept {
    console::address address;
    int number;
    do {
        number = console::accept(detail::number_of(listener), peer ? &address : nullptr);
    } while (number < 0 && interrupted(console::last_error()));
    if (number < 0) return console::last_error();
    if (peer) *peer = detail::from_native(address);
    return detail::make_handle(number, handle);
}

inline std::ptrdiff_t receive(socket_handle handle, std::byte* data, std::size_t size) noexcept {
    const auto n = console::recv(detail::number_of(handle), data, size, 0);
    return n >= 0 ? n : -console::last_error();
}

inline std::ptrdiff_t send(socket_handle handle, const std::byte* data, std::size_t size) noexcept {
    const auto n = console::send(detail::number_of(handle), data, size, 0);
    return n >= 0 ? n : -console::last_error();
}

inline transfer receive(socket_handle handle, const buffer* list, std::size_t size,
                        std::size_t skip) noexcept {
    detail::vectors buffers(list, size, skip);
    return detail::transferring(
        [&] { return console::recvmsg(detail::number_of(handle), &buffers.message, 0); });
}

inline transfer send(socket_handle handle, const buffer* list, std::size_t size,
                     std::size_t skip) noexcept {
    detail::vectors buffers(list, size, skip);
    return detail::transferring(
        [&] { return console::sendmsg(detail::number_of(handle), &buffers.message, 0); });
}

inline transfer receive_from(socket_handle handle, const buffer* list, std::size_t size,
                             socket_address* sender) noexcept {
    detail::vectors buffers(list, size, 0);
    console::address address;
    buffers.message.name = &address;
    transfer got = detail::transferring(
        [&] { return console::recvmsg(detail::number_of(handle), &buffers.message, 0); });
    if (got.error) return got;
    if (sender) *sender = detail::from_native(address);
    if (buffers.message.flags & console::msg_trunc) got.error = message_too_long;
    return got;
}

inline transfer send_to(socket_handle handle, const buffer* list, std::size_t size,
                        const socket_address* receiver) noexcept {
    if (receiver && receiver->family == family::v6) return {0, unsupported};
    if (size > max_buffers) return {0, message_too_long};
    detail::vectors buffers(list, size, 0);
    console::address address;
    if (receiver) {
        address = detail::to_native(*receiver);
        buffers.message.name = &address;
    }
    return detail::transferring(
        [&] { return console::sendmsg(detail::number_of(handle), &buffers.message, 0); });
}

inline int shutdown(socket_handle handle, shutdown_side side) noexcept {
    const int how = side == shutdown_side::receive ? console::shut_rd
                    : side == shutdown_side::send  ? console::shut_wr
                                                   : console::shut_rdwr;
    return detail::error_of(console::shutdown(detail::number_of(handle), how));
}

// Options -----------------------------------------------------------------------------------------

namespace detail {

struct option_name {
    int level;
    int name;
};

/// A name of 0 where the console has none.
inline option_name native_option(option which) noexcept {
    switch (which) {
    case option::no_delay:
        return {console::ipproto_tcp, console::tcp_nodelay};
    case option::keep_alive:
        return {console::sol_socket, console::so_keepalive};
    case option::reuse_address:
        return {console::sol_socket, console::so_reuseaddr};
    case option::broadcast:
        return {console::sol_socket, console::so_broadcast};
    case option::receive_buffer_size:
        return {console::sol_socket, console::so_rcvbuf};
    case option::send_buffer_size:
        return {console::sol_socket, console::so_sndbuf};
    case option::reuse_port:
    case option::v6_only:
    case option::hops:
    case option::traffic_class:
    case option::dont_fragment:
    case option::multicast_loop:
    case option::multicast_hops:
    case option::multicast_interface:
        break;
    }
    return {0, 0};
}

}  // namespace detail

inline int set_option(socket_handle handle, option which, int value) noexcept {
    const auto native = detail::native_option(which);
    return native.name ? detail::set(handle, native.level, native.name, value) : unsupported;
}

inline int get_option(socket_handle handle, option which, int& value) noexcept {
    const auto native = detail::native_option(which);
    return native.name ? detail::get(handle, native.level, native.name, value) : unsupported;
}

inline socket_address local_address(socket_handle handle) noexcept {
    console::address address;
    return console::getsockname(detail::number_of(handle), &address) < 0
               ? socket_address{}
               : detail::from_native(address);
}

inline socket_address remote_address(socket_handle handle) noexcept {
    console::address address;
    return console::getpeername(detail::number_of(handle), &address) < 0
               ? socket_address{}
               : detail::from_native(address);
}

inline socket_address last_remote_address(socket_handle handle) noexcept {
    return remote_address(handle);
}

inline bool is_connected(socket_handle handle) noexcept {
    console::address address;
    return console::getpeername(detail::number_of(handle), &address) == 0;
}

inline std::uint32_t interface_index(const char*) noexcept { return 0; }  // without IPv6: no scopes

// Time and waiting --------------------------------------------------------------------------------

inline std::chrono::nanoseconds steady_now() noexcept {
    return std::chrono::steady_clock::now().time_since_epoch();
}

inline void pause(std::chrono::nanoseconds time) noexcept { std::this_thread::sleep_for(time); }

inline void clear_last_error() noexcept { console::last_error() = 0; }

inline bool is_closed(socket_handle handle) noexcept {
    int type = 0;
    return detail::get(handle, console::sol_socket, console::so_type, type) != 0;
}

// `socketpoll` and `socketselect` are called as they are: what they say is the library's to judge.

struct poll_entry : console::poll_entry {
    poll_entry(socket_handle handle, short asked, short told) noexcept
        : console::poll_entry{detail::number_of(handle), asked, told} {}
};
static_assert(sizeof(poll_entry) == sizeof(console::poll_entry));  // arrays of it are passed on

inline constexpr short poll_in = console::poll_in;
inline constexpr short poll_out = console::poll_out;
inline constexpr short poll_invalid = console::poll_nval;
inline constexpr short poll_problem = console::poll_err | console::poll_hup | console::poll_nval;

namespace detail {

/// A wait of more than a day is one of a day; the loop waits again.
inline std::chrono::nanoseconds bounded(std::chrono::nanoseconds time) noexcept {
    return time < std::chrono::hours(24) ? time : std::chrono::hours(24);
}

}  // namespace detail

inline int poll(poll_entry* entries, std::size_t count, std::chrono::nanoseconds time,
                int& ready) noexcept {
    const auto limit = std::chrono::ceil<std::chrono::milliseconds>(detail::bounded(time));
    ready =
        console::socketpoll(entries, count, time == unlimited ? -1 : static_cast<int>(limit.count()));
    return detail::error_of(ready);
}

class select_set {
public:
    static bool can_hold(socket_handle handle) noexcept {
        const int index = console::index_of(detail::number_of(handle));
        return index >= 0 && index < console::fd_setsize;
    }
    bool add(socket_handle handle) noexcept {
        console::fd_set(detail::number_of(handle), set_);
        return true;
    }
    void remove(socket_handle handle) noexcept { console::fd_clr(detail::number_of(handle), set_); }
    bool has(socket_handle handle) const noexcept {
        return console::fd_isset(detail::number_of(handle), set_);
    }
    console::socket_set* get() noexcept { return &set_; }

private:
    console::socket_set set_;
};

inline int select(socket_handle highest, select_set& readable, select_set& writable,
                  select_set& failed, std::chrono::nanoseconds time, int& ready) noexcept {
    const auto limit = std::chrono::ceil<std::chrono::microseconds>(detail::bounded(time));
    const console::time_value value{limit.count() / 1'000'000,
                                    static_cast<std::int32_t>(limit.count() % 1'000'000)};
    ready = console::socketselect(console::index_of(detail::number_of(highest)) + 1, readable.get(),
                                  writable.get(), failed.get(), time == unlimited ? nullptr : &value);
    return detail::error_of(ready);
}

}  // namespace curfew::platform
