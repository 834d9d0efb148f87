// Running a test's coroutine, and connections for it.
#pragma once

#include <chrono>
#include <thread>
#include <utility>

#include <curfew/curfew.hpp>

#include "peer.hpp"
#include "platform.hpp"
#include "reactors.hpp"

namespace test {

using namespace curfew;
using namespace std::chrono_literals;

/// Runs `body(ctx)`, a coroutine, on a context of its own. An exception that escapes fails the
/// test.
template <class Body>
void run(reactor_kind kind, Body body) {
    io_context ctx(kind);
    ctx.block_on(body(ctx));
}

/// Runs the loop until the task has ended, and gives what it returned.
template <class T>
T join(io_context& ctx, join_handle<T>& handle) {
    return ctx.block_on(
        [](join_handle<T>& joined) -> task<T> { co_return co_await joined; }(handle));
}

/// What has been spawned has its first turn, and arms limits of `limit`; `act` runs when they are
/// over, and before the loop looks at them. False: the machine was too slow for that. Then `act`
/// has not run, and whoever waits times out, and rightly.
template <class Act>
bool act_when_limits_are_over(io_context& ctx, std::chrono::milliseconds limit, Act act) {
    const auto begun = curfew::clock::now();
    ctx.run_one();
    bool acted = false;
    ctx.post([&] {
        if (curfew::clock::now() >= begun + limit) return;  // the loop may have looked before this
        std::this_thread::sleep_for(limit + 2ms);
        act();
        acted = true;
    });
    ctx.run_one();  // the function; the look at the limits follows
    return acted;
}

inline ip::endpoint any_port() { return {ip::address::loopback_v4(), 0}; }

struct connection {
    tcp::socket client;
    tcp::socket server;
};

/// A TCP connection whose ends are both curfew's.
inline task<connection> connect(io_context& ctx) {
    tcp::acceptor acceptor(ctx);
    acceptor.listen(any_port()).value();
    connection made;
    made.client = tcp::socket(ctx);
    (co_await made.client.connect(acceptor.local_endpoint())).value();
    made.server = (co_await acceptor.accept()).value();
    co_return made;
}

/// A TCP connection with one end curfew's and the other plain and blocking.
struct mixed_connection {
    tcp::socket socket;
    blocking_socket peer;
};

inline task<mixed_connection> connect(io_context& ctx, blocking_listener& listener) {
    mixed_connection made;
    made.socket = tcp::socket(ctx);
    (co_await made.socket.connect(listener.endpoint())).value();
    made.peer = listener.accept();
    co_return made;
}

}  // namespace test
