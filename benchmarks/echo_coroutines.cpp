// What coroutines cost by themselves: the loop of echo_epoll.cpp, told by coroutines and no more
// than that needs. Nobody can cancel them, nothing is limited, a write always fits, nobody starves
// anybody, and there is one reactor. What curfew adds to this is what it can be blamed for.

#include "echo.hpp"

#include <coroutine>
#include <exception>
#include <span>
#include <system_error>
#include <utility>

#include <sys/epoll.h>

using plain::must;

namespace {

/// What is awaited on a socket, in the frame of the coroutine that waits.
struct operation {
    std::coroutine_handle<> waiter;
    operation* next = nullptr;
};

struct connection_end {
    int descriptor;
    operation* reader = nullptr;
    bool drained = true;
};

/// First all that is ready is found out, then it is resumed: the order that curfew keeps.
struct event_loop {
    int poller = epoll_create1(0);
    operation* first = nullptr;
    operation** end = &first;
    unsigned long working = 0;

    void add(connection_end& socket) const {
        epoll_event event{};
        event.events = EPOLLIN | EPOLLET;
        event.data.ptr = &socket;
        must(epoll_ctl(poller, EPOLL_CTL_ADD, socket.descriptor, &event) == 0, "epoll_ctl");
    }

    void run() {
        std::array<epoll_event, 32> events;
        while (working > 0) {
            const int ready =
                epoll_wait(poller, events.data(), static_cast<int>(events.size()), -1);
            must(ready > 0, "epoll_wait");
            for (const epoll_event& each : std::span(events).first(static_cast<std::size_t>(ready)))
                on_readable(*static_cast<connection_end*>(each.data.ptr));
            while (operation* const next = first) {
                first = next->next;
                if (!first) end = &first;
                next->waiter.resume();
            }
        }
    }

private:
    void on_readable(connection_end& socket) {
        socket.drained = false;
        operation* const waiting = std::exchange(socket.reader, nullptr);
        if (!waiting) return;
        waiting->next = nullptr;
        *end = waiting;
        end = &waiting->next;
    }
};

struct transfer {
    std::error_code ec;
    std::size_t count;
};

transfer result_of(ssize_t moved) {
    if (moved > 0) return {{}, static_cast<std::size_t>(moved)};
    return {std::error_code(moved == 0 ? EPIPE : errno, std::system_category()), 0};
}

class reading : operation {
public:
    reading(connection_end& from, std::span<std::byte> into) : socket_(from), buffer_(into) {}

    bool await_ready() { return !socket_.drained && attempt(); }
    void await_suspend(std::coroutine_handle<> coroutine) {
        waiter = coroutine;
        socket_.reader = this;
    }
    transfer await_resume() {
        if (waiter) attempt();
        return result_of(moved_);
    }

private:
    bool attempt() {
        moved_ = recv(socket_.descriptor, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
        socket_.drained = moved_ < static_cast<ssize_t>(buffer_.size());
        return moved_ >= 0 || errno != EAGAIN;
    }

    connection_end& socket_;
    std::span<std::byte> buffer_;
    ssize_t moved_ = 0;
};

/// Never waits: a message always fits.
struct writing {
    connection_end& socket;
    std::span<const std::byte> bytes;

    bool await_ready() const noexcept { return true; }
    void await_suspend(std::coroutine_handle<>) const noexcept {}
    transfer await_resume() const {
        return result_of(send(socket.descriptor, bytes.data(), bytes.size(), MSG_NOSIGNAL));
    }
};

/// Runs by itself from its first resumption on.
struct task {
    struct promise_type {
        task get_return_object() {
            return {std::coroutine_handle<promise_type>::from_promise(*this)};
        }
        std::suspend_always initial_suspend() const noexcept { return {}; }
        std::suspend_never final_suspend() const noexcept { return {}; }
        void return_void() const noexcept {}
        void unhandled_exception() const noexcept { std::terminate(); }
    };

    std::coroutine_handle<> frame;
};

void must_be_done(std::error_code ec, const char* what) {
    if (ec) echo::fail(what, ec.message());
}

task serve(connection_end& peer) {
    std::vector<std::byte> buffer(echo::buffer_size);
    for (;;) {
        auto [ec, n] = co_await reading(peer, buffer);
        must_be_done(ec, "server, read");
        auto [wec, sent] = co_await writing{peer, std::span(buffer).first(n)};
        must_be_done(wec, "server, write");
        if (sent != n) echo::fail("server", "a short write");
    }
}

task talk(event_loop& loop, connection_end& socket, unsigned long connection, echo::meter& meter) {
    echo::message message(connection);
    std::vector<std::byte> buffer(echo::buffer_size);
    for (unsigned long round = 0; round < meter.rounds_of_each(); ++round) {
        auto [wec, sent] = co_await writing{socket, message.stamp(round)};
        must_be_done(wec, "client, write");
        if (sent != echo::message_size) echo::fail("client", "a short write");
        for (std::size_t received = 0; received < echo::message_size;) {
            auto [ec, n] = co_await reading(socket, std::span(buffer).subspan(received));
            must_be_done(ec, "client, read");
            received += n;
        }
        message.check(buffer.data());
        meter.round_done();
    }
    --loop.working;
}

}  // namespace

int main(int argc, char** argv) {
    echo::arguments arguments(argc, argv, {ECHO_OPTIONS});
    echo::meter meter(arguments);
    event_loop loop;
    std::vector<task> tasks;
    for (const auto [client, server] : echo::connect_all(meter.connections())) {
        auto* const here = new connection_end{client};  // this and the rest until the program ends
        auto* const there = new connection_end{server};
        loop.add(*here);
        loop.add(*there);
        tasks.push_back(serve(*there));
        tasks.push_back(talk(loop, *here, loop.working++, meter));
    }
    for (const task& each : tasks) each.frame.resume();
    loop.run();
    meter.report();
}
