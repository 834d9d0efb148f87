// For the programs that use libuv: its results, and the address they listen on.
#pragma once

#include "measure.hpp"

#include <netinet/in.h>
#include <uv.h>

namespace uv {

inline void must(int result, const char* what) {
    if (result < 0) bench::fail(what, uv_strerror(result));
}

/// 127.0.0.1, with a port of the system's choice.
inline sockaddr_in loopback() {
    sockaddr_in address{};
    must(uv_ip4_addr("127.0.0.1", 0, &address), "uv_ip4_addr");
    return address;
}

inline const sockaddr* raw(const sockaddr_in& address) {
    return reinterpret_cast<const sockaddr*>(&address);
}

inline uv_stream_t* stream(uv_tcp_t& handle) { return reinterpret_cast<uv_stream_t*>(&handle); }

/// Makes a listener of an uninitialized handle, and says where it listens.
inline sockaddr_in listen(uv_loop_t& loop, uv_tcp_t& listener, uv_connection_cb accept) {
    must(uv_tcp_init(&loop, &listener), "uv_tcp_init");
    sockaddr_in address = loopback();
    must(uv_tcp_bind(&listener, raw(address), 0), "uv_tcp_bind");
    must(uv_listen(stream(listener), SOMAXCONN, accept), "uv_listen");
    int length = sizeof address;
    must(uv_tcp_getsockname(&listener, reinterpret_cast<sockaddr*>(&address), &length),
         "uv_tcp_getsockname");
    return address;
}

/// The object that the handle's (or request's) `data` points to.
template <class Object, class Handle>
Object& owner(const Handle* handle) {
    return *static_cast<Object*>(handle->data);
}

}  // namespace uv
