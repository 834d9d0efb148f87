// What every operation yields: an error code, and a value that is always there.
#pragma once

#include <coroutine>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

#include "config.hpp"
#include "error.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

namespace detail {

[[noreturn]] CURFEW_INLINE void raise(std::error_code error, const char* what);

#if CURFEW_DEFINITIONS
[[noreturn]] CURFEW_INLINE void raise(std::error_code error, const char* what) {
#if CURFEW_EXCEPTIONS
    throw std::system_error(error, what);
#else
    fatal((std::string(what) + ": " + error.message()).c_str());
#endif
}
#endif

}  // namespace detail

/// An error code and a value. Binds as `auto [ec, value] = co_await operation;`.
///
/// With an error the value is default-made, or what was achieved until then: a `write_all` that
/// timed out says how many bytes went. There is no conversion to `bool`: "true" would mean success
/// here and failure for `std::error_code`.
///
/// A result can be awaited, which gives it back: calls that never wait (`udp::socket::connect`,
/// `listen`) can be written like those that do.
///
/// One argument that is an error code makes a failure, also where `T` is one: `{{}, code}` makes
/// the success whose value is `code`.
template <class T = void>
struct [[nodiscard]] result {
    static_assert(std::is_object_v<T> && std::is_default_constructible_v<T>,
                  "curfew::result<T>: the value is always there, so T must be an object type that "
                  "can be default-constructed");

    std::error_code ec;  ///< what went wrong, if anything
    T data{};  ///< what was achieved

    /// Success, with a default-made value.
    result() = default;
    /// Failure, with a default-made value.
    result(std::error_code error) noexcept : ec(error) {}
    /// Failure with an error of the library's own.
    result(errc error) noexcept : ec(error) {}
    /// Success.
    result(T value) noexcept(std::is_nothrow_move_constructible_v<T>) requires(
        !std::is_same_v<T, std::error_code> && !std::is_same_v<T, errc>)
        : data(std::move(value)) {}
    /// An error, and what was achieved until then.
    result(std::error_code error, T value) noexcept(std::is_nothrow_move_constructible_v<T>)
        : ec(error), data(std::move(value)) {}

    /// Whether there is no error.
    bool ok() const noexcept { return !ec; }
    /// The error; it is false if there is none.
    std::error_code error() const noexcept { return ec; }

    /// The value; throws `std::system_error` (without exceptions: calls the fatal handler) if there
    /// is an error.
    T& value() & { return raise_error(), data; }
    /// The same, of a constant.
    const T& value() const& { return raise_error(), data; }
    /// The same, moved out of a temporary.
    T&& value() && { return raise_error(), std::move(data); }

    explicit operator bool() const = delete;  // ask .ok(), or look at .ec: which would it be?

    bool await_ready() const noexcept { return true; }
    void await_suspend(std::coroutine_handle<>) const noexcept {}
    result await_resume() noexcept(std::is_nothrow_move_constructible_v<T>) {
        return std::move(*this);
    }

private:
    void raise_error() const {
        if (ec) detail::raise(ec, "curfew::result");
    }
};

/// A result without a value. Binds as `auto [ec] = co_await operation;`.
template <>
struct [[nodiscard]] result<void> {
    std::error_code ec;  ///< what went wrong, if anything

    /// Success.
    result() = default;
    /// Failure.
    result(std::error_code error) noexcept : ec(error) {}
    /// Failure with an error of the library's own.
    result(errc error) noexcept : ec(error) {}

    /// Whether there is no error.
    bool ok() const noexcept { return !ec; }
    /// The error; it is false if there is none.
    std::error_code error() const noexcept { return ec; }
    /// Throws `std::system_error` (without exceptions: calls the fatal handler) if there is an
    /// error.
    void value() const {
        if (ec) detail::raise(ec, "curfew::result");
    }
    explicit operator bool() const = delete;  // ask .ok(), or look at .ec: which would it be?

    bool await_ready() const noexcept { return true; }
    void await_suspend(std::coroutine_handle<>) const noexcept {}
    result await_resume() const noexcept { return *this; }
};

/// A `result<>` that may be ignored, for calls whose failure often does not matter.
struct optional_result : result<> {
    using result<>::result;
    /// The same result, which may be ignored from now on.
    optional_result(result<> from) noexcept : result<>(from) {}
    optional_result await_resume() const noexcept { return *this; }
};

namespace detail {

template <class T>
inline constexpr bool is_result = false;
template <class T>
inline constexpr bool is_result<result<T>> = true;
template <>
inline constexpr bool is_result<optional_result> = true;

/// `result<T>` for any `T`, and a result for itself.
template <class T>
struct result_of {
    using type = result<T>;
};
template <class T>
requires is_result<T>
struct result_of<T> {
    using type = T;
};
template <class T>
using result_of_t = typename result_of<T>::type;

}  // namespace detail
}  // namespace curfew
