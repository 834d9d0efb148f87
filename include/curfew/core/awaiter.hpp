// How any awaitable is awaited: what tasks, and wrappers that compose (limits, shields), need of
// it.
#pragma once

#include <concepts>
#include <coroutine>
#include <type_traits>
#include <utility>

#include "trampoline.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

template <class T>
concept has_member_co_await = requires(T&& t) {
    static_cast<T&&>(t).operator co_await();
};
template <class T>
concept has_free_co_await = requires(T&& t) {
    operator co_await(static_cast<T&&>(t));
};

template <class T>
concept has_awaiter_in_task = requires(T&& t) { awaiter_in_task(t); };

/// The awaiter of `awaitable`, as `co_await` would find it, or the one for tasks.
template <class T>
decltype(auto) awaiter_of(T&& awaitable) {
    if constexpr (has_awaiter_in_task<T>)
        return awaiter_in_task(awaitable);
    else if constexpr (has_member_co_await<T>)
        return static_cast<T&&>(awaitable).operator co_await();
    else if constexpr (has_free_co_await<T>)
        return operator co_await(static_cast<T&&>(awaitable));
    else
        return static_cast<T&&>(awaitable);
}

template <class T>
concept awaiter = requires(T& t) {
    static_cast<bool>(t.await_ready());
    t.await_resume();
};

template <class T>
concept awaitable = requires(T&& t) {
    { awaiter_of(static_cast<T&&>(t)) } -> awaiter;
};

template <class T>
using awaiter_of_t = decltype(awaiter_of(std::declval<T>()));
template <class T>
using awaited_t = decltype(std::declval<awaiter_of_t<T>&>().await_resume());

/// An awaiter that stands elsewhere.
template <class Awaiter>
struct referred_awaiter {
    using referred = Awaiter;
    Awaiter& it;
    decltype(auto) await_ready() { return it.await_ready(); }
    template <class Promise>
    decltype(auto) await_suspend(std::coroutine_handle<Promise> coroutine) {
        return it.await_suspend(coroutine);
    }
    decltype(auto) await_resume() { return it.await_resume(); }
};

/// What `await_transform` returns for `awaitable`. Never a reference: gcc 12 copies what that
/// refers to, and awaits the copy.
template <class T>
auto transformed(T&& awaitable) {
    using found = awaiter_of_t<T>;
    if constexpr (std::is_reference_v<found>) {
        auto&& there = awaiter_of(static_cast<T&&>(awaitable));
        return referred_awaiter<std::remove_reference_t<found>>{there};
    } else {
        return awaiter_of(static_cast<T&&>(awaitable));
    }
}

/// Suspends `coroutine` in `inner`. False: it goes on at once.
template <class Awaiter, class Promise>
bool suspend_in(Awaiter& inner, std::coroutine_handle<Promise> coroutine) {
    if (inner.await_ready()) return false;
    using returned = decltype(inner.await_suspend(coroutine));
    if constexpr (std::is_void_v<returned>) {
        inner.await_suspend(coroutine);
        return true;
    } else if constexpr (std::is_same_v<returned, bool>) {
        return inner.await_suspend(coroutine);
    } else {
        const std::coroutine_handle<> next = inner.await_suspend(coroutine);
        transfer_to(next);
        return true;
    }
}

/// What a member function returns that waits for something in `Object`, which must outlive it: the
/// awaiter is made when it is awaited.
template <class Awaiter, class Object>
class [[nodiscard("nothing is waited for until this is awaited")]] request_on {
public:
    explicit request_on(Object & on) noexcept : on_(&on) {}
    Awaiter operator co_await() const noexcept { return Awaiter(*on_); }

private:
    Object* on_;
};

}  // namespace curfew::detail
