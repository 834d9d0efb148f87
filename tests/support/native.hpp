// The sockets of the system that the tests run on, for the peers that know nothing of curfew: a few
// plain, blocking calls under one name each, on POSIX systems and on Windows.
#pragma once

#if defined(_WIN32)
#include <curfew/platform/winsock.hpp>
#else
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#endif

#include <cstddef>
#include <cstdint>
#include <cstdlib>

namespace test::native {

#if defined(_WIN32)

using socket = SOCKET;
using address_size = int;
inline constexpr socket none = INVALID_SOCKET;
inline constexpr int send_flags = 0;
inline constexpr int connection_reset = WSAECONNRESET;
inline constexpr int time_is_up = WSAETIMEDOUT;  // of a call with a limit

inline int last_error() { return ::WSAGetLastError(); }
inline bool interrupted() { return false; }
inline void close(socket which) { ::closesocket(which); }

inline socket open(int type) {
    curfew::platform::detail::start_winsock();
    return ::WSASocketW(AF_INET, type, 0, nullptr, 0, WSA_FLAG_OVERLAPPED);
}

/// From now on its calls block.
inline void block(socket which) {
    u_long off = 0;
    ::ioctlsocket(which, static_cast<long>(FIONBIO), &off);
}

/// From now on calls that block give up after so many seconds.
inline void limit(socket which, int seconds) {
    const DWORD ms = static_cast<DWORD>(seconds) * 1000;
    for (const int name : {SO_RCVTIMEO, SO_SNDTIMEO})
        ::setsockopt(which, SOL_SOCKET, name, reinterpret_cast<const char*>(&ms), sizeof ms);
}

inline socket duplicate(socket which) {
    WSAPROTOCOL_INFOW info;
    if (::WSADuplicateSocketW(which, ::GetCurrentProcessId(), &info) != 0) return none;
    return ::WSASocketW(FROM_PROTOCOL_INFO, FROM_PROTOCOL_INFO, FROM_PROTOCOL_INFO, &info, 0,
                        WSA_FLAG_OVERLAPPED);
}

/// Something that is open, and no socket.
inline socket no_socket() {
    return reinterpret_cast<socket>(::CreateEventW(nullptr, FALSE, FALSE, nullptr));
}
inline void close_no_socket(socket which) { ::CloseHandle(reinterpret_cast<HANDLE>(which)); }

inline void set_environment(const char* name, const char* value) {
    ::_putenv_s(name, value ? value : "");  // an empty one is none
}

/// Whether this is Windows as Wine understands it.
inline bool is_wine() {
    const HMODULE library = ::GetModuleHandleW(L"ntdll.dll");
    return library && ::GetProcAddress(library, "wine_get_version");
}

#else

using socket = int;
using address_size = socklen_t;
inline constexpr socket none = -1;
inline constexpr int send_flags = MSG_NOSIGNAL;
inline constexpr int connection_reset = ECONNRESET;
inline constexpr int time_is_up = EAGAIN;

inline int last_error() { return errno; }
inline bool interrupted() { return errno == EINTR; }
inline void close(socket which) { ::close(which); }
inline socket open(int type) { return ::socket(AF_INET, type, 0); }

inline void block(socket which) { ::fcntl(which, F_SETFL, ::fcntl(which, F_GETFL) & ~O_NONBLOCK); }

inline void limit(socket which, int seconds) {
    const timeval time{seconds, 0};
    for (const int name : {SO_RCVTIMEO, SO_SNDTIMEO})
        ::setsockopt(which, SOL_SOCKET, name, &time, sizeof time);
}

inline socket duplicate(socket which) { return ::dup(which); }

inline socket no_socket() {
    int ends[2] = {none, none};
    if (::pipe(ends) == 0) ::close(ends[1]);
    return ends[0];
}
inline void close_no_socket(socket which) { ::close(which); }

inline void set_environment(const char* name, const char* value) {
    value ? ::setenv(name, value, 1) : ::unsetenv(name);
}

inline bool is_wine() { return false; }

#endif

/// Repeats a call that was interrupted: by a signal, or by the kernel, which lets io_uring's work
/// be done in a thread that is blocked elsewhere.
template <class Call>
auto repeated(Call call) {
    auto n = call();
    while (n < 0 && interrupted()) n = call();
    return n;
}

/// The bytes moved, negative after an error.
inline std::ptrdiff_t send(socket to, const char* bytes, std::size_t size, int flags = 0) {
    return repeated([&] {
#if defined(_WIN32)
        return ::send(to, bytes, static_cast<int>(size), send_flags | flags);
#else
        return ::send(to, bytes, size, send_flags | flags);
#endif
    });
}

inline std::ptrdiff_t receive(socket from, char* bytes, std::size_t size) {
    return repeated([&] {
#if defined(_WIN32)
        return ::recv(from, bytes, static_cast<int>(size), 0);
#else
        return ::recv(from, bytes, size, 0);
#endif
    });
}

/// The coming `close` resets the connection.
inline void reset_on_close(socket which) {
    const linger abortive{1, 0};
    ::setsockopt(which, SOL_SOCKET, SO_LINGER, reinterpret_cast<const char*>(&abortive),
                 sizeof abortive);
}

/// Whether something can be read within so many milliseconds.
inline bool readable(socket which, int milliseconds) {
#if defined(_WIN32)
    WSAPOLLFD entry{which, POLLRDNORM, 0};
    return ::WSAPoll(&entry, 1, milliseconds) == 1;
#else
    pollfd entry{which, POLLIN, 0};
    return ::poll(&entry, 1, milliseconds) == 1;
#endif
}

/// What a peer gets told that has been reset. Wine 8 reads a reset as the end of the stream.
inline int error_after_reset() { return is_wine() ? 0 : connection_reset; }

inline sockaddr_in loopback(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

inline bool bind(socket which, std::uint16_t port) {
    const auto address = loopback(port);
    return ::bind(which, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

inline bool connect(socket which, std::uint16_t port) {
    const auto address = loopback(port);
    return ::connect(which, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

inline std::uint16_t port_of(socket which) {
    sockaddr_in address{};
    address_size size = sizeof address;
    ::getsockname(which, reinterpret_cast<sockaddr*>(&address), &size);
    return ntohs(address.sin_port);
}

}  // namespace test::native
