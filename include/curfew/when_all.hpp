// when_all: several things at once, until the last one ends.
#pragma once

#include "await/combinations.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

/// Awaits several things side by side, each a branch of the calling task: operations, tasks, or
/// combinations of them. Yields, when all have ended, a tuple of what each yields, or for a range
/// (a container of tasks, say) a vector. For one that yields nothing there stands a `result<>`:
/// `canceled` if it was cut short.
///
/// A branch's error is its result like any other and does not disturb the rest. An exception that
/// leaves a branch cancels the others and is thrown here when they have ended.
///
/// The branches begin in their order when the calling task is suspended. What is given as an lvalue
/// is referred to, and must live until the end.
///
/// Cancellation, and limits: all branches are cancelled, and still waited for.
///
/// ```cpp
/// auto [first, second] = co_await when_all(a.read_some(x), with_timeout(ask(b), 1s));
/// std::vector<result<reply>> replies = co_await when_all(std::move(requests));
/// ```
template <class... Awaitable>
auto when_all(Awaitable&&... awaitables) {
    return detail::combine<detail::ends_all::failure>(static_cast<Awaitable&&>(awaitables)...);
}

}  // namespace curfew
