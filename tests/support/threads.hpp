// Waiting for other threads, and how often to try what races with them.
#pragma once

#include <thread>

namespace test {

#if defined(__SANITIZE_THREAD__) || defined(_WIN32)  // where threads are slow
inline constexpr int thread_effort = 1;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
inline constexpr int thread_effort = 1;
#else
inline constexpr int thread_effort = 4;
#endif
#else
inline constexpr int thread_effort = 4;
#endif

/// Waits for another thread, without a time limit of its own.
template <class Condition>
void spin_until(Condition condition) {
    while (!condition()) std::this_thread::yield();
}

}  // namespace test
