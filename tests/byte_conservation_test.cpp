// No byte is ever lost or doubled: a counting sequence under thousands of limits and cancellations.
#include <curfew/timeout.hpp>

#include <array>
#include <random>
#include <vector>

#include "support/effort.hpp"
#include "support/loop.hpp"

using namespace test;

namespace {

const std::size_t total = scaled(std::size_t{64} << 20);
// Operations that end early; a fast machine moves more bytes for it.
const std::size_t enough = scaled(10'000);

/// The sequence counts in four-byte words, so that a missing or doubled byte shifts all that
/// follow.
std::byte byte_at(std::size_t position) {
    const auto word = static_cast<std::uint32_t>(position / 4) * 2654435761u;
    return static_cast<std::byte>(word >> (8 * (position % 4)));
}

void fill(std::span<std::byte> bytes, std::size_t position) {
    for (auto& each : bytes) each = byte_at(position++);
}

bool matches(std::span<const std::byte> bytes, std::size_t position) {
    for (const auto each : bytes)
        if (each != byte_at(position++)) return false;
    return true;
}

struct figures {
    std::size_t written = 0;
    std::size_t read = 0;
    std::size_t ended_early = 0;
    bool exact = true;
};

/// What ends an operation early: a limit, or somebody's `socket.cancel()`.
enum class by { limit, cancel };

task<result<std::size_t>> shortened(auto operation, by how, std::chrono::microseconds limit,
                                    on_timeout policy = on_timeout::cancel) {
    if (how == by::limit) co_return co_await with_timeout(operation, limit, policy);
    co_return co_await operation;
}

task<> write_sequence(tcp::socket& socket, by how, unsigned seed, figures& out) {
    std::mt19937 random(seed);
    std::vector<std::byte> block(64 * 1024);
    while (out.written < total || (out.ended_early < enough && out.written < 64 * total)) {
        const std::size_t size = 1 + random() % block.size();
        const auto bytes = std::span(block).first(size);
        fill(bytes, out.written);
        const std::chrono::microseconds limit(random() % 2 ? random() % 301 : random() % 31);
        auto [ec, n] = random() % 2 ? co_await shortened(socket.write_some(bytes), how, limit)
                                    : co_await shortened(socket.write_all(bytes), how, limit);
        out.written += n;
        if (ec == errc::timed_out || ec == errc::canceled)
            ++out.ended_early;
        else if (ec)
            co_return;
    }
    socket.shutdown(shutdown_how::send);
}

task<> read_sequence(tcp::socket& socket, by how, unsigned seed, figures& out) {
    std::mt19937 random(seed);
    std::vector<std::byte> block(64 * 1024);
    for (;;) {
        const auto bytes = std::span(block).first(1 + random() % block.size());
        const std::chrono::microseconds limit(random() % 2 ? random() % 301 : random() % 31);
        auto [ec, n] = random() % 2 ? co_await shortened(socket.read_some(bytes), how, limit)
                                    : co_await shortened(socket.read_exactly(bytes), how, limit);
        if (!matches(bytes.first(n), out.read)) out.exact = false;
        out.read += n;
        if (ec == errc::timed_out || ec == errc::canceled)
            ++out.ended_early;
        else if (ec)
            co_return;
        // Limits fire while the peer is slow, too.
        if (random() % 4 == 0) (void)co_await sleep_for(std::chrono::microseconds(random() % 100));
    }
}

task<> cancel_at_random(tcp::socket& socket, unsigned seed, const bool& done) {
    std::mt19937 random(seed);
    while (!done) {
        (void)co_await sleep_for(std::chrono::microseconds(random() % 60));
        socket.cancel();
    }
}

void conserve(reactor_kind kind, by how) {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        client.send_buffer_size(16 * 1024);
        server.receive_buffer_size(16 * 1024);
        figures out;
        bool done = false;
        auto writer = ctx.spawn(write_sequence(client, how, 1, out));
        auto reader = ctx.spawn(read_sequence(server, how, 2, out));
        std::vector<join_handle<>> cancellers;
        if (how == by::cancel) {
            cancellers.push_back(ctx.spawn(cancel_at_random(client, 3, done)));
            cancellers.push_back(ctx.spawn(cancel_at_random(server, 4, done)));
        }
        co_await writer;
        co_await reader;
        done = true;
        for (auto& each : cancellers) co_await each;
        CHECK(out.written >= total);
        CHECK(out.read == out.written);
        CHECK(out.exact);
        CHECK(out.ended_early >= enough);
    });
}

}  // namespace

REACTOR_TEST("64 MiB arrive exactly under random limits on both sides") {
    conserve(kind, by::limit);
}

REACTOR_TEST("64 MiB arrive exactly under random cancellations on both sides") {
    conserve(kind, by::cancel);
}
