#include <curfew/core/awaiter.hpp>

#include <doctest/doctest.h>

#include <coroutine>
#include <type_traits>
#include <utility>

using namespace curfew::detail;

namespace {

struct ready {
    int value;
    bool await_ready() const noexcept { return true; }
    void await_suspend(std::coroutine_handle<>) const noexcept {}
    int await_resume() const noexcept { return value; }
};

struct with_member {
    ready operator co_await() const noexcept { return {1}; }
};

struct with_free {};
ready operator co_await(const with_free&) noexcept { return {2}; }

struct in_tasks {
    ready operator co_await() const noexcept { return {3}; }
};
ready awaiter_in_task(const in_tasks&) noexcept { return {4}; }

struct of_a_reference {
    ready own{5};
    ready& operator co_await() noexcept { return own; }
};

struct nothing {};

}  // namespace

TEST_CASE("an awaiter is found as co_await finds it, or is the one for tasks") {
    CHECK(awaiter_of(with_member{}).await_resume() == 1);
    CHECK(awaiter_of(with_free{}).await_resume() == 2);
    CHECK(awaiter_of(in_tasks{}).await_resume() == 4);
    ready itself{6};
    CHECK(&awaiter_of(itself) == &itself);
    static_assert(awaitable<with_member> && awaitable<with_free> && awaitable<ready>);
    static_assert(!awaitable<nothing> && !awaitable<int>);
    static_assert(std::is_same_v<awaited_t<with_member>, int>);
}

TEST_CASE("what await_transform returns is an object, which refers to an awaiter that is one") {
    of_a_reference source;
    auto referring = transformed(source);
    static_assert(std::is_same_v<decltype(referring), referred_awaiter<ready>>);
    CHECK(&referring.it == &source.own);
    CHECK(referring.await_ready());
    CHECK(referring.await_resume() == 5);
    static_assert(std::is_same_v<decltype(transformed(with_member{})), ready>);
}

TEST_CASE("suspending says whether the coroutine goes on at once") {
    const std::coroutine_handle<> nobody;
    struct of_void {
        bool is_ready;
        int suspended = 0;
        bool await_ready() const noexcept { return is_ready; }
        void await_suspend(std::coroutine_handle<>) noexcept { ++suspended; }
        void await_resume() const noexcept {}
    };
    of_void at_once{true}, later{false};
    CHECK_FALSE(suspend_in(at_once, nobody));
    CHECK(at_once.suspended == 0);
    CHECK(suspend_in(later, nobody));
    CHECK(later.suspended == 1);
    struct of_bool {
        bool stays;
        bool await_ready() const noexcept { return false; }
        bool await_suspend(std::coroutine_handle<>) const noexcept { return stays; }
        void await_resume() const noexcept {}
    };
    of_bool stays{true}, goes{false};
    CHECK(suspend_in(stays, nobody));
    CHECK_FALSE(suspend_in(goes, nobody));
}
