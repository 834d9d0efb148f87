// event: something that has happened, or not yet.
#pragma once

#include <coroutine>

#include "await/wait_list.hpp"
#include "core/suspension.hpp"
#include "result.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

/// Something that tasks of one loop wait for: it stays set until it is reset, and lets everybody
/// pass as long as it is. Who waits when it is set goes on in the order in which they came, even if
/// it is reset before their turn.
///
/// It belongs to the loop's thread; from another thread, `post` a function that sets it. Who still
/// waits when it is destroyed is told `closed`.
class event {
public:
    /// Lets pass who waits, and who will.
    void set() noexcept {
        set_ = true;
        waiting_.complete_all();
    }
    /// From now on tasks wait again.
    void reset() noexcept { set_ = false; }
    /// Whether tasks pass.
    bool is_set() const noexcept { return set_; }

    class awaiter : detail::list_waiter {
    public:
        explicit awaiter(event& what) noexcept : event_(what) {}
        bool await_ready() const noexcept { return false; }
        template <class Promise>
        bool await_suspend(std::coroutine_handle<Promise> coroutine) noexcept {
            static constexpr detail::suspension_type kind{
                &interrupt,
                [](const suspension&, detail::wait_report& report) noexcept {
                    report.what = "event";
                },
            };
            return wait_in(
                event_.waiting_, coroutine, [&] { return event_.set_; }, kind);
        }
        optional_result await_resume() const noexcept { return error(); }

    private:
        event& event_;
    };

    /// Waits until the event is set; goes on at once if it is. Yields a `result<>` that may be
    /// ignored.
    ///
    /// Cancellation: `canceled`; in a cancelled scope even if the event is set.
    detail::request_on<awaiter, event> wait() noexcept {
        return detail::request_on<awaiter, event>(*this);
    }

private:
    bool set_ = false;
    detail::wait_list waiting_;
};

}  // namespace curfew
