// No byte is ever lost or doubled: a counting sequence under thousands of limits and cancellations.
#include <curfew/timeout.hpp>

#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "support/effort.hpp"
#include "support/loop.hpp"

using namespace test;

namespace {

const std::size_t total = scaled(std::size_t{64} << 20);
// Operations that end early; a fast machine moves more bytes for it.
const std::size_t enough = scaled(10'000);

constexpr std::size_t largest = 64 * 1024;  // that is read or written at once, in bytes

/// The sequence: counts in four-byte words, so that a missing or doubled byte shifts all that
/// follow, and begins anew after a mebibyte, which is more than can be on its way.
class sequence {
public:
    void fill(std::span<std::byte> bytes, std::size_t position) const {
        std::memcpy(bytes.data(), &bytes_[position % period], bytes.size());
    }
    bool matches(std::span<const std::byte> bytes, std::size_t position) const {
        return std::memcmp(bytes.data(), &bytes_[position % period], bytes.size()) == 0;
    }

private:
    static constexpr std::size_t period = 1 << 20;
    static std::vector<std::byte> made() {
        std::vector<std::byte> bytes(period + largest);
        for (std::size_t i = 0; i < bytes.size(); ++i) {
            const auto word = static_cast<std::uint32_t>(i % period / 4) * 2654435761u;
            bytes[i] = static_cast<std::byte>(word >> (8 * (i % 4)));
        }
        return bytes;
    }
    const std::vector<std::byte> bytes_ = made();
};

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

task<> write_sequence(tcp::socket& socket, by how, unsigned seed, const sequence& expected,
                      figures& out) {
    std::mt19937 random(seed);
    std::vector<std::byte> block(largest);
    while (out.written < total || (out.ended_early < enough && out.written < 64 * total)) {
        const std::size_t size = 1 + random() % block.size();
        const auto bytes = std::span(block).first(size);
        expected.fill(bytes, out.written);
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

task<> read_sequence(tcp::socket& socket, by how, unsigned seed, const sequence& expected,
                     figures& out) {
    std::mt19937 random(seed);
    std::vector<std::byte> block(largest);
    for (;;) {
        const auto bytes = std::span(block).first(1 + random() % block.size());
        const std::chrono::microseconds limit(random() % 2 ? random() % 301 : random() % 31);
        auto [ec, n] = random() % 2 ? co_await shortened(socket.read_some(bytes), how, limit)
                                    : co_await shortened(socket.read_exactly(bytes), how, limit);
        if (!expected.matches(bytes.first(n), out.read)) out.exact = false;
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
        const sequence bytes;
        figures out;
        bool done = false;
        auto writer = ctx.spawn(write_sequence(client, how, 1, bytes, out));
        auto reader = ctx.spawn(read_sequence(server, how, 2, bytes, out));
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
