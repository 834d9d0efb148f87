// when_any: several things at once, until the first one ends, without losing what the others did.
#pragma once

#include "await/combinations.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

/// Awaits several things side by side, like `when_all`; when the first has ended, the others are
/// cancelled and waited for. Yields the index of the first, and what *every* branch yielded: one
/// that lost may have received something before it was cancelled, and that is there, not thrown
/// away. Those that had nothing say `errc::canceled`.
///
/// An exception that leaves any branch is thrown here when all have ended.
///
/// Cancellation, and limits: all branches are cancelled, and still waited for. If one comes to its
/// own end nevertheless (its operation had completed, or it is shielded), that one is the first,
/// and nothing has been cut short: a limit around it does not say `timed_out`.
///
/// ```cpp
/// auto [index, results] = co_await when_any(commands.receive(), socket.read_some(buffer));
/// auto& [command, read] = results;
/// if (!command.ec) { ... }
/// if (!read.ec) { ... }         // not "else": both may have something
/// ```
template <class... Awaitable>
auto when_any(Awaitable&&... awaitables) {
    return detail::combine<detail::ends_all::first>(static_cast<Awaitable&&>(awaitables)...);
}

}  // namespace curfew
