// The engine of an io_context: what is ready, what is armed, who lives, and the order of a turn.
#pragma once

#include <atomic>
#include <chrono>
#include <coroutine>
#include <exception>
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

/// A function to be run by the loop, from any thread. `run` destroys it; without being called when
/// the loop ends before it comes to that.
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
    suspension begin;               // queued until the task starts
    suspension* joiner = nullptr;   // who awaits the end
    bool has_handle = true;         // a join_handle refers to this record
    bool has_ended = false;
    bool reported = false;          // its exception has come out of run()
};

class loop {
public:
    loop(io_context& owner, std::unique_ptr<reactor> with) noexcept
        : context_(owner),
          reactor_(std::move(with)),
          done_(ready_),
          now_(ticks_now()),
          wheel_(now_) {
        outside_.loop = this;
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
        // Destructors in a frame may spawn and post once more.
        do {
            discard(ready_);
            discard(deferred_);
            ready_queue late;
            take_inbox(late);
            discard(late);
            while (fibers_) abandon(*fibers_);
        } while (fibers_ || !ready_.empty() || inbox_.load(std::memory_order_acquire));
        while (sockets_) {
            sockets_->loop = nullptr;
            unlink(*sockets_);
        }
    }

    io_context& context() noexcept { return context_; }
    reactor& system() const noexcept { return *reactor_; }
    completions& done() noexcept { return done_; }

    /// The fiber of coroutines that are not tasks; nobody cancels it.
    fiber& outside() noexcept { return outside_; }

    // Resuming ---------------------------------------------------------------------------------

    void make_ready(ready_node& node) noexcept { ready_.push(node); }

    /// Queues for the next turn, behind what the system has to say.
    void defer(ready_node& node) noexcept { deferred_.push(node); }

    /// Called for each operation that completes without suspending. False: this coroutine has had
    /// its share of the turn and must be deferred, so that a socket that is always ready starves
    /// nobody.
    bool may_go_on() noexcept { return --share_ > 0; }

    // Limits -----------------------------------------------------------------------------------

    /// Arms `node` for `after` from now (`endless`: never). The clock is read once for all that
    /// were armed in a turn, at its end, so no limit is early by the age of a stored time.
    void arm_after(timer_node& node, ticks after) noexcept {
        if (after == endless) return;
        node.deadline = after;
        node.link_to(fresh_);
    }

    void arm_at(timer_node& node, ticks deadline) noexcept {
        if (deadline == endless) return;
        node.deadline = deadline;
        wheel_.arm(node);
    }

    /// The time, read at most once between two waits (and when limits are armed).
    ticks now() noexcept {
        if (!now_is_known_) read_clock();
        return now_;
    }

    ticks next_deadline() noexcept {
        settle_fresh();
        return wheel_.earliest();
    }

    // Fibers and sockets -----------------------------------------------------------------------

    void spawn(std::coroutine_handle<> frame, promise_base& promise, spawned_fiber& record) noexcept {
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
        socket->handle = handle;
        link(*socket, sockets_);
        return socket;
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
        if (this_thread.running != this) reactor_->wake();
    }

    // Turns ------------------------------------------------------------------------------------

    static constexpr std::size_t unlimited = static_cast<std::size_t>(-1);

    /// Runs until `enough()`, `stop()`, or there is no work left; at most until `end`, and resumes
    /// at most `most`. Returns how many coroutines and functions it has run.
    template <class Enough>
    std::size_t run(ticks end, std::size_t most, Enough enough) {
        const running_guard guard(*this);
        report_failure();
        std::size_t total = 0;
        while (!enough() && !stopping() && has_work() && total < most) {
            const std::size_t batch = most - total < fair_batch ? most - total : fair_batch;
            reap(time_to_wait(end));
            ready_.append(deferred_);
            const std::size_t resumed = resume_ready(batch, endless);
            total += resumed;
            look_at_deadlines(resumed > 0);
            report_failure();
            if (end != endless && now() >= end) break;
        }
        if (live_ == 0) report_unclaimed();
        return total;
    }

    /// One look at the system, then all that is ready, then the limits; never waits. Starts nothing
    /// new after `end`.
    std::size_t poll(ticks end) {
        const running_guard guard(*this);
        if (stopping()) return 0;
        reap(std::chrono::nanoseconds::zero());
        ready_.append(deferred_);
        std::size_t total = resume_ready(unlimited, end);
        look_at_deadlines(total > 0);
        total += resume_ready(unlimited, end);
        report_failure();
        return total;
    }

private:
    static constexpr std::size_t fair_batch = 256;  // resumed between two looks at the system
    static constexpr int fair_share = 64;           // completions at once, between two suspensions

    /// While it lives, this loop is the one that runs in this thread.
    class running_guard {
    public:
        explicit running_guard(loop& self) noexcept : outer_(this_thread) {
            this_thread = {&self, nullptr, false};
            self.now_is_known_ = false;
        }
        ~running_guard() { this_thread = outer_; }
        running_guard(const running_guard&) = delete;
        running_guard& operator=(const running_guard&) = delete;

    private:
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

    std::chrono::nanoseconds time_to_wait(ticks end) noexcept {
        if (!ready_.empty() || !deferred_.empty()) return std::chrono::nanoseconds::zero();
        settle_fresh();
        const ticks until = end < wheel_.bound() ? end : wheel_.bound();
        if (until == endless) return platform::forever;
        return std::chrono::nanoseconds(until > now() ? until - now() : 0);
    }

    void reap(std::chrono::nanoseconds time) {
        const int error = reactor_->wait(time, done_);
        now_is_known_ = false;
        take_inbox(ready_);
        if (retired_) sweep_retired();
        if (error) raise(platform::error_code(error), "curfew: the reactor failed");
    }

    std::size_t resume_ready(std::size_t most, ticks end) {
        std::size_t count = 0;
        while (count < most && !ready_.empty()) {
            resume(*ready_.pop());
            ++count;
            if (end != endless && ticks_now() >= end) break;
        }
        return count;
    }

    void resume(ready_node& node) {
        share_ = fair_share;
        if (node.waiter) {
            node.owner->waiting = nullptr;
            run_coroutine(node.waiter);
        } else {
            auto& function = static_cast<posted_function&>(node);
            function.run(function, true);
        }
        while (ended_) after_end(*std::exchange(ended_, ended_->next_ended));
    }

    /// Carries out the policies of expired limits: after what has completed has been resumed, and
    /// after what completed meanwhile has been reaped, so that a completion beats its limit.
    void look_at_deadlines(bool resumed) {
        if (!fresh_ && wheel_.bound() == endless) return;
        if (fresh_)
            settle_fresh();
        else
            read_clock();
        const ticks now = now_;
        if (now < wheel_.bound()) return;
        if (resumed) reap(std::chrono::nanoseconds::zero());
        wheel_.expire(now);
    }

    void settle_fresh() noexcept {
        if (!fresh_) return;
        read_clock();
        while (timer_node* node = fresh_) {
            node->disarm();
            node->deadline = saturating_add(now_, node->deadline);
            wheel_.arm(*node);
        }
    }

    void read_clock() noexcept {
        now_ = ticks_now();
        now_is_known_ = true;
    }

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
        if (record.joiner)
            ready_.push(*record.joiner);
        else if (!record.has_handle)
            retire(record);
    }

    /// Destroys an ended fiber that nobody can join any more. An exception that nobody has seen is
    /// kept for run().
    void retire(spawned_fiber& record) noexcept {
        if (record.promise && record.promise->exception && !record.reported)
            failures_.push(record);
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
        record.loop = nullptr;
        record.promise = nullptr;
        std::exchange(record.frame, nullptr).destroy();
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
        for (spawned_fiber* each = fibers_; each; each = each->next_fiber) {
            if (!each->promise->exception || each->reported || each->joiner) continue;
            each->reported = true;
            rethrow(each->promise->exception);
        }
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
    int share_ = fair_share;
    std::size_t live_ = 0;  // spawned tasks that have not ended
    spawned_fiber* ended_ = nullptr;
    ticks now_;
    bool now_is_known_ = false;
    timer_node* fresh_ = nullptr;  // armed in this turn; their deadline is still a duration
    timer_wheel wheel_;
    spawned_fiber* fibers_ = nullptr;
    failure_queue failures_;
    socket_state* sockets_ = nullptr;
    socket_state* retired_ = nullptr;  // sockets gone while the system still worked on them
    fiber outside_;
    std::atomic<ready_node*> inbox_{nullptr};
    std::atomic<bool> stop_{false};
};

/// The fiber of a coroutine that awaits something. Coroutines that are not tasks have none of
/// their own and are never cancelled.
template <class Promise>
fiber& fiber_of(std::coroutine_handle<Promise> coroutine) noexcept {
    if (fiber* own = owner_of(coroutine)) return *own;
    if (this_thread.running) return this_thread.running->outside();
    static thread_local fiber nowhere;
    return nowhere;
}

}  // namespace curfew::detail
