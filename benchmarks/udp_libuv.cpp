// Datagrams with libuv: they are received into the socket's own buffer, and sent at once.

#include "udp.hpp"
#include "uv_plain.hpp"

namespace {

bench::udp_meter* meter;
bench::datagrams* datagrams;
sockaddr_in there;

struct end {
    uv_udp_t handle;
    bool echoing;
    bench::datagram buffer;
};

void send(end& from, const std::byte* bytes, std::size_t size, const sockaddr* to) {
    // libuv takes them as char*, and does not write there.
    const uv_buf_t buffer = uv_buf_init(reinterpret_cast<char*>(const_cast<std::byte*>(bytes)),
                                        static_cast<unsigned>(size));
    // So few datagrams always fit.
    uv::must(uv_udp_try_send(&from.handle, &buffer, 1, to), "uv_udp_try_send");
}

void give_buffer(uv_handle_t* handle, std::size_t, uv_buf_t* buffer) {
    bench::datagram& own = uv::owner<end>(handle).buffer;
    *buffer = uv_buf_init(reinterpret_cast<char*>(own.data()), bench::datagram_size);
}

void received(uv_udp_t* handle, ssize_t n, const uv_buf_t*, const sockaddr* sender, unsigned) {
    uv::must(static_cast<int>(n), "receive");
    if (!sender) return;  // there are no more
    end& here = uv::owner<end>(handle);
    meter->one_received();
    if (here.echoing) {
        send(here, here.buffer.data(), static_cast<std::size_t>(n), sender);
        return;
    }
    datagrams->check(here.buffer.data(), static_cast<std::size_t>(n));
    if (datagrams->one_more())
        send(here, datagrams->next().data(), bench::datagram_size, uv::raw(there));
    else if (meter->finished())
        uv_stop(handle->loop);
}

void open(uv_loop_t& loop, end& here, bool echoing) {
    here.echoing = echoing;
    uv::must(uv_udp_init(&loop, &here.handle), "uv_udp_init");
    here.handle.data = &here;
    const sockaddr_in address = uv::loopback();
    uv::must(uv_udp_bind(&here.handle, uv::raw(address), 0), "uv_udp_bind");
    uv::must(uv_udp_recv_start(&here.handle, give_buffer, received), "uv_udp_recv_start");
}

}  // namespace

int main(int argc, char** argv) {
    bench::arguments arguments(argc, argv, {"--packets", "--in-flight"});
    bench::udp_meter own(arguments);
    bench::datagrams sent(own.rounds());
    meter = &own;
    datagrams = &sent;

    uv_loop_t loop;
    uv::must(uv_loop_init(&loop), "uv_loop_init");
    end first;
    end echoing;
    open(loop, first, false);
    open(loop, echoing, true);
    int length = sizeof there;
    uv::must(uv_udp_getsockname(&echoing.handle, reinterpret_cast<sockaddr*>(&there), &length),
             "uv_udp_getsockname");
    for (unsigned long i = 0; i < meter->in_flight() && datagrams->one_more(); ++i)
        send(first, datagrams->next().data(), bench::datagram_size, uv::raw(there));
    uv_run(&loop, UV_RUN_DEFAULT);

    for (end* each : {&first, &echoing})
        uv_close(reinterpret_cast<uv_handle_t*>(&each->handle), nullptr);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv::must(uv_loop_close(&loop), "uv_loop_close");
    meter->report();
}
