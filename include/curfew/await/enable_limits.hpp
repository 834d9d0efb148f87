// What can be cut short: limits, `cancel_on` and `when_any` refuse the rest when they are compiled.
#pragma once

#include <type_traits>

#include "../core/awaiter.hpp"
#include "../core/suspension.hpp"
#include "operation_awaiter.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

/// Whether limits, `cancel_on` and `when_any` take `Awaitable`, though it is another library's.
/// Such a one does not hear of a cancellation, and whoever cancels something waits for its end: so
/// they refuse it when they are compiled. Specialise this as true for one that always ends by
/// itself, and soon enough, or that awaits something of curfew's; or give it a member type
/// `enable_limits`. A limit waits for its end then, and delivers what it yields.
///
/// ```cpp
/// template <>
/// inline constexpr bool curfew::enable_limits<their::lookup> = true;
/// ```
template <class Awaitable>
inline constexpr bool enable_limits = requires {
    typename Awaitable::enable_limits;
};

namespace detail {

template <class Awaiter>
inline constexpr bool is_cancellable_awaiter =
    std::is_base_of_v<suspension, Awaiter> || holds_operation<Awaiter> || enable_limits<Awaiter>;

template <class Awaitable>
inline constexpr bool is_cancellable =
    enable_limits<std::remove_cvref_t<Awaitable>> ||
    is_cancellable_awaiter<std::remove_cvref_t<awaiter_of_t<Awaitable>>>;

/// A combination is what all of its parts are.
template <class Combination>
requires requires { std::remove_cvref_t<Combination>::is_cancellable; }
inline constexpr bool is_cancellable<Combination> =
    std::remove_cvref_t<Combination>::is_cancellable;

template <class T>
inline constexpr bool checked_awaitable = [] {
    static_assert(awaitable<T>,
                  "curfew::with_timeout, with_deadline and shielded take what can be awaited: an "
                  "operation (socket.read_some(...)), a task, or a combination of them");
    return true;
}();

/// What may be cut short, too.
template <class T>
inline constexpr bool checked_cancellable = [] {
    if constexpr (checked_awaitable<T> && awaitable<T>)
        static_assert(is_cancellable<T>,
                      "curfew::with_timeout, with_deadline and cancel_on could not cut this short: "
                      "it is, or contains, an awaitable of another library; see "
                      "curfew::enable_limits for one that ends by itself");
    return true;
}();

}  // namespace detail
}  // namespace curfew
