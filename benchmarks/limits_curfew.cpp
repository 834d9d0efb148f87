// What a limit costs with curfew: see limits.hpp. `--limit cancel` or `close`; `--depth` 1 to 8
// limits, one around the other.

#include "limits.hpp"

#include <chrono>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include <sys/socket.h>

#include <curfew/curfew.hpp>

using namespace curfew;
using namespace std::chrono_literals;

using limits::must;

namespace {

/// Completes reads without a system call: at once, in the next turn, or never.
class null_reactor final : public reactor {
public:
    explicit null_reactor(std::string_view event) noexcept
        : at_once_(event == "at_once"), never_(event == "fires") {}

    std::string_view name() const noexcept override { return "null"; }

    bool start(operation& op) noexcept override {
        op.transferred = 1;
        if (at_once_) {
            op.finish(outcome::success);
            return true;
        }
        if (!never_) pending_[count_++] = &op;
        return false;
    }

    void cancel(operation& op, completions& done) noexcept override {
        op.transferred = 0;
        op.finish(outcome::canceled);
        done.push(op);
    }

    void close(socket_state& socket, close_mode, completions& done) noexcept override {
        if (operation* const op = socket.reader) {
            if (op->reason == outcome::success) op->reason = outcome::closed;
            cancel(*op, done);
        }
        socket.handle = platform::invalid_socket;
    }

    void release(socket_state& socket, completions& done) noexcept override {
        close(socket, close_mode::graceful, done);
    }

    int wait(std::chrono::nanoseconds, completions& done) noexcept override {
        for (std::size_t i = 0; i < count_; ++i) {
            pending_[i]->finish(outcome::success);
            done.push_read(*pending_[i], *pending_[i]->socket);
        }
        count_ = 0;
        return 0;
    }

    void wake() noexcept override {}

private:
    bool at_once_;
    bool never_;
    std::size_t count_ = 0;
    operation* pending_[limits::together];
};

/// One end of each pair is read from; the other one is written to with plain calls.
struct reader {
    tcp::socket socket;
    int peer = -1;
    bool waits = false;
};

template <int Depth>
auto limited(const auto& read, std::chrono::nanoseconds length, on_timeout policy) {
    if constexpr (Depth == 1)
        return with_timeout(read, length, policy);
    else
        return with_timeout(limited<Depth - 1>(read, length, policy), length + 1s, policy);
}

class bench_run {
public:
    bench_run(const bench::arguments& given, bool limited)
        : how_(given, limited),
          policy_(given.choice("--limit", {"cancel", "close"}) == "close" ? on_timeout::close
                                                                          : on_timeout::cancel),
          length_(how_.event == "fires" ? std::chrono::nanoseconds(1)
                                        : std::chrono::seconds(limits::measured_limit)),
          ctx_(how_.sockets() ? std::unique_ptr<reactor>(std::make_unique<epoll_reactor>())
                              : std::make_unique<null_reactor>(how_.event)) {
        if (policy_ == on_timeout::close && how_.event == "fires")
            bench::fail("--limit close", "would close the one connection of the case fires");
        for (unsigned long i = 0; i < how_.readers(); ++i) readers_.push_back(open());
        for (unsigned long i = 1; i < how_.outstanding; ++i)
            ctx_.spawn(other(std::chrono::milliseconds(how_.other_limit(i))));
        ctx_.poll();
    }

    template <int Depth>
    void run(bool with_limit, unsigned long rounds) {
        ctx_.block_on(all<Depth>(with_limit, rounds));
    }

private:
    reader open() {
        reader made{tcp::socket(ctx_)};
        if (!how_.sockets()) {
            made.socket.open(ip::family::v4).value();  // a handle that is never asked anything
            return made;
        }
        return ctx_.block_on(connected());
    }

    task<reader> connected() {
        tcp::acceptor acceptor(ctx_);
        acceptor.listen(ip::endpoint::parse("127.0.0.1:0").value()).value();
        tcp::socket client(ctx_);
        auto [cec] = co_await client.connect(acceptor.local_endpoint());
        auto [ec, server] = co_await acceptor.accept();
        must(!cec && !ec, "connect");
        client.no_delay(true).value();
        co_return reader{std::move(server), client.release()};
    }

    task<> other(std::chrono::milliseconds length) {
        auto [ec] = co_await with_timeout(never_.wait(), length);
        must(ec == errc::timed_out || ec == errc::canceled, "another limit");
    }

    /// Sends a byte to each reader that waits for one: once in a turn.
    task<> feed() {
        while (active_ > 0) {
            for (reader& each : readers_)
                if (std::exchange(each.waits, false))
                    must(::send(each.peer, "", 1, 0) == 1, "send");
            co_await yield();
        }
    }

    /// So many bytes that a number of reads need not wait.
    void fill(reader& from, unsigned long count) {
        static constexpr char bytes[4096] = {};
        must(::send(from.peer, bytes, count, 0) == static_cast<ssize_t>(count), "send");
    }

    template <int Depth>
    task<> read(reader& from, bool with_limit, unsigned long rounds) {
        const bool at_once = how_.event == "at_once";
        const std::error_code expected =
            how_.event == "fires" ? make_error_code(errc::timed_out) : std::error_code();
        std::byte byte{};
        for (unsigned long i = 0; i < rounds; ++i) {
            if (how_.sockets()) {
                if (at_once && i % 4096 == 0) fill(from, std::min(rounds - i, 4096ul));
                from.waits = !at_once && how_.event != "fires";
            }
            if (with_limit) {
                auto [ec, n] = co_await limited<Depth>(from.socket.read_some(std::span(&byte, 1)),
                                                       length_, policy_);
                must(ec == expected && n == (ec ? 0 : 1), "a limited read");
            } else {
                auto [ec, n] = co_await from.socket.read_some(std::span(&byte, 1));
                must(!ec && n == 1, "a read");
            }
        }
        if (--active_ == 0) finished_.set();
    }

    template <int Depth>
    task<> all(bool with_limit, unsigned long rounds) {
        if (how_.event == "fires" && !with_limit) co_return;  // it would never end
        active_ = readers_.size();
        finished_.reset();
        for (reader& each : readers_) ctx_.spawn(read<Depth>(each, with_limit, rounds));
        if (how_.sockets() && (how_.event == "later" || how_.event == "again")) ctx_.spawn(feed());
        co_await finished_.wait();
    }

    limits::setting how_;
    on_timeout policy_;
    std::chrono::nanoseconds length_;
    event never_;
    event finished_;
    std::size_t active_ = 0;
    io_context ctx_;
    std::vector<reader> readers_;
};

}  // namespace

int main(int argc, char** argv) {
    const bench::arguments given(argc, argv, limits::options);
    limits::both<bench_run> runs(given);
    const auto compare = [&]<int Depth>() {
        limits::compare(given, [&](bool limited, unsigned long rounds) {
            runs[limited].run<Depth>(limited, rounds);
        });
    };
    switch (given.number("--depth", 1)) {
    case 1:
        compare.operator()<1>();
        break;
    case 2:
        compare.operator()<2>();
        break;
    case 4:
        compare.operator()<4>();
        break;
    case 8:
        compare.operator()<8>();
        break;
    default:
        bench::fail("--depth", "is 1, 2, 4 or 8");
    }
    std::fflush(stdout);
    std::_Exit(0);  // without taking down a million tasks
}
