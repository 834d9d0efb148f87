// Who waits for something that happens in the program itself: an event, a message, a permit.
#pragma once

#include <coroutine>
#include <system_error>
#include <utility>

#include "../core/outcome.hpp"
#include "../core/suspension.hpp"
#include "../error.hpp"
#include "../loop/loop.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

class wait_list;

/// A fiber that waits in a list. It leaves it, by completion or cancellation, before it is resumed;
/// whichever comes first decides, and the other finds it gone: both run in the loop's thread.
class list_waiter : public suspension {
public:
    list_waiter() = default;
    list_waiter(const list_waiter&) = delete;
    list_waiter& operator=(const list_waiter&) = delete;
    ~list_waiter() { unlink(); }

protected:
    friend wait_list;

    /// Begins to wait in `list`, unless `ready` or the fiber is cancelled. False: go on at once.
    template <class Promise, class Ready>
    bool wait_in(wait_list& list, std::coroutine_handle<Promise> coroutine, Ready ready,
                 const suspension_type& kind) noexcept;

    /// What every list_waiter does when it is cancelled.
    static bool interrupt(suspension& self, cancellation&) noexcept {
        auto& waiter = static_cast<list_waiter&>(self);
        if (waiter.link_) waiter.complete(outcome::canceled);
        return true;
    }

    /// Notes that a cancellation has been seen, and gives what the caller is to be told.
    std::error_code error() const noexcept {
        if (end_ == outcome::canceled && owner->cancelled()) owner->note_cut_short();
        return end_ == outcome::success ? std::error_code() : error_of(end_, 0);
    }

private:
    void complete(outcome how) noexcept {
        owner->loop->check_thread();
        unlink();
        end_ = how;
        owner->loop->make_ready(*this);
    }

    inline void unlink() noexcept;

    list_waiter* after_ = nullptr;
    list_waiter** link_ = nullptr;
    wait_list* in_ = nullptr;
    outcome end_ = outcome::success;
};

/// First come, first served. Those who still wait when the list is destroyed are told `closed`.
///
/// It belongs to the loop of those who wait in it. When that ends, its tasks do, and who is left
/// waits for ever: coroutines of other libraries, which belong to somebody else.
class wait_list : loop_dependent {
public:
    wait_list() noexcept
        : loop_dependent(
              [](loop_dependent& self) noexcept { static_cast<wait_list&>(self).forget_home(); }) {}
    ~wait_list() {
        while (head_) head_->complete(outcome::closed);
    }

    bool empty() const noexcept {
        check_loop();
        return !head_;
    }
    list_waiter* first() const noexcept {
        check_loop();
        return head_;
    }

    /// Ends the wait of the first, if there is one.
    void complete_first(outcome how = outcome::success) noexcept {
        check_loop();
        if (head_) head_->complete(how);
    }
    void complete_all(outcome how = outcome::success) noexcept {
        check_loop();
        while (head_) head_->complete(how);
    }

private:
    friend list_waiter;

    /// Somebody waits, or would have to, in `own`.
    void use_in(loop& own) noexcept {
        if (home_ == &own) [[likely]]
            return;
        CURFEW_ASSERT(!home_ && "an event, a channel or a semaphore is used in two io_contexts: "
                                "each belongs to one, and another one uses post()");
        if (home_) return;
        home_ = &own;
        own.add(*this);
    }

    void check_loop() const noexcept {
        CURFEW_ASSERT((!home_ || home_->may_be_used_here()) &&
                      "an event, a channel or a semaphore is used in another io_context, or "
                      "thread, than that of the tasks that wait for it: use post()");
    }

    inline void forget_home() noexcept;

    loop* home_ = nullptr;

    void push(list_waiter& waiter) noexcept {
        waiter.after_ = nullptr;
        waiter.link_ = end_;
        waiter.in_ = this;
        *end_ = &waiter;
        end_ = &waiter.after_;
    }

    list_waiter* head_ = nullptr;
    list_waiter** end_ = &head_;
};

inline void list_waiter::unlink() noexcept {
    if (!link_) return;
    *link_ = after_;
    (after_ ? after_->link_ : in_->end_) = link_;
    link_ = nullptr;
}

inline void wait_list::forget_home() noexcept {
    const loop* const gone = std::exchange(home_, nullptr);
    for (list_waiter* each = head_; each;) {
        list_waiter* const next = each->after_;
        if (each->owner->loop == gone) each->unlink();
        each = next;
    }
}

template <class Promise, class Ready>
bool list_waiter::wait_in(wait_list& list, std::coroutine_handle<Promise> coroutine, Ready ready,
                          const suspension_type& kind) noexcept {
    owner = &fiber_of(coroutine);
    loop& own = loop_for(*owner);
    own.check_thread();
    list.use_in(own);
    waiter = coroutine;
    type = &kind;
    const bool done = owner->cancelled() || ready();
    if (owner->cancelled()) end_ = outcome::canceled;
    if (done && !share_is_used_up()) return false;
    since = own.recent();
    owner->waiting = this;
    if (done)  // others get their turn first
        own.defer(*this);
    else
        list.push(*this);
    return true;
}

}  // namespace curfew::detail
