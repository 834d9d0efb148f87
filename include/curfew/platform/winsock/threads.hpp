// Threads of the library's own, and what a thread keeps until it ends.
#pragma once

#include <process.h>

#include <cerrno>
#include <new>

#include "../types.hpp"
#include "system.hpp"

#define CURFEW_HAS_THREADS 1

CURFEW_SYSTEM_HEADER

namespace curfew::platform {

/// Calls `Run(with)` in a thread that nobody waits for.
template <void (*Run)(void*) noexcept>
int start_thread(void* with) noexcept {
    const auto made = ::_beginthreadex(
        nullptr, 0,
        [](void* argument) -> unsigned {
            Run(argument);
            return 0;
        },
        with, 0, nullptr);
    if (made == 0) return WSA_NOT_ENOUGH_MEMORY;
    ::CloseHandle(reinterpret_cast<HANDLE>(made));
    return 0;
}

#if defined(CURFEW_EMULATED_THREAD_LOCAL)

namespace detail {

template <class T>
void WINAPI destroy(void* object) {
    delete static_cast<T*>(object);
}

}  // namespace detail

/// The calling thread's `T`, which the system destroys when the thread ends, by its own record of
/// where it is (FlsAlloc).
template <class T>
T& until_thread_ends() noexcept {
    static const DWORD index = ::FlsAlloc(&detail::destroy<T>);
    auto* mine = static_cast<T*>(::FlsGetValue(index));
    if (!mine) {
        mine = new (std::nothrow) T;
        if (!mine) curfew::detail::fatal("no memory for what a thread keeps");
        ::FlsSetValue(index, mine);
    }
    return *mine;
}
#endif

}  // namespace curfew::platform
