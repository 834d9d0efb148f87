// io_context: the loop as its user sees it.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "await/branches.hpp"
#include "core/time.hpp"
#include "frame_resource.hpp"
#include "join_handle.hpp"
#include "loop/loop.hpp"
#include "loop/queues.hpp"
#include "platform/std_chrono.hpp"
#include "platform/std_memory.hpp"
#include "reactor/make_reactor.hpp"
#include "result.hpp"
#include "task.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

struct task_info;

namespace detail {
loop& loop_of(io_context& context) noexcept;
}

/// Runs tasks and the operations they await, in the thread that calls `run` or `poll`.
///
/// `post`, `stop` and cancellation through a `std::stop_token` may come from any thread; all else
/// belongs to the loop's thread. No member needs a restart: after `stop` or an exception, call
/// `run` again.
///
/// The destructor cancels what still runs, waits until the system has let go of every buffer, and
/// destroys the tasks where they stand, without resuming them. Sockets that outlive their
/// context are closed.
class io_context {
public:
    /// The best reactor of the machine, or the one that the environment variable CURFEW_REACTOR
    /// names (select, poll, epoll, io_uring, iocp). Throws `std::system_error` if that name is
    /// unknown or the machine does not have it.
    io_context() : io_context(detail::default_reactor()) {}

    /// Throws `std::system_error` (`errc::not_supported`) if the machine does not have it.
    explicit io_context(reactor_kind kind)
        : io_context(detail::named_reactor(kind, "curfew::io_context")) {}

    /// A reactor that the program has made. Throws `std::system_error` if that did not succeed
    /// (`reactor::error()`), and for a null pointer.
    explicit io_context(std::unique_ptr<reactor> own)
        : loop_(*this, detail::checked_reactor(std::move(own))) {}

    io_context(const io_context&) = delete;
    io_context& operator=(const io_context&) = delete;

    /// Starts `work` in the loop's next turn, as a line of execution of its own. Its frame is freed
    /// when it has returned and its handle is gone.
    template <class T>
    join_handle<T> spawn(task<T> work) {
        return join_handle<T>(start(std::move(work)));
    }

    /// The same with what `function()` makes. The function lives as long as its task, so that it
    /// may be a lambda with captures.
    template <detail::makes_task Function>
    auto spawn(Function function) {
        return spawn(detail::kept(std::move(function)));
    }

    /// Runs the loop until `work` has returned, and gives what it returned or throws what left it.
    /// Other tasks run too, and stay suspended afterwards. If `stop` ends it early, or the
    /// exception of another task that nobody joins (which it throws), `work` is destroyed.
    template <class T>
    T block_on(task<T> work) {
        detail::spawned_fiber& record = start(std::move(work));
        const join_handle<T> handle(record);
        const end_guard guard{loop_, record};
        loop_.run(detail::endless, detail::loop::extent::all, [&] { return record.has_ended; });
        if (!record.has_ended)
            detail::raise(errc::canceled, "curfew::io_context::block_on was stopped");
        record.reported = true;
        return static_cast<detail::promise<T>*>(record.innermost)->take();
    }

    /// The same with what `work()` makes, if it is a function (which lives as long as its task), or
    /// with anything else that can be awaited: `ctx.block_on(socket.read_some(buffer))`.
    template <class Work>
    decltype(auto) block_on(Work&& work) {
        if constexpr (detail::makes_task<std::remove_reference_t<Work>>)
            return block_on(detail::kept(static_cast<Work&&>(work)));
        else if constexpr (detail::awaitable<Work>)
            return block_on(detail::await_as_task<Work>(static_cast<Work&&>(work)));
        else
            static_assert(
                detail::always_false<Work>,
                "curfew::io_context::block_on takes a task, a function that makes one, or "
                "what else can be awaited: an operation, or a combination");
    }

    /// Runs until all tasks have returned and all posted functions have run, or `stop`. Like
    /// all of its kind it returns how many coroutines and functions it has resumed or called.
    /// Throws what left a task that nobody joins, and `std::system_error` if the reactor fails.
    ///
    /// It ticks nothing, nor do the others of its kind: with tasks that all wait for `next_tick` it
    /// ends the program with a message (`run_for` and `run_until` sleep until their end).
    std::size_t run() { return run_to(detail::endless); }

    /// The same, for that long at the most.
    template <class Rep, class Period>
    std::size_t run_for(std::chrono::duration<Rep, Period> time) {
        return run_to(detail::ticks_now() + detail::to_ticks(time));
    }

    /// The same, until then at the latest.
    template <class Duration>
    std::size_t run_until(detail::point_in_time<Duration> end) {
        return run_to(detail::to_ticks(end));
    }

    /// Waits for one thing to do and does it. 0: there is no work.
    std::size_t run_one() {
        return loop_.run(detail::endless, detail::loop::extent::one, [] { return false; });
    }

    /// Ticks, looks once at the system and runs what is ready, without waiting: the network's slice
    /// of a frame. (Of what makes itself ready again and again it runs some 100,000 steps.)
    std::size_t poll() {
        loop_.tick();
        return loop_.poll(detail::endless).resumed;
    }

    /// Like `poll`, again and again as long as there is something ready, but starts nothing new
    /// once the budget is spent. What was left goes on with the next call. Even a budget that the
    /// look at the system has spent is good for one thing, if it is more than no time: so all go
    /// on, however large the load and small the budget.
    template <class Rep, class Period>
    std::size_t poll_for(std::chrono::duration<Rep, Period> budget) {
        const auto begin = detail::ticks_now();
        const auto end = begin + detail::to_ticks(budget);
        std::size_t total = 0;
        loop_.tick();
        for (;;) {
            const auto [resumed, stopped] = loop_.poll(end, total == 0 && end > begin);
            total += resumed;
            if (resumed == 0 || stopped || detail::ticks_now() >= end) return total;
        }
    }

    /// A frame: one tick (see `next_tick`), and then the network is served until `end`, sleeping in
    /// the system while there is nothing to do. It lasts until then even if there are no tasks, so
    /// it is what paces the frames; `stop` ends it before. It starts nothing new after `end`, but a
    /// frame that is late from the beginning still gets its tick, one look at the system, and what
    /// is ready then one turn. Throws what `run` does.
    ///
    /// ```cpp
    /// for (auto next = clock::now(); playing; simulate_and_draw())
    ///     ctx.poll_until(next = std::max(next + 16'666'667ns, clock::now()));
    /// ```
    template <class Duration>
    std::size_t poll_until(detail::point_in_time<Duration> end) {
        return loop_.poll_until(detail::to_ticks(end));
    }

    /// Chosen when the argument is wrong: says what is expected.
    template <class Time>
    std::size_t run_for(const Time&) {
        return run_to(detail::not_a_duration<Time>());
    }
    template <class Time>
    std::size_t run_until(const Time&) {
        return run_to(detail::not_a_time_point<Time>());
    }
    template <class Time>
    std::size_t poll_for(const Time&) {
        return run_to(detail::not_a_duration<Time>());
    }
    template <class Time>
    std::size_t poll_until(const Time&) {
        return run_to(detail::not_a_time_point<Time>());
    }

    /// When the earliest limit expires or sleep ends; nothing if there is none. A frame that has
    /// nothing to do may wait until then, if no socket matters.
    std::optional<clock::time_point> next_deadline() noexcept {
        const auto deadline = loop_.next_deadline();
        if (deadline == detail::endless) return std::nullopt;
        return detail::to_time_point(deadline);
    }

    /// Makes the current `run` (or `poll`, `block_on`), or else the next, return when the current
    /// coroutine is suspended. From any thread, and from a signal handler; the context must live
    /// until the call returns.
    void stop() noexcept { loop_.stop(); }

    /// Runs `function()` in the loop's thread. From any thread; the context must live until the
    /// call returns. What it throws comes out of `run`.
    template <class Function>
    void post(Function function) {
        struct holder final : detail::posted_function {
            Function call;
            explicit holder(Function&& f) : call(std::move(f)) {}
        };
        auto made = std::make_unique<holder>(std::move(function));
        made->run = [](detail::posted_function& self, bool wanted) {
            const std::unique_ptr<holder> own(static_cast<holder*>(&self));
            if (wanted) own->call();
        };
        loop_.post(*made.release());
    }

    /// The time, read at most once between two looks at the system.
    clock::time_point now() noexcept { return detail::to_time_point(loop_.now()); }

    /// The tree of live tasks as it is now: what each waits for and since when, which limits are
    /// over it, where in the source it waits. A task that nobody else waits for is a root; branches
    /// of `when_all` and `when_any`, and children of groups, are under the task they belong to.
    ///
    /// How long a task has waited counts from the end of the turn in which it began to, or up to
    /// 20 ms before it. Only in the first turns after a loop without any limits has been busy it is
    /// not known how long it was idle before the wait began: the time is the most that it can be
    /// then, and marked as that. Declared in `<curfew/task_tree.hpp>`. Where the source locations are not
    /// wanted, define CURFEW_SOURCE_LOCATIONS as 0 in all of the program.
    ///
    /// (A template, as is all behind it, so that only programs that ask have to compile it.)
    template <class Task = task_info>
    std::vector<Task> tasks();

    /// Writes that tree to `out`, a `std::ostream`, as text for a person. Belongs to the loop's
    /// thread like all else; to look from another one: `ctx.post([&] { ctx.dump(std::cerr); })`.
    template <class Stream>
    void dump(Stream& out);

    /// Takes the context's memory from `from` from now on; null: from the free lists of the thread
    /// (the default). That is what the context itself keeps for tasks and sockets, and, while it
    /// runs, the frames of all coroutines that are made. `from` must outlive the context and
    /// all that was made from it: each block goes back to where it came from, whenever it is freed.
    ///
    /// Set it before the context runs; while it does, it takes effect for frames only with the next
    /// `run` or `poll`.
    void frames(frame_resource* from) noexcept { loop_.frames(from); }

    /// Gives back to the system at once what waits in the thread's free lists for its next use, the
    /// memory of frames, tasks and sockets that are gone, and asks the C library to do the same
    /// with what it keeps (which takes it some 0.1 ms for each MB). From the loop's thread.
    ///
    /// The lists need no such call: while a context runs, half of what has been idle for a while
    /// goes back twice a second, until little is left. In steady state nothing does.
    void trim() noexcept {
        loop_.check_thread();
        detail::this_thread_frames().lists.trim();
        detail::trim_heap();
    }

    /// The reactor's name: "epoll", "poll", ...
    std::string_view name() const noexcept { return loop_.system().name(); }

private:
    friend detail::loop& detail::loop_of(io_context& context) noexcept;

    /// Destroys a task that has not ended.
    struct end_guard {
        detail::loop& loop;
        detail::spawned_fiber& record;
        ~end_guard() {
            if (!record.has_ended) loop.destroy(record);
        }
    };

    template <class T>
    detail::spawned_fiber& start(task<T> work) {
        detail::spawned_fiber& record = loop_.make_fiber();
        const auto frame = detail::task_access::take(work);
        loop_.spawn(frame, frame.promise(), record);
        return record;
    }

    std::size_t run_to(detail::ticks end) {
        return loop_.run(end, detail::loop::extent::all, [] { return false; });
    }

    detail::loop loop_;
};

inline detail::loop& detail::loop_of(io_context& context) noexcept { return context.loop_; }

/// The context whose loop runs the caller. Outside a loop there is none, and asking for it is
/// fatal.
inline io_context& this_context() noexcept {
    detail::loop* const running = detail::this_thread().running;
    if (!running)
        detail::fatal("this_context() outside a running io_context, or in a module that has a copy "
                      "of curfew of its own: see CURFEW_API");
    return running->context();
}

}  // namespace curfew
