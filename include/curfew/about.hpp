// about: which sockets a limit with on_timeout::close aborts, whatever is waited for.
//
// By itself such a limit aborts the sockets whose operations are pending when it expires. What is
// made of several steps (a stream over another one, a request and its answer) may wait for
// something else then: a lock, the other direction, a worker thread. So it says which sockets it is
// about.
#pragma once

#include <concepts>
#include <coroutine>
#include <cstddef>
#include <type_traits>
#include <utility>

#include "await/enable_limits.hpp"
#include "core/awaiter.hpp"
#include "core/cancellation.hpp"
#include "core/fiber.hpp"
#include "core/socket_name.hpp"
#include "core/socket_state.hpp"
#include "reactor/reactor.hpp"
#include "socket_base.hpp"
#include "task.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

namespace detail {

/// A socket, or a stream that tells by its member `lowest_layer()` which one it is on top of.
template <class Stream>
concept leads_to_socket = std::derived_from<Stream, descriptor_base> || requires(Stream& stream) {
    stream.lowest_layer();
};

template <class Stream>
socket_state& lowest_socket(Stream& stream) noexcept {
    static_assert(leads_to_socket<Stream>,
                  "curfew::about and scope_about take sockets, or streams with a member "
                  "lowest_layer() that returns the socket that they are on top of");
    if constexpr (std::derived_from<Stream, descriptor_base>) {
        return socket_access::state(stream);
    } else if constexpr (leads_to_socket<Stream>) {
        auto& below = stream.lowest_layer();
        return lowest_socket(below);
    } else {
        return no_socket;  // lest more errors follow
    }
}

/// The name of one socket, to be put into a scope.
struct name_of_socket : socket_name {
    explicit name_of_socket(socket_state& named) noexcept
        : socket_name(named, [](socket_name& self) noexcept {
              if (!self.socket || !self.socket->is_open()) return;
              check_thread(*self.socket);
              loop& own = *self.socket->loop;
              own.system().close(*self.socket, close_mode::abortive, own.done());
          }) {}
};

/// The innermost scope of the task that runs; null outside of tasks.
inline cancel_scope* scope_that_runs() noexcept {
    fiber* const self = this_thread().current;
    return self && self != &no_fiber ? self->scope : nullptr;
}

template <class Awaitable, std::size_t Count>
class about_awaiter {
public:
    template <std::size_t... Index>
    about_awaiter(Awaitable&& awaitable, socket_state* const (&sockets)[Count],
                  std::index_sequence<Index...>)
        : names_{name_of_socket(*sockets[Index])...},
          inner_(awaiter_of(static_cast<Awaitable&&>(awaitable))) {}
    about_awaiter(const about_awaiter&) = delete;
    about_awaiter& operator=(const about_awaiter&) = delete;

    bool await_ready() const noexcept { return false; }

    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> coroutine) {
        if constexpr (std::is_base_of_v<promise_base, Promise>)
            for (name_of_socket& each : names_) each.attach(*fiber_of(coroutine).scope);
        return suspend_in(inner_, coroutine);
    }

    decltype(auto) await_resume() {
        for (name_of_socket& each : names_) each.detach();
        return inner_.await_resume();
    }

private:
    name_of_socket names_[Count];
    awaiter_of_t<Awaitable> inner_;
};

template <class Awaitable, std::size_t Count>
class [[nodiscard("nothing is waited for until this is awaited")]] about_request {
public:
    static constexpr bool is_cancellable = detail::is_cancellable<Awaitable>;

    template <class... Stream>
    explicit about_request(Awaitable && awaitable, Stream & ... streams) noexcept(
        std::is_nothrow_constructible_v<Awaitable, Awaitable&&>)
        : awaitable_(static_cast<Awaitable&&>(awaitable)), sockets_{&lowest_socket(streams)...} {}

    about_awaiter<Awaitable, Count> operator co_await()&& {
        return {static_cast<Awaitable&&>(awaitable_), sockets_, std::make_index_sequence<Count>()};
    }

private:
    Awaitable awaitable_;
    socket_state* sockets_[Count];
};

}  // namespace detail

/// From here to the end of the block, the task is about these sockets: when a limit around it with
/// `on_timeout::close` expires meanwhile, they are aborted, even if the task waits only for a lock,
/// for the other direction, or for a worker thread. It costs a few instructions, and no allocation.
///
/// ```cpp
/// task<result<std::size_t>> my_stream::read_some(mutable_buffer buffer) {
///     const scope_about here(socket_);   // the one line
///     auto [ec] = co_await lock_.acquire();
///     ...
/// }
/// auto [ec, n] = co_await with_timeout(stream.read_some(buffer), 5s, on_timeout::close);
/// ```
/// What the task waits for ends with `canceled`, as ever, and the caller of the limit gets
/// `timed_out` with what was transferred so far; operations of other tasks on the sockets end with
/// `closed`, and every later one does. The peers get a RST. (Should what the task waits for
/// complete at the same moment, its result is delivered, and the sockets are aborted all the same.)
///
/// It takes sockets, and streams with a member `lowest_layer()` that returns the socket, or the
/// stream, that they are on top of. A socket may be moved meanwhile, or destroyed, which ends it
/// for that one; one that was assigned to it since is another. Limits that end within the block,
/// and those with `on_timeout::cancel`, do nothing to the sockets. A shield inside the block keeps
/// nobody from aborting them; if the block is inside the shield, limits around that do not reach
/// it.
///
/// It is to be made in a task; elsewhere, where no limit is, it does nothing.
template <std::size_t Count>
class [[nodiscard("a scope_about that has no name ends at once")]] scope_about {
    static_assert(Count > 0, "curfew::scope_about takes the sockets that the scope is about");

public:
    template <class... Stream>
    requires(sizeof...(Stream) == Count) explicit scope_about(Stream & ... streams) noexcept
        : names_{detail::name_of_socket(detail::lowest_socket(streams))...} {
        if (detail::cancel_scope* const scope = detail::scope_that_runs())
            for (auto& each : names_) each.attach(*scope);
    }
    scope_about(const scope_about&) = delete;
    scope_about& operator=(const scope_about&) = delete;

private:
    detail::name_of_socket names_[Count];
};

template <class... Stream>
scope_about(Stream&...) -> scope_about<sizeof...(Stream)>;

/// Awaits `awaitable`, which is about these sockets: as with `scope_about`, for what is no
/// coroutine. Yields what `awaitable` yields. A limit is to be around it, not inside it.
///
/// ```cpp
/// auto acquire() { return about(lock_.acquire(), socket_); }
/// auto [ec] = co_await with_timeout(stream.acquire(), 5s, on_timeout::close);
/// ```
template <class Awaitable, class... Stream>
auto about(Awaitable&& awaitable, Stream&... streams) {
    static_assert(detail::checked_awaitable<Awaitable>);
    static_assert(sizeof...(Stream) > 0,
                  "curfew::about(awaitable, socket...) takes the sockets behind the awaitable");
    return detail::about_request<Awaitable, sizeof...(Stream)>(static_cast<Awaitable&&>(awaitable),
                                                               streams...);
}

}  // namespace curfew
