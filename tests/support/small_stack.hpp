// For tests that something uses no stack: they run where there is little.
#pragma once

#include <functional>
#include <thread>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace test {

/// Calls `function` in a thread with a stack of 256 KiB (where the system lets us choose). False:
/// there was no such thread.
template <class Function>
bool on_small_stack(Function function) {
#if defined(__unix__) || defined(__APPLE__)
    pthread_attr_t attributes;
    if (::pthread_attr_init(&attributes) != 0) return false;
    ::pthread_attr_setstacksize(&attributes, 256 * 1024);
    pthread_t thread;
    const int error = ::pthread_create(
        &thread, &attributes,
        [](void* argument) -> void* {
            (*static_cast<Function*>(argument))();
            return nullptr;
        },
        &function);
    ::pthread_attr_destroy(&attributes);
    return error == 0 && ::pthread_join(thread, nullptr) == 0;
#else
    std::thread(std::ref(function)).join();
    return true;
#endif
}

}  // namespace test
