// tcp::connect: to a name, or to whichever of several addresses answers first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "event.hpp"
#include "io_context.hpp"
#include "ip/endpoint.hpp"
#include "resolve.hpp"
#include "result.hpp"
#include "task.hpp"
#include "task_group.hpp"
#include "tcp.hpp"
#include "timeout.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::tcp {

/// An address that could not be connected to, and why.
struct connect_failure {
    ip::endpoint to;        ///< the address that was tried
    std::error_code error;  ///< what became of it
};

/// How `tcp::connect` goes through the addresses.
struct connect_options {
    /// An attempt gets this head start before the next one begins beside it.
    std::chrono::nanoseconds attempt_delay = std::chrono::milliseconds(250);
    /// Names: only addresses of this family; unspecified: of both.
    ip::family family = ip::family::unspecified;
    /// Not null: each attempt that has failed is added here. It must live until `connect` has
    /// ended.
    std::vector<connect_failure>* failures = nullptr;
};

namespace detail {

// These and `connect` are templates so that only programs that use them compile them: GCC emits a
// coroutine that is none in every file.

/// What the attempts share. The group goes first, since its children refer to the rest.
template <class Socket>
struct connect_race {
    explicit connect_race(std::vector<connect_failure>* noted_in) noexcept : failures(noted_in) {}

    /// What the peer, or somebody on the way, has said tells more than that there is no way at all:
    /// a host without IPv6 is not to say "network unreachable" of a server that refuses.
    static bool tells_more(const std::error_code& error) noexcept {
        return error != std::errc::network_unreachable &&
               error != std::errc::address_family_not_supported &&
               error != std::errc::address_not_available && error != errc::not_supported;
    }

    void note(const ip::endpoint& to, std::error_code error) {
        if (!failure || (!tells_more(failure) && tells_more(error))) failure = error;
        changed.set();
        if (failures) failures->push_back({to, error});
    }

    std::vector<connect_failure>* const failures;
    std::error_code failure;  // the first of those that tell most
    event changed;            // an attempt has ended
    Socket winner;
    task_group attempts{on_error::ignore};
};

/// Ends with a connection as the winner, or as a failure. The losers are cancelled by the winner,
/// and close their sockets.
template <class Socket>
task<> attempt(connect_race<Socket>& all, ip::endpoint to) {
    Socket trying(this_context());
    const auto [ec] = co_await trying.connect(to);
    if (ec == errc::canceled || all.winner.is_open()) co_return;
    if (ec) {
        all.note(to, ec);
        co_return;
    }
    all.winner = std::move(trying);
    all.changed.set();
    all.attempts.cancel();
}

/// RFC 8305, section 5. The targets are in the order in which they are tried.
template <class Socket>
task<result<Socket>> connect_to_first(std::vector<ip::endpoint> targets, connect_options options) {
    if (targets.empty()) co_return std::make_error_code(std::errc::invalid_argument);
    connect_race<Socket> all(options.failures);
    bool canceled = false;
    for (const ip::endpoint& to : targets) {
        all.changed.reset();
        all.attempts.spawn(attempt(all, to));
        if (&to == &targets.back()) break;
        const auto [ec] = co_await with_timeout(all.changed.wait(), options.attempt_delay);
        canceled = ec == errc::canceled;
        if (canceled || all.winner.is_open()) break;
    }
    // Whoever is cancelled here passes that on to the attempts.
    const auto [ec] = co_await all.attempts.join();
    if (all.winner.is_open()) co_return std::move(all.winner);  // also at the last moment
    if (canceled) co_return errc::canceled;
    co_return ec ? ec : all.failure;
}

/// The families take turns, beginning with that of the first; otherwise the order stays (RFC 8305,
/// section 4).
inline std::vector<ip::endpoint> interleaved(std::span<const ip::endpoint> from) {
    std::vector<ip::endpoint> order;
    order.reserve(from.size());
    std::size_t next[2] = {0, 0};
    const auto find = [&](bool as_first) {
        std::size_t& at = next[as_first];
        while (at < from.size() && (from[at].family() == from[0].family()) != as_first) ++at;
        return at < from.size() ? &from[at++] : nullptr;
    };
    bool as_first = true;
    while (order.size() < from.size()) {
        if (const ip::endpoint* const one = find(as_first)) order.push_back(*one);
        as_first = !as_first;
    }
    return order;
}

template <class Socket>
task<result<Socket>> connect_to_found(task<result<std::vector<ip::endpoint>>> looking_up,
                                      connect_options options) {
    const auto [ec, found] = co_await std::move(looking_up);
    if (ec) co_return ec;
    co_return co_await connect_to_first<Socket>(interleaved(found), options);
}

}  // namespace detail

/// Connects to whichever of these addresses answers first ("happy eyeballs", RFC 8305), in the
/// context that runs the caller. Yields a `result<tcp::socket>`.
///
/// They are tried in this order, except that IPv4 and IPv6 take turns. Each attempt gets a head
/// start (`connect_options::attempt_delay`); when that is over, or any attempt has failed, the next
/// one begins beside those before it, which go on. The first connection wins; the others are
/// cancelled, and their sockets closed, before `connect` ends.
///
/// If all fail: the error of the first whose failure says something about the peer, rather than
/// that this host has no way there. `connect_options::failures` gets all of them.
/// `std::errc::invalid_argument` without an address.
///
/// Cancellation, and limits of both policies: no attempt goes on, and no socket is left.
///
/// The addresses are copied: they may be gone when the task is awaited.
template <class Socket = socket>
task<result<Socket>> connect(std::span<const ip::endpoint> to,
                             const connect_options& options = {}) {
    return detail::connect_to_first<Socket>(detail::interleaved(to), options);
}

/// Looks up the host (see `resolve`), and connects to whichever of its addresses answers first, as
/// above. Errors and cancellation are those of the two; the texts are copied.
///
/// ```cpp
/// auto [ec, socket] = co_await with_timeout(tcp::connect("example.org", 80), 10s);
/// ```
template <class Socket = socket>
task<result<Socket>> connect(std::string_view host, std::uint16_t port,
                             const connect_options& options = {}) {
    return detail::connect_to_found<Socket>(resolve(host, port, {.family = options.family}),
                                            options);
}

/// The same, with the name of a service ("https") instead of a port.
template <class Socket = socket>
task<result<Socket>> connect(std::string_view host, std::string_view service,
                             const connect_options& options = {}) {
    return detail::connect_to_found<Socket>(resolve(host, service, {.family = options.family}),
                                            options);
}

}  // namespace curfew::tcp
