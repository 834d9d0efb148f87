// Memory for coroutine frames and the library's own records: from a resource of the program's, or
// else from free lists by size, one set a thread, so that in steady state nothing is asked of the
// system's allocator.
#pragma once

#include <cstddef>
#include <cstring>
#include <new>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "../config.hpp"
#include "of_this_thread.hpp"

// Address sanitizer finds more when every block is a fresh one, and knows what is not its user's.
#if defined(__SANITIZE_ADDRESS__)
#define CURFEW_RECYCLE_FRAMES 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CURFEW_RECYCLE_FRAMES 0
#endif
#endif
#if !defined(CURFEW_RECYCLE_FRAMES)
#define CURFEW_RECYCLE_FRAMES 1
#define CURFEW_POISON(where, size) static_cast<void>(0)
#define CURFEW_UNPOISON(where, size) static_cast<void>(0)
#else
#include <sanitizer/asan_interface.h>
#define CURFEW_POISON(where, size) __asan_poison_memory_region(where, size)
#define CURFEW_UNPOISON(where, size) __asan_unpoison_memory_region(where, size)
#endif

CURFEW_SYSTEM_HEADER

namespace curfew {

/// Where coroutine frames come from, and the records that the library keeps for tasks and sockets.
/// A program that wants them elsewhere than in `frame_pool`s derives its own.
///
/// It must outlive all that was made from it, and is called by the thread that makes or destroys
/// something. One that serves contexts in several threads has to cope with that itself.
///
/// ```cpp
/// class counting final : public frame_resource {
///     void* allocate(std::size_t bytes) override { ++blocks; return ::operator new(bytes); }
///     void deallocate(void* block, std::size_t) noexcept override { ::operator delete(block); }
///     int blocks = 0;
/// };
/// ```
class frame_resource {
public:
    frame_resource() = default;
    frame_resource(const frame_resource&) = delete;
    frame_resource& operator=(const frame_resource&) = delete;
    virtual ~frame_resource() = default;

    /// A block aligned as `operator new` aligns; never null. Without memory it throws
    /// `std::bad_alloc`, or does not return.
    virtual void* allocate(std::size_t bytes) = 0;

    /// Takes back a block that `allocate(bytes)` of this resource has given.
    virtual void deallocate(void* block, std::size_t bytes) noexcept = 0;
};

/// What has gone through the free lists of a `frame_pool` or a thread. In steady state
/// `from_system` stands still while `handed_out` grows.
///
/// A block is counted where it goes: a frame that is destroyed in another thread moves to that
/// thread's lists. Such a thread may be given more than it has handed out, and its bytes may be
/// negative; the sums over all threads are right.
struct frame_counters {
    std::size_t handed_out = 0;     ///< blocks, new and used ones
    std::size_t given_back = 0;     ///< blocks
    std::size_t from_system = 0;    ///< blocks taken from the system's allocator
    std::size_t to_system = 0;      ///< blocks returned to it
    std::ptrdiff_t bytes_live = 0;  ///< handed out and not given back, rounded up to list sizes
    /// Taken from the system and not returned: live, or waiting for their next use. What waits in a
    /// thread's lists decays while a context runs: see `io_context::trim`.
    std::ptrdiff_t bytes_held = 0;
};

namespace detail {

/// Free blocks by size. Until they are opened, and after they are closed, they keep nothing: what
/// is given to them goes to the system. Has no destructor, so that it can be used at any time.
class free_lists {
public:
    void open() noexcept { kept_ = CURFEW_RECYCLE_FRAMES ? most_kept : 0; }

    void close() noexcept {
        kept_ = 0;
        trim();
    }

    void* allocate(std::size_t bytes) {
        const std::size_t which = bin_of(bytes);
        if (which < sizes) [[likely]]
            if (void* block = bins_[which].take()) {
                ++reused_;
                return block;
            }
        return obtain(rounded(bytes));
    }

    /// Returns to the system half of what has not been in use since the last call, but for a few
    /// blocks of each size. Gives the bytes that wait, but for those few: while there are some, it
    /// is worth calling again.
    CURFEW_COLD std::size_t decay() noexcept {
        std::size_t waiting = 0;
        for (std::size_t which = 0; which < sizes; ++which) {
            bin& each = bins_[which];
            const std::size_t idle = each.least > few ? each.least - few : 0;
            for (std::size_t left = (idle + 1) / 2; left > 0; --left)
                release(each.take(), size_of(which));
            each.least = each.count;
            if (each.count > few) waiting += (each.count - few) * size_of(which);
        }
        return waiting;
    }

    /// Returns all that waits to the system.
    CURFEW_COLD void trim() noexcept {
        for (std::size_t which = 0; which < sizes; ++which)
            while (void* block = bins_[which].take()) release(block, size_of(which));
    }

    /// Taken from the system and not returned.
    std::ptrdiff_t bytes_held() const noexcept { return bytes_held_; }

    /// False: not kept; the caller has to `release` the block.
    bool keep(void* block, std::size_t bytes) noexcept {
        const std::size_t which = bin_of(bytes);
        return which < sizes && bins_[which].put(block, kept_);
    }

    /// Returns a block to the system.
    CURFEW_COLD void release(void* block, std::size_t bytes) noexcept {
        ++to_system_;
        bytes_held_ -= static_cast<std::ptrdiff_t>(rounded(bytes));
        ::operator delete(block);
    }

    /// Most are derived, so that they cost nothing when blocks come and go.
    frame_counters counters() const noexcept {
        std::size_t waiting = 0;
        std::size_t bytes_waiting = 0;
        for (std::size_t which = 0; which < sizes; ++which) {
            waiting += bins_[which].count;
            bytes_waiting += bins_[which].count * size_of(which);
        }
        return {.handed_out = from_system_ + reused_,
                .given_back = reused_ + waiting + to_system_,
                .from_system = from_system_,
                .to_system = to_system_,
                .bytes_live = bytes_held_ - static_cast<std::ptrdiff_t>(bytes_waiting),
                .bytes_held = bytes_held_};
    }

private:
    // In steps of 16 bytes up to 2 KiB; then of 1 KiB up to 32 KiB, for coroutines that have a
    // buffer among their variables. Larger blocks are not kept.
    //
    // All sizes are a word short of the step: a usual malloc notes the size of a block in a word
    // before it and cuts blocks in steps of 16 bytes, that word included. So nothing is lost to
    // its rounding, nor here by more than its own.
    static constexpr std::size_t step = 16;
    static constexpr std::size_t word = sizeof(std::size_t);
    static constexpr std::size_t small_sizes = 128;
    static constexpr std::size_t largest_small = small_sizes * step - word;
    static constexpr std::size_t large_step = 1024;
    static constexpr std::size_t sizes = small_sizes + 30;
    static constexpr std::size_t most_kept = 1024;  // blocks of one size that wait
    static constexpr std::size_t few = 64;          // of them that do not decay

    struct free_block {
        free_block* next;
    };

    struct bin {
        free_block* head = nullptr;
        std::size_t count = 0;
        std::size_t least = 0;  // that there were since the last `decay`: those were not needed

        void* take() noexcept {
            free_block* block = head;
            if (!block) return nullptr;
            head = block->next;
            if (--count < least) least = count;
            return block;
        }

        bool put(void* block, std::size_t most) noexcept {
            if (count >= most) return false;
            head = ::new (block) free_block{head};
            ++count;
            return true;
        }
    };

    static constexpr std::size_t size_of(std::size_t which) noexcept {
        return which < small_sizes ? (which + 1) * step - word
                                   : largest_small + (which - small_sizes + 1) * large_step;
    }

    static constexpr std::size_t bin_of(std::size_t bytes) noexcept {
        return bytes <= largest_small ? (bytes + word - 1) / step
                                      : small_sizes + (bytes - largest_small - 1) / large_step;
    }

    static std::size_t rounded(std::size_t bytes) noexcept {
        const std::size_t which = bin_of(bytes);
        return CURFEW_RECYCLE_FRAMES && which < sizes ? size_of(which) : bytes;
    }

    CURFEW_COLD void* obtain(std::size_t bytes) {
#if CURFEW_EXCEPTIONS
        void* const block = ::operator new(bytes);
#else
        void* const block = ::operator new(bytes, std::nothrow);
        if (!block) fatal("out of memory");
#endif
        ++from_system_;
        bytes_held_ += static_cast<std::ptrdiff_t>(bytes);
        return block;
    }

    bin bins_[sizes];
    std::size_t kept_ = 0;  // blocks of one size, at most
    std::size_t reused_ = 0;
    std::size_t from_system_ = 0;
    std::size_t to_system_ = 0;
    std::ptrdiff_t bytes_held_ = 0;
};

/// Asks the C library to return what it keeps, where there is a call for that: blocks that are
/// still in use hinder it from doing so by itself. Takes some 0.1 ms for each MB.
inline void trim_heap() noexcept {
#if defined(__GLIBC__)
    ::malloc_trim(0);
#endif
}

/// What a thread makes frames from.
struct thread_frames {
    frame_resource* chosen = nullptr;  // null: the lists
    free_lists lists;
    bool used = false;  // the lists have been opened; they are closed at the thread's end
};

#if !CURFEW_STATE_IS_HERE
CURFEW_STATE thread_frames& this_thread_frames() noexcept;
CURFEW_STATE void not_kept(thread_frames& mine, void* block, std::size_t bytes) noexcept;
#else
#if defined(CURFEW_EMULATED_THREAD_LOCAL)
/// Where `thread_local` variables are gone before their destructors run, the lists are none.
struct lasting_frames : thread_frames {
    lasting_frames() noexcept {
        used = true;
        lists.open();
    }
    ~lasting_frames() {
        lists.close();
        here() = nullptr;
    }
    static lasting_frames*& here() noexcept {
        static thread_local constinit lasting_frames* mine = nullptr;
        return mine;
    }
};

CURFEW_STATE thread_frames& this_thread_frames() noexcept {
    lasting_frames*& mine = lasting_frames::here();
    if (!mine) [[unlikely]]
        mine = &of_this_thread<lasting_frames>();
    return *mine;
}
#else
inline namespace v0_1 {
CURFEW_SHARED inline thread_local constinit thread_frames thread_frames_of_all{};
}

CURFEW_STATE thread_frames& this_thread_frames() noexcept { return thread_frames_of_all; }
#endif

/// For a block that the thread's lists have not kept: perhaps because this is the first.
CURFEW_COLD CURFEW_STATE void not_kept(thread_frames& mine, void* block,
                                       std::size_t bytes) noexcept {
    if (!mine.used) {
        struct closer {
            thread_frames& frames;
            ~closer() { frames.lists.close(); }
        };
        static thread_local const closer at_end{mine};
        static_cast<void>(at_end);
        mine.used = true;
        mine.lists.open();
        if (mine.lists.keep(block, bytes)) return;
    }
    mine.lists.release(block, bytes);
}
#endif

// Behind each block lies the resource that it came from (null: some thread's lists), so that it
// finds home from wherever it is freed. Address sanitizer still sees where the block's user ends.

inline void note_home(void* where, frame_resource* home) noexcept {
    std::memcpy(where, &home, sizeof home);
    CURFEW_POISON(where, sizeof home);
}

inline frame_resource* home_noted(void* where) noexcept {
    CURFEW_UNPOISON(where, sizeof(frame_resource*));
    frame_resource* home;
    std::memcpy(&home, where, sizeof home);
    return home;
}

/// Out of line, to keep what every coroutine has in it short.
CURFEW_COLD inline void* allocate_from(frame_resource& home, std::size_t bytes) {
    void* const block = home.allocate(bytes);
    CURFEW_ASSERT(block);
    return block;
}

/// A block for `size` bytes from `home`; null: from the thread's lists.
inline void* take_block(std::size_t size, frame_resource* home = this_thread_frames().chosen) {
    const std::size_t bytes = size + sizeof home;
    void* const block =
        home ? allocate_from(*home, bytes) : this_thread_frames().lists.allocate(bytes);
    note_home(static_cast<std::byte*>(block) + size, home);
    return block;
}

inline void give_back(void* block, std::size_t size) noexcept {
    frame_resource* const home = home_noted(static_cast<std::byte*>(block) + size);
    const std::size_t bytes = size + sizeof home;
    if (home) [[unlikely]]
        return home->deallocate(block, bytes);
    thread_frames& mine = this_thread_frames();
    if (!mine.lists.keep(block, bytes)) [[unlikely]]
        not_kept(mine, block, bytes);
}

/// Base of what is made and destroyed often.
struct recycled {
    static void* operator new(std::size_t size) { return take_block(size); }
    static void operator delete(void* block, std::size_t size) noexcept { give_back(block, size); }
};

}  // namespace detail
}  // namespace curfew
