// How late limits fire that expire: a thousand, spread over a second, while nothing else happens. With
// --busy: how late a sleep of 5 ms ends, a hundred times, beside so many tasks that never wait, or
// (--with transfers) connections over which 64 KiB at a time go both ways as fast as they can. With
// --crowd: how late a sleep of 200 us ends while so many limits of one instant expire. It fails if one
// fires early.

#include "reactor_option.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

using namespace curfew;
using namespace std::chrono_literals;

namespace {

using real_clock = std::chrono::steady_clock;

class lateness {
public:
    void add(real_clock::time_point due) {
        const std::chrono::duration<double, std::micro> by = real_clock::now() - due;
        if (by.count() < 0) bench::fail("a limit", "fired early");
        late_.push_back(by.count());
    }
    void print(const char* what, unsigned long count) {
        std::sort(late_.begin(), late_.end());
        std::printf("%s=%lu p50_us=%.0f p99_us=%.0f max_us=%.0f\n", what, count, quantile(0.5),
                    quantile(0.99), late_.back());
    }

private:
    double quantile(double part) const {
        return late_[static_cast<std::size_t>(part * static_cast<double>(late_.size() - 1))];
    }
    std::vector<double> late_;
};

task<> expire(event& never, std::chrono::microseconds limit, lateness& late) {
    const auto due = real_clock::now() + limit;
    auto [ec] = co_await with_timeout(never.wait(), limit);
    if (ec != errc::timed_out) bench::fail("a limit", ec.message());
    late.add(due);
}

task<> sleep_again(std::chrono::microseconds time, bool& over, int times, lateness& late) {
    for (int i = 0; !over && (times == 0 || i < times); ++i) {
        const auto due = real_clock::now() + time;
        co_await sleep_for(time);
        late.add(due);
    }
    over = true;
}

/// Datagrams of 32 KiB that can always be sent.
task<> send_for_ever(io_context& ctx, const ip::endpoint& to, const std::vector<std::byte>& bytes,
                     const bool& over) {
    udp::socket socket(ctx);
    while (!over) (void)co_await socket.send_to(bytes, to);
}

task<> yield_for_ever(const bool& over) {
    while (!over) co_await yield();
}

task<> pass_for_ever(channel<int>& from, channel<int>& to, const bool& over) {
    while (!over) {
        (void)co_await to.send(1);
        (void)co_await from.receive();
    }
    to.close();
    from.close();
}

/// Writes and reads 64 KiB at a time at one end of a connection.
task<> transfer_for_ever(tcp::socket& socket, const bool& over) {
    std::vector<std::byte> incoming(64 << 10);
    const std::vector<std::byte> outgoing(64 << 10);
    while (!over) {
        auto [written, read] =
            co_await when_all(write_all(socket, outgoing), read_exactly(socket, incoming));
        if (written.ec || read.ec) co_return;
    }
}

task<> transfer(io_context& ctx, unsigned long count, bool& over, lateness& late) {
    tcp::acceptor acceptor(ctx);
    acceptor.listen({ip::address::loopback_v4(), 0}).value();
    std::vector<tcp::socket> sockets;
    for (unsigned long i = 0; i < count; ++i) {
        tcp::socket near(ctx);
        auto [connected, accepted] =
            co_await when_all(near.connect(acceptor.local_endpoint()), acceptor.accept());
        if (connected.ec || accepted.ec) bench::fail("connect", "it has failed");
        sockets.push_back(std::move(near));
        sockets.push_back(std::move(accepted.data));
    }
    task_group group;
    for (tcp::socket& each : sockets) group.spawn(transfer_for_ever(each, over));
    co_await sleep_for(200ms);
    co_await sleep_again(5ms, over, 100, late);
    group.cancel();
    std::ignore = co_await group.join();
}

void beside_busy(io_context& ctx, unsigned long count, std::string_view with,
                 lateness& late) {
    bool over = false;
    udp::socket sink(ctx);
    sink.bind({ip::address::loopback_v4(), 0}).value();
    const std::vector<std::byte> bytes(32 << 10);
    std::vector<std::unique_ptr<channel<int>>> channels;
    if (with == "transfers") {
        ctx.spawn(transfer(ctx, count, over, late));
        ctx.run();
        return;
    }
    for (unsigned long i = 0; i < count; ++i) {
        if (with == "sends") {
            ctx.spawn(send_for_ever(ctx, sink.local_endpoint(), bytes, over));
        } else if (with == "yields") {
            ctx.spawn(yield_for_ever(over));
        } else {
            channels.push_back(std::make_unique<channel<int>>(1));
            ctx.spawn(pass_for_ever(*channels.back(), *channels.back(), over));
        }
    }
    ctx.spawn(sleep_again(5ms, over, 100, late));
    ctx.run();
}

void in_crowd(io_context& ctx, unsigned long count, lateness& late) {
    bool over = false;
    event never;
    unsigned long left = count;
    const auto instant = clock::now() + 1s;
    for (unsigned long i = 0; i < count; ++i)
        ctx.spawn([](event& what, clock::time_point when, unsigned long& rest,
                     bool& ended) -> task<> {
            auto [ec] = co_await with_deadline(what.wait(), when);
            if (ec != errc::timed_out) bench::fail("a limit", ec.message());
            if (--rest == 0) ended = true;
        }(never, instant, left, over));
    ctx.spawn([](clock::time_point when, bool& ended, lateness& result) -> task<> {
        co_await sleep_until(when - 5ms);
        co_await sleep_again(200us, ended, 0, result);
    }(instant, over, late));
    ctx.run();
}

}  // namespace

int main(int argc, char** argv) {
    bench::arguments arguments(argc, argv,
                               {"--limits", "--reactor", "--busy", "--with", "--crowd"});
    io_context ctx(reactor_of(arguments));
    lateness late;
    if (const unsigned long busy = arguments.number("--busy", 0)) {
        beside_busy(ctx, busy, arguments.choice("--with", {"sends", "yields", "messages", "transfers"}), late);
        late.print("busy", busy);
    } else if (const unsigned long crowd = arguments.number("--crowd", 0)) {
        in_crowd(ctx, crowd, late);
        late.print("crowd", crowd);
    } else {
        const unsigned long count = arguments.number("--limits", 1000);
        event never;
        for (unsigned long i = 0; i < count; ++i)
            ctx.spawn(expire(never, std::chrono::microseconds(1000 + 997 * i % 1'000'000), late));
        ctx.run();
        late.print("limits", count);
    }
}
