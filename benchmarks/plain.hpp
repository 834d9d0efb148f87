// For the programs that make system calls themselves.
#pragma once

#include "measure.hpp"

#include <cerrno>
#include <cstring>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace plain {

using namespace bench;

inline void must(bool ok, const char* what) {
    if (!ok) fail(what, std::strerror(errno));
}

inline const sockaddr* raw(const sockaddr_in& address) {
    return reinterpret_cast<const sockaddr*>(&address);
}
inline sockaddr* raw(sockaddr_in& address) { return reinterpret_cast<sockaddr*>(&address); }

/// 127.0.0.1, with a port of the system's choice.
inline sockaddr_in loopback() {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

inline sockaddr_in address_of(int descriptor) {
    sockaddr_in address{};
    socklen_t length = sizeof address;
    must(getsockname(descriptor, raw(address), &length) == 0, "getsockname");
    return address;
}

/// A socket, bound on 127.0.0.1.
inline int bound(int type) {
    const int descriptor = socket(AF_INET, type, 0);
    must(descriptor >= 0, "socket");
    const sockaddr_in address = loopback();
    must(bind(descriptor, raw(address), sizeof address) == 0, "bind");
    return descriptor;
}

/// What `type` adds, such as SOCK_NONBLOCK, is the listener's own.
inline int listening(int type) {
    const int descriptor = bound(type);
    must(listen(descriptor, SOMAXCONN) == 0, "listen");
    return descriptor;
}

/// Closing will send a RST.
inline void reset_on_close(int descriptor) {
    const linger reset{1, 0};
    must(setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &reset, sizeof reset) == 0, "SO_LINGER");
}

}  // namespace plain
