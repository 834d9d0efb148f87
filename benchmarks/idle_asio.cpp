// Idle connections with Asio's C++20 coroutines: one for each, whose reads are limited as
// documented for awaitable_operators, by a timer and `operator||`. `--limit or` is that alone;
// `or_tuple` spares the loser its exception by as_tuple.

#include "asio_tuple.hpp"
#include "idle.hpp"

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

void rethrow(std::exception_ptr error) {
    if (error) std::rethrow_exception(error);
}

template <bool Tuple>
awaitable<void> serve(tcp::socket peer) {
    asio::steady_timer timer(peer.get_executor());
    bench::idle_buffer buffer;
    for (;;) {
        timer.expires_after(30s);
        if constexpr (Tuple) {
            auto first =
                co_await (peer.async_read_some(asio::buffer(buffer), as_tuple(use_awaitable)) ||
                          timer.async_wait(as_tuple(use_awaitable)));
            if (first.index() != 0) co_return;
            auto [error, n] = std::get<0>(first);
            if (error) co_return;
        } else {
            auto first = co_await (peer.async_read_some(asio::buffer(buffer), use_awaitable) ||
                                   timer.async_wait(use_awaitable));
            if (first.index() != 0) co_return;
        }
    }
}

template <bool Tuple>
awaitable<void> listen(asio::io_context& context, bench::idle_meter& meter) {
    tcp::acceptor acceptor(context, {asio::ip::address_v4::loopback(), 0});
    meter.begin(acceptor.local_endpoint().port());
    for (unsigned long i = 0; i < meter.connections(); ++i) {
        tcp::socket peer = co_await acceptor.async_accept(use_awaitable);
        co_spawn(context, serve<Tuple>(std::move(peer)), rethrow);
    }
    asio::steady_timer timer(context, 20ms);  // the last ones begin to wait
    co_await timer.async_wait(use_awaitable);
    meter.all_wait();
    context.stop();  // a read that fails inside `||` would wait for its timer
}

}  // namespace

int main(int argc, char** argv) {
    bench::arguments arguments(argc, argv, {"--connections", "--limit"});
    bench::idle_meter meter(arguments);
    asio::io_context context(1);
    if (arguments.choice("--limit", {"or", "or_tuple"}) == "or")
        co_spawn(context, listen<false>(context, meter), rethrow);
    else
        co_spawn(context, listen<true>(context, meter), rethrow);
    context.run();
    meter.report();
}
