// How an operation ended, and the error code that users get for it.
#pragma once

#include <cstdint>
#include <system_error>

#include "../error.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

/// How an operation ended. `system` stands for the system's error number beside it.
enum class outcome : std::uint8_t {
    success,
    system,
    eof,
    timed_out,
    canceled,
    closed,
};

namespace detail {

/// The error code of an operation that has ended.
CURFEW_COLD inline std::error_code error_of(outcome how, int error) noexcept {
    switch (how) {
    case outcome::success:
        return {};
    case outcome::system:
        return detail::system_error(error);
    case outcome::eof:
        return errc::eof;
    case outcome::timed_out:
        return errc::timed_out;
    case outcome::canceled:
        return errc::canceled;
    case outcome::closed:
        return errc::closed;
    }
    return {};
}

}  // namespace detail
}  // namespace curfew
