// A frame's look at the network with libuv: see frame.hpp.

#include "frame.hpp"
#include "uv_plain.hpp"

#include <list>

namespace {

bench::frame_meter* meter;

void give_buffer(uv_handle_t*, std::size_t, uv_buf_t* buffer) {
    static char bytes[16];
    *buffer = uv_buf_init(bytes, sizeof bytes);
}

void read(uv_stream_t*, ssize_t n, const uv_buf_t*) {
    if (n == 0) return;
    if (n != 1) bench::fail("read", "not one byte");
    meter->received();
}

}  // namespace

int main(int argc, char** argv) {
    bench::arguments arguments(argc, argv, {"--connections", "--frames"});
    bench::frame_meter own(arguments);
    meter = &own;
    uv_loop_t loop;
    uv::must(uv_loop_init(&loop), "uv_loop_init");
    const int listener = plain::listening(SOCK_STREAM);
    std::list<uv_tcp_t> peers;
    for (unsigned long i = 0; i < own.connections(); ++i) {
        own.connect(ntohs(plain::address_of(listener).sin_port));
        const int peer = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK);
        plain::must(peer >= 0, "accept4");
        uv_tcp_t& handle = peers.emplace_back();
        uv::must(uv_tcp_init(&loop, &handle), "uv_tcp_init");
        uv::must(uv_tcp_open(&handle, peer), "uv_tcp_open");
        uv::must(uv_read_start(uv::stream(handle), give_buffer, read), "uv_read_start");
    }
    own.measure([&] { uv_run(&loop, UV_RUN_NOWAIT); });
}
