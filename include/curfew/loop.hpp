// The engine of an io_context: what is ready, what is armed, who lives, and the order of a turn.
#pragma once

#include <atomic>
#include <chrono>
#include <coroutine>
#include <exception>
#include <iterator>
#include <memory>
#include <utility>

#include "core/fiber.hpp"
#include "core/frame_memory.hpp"
#include "core/ready_queue.hpp"
#include "core/timer_wheel.hpp"
#include "core/trampoline.hpp"
#include "reactor/reactor.hpp"
#include "result.hpp"
#include "task.hpp"

namespace curfew {
class io_context;
}

namespace curfew::detail {

/// A function for the loop to call, posted from any thread. `run` disposes of it, having called it
/// or, when the loop ends before it comes to that, without.
struct posted_function : ready_node {
    void (*run)(posted_function&, bool call) = nullptr;
};

/// The fiber of a spawned task.
struct spawned_fiber final : fiber, recycled {
    spawned_fiber* next_fiber = nullptr;  // the loop's list of all
    spawned_fiber** link = nullptr;
    spawned_fiber* next_ended = nullptr;
    std::coroutine_handle<> frame;  // null when it has been destroyed
    promise_base* promise = nullptr;
    suspension begin;              // queued until the task starts
    suspension* joiner = nullptr;  // who awaits the end
    bool has_handle = true;        // a join_handle refers to this record
    bool has_ended = false;
    bool dying = false;     // its frame is being destroyed
    bool joined = false;    // somebody has awaited the end
    bool reported = false;  // its exception has been thrown at somebody
};

class loop {
public:
    loop(io_context& owner, std::unique_ptr<reactor> with) noexcept
        : context_(owner), reactor_(std::move(with)), done_(ready_), now_(ticks_now()),
          wheel_(now_) {
        outside_.loop = this;
        for (generation& each : young_)
            each.next = &each == std::end(young_) - 1 ? young_ : &each + 1;
    }

    loop(const loop&) = delete;
    loop& operator=(const loop&) = delete;

    /// Ends all pending operations, waits until the system has let go of their buffers, and only
    /// then destroys the frames that hold them.
    ~loop() {
        const running_guard guard(*this);
        for (socket_state* each = sockets_; each; each = each->next)
            reactor_->close(*each, close_mode::graceful, done_);
        for (socket_state* each = sockets_; each; each = each->next)
            while (each->reader || each->writer) reap(platform::forever);
        while (retired_) reap(platform::forever);
        // Destructors in a frame may spawn, post and cancel once more: what they queue is dropped
        // before what it belongs to is destroyed.
        for (;;) {
            take_inbox(ready_);
            discard(ready_);
            discard(deferred_);
            if (!fibers_) break;
            abandon(*fibers_);
        }
        settle_young();
        while (fresh_) fresh_->disarm();  // of coroutines that are not the library's
        while (sockets_) {
            sockets_->loop = nullptr;
            unlink(*sockets_);
        }
    }

    io_context& context() noexcept { return context_; }
    reactor& system() const noexcept { return *reactor_; }
    completions& done() noexcept { return done_; }

    // Resuming ---------------------------------------------------------------------------------

    void make_ready(ready_node& node) noexcept { ready_.push(node); }

    /// Queues for the next turn, behind what the system has to say.
    void defer(ready_node& node) noexcept {
        deferred_.push(node);
        chores_ = true;
    }

    // Limits -----------------------------------------------------------------------------------

    /// Arms `node` for `node.deadline` from now, a duration. The clock is read once for all that
    /// were armed in a turn, at its end, so no limit is early by the age of a stored time.
    CURFEW_HOT void arm_after(timer_node& node) noexcept { node.link_to(fresh_); }

    /// Arms `node` for `node.deadline`, a point in time.
    void arm_at(timer_node& node) noexcept {
        wheel_.arm(node);
        if (node.deadline < bound_) bound_ = node.deadline;
    }

    /// The time, read at most once between two waits (and when limits are armed).
    ticks now() noexcept {
        if (!now_) read_clock();
        return now_;
    }

    ticks next_deadline() noexcept {
        if (fresh_) date_fresh();
        settle_young();
        return wheel_.earliest();
    }

    // Fibers and sockets -----------------------------------------------------------------------

    void spawn(std::coroutine_handle<> frame, promise_base& promise,
               spawned_fiber& record) noexcept {
        record.loop = this;
        record.frame = frame;
        record.promise = &promise;
        record.ended = [](fiber& self) noexcept {
            auto& ended = static_cast<spawned_fiber&>(self);
            ended.next_ended = std::exchange(self.loop->ended_, &ended);
        };
        promise.owner = &record;
        record.begin.waiter = frame;
        record.begin.owner = &record;
        record.next_fiber = fibers_;
        if (fibers_) fibers_->link = &record.next_fiber;
        record.link = &fibers_;
        fibers_ = &record;
        ++live_;
        ready_.push(record.begin);
    }

    /// The handle is gone: the record lives as long as its task.
    static void drop_handle(spawned_fiber& record) noexcept {
        record.has_handle = false;
        if (record.dying) return;  // the handle is in the frame that is being destroyed
        if (!record.loop)
            delete &record;
        else if (record.has_ended)
            record.loop->retire(record);
    }

    /// Ends a fiber by force: what it waits for is cancelled and reaped, its frame destroyed.
    void kill(spawned_fiber& record) noexcept {
        if (suspension* waiting = record.waiting) {
            waiting->interrupt(*waiting, false);
            while (waiting->is_operation &&
                   static_cast<operation*>(waiting)->progress == operation::state::pending)
                reap(platform::forever);
            ready_.remove(*waiting);
            deferred_.remove(*waiting);
        }
        ready_.remove(record.begin);
        abandon(record);
    }

    socket_state* make_socket(platform::transport type, platform::socket_handle handle) {
        auto* socket = ::new (frame_cache::allocate(sizeof(socket_state))) socket_state;
        socket->loop = this;
        socket->type = type;
        if (handle != platform::invalid_socket) opened(*socket, handle);
        link(*socket, sockets_);
        return socket;
    }

    /// The socket has got a handle.
    void opened(socket_state& socket, platform::socket_handle handle) noexcept {
        socket.handle = handle;
        socket.was_open = true;
        socket.worth_trying = reactor_->initially_worth_trying();
    }

    /// The socket object is gone; its state goes when nothing is pending on it any more.
    static void retire(socket_state* socket) noexcept {
        loop* const owner = socket->loop;
        if (!owner) return free(socket);
        owner->reactor_->close(*socket, close_mode::graceful, owner->done_);
        unlink(*socket);
        if (socket->reader || socket->writer)  // a proactor has yet to reap them
            link(*socket, owner->retired_);
        else
            free(socket);
    }

    // Any thread -------------------------------------------------------------------------------

    void post(posted_function& function) noexcept {
        if (this_thread.running == this) return ready_.push(function);
        // Only who finds the inbox empty wakes the loop: whoever comes later knows that somebody
        // has, and that the loop, which empties the inbox only after waking up, has yet to look.
        ready_node* head = inbox_.load(std::memory_order_relaxed);
        do function.next = head;
        while (!inbox_.compare_exchange_weak(head, &function, std::memory_order_release,
                                             std::memory_order_relaxed));
        if (!head) reactor_->wake();
    }

    /// Takes back what was posted and has not run. From the loop's thread.
    void withdraw(posted_function& function) noexcept {
        take_inbox(ready_);
        ready_.remove(function);
    }

    void stop() noexcept {
        stop_.store(true, std::memory_order_release);
        // In the loop's own thread too: a signal handler may run just before the loop begins to
        // wait.
        reactor_->wake();
    }

    // Turns ------------------------------------------------------------------------------------

    static constexpr std::size_t unlimited = static_cast<std::size_t>(-1);

    /// Runs until `enough()`, `stop()`, or there is no work left; at most until `end`, and resumes
    /// at most `most`. Returns how many coroutines and functions it has run.
    template <class Enough>
    std::size_t run(ticks end, std::size_t most, Enough enough) {
        const running_guard guard(*this);
        report_failure();
        std::size_t left = most;
        ticks until_deadline = look_at_deadlines(true);
        while (!enough() && !stopping() && has_work()) {
            reap(time_to_wait(until_deadline, end));
            if (chores_) [[unlikely]]
                do_chores();
            const std::size_t resumed =
                resume_ready(left < fair_batch ? left : fair_batch, endless);
            until_deadline = look_at_deadlines(resumed > 0);
            if ((left -= resumed) == 0 || (end != endless && now() >= end)) [[unlikely]]
                break;
        }
        stopping();  // this run has ended anyway
        report_failure();
        if (live_ == 0 && !enough()) report_unclaimed();
        return most - left;
    }

    /// One look at the system, then all that is ready, then the limits; never waits. Starts nothing
    /// new after `end`.
    std::size_t poll(ticks end) {
        const running_guard guard(*this);
        if (stopping()) return 0;
        reap(std::chrono::nanoseconds::zero());
        do_chores();
        std::size_t total = resume_ready(unlimited, end);
        look_at_deadlines(total > 0);
        if (!stopping()) total += resume_ready(unlimited, end);
        stopping();
        report_failure();
        return total;
    }

private:
    static constexpr unsigned generations = 16;
    static constexpr std::size_t fair_batch = 256;  // resumed between two looks at the system
    static constexpr int fair_share = 64;           // completions at once, between two suspensions

    /// While it lives, this loop is the one that runs in this thread.
    class running_guard {
    public:
        explicit running_guard(loop& self) noexcept : self_(self), outer_(this_thread) {
            this_thread = {&self, &self.outside_, nullptr, false, fair_share};
            self.now_ = 0;
        }
        ~running_guard() {
            if (self_.fresh_) self_.date_fresh();  // limits count from now, not from the next run
            this_thread = outer_;
        }
        running_guard(const running_guard&) = delete;
        running_guard& operator=(const running_guard&) = delete;

    private:
        loop& self_;
        thread_state outer_;
    };

    bool has_work() const noexcept {
        return live_ > 0 || !ready_.empty() || !deferred_.empty() ||
               inbox_.load(std::memory_order_relaxed);
    }

    /// True once for each stop().
    bool stopping() noexcept {
        return stop_.load(std::memory_order_relaxed) &&
               stop_.exchange(false, std::memory_order_acquire);
    }

    std::chrono::nanoseconds time_to_wait(ticks until_deadline, ticks end) noexcept {
        if (chores_ || !ready_.empty()) return std::chrono::nanoseconds::zero();
        if (end != endless) [[unlikely]] {
            const ticks until_end = end > now() ? end - now() : 0;
            if (until_end < until_deadline) until_deadline = until_end;
        }
        return std::chrono::nanoseconds(until_deadline);  // endless is platform::forever
    }

    void reap(std::chrono::nanoseconds time) {
        const int error = reactor_->wait(time, done_);
        now_ = 0;
        take_inbox(ready_);
        if (retired_) sweep_retired();
        if (error) [[unlikely]]
            raise(platform::error_code(error), "curfew: the reactor failed");
    }

    /// What is seldom due, behind one flag: coroutines that gave way, exceptions that nobody joins.
    CURFEW_COLD void do_chores() {
        chores_ = false;
        ready_.append(deferred_);
        report_failure();
    }

    /// Resumes what is ready: at most `most`, and after a stop or `end` no more.
    std::size_t resume_ready(std::size_t most, ticks end) {
        thread_state& state = this_thread;
        state.on_trampoline = true;
        std::size_t count = 0;
        if (end != endless && ticks_now() >= end) return 0;
        while (ready_node* const node = ready_.pop()) {
            state.share = fair_share;
            if (node->waiter) [[likely]] {
                node->owner->waiting = nullptr;
                run_chain(state, node->waiter);
            } else {
                call(static_cast<posted_function&>(*node));
            }
            while (ended_) after_end(*std::exchange(ended_, ended_->next_ended));
            ++count;
            if (ready_.empty() || count == most) break;
            if (stop_.load(std::memory_order_relaxed)) break;
            if (end != endless && ticks_now() >= end) break;
        }
        return count;
    }

    static void call(posted_function& function) {
        this_thread.on_trampoline = false;  // it may resume coroutines itself
        function.run(function, true);
        this_thread.on_trampoline = true;
    }

    /// Carries out the policies of expired limits: after what has completed has been resumed, and
    /// after what completed meanwhile has been reaped, so that a completion beats its limit.
    /// Returns how long the loop may wait then; `endless` without a limit.
    ticks look_at_deadlines(bool resumed) {
        if (fresh_)
            date_fresh();
        else if (bound_ == endless)
            return endless;
        else
            read_clock();
        const ticks left = bound_ - now_;
        return left > 0 ? left : expire(now_, resumed);
    }

    CURFEW_COLD ticks expire(ticks now, bool resumed) {
        settle_young();
        if (resumed) reap(std::chrono::nanoseconds::zero());
        wheel_.expire(now);
        bound_ = wheel_.bound();
        return bound_ == endless ? endless : bound_ - now;
    }

    // A limit's life: armed in this turn, it is fresh, and its deadline still a duration. At the
    // turn's end all fresh ones become young: a generation that counts from the same reading of the
    // clock, of which only the shortest matters yet. Generations stand in a ring; when their place
    // is needed again, those of their limits that are left are placed in the wheel. Most operations
    // complete before that, and never touch it.

    struct generation {
        timer_node* first = nullptr;
        ticks birth = 0;
        generation* next = nullptr;  // in the ring
    };

    void date_fresh() noexcept {
        generation& place = *oldest_;
        oldest_ = place.next;
        if (place.first) [[unlikely]]
            settle(place);
        ticks shortest = fresh_->deadline;
        for (const timer_node* node = fresh_->next; node; node = node->next)
            if (node->deadline < shortest) shortest = node->deadline;
        place.first = std::exchange(fresh_, nullptr);
        place.first->link = &place.first;
        read_clock();
        place.birth = now_;
        const ticks bound = now_ + shortest;
        if (bound < bound_) bound_ = bound;
    }

    CURFEW_COLD void settle(generation& old) noexcept {
        timer_node* oldest_first = nullptr;  // the list begins with the newest
        while (timer_node* node = old.first) {
            node->disarm();
            node->link_to(oldest_first);
        }
        while (timer_node* node = oldest_first) {
            node->disarm();
            node->deadline = old.birth + node->deadline;
            wheel_.arm(*node);
        }
    }

    CURFEW_COLD void settle_young() noexcept {
        for (generation& each : young_) settle(each);
    }

    void read_clock() noexcept { now_ = ticks_now(); }

    /// Appends what other threads have posted, in their order.
    void take_inbox(ready_queue& to) noexcept {
        if (!inbox_.load(std::memory_order_relaxed)) return;
        ready_node* newest = inbox_.exchange(nullptr, std::memory_order_acquire);
        ready_node* oldest = nullptr;
        while (newest) {
            ready_node* const next = newest->next;
            newest->next = oldest;
            oldest = newest;
            newest = next;
        }
        while (oldest) to.push(*std::exchange(oldest, oldest->next));
    }

    // The ends of fibers -----------------------------------------------------------------------

    void after_end(spawned_fiber& record) noexcept {
        record.has_ended = true;
        --live_;
        if (suspension* const joiner = record.joiner)
            (joiner->owner->loop ? joiner->owner->loop : this)->make_ready(*joiner);
        else if (!record.has_handle)
            retire(record);
    }

    /// Destroys an ended fiber that nobody can join any more. An exception that nobody has seen is
    /// kept for run().
    void retire(spawned_fiber& record) noexcept {
        if (record.promise && record.promise->exception && !record.reported)
            failures_.push(record), chores_ = true;
        else
            dispose(record);
    }

    void dispose(spawned_fiber& record) noexcept {
        if (record.link) unlink(record);
        if (record.frame) record.frame.destroy();
        delete &record;
    }

    /// Destroys a frame wherever it is suspended. A handle that is left keeps the record.
    void abandon(spawned_fiber& record) noexcept {
        if (!record.has_ended) --live_;
        record.has_ended = true;
        unlink(record);
        record.promise = nullptr;
        record.dying = true;
        std::exchange(record.frame, nullptr).destroy();
        record.dying = false;
        record.loop = nullptr;
        if (!record.has_handle) delete &record;
    }

    void report_failure() {
        while (spawned_fiber* failed = failures_.pop()) {
            const std::exception_ptr exception = failed->promise->exception;
            dispose(*failed);
            rethrow(exception);
        }
    }

    /// With all tasks at their end, exceptions that wait for a join would never be seen.
    void report_unclaimed() {
        spawned_fiber* oldest = nullptr;  // the list begins with the newest
        for (spawned_fiber* each = fibers_; each; each = each->next_fiber)
            if (each->promise->exception && !each->reported && !each->joiner) oldest = each;
        if (!oldest) return;
        oldest->reported = true;
        rethrow(oldest->promise->exception);
    }

    static void rethrow([[maybe_unused]] const std::exception_ptr& exception) {
#if CURFEW_EXCEPTIONS
        std::rethrow_exception(exception);
#endif
    }

    /// Drops what was queued: coroutines are destroyed with their fibers.
    static void discard(ready_queue& queue) {
        while (ready_node* node = queue.pop())
            if (!node->waiter) {
                auto& function = static_cast<posted_function&>(*node);
                function.run(function, false);
            }
    }

    // Lists ------------------------------------------------------------------------------------

    static void link(socket_state& socket, socket_state*& head) noexcept {
        socket.next = head;
        if (head) head->link = &socket.next;
        socket.link = &head;
        head = &socket;
    }

    static void unlink(socket_state& socket) noexcept {
        *socket.link = socket.next;
        if (socket.next) socket.next->link = socket.link;
        socket.link = nullptr;
    }

    static void unlink(spawned_fiber& record) noexcept {
        *record.link = record.next_fiber;
        if (record.next_fiber) record.next_fiber->link = record.link;
        record.link = nullptr;
    }

    static void free(socket_state* socket) noexcept {
        socket->~socket_state();
        frame_cache::deallocate(socket, sizeof(socket_state));
    }

    void sweep_retired() noexcept {
        for (socket_state* each = retired_; each;) {
            socket_state* const next = each->next;
            if (!each->reader && !each->writer) {
                unlink(*each);
                free(each);
            }
            each = next;
        }
    }

    /// Ended fibers whose exception run() has to report, in their order.
    class failure_queue {
    public:
        void push(spawned_fiber& record) noexcept {
            record.next_ended = nullptr;
            spawned_fiber** end = &head_;
            while (*end) end = &(*end)->next_ended;
            *end = &record;
        }
        bool any() const noexcept { return head_ != nullptr; }
        spawned_fiber* pop() noexcept {
            return head_ ? std::exchange(head_, head_->next_ended) : nullptr;
        }

    private:
        spawned_fiber* head_ = nullptr;
    };

    io_context& context_;
    std::unique_ptr<reactor> reactor_;
    ready_queue ready_;
    ready_queue deferred_;
    completions done_;
    bool chores_ = false;   // see do_chores
    std::size_t live_ = 0;  // spawned tasks that have not ended
    spawned_fiber* ended_ = nullptr;
    ticks now_;  // 0: not known
    timer_node* fresh_ = nullptr;
    /// No limit expires before this. When it is that of a limit disarmed since, the loop wakes up
    /// once for nothing.
    ticks bound_ = endless;
    generation young_[generations];
    generation* oldest_ = young_;  // the next place in the ring
    timer_wheel wheel_;
    spawned_fiber* fibers_ = nullptr;
    failure_queue failures_;
    socket_state* sockets_ = nullptr;
    socket_state* retired_ = nullptr;  // sockets gone while the system still worked on them
    fiber outside_;
    std::atomic<ready_node*> inbox_{nullptr};
    std::atomic<bool> stop_{false};
};

}  // namespace curfew::detail
