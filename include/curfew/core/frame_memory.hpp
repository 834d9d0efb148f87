// Memory for coroutine frames and the library's own records: free lists by size, one set a
// thread, so that in steady state nothing is asked of the system's allocator.
#pragma once

#include <cstddef>
#include <new>

#include "../config.hpp"

namespace curfew::detail {

// Address sanitizer finds more when every block is a fresh one.
#if defined(__SANITIZE_ADDRESS__)
#define CURFEW_RECYCLE_FRAMES 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CURFEW_RECYCLE_FRAMES 0
#endif
#endif
#if !defined(CURFEW_RECYCLE_FRAMES)
#define CURFEW_RECYCLE_FRAMES 1
#endif

class frame_cache {
public:
    frame_cache() = default;
    frame_cache(const frame_cache&) = delete;
    frame_cache& operator=(const frame_cache&) = delete;

    ~frame_cache() {
        for (bin& each : bins_)
            while (void* block = each.take()) ::operator delete(block);
        retired() = true;
    }

    static void* allocate(std::size_t size) {
        const std::size_t which = bin_of(size);
        if (!usable(which)) return obtain(size);
        if (void* block = mine().bins_[which].take()) return block;
        return obtain((which + 1) * granularity);
    }

    static void deallocate(void* block, std::size_t size) noexcept {
        const std::size_t which = bin_of(size);
        if (!usable(which) || !mine().bins_[which].put(block)) ::operator delete(block);
    }

private:
    static constexpr std::size_t granularity = 64;
    static constexpr std::size_t largest = 2048;
    static constexpr std::size_t kept = 1024;  // blocks of one size that wait for their next use

    struct free_block {
        free_block* next;
    };

    struct bin {
        free_block* head = nullptr;
        std::size_t count = 0;

        void* take() noexcept {
            free_block* block = head;
            if (!block) return nullptr;
            head = block->next;
            --count;
            return block;
        }

        bool put(void* block) noexcept {
            if (count == kept) return false;
            head = ::new (block) free_block{head};
            ++count;
            return true;
        }
    };

    static std::size_t bin_of(std::size_t size) noexcept { return (size - 1) / granularity; }

    static bool usable(std::size_t which) noexcept {
        return CURFEW_RECYCLE_FRAMES && which < largest / granularity && !retired();
    }

    static void* obtain(std::size_t size) {
#if CURFEW_EXCEPTIONS
        return ::operator new(size);
#else
        if (void* block = ::operator new(size, std::nothrow)) return block;
        fatal("out of memory");
#endif
    }

    static frame_cache& mine() noexcept {
        static thread_local frame_cache cache;
        return cache;
    }

    /// What is freed after the thread's cache is gone (by static destructors) goes to the system.
    static bool& retired() noexcept {
        static thread_local constinit bool gone = false;
        return gone;
    }

    bin bins_[largest / granularity];
};

/// Base of what is made and destroyed often.
struct recycled {
    static void* operator new(std::size_t size) { return frame_cache::allocate(size); }
    static void operator delete(void* block, std::size_t size) noexcept {
        frame_cache::deallocate(block, size);
    }
};

}  // namespace curfew::detail
