// The reactors of this machine, by kind and by name.
#pragma once

#include <array>
#include <optional>
#include <string_view>
#include <system_error>

#include "../platform/std_memory.hpp"
#include "../result.hpp"
#include "reactor.hpp"

#if CURFEW_DEFINITIONS
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "epoll.hpp"
#include "io_uring.hpp"
#include "iocp.hpp"
#include "poll.hpp"
#include "select.hpp"
#endif

CURFEW_SYSTEM_HEADER

namespace curfew {

/// Its name, of which `data()` ends with a zero.
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

/// What the constructors of `io_context` take; `asked` names who wants it in what is thrown.
CURFEW_INLINE std::unique_ptr<reactor> named_reactor(reactor_kind kind, const char* asked);
CURFEW_INLINE std::unique_ptr<reactor> default_reactor();
/// A program's own, which it hands over: throws if there is none, or if it could not be made.
CURFEW_INLINE std::unique_ptr<reactor> checked_reactor(std::unique_ptr<reactor> own);

#if CURFEW_DEFINITIONS

struct made_reactor {
    std::unique_ptr<reactor> made;  // null: it could not be made
    int error = 0;                  // why: the system's number, or platform::unsupported
};

template <class Reactor>
made_reactor make() {
    // (A unique_ptr for each kind would be compiled by every program.)
    made_reactor result{std::unique_ptr<reactor>(new Reactor())};
    result.error = result.made->error();
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
inline constexpr std::array preferred_reactors {
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

CURFEW_INLINE std::unique_ptr<reactor> named_reactor(reactor_kind kind, const char* asked) {
    made_reactor got = make_reactor(kind);
    if (!got.made) {
        char text[80];
        std::snprintf(text, sizeof text, "%s: reactor '%s'", asked, to_string(kind).data());
        raise(system_error(got.error), text);
    }
    return std::move(got.made);
}

CURFEW_INLINE std::unique_ptr<reactor> default_reactor() {
    if (const char* name = std::getenv("CURFEW_REACTOR"); name && *name) {
        if (const auto kind = parse_reactor_kind(name))
            return named_reactor(*kind, "CURFEW_REACTOR");
        char text[160];  // of a longer name, the start
        std::snprintf(text, sizeof text,
                      "CURFEW_REACTOR='%.80s' is none of select, poll, epoll, io_uring, iocp",
                      name);
        raise(std::make_error_code(std::errc::invalid_argument), text);
    }
    int last = 0;
    for (const reactor_kind kind : preferred_reactors) {
        made_reactor got = make_reactor(kind);
        if (got.made) return std::move(got.made);
        last = got.error;
    }
    raise(system_error(last), "curfew::io_context: no reactor could be made");
}

CURFEW_INLINE std::unique_ptr<reactor> checked_reactor(std::unique_ptr<reactor> own) {
    if (!own)
        raise(std::make_error_code(std::errc::invalid_argument),
              "curfew::io_context: the reactor is a null pointer");
    if (const int error = own->error()) {
        const std::string_view name = own->name();
        char text[120];
        std::snprintf(text, sizeof text, "curfew::io_context: reactor '%.*s' could not be made",
                      static_cast<int>(name.size()), name.data());
        raise(system_error(error), text);
    }
    return own;
}

#endif

}  // namespace detail
}  // namespace curfew
