// select(2) watches low descriptor numbers only.
#include <curfew/reactor/select.hpp>

#if !defined(_WIN32)
#include <fcntl.h>
#include <sys/resource.h>
#endif

#include <array>
#include <vector>

#include "support/allocations.hpp"
#include "support/loop.hpp"

using namespace test;

#if !defined(_WIN32)  // whose sets grow
TEST_CASE("a descriptor beyond FD_SETSIZE fails its own operations with too_many_files_open") {
    rlimit before{};
    ::getrlimit(RLIMIT_NOFILE, &before);
    rlimit wide = before;
    wide.rlim_cur = std::min<rlim_t>(before.rlim_max, 4096);
    ::setrlimit(RLIMIT_NOFILE, &wide);
    run(reactor_kind::select, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        const int high = ::fcntl(descriptor_of(client.native_handle()), F_DUPFD, FD_SETSIZE);
        REQUIRE(high >= FD_SETSIZE);
        auto beyond = tcp::socket::adopt(ctx, handle_of(high)).value();
        std::array<char, 16> buffer;
        CHECK((co_await beyond.read_some(buffer)).error() == std::errc::too_many_files_open);
        CHECK((co_await with_timeout(beyond.wait(readable), 1s)).error() ==
              std::errc::too_many_files_open);
        // Others are not affected.
        CHECK((co_await with_timeout(client.read_some(buffer), 1ms)).error() == errc::timed_out);
        (co_await write_all(server, "x")).value();
        CHECK((co_await client.read_some(buffer)).value() == 1);
    });
    ::setrlimit(RLIMIT_NOFILE, &before);
}
#else
TEST_CASE("sets have room for more sockets than FD_SETSIZE says, and allocate nothing for it") {
    run(reactor_kind::select, [&](io_context& ctx) -> task<> {
        constexpr int many = 4 * FD_SETSIZE;
        std::vector<connection> all;
        std::vector<join_handle<int>> reading;
        for (int i = 0; i < many; ++i) all.push_back(co_await test::connect(ctx));
        for (auto& each : all)
            reading.push_back(ctx.spawn([](tcp::socket& s) -> task<int> {
                std::array<char, 4> buffer;
                int count = 0;
                while ((co_await s.read_some(buffer)).ok()) ++count;
                co_return count;
            }(each.server)));
        std::size_t before = 0;
        for (int round = 0; round < 5; ++round) {
            if (round == 2) before = allocations();
            for (auto& each : all) (co_await write_all(each.client, "x")).value();
            (void)co_await sleep_for(1ms);
        }
        CHECK(allocations() == before);
        for (auto& each : all) each.client.close();
        for (auto& each : reading) CHECK((co_await each) == 5);
    });
}
#endif
