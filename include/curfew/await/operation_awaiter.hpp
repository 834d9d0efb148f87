// What `co_await socket.read_some(buffer)` does: the awaiter of one operation on a socket.
//
// `socket.read_some(buffer)` is a `socket_operation`, which holds a request (see requests.hpp):
// what is to be done. Awaited, it becomes an `operation_awaiter`, which holds the operation and
// starts it (see start.hpp).
#pragma once

#include <concepts>
#include <coroutine>
#include <system_error>
#include <type_traits>
#include <utility>

#include "../core/operation.hpp"
#include "../core/outcome.hpp"
#include "../error.hpp"
#include "../result.hpp"
#include "../task.hpp"
#include "start.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

/// The awaiter of an operation; the operation lives in it, and so in the awaiting frame, beside the
/// request that it refers to.
template <class Request>
class operation_awaiter {
public:
    explicit operation_awaiter(const Request& request) noexcept
        : op_(Request::kind, request.directions(), request.socket) {
        request.describe(op_);
    }
    explicit operation_awaiter(const Request& request) noexcept requires(Request::one_transfer)
        : op_(request.socket, request.buffers.own.data(), Request::exact) {}
    operation_awaiter(const operation_awaiter&) = delete;
    operation_awaiter& operator=(const operation_awaiter&) = delete;
    ~operation_awaiter() { Request::discard(op_); }

    operation& op() noexcept { return op_; }
    bool is_pending() const noexcept { return op_.progress == operation::state::pending; }
    void end(outcome why, bool abort) noexcept { cancel_operation(op_, why, abort); }

    bool await_ready() const noexcept { return false; }

    template <class Promise>
    CURFEW_HOT bool await_suspend(std::coroutine_handle<Promise> coroutine) noexcept {
        op_.waiter = coroutine;
        if constexpr (std::is_base_of_v<promise_base, Promise>)
            op_.owner = &fiber_of(coroutine);
        else
            op_.owner = &outside_fiber(op_.socket->loop);
        if constexpr (Request::one_transfer)
            return begin_transfer<Request::kind, Request::exact>(op_);
        else
            return begin(op_);
    }

    /// (What an accept yields needs memory.)
    auto await_resume() noexcept(noexcept(Request::yield(std::declval<operation&>(), {}))) {
        if (op_.result == outcome::success) [[likely]]
            return Request::yield(op_, no_error());
        return Request::yield(op_, failure());
    }

private:
    CURFEW_COLD std::error_code failure() noexcept {
        if (op_.owner->cancelled()) {
            // What cancels the scope may close the socket for another operation's sake.
            if (op_.result == outcome::closed) op_.result = outcome::canceled;
            if (op_.result == outcome::canceled) op_.owner->note_cut_short();
        }
        if (op_.single_transfer) op_.transferred = 0;  // see operation::describe_single_transfer
        return error_of(op_.result, op_.error);
    }

    operation op_;
};

/// An operation on a socket that has not been started yet: what `socket.read_some(...)` and its
/// kind return, to be awaited, or given a limit, within the same expression. `Request` says what it
/// is about, and is freely copied.
template <class Request>
class [[nodiscard("an operation does nothing until it is awaited")]] socket_operation {
public:
    using awaiter = operation_awaiter<Request>;

    explicit socket_operation(const Request& request) noexcept : co_await_is_missing_(request) {}

    awaiter operator co_await() const noexcept { return awaiter(co_await_is_missing_); }

private:
    /// Named for what compilers say of `auto [ec, n] = socket.read_some(buffer);`: that they cannot
    /// decompose it. (Its padding is of use to a limit around it.)
    [[no_unique_address]] Request co_await_is_missing_;
};

/// Awaiters that wait for an operation and nothing else: a limit on them needs no scope.
///
/// `op()` is what the fiber is suspended in; `is_pending()` says, after await_suspend, whether
/// there is anything that a limit could end; `end(why, abort)` does what cancel_operation does.
template <class Awaiter>
concept holds_operation = requires(Awaiter& a) {
    { a.op() } -> std::same_as<operation&>;
    { a.is_pending() } -> std::same_as<bool>;
    a.end(outcome::timed_out, true);
};

}  // namespace curfew::detail
