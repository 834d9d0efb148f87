// What a thread keeps until it ends.
#pragma once

#include <new>

#include "system.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::platform {

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
