// Under a hostile system: what operations report of it, and that nothing else comes of it. The rest
// of the suite runs on the same platform, with the faults that nobody may notice.
#include <array>
#include <cstdio>
#include <string>
#include <vector>

#include "support/effort.hpp"
#include "support/loop.hpp"

using namespace test;

namespace {

/// Begins the sequence of faults anew for each test case, and says how to replay one that fails.
struct sequences : doctest::IReporter {
    const char* name = "";

    explicit sequences(const doctest::ContextOptions&) {}
    void test_case_start(const doctest::TestCaseData& test) override {
        name = test.m_name;
        faults::begin(faults::seed_of_environment());
    }
    void test_case_end(const doctest::CurrentTestCaseStats& result) override {
        if (result.testCaseSuccess) return;
        const char* const reactor = std::getenv("CURFEW_TEST_REACTOR");
        std::printf("To replay it: CURFEW_FAULT_SEED=%llu CURFEW_TEST_REACTOR=%s curfew_tests "
                    "--test-case='%s'\n",
                    static_cast<unsigned long long>(faults::seed_of_environment()),
                    reactor ? reactor : "", name);
    }
    void report_query(const doctest::QueryData&) override {}
    void test_run_start() override {}
    void test_run_end(const doctest::TestRunStats&) override {}
    void test_case_reenter(const doctest::TestCaseData&) override {}
    void test_case_exception(const doctest::TestCaseException&) override {}
    void subcase_start(const doctest::SubcaseSignature&) override {}
    void subcase_end() override {}
    void log_assert(const doctest::AssertData&) override {}
    void log_message(const doctest::MessageData&) override {}
    void test_case_skipped(const doctest::TestCaseData&) override {}
};

REGISTER_LISTENER("sequences", 1, sequences);

/// While it lives, operations fail with errors of the system's, too.
struct visible_faults {
    visible_faults() { faults::here().visible = true; }
    ~visible_faults() { faults::here().visible = false; }
    visible_faults(const visible_faults&) = delete;
    visible_faults& operator=(const visible_faults&) = delete;
};

bool is_out_of_resources(std::error_code ec) {
    return ec == std::errc::not_enough_memory || ec == std::errc::no_buffer_space;
}

std::byte byte_at(std::size_t position) {
    return static_cast<std::byte>(static_cast<std::uint32_t>(position) * 2654435761u >> 24);
}

struct figures {
    std::size_t moved = 0;
    std::size_t failed = 0;
    std::size_t ended_early = 0;
    bool exact = true;
};

/// Counts a result and says whether to go on.
bool count(figures& of, const result<std::size_t>& got) {
    of.moved += got.data;
    of.ended_early += got.ec == errc::timed_out;
    of.failed += is_out_of_resources(got.ec);
    return !got.ec || got.ec == errc::timed_out || is_out_of_resources(got.ec);
}

task<> write_sequence(tcp::socket& socket, std::size_t total, figures& out) {
    std::vector<std::byte> block(20'000);
    while (out.moved < total || (out.failed == 0 && out.moved < 64 * total)) {
        const auto bytes = std::span(block).first(1 + faults::below(block.size()));
        for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = byte_at(out.moved + i);
        const std::size_t half = bytes.size() / 2;
        const auto limit = std::chrono::microseconds(faults::below(300));
        result<std::size_t> got;
        switch (faults::below(3)) {
        case 0:
            got = co_await with_timeout(socket.write_some(bytes), limit);
            break;
        case 1:
            got = co_await with_timeout(write_all(socket, bytes), limit);
            break;
        default:
            got = co_await with_timeout(write_all(socket, bytes.first(half), bytes.subspan(half)),
                                        limit);
        }
        if (!count(out, got)) break;
    }
    socket.shutdown(shutdown_how::send);
}

task<> read_sequence(tcp::socket& socket, figures& out) {
    std::vector<std::byte> block(20'000);
    for (;;) {
        const auto bytes = std::span(block).first(1 + faults::below(block.size()));
        const std::size_t half = bytes.size() / 2;
        const auto limit = std::chrono::microseconds(faults::below(300));
        result<std::size_t> got;
        switch (faults::below(3)) {
        case 0:
            got = co_await with_timeout(socket.read_some(bytes), limit);
            break;
        case 1:
            got = co_await with_timeout(read_exactly(socket, bytes), limit);
            break;
        default:
            got = co_await with_timeout(
                read_exactly(socket, bytes.first(half), bytes.subspan(half)), limit);
        }
        for (std::size_t i = 0; i < got.data; ++i)
            if (bytes[i] != byte_at(out.moved + i)) out.exact = false;
        if (!count(out, got)) co_return;
    }
}

}  // namespace

REACTOR_TEST("no byte is lost or doubled, whatever fails, and whatever is cut short") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        const visible_faults now;
        client.send_buffer_size(16 * 1024);
        server.receive_buffer_size(16 * 1024);
        figures written;
        figures read;
        const std::size_t total = scaled(32 << 20);
        auto writer = ctx.spawn(write_sequence(client, total, written));
        auto reader = ctx.spawn(read_sequence(server, read));
        co_await writer;
        co_await reader;
        CHECK(written.moved >= total);
        CHECK(read.moved == written.moved);
        CHECK(read.exact);
        CHECK(written.failed > 0);
    });
}

REACTOR_TEST("connections that die in the queue, and a lack of descriptors, end no acceptor") {
    run(kind, [&](io_context& ctx) -> task<> {
        tcp::acceptor acceptor(ctx);
        acceptor.listen(any_port(), {.wait_for_descriptors = false}).value();
        const visible_faults now;
        const int count = 50;
        int refused = 0;
        for (int i = 0; i < count; ++i) {
            auto peer = blocking_connect(acceptor.local_endpoint());
            for (;;) {
                auto [ec, accepted] = co_await with_timeout(acceptor.accept(), 10s);
                if (!ec) break;
                CHECK(ec == std::errc::too_many_files_open);
                ++refused;
            }
        }
        CHECK(refused > 0);
    });
}

REACTOR_TEST("an error of one socket's is seen by that one alone") {
    run(kind, [&](io_context& ctx) -> task<> {
        blocking_listener listener;
        auto [socket, peer] = co_await test::connect(ctx, listener);
        auto [other, other_peer] = co_await test::connect(ctx, listener);
        std::array<char, 8> buffer;
        for (int i = 0; i < 20; ++i) {
            auto reading = ctx.spawn([](tcp::socket& s) -> task<result<std::size_t>> {
                std::array<char, 8> own;
                co_return co_await s.read_some(own);
            }(socket));
            co_await yield();
            faults::here().broken = socket.native_handle();
            CHECK(peer.send("x") == 0);
            CHECK(other_peer.send("are you?") == 0);
            CHECK((co_await read_exactly(other, buffer)).value() == 8);
            CHECK((co_await reading).error() == std::errc::connection_reset);
            CHECK((co_await read_exactly(socket, std::span(buffer).first(1))).value() == 1);
        }
    });
}

TEST_CASE("faults do happen") {
    const std::size_t before = faults::here().injected;
    io_context ctx(reactor_kind::poll);
    ctx.block_on([](io_context& own) -> task<> {
        auto [client, server] = co_await test::connect(own);
        std::array<char, 64> buffer;
        for (int i = 0; i < 1000; ++i) {
            (co_await write_all(client, buffer)).value();
            (co_await read_exactly(server, buffer)).value();
        }
    }(ctx));
    CHECK(faults::here().injected > before + 10);
}

TEST_CASE("a seed decides the whole sequence") {
    const auto numbers = [](std::uint64_t seed) {
        faults::begin(seed);
        std::vector<std::uint64_t> drawn;
        for (int i = 0; i < 100; ++i) drawn.push_back(faults::next());
        return drawn;
    };
    CHECK(numbers(1) == numbers(1));
    CHECK(numbers(1) != numbers(2));
}
