// cancel_on: cancellation through a std::stop_token, from any thread.
#pragma once

#include <version>

#if defined(__cpp_lib_jthread)  // some standard libraries have no stop_token yet

#include <atomic>
#include <coroutine>
#include <optional>
#include <stop_token>
#include <utility>

#include "await/enable_limits.hpp"
#include "await/scoped.hpp"
#include "core/loop_dependent.hpp"
#include "loop/queues.hpp"
#include "platform/std_chrono.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

namespace detail {

template <class Awaitable>
class stoppable : loop_dependent {
public:
    using enable_limits = void;
    stoppable(Awaitable&& awaitable, std::stop_token token)
        : loop_dependent(
              [](loop_dependent& self) noexcept { static_cast<stoppable&>(self).detach(); }),
          scoped_(static_cast<Awaitable&&>(awaitable)), token_(std::move(token)),
          request_(scoped_) {}
    ~stoppable() { detach(); }

    bool await_ready() const noexcept { return false; }

    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> coroutine) {
        scoped_.enter(coroutine);
        loop_ = scoped_.self->loop;
        if (token_.stop_requested()) {
            scoped_.self->cancel(scoped_.scope);
        } else {
            loop_->add(*this);
            callback_.emplace(std::move(token_), messenger{*this});
        }
        return scoped_.suspend(coroutine);
    }

    decltype(auto) await_resume() {
        detach();
        return scoped_.resume();
    }

private:
    /// Runs in whatever thread requests the stop.
    struct messenger {
        stoppable& to;
        void operator()() const noexcept {
            phase seen = phase::waiting;
            if (!to.phase_.compare_exchange_strong(seen, phase::posting)) return;
            to.loop_->post(to.request_);
            to.phase_.store(phase::posted);
        }
    };

    enum class phase : unsigned char { waiting, posting, posted, detached };

    struct request : posted_function {
        scoped<Awaitable>& target;
        bool arrived = false;
        explicit request(scoped<Awaitable>& scope) : target(scope) {
            run = [](posted_function& self, bool wanted) {
                auto& message = static_cast<request&>(self);
                message.arrived = true;
                if (wanted) message.target.self->cancel(message.target.scope);
            };
        }
    };

    /// From here on nobody posts; what has been posted and has not arrived is taken back. To
    /// destroy the callback means to wait for one that is running in another thread; but it has
    /// nothing left to do by then, so that is soon over. (Where there are no futexes, GCC 12's wait
    /// may miss its end if it takes long enough for the wait to sleep.)
    void detach() noexcept {
        if (!callback_) return;
        phase seen = phase::waiting;
        if (!phase_.compare_exchange_strong(seen, phase::detached))
            while (phase_.load() == phase::posting) platform::pause(std::chrono::microseconds(20));
        callback_.reset();
        if (phase_.load() == phase::posted && !request_.arrived) loop_->withdraw(request_);
    }

    scoped<Awaitable> scoped_;
    loop* loop_ = nullptr;  // known when the fiber may be gone
    std::stop_token token_;
    std::atomic<phase> phase_{phase::waiting};
    request request_;
    std::optional<std::stop_callback<messenger>> callback_;
};

template <class Awaitable>
class [[nodiscard("cancel_on does nothing until it is awaited")]] stoppable_request {
public:
    stoppable_request(Awaitable && awaitable, std::stop_token token)
        : awaitable_(static_cast<Awaitable&&>(awaitable)), token_(std::move(token)) {}
    stoppable<Awaitable> operator co_await()&& {
        return stoppable<Awaitable>(static_cast<Awaitable&&>(awaitable_), std::move(token_));
    }

private:
    Awaitable awaitable_;
    std::stop_token token_;
};

}  // namespace detail

/// Cancels what `awaitable` waits for, and all that it starts from then on, when a stop is
/// requested; from any thread. Yields what `awaitable` yields: an operation that was cut short
/// says `errc::canceled`. (An awaitable of another library cannot be: see `enable_limits`.)
///
/// ```cpp
/// auto [ec, n] = co_await cancel_on(socket.read_some(buffer), source.get_token());
/// ```
template <class Awaitable>
auto cancel_on(Awaitable&& awaitable, std::stop_token token) {
    static_assert(detail::checked_cancellable<Awaitable>);
    return detail::stoppable_request<Awaitable>(static_cast<Awaitable&&>(awaitable),
                                                std::move(token));
}

}  // namespace curfew

#endif
