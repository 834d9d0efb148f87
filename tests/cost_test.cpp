// What a limit costs that does not expire: no allocation, no system call.
#include <array>
#include <functional>

#include "support/allocations.hpp"
#include "support/loop.hpp"
#include "support/system_calls.hpp"

using namespace test;

namespace {

constexpr int warm_up = 100;
constexpr int rounds = 1000;

enum class limits { none, cancel, close, nested, deadline };

/// Passes a ball back and forth. Each read waits for the other side, so that its limit is armed,
/// and disarmed when the ball comes.
task<> play(tcp::socket& socket, limits how, std::function<void(int)> on_round) {
    std::array<char, 64> buffer;
    for (int round = 0; round < warm_up + rounds; ++round) {
        on_round(round);
        result<std::size_t> got;
        switch (how) {
        case limits::none:
            got = co_await socket.read_some(buffer);
            break;
        case limits::cancel:
            got = co_await with_timeout(socket.read_some(buffer), 1h);
            break;
        case limits::close:
            got = co_await with_timeout(socket.read_some(buffer), 1h, on_timeout::close);
            break;
        case limits::nested:
            got = co_await with_timeout(
                with_timeout(with_timeout(socket.read_some(buffer), 3h), 1h), 2h);
            break;
        case limits::deadline:
            got = co_await with_deadline(socket.read_some(buffer), clock::time_point::max());
            break;
        }
        if (!got.ok()) co_return;
        if (!(co_await write_all(socket, std::span(buffer).first(got.value()))).ok()) co_return;
    }
}

struct costs {
    std::size_t allocations = 0;
    std::size_t calls = 0;
};

/// What `rounds` rounds cost after the first ones.
costs echo(reactor_kind kind, limits how) {
    io_context ctx(kind);
    costs before;
    costs after;
    ctx.block_on([](io_context& c, limits policy, costs& first, costs& last) -> task<> {
        auto [client, server] = co_await test::connect(c);
        auto other = c.spawn(play(server, policy, [](int) {}));
        (co_await write_all(client, "ball")).value();
        co_await play(client, policy, [&](int round) {
            if (round == warm_up) first = {allocations(), system_calls()};
            last = {allocations(), system_calls()};
        });
        other.cancel();
        co_await other;
    }(ctx, how, before, after));
    return {after.allocations - before.allocations, after.calls - before.calls};
}

}  // namespace

REACTOR_TEST("a limit that does not expire adds no allocation and no system call") {
    const costs without = echo(kind, limits::none);
    CHECK(without.allocations == 0);
    // Two reads, two writes and two waits; on io_uring the waits do it all.
    if (counts_system_calls) CHECK(without.calls >= (kind == reactor_kind::io_uring ? 2 : 6) * (rounds - 1));
    for (const auto how : {limits::cancel, limits::close, limits::nested, limits::deadline}) {
        const costs with = echo(kind, how);
        CHECK(with.allocations == 0);
        CHECK(with.calls <= without.calls + stray_calls);
        CHECK(with.calls + stray_calls >= without.calls);
    }
}

REACTOR_TEST("a limit on a task adds no allocation to the task's own in steady state") {
    io_context ctx(kind);
    ctx.block_on([]() -> task<> {
        std::size_t before = 0;
        auto child = []() -> task<int> {
            co_await yield();
            co_return 1;
        };
        for (int i = 0; i < warm_up + rounds; ++i) {
            if (i == warm_up) before = allocations();
            (co_await with_timeout(child(), 1h)).value();
        }
#if CURFEW_RECYCLE_FRAMES
        CHECK(allocations() == before);
#else
        CHECK(allocations() == before + rounds);
#endif
    }());
}

#if defined(__linux__) && defined(__LP64__)
TEST_CASE("what is kept for a connection that waits is small") {
    CHECK(sizeof(socket_state) <= 64);  // a block of 72 bytes, as with 56
    CHECK(sizeof(operation) <= 96);
    CHECK(sizeof(detail::timer_node) <= 32);
    CHECK(sizeof(detail::promise<void>) <= 40);
    CHECK(sizeof(detail::spawned_fiber) <= 144);
    // While it is awaited the frame has this twice, as it was made and within the limit; the limit
    // lies in its padding.
    using read = decltype(std::declval<tcp::socket&>().read_some(mutable_buffer()));
    CHECK(sizeof(read) <= 32);
    CHECK(sizeof(with_timeout(std::declval<read>(), 1s)) <= 32);
}

TEST_CASE("what an operation touches of its task is in one line of the cache") {
    alignas(64) detail::spawned_fiber record;
    const auto place = [&](const auto& member) {
        return reinterpret_cast<const char*>(&member) - reinterpret_cast<const char*>(&record);
    };
    CHECK(place(record.waiting) / 16 == place(record.in_cancelled) / 16);
}
#endif
