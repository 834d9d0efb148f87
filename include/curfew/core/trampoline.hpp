// Hands control from coroutine to coroutine without using stack.
//
// Compilers turn symmetric transfer into a jump only when they optimise, and some never do (gcc
// without -O2, with sanitizers, on 64-bit PowerPC): a long chain of tasks would overflow the stack
// there. So a coroutine that passes control on notes whom to, and returns to the loop below.
#pragma once

#include <cerrno>
#include <coroutine>
#include <utility>

#include "../config.hpp"
#include "time.hpp"
#include "turn_clock.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {
struct fiber;
}

namespace curfew::detail {

class loop;

/// What a loop is doing, or a thread outside of any.
struct run_state {
    fiber* current = nullptr;      // the fiber that runs
    std::coroutine_handle<> next;  // who goes on when the current coroutine has returned
    int share = 1;                 // steps that are left until the clock is asked
    bool on_trampoline = false;    // somebody will look at `next`
    loop* running = nullptr;       // that loop
    fiber* outside = nullptr;      // that loop's fiber for coroutines that are not the library's
    turn_clock* clock = nullptr;   // that loop's, unless it is polled
    fiber* asked = nullptr;        // for whom the clock was asked last
    int reserve = 0;               // of a budget: completions at once that the coroutine has left,
    ticks end = 0;                 // each of them only before this
};

struct thread_state {
    /// That of the loop that runs in this thread, which keeps it with all else that it needs at
    /// hand. Null outside of any.
    run_state* run = nullptr;
    run_state outside_of_loops{};
};

CURFEW_STATE thread_state& state_of_this_thread() noexcept;

#if CURFEW_STATE_IS_HERE
inline namespace v0_1 {
CURFEW_SHARED inline thread_local constinit thread_state thread_state_of_all{};
}

CURFEW_STATE thread_state& state_of_this_thread() noexcept { return thread_state_of_all; }
#endif

/// The run of the loop that runs in this thread; null outside of any.
inline run_state*& current_run() noexcept { return state_of_this_thread().run; }

inline run_state& this_thread() noexcept {
    thread_state& mine = state_of_this_thread();
    return mine.run ? *mine.run : mine.outside_of_loops;
}

/// An address that is the calling thread's own. (Of errno, because that is one in all of a program,
/// even if this library is there twice.)
inline const void* identity_of_this_thread() noexcept { return &errno; }

/// The clock is asked whether the turn goes on; with a budget of time, each time. A coroutine for
/// which it is asked twice in a row has had its share, whoever else has a turn. (Not cold for the
/// compiler: gcc 12 would put what comes before the call into the cold section too, which is a page
/// more in each turn.)
CURFEW_APART inline bool budget_is_used_up(run_state& state) noexcept {
    if (state.reserve > 0) {
        state.share = 1;  // the next one is asked about, too
        --state.reserve;
        return ticks_now() >= state.end;
    }
    state.share = state.clock ? state.clock->turn_goes_on(ticks_now()) : turn_clock::most_steps;
    const bool over = state.share == 0;
    if (over) state.share = 1;  // whoever else goes on in this step is asked about, too
    const bool had_its_share = state.asked == state.current;
    state.asked = had_its_share ? nullptr : state.current;
    return had_its_share || over;
}

/// Called for each operation that completes without suspending. True: the coroutine has had its
/// share of the turn and must give way, so that a socket that is always ready starves nobody. (The
/// rest of the turn is then decided by whoever has resumed it.)
CURFEW_HOT inline bool share_is_used_up(run_state& state = this_thread()) noexcept {
    return --state.share == 0 && budget_is_used_up(state);
}

/// Resumes a coroutine, and then whoever it passes control on to. `state` is this thread's, and its
/// `on_trampoline` is set.
inline void run_chain(run_state& state, std::coroutine_handle<> coroutine) {
    coroutine.resume();
    if (state.next) [[unlikely]]
        do std::exchange(state.next, nullptr).resume();
        while (state.next);
}

/// The same from anywhere, without disturbing a chain that is under way.
inline void run_coroutine(std::coroutine_handle<> coroutine) {
    struct restorer {
        run_state& state;
        run_state outer;
        ~restorer() { state = outer; }  // also when a coroutine of another library throws
    } const inner{this_thread(), this_thread()};
    inner.state.next = nullptr;
    inner.state.on_trampoline = true;
    run_chain(inner.state, coroutine);
}

/// Passes control on to `coroutine`. To be called last in `await_suspend`.
///
/// Code that is not the library's may resume several coroutines in a row from within a coroutine:
/// when the place is taken, or nobody looks at it, the coroutine is run right here.
inline void transfer_to(std::coroutine_handle<> coroutine) {
    run_state& state = this_thread();
    if (state.on_trampoline && !state.next)
        state.next = coroutine;
    else
        run_coroutine(coroutine);
}

}  // namespace curfew::detail
