// Windows' sockets: what including them brings in, and what their error numbers mean.
#include <curfew/platform/platform.hpp>

#if defined(_WIN32)

// A user's names are the user's, and the rest of <windows.h> is left where it is.
#if defined(min) || defined(max)
#error "curfew has let macros of <windows.h> out"
#endif
#if defined(_OLE2_H_) || defined(_INC_SHELLAPI) || defined(_COMMDLG_H)
#error "curfew has brought in all of <windows.h>"
#endif

// Who wants more of it still gets it.
#define NOMINMAX
#include <windows.h>

#include <doctest/doctest.h>

#include <array>
#include <chrono>
#include <set>
#include <string>
#include <system_error>
#include <thread>

#include "support/loop.hpp"

using namespace test;

TEST_CASE("<windows.h> after curfew brings what it always does") {
    CHECK(RGB(1, 2, 3) == 0x030201);
    CHECK(sizeof(HDROP) == sizeof(void*));  // of the part that is not lean
}

TEST_CASE("Winsock's numbers equal the standard's conditions, and say what they are") {
    const auto is = [](int number, std::errc condition) {
        const std::error_code code = platform::error_code(number);
        CHECK(code == condition);
        CHECK(code.value() == number);
        CHECK(std::string(code.category().name()) == "system");
        CHECK(code.message() == std::system_category().message(number));
    };
    is(WSAECONNRESET, std::errc::connection_reset);
    is(WSAECONNABORTED, std::errc::connection_aborted);
    is(WSAECONNREFUSED, std::errc::connection_refused);
    is(WSAEWOULDBLOCK, std::errc::operation_would_block);
    is(WSAETIMEDOUT, std::errc::timed_out);
    is(WSAEADDRINUSE, std::errc::address_in_use);
    is(WSAEACCES, std::errc::permission_denied);
    is(WSAENOTSOCK, std::errc::not_a_socket);
    is(WSAEHOSTUNREACH, std::errc::host_unreachable);
    is(ERROR_NETNAME_DELETED, std::errc::connection_reset);
    is(platform::already_in_progress, std::errc::operation_in_progress);
    is(platform::too_many_descriptors, std::errc::too_many_files_open);
    is(platform::message_too_long, std::errc::message_size);
    is(platform::broken_pipe, std::errc::broken_pipe);
    is(platform::already_connected, std::errc::already_connected);
    CHECK(platform::error_code(WSAETIMEDOUT) != errc::timed_out);
    CHECK(platform::error_code(WSAETIMEDOUT) != platform::error_code(WSAECONNRESET));
}

TEST_CASE("a port that somebody listens on is not to be had, one with old connections is") {
    io_context ctx;
    tcp::acceptor first(ctx), second(ctx);
    first.listen(any_port()).value();
    const auto at = first.local_endpoint();
    CHECK(second.listen(at).error() == std::errc::address_in_use);
    auto client = ctx.block_on([](io_context& c, tcp::acceptor& a) -> task<tcp::socket> {
        tcp::socket socket(c);
        (co_await socket.connect(a.local_endpoint())).value();
        auto peer = (co_await a.accept()).value();
        peer.close();  // this side lingers
        co_return socket;
    }(ctx, first));
    client.close();
    first.close();
    CHECK(second.listen(at).ok());
}

TEST_CASE("a failed connect that WSAPoll keeps to itself is found by select") {
    // Before Windows 10 version 2004; what looks for it is tried here on any system.
    platform::socket_handle handle = platform::invalid_socket;
    REQUIRE(platform::open(platform::family::v4, platform::transport::stream, handle) == 0);
    const auto nobody = closed_port();
    REQUIRE(platform::connect_pending(platform::connect(handle, nobody.raw())));
    std::array<platform::poll_entry, 1> entries{{{handle, platform::poll_out, 0}}};
    int found = 0;
    const auto end = clock::now() + 10s;
    while (found == 0 && clock::now() < end) {
        found = platform::detail::mark_failed_connects(entries.data(), entries.size());
        std::this_thread::sleep_for(1ms);
    }
    CHECK(found == 1);
    CHECK(entries[0].revents == POLLERR);
    CHECK(platform::connect_result(handle) == WSAECONNREFUSED);
    CHECK(platform::detail::mark_failed_connects(entries.data(), entries.size()) == 0);
    platform::close(handle);
}

#if defined(CURFEW_EMULATED_THREAD_LOCAL)
TEST_CASE("what lasts until a thread's end is each thread's own, and destroyed then") {
    struct noted {
        std::atomic<int>* gone = nullptr;
        ~noted() {
            if (gone) ++*gone;
        }
    };
    static std::atomic<int> gone{0};
    std::set<noted*> all;
    for (int i = 0; i < 10; ++i)
        std::thread([&] {
            noted& mine = platform::until_thread_ends<noted>();
            CHECK(&mine == &platform::until_thread_ends<noted>());
            mine.gone = &gone;
        }).join();
    CHECK(gone == 10);
}
#endif

#endif
