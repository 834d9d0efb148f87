// Threads of the library's own.
#pragma once

#include <pthread.h>

#include "../types.hpp"
#include "system.hpp"

#define CURFEW_HAS_THREADS 1

CURFEW_SYSTEM_HEADER

namespace curfew::platform {

/// Calls `Run(with)` in a thread that nobody waits for. Signals are the program's other threads':
/// it gets none but those of its own faults.
template <void (*Run)(void*) noexcept>
int start_thread(void* with) noexcept {
    pthread_attr_t attributes;
    if (const int error = ::pthread_attr_init(&attributes)) return error;
    ::pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigset_t none, before;
    ::sigfillset(&none);
    for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP})
        ::sigdelset(&none, fault);
    ::pthread_sigmask(SIG_SETMASK, &none, &before);  // which the thread inherits
    pthread_t made;
    const int error = ::pthread_create(
        &made, &attributes,
        [](void* argument) -> void* {
            Run(argument);
            return nullptr;
        },
        with);
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    ::pthread_attr_destroy(&attributes);
    return error;
}

}  // namespace curfew::platform
