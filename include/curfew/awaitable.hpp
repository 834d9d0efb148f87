// How awaitables are awaited: the awaiter of socket operations, and what composing wrappers
// (limits, shields) need of any awaitable.
#pragma once

#include <array>
#include <coroutine>
#include <type_traits>
#include <utility>

#include "error.hpp"
#include "loop.hpp"
#include "result.hpp"

namespace curfew::detail {

// Any awaitable ---------------------------------------------------------------------------------

template <class T>
concept has_member_co_await = requires(T&& t) { static_cast<T&&>(t).operator co_await(); };
template <class T>
concept has_free_co_await = requires(T&& t) { operator co_await(static_cast<T&&>(t)); };

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

// Socket operations -------------------------------------------------------------------------------

/// Ends a pending operation before its time; it may still complete with success.
inline void end_early(operation& op, outcome why, bool abort) noexcept {
    if (op.progress != operation::state::pending || op.reason != outcome::success) return;
    op.reason = why;
    loop& own = *op.socket->loop;
    if (abort)
        own.system().close(*op.socket, close_mode::abortive, own.done());
    else
        own.system().cancel(op, own.done());
}

/// Starts `op` for `coroutine`. False: it is complete.
inline bool begin(operation& op, fiber& self, std::coroutine_handle<> coroutine) noexcept {
    op.waiter = coroutine;
    op.owner = &self;
    op.is_operation = true;
    op.interrupt = [](suspension& pending, bool abort) noexcept {
        end_early(static_cast<operation&>(pending), outcome::canceled, abort);
    };
    const auto refuse = [&](outcome why, int error = 0) {
        op.progress = operation::state::complete;
        op.result = why;
        op.error = error;
    };
    socket_state* const socket = op.socket;
    if (self.cancelled()) {
        refuse(outcome::canceled);
    } else if (!socket || !socket->loop ||
               (!socket->is_open() && op.kind != operation_kind::connect)) {
        refuse(outcome::closed);
    } else if (op.kind == operation_kind::write && socket->write_broken) {
        refuse(outcome::system, platform::broken_pipe);
    } else if ((op.kind == operation_kind::read || op.kind == operation_kind::write) &&
               op.wants_nothing()) {
        refuse(outcome::success);
    } else if (!start(socket->loop->system(), op)) {
        self.waiting = &op;
        return true;
    }
    if (!self.loop || self.loop->may_go_on()) return false;
    self.waiting = &op;
    self.loop->defer(op);
    return true;
}

/// What makes up an operation before it is awaited: freely copied, nothing has happened yet.
/// `Count` buffers are inside it; with 0 it refers to a list of the caller's.
template <std::size_t Count>
struct operation_request {
    socket_state* socket = nullptr;
    operation_kind kind = operation_kind::read;
    readiness interest = readiness::readable;
    bool exact = false;
    std::array<platform::buffer, Count> buffers{};
    const platform::buffer* list = nullptr;
    std::size_t list_size = 0;
    platform::socket_address address{};           // of a connect or send_to
    platform::socket_address* sender = nullptr;   // where receive_from puts it
    bool has_address = false;
};

/// The awaiter of an operation; the operation lives in it, and so in the awaiting frame. `Yield`
/// makes the result: `Yield{}(op, error_code)`.
template <std::size_t Count, class Yield>
class operation_awaiter {
public:
    explicit operation_awaiter(const operation_request<Count>& request) noexcept
        : buffers_(request.buffers), address_(request.address) {
        op_.socket = request.socket;
        op_.kind = request.kind;
        op_.interest = request.interest;
        op_.exact = request.exact;
        op_.buffers = Count ? buffers_.data() : request.list;
        op_.buffer_count = Count ? Count : request.list_size;
        op_.address = request.has_address ? &address_ : request.sender;
    }
    operation_awaiter(const operation_awaiter&) = delete;
    operation_awaiter& operator=(const operation_awaiter&) = delete;

    operation& op() noexcept { return op_; }

    bool await_ready() const noexcept { return false; }

    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> coroutine) noexcept {
        return begin(op_, fiber_of(coroutine), coroutine);
    }

    auto await_resume() noexcept {
        if (op_.result == outcome::canceled && op_.owner->cancelled()) op_.owner->notice();
        return Yield{}(op_, error_of(op_.result, op_.error));
    }

private:
    operation op_;
    [[no_unique_address]] std::array<platform::buffer, Count> buffers_;
    platform::socket_address address_;
};

struct yield_nothing {
    result<> operator()(operation&, std::error_code error) const noexcept { return error; }
};

struct yield_count {
    result<std::size_t> operator()(operation& op, std::error_code error) const noexcept {
        return {error, op.transferred};
    }
};

/// An operation on a socket that has not been started yet: what `socket.read_some(...)` and its kind
/// return, to be awaited, or given a limit, within the same expression.
template <std::size_t Count, class Yield>
class [[nodiscard("an operation does nothing until it is awaited")]] socket_operation {
public:
    using awaiter = operation_awaiter<Count, Yield>;

    explicit socket_operation(const operation_request<Count>& request) noexcept
        : request_(request) {}

    awaiter operator co_await() const noexcept { return awaiter(request_); }

private:
    operation_request<Count> request_;
};

/// Awaiters that are one operation, and nothing else: a limit on them needs no scope.
template <class Awaiter>
concept holds_operation = requires(Awaiter& a) {
    { a.op() } -> std::same_as<operation&>;
};

}  // namespace curfew::detail
