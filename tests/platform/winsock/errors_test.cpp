// What the numbers of Windows' sockets mean.
#include <curfew/platform/platform.hpp>

#if defined(_WIN32)

#include <string>
#include <system_error>

#include "support/loop.hpp"

using namespace test;

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

#endif
