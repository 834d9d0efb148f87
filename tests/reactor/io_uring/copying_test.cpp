// How much the kernel copies each time it is entered, and what becomes of operations that have to
// wait for that.
#include <curfew/reactor/io_uring.hpp>

#if defined(CURFEW_HAS_IO_URING)

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include "support/loop.hpp"
#include "support/reactors.hpp"

using namespace test;

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
    run(reactor_kind::io_uring, [&](io_context& ctx) -> task<> {
        std::vector<connection> all = co_await connect_many(ctx, many);
        for (const bool all_of_it : {false, true}) {
            co_await fill(all, size);
            std::size_t received = 0;
            std::size_t written = 0;
            task_group group;
            std::vector<std::string> buffers(many, std::string(size, ' '));
            for (std::size_t i = 0; i < many; ++i) {
                group.spawn([](auto& from, auto& into, bool exact, auto& count) -> task<> {
                    const auto got =
                        exact ? co_await read_exactly(from, into) : co_await from.read_some(into);
                    count += got.ok() && got.data == size;
                }(all[i].client, buffers[i], all_of_it, received));
                group.spawn([](auto& to, auto& text, bool exact, auto& count) -> task<> {
                    const auto sent =
                        exact ? co_await write_all(to, text) : co_await to.write_some(text);
                    count += sent.ok() && sent.data == size;
                }(all[i].client, buffers[i], all_of_it, written));
            }
            std::size_t most = 0;
            while (received + written < 2 * many) {
                const std::size_t before = received + written;
                co_await yield();
                most = std::max(most, received + written - before);
            }
            CHECK(most < many);  // with each call some 11, and a few more that had to wait
            (co_await group.join()).value();
            for (connection& each : all) (co_await read_exactly(each.server, buffers[0])).value();
        }
    });
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
        std::size_t received = 0;
        task_group group;
        for (std::size_t i = 0; i < many; ++i)
            group.spawn([](tcp::socket& from, bool exact, std::size_t& count) -> task<> {
                std::string buffer(size, ' ');
                const auto got = exact ? co_await with_timeout(read_exactly(from, buffer), 0s)
                                       : co_await with_timeout(from.read_some(buffer), 0s);
                count += got.ok() && got.data == size;
            }(all[i].client, i % 2 == 0, received));
        (co_await group.join()).value();
        CHECK(received == many);
    });
}

TEST_CASE("an operation that is held back can be cancelled, and its socket closed") {
    constexpr std::size_t many = 100;
    run(reactor_kind::io_uring, [&](io_context& ctx) -> task<> {
        std::vector<connection> all = co_await connect_many(ctx, many);
        co_await fill(all, size);
        std::vector<std::error_code> ends(many);
        std::vector<std::size_t> counts(many);
        task_group group;
        for (std::size_t i = 0; i < many; ++i)
            group.spawn([](auto& from, std::error_code& end, std::size_t& count) -> task<> {
                std::string buffer(size, ' ');
                const auto got = co_await read_exactly(from, buffer);
                end = got.ec;
                count = got.data;
            }(all[i].client, ends[i], counts[i]));
        co_await yield();  // they have begun
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
        CHECK(std::any_of(ends.begin(), ends.end(), [](auto& each) { return bool(each); }));
    });
}

#endif
