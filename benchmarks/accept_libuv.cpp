// Connections with libuv: a handle is made for each that is accepted, and deleted when it has been
// closed. A client uses its own one again.

#include "accept.hpp"
#include "uv_plain.hpp"

#include <vector>

namespace {

bench::accept_meter* meter;
uv_tcp_t listener;
sockaddr_in address;

struct server {
    uv_tcp_t handle;
    char byte = 0;
};

struct client {
    uv_tcp_t handle;
    uv_connect_t request;
    char byte = 0;
};

void begin(client& mine);

template <class End>
void give_buffer(uv_handle_t* handle, std::size_t, uv_buf_t* buffer) {
    *buffer = uv_buf_init(&uv::owner<End>(handle).byte, 1);
}

void server_read(uv_stream_t* stream, ssize_t n, const uv_buf_t*) {
    if (n == 0) return;  // would have blocked
    if (n != UV_EOF && n != UV_ECONNRESET) bench::fail("server, read", "something else came");
    uv_close(reinterpret_cast<uv_handle_t*>(stream), [](uv_handle_t* handle) {
        delete &uv::owner<server>(handle);
        meter->one_done();
        if (meter->finished()) uv_close(reinterpret_cast<uv_handle_t*>(&listener), nullptr);
    });
}

void accept(uv_stream_t* from, int status) {
    uv::must(status, "listen");
    auto* mine = new server;
    uv::must(uv_tcp_init(from->loop, &mine->handle), "uv_tcp_init");
    mine->handle.data = mine;
    uv_stream_t* const stream = uv::stream(mine->handle);
    uv::must(uv_accept(from, stream), "uv_accept");
    char greeting = bench::greeting;
    const uv_buf_t bytes = uv_buf_init(&greeting, 1);
    uv::must(uv_try_write(stream, &bytes, 1), "uv_try_write");  // one byte always fits
    uv::must(uv_read_start(stream, give_buffer<server>, server_read), "uv_read_start");
}

void client_read(uv_stream_t* stream, ssize_t n, const uv_buf_t*) {
    if (n == 0) return;
    uv::must(static_cast<int>(n), "client, read");
    auto& mine = uv::owner<client>(stream);
    if (mine.byte != bench::greeting) bench::fail("client", "not what the server sent");
    uv::must(uv_tcp_close_reset(&mine.handle,  // a RST
                                [](uv_handle_t* handle) {
                                    if (meter->one_more()) begin(uv::owner<client>(handle));
                                }),
             "uv_tcp_close_reset");
}

void begin(client& mine) {
    uv::must(uv_tcp_init(listener.loop, &mine.handle), "uv_tcp_init");
    mine.handle.data = &mine;
    uv::must(uv_tcp_connect(&mine.request, &mine.handle, uv::raw(address),
                            [](uv_connect_t* request, int status) {
                                uv::must(status, "connect");
                                uv::must(uv_read_start(request->handle, give_buffer<client>,
                                                       client_read),
                                         "uv_read_start");
                            }),
             "uv_tcp_connect");
}

}  // namespace

int main(int argc, char** argv) {
    bench::arguments arguments(argc, argv, {"--connections", "--at-once"});
    bench::accept_meter own(arguments);
    meter = &own;
    uv_loop_t loop;
    uv::must(uv_loop_init(&loop), "uv_loop_init");
    address = uv::listen(loop, listener, accept);
    std::vector<client> clients(meter->at_once());
    for (client& each : clients)
        if (meter->one_more()) begin(each);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv::must(uv_loop_close(&loop), "uv_loop_close");
    meter->report();
}
