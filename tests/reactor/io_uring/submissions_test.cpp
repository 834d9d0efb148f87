// Rings that are full, and what the kernel may copy: operations that have to wait before they are
// submitted.
#include <curfew/reactor/io_uring/submissions.hpp>

#if defined(CURFEW_HAS_IO_URING)

#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "support/loop.hpp"
#include "support/rings.hpp"
#include "support/system_calls.hpp"

using namespace test;

// Full queues -------------------------------------------------------------------------------------

TEST_CASE("ten thousand limits expire together on a ring of 64 entries, and none is lost") {
    rlimit descriptors{};
    ::getrlimit(RLIMIT_NOFILE, &descriptors);
    descriptors.rlim_cur = descriptors.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &descriptors);
    const std::size_t many = std::min<std::size_t>(10'000, descriptors.rlim_max - 200);
    if (many < 10'000) MESSAGE("only ", many, ": more descriptors are not allowed here");
    run_on(64, [many](io_context& ctx) -> task<> {
        std::vector<udp::socket> sockets;
        for (std::size_t i = 0; i < many; ++i) sockets.push_back(bound(ctx));
        const auto receive = [](udp::socket& socket, clock::time_point until) -> task<bool> {
            std::array<char, 4> buffer;
            const auto got = co_await with_deadline(socket.receive(buffer), until);
            co_return got.ec == errc::timed_out;
        };
        const auto until = clock::now() + 300ms;
        std::vector<task<bool>> works;
        for (auto& each : sockets) works.push_back(receive(each, until));
        const auto results = co_await when_all(std::move(works));
        CHECK(static_cast<std::size_t>(std::count(results.begin(), results.end(), true)) == many);

        // Nothing is left of them: each socket works on.
        std::size_t good = 0;
        for (auto& each : sockets) {
            std::array<char, 4> buffer;
            (co_await each.send_to("on", each.local_endpoint())).value();
            const auto got = co_await with_timeout(each.receive(buffer), 5s);
            good += got.ok() && got.data == 2;
        }
        CHECK(good == many);
    });
}

TEST_CASE("a ring of one entry does all that a large one does") {
    run_on(1, [](io_context& ctx) -> task<> {
        tcp::acceptor acceptor(ctx);
        acceptor.listen(any_port()).value();
        constexpr std::size_t many = 200;
        task_group group;
        std::size_t good = 0;
        group.spawn([](tcp::acceptor& a, task_group& g) -> task<> {
            for (std::size_t i = 0; i < many; ++i)
                g.spawn([](tcp::socket peer) -> task<> {
                    std::array<char, 8> buffer;
                    const auto got = co_await peer.read_some(buffer);
                    (void)co_await write_all(peer, std::span(buffer).first(got.data));
                }((co_await a.accept()).value()));
        }(acceptor, group));
        for (std::size_t i = 0; i < many; ++i)
            group.spawn([](io_context& c, ip::endpoint to, std::size_t& count) -> task<> {
                tcp::socket socket(c);
                (co_await socket.connect(to)).value();
                (co_await write_all(socket, "ping", "pong")).value();
                std::array<char, 8> buffer;
                const auto got = co_await read_exactly(socket, buffer);
                count += got.ok() && std::string_view(buffer.data(), 8) == "pingpong";
            }(ctx, acceptor.local_endpoint(), good));
        (co_await group.join()).value();
        CHECK(good == many);
    });
}

TEST_CASE("completions that find no room in their queue are not lost") {
    run_on(1, [](io_context& ctx) -> task<> {  // which has room for 16 completions
        constexpr std::size_t many = 1'000;
        std::vector<udp::socket> sockets;
        for (std::size_t i = 0; i < many; ++i) sockets.push_back(bound(ctx));
        std::size_t received = 0;
        std::vector<join_handle<>> receiving;
        for (auto& each : sockets)
            receiving.push_back(ctx.spawn([](udp::socket& s, std::size_t& count) -> task<> {
                std::array<char, 4> buffer;
                const auto got = co_await with_timeout(s.receive(buffer), 10s);
                count += got.ok() && got.data == 1;
            }(each, received)));
        (void)co_await sleep_for(1ms);
        // From one that the loop knows nothing of, all in one turn.
        const int sender = ::socket(AF_INET, SOCK_DGRAM, 0);
        for (auto& each : sockets) {
            const auto to = native::loopback(each.local_endpoint().port());
            CHECK(::sendto(sender, "x", 1, 0, reinterpret_cast<const sockaddr*>(&to), sizeof to) ==
                  1);
        }
        ::close(sender);
        for (auto& each : receiving) co_await each;
        CHECK(received == many);
    });
}

// What the kernel copies --------------------------------------------------------------------------

namespace {

constexpr std::size_t size = std::size_t{48} << 10;  // of what each transfer moves

/// Connections whose ends are both curfew's.
task<std::vector<connection>> connect_many(io_context& ctx, std::size_t count) {
    std::vector<connection> all;
    for (std::size_t i = 0; i < count; ++i) all.push_back(co_await test::connect(ctx));
    co_return all;
}

/// `bytes` stand in the receive buffer of each client.
task<> fill(std::vector<connection>& all, std::size_t bytes) {
    const std::string text(bytes, 'x');
    for (connection& each : all) (co_await write_all(each.server, text)).value();
}

}  // namespace

TEST_CASE("bounded turns: large transfers are handed to the kernel a part at a time") {
    constexpr std::size_t many = 100;
    const honest_system now;
    static std::size_t enters;
    before_io_uring_enter = [](int) { ++enters; };
    const auto read = [](auto& from, auto& into, bool exact, std::size_t& count) -> task<> {
        const auto got = exact ? co_await read_exactly(from, into) : co_await from.read_some(into);
        count += got.ok() && got.data == size;
    };
    const auto write = [](auto& to, auto& text, bool exact, std::size_t& count) -> task<> {
        const auto sent = exact ? co_await write_all(to, text) : co_await to.write_some(text);
        count += sent.ok() && sent.data == size;
    };
    run(reactor_kind::io_uring, [&](io_context& ctx) -> task<> {
        std::vector<std::string> buffers(many, std::string(size, ' '));
        for (const bool reads : {false, true}) {
            for (const bool exact : {false, true}) {
                std::vector<connection> all = co_await connect_many(ctx, many);
                if (reads) co_await fill(all, size);
                std::size_t moved = 0;
                task_group group;
                for (std::size_t i = 0; i < many; ++i)
                    group.spawn(reads ? read(all[i].client, buffers[i], exact, moved)
                                      : write(all[i].client, buffers[i], exact, moved));
                enters = 0;
                while (moved < many) co_await yield();
                CHECK(enters >= many * size / (std::size_t{512} << 10));
                (co_await group.join()).value();
            }
        }
    });
    before_io_uring_enter = nullptr;
}

TEST_CASE("operations that are held back are not overtaken for ever") {
    constexpr std::size_t many = 60;
    constexpr std::size_t enough = 20;
    run(reactor_kind::io_uring, [&](io_context& ctx) -> task<> {
        std::vector<connection> all = co_await connect_many(ctx, many);
        std::vector<std::size_t> rounds(many);
        bool over = false;
        task_group group;
        for (std::size_t i = 0; i < many; ++i)
            for (tcp::socket* each : {&all[i].client, &all[i].server})
                group.spawn([](tcp::socket& socket, std::size_t& count, bool& end) -> task<> {
                    const std::string text(64 << 10, 'x');
                    std::string incoming(64 << 10, ' ');
                    while (!end) {
                        auto [written, read] = co_await when_all(write_all(socket, text),
                                                                 read_exactly(socket, incoming));
                        if (written.ec || read.ec) co_return;
                        if (++count == 2 * enough) end = true;
                    }
                }(*each, rounds[i], over));
        while (!over) co_await yield();
        group.cancel();
        (void)co_await group.join();
        CHECK(*std::min_element(rounds.begin(), rounds.end()) >= enough);
    });
}

TEST_CASE("completion beats the limit of an operation that is held back, too") {
    constexpr std::size_t many = 200;
    const honest_system now;
    run(reactor_kind::io_uring, [&](io_context& ctx) -> task<> {
        std::vector<connection> all = co_await connect_many(ctx, many);
        co_await fill(all, size);
        std::vector<std::string> buffers(many, std::string(size, ' '));
        std::size_t received = 0;
        task_group group;
        // The limit of who is last in the queue expires first.
        auto until = curfew::clock::now() + 1ms + many * 50us;
        for (std::size_t i = 0; i < many; ++i, until -= 50us)
            group.spawn([](tcp::socket& from, std::string& to, bool exact, clock::time_point limit,
                           std::size_t& count) -> task<> {
                const auto got = exact ? co_await with_deadline(read_exactly(from, to), limit)
                                       : co_await with_deadline(from.read_some(to), limit);
                count += got.ok() && got.data == size;
            }(all[i].client, buffers[i], i % 2 == 0, until, received));
        co_await yield();
        std::this_thread::sleep_until(until + many * 50us);  // all limits are over
        (co_await group.join()).value();
        CHECK(received == many);
    });
}

TEST_CASE("an operation that is held back can be cancelled, and its socket closed") {
    constexpr std::size_t many = 100;
    run(reactor_kind::io_uring, [&](io_context& ctx) -> task<> {
        std::vector<connection> all = co_await connect_many(ctx, many);
        co_await fill(all, size);
        std::vector<std::string> buffers(many, std::string(size, ' '));
        std::vector<std::error_code> ends(many);
        std::vector<std::size_t> counts(many);
        task_group group;
        for (std::size_t i = 0; i < many; ++i)
            group.spawn([](auto& from, auto& to, auto& end, std::size_t& count) -> task<> {
                const auto got = co_await read_exactly(from, to);
                end = got.ec;
                count = got.data;
            }(all[i].client, buffers[i], ends[i], counts[i]));
        co_await yield();  // they have begun, and few are done unless the machine is slow
        for (std::size_t i = 0; i < many; ++i)
            i % 2 ? all[i].client.cancel() : all[i].client.close();
        (co_await group.join()).value();
        std::size_t wrong = 0;
        for (std::size_t i = 0; i < many; ++i) {
            if (!ends[i]) continue;
            wrong += ends[i] != (i % 2 ? errc::canceled : errc::closed);
            if (i % 2 == 0) continue;
            // What was not read is still there.
            std::string rest(size - counts[i], ' ');
            wrong += (co_await read_exactly(all[i].client, rest)).data != rest.size();
        }
        CHECK(wrong == 0);
    });
}

#endif
