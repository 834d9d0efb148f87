// The echo with Asio's C++20 coroutines, as its documentation recommends them.
//
// `--limit or` limits both reads as documented for awaitable_operators: a timer and `operator||`,
// whose loser ends with an exception inside Asio. `--limit or_tuple` spares it that by as_tuple.

#include "asio_tuple.hpp"
#include "echo.hpp"

#include <chrono>
#include <exception>

#include <asio.hpp>
#include <asio/experimental/awaitable_operators.hpp>

using asio::awaitable;
using asio::use_awaitable;
using asio::ip::tcp;
using namespace asio::experimental::awaitable_operators;
using namespace std::chrono_literals;

namespace {

enum class limit { none, by_or, by_or_tuple };

template <limit Limit>
awaitable<void> serve(tcp::socket peer) {
    asio::steady_timer timer(peer.get_executor());
    std::array<std::byte, echo::buffer_size> buffer;
    for (;;) {
        std::size_t n = 0;
        if constexpr (Limit == limit::none) {
            n = co_await peer.async_read_some(asio::buffer(buffer), use_awaitable);
        } else if constexpr (Limit == limit::by_or) {
            timer.expires_after(30s);
            auto first = co_await (peer.async_read_some(asio::buffer(buffer), use_awaitable) ||
                                   timer.async_wait(use_awaitable));
            if (first.index() != 0) echo::fail("server", "timed out");
            n = std::get<0>(first);
        } else {
            timer.expires_after(30s);
            auto first =
                co_await (peer.async_read_some(asio::buffer(buffer), as_tuple(use_awaitable)) ||
                          timer.async_wait(as_tuple(use_awaitable)));
            if (first.index() != 0) echo::fail("server", "timed out");
            auto [error, got] = std::get<0>(first);
            if (error) co_return;
            n = got;
        }
        std::size_t sent = co_await async_write(peer, asio::buffer(buffer, n), use_awaitable);
        if (sent != n) echo::fail("server", "a short write");
    }
}

template <limit Limit>
awaitable<void> talk(tcp::socket socket, unsigned long connection, echo::meter& meter,
                     unsigned long& working) {
    asio::steady_timer timer(socket.get_executor());
    echo::message message(connection);
    std::array<std::byte, echo::buffer_size> buffer;
    for (unsigned long round = 0; round < meter.rounds_of_each(); ++round) {
        std::size_t sent =
            co_await async_write(socket, asio::buffer(message.stamp(round)), use_awaitable);
        if (sent != echo::message_size) echo::fail("client", "a short write");
        for (std::size_t received = 0; received < echo::message_size;) {
            const auto rest = asio::buffer(buffer) + received;
            if constexpr (Limit == limit::none) {
                received += co_await socket.async_read_some(rest, use_awaitable);
            } else if constexpr (Limit == limit::by_or) {
                timer.expires_after(30s);
                auto first = co_await (socket.async_read_some(rest, use_awaitable) ||
                                       timer.async_wait(use_awaitable));
                if (first.index() != 0) echo::fail("client", "timed out");
                received += std::get<0>(first);
            } else {
                timer.expires_after(30s);
                auto first = co_await (socket.async_read_some(rest, as_tuple(use_awaitable)) ||
                                       timer.async_wait(as_tuple(use_awaitable)));
                if (first.index() != 0) echo::fail("client", "timed out");
                auto [error, got] = std::get<0>(first);
                if (error) echo::fail("client", error.message());
                received += got;
            }
        }
        message.check(buffer.data());
        meter.round_done();
    }
    // A read that fails inside `||` waits for the timer: so stop, rather than let the servers see
    // the end.
    if (--working == 0) static_cast<asio::io_context&>(timer.get_executor().context()).stop();
}

template <limit Limit>
void run(unsigned long connections, echo::meter& meter) {
    asio::io_context context(1);
    auto rethrow = [](std::exception_ptr error) {
        if (error) std::rethrow_exception(error);
    };
    // The end of a stream is an exception here, and the end of its server.
    auto ended = [](std::exception_ptr) {};
    unsigned long working = connections;

    unsigned long number = 0;
    for (const auto [client, server] : echo::connect_all(connections)) {
        co_spawn(context, serve<Limit>(tcp::socket(context, tcp::v4(), server)), ended);
        co_spawn(context,
                 talk<Limit>(tcp::socket(context, tcp::v4(), client), number++, meter, working),
                 rethrow);
    }
    context.run();
}

}  // namespace

int main(int argc, char** argv) {
    echo::arguments arguments(argc, argv, {ECHO_OPTIONS, "--limit"});
    echo::meter meter(arguments);
    const unsigned long connections = meter.connections();
    const std::string_view limit = arguments.choice("--limit", {"none", "or", "or_tuple"});
    if (limit == "none") run<limit::none>(connections, meter);
    if (limit == "or") run<limit::by_or>(connections, meter);
    if (limit == "or_tuple") run<limit::by_or_tuple>(connections, meter);
    meter.report();
}
