#include <curfew/core/outcome.hpp>

#include <doctest/doctest.h>

#include <system_error>

using curfew::errc;
using curfew::outcome;
using curfew::detail::error_of;

TEST_CASE("how an operation ended becomes its error code") {
    CHECK_FALSE(error_of(outcome::success, 0));
    CHECK_FALSE(error_of(outcome::success, 104));
    CHECK(error_of(outcome::eof, 0) == errc::eof);
    CHECK(error_of(outcome::timed_out, 0) == errc::timed_out);
    CHECK(error_of(outcome::canceled, 0) == errc::canceled);
    CHECK(error_of(outcome::closed, 0) == errc::closed);
    CHECK(error_of(outcome::system, curfew::platform::unsupported) == errc::not_supported);
    CHECK(error_of(outcome::system, curfew::platform::broken_pipe) == std::errc::broken_pipe);
}
