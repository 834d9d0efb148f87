// An operation's turn: how much it may do at once before everybody else has theirs.
#include <curfew/reactor/attempt.hpp>

#include <array>
#include <cerrno>
#include <string>
#include <thread>
#include <vector>

#include "support/loop.hpp"

using namespace test;
using detail::fair_size;
using detail::portion;

namespace {

/// A read into `list`, of whose first buffer `done` bytes are there.
struct reading : operation {
    explicit reading(std::span<const mutable_buffer> list, std::size_t done = 0)
        : operation(operation_kind::read, readiness::readable, &detail::no_socket) {
        buffers = list.data();
        buffer_count = static_cast<std::uint32_t>(list.size());
        offset = done;
    }
};

/// Buffers of two bytes each: a thousand system calls for 32 KiB.
template <class Buffer, class String>
std::vector<Buffer> in_pairs(String& bytes) {
    std::vector<Buffer> pairs;
    for (std::size_t at = 0; at < bytes.size(); at += 2)
        pairs.push_back(std::span(bytes).subspan(at, 2));
    return pairs;
}

task<> second_write_is_refused(tcp::socket& to) {
    CHECK((co_await to.write_some("y")).error() == std::errc::operation_in_progress);
}

task<> second_read_is_refused(tcp::socket& from) {
    char byte;
    CHECK((co_await from.read_some(std::span(&byte, 1))).error() ==
          std::errc::operation_in_progress);
}

/// How many turns others have before `work` is done.
task<int> turns_during(task<> work) {
    bool done = false;
    int turns = 0;
    co_await when_all(
        [](task<> first, bool& flag) -> task<> {
            co_await std::move(first);
            flag = true;
        }(std::move(work), done),
        [](const bool& flag, int& count) -> task<> {
            while (!flag) {
                co_await yield();
                ++count;
            }
        }(done, turns));
    co_return turns;
}

}  // namespace

TEST_CASE("a portion is as many buffers as fit") {
    std::array<char, 30> bytes;
    const std::array<mutable_buffer, 3> list{std::span(bytes).first(10), std::span(bytes).first(10),
                                             std::span(bytes).first(10)};
    const reading whole(list);
    const reading begun(list, 4);
    for (const std::size_t most : {20u, 29u}) {
        const portion next(whole, most);
        CHECK(next.list == list.data());
        CHECK(next.count == 2);
        CHECK(next.skip == 0);
        CHECK(next.size == 20);
    }
    CHECK(portion(whole, 30).count == 3);
    CHECK(portion(whole, fair_size).size == 30);
    const portion rest(begun, 25);
    CHECK(rest.count == 2);
    CHECK(rest.skip == 4);
    CHECK(rest.size == 16);
}

TEST_CASE("a portion is the beginning of a buffer that is too large") {
    std::array<char, 30> bytes;
    const std::array<mutable_buffer, 4> list{std::span(bytes).first(0), std::span(bytes).first(0),
                                             std::span(bytes).subspan(10), std::span(bytes)};
    const reading whole(list);
    const portion first(whole, 7);
    CHECK(first.count == 1);
    CHECK(first.list->data == static_cast<void*>(bytes.data() + 10));
    CHECK(first.list->size == 7);
    CHECK(first.skip == 0);
    CHECK(first.size == 7);

    const reading begun{std::span(list).subspan(2), 5};
    const portion second(begun, 7);
    CHECK(second.count == 1);
    CHECK(second.list->data == static_cast<void*>(bytes.data() + 15));
    CHECK(second.list->size == 7);
    CHECK(second.skip == 0);
}

TEST_CASE("a portion is no more buffers than a system call takes, empty ones not counted") {
    char byte;
    std::vector<mutable_buffer> list;
    for (std::size_t i = 0; i < 2 * platform::max_buffers; ++i) {
        list.push_back(std::span(&byte, 0));
        list.push_back(std::span(&byte, 1));
    }
    const reading whole(list);
    const portion next(whole, fair_size);
    CHECK(next.size == platform::max_buffers);
    CHECK(next.count <= 2 * platform::max_buffers + 1);  // an empty one may follow
}

TEST_CASE("a turn is over after so many bytes, or so many calls") {
    std::size_t left = fair_size;
    CHECK(detail::turn_goes_on(left, fair_size - 1));
    CHECK(left == 1);
    CHECK_FALSE(detail::turn_goes_on(left, 1));
    left = fair_size;
    int calls = 1;
    while (detail::turn_goes_on(left, 1)) ++calls;
    CHECK(calls == 64);
}

#if !defined(_WIN32) && !defined(TEST_PLATFORM_QUIRKY)  // which have other numbers
TEST_CASE("an empty write has written all there is, whatever its call says but that it failed") {
    for (const int error : {0, EINTR, EAGAIN, EPIPE}) {
        const const_buffer nothing;
        const std::span<const const_buffer> list(&nothing, 1);
        socket_state socket;
        operation op(operation_kind::write, readiness::writable, &socket);
        op.buffers = list.data();
        op.buffer_count = 1;
        CHECK(detail::after_nothing(op, -error));
        CHECK(op.result == (error == EPIPE ? outcome::system : outcome::success));
        CHECK(op.transferred == 0);
    }
}
#endif

REACTOR_TEST("transfers that find room for all, or all of it there, let others have their turns") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        std::string out(32 * 1024, 'x');
        for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<char>('a' + i % 23);
        std::string in(out.size(), ' ');
        const auto from = in_pairs<const_buffer>(out);
        const auto into = in_pairs<mutable_buffer>(in);
        const int writing = co_await turns_during(
            [](tcp::socket& to, const std::vector<const_buffer>& all) -> task<> {
                CHECK((co_await write_all(to, all)).ok());
            }(client, from));
        CHECK(writing >= 3);
        const int reading = co_await turns_during(
            [](tcp::socket& source, const std::vector<mutable_buffer>& all) -> task<> {
                CHECK((co_await read_exactly(source, all)).ok());
            }(server, into));
        CHECK(reading >= 3);
        CHECK(in == out);
        // What has been left worth trying, or not, is right.
        CHECK((co_await with_timeout(server.read_some(in), 1ms)).error() == errc::timed_out);
        CHECK((co_await write_all(client, "more")).ok());
        CHECK((co_await server.read_some(in)).value() == 4);
    });
}

REACTOR_TEST("a transfer whose turn is over is pending: another one beside it is refused") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        const std::string bytes(32 * 1024, 'x');
        std::string in(bytes.size(), ' ');
        const auto from = in_pairs<const_buffer>(bytes);
        const auto into = in_pairs<mutable_buffer>(in);
        // In the same turn, and in the next one.
        auto writing = ctx.spawn(
            [](tcp::socket& to, const std::vector<const_buffer>& all) -> task<std::size_t> {
                co_return (co_await write_all(to, all)).value();
            }(client, from));
        ctx.spawn(second_write_is_refused(client));
        co_await yield();
        CHECK_FALSE(writing.done());
        co_await second_write_is_refused(client);
        CHECK(co_await writing == bytes.size());
        auto reading = ctx.spawn(
            [](tcp::socket& source, const std::vector<mutable_buffer>& all) -> task<std::size_t> {
                co_return (co_await read_exactly(source, all)).value();
            }(server, into));
        ctx.spawn(second_read_is_refused(server));
        co_await yield();
        CHECK_FALSE(reading.done());
        co_await second_read_is_refused(server);
        CHECK(co_await reading == bytes.size());
        CHECK(in == bytes);
    });
}

REACTOR_TEST("a connect that is refused, since there is a connection, leaves it as it is") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        std::array<char, 8> buffer;
        CHECK((co_await with_timeout(client.read_some(buffer), 1ms)).error() == errc::timed_out);
        CHECK((co_await write_all(server, "data")).ok());
        co_await yield();  // its event finds nobody
        co_await yield();
        CHECK((co_await client.connect(server.local_endpoint())).error() ==
              std::errc::already_connected);
        CHECK((co_await with_timeout(client.write_all(std::string_view("x")), 5s)).ok());
        CHECK((co_await with_timeout(client.read_some(buffer), 5s)).value() == 4);
    });
}

REACTOR_TEST("a peer that keeps up with a large transfer keeps nobody else from their turns") {
    run(kind, [&](io_context& ctx) -> task<> {
        blocking_listener listener;
        auto [socket, peer] = co_await test::connect(ctx, listener);
        std::string bytes(24 * fair_size, 'x');
        for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i % 251);
        std::string echoed;
        std::thread other([&, &with = peer] {
            echoed = with.receive_all(bytes.size()).bytes;
            with.send(echoed);
        });
        const int writing =
            co_await turns_during([](tcp::socket& to, const std::string& all) -> task<> {
                CHECK((co_await write_all(to, all)).ok());
            }(socket, bytes));
        CHECK(writing >= 4);
        std::string back(bytes.size(), ' ');
        const int reading =
            co_await turns_during([](tcp::socket& from, std::string& all) -> task<> {
                CHECK((co_await from.read_exactly(all)).ok());
            }(socket, back));
        CHECK(reading >= 4);
        other.join();
        CHECK(echoed == bytes);
        CHECK(back == bytes);
    });
}

REACTOR_TEST("a limit cuts a large transfer short whose peer keeps up, and knows how far it came") {
    run(kind, [&](io_context& ctx) -> task<> {
        blocking_listener listener;
        auto [socket, peer] = co_await test::connect(ctx, listener);
        // More than any machine moves in that time.
        const std::string bytes(256 * fair_size, 'x');
        std::size_t received = 0;
        std::thread other([&, &with = peer] {
            for (;;) {
                const auto got = with.receive(1 << 20).bytes.size();
                if (got == 0) break;
                received += got;
            }
        });
        auto [ec, n] = co_await with_timeout(socket.write_all(bytes), 1ms);
        CHECK(ec == errc::timed_out);
        CHECK(n < bytes.size());
        socket.close();
        other.join();
        CHECK(received == n);
    });
}
