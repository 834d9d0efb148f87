// The reactors of this machine, by kind and by name.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string_view>

#include "epoll.hpp"
#include "io_uring.hpp"
#include "iocp.hpp"
#include "poll.hpp"
#include "reactor.hpp"
#include "select.hpp"

namespace curfew {

constexpr std::string_view to_string(reactor_kind kind) noexcept {
    switch (kind) {
    case reactor_kind::select:
        return "select";
    case reactor_kind::poll:
        return "poll";
    case reactor_kind::epoll:
        return "epoll";
    case reactor_kind::io_uring:
        return "io_uring";
    case reactor_kind::iocp:
        return "iocp";
    }
    return "unknown";
}

/// The kind of that name, if there is one.
constexpr std::optional<reactor_kind> parse_reactor_kind(std::string_view name) noexcept {
    for (const auto kind : {reactor_kind::select, reactor_kind::poll, reactor_kind::epoll,
                            reactor_kind::io_uring, reactor_kind::iocp})
        if (name == to_string(kind)) return kind;
    return std::nullopt;
}

namespace detail {

struct made_reactor {
    std::unique_ptr<reactor> made;  // null: it could not be made
    int error = 0;                  // why: the system's number, or platform::unsupported
};

template <class Reactor>
made_reactor make() {
    // (A unique_ptr for each kind would be compiled by every program.)
    Reactor* const one = new Reactor();
    made_reactor result{std::unique_ptr<reactor>(one), one->error()};
    if (result.error) result.made.reset();
    return result;
}

inline made_reactor make_reactor(reactor_kind kind) {
    switch (kind) {
#if defined(CURFEW_HAS_SELECT)
    case reactor_kind::select:
        return make<select_reactor>();
#endif
#if defined(CURFEW_HAS_POLL)
    case reactor_kind::poll:
        return make<poll_reactor>();
#endif
#if defined(CURFEW_HAS_EPOLL)
    case reactor_kind::epoll:
        return make<epoll_reactor>();
#endif
#if defined(CURFEW_HAS_IO_URING)
    case reactor_kind::io_uring:
        return make<io_uring_reactor>();
#endif
#if defined(CURFEW_HAS_IOCP)
    case reactor_kind::iocp:
        return make<iocp_reactor>();
#endif
    default:
        return {nullptr, platform::unsupported};
    }
}

/// The best of the platform, first one first.
inline constexpr std::array preferred_reactors{
#if defined(CURFEW_HAS_IOCP)
    reactor_kind::iocp,
#endif
#if defined(CURFEW_HAS_IO_URING)
    reactor_kind::io_uring,
#endif
#if defined(CURFEW_HAS_EPOLL)
    reactor_kind::epoll,
#endif
#if defined(CURFEW_HAS_POLL)
    reactor_kind::poll,
#endif
#if defined(CURFEW_HAS_SELECT)
    reactor_kind::select,
#endif
};

}  // namespace detail
}  // namespace curfew
