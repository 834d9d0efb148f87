// How any awaitable is awaited: what tasks, and wrappers that compose (limits, shields), need of
// it.
#pragma once

#include <concepts>
#include <coroutine>
#include <type_traits>
#include <utility>

#include "trampoline.hpp"

namespace curfew::detail {

template <class T>
concept has_member_co_await = requires(T&& t) {
    static_cast<T&&>(t).operator co_await();
};
template <class T>
concept has_free_co_await = requires(T&& t) {
    operator co_await(static_cast<T&&>(t));
};

/// The awaiter of `awaitable`, as `co_await` would find it.
template <class T>
decltype(auto) awaiter_of(T&& awaitable) {
    if constexpr (has_member_co_await<T>)
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
