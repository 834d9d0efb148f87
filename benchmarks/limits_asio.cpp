// What a limit costs with Asio's coroutines: see limits.hpp. `--limit or` and `or_tuple` as in
// echo_asio.cpp; `cancel_after` with Asio 1.30 and later.
//
// Asio completes nothing at once: what need not wait is posted, so that `post` is its operation
// that does nothing, in the cases "later" and "again". What never completes is a timer that is far
// away.

#include "asio_tuple.hpp"
#include "limits.hpp"

#include <chrono>
#include <list>
#include <memory>
#include <utility>
#include <vector>

#include <asio.hpp>
#include <asio/experimental/awaitable_operators.hpp>

#if ASIO_VERSION >= 103000
#include <asio/cancel_after.hpp>
#endif

using asio::awaitable;
using asio::use_awaitable;
using asio::ip::tcp;
using namespace asio::experimental::awaitable_operators;

using limits::must;

namespace {

enum class limit { by_or, by_or_tuple, by_cancel_after };

struct reader {
    tcp::socket socket;
    tcp::socket peer;
    asio::steady_timer never;  // what a read waits for that never completes
    bool waits = false;
};

class bench_run {
public:
    bench_run(const bench::arguments& given, bool limited)
        : how_(given, limited),
          length_(how_.event == "fires" ? std::chrono::nanoseconds(1)
                                        : std::chrono::seconds(limits::measured_limit)) {
        tcp::acceptor acceptor(context_, {asio::ip::address_v4::loopback(), 0});
        for (unsigned long i = 0; i < how_.readers(); ++i) {
            reader& made = readers_.emplace_back(tcp::socket(context_), tcp::socket(context_),
                                                 asio::steady_timer(context_));
            made.never.expires_after(std::chrono::hours(1));
            if (!how_.sockets()) continue;
            made.peer.connect(acceptor.local_endpoint());
            made.socket = acceptor.accept();
            made.peer.set_option(tcp::no_delay(true));
        }
        for (unsigned long i = 1; i < how_.outstanding; ++i) {
            others_.push_back(std::make_unique<asio::steady_timer>(
                context_, std::chrono::milliseconds(how_.other_limit(i))));
            others_.back()->async_wait([](std::error_code) {});
        }
        context_.poll();
    }

    template <limit Limit>
    void run(bool with_limit, unsigned long rounds) {
        if (how_.event == "fires" && !with_limit) return;  // it would never end
        active_ = readers_.size();
        const auto rethrow = [](std::exception_ptr error) {
            if (error) std::rethrow_exception(error);
        };
        for (reader& each : readers_) {
            if (with_limit)
                co_spawn(context_, read<Limit>(each, rounds), rethrow);
            else
                co_spawn(context_, read_without(each, rounds), rethrow);
        }
        if (feeds()) feed();
        context_.restart();
        context_.run();  // until `read` stops it
    }

private:
    bool feeds() const noexcept {
        return how_.sockets() && (how_.event == "later" || how_.event == "again");
    }

    /// Sends a byte to each reader that waits for one: once in a turn.
    void feed() {
        for (reader& each : readers_)
            if (std::exchange(each.waits, false))
                must(each.peer.send(asio::buffer("", 1)) == 1, "send");
        if (active_ > 0) post(context_, [this] { feed(); });
    }

    void prepare(reader& from, unsigned long left, unsigned long round) {
        if (!how_.sockets()) return;
        if (how_.event == "at_once" && round % 4096 == 0) {
            static constexpr char bytes[4096] = {};
            const auto count = std::min(left, 4096ul);
            must(from.peer.send(asio::buffer(bytes, count)) == count, "send");
        }
        from.waits = feeds();
    }

    void one_has_ended() {
        if (--active_ == 0) context_.stop();
    }

    awaitable<void> read_without(reader& from, unsigned long rounds) {
        char byte = 0;
        for (unsigned long i = 0; i < rounds; ++i) {
            prepare(from, rounds - i, i);
            if (how_.sockets())
                must(co_await from.socket.async_read_some(asio::buffer(&byte, 1), use_awaitable) ==
                         1,
                     "a read");
            else
                co_await post(context_, use_awaitable);
        }
        one_has_ended();
    }

    template <limit Limit>
    awaitable<void> read(reader& from, unsigned long rounds) {
        char byte = 0;
        const bool fires = how_.event == "fires";
        asio::steady_timer timer(context_);
        for (unsigned long i = 0; i < rounds; ++i) {
            prepare(from, rounds - i, i);
            bool expired = false;
            if constexpr (Limit == limit::by_cancel_after) {
#if ASIO_VERSION >= 103000
                using asio::cancel_after;
                if (how_.sockets()) {
                    auto [ec, n] = co_await from.socket.async_read_some(
                        asio::buffer(&byte, 1), cancel_after(length_, as_tuple(use_awaitable)));
                    expired = ec == asio::error::operation_aborted;
                } else if (fires) {
                    auto [ec] = co_await from.never.async_wait(
                        cancel_after(length_, as_tuple(use_awaitable)));
                    expired = ec == asio::error::operation_aborted;
                } else {
                    co_await post(context_, cancel_after(length_, use_awaitable));
                }
#else
                bench::fail("--limit cancel_after", "needs Asio 1.30");
#endif
            } else if constexpr (Limit == limit::by_or) {
                timer.expires_after(length_);
                if (how_.sockets()) {
                    auto first = co_await (
                        from.socket.async_read_some(asio::buffer(&byte, 1), use_awaitable) ||
                        timer.async_wait(use_awaitable));
                    expired = first.index() == 1;
                } else if (fires) {
                    auto first = co_await (from.never.async_wait(use_awaitable) ||
                                           timer.async_wait(use_awaitable));
                    expired = first.index() == 1;
                } else {
                    auto first =
                        co_await (post(context_, use_awaitable) || timer.async_wait(use_awaitable));
                    expired = first.index() == 1;
                }
            } else {
                timer.expires_after(length_);
                if (how_.sockets()) {
                    auto first = co_await (from.socket.async_read_some(asio::buffer(&byte, 1),
                                                                       as_tuple(use_awaitable)) ||
                                           timer.async_wait(as_tuple(use_awaitable)));
                    expired = first.index() == 1;
                } else if (fires) {
                    auto first = co_await (from.never.async_wait(as_tuple(use_awaitable)) ||
                                           timer.async_wait(as_tuple(use_awaitable)));
                    expired = first.index() == 1;
                } else {
                    auto first = co_await (post(context_, use_awaitable) ||
                                           timer.async_wait(as_tuple(use_awaitable)));
                    expired = first.index() == 1;
                }
            }
            must(expired == fires, "a limited read");
        }
        one_has_ended();
    }

    limits::setting how_;
    std::chrono::nanoseconds length_;
    std::size_t active_ = 0;
    asio::io_context context_{1};
    std::list<reader> readers_;
    std::vector<std::unique_ptr<asio::steady_timer>> others_;
};

}  // namespace

int main(int argc, char** argv) {
    const bench::arguments given(argc, argv, limits::options);
    limits::both<bench_run> runs(given);
    const std::string_view how = given.choice("--limit", {"or", "or_tuple", "cancel_after"});
    limits::compare(given, [&](bool limited, unsigned long rounds) {
        bench_run& run = runs[limited];
        if (how == "or") run.run<limit::by_or>(limited, rounds);
        if (how == "or_tuple") run.run<limit::by_or_tuple>(limited, rounds);
        if (how == "cancel_after") run.run<limit::by_cancel_after>(limited, rounds);
    });
    std::fflush(stdout);
    std::_Exit(0);  // without taking down a million timers
}
