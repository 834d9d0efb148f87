// Error numbers, and the category that knows what they mean.
#pragma once

#include <string>
#include <system_error>

#include "system.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::platform {

namespace detail {

/// The system's category, except that it knows what Winsock's numbers mean: GCC's library does not
/// compare them with `std::errc`.
class winsock_category final : public std::error_category {
public:
    constexpr winsock_category() noexcept = default;

    const char* name() const noexcept override { return "system"; }

    std::string message(int number) const override {
        return std::system_category().message(number);
    }

    std::error_condition default_error_condition(int number) const noexcept override {
        static constexpr struct {
            int number;
            std::errc condition;
        } known[] = {
            {WSAEINTR, std::errc::interrupted},
            {WSAEBADF, std::errc::bad_file_descriptor},
            {WSAEACCES, std::errc::permission_denied},
            {WSAEFAULT, std::errc::bad_address},
            {WSAEINVAL, std::errc::invalid_argument},
            {WSAEMFILE, std::errc::too_many_files_open},
            {WSAEWOULDBLOCK, std::errc::operation_would_block},
            {WSAEINPROGRESS, std::errc::operation_in_progress},
            {WSAEALREADY, std::errc::connection_already_in_progress},
            {WSAENOTSOCK, std::errc::not_a_socket},
            {WSAEDESTADDRREQ, std::errc::destination_address_required},
            {WSAEMSGSIZE, std::errc::message_size},
            {WSAEPROTOTYPE, std::errc::wrong_protocol_type},
            {WSAENOPROTOOPT, std::errc::no_protocol_option},
            {WSAEPROTONOSUPPORT, std::errc::protocol_not_supported},
            {WSAEOPNOTSUPP, std::errc::operation_not_supported},
            {WSAEAFNOSUPPORT, std::errc::address_family_not_supported},
            {WSAEADDRINUSE, std::errc::address_in_use},
            {WSAEADDRNOTAVAIL, std::errc::address_not_available},
            {WSAENETDOWN, std::errc::network_down},
            {WSAENETUNREACH, std::errc::network_unreachable},
            {WSAENETRESET, std::errc::network_reset},
            {WSAECONNABORTED, std::errc::connection_aborted},
            {WSAECONNRESET, std::errc::connection_reset},
            {WSAENOBUFS, std::errc::no_buffer_space},
            {WSAEISCONN, std::errc::already_connected},
            {WSAENOTCONN, std::errc::not_connected},
            {WSAESHUTDOWN, std::errc::broken_pipe},
            {WSAETIMEDOUT, std::errc::timed_out},
            {WSAECONNREFUSED, std::errc::connection_refused},
            {WSAENAMETOOLONG, std::errc::filename_too_long},
            {WSAEHOSTUNREACH, std::errc::host_unreachable},
            {WSA_OPERATION_ABORTED, std::errc::operation_canceled},
            {ERROR_NETNAME_DELETED, std::errc::connection_reset},
            {ERROR_SEM_TIMEOUT, std::errc::timed_out},
            {ERROR_NOT_SUPPORTED, std::errc::not_supported},
        };
        for (const auto& each : known)
            if (each.number == number) return each.condition;
        return std::system_category().default_error_condition(number);
    }

    /// Also equal to the same number in the system's own category.
    bool equivalent(const std::error_code& code, int condition) const noexcept override {
        return code.value() == condition &&
               (code.category() == *this || code.category() == std::system_category());
    }
};

CURFEW_STATE const std::error_category& winsock_errors() noexcept;

#if CURFEW_STATE_IS_HERE
/// Never destroyed, so that static destructors may still look at errors.
union immortal_winsock_category {
    winsock_category category;
    constexpr immortal_winsock_category() noexcept : category() {}
    ~immortal_winsock_category() {}
};

inline constinit const immortal_winsock_category the_winsock_category;

CURFEW_STATE const std::error_category& winsock_errors() noexcept {
    return the_winsock_category.category;
}
#endif

}  // namespace detail

inline std::error_code error_code(int error) noexcept {
#if defined(_MSVC_STL_VERSION)  // its category knows Winsock's numbers
    return {error, std::system_category()};
#else
    return {error, detail::winsock_errors()};
#endif
}

inline constexpr int already_in_progress = WSAEINPROGRESS;
inline constexpr int too_many_descriptors = WSAEMFILE;
inline constexpr int message_too_long = WSAEMSGSIZE;
inline constexpr int broken_pipe = ERROR_BROKEN_PIPE;
inline constexpr int already_connected = WSAEISCONN;
inline constexpr int bad_descriptor = WSAENOTSOCK;
inline constexpr int out_of_memory = WSA_NOT_ENOUGH_MEMORY;

inline bool would_block(int error) noexcept { return error == WSAEWOULDBLOCK; }

inline bool interrupted(int error) noexcept { return error == WSAEINTR; }

/// True for what `accept` says about a connection that died in the queue: the listener is fine.
/// (AcceptEx says ERROR_NETNAME_DELETED where `accept` says WSAECONNRESET.)
inline bool accept_may_go_on(int error) noexcept {
    return error == WSAECONNRESET || error == WSAECONNABORTED || error == ERROR_NETNAME_DELETED;
}

inline bool connect_pending(int error) noexcept {
    return error == WSAEWOULDBLOCK || error == WSAEINPROGRESS;
}

namespace detail {

inline int last_error() noexcept {
    const int error = ::WSAGetLastError();
    return error == WSAESHUTDOWN ? broken_pipe : error;  // which every library maps
}

/// The error number of a call that returns SOCKET_ERROR if it has failed.
inline int error_of(int result) noexcept { return result == SOCKET_ERROR ? last_error() : 0; }

}  // namespace detail

}  // namespace curfew::platform
