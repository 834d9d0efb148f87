// The echo with libuv, as its documentation recommends it: reads go to the connection's own buffer,
// a small write is tried at once, and only what does not fit is queued.
//
// `--limit timer` limits both reads: each end has a timer, which is started again before each wait
// and stopped when something came.

#include "echo.hpp"
#include "uv_plain.hpp"

#include <memory>
#include <vector>

namespace {

constexpr std::uint64_t limit = 30'000;  // milliseconds

struct end {
    uv_tcp_t handle;
    uv_timer_t timer;
    uv_write_t writing;
    bool client;
    std::size_t received = 0;  // of the client's current message
    unsigned long round = 0;
    echo::message text;
    std::array<std::byte, echo::buffer_size> buffer;

    end(uv_loop_t& loop, bool is_client, unsigned long connection)
        : client(is_client), text(connection) {
        uv::must(uv_tcp_init(&loop, &handle), "uv_tcp_init");
        uv::must(uv_timer_init(&loop, &timer), "uv_timer_init");
        handle.data = this;
    }
};

echo::meter* meter;
bool limited;
unsigned long working;
std::vector<std::unique_ptr<end>> ends;

void wait_for_data(end& here) {
    if (!limited) return;
    uv::must(uv_timer_start(
                 &here.timer, [](uv_timer_t*) { echo::fail("read", "timed out"); }, limit, 0),
             "uv_timer_start");
}

void send(end& from, const std::byte* bytes, std::size_t size) {
    // libuv takes them as char*, and does not write there.
    char* const start = reinterpret_cast<char*>(const_cast<std::byte*>(bytes));
    uv_buf_t buffer = uv_buf_init(start, static_cast<unsigned>(size));
    uv_stream_t* const stream = uv::stream(from.handle);
    int sent = uv_try_write(stream, &buffer, 1);
    if (sent == UV_EAGAIN) sent = 0;
    uv::must(sent, "uv_try_write");
    if (static_cast<std::size_t>(sent) == size) return;
    // The message stays as it is until its echo has come, and a server's buffer until the next one.
    buffer = uv_buf_init(start + sent, static_cast<unsigned>(size) - static_cast<unsigned>(sent));
    uv::must(uv_write(&from.writing, stream, &buffer, 1,
                      [](uv_write_t*, int status) { uv::must(status, "uv_write"); }),
             "uv_write");
}

void send_message(end& client) {
    send(client, client.text.stamp(client.round).data(), echo::message_size);
}

void close_all() {
    for (auto& each : ends) {
        uv_close(reinterpret_cast<uv_handle_t*>(&each->handle), nullptr);
        uv_close(reinterpret_cast<uv_handle_t*>(&each->timer), nullptr);
    }
}

void give_buffer(uv_handle_t* handle, std::size_t, uv_buf_t* buffer) {
    end& here = uv::owner<end>(handle);
    *buffer = uv_buf_init(reinterpret_cast<char*>(here.buffer.data() + here.received),
                          static_cast<unsigned>(here.buffer.size() - here.received));
}

void read(uv_stream_t* stream, ssize_t n, const uv_buf_t*) {
    if (n == 0) return;  // would have blocked
    uv::must(static_cast<int>(n), "read");
    end& here = uv::owner<end>(stream);
    if (limited) uv_timer_stop(&here.timer);
    if (!here.client) {
        send(here, here.buffer.data(), static_cast<std::size_t>(n));
        wait_for_data(here);
        return;
    }
    here.received += static_cast<std::size_t>(n);
    if (here.received < echo::message_size) {
        wait_for_data(here);
        return;
    }
    here.text.check(here.buffer.data());
    here.received = 0;
    meter->round_done();
    if (++here.round < meter->rounds_of_each()) {
        send_message(here);
        wait_for_data(here);
    } else if (--working == 0) {
        close_all();
    }
}

end& open(uv_loop_t& loop, int descriptor, bool client, unsigned long connection) {
    ends.push_back(std::make_unique<end>(loop, client, connection));
    end& made = *ends.back();
    uv::must(uv_tcp_open(&made.handle, descriptor), "uv_tcp_open");
    uv::must(uv_read_start(uv::stream(made.handle), give_buffer, read), "uv_read_start");
    return made;
}

}  // namespace

int main(int argc, char** argv) {
    echo::arguments arguments(argc, argv, {ECHO_OPTIONS, "--limit"});
    echo::meter own(arguments);
    meter = &own;
    working = own.connections();
    limited = arguments.choice("--limit", {"none", "timer"}) == "timer";

    uv_loop_t loop;
    uv::must(uv_loop_init(&loop), "uv_loop_init");
    unsigned long number = 0;
    for (const auto [client, server] : echo::connect_all(working)) {
        wait_for_data(open(loop, server, false, number));
        end& talking = open(loop, client, true, number++);
        send_message(talking);
        wait_for_data(talking);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    uv::must(uv_loop_close(&loop), "uv_loop_close");
    meter->report();
}
