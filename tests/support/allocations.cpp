#include "allocations.hpp"

#include <atomic>
#include <cstdlib>
#include <new>

#include <curfew/config.hpp>

namespace {
std::atomic<std::size_t> count{0};
std::atomic<std::size_t> given_back{0};
std::atomic<std::size_t> until_failure{0};  // 0: none is to fail, or has failed already
}  // namespace

std::size_t test::allocations() noexcept { return count.load(std::memory_order_relaxed); }

std::size_t test::blocks_in_use() noexcept { return count - given_back; }

test::failing_allocation::failing_allocation(std::size_t which) noexcept { until_failure = which; }
test::failing_allocation::~failing_allocation() { until_failure = 0; }
bool test::failing_allocation::has_failed() const noexcept { return until_failure == 0; }

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define KEEP_OPERATOR_NEW
#endif
#endif

#if !defined(KEEP_OPERATOR_NEW)

namespace {

/// Null: it fails.
void* allocate(std::size_t size) noexcept {
    std::size_t left = until_failure.load(std::memory_order_relaxed);
    while (left && !until_failure.compare_exchange_weak(left, left - 1)) {}
    void* const block = left == 1 ? nullptr : std::malloc(size);
    if (block) count.fetch_add(1, std::memory_order_relaxed);
    return block;
}

void give_back(void* block) noexcept {
    if (block) given_back.fetch_add(1, std::memory_order_relaxed);
    std::free(block);
}

}  // namespace

// gcc inlines one half of a pair and doubts the other.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#endif
void* operator new(std::size_t size) {
    if (void* block = allocate(size)) return block;
#if CURFEW_EXCEPTIONS
    throw std::bad_alloc();
#else
    std::abort();
#endif
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return allocate(size); }
void operator delete(void* block) noexcept { give_back(block); }
void operator delete(void* block, std::size_t) noexcept { give_back(block); }
void operator delete(void* block, const std::nothrow_t&) noexcept { give_back(block); }
#endif
