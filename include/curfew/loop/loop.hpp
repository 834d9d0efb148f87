// The engine of an io_context, put together of its parts: turns, limits, tasks, guests and sockets.
// This is what the rest of the library sees of them.
#pragma once

#include <coroutine>
#include <cstddef>
#include <exception>
#include <utility>

#include "../core/cancel_scope.hpp"
#include "../core/cancellation.hpp"
#include "../core/frame_memory.hpp"
#include "../core/loop_dependent.hpp"
#include "../core/promise.hpp"
#include "../core/socket_reference.hpp"
#include "../core/socket_state.hpp"
#include "../core/suspension.hpp"
#include "../core/timer_list.hpp"
#include "../core/trampoline.hpp"
#include "../frame_resource.hpp"
#include "../platform/std_memory.hpp"
#include "../platform/types.hpp"
#include "../reactor/reactor.hpp"
#include "fiber_tree.hpp"
#include "guests.hpp"
#include "sockets.hpp"
#include "tasks.hpp"
#include "turns.hpp"
#include "wake_ups.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {
class io_context;
}

namespace curfew::detail {

class loop {
public:
    loop(io_context& owner, std::unique_ptr<reactor> with) noexcept
        : context_(owner), turns_(std::move(with), tree_, tasks_, sockets_),
          tree_(*this, turns_.reaping), sockets_(turns_.queued, turns_.reaping),
          tasks_(*this, turns_.queued, tree_, turns_.limited), guests_(*this, tree_, tasks_) {}

    loop(const loop&) = delete;
    loop& operator=(const loop&) = delete;

    /// Ends all pending operations, waits until the system is done with their buffers, and only
    /// then destroys the frames that hold them.
    ~loop() {
        thread_.check_end();
        const running here(*this);
        sockets_.close_all();
        // Destructors in a frame may give back a permit, set an event or cancel: nobody waits any
        // more who would be queued by that, and destroyed with the same frame.
        tasks_.prepare_to_destroy_all();
        guests_.forget_all();
        while (nursery* const any = tree_.outside.root.nurseries) {
            // They may also spawn and post once more: what they queue is dropped before what it
            // belongs to is destroyed.
            turns_.inbound.take();
            turns_.queued.discard();
            if (any->empty())
                any->detach();
            else
                tasks_.destroy(*any->first);
        }
        loop_dependent::tell_all(dependents_);
        sockets_.forget_all();
        // Those of coroutines that are not the loop's.
        turns_.queued.ticking.for_each([](timer_node& node) { node.disarm(); });
    }

    io_context& context() noexcept { return context_; }
    reactor& system() const noexcept { return *turns_.reaping.reactor; }
    completions& done() noexcept { return turns_.reaping.done; }

    /// Where records and sockets come from, and frames while the loop runs.
    void frames(frame_resource* from) noexcept { frames_ = from; }

    /// `what` is told when the loop ends.
    void add(loop_dependent& what) noexcept { what.join(dependents_); }

    // Turns ------------------------------------------------------------------------------------

    using extent = turns::extent;

    /// See turns::run, and so on.
    template <class Enough>
    std::size_t run(ticks end, extent how_many, Enough enough) {
        const running here(*this);
        return turns_.run(end, how_many, enough);
    }
    turns::polled poll(ticks end, bool owed = false) {
        const running here(*this);
        return turns_.poll(end, owed);
    }
    std::size_t poll_until(ticks end) {
        const running here(*this);
        return turns_.poll_until(end);
    }
    void tick() noexcept { turns_.queued.tick(); }

    /// See detail::share_is_used_up.
    CURFEW_HOT bool share_is_used_up() noexcept { return detail::share_is_used_up(turns_.state); }

    /// True in the coroutines that it runs, except in one that another thread, or a function
    /// outside of any loop, has resumed.
    bool runs_here() const noexcept { return current_run() == &turns_.state; }

    // Who goes on ------------------------------------------------------------------------------

    void make_ready(ready_node& node) noexcept { turns_.queued.ready.push(node); }

    /// Takes back `make_ready`.
    void unready(ready_node& node) noexcept { ready_queue::remove(node); }

    /// Queues for the next turn, behind what the system has to say.
    void defer(ready_node& node) noexcept { turns_.queued.defer(node); }

    /// `node` expires in the next `tick`.
    void arm_for_tick(timer_node& node) noexcept { turns_.queued.arm_for_tick(node); }

    /// Resumes a coroutine from within a posted function.
    void resume(suspension& suspended) { turns_.resume(suspended); }

    /// Calls `look` on every node that is queued to go on by itself.
    template <class Look>
    void for_each_ready(Look look) const {
        turns_.queued.for_each(look);
    }

    // Limits -----------------------------------------------------------------------------------

    CURFEW_HOT void arm_after(timer_node& node) noexcept { turns_.limited.armed.arm_after(node); }
    void arm_at(timer_node& node) noexcept { turns_.limited.armed.arm_at(node); }

    /// The time, read at most once between two waits (and when limits are armed).
    ticks now() noexcept { return turns_.limited.now(); }

    /// A reading of the clock that costs nothing: from this turn or the end of the one before, or a
    /// few short turns old.
    ticks recent() const noexcept { return turns_.reaping.clock.last(); }

    /// When something was that has noted `recent` then.
    moment when(ticks noted) const noexcept { return turns_.reaping.clock.when(noted); }

    ticks next_deadline() noexcept { return turns_.limited.next_deadline(); }

    /// Calls `look` on every limit that is armed, its deadline a point in time.
    template <class Look>
    void for_each_limit(Look look) {
        turns_.limited.for_each(look);
    }

    /// See limits::more_may_follow.
    bool more_may_follow() const noexcept { return turns_.limited.more_may_follow(); }

    // Tasks ------------------------------------------------------------------------------------

    /// The root of the tree of fibers, that of coroutines that are not tasks.
    fiber& outside() noexcept { return tree_.outside; }

    /// To be spawned: nothing may throw in between.
    spawned_fiber& make_fiber() {
        return *::new (take_block(sizeof(spawned_fiber), frames_)) spawned_fiber();
    }

    void spawn(std::coroutine_handle<> frame, promise_base& promise,
               spawned_fiber& record) noexcept {
        spawn(frame, promise, record, tasks_.alone());
    }
    void spawn(std::coroutine_handle<> frame, promise_base& promise, spawned_fiber& record,
               nursery& into) noexcept {
        check_thread();
        if (!record.ended) record.ended = &note_end;
        tasks_.spawn(frame, promise, record, into);
    }

    /// Queues the start of a fiber.
    void begin(fiber& self, std::coroutine_handle<> frame, promise_base& promise) noexcept {
        tasks_.begin(self, frame, promise);
    }

    /// What every spawned fiber does at its end: its frame is in use until the coroutine has
    /// returned control, so the rest is done then.
    static void note_end(fiber& self) noexcept {
        self.loop->check_thread();
        self.loop->tasks_.queue_ended(self);
    }

    tasks& all_tasks() noexcept { return tasks_; }
    guests& all_guests() noexcept { return guests_; }

    /// See guests::adopt.
    void adopt(fiber& self) noexcept { guests_.adopt(self); }

    bool destroying() const noexcept { return tasks_.destroying(); }
    void destroy(fiber& top) noexcept { tasks_.destroy(top); }
    void destroy_all(nursery& children) noexcept { tasks_.destroy_all(children); }
    void resume_joiner(suspension& joiner) noexcept { tasks_.resume_joiner(joiner); }
    void report(const std::exception_ptr& exception) noexcept { tasks_.report(exception); }

    // Sockets ----------------------------------------------------------------------------------

    socket_state* make_socket(platform::transport type, platform::socket_handle handle) {
        check_thread();
        return sockets_.make(*this, type, handle, frames_);
    }

    socket_state* first_socket() const noexcept { return sockets_.first(); }

    /// The socket has got a handle.
    void opened(socket_state& socket, platform::socket_handle handle) noexcept {
        sockets_.opened(socket, handle);
    }

    /// A closed socket is about to be opened again: see sockets::set_pending_aside. False: there is
    /// no memory for that.
    static bool make_reopenable(socket_state& socket) noexcept {
        if (!socket.reader && !socket.writer) [[likely]]
            return true;
        return socket.loop->sockets_.set_pending_aside(socket, socket.loop->frames_);
    }

    /// The socket object is gone.
    static void remove(socket_state& socket) noexcept {
        if (socket.references) [[unlikely]]
            socket_reference::forget_all(socket);
        if (socket.loop)
            socket.loop->sockets_.remove(socket);
        else
            sockets::free(socket);
    }

    // Any thread -------------------------------------------------------------------------------

    void post(posted_function& function) noexcept {
        if (runs_here()) return make_ready(function);
        turns_.inbound.post(function);
    }

    /// The same in a signal handler, which may have interrupted the loop's own thread anywhere: so
    /// it goes the way of other threads.
    void post_from_handler(posted_function& function) noexcept { turns_.inbound.post(function); }

    /// Takes back what was posted and has not run. From the loop's thread.
    void withdraw(posted_function& function) noexcept {
        turns_.inbound.take();
        ready_queue::remove(function);
    }

    void stop() noexcept { turns_.inbound.stop(); }

    bool is_this_thread() const noexcept { return thread_.is_this(); }
    void check_thread() const noexcept { thread_.check_this_thread(); }

    /// False if another loop runs here, or this one in another thread.
    bool may_be_used_here() const noexcept {
        const loop* const its = this_thread().running;
        return its ? its == this : is_this_thread();
    }

private:
    /// While it lives, this loop is the one that runs in this thread.
    class running {
    public:
        explicit running(loop& self) noexcept
            : self_(self), outer_(current_run()), outer_state_(self.turns_.state),
              frames_(self.frames_) {
            self.check_thread();
            outer_thread_ = self.thread_.exchange(identity_of_this_thread());
            run_state& state = self.turns_.state;
            current_run() = &state;
            state = {};
            state.running = &self;
            state.outside = state.current = &self.tree_.outside;
            state.clock = &self.turns_.reaping.clock;
            self.turns_.reaping.clock.waited();
        }
        ~running() {
            self_.turns_.limited.date_fresh();  // limits count from now, not from the next run
            self_.turns_.state = outer_state_;
            current_run() = outer_;
            self_.thread_.exchange(outer_thread_);
        }
        running(const running&) = delete;
        running& operator=(const running&) = delete;

    private:
        loop& self_;
        run_state* outer_;
        run_state outer_state_;  // of a run of the same loop, within which this one is
        const void* outer_thread_;
        frame_resource_scope frames_;
    };

    io_context& context_;
    frame_resource* frames_ = nullptr;  // null: the thread's own
    turns turns_;
    fiber_tree tree_;
    sockets sockets_;
    tasks tasks_;
    guests guests_;
    loop_dependent* dependents_ = nullptr;
    home_thread thread_;
};

// What its parts need of the whole.

inline void tasks::resume_joiner(suspension& joiner) noexcept {
    if (joiner.owner->being_destroyed) return;
    // It may live in another loop of this thread.
    loop& its = joiner.owner->loop ? *joiner.owner->loop : loop_;
    if (&its != &loop_ || !loop_ends_) its.make_ready(joiner);
}

inline void tasks::detach(spawned_fiber& record) noexcept {
    record.has_handle = false;
    if (record.frame_being_destroyed) return;  // the handle is in that frame
    if (!record.loop)
        delete &record;
    else if (record.has_ended)
        record.loop->all_tasks().collect(record);
}

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
            gone.loop->all_guests().end(gone);
        }
        // The host is none of the library's, and the fiber ends with its co_await.
        this_thread().current = this_thread().outside;
        transfer_to(gone.host);
    };
    innermost = &promise;
    promise.owner = this;
    if (detail::loop* const running = this_thread().running)
        return running->all_guests().begin(*this, frame, promise);
    in_cancelled = true;  // see guests::adopt
    transfer_to(frame);
}

inline guest::~guest() {
    if (!ended) return;
    if (loop) loop->all_guests().destroy(*this);
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

}  // namespace curfew::detail
