// Objects that each thread has of its own, with destructors that may be relied on.
#pragma once

#include "../platform/platform.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

/// The calling thread's `T`: made when it is first asked for, destroyed when the thread ends.
template <class T>
T& of_this_thread() noexcept {
#if defined(CURFEW_EMULATED_THREAD_LOCAL)
    return platform::until_thread_ends<T>();
#else
    static thread_local T mine;
    return mine;
#endif
}

}  // namespace curfew::detail
