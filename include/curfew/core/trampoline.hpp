// Hands control from coroutine to coroutine without using stack.
//
// Compilers turn symmetric transfer into a jump only when they optimise, and some never do (gcc
// without -O2, with sanitizers, on 64-bit PowerPC): a long chain of tasks would overflow the stack
// there. So a coroutine that passes control on notes whom to, and returns to the loop below.
#pragma once

#include <coroutine>
#include <utility>

namespace curfew::detail {

class loop;

/// What a thread is doing.
struct thread_state {
    loop* running = nullptr;       // the loop that runs in this thread
    std::coroutine_handle<> next;  // who goes on when the current coroutine has returned
    bool on_trampoline = false;    // somebody will look at `next`
};

inline thread_local constinit thread_state this_thread{};

/// Resumes a coroutine, and then whoever it passes control on to.
inline void run_coroutine(std::coroutine_handle<> coroutine) {
    thread_state& state = this_thread;
    const thread_state outer = state;
    state.on_trampoline = true;
    do {
        state.next = nullptr;
        coroutine.resume();
        coroutine = state.next;
    } while (coroutine);
    state.next = outer.next;
    state.on_trampoline = outer.on_trampoline;
}

/// Passes control on to `coroutine`. To be called last in `await_suspend`.
///
/// Code that is not the library's may resume several coroutines in a row from within a coroutine:
/// when the place is taken, or nobody looks at it, the coroutine is run right here.
inline void transfer_to(std::coroutine_handle<> coroutine) {
    if (this_thread.on_trampoline && !this_thread.next)
        this_thread.next = coroutine;
    else
        run_coroutine(coroutine);
}

}  // namespace curfew::detail
