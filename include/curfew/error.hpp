// The library's own errors. Every other error is the system's, with the system's category.
#pragma once

#include <cstring>
#include <string>
#include <system_error>

#include "config.hpp"
#include "platform/platform.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

/// Converts to `std::error_code`; compare with `ec == curfew::errc::timed_out`.
enum class errc {
    /// This call's own time limit has expired. A TCP time-out reported by the system is
    /// another code: it equals `std::errc::timed_out` only.
    timed_out = 1,
    /// Somebody else ended the operation: an outer limit, a cancelled task, `socket.cancel()`.
    canceled,
    /// This side has closed or aborted the socket, or it was never open.
    closed,
    /// The peer has ended the stream.
    eof,
    /// The platform lacks the call.
    not_supported,
};

namespace detail {

inline constexpr char category_name[] = "curfew";

class error_category final : public std::error_category {
public:
    constexpr error_category() noexcept = default;

    const char* name() const noexcept override { return category_name; }

    CURFEW_API std::string message(int code) const override;
    CURFEW_API std::error_condition default_error_condition(int code) const noexcept override;
};

#if CURFEW_DEFINITIONS

CURFEW_INLINE std::string error_category::message(int code) const {
    switch (static_cast<errc>(code)) {
    case errc::timed_out:
        return "time limit expired";
    case errc::canceled:
        return "operation canceled";
    case errc::closed:
        return "closed on this side";
    case errc::eof:
        return "end of stream";
    case errc::not_supported:
        return "not supported on this platform";
    }
    return "unknown error";
}

CURFEW_INLINE std::error_condition
error_category::default_error_condition(int code) const noexcept {
    switch (static_cast<errc>(code)) {
    case errc::timed_out:
        return std::errc::timed_out;
    case errc::canceled:
        return std::errc::operation_canceled;
    case errc::closed:
        return std::errc::bad_file_descriptor;
    case errc::not_supported:
        return std::errc::not_supported;
    case errc::eof:
        break;
    }
    return {code, *this};
}

#endif

#if CURFEW_STATE_IS_HERE
/// Never destroyed, so that static destructors may still look at errors.
union immortal_category {
    error_category category;
    constexpr immortal_category() noexcept : category() {}
    ~immortal_category() {}
};

inline namespace v0_1 {
CURFEW_SHARED inline constinit const immortal_category category_of_all;
}
#endif

}  // namespace detail

/// That of `errc`.
CURFEW_STATE const std::error_category& error_category() noexcept;

#if CURFEW_STATE_IS_HERE
CURFEW_STATE const std::error_category& error_category() noexcept {
    return detail::category_of_all.category;
}
#endif

/// What `std::error_code` is made with.
inline std::error_code make_error_code(errc code) noexcept {
    return {static_cast<int>(code), error_category()};
}

namespace detail {

/// Whether it is the category of `errc` in another copy of this library, which a module of the
/// program has that shares nothing with this one.
CURFEW_COLD inline bool is_another_copy(const std::error_category& category) noexcept {
    return std::strcmp(category.name(), category_name) == 0;
}

}  // namespace detail

/// Also of a code that was made in a module with a copy of this library of its own, whose category
/// is another object: std::error_code would compare their addresses.
inline bool operator==(const std::error_code& code, errc expected) noexcept {
    return code.value() == static_cast<int>(expected) &&
           (code.category() == error_category() || detail::is_another_copy(code.category()));
}

}  // namespace curfew

template <>
struct std::is_error_code_enum<curfew::errc> : std::true_type {};

namespace curfew::detail {

inline const std::error_category* const category_of_success = &std::error_code().category();

/// What success looks like, without asking for the system's category each time.
CURFEW_HOT inline std::error_code no_error() noexcept { return {0, *category_of_success}; }

/// The code of an error number that came from the platform; 0: no error.
CURFEW_COLD inline std::error_code system_error(int error) noexcept {
    if (error == platform::unsupported) return errc::not_supported;
    return platform::error_code(error);
}

}  // namespace curfew::detail
