// Idle connections with libuv: a handle for the connection, one for the timer that limits its
// reads, and the buffer.

#include "idle.hpp"
#include "uv_plain.hpp"

namespace {

constexpr std::uint64_t limit = 30'000;  // milliseconds

bench::idle_meter* meter;
unsigned long accepted = 0;

struct connection {
    uv_tcp_t handle;
    uv_timer_t timer;
    bench::idle_buffer buffer;
};

void end(connection& mine) {
    uv_read_stop(uv::stream(mine.handle));
    uv_close(reinterpret_cast<uv_handle_t*>(&mine.timer), [](uv_handle_t* timer) {
        uv_close(reinterpret_cast<uv_handle_t*>(&uv::owner<connection>(timer).handle),
                 [](uv_handle_t* handle) { delete &uv::owner<connection>(handle); });
    });
}

void start_limit(connection& mine) {
    uv::must(
        uv_timer_start(
            &mine.timer, [](uv_timer_t* timer) { end(uv::owner<connection>(timer)); }, limit, 0),
        "uv_timer_start");
}

void give_buffer(uv_handle_t* handle, std::size_t, uv_buf_t* buffer) {
    bench::idle_buffer& own = uv::owner<connection>(handle).buffer;
    *buffer = uv_buf_init(reinterpret_cast<char*>(own.data()), sizeof own);
}

void read(uv_stream_t* stream, ssize_t n, const uv_buf_t*) {
    if (n == 0) return;  // would have blocked
    connection& mine = uv::owner<connection>(stream);
    if (n < 0)
        end(mine);
    else
        start_limit(mine);
}

void accept(uv_stream_t* listener, int status) {
    uv::must(status, "listen");
    auto* mine = new connection;
    uv::must(uv_tcp_init(listener->loop, &mine->handle), "uv_tcp_init");
    uv::must(uv_timer_init(listener->loop, &mine->timer), "uv_timer_init");
    mine->handle.data = mine->timer.data = mine;
    uv_stream_t* const stream = uv::stream(mine->handle);
    uv::must(uv_accept(listener, stream), "uv_accept");
    uv::must(uv_read_start(stream, give_buffer, read), "uv_read_start");
    start_limit(*mine);
    if (++accepted == meter->connections())
        uv_close(reinterpret_cast<uv_handle_t*>(listener), nullptr);
}

}  // namespace

int main(int argc, char** argv) {
    bench::arguments arguments(argc, argv, {"--connections"});
    bench::idle_meter own(arguments);
    meter = &own;
    uv_loop_t loop;
    uv::must(uv_loop_init(&loop), "uv_loop_init");
    uv_tcp_t listener;
    const sockaddr_in address = uv::listen(loop, listener, accept);
    meter->begin(ntohs(address.sin_port));
    while (accepted < meter->connections()) uv_run(&loop, UV_RUN_ONCE);
    uv_run(&loop, UV_RUN_NOWAIT);  // the last one is waited for by the epoll, too
    meter->all_wait();
    uv_run(&loop, UV_RUN_DEFAULT);
    uv::must(uv_loop_close(&loop), "uv_loop_close");
    meter->report();
}
