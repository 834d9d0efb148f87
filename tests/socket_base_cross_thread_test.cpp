// What all sockets have in common is tested with them (tcp_test.cpp, udp_test.cpp); here, whose they
// are.
#include <curfew/socket_base.hpp>

#include <doctest/doctest.h>

#include <array>
#include <chrono>
#include <string>
#include <thread>
#include <utility>

#include <curfew/curfew.hpp>

#include "support/fatal.hpp"
#include "support/reactors.hpp"

using namespace curfew;
using namespace std::chrono_literals;

REACTOR_TEST("a socket may be touched in any thread while its context runs in none") {
    io_context ctx(kind);
    udp::socket socket(ctx);
    const ip::endpoint any_port{ip::address::loopback_v4(), 0};
    socket.bind(any_port).value();
    std::jthread([&] {
        socket.cancel();
        socket.close();
    }).join();
    CHECK_FALSE(socket.is_open());
    CHECK(socket.bind(any_port).ok());
}

#if TEST_CAN_DIE && !defined(NDEBUG)
REACTOR_TEST(
    "a socket that is touched from another thread while its loop runs is fatal and says so") {
    for (int how = 0; how < 5; ++how) {
        CAPTURE(how);
        const auto end = test::death_of([kind, how] {
            io_context ctx(kind);
            udp::socket socket(ctx);
            socket.bind({ip::address::loopback_v4(), 0}).value();
            std::jthread other;
            ctx.block_on([](udp::socket& own, int what, std::jthread& thread) -> task<> {
                thread = std::jthread([&own, what] {
                    if (what == 0) own.close();
                    if (what == 1) own.abort();
                    if (what == 2) own.cancel();
                    if (what == 3) own.release();
                    if (what == 4) udp::socket(std::move(own));
                });
                std::array<char, 8> buffer;
                (void)co_await with_timeout(own.receive(buffer), 10s);
            }(socket, how, other));
        });
        CHECK(end.signal == SIGABRT);
        CHECK(end.said.find("use post()") != std::string::npos);
    }
}
#endif
