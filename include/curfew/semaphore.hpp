// semaphore: so many at a time, and the rest in the order in which they come.
#pragma once

#include <coroutine>
#include <cstddef>

#include "await/wait_list.hpp"
#include "core/suspension.hpp"
#include "result.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

/// Permits for tasks of one loop: `acquire` takes one, or waits for one; `release` gives it back.
/// Who comes later never overtakes. It belongs to the loop's thread. Who still waits when it is
/// destroyed is told `closed`. A permit that has been handed to a task goes with it, should that be
/// destroyed before it can go on.
class semaphore {
public:
    /// Begins with so many permits.
    explicit semaphore(std::size_t permits) noexcept : permits_(permits) {}

    class awaiter : detail::list_waiter {
    public:
        explicit awaiter(semaphore& from) noexcept : semaphore_(from) {}
        bool await_ready() const noexcept { return false; }
        template <class Promise>
        bool await_suspend(std::coroutine_handle<Promise> coroutine) noexcept {
            static constexpr detail::suspension_type kind{
                &interrupt,
                [](const suspension&, detail::wait_report& report) noexcept {
                    report.what = "semaphore";
                },
            };
            return wait_in(
                semaphore_.waiting_, coroutine, [&] { return semaphore_.try_acquire(); }, kind);
        }
        result<> await_resume() const noexcept { return error(); }

    private:
        semaphore& semaphore_;
    };

    /// Takes a permit, waiting for one if need be.
    ///
    /// Cancellation: `canceled`, and no permit is taken.
    detail::request_on<awaiter, semaphore> acquire() noexcept {
        return detail::request_on<awaiter, semaphore>(*this);
    }

    /// Takes a permit if there is one that nobody waits for.
    bool try_acquire() noexcept {
        if (permits_ == 0) return false;
        --permits_;
        return true;
    }

    /// Gives back `count` permits, or adds new ones.
    void release(std::size_t count = 1) noexcept {
        for (; count && !waiting_.empty(); --count) waiting_.complete_first();
        permits_ += count;
    }

    /// The permits that are left.
    std::size_t available() const noexcept { return permits_; }

private:
    std::size_t permits_;
    detail::wait_list waiting_;
};

/// Gives back, at the end of a block, a permit that has been acquired.
///
/// ```cpp
/// auto [ec] = co_await slots.acquire();
/// if (ec) co_return ec;
/// const permit slot(slots);
/// ```
class [[nodiscard("the permit is given back at once")]] permit {
public:
    /// Takes charge of one permit, which has been acquired.
    explicit permit(semaphore & acquired) noexcept : from_(acquired) {}
    permit(const permit&) = delete;
    permit& operator=(const permit&) = delete;
    ~permit() { from_.release(); }

private:
    semaphore& from_;
};

}  // namespace curfew
