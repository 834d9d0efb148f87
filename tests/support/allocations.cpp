#include "allocations.hpp"

#include <atomic>
#include <cstdlib>
#include <new>

#include <curfew/config.hpp>

namespace {
std::atomic<std::size_t> count{0};
}

std::size_t test::allocations() noexcept { return count.load(std::memory_order_relaxed); }

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define KEEP_OPERATOR_NEW
#endif
#endif

#if !defined(KEEP_OPERATOR_NEW)
// gcc inlines one half of a pair and doubts the other.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#endif
void* operator new(std::size_t size) {
    count.fetch_add(1, std::memory_order_relaxed);
    if (void* block = std::malloc(size)) return block;
#if CURFEW_EXCEPTIONS
    throw std::bad_alloc();
#else
    std::abort();
#endif
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
    count.fetch_add(1, std::memory_order_relaxed);
    return std::malloc(size);
}
void operator delete(void* block) noexcept { std::free(block); }
void operator delete(void* block, std::size_t) noexcept { std::free(block); }
#endif
