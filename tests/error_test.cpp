#include <curfew/error.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <string>
#include <system_error>
#include <type_traits>

#include "support/platform.hpp"

using curfew::errc;
using curfew::detail::system_error;

namespace {

constexpr errc all[] = {errc::timed_out, errc::canceled, errc::closed, errc::eof,
                        errc::not_supported};

std::error_code system(int code) { return {code, std::system_category()}; }

}  // namespace

static_assert(std::is_error_code_enum_v<errc>);
static_assert(!std::is_error_condition_enum_v<errc>);
static_assert(std::is_convertible_v<errc, std::error_code>);

TEST_CASE("an errc converts to an error code of the library's category, and equals itself only") {
    for (const errc code : all) {
        const std::error_code ec = code;
        CHECK(ec);
        CHECK(ec.category() == curfew::error_category());
        for (const errc other : all) CHECK((ec == other) == (code == other));
    }
    CHECK(std::string(curfew::error_category().name()) == "curfew");
}

TEST_CASE("the library's errors equal the matching conditions of the standard") {
    CHECK(std::error_code(errc::timed_out) == std::errc::timed_out);
    CHECK(std::error_code(errc::canceled) == std::errc::operation_canceled);
    CHECK(std::error_code(errc::closed) == std::errc::bad_file_descriptor);
    CHECK(std::error_code(errc::not_supported) == std::errc::not_supported);
}

TEST_CASE("the library's errors equal no other condition of the standard") {
    for (const errc code : all) {
        CAPTURE(static_cast<int>(code));
        const std::error_code ec = code;
        CHECK((ec == std::errc::timed_out) == (code == errc::timed_out));
        CHECK((ec == std::errc::operation_canceled) == (code == errc::canceled));
        CHECK((ec == std::errc::bad_file_descriptor) == (code == errc::closed));
        CHECK((ec == std::errc::not_supported) == (code == errc::not_supported));
        CHECK(ec != std::errc::connection_reset);
        CHECK(ec != std::errc::connection_aborted);
        CHECK(ec != std::errc::operation_in_progress);
        CHECK(ec != std::errc::operation_not_permitted);  // whose number is 1
    }
}

TEST_CASE("a time-out that the system reports is never the library's own") {
    const std::error_code tcp = curfew::platform::error_code(test::tcp_timeout);
    CHECK(tcp == std::errc::timed_out);
    CHECK(tcp != errc::timed_out);
    CHECK(std::error_code(errc::timed_out) != tcp);
    CHECK(std::make_error_code(std::errc::timed_out) != errc::timed_out);
}

TEST_CASE("a system's error with the number of one of the library's is another error") {
    for (const errc code : all) {
        CHECK(system(static_cast<int>(code)) != code);
        CHECK(std::error_code(static_cast<int>(code), std::generic_category()) != code);
    }
    CHECK(system(ECANCELED) != errc::canceled);
    CHECK(system(EBADF) != errc::closed);
}

TEST_CASE(
    "an error made by another copy of the library equals ours, and one of another category not") {
    const curfew::detail::error_category copy;
    class other final : public std::error_category {
        const char* name() const noexcept override { return "other"; }
        std::string message(int) const override { return "other"; }
    } const another;
    for (const errc code : all) {
        const std::error_code made(static_cast<int>(code), copy);
        for (const errc ours : all) {
            CHECK((made == ours) == (code == ours));
            CHECK((ours == made) == (code == ours));
            CHECK((made != ours) == (code != ours));
        }
        CHECK(std::error_code(static_cast<int>(code), another) != code);
    }
    CHECK(std::error_code(0, copy) != errc::timed_out);
    CHECK(std::error_code(static_cast<int>(errc::timed_out), copy) == std::errc::timed_out);
}

TEST_CASE("every error says what it is") {
    CHECK(std::error_code(errc::timed_out).message() == "time limit expired");
    CHECK(std::error_code(errc::canceled).message() == "operation canceled");
    CHECK(std::error_code(errc::closed).message() == "closed on this side");
    CHECK(std::error_code(errc::eof).message() == "end of stream");
    CHECK(std::error_code(errc::not_supported).message() == "not supported on this platform");
    CHECK(std::error_code(77, curfew::error_category()).message() == "unknown error");
}

TEST_CASE("a system's error keeps its number, category and message") {
    CHECK_FALSE(system_error(0));
    CHECK(system_error(curfew::platform::unsupported) == errc::not_supported);
    const std::error_code ec = system_error(curfew::platform::broken_pipe);
    CHECK(ec == std::errc::broken_pipe);
    CHECK(ec.value() == curfew::platform::broken_pipe);
    CHECK(ec.category() == curfew::platform::error_code(0).category());
    CHECK(ec.message() == system(curfew::platform::broken_pipe).message());
    CHECK(system_error(test::tcp_timeout) == std::errc::timed_out);
    CHECK(system_error(test::tcp_timeout) != errc::timed_out);
}
