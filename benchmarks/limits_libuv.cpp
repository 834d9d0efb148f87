// What a limit costs with libuv: see limits.hpp. A uv_timer for each read, started when the read
// begins to wait and stopped when it completes.
//
// libuv has no operation that does nothing: on "nothing" a uv_idle callback, which comes once a
// turn, stands for the completion of all reads. A limit that fires is one of no length, as libuv
// counts in milliseconds. What completes at once has no callback that could be limited.

#include "limits.hpp"
#include "plain.hpp"
#include "uv_plain.hpp"

#include <list>
#include <memory>
#include <utility>
#include <vector>

#include <unistd.h>

using limits::must;

namespace {

class bench_run;

struct reader {
    bench_run* run = nullptr;
    uv_tcp_t socket{};
    uv_timer_t timer{};
    int peer = -1;
    bool waits = false;
    bool reading = false;
    unsigned long left = 0;
    char byte = 0;
};

class bench_run {
public:
    bench_run(const bench::arguments& given, bool limited) : how_(given, limited) {
        must(how_.event != "at_once", "--case at_once: nothing completes at once in libuv, it");
        length_ = how_.event == "fires" ? 0 : 1000 * std::uint64_t{limits::measured_limit};
        uv::must(uv_loop_init(&loop_), "uv_loop_init");
        for (unsigned long i = 0; i < how_.readers(); ++i) {
            reader& made = readers_.emplace_back();
            made.run = this;
            uv::must(uv_timer_init(&loop_, &made.timer), "uv_timer_init");
            made.timer.data = &made;
            if (how_.sockets()) connect(made);
        }
        uv_idle_init(&loop_, &idle_);
        idle_.data = this;
        for (unsigned long i = 1; i < how_.outstanding; ++i) {
            others_.push_back(std::make_unique<uv_timer_t>());
            uv_timer_init(&loop_, others_.back().get());
            uv_timer_start(
                others_.back().get(), [](uv_timer_t*) {},
                static_cast<std::uint64_t>(how_.other_limit(i)), 0);
        }
        uv_run(&loop_, UV_RUN_NOWAIT);
    }

    void run(bool with_limit, unsigned long rounds) {
        if (fires() && !with_limit) return;  // it would never end
        limited_ = with_limit;
        active_ = readers_.size();
        if (!fires())
            uv_idle_start(&idle_, [](uv_idle_t* idle) { uv::owner<bench_run>(idle).turn(); });
        for (reader& each : readers_) {
            each.left = rounds;
            begin(each);
        }
        while (active_ > 0) uv_run(&loop_, UV_RUN_ONCE);
        uv_idle_stop(&idle_);
    }

private:
    bool fires() const noexcept { return how_.event == "fires"; }

    void connect(reader& made) {
        const int listener = plain::listening(SOCK_STREAM);
        const sockaddr_in address = plain::address_of(listener);
        made.peer = ::socket(AF_INET, SOCK_STREAM, 0);
        must(::connect(made.peer, plain::raw(address), sizeof address) == 0, "connect");
        const int server = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK);
        close(listener);
        uv::must(uv_tcp_init(&loop_, &made.socket), "uv_tcp_init");
        uv::must(uv_tcp_open(&made.socket, server), "uv_tcp_open");
        made.socket.data = &made;
    }

    /// A read begins to wait.
    void begin(reader& one) {
        one.waits = true;
        if (how_.sockets() && !std::exchange(one.reading, true))
            must(uv_read_start(
                     uv::stream(one.socket),
                     [](uv_handle_t* handle, std::size_t, uv_buf_t* buffer) {
                         *buffer = uv_buf_init(&uv::owner<reader>(handle).byte, 1);
                     },
                     [](uv_stream_t* stream, ssize_t n, const uv_buf_t*) {
                         if (n == 0) return;
                         must(n == 1, "a read");
                         auto& self = uv::owner<reader>(stream);
                         self.run->complete(self);
                     }) == 0,
                 "uv_read_start");
        if (limited_)
            uv_timer_start(
                &one.timer,
                [](uv_timer_t* timer) {
                    auto& self = uv::owner<reader>(timer);
                    self.run->expire(self);
                },
                length_, 0);
    }

    void complete(reader& one) {
        if (limited_) uv_timer_stop(&one.timer);
        next(one);
    }

    void expire(reader& one) {
        must(fires(), "a limited read");
        stop_reading(one);
        next(one);
    }

    void next(reader& one) {
        if (--one.left > 0) return begin(one);
        one.waits = false;
        stop_reading(one);
        if (--active_ == 0) uv_stop(&loop_);  // or it would wait for one of the other limits
    }

    static void stop_reading(reader& one) {
        if (std::exchange(one.reading, false)) uv_read_stop(uv::stream(one.socket));
    }

    /// Once a turn: completes the reads, or sends a byte to each.
    void turn() {
        for (reader& each : readers_) {
            if (!std::exchange(each.waits, false)) continue;
            if (how_.sockets())
                must(::send(each.peer, "", 1, 0) == 1, "send");
            else
                complete(each);
        }
    }

    limits::setting how_;
    std::uint64_t length_ = 0;
    bool limited_ = false;
    std::size_t active_ = 0;
    uv_loop_t loop_{};
    uv_idle_t idle_{};
    std::list<reader> readers_;
    std::vector<std::unique_ptr<uv_timer_t>> others_;
};

}  // namespace

int main(int argc, char** argv) { limits::compare_and_exit<bench_run>(argc, argv); }
