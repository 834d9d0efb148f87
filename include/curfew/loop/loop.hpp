// The engine of an io_context: what is ready, what is armed, who lives, and the order of a turn.
#pragma once

#include <atomic>
#include <coroutine>
#include <cstdint>
#include <exception>
#include <utility>

#include "../core/deadlines.hpp"
#include "../core/fiber.hpp"
#include "../core/frame_memory.hpp"
#include "../core/inbox.hpp"
#include "../core/loop_dependent.hpp"
#include "../core/ready_queue.hpp"
#include "../core/socket_list.hpp"
#include "../core/trampoline.hpp"
#include "../core/turn_clock.hpp"
#include "../frame_resource.hpp"
#include "../platform/std_chrono.hpp"
#include "../platform/std_memory.hpp"
#include "../reactor/reactor.hpp"
#include "../result.hpp"
#include "../task.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {
class io_context;
}

namespace curfew::detail {

/// A function for the loop to call, posted from any thread. `run` disposes of it, having called it
/// or, when the loop ends before it comes to that, without.
struct posted_function : ready_node {
    void (*run)(posted_function&, bool call) = nullptr;
    posted_function() noexcept { owner = nullptr; }
};

struct awaits_end {
    suspension* joiner = nullptr;
};

/// The fiber of a task that was spawned, on its own or into a group. Its `turn` is queued until it
/// begins, at its end among `ended_`, and after that perhaps among `failures_` or `disposed_`.
/// `turn.waiter` is the task's frame, null when that has been destroyed; at its end `innermost` is
/// the promise in it, null when it was destroyed before. `joiner` awaits the end.
///
/// That comes first because then what operations touch at the end of the fiber is within 16 bytes
/// that begin at a multiple of 16, and so in one line of the cache.
struct spawned_fiber : awaits_end, fiber, recycled {
    // The flags come first: they fit into what alignment leaves behind those of the fiber.
    bool has_handle = true;  // a join_handle refers to this record
    bool has_ended = false;
    bool dying = false;     // its frame is being destroyed
    bool joined = false;    // somebody has awaited the end
    bool reported = false;  // its exception has been thrown at somebody
};

class loop {
public:
    loop(io_context& owner, std::unique_ptr<reactor> with) noexcept
        : context_(owner), clock_(ticks_now()), reactor_(std::move(with)), done_(ready_),
          deadlines_(clock_.last()) {
        outside_.loop = this;
        ticking_.clear();
        tasks_.holds_tasks = true;
        tasks_.attach(outside_.root);
        guests_.attach(outside_.root);
    }

    loop(const loop&) = delete;
    loop& operator=(const loop&) = delete;

    /// Ends all pending operations, waits until the system has let go of their buffers, and only
    /// then destroys the frames that hold them.
    ~loop() {
        check_end();
        const running_guard guard(*this);
        for (socket_state* each = sockets_.first(); each; each = each->next)
            reactor_->close(*each, close_mode::graceful, done_);
        for (socket_state* each = sockets_.first(); each; each = each->next)
            while (each->reader || each->writer) reap_with_inbox(platform::unlimited);
        for (sweep_retired(); retired_.first(); sweep_retired())
            reap_with_inbox(platform::unlimited);
        // Destructors in a frame may give back a permit, set an event or cancel: nobody waits any
        // more who would be queued by that, and destroyed with the same frame.
        while (ready_node* const node = failures_.pop())  // the others' tasks are still there
            if (!node->owner) delete static_cast<unjoined*>(node);
        for (nursery* each = outside_.root.nurseries; each; each = each->next)
            for (fiber* task = each->first; task; task = task->next) prepare_to_destroy(*task);
        // They may also spawn and post once more: what they queue is dropped before what it belongs
        // to is destroyed.
        closing_ = true;
        // Guests' frames belong to others.
        while (fiber* const left = guests_.first) {
            take_groups_from(*left);
            left->leave_home();
            left->loop = nullptr;
            left->in_cancelled = true;
        }
        while (nursery* const any = outside_.root.nurseries) {
            take_inbox();
            discard(ready_);
            discard(deferred_);
            discard(yielded_);
            discard(expired_);
            if (any->empty())
                any->detach();
            else
                destroy(*any->first);
        }
        loop_dependent::tell_all(dependents_);
        while (socket_state* const socket = sockets_.first()) {
            socket->loop = nullptr;
            socket_list::remove(*socket);
        }
        while (socket_state* const socket = haunted_.first()) remove_and_free(*socket);
        // Those of coroutines that are not the loop's.
        ticking_.for_each([](timer_node& node) { node.disarm(); });
    }

    io_context& context() noexcept { return context_; }
    reactor& system() const noexcept { return *reactor_; }
    completions& done() noexcept { return done_; }

    /// Where records and sockets come from, and frames while the loop runs.
    void frames(frame_resource* from) noexcept { frames_ = from; }

    // Resuming ---------------------------------------------------------------------------------

    void make_ready(ready_node& node) noexcept { ready_.push(node); }

    /// Takes back `make_ready`.
    void unready(ready_node& node) noexcept { ready_queue::remove(node); }

    /// Queues for the next turn, behind what the system has to say.
    void defer(ready_node& node) noexcept {
        deferred_.push(node);
        unusual_ |= has_chores;
    }

    /// `node` expires in the next `tick`.
    void arm_for_tick(timer_node& node) noexcept {
        ticking_.push_newest(node);
        unusual_ |= has_ticking;
    }

    // Limits -----------------------------------------------------------------------------------

    CURFEW_HOT void arm_after(timer_node& node) noexcept { deadlines_.arm_after(node); }
    void arm_at(timer_node& node) noexcept { deadlines_.arm_at(node); }

    /// The time, read at most once between two waits (and when limits are armed).
    ticks now() noexcept { return clock_.is_fresh() ? clock_.last() : read_clock(); }

    /// A reading of the clock that costs nothing: from this turn, or a few short turns old.
    ticks recent() const noexcept { return clock_.last(); }

    ticks next_deadline() noexcept {
        date_fresh();
        deadlines_.settle();
        if (!decay_.armed()) return deadlines_.earliest();
        decay_.disarm();  // which is none of the program's
        const ticks earliest = deadlines_.earliest();
        deadlines_.arm_at(decay_);
        return earliest;
    }

    /// Calls `look` on every limit that is armed, its deadline a point in time.
    template <class Look>
    void for_each_limit(Look look) {
        date_fresh();
        deadlines_.for_each(look);
    }

    /// Calls `look` on every node that is queued to go on by itself.
    template <class Look>
    void for_each_ready(Look look) const {
        ready_.for_each(look);
        deferred_.for_each(look);
        yielded_.for_each(look);
        expired_.for_each(look);
    }

    /// While limits expire: the system may have had more to tell than there was time for.
    bool has_overlooked() const noexcept { return has_overlooked_; }

    // Fibers and sockets -----------------------------------------------------------------------

    /// Whether frames are being destroyed where they are suspended.
    bool destroying() const noexcept { return destroying_; }

    /// The root of the tree of fibers.
    fiber& outside() noexcept { return outside_; }

    /// To be spawned: nothing may throw in between.
    spawned_fiber& make_fiber() {
        return *::new (take_block(sizeof(spawned_fiber), frames_)) spawned_fiber();
    }

    void spawn(std::coroutine_handle<> frame, promise_base& promise,
               spawned_fiber& record) noexcept {
        spawn(frame, promise, record, tasks_);
    }

    void spawn(std::coroutine_handle<> frame, promise_base& promise, spawned_fiber& record,
               nursery& into) noexcept {
        check_thread();
        if (!record.ended) record.ended = &note_end;
        promise.held_by = &record.turn.waiter;
        into.add(record);
        count_begin();
        begin(record, frame, promise);
    }

    /// A task that is not the loop's begins, unless the loop is about to end.
    void admit(guest& self, std::coroutine_handle<> frame, promise_base& promise) noexcept {
        if (closing_) return;
        guests_.add(self);
        count_begin();
        begin(self, frame, promise);
    }

    /// A task that a coroutine of another library has awaited outside of any loop uses a socket of
    /// this one, and is the loop's from here on.
    void adopt(fiber& self) noexcept {
        if (closing_) return;
        self.loop = this;
        guests_.add(self);
        count_begin();
    }

    /// `what` is told when the loop ends.
    void add(loop_dependent& what) noexcept { what.join(dependents_); }

    void let_go(guest& self) noexcept {
        self.leave_home();
        count_end();
    }

    /// Its frame is about to be destroyed by others. Groups in it live on: it may not own them.
    void expel(guest& self) noexcept {
        self.for_each_scope([&](cancel_scope& scope) { take_groups_in(scope); });
        destroy(self);
        count_end();
    }

    /// Queues the start of a fiber.
    void begin(fiber& self, std::coroutine_handle<> frame, promise_base& promise) noexcept {
        self.loop = this;
        self.innermost = &promise;
        promise.owner = &self;
        self.waiting = &not_begun;
        self.turn.waiter = frame;
        ready_.push(self.turn);
    }

    /// What every spawned fiber does at its end: its frame is in use until the coroutine has
    /// returned control, so the rest is done then.
    static void note_end(fiber& self) noexcept {
        self.loop->check_thread();
        self.waiting = &not_begun;  // its turn is queued again
        self.loop->ended_.push(self.turn);
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

    /// Ends a fiber by force, and all within it: what they wait for is cancelled and reaped, and
    /// then their frames are destroyed, the innermost first.
    void destroy(fiber& top) noexcept {
        prepare_to_destroy(top);
        fiber_list path;
        path.push(top);
        while (fiber* const self = path.last()) {
            if (fiber* const inside = any_within(*self)) {
                prepare_to_destroy(*inside);  // if a destructor has spawned it
                path.push(*inside);
            } else {
                path.pop();
                destroy_alone(*self);
            }
        }
    }

    /// The same for the children of a group that is about to be destroyed.
    void destroy_all(nursery& children) noexcept {
        children.gone = nullptr;
        for (fiber* each = children.first; each; each = each->next) prepare_to_destroy(*each);
        while (children.first) destroy(*children.first);
    }

    /// Who waits for the end of a task or a group goes on, unless it is about to be destroyed.
    void resume_joiner(suspension& joiner) noexcept {
        if (joiner.owner->being_destroyed) return;
        // It may live in another loop of this thread.
        loop& its = joiner.owner->loop ? *joiner.owner->loop : *this;
        if (&its != this || !closing_) its.make_ready(joiner);
    }

    /// An exception that nobody has joined, and whose task is gone, is kept for run(). (If there is
    /// no memory for that, it is lost.)
    void report(const std::exception_ptr& exception) noexcept {
        auto* const failure = new (std::nothrow) unjoined;
        if (!failure) return;
        failure->owner = nullptr;
        failure->exception = exception;
        failures_.push(*failure);
        unusual_ |= has_chores;
    }

    socket_state* make_socket(platform::transport type, platform::socket_handle handle) {
        check_thread();
        auto* socket = ::new (take_block(sizeof(socket_state), frames_)) socket_state;
        socket->loop = this;
        socket->type = type;
        if (handle != platform::invalid_socket) opened(*socket, handle);
        sockets_.add(*socket);
        return socket;
    }

    socket_state* first_socket() const noexcept { return sockets_.first(); }

    /// The socket has got a handle.
    void opened(socket_state& socket, platform::socket_handle handle) noexcept {
        socket.handle = handle;
        socket.was_open = true;
        socket.lost_with = 0;
        socket.worth_trying = reactor_->initially_worth_trying();
    }

    /// A closed socket is about to be opened again. What a proactor has yet to reap of its earlier
    /// life (all of it has been asked to end) moves to a record of its own, which is freed when
    /// nothing is pending there any more: it neither takes a new operation's place nor writes into
    /// the new life when it completes. False: there is no memory for that record.
    static bool make_reopenable(socket_state& socket) noexcept {
        if (!socket.reader && !socket.writer) [[likely]]
            return true;
        return set_pending_aside(socket);
    }

    /// The socket object is gone; its state goes when nothing is pending on it any more.
    static void retire(socket_state* socket) noexcept {
        loop* const owner = socket->loop;
        if (socket->names) [[unlikely]]
            socket_name::forget_all(*socket);
        if (!owner) return free(socket);
        owner->reactor_->close(*socket, close_mode::graceful, owner->done_);
        socket_list::remove(*socket);
        if (socket->reader || socket->writer) {  // a proactor has yet to reap them
            owner->retired_.add(*socket);
            owner->unusual_ |= has_retired;
        } else if (socket->haunted) {
            owner->haunted_.add(*socket);
        } else {
            free(socket);
        }
    }

    // Any thread -------------------------------------------------------------------------------

    void post(posted_function& function) noexcept {
        if (runs_here()) return ready_.push(function);
        if (inbox_.push(function)) reactor_->wake();
    }

    /// True in the coroutines that it runs, except in one that another thread, or a function
    /// outside of any loop, has resumed.
    bool runs_here() const noexcept { return current_run() == &state_; }

    /// Takes back what was posted and has not run. From the loop's thread.
    void withdraw(posted_function& function) noexcept {
        take_inbox();
        ready_queue::remove(function);
    }

    /// Resumes a coroutine from within a posted function.
    void resume(suspension& suspended) {
        state_.current = suspended.owner;
        suspended.owner->waiting = nullptr;
        run_coroutine(suspended.waiter);
    }

    void stop() noexcept {
        inbox_.stop();
        // In the loop's own thread too: a signal handler may run just before the loop begins to
        // wait.
        reactor_->wake();
    }

    /// False if it runs in another thread, as far as one look can tell.
    bool is_this_thread() const noexcept {
        const void* const where = thread_.load(std::memory_order_relaxed);
        return !where || where == identity_of_this_thread();
    }

    /// False if another loop runs here, or this one in another thread.
    bool may_be_used_here() const noexcept {
        const loop* const running = detail::this_thread().running;
        return running ? running == this : is_this_thread();
    }

    /// Fatal if it is used from another thread while it runs, in programs with assertions.
    void check_thread() const noexcept {
        CURFEW_ASSERT(
            is_this_thread() &&
            "an io_context that runs in another thread is touched: use post(), or a stop_token");
    }

    // Turns ------------------------------------------------------------------------------------

    /// See detail::share_is_used_up.
    CURFEW_HOT bool share_is_used_up() noexcept { return detail::share_is_used_up(state_); }

    enum class extent : std::uint8_t { all, one };

    /// Runs until `enough()`, `stop()`, or there is no work left; at most until `end`, or until it
    /// has run one. Returns how many coroutines and functions it has run.
    template <class Enough>
    std::size_t run(ticks end, extent how_many, Enough enough) {
        const running_guard guard(*this);
        const resident here(*this, end == endless && how_many == extent::all);
        bury();  // who ended outside a run, or when something threw
        report_failure();
        const std::size_t batch = how_many == extent::one ? 1 : fair_batch;
        std::size_t total = 0;
        ticks until_deadline = look_closely(true);
        state_.on_trampoline = true;
        const bool stopped = stopping();
        note_ready();
        // A run before this one, or around it, may have left them.
        if (!expired_.empty() || !deferred_.empty() || !yielded_.empty()) unusual_ |= has_ready;
        while (!stopped && !enough()) {
            // What comes from other threads is looked for before each wait that may block, and not
            // after it: whatever has become of the wake-up, what it was about is found here. It may
            // have ended a wait of the reactor's within a `close`, say, that was for another end.
            std::size_t resumed = 0;
            if (unusual_ || !inbox_.empty()) [[unlikely]] {
                if (!begin_unusual_turn(until_deadline, end)) break;
                resumed = finish_unusual_turn(batch);
            } else {
                reap(time_to_wait(until_deadline, end));
                resumed = resume_ready(batch, endless);
            }
            total += resumed;
            until_deadline = look_at_deadlines(resumed);
            if (how_many == extent::one && total > 0) break;
            if (end != endless && now() >= end) [[unlikely]]
                break;
        }
        stopping();  // this run has ended anyway
        report_failure();
        if (live_ == 0 && !enough()) report_unclaimed();
        return total;
    }

    /// What has waited for the next tick is ready.
    void tick() noexcept {
        while (!ticking_.empty()) {
            timer_node& node = ticking_.oldest();
            node.disarm();
            node.expired(node, nullptr);
        }
    }

    struct polled {
        std::size_t resumed;
        bool stopped;
    };

    /// A look at the system, then what is ready, then the limits; never waits. Starts nothing new
    /// after `end`, except one thing if it is `owed` and has started none. Coroutines that keep
    /// each other ready for ever do not keep it for ever.
    polled poll(ticks end, bool owed = false) {
        const running_guard guard(*this);
        bury();
        if (stopping()) return {0, true};
        state_.on_trampoline = true;
        bool more = look_at_once();
        ready_all();
        do_chores();
        std::size_t total = resume_all(end);
        const ticks begun = more ? ticks_now() : 0;
        for (int looks = 1; more && ready_.empty() && !stop_asked_for() && looks < most_looks;
             ++looks) {
            more = look_at_once();
            total += resume_all(end);
            if (have_looked_enough(begun)) break;
        }
        look_closely(total > 0);
        const ticks looked_at = clock_.last();
        bool stopped = stopping();
        if (!stopped) {
            total += resume_all(end);
            // All limits that are over are carried out, a slice at a time.
            for (int slices = 0;
                 deadlines_.bound() <= looked_at && !stop_asked_for() &&
                 slices < most_looks_before_limits && (end == endless || ticks_now() < end);
                 ++slices) {
                look_closely(true);
                total += resume_all(end);
            }
            if (total == 0 && owed) total = resume_ready(1, end, true);
            stopped = stopping();
        }
        report_failure();
        return {total, stopped};
    }

    /// A tick, and then turns until `end`, with work or without, or until `stop()`. What is ready
    /// after the tick and a look at the system goes on even if `end` has passed; nothing else is
    /// started after it.
    std::size_t poll_until(ticks end) {
        const running_guard guard(*this);
        bury();
        report_failure();
        if (stopping()) return 0;
        tick();
        state_.on_trampoline = true;
        state_.clock = nullptr;
        std::size_t total = 0;
        std::size_t owed = 0;  // turns of those who stand in the queue
        std::chrono::nanoseconds time = no_time;
        for (bool first = true;; first = false) {
            reap_with_inbox(time);
            if (stopping()) break;
            ready_all();
            do_chores();
            if (first) ready_.for_each([&](const ready_node&) { ++owed; });
            std::size_t resumed = owed ? resume_ready(owed, endless) : 0;
            owed = ready_.empty() ? 0 : owed - resumed;
            if (!owed) resumed += resume_ready(fair_batch, end);
            total += resumed;
            const ticks until_deadline = look_at_deadlines(resumed);
            if (stopping() || (!owed && now() >= end)) break;
            note_ready();  // what has come from other threads, too
            time = may_wait() ? time_to_wait(until_deadline, end) : no_time;
        }
        report_failure();
        return total;
    }

private:
    static constexpr std::chrono::nanoseconds no_time{0};
    static constexpr std::uint64_t never = static_cast<std::uint64_t>(-1);
    static constexpr std::size_t fair_batch = 256;  // resumed between two looks at the system
    static constexpr std::size_t poll_batch = 100'000;
    static constexpr int most_looks = 1000;  // of a poll
    static constexpr int most_looks_before_limits = 10'000;
    static constexpr ticks longest_look = 250'000;    // ns, of many
    static constexpr ticks longest_slice = 250'000;   // ns, of limits that expire together
    static constexpr std::size_t most_expired = 256;  // that go on before others, of one slice
    static constexpr int fair_share = 64;  // completions at once, between two suspensions
    static constexpr int deepest_check = 100;
    static constexpr std::ptrdiff_t little_memory = 256 * 1024;
    static constexpr ticks decay_time = 500'000'000;  // ns

    // Bits of `unusual_`:
    static constexpr unsigned has_chores = 1;    // see do_chores; with these it does not wait
    static constexpr unsigned has_retired = 2;   // see `retired_`
    static constexpr unsigned has_no_tasks = 4;  // so there may be no work at all
    static constexpr unsigned has_ready = 8;     // `ready_` is not empty: it does not wait
    static constexpr unsigned has_stopped = 16;  // stop() was called
    static constexpr unsigned has_ticking = 32;  // somebody waits for a tick

    /// While it lives, this loop is the one that runs in this thread.
    class running_guard {
    public:
        explicit running_guard(loop& self) noexcept
            : self_(self), outer_(current_run()), outer_state_(self.state_), frames_(self.frames_) {
            self.check_thread();
            outer_thread_ = self.thread_.load(std::memory_order_relaxed);
            self.thread_.store(identity_of_this_thread(), std::memory_order_relaxed);
            current_run() = &self.state_;
            self.state_ = {};
            self.state_.running = &self;
            self.state_.outside = self.state_.current = &self.outside_;
            self.state_.clock = &self.clock_;
            self.clock_.waited();
        }
        ~running_guard() {
            self_.date_fresh();  // limits count from now, not from the next run
            self_.state_ = outer_state_;
            current_run() = outer_;
            self_.thread_.store(outer_thread_, std::memory_order_relaxed);
        }
        running_guard(const running_guard&) = delete;
        running_guard& operator=(const running_guard&) = delete;

    private:
        loop& self_;
        run_state* outer_;
        run_state outer_state_;  // of a run of the same loop, within which this one is
        const void* outer_thread_;
        frame_resource_scope frames_;
    };

    /// While it lives the loop may settle in its thread, if it is a run that is to last (the
    /// outermost of such, should one be within the other), and has lasted a while.
    class resident {
    public:
        resident(loop& self, bool lasting) noexcept
            : self_(lasting && !self.has_resident_ ? &self : nullptr) {
            if (!self_) return;
            constexpr std::uint64_t wait = CURFEW_SETTLE_AFTER;
            const std::uint64_t now = self.clock_.steps();
            self.settles_at_ = wait < never - now ? now + wait : never;
            self.has_resident_ = true;
        }
        ~resident() {
            if (!self_) return;
            self_->has_resident_ = false;
            self_->settles_at_ = never;
            self_->reactor_->unsettle(self_->done_);
        }
        resident(const resident&) = delete;
        resident& operator=(const resident&) = delete;

    private:
        loop* self_;
    };

    /// An attempt costs two or three microseconds for each operation that is pending, so if the
    /// reactor cannot do it now, the next one is made when twice as many steps are done.
    CURFEW_COLD void settle() noexcept {
        settles_at_ = reactor_->settle(done_) ? never : 2 * clock_.steps();
        note_ready();
    }

    bool has_work() const noexcept {
        return live_ > 0 || !ready_.empty() || !deferred_.empty() || !yielded_.empty() ||
               !expired_.empty() || !inbox_.empty();
    }

    /// True once for each stop().
    bool stopping() noexcept {
        if (!inbox_.empty()) take_inbox();
        const bool stopped = unusual_ & has_stopped;
        unusual_ &= ~has_stopped;
        return stopped;
    }

    /// Nobody is there who could go on now, and nothing to be done.
    bool may_wait() const noexcept { return !(unusual_ & (has_chores | has_ready | has_stopped)); }

    /// Between two turns: what is ready now must not wait for what the system has to say.
    CURFEW_HOT void note_ready() noexcept {
        if (!ready_.empty()) unusual_ |= has_ready;
    }

    std::chrono::nanoseconds time_to_wait(ticks until_deadline, ticks end) noexcept {
        if (end != endless) [[unlikely]] {
            const ticks until_end = end > now() ? end - now() : 0;
            if (until_end < until_deadline) until_deadline = until_end;
        }
        return std::chrono::nanoseconds(until_deadline);  // endless is platform::unlimited
    }

    CURFEW_HOT void reap(std::chrono::nanoseconds time) {
        if (const int error = reactor_->wait(time, done_)) [[unlikely]]
            raise(system_error(error), "curfew: the reactor failed");
        clock_.waited();
    }

    /// The same, and takes what has come from other threads meanwhile.
    CURFEW_COLD void reap_with_inbox(std::chrono::nanoseconds time) {
        reap(time);
        take_inbox();
    }

    /// A turn with something in `unusual_`, as far as what is ready. False: it is the end of the
    /// run.
    CURFEW_COLD bool begin_unusual_turn(ticks until_deadline, ticks end) {
        if (!has_work()) return false;
        if (stopping()) return false;
        note_ready();
        if (may_wait() && until_deadline == endless && end == endless) check_ticks();
        reap_with_inbox(may_wait() ? time_to_wait(until_deadline, end) : no_time);
        if (stopping()) return false;
        do_chores();
        return true;
    }

    /// The rest of it. First come those whose limits have expired, which have waited for longer.
    CURFEW_COLD std::size_t finish_unusual_turn(std::size_t most) {
        queue_yielded();
        std::size_t resumed = resume_from(expired_, most, endless);
        if (!expired_.empty()) unusual_ |= has_ready;
        if (resumed < most && !stop_asked_for())
            resumed += resume_from(ready_, most - resumed, endless);
        note_ready();
        return resumed;
    }

    /// Those who gave way in the turn before stand behind all who are ready now, with one entry for
    /// all of them: when it is its turn, as many go on as the time of a turn allows, and one at
    /// least. So what is always ready, however much of it there is, keeps nobody else waiting for
    /// long.
    void queue_yielded() noexcept {
        yielded_.append(deferred_);
        if (yielded_.empty() || yielded_turn_.queued) return;
        yielded_turn_.queued = true;
        ready_.push(yielded_turn_);
    }

    CURFEW_COLD std::size_t resume_yielded(std::size_t most) {
        const std::size_t resumed = resume_from(yielded_, most, endless);
        if (!yielded_.empty() && !yielded_turn_.queued) {  // a run within may have queued it
            yielded_turn_.queued = true;
            ready_.push(yielded_turn_);
        }
        return resumed;
    }

    /// Stands in `ready_` for all who gave way.
    struct yielded_turn : posted_function {
        bool queued = false;
        yielded_turn() noexcept {
            run = [](posted_function&, bool) {};
        }
    };

    /// Before a wait without an end, which no tick will cut short.
    void check_ticks() const noexcept {
        if (!ticking_.empty() && inbox_.empty() && all_wait_for_ticks(outside_.root, deepest_check))
            fatal("all tasks wait for a tick, and run() has none: call poll_until(), poll_for() or "
                  "poll() once a frame");
    }

    /// Whether all tasks in a scope wait for a tick, or for each other. (A tree that is too deep to
    /// be looked at is taken for one that does not.)
    static bool all_wait_for_ticks(const cancel_scope& scope, int depth) noexcept {
        if (depth == 0) return false;
        for (const nursery* each = scope.nurseries; each; each = each->next)
            for (const fiber* task = each->first; task; task = task->next) {
                if (!task->ended) continue;
                if (!task->waiting || !task->waiting->type->needs_tick) return false;
                bool all = true;
                task->for_each_scope([&](const cancel_scope& inside) {
                    all = all && all_wait_for_ticks(inside, depth - 1);
                });
                if (!all) return false;
            }
        return true;
    }

    /// A look that does not wait. True: there may be more than it has brought.
    bool look_at_once() {
        done_.take_more_may_follow();  // what was said of another look
        reap_with_inbox(no_time);
        return done_.take_more_may_follow();
    }

    /// With transfers that go on and on, whose peers keep up, there is always more to come: then it
    /// is the time that ends it.
    bool have_looked_enough(ticks since) noexcept {
        return done_.take_goes_on() && ticks_now() - since > longest_look;
    }

    /// What is seldom due: sockets that are gone, coroutines that gave way, exceptions that nobody
    /// joins.
    CURFEW_COLD void do_chores() {
        sweep_retired();
        unusual_ &= ~has_ready;
        unusual_ &= ~(has_chores | (ticking_.empty() ? has_ticking : 0));
        report_failure();
    }

    /// All who can go on stand in one queue: for a poll, which resumes all of them.
    void ready_all() noexcept {
        expired_.append(ready_);
        ready_.append(expired_);
        ready_.append(yielded_);
        ready_.append(deferred_);
    }

    /// What is ready, however long that takes if there is no `end`.
    std::size_t resume_all(ticks end) {
        std::size_t total = 0;
        state_.clock = nullptr;
        do {
            expired_.append(ready_);
            ready_.append(expired_);
            total += resume_ready(poll_batch - total, end);
        } while (end == endless && !ready_.empty() && total < poll_batch && !stop_asked_for());
        return total;
    }

    /// Resumes what is ready: at most `most`, and after a stop or `end` no more, except the first
    /// if it is `owed`. Without an `end`, no more than a turn has time for.
    CURFEW_HOT std::size_t resume_ready(std::size_t most, ticks end, bool owed = false) {
        const std::size_t count = resume_from(ready_, most, end, owed);
        note_ready();
        return count;
    }

    CURFEW_HOT std::size_t resume_from(ready_queue& queue, std::size_t most, ticks end,
                                       bool owed = false) {
        run_state& state = state_;
        std::size_t count = 0;
        if (end != endless && !owed && ticks_now() >= end) return 0;
        state.share = clock_.share();
        while (ready_node* const node = queue.pop()) {
            if (end != endless) {
                // What completes at once is counted by the clock too: see share_is_used_up.
                state.share = 1;
                state.reserve = fair_share;
                state.end = end;
            }
            if (node->waiter) [[likely]] {
                state.current = node->owner;
                node->owner->waiting = nullptr;
                run_chain(state, node->waiter);
            } else {
                if (node == &yielded_turn_) {
                    yielded_turn_.queued = false;
                    if (yielded_.empty()) continue;  // they have had their turn
                    count += resume_yielded(most - count) - 1;
                } else {
                    call(static_cast<posted_function&>(*node));
                }
            }
            bury();
            ++count;
            if (queue.empty() || count == most || stop_asked_for()) break;
            if (end != endless ? ticks_now() >= end : !turn_goes_on()) break;
        }
        return count;
    }

    /// After each step of a turn; those that completed at once have been counted already.
    CURFEW_HOT bool turn_goes_on() noexcept {
        if (--state_.share > 0) [[likely]]
            return true;
        state_.share = clock_.turn_goes_on(ticks_now());
        state_.asked = nullptr;
        return state_.share > 0;
    }

    void call(posted_function& function) {
        state_.current = state_.outside;
        state_.on_trampoline = false;  // it may resume coroutines itself
        function.run(function, true);
        state_.on_trampoline = true;
    }

    /// Carries out the policies of expired limits: after what has completed has been resumed, and
    /// after what completed meanwhile has been reaped, so that a completion beats its limit.
    /// Returns how long the loop may wait then; `endless` without a limit.
    ///
    /// A loop that is busy does not ask for the time in every turn; it does not wait then (see
    /// turn_clock).
    CURFEW_HOT ticks look_at_deadlines(std::size_t resumed) {
        const bool limits = deadlines_.any();
        if (clock_.may_go_on(resumed, limits)) [[likely]]
            return limits ? 0 : endless;
        return look_closely(resumed != 0);
    }

    ticks look_closely(bool resumed) {
        if (clock_.steps() >= settles_at_) [[unlikely]] {
            settle();
            resumed = true;  // what moves has to be looked at before limits expire
        }
        const ticks now = ticks_now();
        if (!deadlines_.any()) {
            clock_.read_without_limits(now);
            return endless;
        }
        clock_.read_for_limits(now, resumed);
        if (deadlines_.any_fresh()) deadlines_.date(now);
        const ticks left = deadlines_.bound() - now;
        return left > 0 ? left : expire(now, resumed);
    }

    CURFEW_COLD ticks expire(ticks now, bool resumed) {
        bool more = done_.take_more_may_follow() || resumed;
        for (int looks = 0; more && looks < most_looks_before_limits; ++looks) {
            more = look_at_once();
            if (more && ticks_now() - now > longest_look) break;
        }
        // Few limits are carried out at a time, and fewer while others are ready, so that those who
        // are told of it go on soon.
        ready_queue others;
        others.append(ready_);
        const bool others_wait = !others.empty() || !expired_.empty();
        const bool in_poll = !state_.clock;  // which carries out all of them
        int asked = 0;
        has_overlooked_ = more;
        reactor_->begin_closes();
        deadlines_.expire(now, [&] {
            return (!in_poll && (others_wait || ++asked == 4)) || ticks_now() - now > longest_slice;
        });
        reactor_->end_closes(done_);
        has_overlooked_ = false;
        // (One limit may end the waits of many.)
        ready_.append_rest_to(others, most_expired);
        expired_.append(ready_);
        ready_.append(others);
        if (!expired_.empty()) unusual_ |= has_ready;
        note_ready();
        const ticks bound = deadlines_.bound();
        return bound == endless ? endless : bound > now ? bound - now : 0;
    }

    void date_fresh() noexcept {
        if (deadlines_.any_fresh()) deadlines_.date(read_clock());
    }

    ticks read_clock() noexcept { return clock_.read(ticks_now()); }

    bool stop_asked_for() const noexcept {
        return inbox_.stop_asked_for() || (unusual_ & has_stopped);
    }

    CURFEW_COLD void take_inbox() noexcept {
        if (inbox_.take(ready_)) unusual_ |= has_stopped;
    }

    // The ends of fibers -----------------------------------------------------------------------

    CURFEW_HOT void bury() noexcept {
        if (!ended_.empty()) [[unlikely]]
            bury_all();
    }

    CURFEW_COLD void bury_all() noexcept {
        while (ready_node* const node = ended_.pop()) after_end(record_of(*node));
    }

    static spawned_fiber& record_of(ready_node& turn) noexcept {
        return static_cast<spawned_fiber&>(*turn.owner);
    }

    void count_begin() noexcept {
        ++live_;
        unusual_ &= ~has_no_tasks;
    }

    /// A task has ended.
    void count_end() noexcept {
        if (--live_ == 0) unusual_ |= has_no_tasks;
    }

    /// What waits in the thread's free lists is idle memory when nothing needs it any more, as
    /// after a peak. While there is much of it, half of that is given back each time.
    struct decay_timer : timer_node {
        loop& of;
        explicit decay_timer(loop& self) noexcept : timer_node(&on_expiry), of(self) {}
        static void on_expiry(timer_node& node, limit_report* asked) noexcept {
            if (asked) return;
            if (this_thread_frames().lists.decay() > std::size_t{little_memory})
                static_cast<decay_timer&>(node).begin();
        }
        void begin() noexcept {
            // (Not from the end of this turn: an idle loop is to wake up for it.)
            deadline = of.clock_.last() + decay_time;
            of.arm_at(*this);
        }
    };

    void after_end(spawned_fiber& record) noexcept {
        if (!decay_.armed() && this_thread_frames().lists.bytes_held() > little_memory) [[unlikely]]
            decay_.begin();
        record.has_ended = true;
        record.ended = nullptr;
        record.waiting = nullptr;
        count_end();
        nursery* const home = record.home;
        const auto gone = home->gone;
        if (gone) {  // who still has a handle, or an exception, outlives its group
            record.leave_home();
            tasks_.add(record);
        }
        suspension* const joiner = record.joiner;
        if (joiner) resume_joiner(*joiner);
        if (gone) gone(*home);  // before the frame is destroyed, which may own the group
        if (!joiner && !record.has_handle) retire(record);
    }

    /// Destroys an ended fiber that nobody can join any more. An exception that nobody has seen is
    /// kept for run().
    void retire(spawned_fiber& record) noexcept {
        if (record.innermost && record.innermost->failed() && !record.reported)
            failures_.push(record.turn), unusual_ |= has_chores;
        else
            dispose(record);
    }

    /// Its frame may hold the last handle of another task that has ended, and so on: those wait for
    /// their turn.
    void dispose(spawned_fiber& record) noexcept {
        disposed_.push(record.turn);
        if (std::exchange(disposing_, true)) return;
        while (ready_node* const node = disposed_.pop()) {
            if (node->waiter) node->waiter.destroy();
            delete &record_of(*node);
        }
        disposing_ = false;
    }

    /// Marks fibers that are about to be destroyed, a fiber and all within it, and ends what they
    /// wait for: nothing outside refers to their frames then. From here on nobody makes them ready,
    /// whatever destructors in these frames do.
    void prepare_to_destroy(fiber& top) noexcept {
        fiber_list left;
        const auto mark = [&left](fiber& self) {
            if (self.being_destroyed) return;
            self.being_destroyed = true;
            if (!self.has_begun()) {
                self.waiting = nullptr;
                ready_queue::remove(self.turn);
            }
            left.push(self);
        };
        mark(top);
        while (fiber* const self = left.pop()) {
            self->for_each_scope([&](cancel_scope& scope) {
                for (nursery* inside = scope.nurseries; inside; inside = inside->next)
                    for (fiber* each = inside->first; each; each = each->next) mark(*each);
            });
            if (self->waiting) end_wait(*std::exchange(self->waiting, nullptr));
        }
    }

    void end_wait(suspension& waiting) noexcept {
        cancellation passed_on(false);
        const bool complete = waiting.type->interrupt(waiting, passed_on);
        if (waiting.type->is_operation)
            while (static_cast<operation&>(waiting).progress == operation::state::pending)
                reap_with_inbox(platform::unlimited);
        if (complete) ready_queue::remove(waiting);
    }

    /// A fiber within one that is about to be destroyed. Leaves the scopes in which there is none
    /// any more, and does not look there again. Groups may belong to somebody else.
    fiber* any_within(fiber& self) noexcept {
        for (;; self.leave(*self.scope)) {
            for (nursery* each; (each = self.scope->nurseries);) {
                if (each->first) return each->first;
                if (each->holds_tasks)
                    each->attach(outside_.root);
                else
                    each->detach();
            }
            if (self.scope == &self.root) return nullptr;
        }
    }

    void destroy_alone(fiber& self) noexcept {
        const bool is_task = self.home->holds_tasks;
        const bool is_guest = self.home == &guests_;
        const bool outer = std::exchange(destroying_, true);
        if (is_task) {
            destroy_task(static_cast<spawned_fiber&>(self));
        } else {
            self.leave_home();
            destroy_frames(self.innermost, !is_guest);  // a guest's first is not the library's
        }
        destroying_ = outer;
    }

    /// A handle that is left keeps the record.
    void destroy_task(spawned_fiber& record) noexcept {
        nursery& home = *record.home;
        record.leave_home();
        if (!record.has_ended) count_end();
        record.has_ended = true;
        if (home.gone) home.gone(home);
        if (record.joiner) resume_joiner(*record.joiner);
        record.dying = true;
        destroy_frames(std::exchange(record.innermost, nullptr));
        record.dying = false;
        record.loop = nullptr;
        if (!record.has_handle) delete &record;
    }

    /// Groups in a scope live on when its fiber is destroyed: it may not own them.
    void take_groups_in(cancel_scope& scope) noexcept {
        for (nursery* inside = scope.nurseries; inside;) {
            nursery* const next = inside->next;
            if (inside->holds_tasks) inside->attach(outside_.root);
            inside = next;
        }
    }

    /// The groups in all scopes of a fiber that is prepared but stays, and of its branches.
    void take_groups_from(fiber& top) noexcept {
        fiber_list left;
        left.push(top);
        while (fiber* const self = left.pop())
            self->for_each_scope([&](cancel_scope& scope) {
                take_groups_in(scope);
                for (nursery* branches = scope.nurseries; branches; branches = branches->next)
                    for (fiber* each = branches->first; each; each = each->next) left.push(*each);
            });
    }

    /// A failure whose task is gone.
    struct unjoined : ready_node {
        std::exception_ptr exception;
    };

    /// The frames of its tasks are about to be destroyed, and no coroutine can go on.
    CURFEW_COLD void check_end() const noexcept {
        const void* const where = thread_.load(std::memory_order_relaxed);
        if (!where) return;
        if (where == identity_of_this_thread())
            fatal_here("an io_context is destroyed by a task or function that it runs: stop() it, "
                       "and destroy it when run() has returned");
        fatal("an io_context is destroyed while it runs in another thread: stop() it, and wait "
              "until run() has returned");
    }

    void report_failure() {
        while (ready_node* const node = failures_.pop()) {
            if (!node->owner) {
                const std::unique_ptr<unjoined> of_group(static_cast<unjoined*>(node));
                rethrow(of_group->exception);
                continue;
            }
            spawned_fiber& failed = record_of(*node);
            const std::exception_ptr exception = failed.innermost->exception;
            dispose(failed);
            rethrow(exception);
        }
    }

    /// With all tasks at their end, exceptions that wait for a join would never be seen.
    void report_unclaimed() {
        spawned_fiber* oldest = nullptr;  // the list begins with the newest
        for (fiber* each = tasks_.first; each; each = each->next) {
            auto& task = static_cast<spawned_fiber&>(*each);
            if (task.innermost->failed() && !task.reported && !task.joiner) oldest = &task;
        }
        if (!oldest) return;
        oldest->reported = true;
        rethrow(oldest->innermost->exception);
    }

    static void rethrow([[maybe_unused]] const std::exception_ptr& exception) {
#if CURFEW_EXCEPTIONS
        std::rethrow_exception(exception);
#endif
    }

    /// Drops what was queued: coroutines are destroyed with their fibers, which are queued no more.
    static void discard(ready_queue& queue) {
        while (ready_node* const node = queue.pop())
            if (node->waiter) {
                node->owner->waiting = nullptr;
            } else {
                auto& function = static_cast<posted_function&>(*node);
                function.run(function, false);
            }
    }

    // Sockets that are gone --------------------------------------------------------------------

    static void free(socket_state* socket) noexcept {
        socket->~socket_state();
        give_back(socket, sizeof(socket_state));
    }

    static void remove_and_free(socket_state& socket) noexcept {
        socket_list::remove(socket);
        free(&socket);
    }

    CURFEW_COLD static bool set_pending_aside(socket_state& socket) noexcept {
        for (const operation* each : {socket.reader, socket.writer})
            if (each && each->reason == outcome::success) return true;  // it is not at its end
        socket_state* const earlier = make_record(*socket.loop);
        if (!earlier) return false;
        earlier->loop = socket.loop;
        earlier->type = socket.type;
        earlier->reader = std::exchange(socket.reader, nullptr);
        earlier->writer = std::exchange(socket.writer, nullptr);
        for (operation* each : {earlier->reader, earlier->writer})
            if (each) each->socket = earlier;
        socket.loop->retired_.add(*earlier);
        socket.loop->unusual_ |= has_retired;
        return true;
    }

    /// Null: there is no memory.
    static socket_state* make_record(loop& own) noexcept {
#if CURFEW_EXCEPTIONS
        try {
            return ::new (take_block(sizeof(socket_state), own.frames_)) socket_state;
        } catch (...) {
            return nullptr;
        }
#else
        return ::new (take_block(sizeof(socket_state), own.frames_)) socket_state;
#endif
    }

    CURFEW_COLD void sweep_retired() noexcept {
        for (socket_state* each = retired_.first(); each;) {
            socket_state* const next = each->next;
            if (!each->reader && !each->writer) remove_and_free(*each);
            each = next;
        }
        if (!retired_.first()) unusual_ &= ~has_retired;
    }

    io_context& context_;
    frame_resource* frames_ = nullptr;  // null: the thread's own
    std::uint64_t settles_at_ = never;  // steps of the clock

    // What each turn needs stands together, from the end of the clock to the beginning of the
    // limits: system calls in between have used the caches.
    turn_clock clock_;
    std::unique_ptr<reactor> reactor_;
    ready_queue ready_;
    completions done_;
    unsigned unusual_ = has_no_tasks;  // all that a turn need not look at while it is 0
    bool closing_ = false;
    bool has_overlooked_ = false;
    bool destroying_ = false;
    bool disposing_ = false;
    bool has_resident_ = false;  // a run that is to last
    inbox inbox_;
    ready_queue ended_;
    run_state state_;
    deadlines deadlines_;  // large

    ready_queue expired_;   // whose limits have expired; before those in `ready_`
    ready_queue deferred_;  // who has given way in this turn
    ready_queue yielded_;   // and in those before
    yielded_turn yielded_turn_;
    timer_list ticking_;  // who waits for a tick
    decay_timer decay_{*this};
    ready_queue failures_;
    ready_queue disposed_;
    std::size_t live_ = 0;  // tasks that have not ended
    loop_dependent* dependents_ = nullptr;
    socket_list sockets_;
    socket_list retired_;  // sockets gone while the system still worked on them
    socket_list haunted_;  // and those of which it may have events until the end
    fiber outside_;        // of coroutines that are not tasks, and the root of the tree
    nursery tasks_;        // what was spawned on its own
    nursery guests_;       // tasks that other libraries' coroutines await
    std::atomic<const void*> thread_{nullptr};  // the identity of the one in which it runs
};

inline reactor& reactor_of(const socket_state& socket) noexcept { return socket.loop->system(); }

inline socket_state* first_socket_beside(const socket_state& socket) noexcept {
    return socket.loop->first_socket();
}

inline void guest::begin(std::coroutine_handle<> frame, promise_base& promise,
                         std::coroutine_handle<> awaits_it) {
    host = awaits_it;
    ended = [](fiber& self) {
        auto& gone = static_cast<guest&>(self);
        gone.ended = nullptr;
        if (gone.loop) {
            gone.loop->check_thread();
            gone.loop->let_go(gone);
        }
        // The host is none of the library's, and the fiber ends with its co_await.
        this_thread().current = this_thread().outside;
        transfer_to(gone.host);
    };
    innermost = &promise;
    promise.owner = this;
    if (detail::loop* const running = this_thread().running)
        return running->admit(*this, frame, promise);
    in_cancelled = true;  // see loop::adopt
    transfer_to(frame);
}

inline guest::~guest() {
    if (!ended) return;
    if (loop) loop->expel(*this);
    for_each_scope([](cancel_scope& each) {
        while (each.nurseries) each.nurseries->detach();
    });
    if (!loop) destroy_frames(innermost, false);
}

inline fiber& outside_fiber(loop* waits_in) noexcept {
    if (waits_in) return waits_in->outside();
    if (fiber* const outside = this_thread().outside) return *outside;
    return no_fiber;
}

/// The loop in which a fiber waits for what is not a socket's.
inline loop& loop_for(const fiber& self) noexcept {
    if (self.loop) return *self.loop;
    fatal_in(self, "waiting outside a running io_context: post() or spawn() what waits for more "
                   "than a socket");
}

}  // namespace curfew::detail
