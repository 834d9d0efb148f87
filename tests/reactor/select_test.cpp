// select(2) watches low descriptor numbers only.
#include <curfew/reactor/select.hpp>

#include <fcntl.h>
#include <sys/resource.h>

#include <array>

#include "support/loop.hpp"

using namespace test;

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
