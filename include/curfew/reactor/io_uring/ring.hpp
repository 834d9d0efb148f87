// The raw ring of io_uring: its system calls, and the two queues in memory that the kernel shares.
// What is done with it is in submissions.hpp.
//
// Kernel facts are from io_uring_setup(2), io_uring_enter(2) and io_uring_register(2), unless it
// says otherwise.
#pragma once

#include "../../platform/platform.hpp"

#if defined(CURFEW_HAS_IO_URING)

#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

#include "../../core/completions.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail::uring {

// What came with Linux 5.17 to 6.1, and may be missing in the headers a program is built with. A
// kernel that accepts COOP_TASKRUN and TASKRUN_FLAG has the rest, but for SINGLE_ISSUER (6.0) and
// DEFER_TASKRUN (6.1).
inline constexpr unsigned ring_submit_all = 1u << 7;            // IORING_SETUP_SUBMIT_ALL
inline constexpr unsigned ring_coop_taskrun = 1u << 8;          // IORING_SETUP_COOP_TASKRUN
inline constexpr unsigned ring_taskrun_flag = 1u << 9;          // IORING_SETUP_TASKRUN_FLAG
inline constexpr unsigned ring_single_issuer = 1u << 12;        // IORING_SETUP_SINGLE_ISSUER
inline constexpr unsigned ring_defer_taskrun = 1u << 13;        // IORING_SETUP_DEFER_TASKRUN
inline constexpr unsigned ring_work_is_due = 1u << 2;           // IORING_SQ_TASKRUN
inline constexpr std::uint8_t ring_skip_success = 1u << 6;      // IOSQE_CQE_SKIP_SUCCESS
inline constexpr std::uint16_t ring_poll_first = 1u << 0;       // IORING_RECVSEND_POLL_FIRST
inline constexpr std::uint32_t ring_socket_nonempty = 1u << 2;  // IORING_CQE_F_SOCK_NONEMPTY

/// Whether what `ring::enter` has returned says that the ring works no more.
inline bool is_failure(int error) noexcept {
    return error && error != ETIME && error != EBUSY && !platform::interrupted(error) &&
           !platform::would_block(error);
}

/// One in each thread, so that its address stands for the thread.
inline thread_local constinit char place_in_this_thread{};

class ring {
public:
    enum class users : std::uint8_t {
        any_thread,  ///< one after the other
        /// Only the one that makes it may `enter`. The kernel does the work for completions
        /// when that does, and interrupts it for nothing (IORING_SETUP_DEFER_TASKRUN, 6.1).
        one_thread,
    };

    /// None.
    ring() = default;

    /// Room for `entries` submissions at a time, and for many more completions, since each of them
    /// that finds no room costs the kernel an allocation (it is not lost).
    ring(unsigned entries, users by) noexcept { error_ = open(entries, by); }

    // (When it ends, the kernel lets go of what is still in flight some time later: nothing may
    // be.)
    ring(ring&&) = default;
    ring& operator=(ring&&) = default;

    /// Why it could not be made, or lacks what is needed (the system's error number); 0 if it was.
    int error() const noexcept { return error_; }

    /// Whether the kernel is 5.19 or later.
    bool is_recent() const noexcept { return is_recent_; }

    /// Says that it is the calling thread that enters the kernel from now on. True: it was another
    /// one until now. What that one has submitted is completed by it, when it is in the kernel the
    /// next time, or interrupted by the clock.
    ///
    /// (Should that thread have ended, and this one stand in its place in memory, nobody notices,
    /// and nobody has to: the kernel has cancelled what was submitted by then.)
    CURFEW_HOT bool changes_threads() noexcept {
        if (user_ == &place_in_this_thread) [[likely]]
            return false;
        return std::exchange(user_, &place_in_this_thread) != nullptr;
    }

    /// An entry to fill in, all zero; null if the queue is full.
    CURFEW_HOT io_uring_sqe* next_entry() noexcept {
        if (tail_ == end_of_room_) [[unlikely]] {
            end_of_room_ = load(submission_head_) + mask_ + 1;
            if (tail_ == end_of_room_) return nullptr;
        }
        return ::new (&submissions_[tail_++ & mask_]) io_uring_sqe{};
    }

    /// Entries that the kernel has not taken yet.
    unsigned unsubmitted() const noexcept { return tail_ - load(submission_head_); }

    /// Hands the entries to the kernel (as many as it takes: it may be short of memory), lets it do
    /// what is due, and waits up to `time` until there is a completion. Returns the system's error
    /// number; what was not taken stays queued.
    int enter(std::chrono::nanoseconds time) noexcept {
        store(submission_tail_, tail_);
        unsigned flags = IORING_ENTER_GETEVENTS;
        __kernel_timespec limit;
        io_uring_getevents_arg more{};
        const void* argument = nullptr;
        std::size_t size = 0;
        if (time.count() > 0 && time != platform::unlimited) {
            const auto native = platform::detail::to_timespec(platform::detail::bounded(time));
            limit = {native.tv_sec, native.tv_nsec};
            more.ts = reinterpret_cast<std::uintptr_t>(&limit);
            flags |= IORING_ENTER_EXT_ARG;
            argument = &more;
            size = sizeof more;
        }
        const unsigned least = time.count() > 0 && !has_completions() ? 1 : 0;
        const auto taken = ::syscall(__NR_io_uring_enter, handle_.value, unsubmitted(), least,
                                     flags, argument, size);
        return taken < 0 ? errno : 0;
    }

    /// Without it, `enter` would do nothing: work that waits for a thread to enter the kernel (this
    /// one, as far as is known), completions that found no room.
    bool has_due_work() const noexcept {
        return (load(submission_flags_) & (ring_work_is_due | IORING_SQ_CQ_OVERFLOW)) != 0;
    }

    /// Completions that found no room are waiting: they come with the next `enter`.
    bool has_overflown() const noexcept {
        return (load(submission_flags_) & IORING_SQ_CQ_OVERFLOW) != 0;
    }

    /// Calls `take` on all completions that are there, in their order, and returns how many.
    template <class Take>
    CURFEW_HOT unsigned reap(Take take) noexcept {
        const unsigned tail = load(completion_tail_);
        const unsigned first = head_;
        for (unsigned head = first; head != tail; ++head)
            take(completions_[head & completion_mask_]);
        store(completion_head_, head_ = tail);
        return tail - first;
    }

private:
    struct descriptor {
        int value = -1;
        descriptor() = default;
        descriptor(descriptor&& from) noexcept { *this = std::move(from); }
        descriptor& operator=(descriptor&& from) noexcept {
            std::swap(value, from.value);
            return *this;
        }
        ~descriptor() {
            if (value >= 0) platform::close(value);
        }
    };

    // (By hand, as a unique_ptr takes a compiler longer than all else that is here.)
    struct mapping {
        std::byte* start = nullptr;
        std::size_t size = 0;
        mapping() = default;
        mapping(mapping&& from) noexcept { *this = std::move(from); }
        mapping& operator=(mapping&& from) noexcept {
            std::swap(start, from.start);
            std::swap(size, from.size);
            return *this;
        }
        ~mapping() {
            if (start) ::munmap(start, size);
        }
    };

    static unsigned load(unsigned* shared) noexcept {
        return std::atomic_ref(*shared).load(std::memory_order_acquire);
    }
    static void store(unsigned* shared, unsigned value) noexcept {
        std::atomic_ref(*shared).store(value, std::memory_order_release);
    }

    bool has_completions() const noexcept { return head_ != load(completion_tail_); }

    int open(unsigned entries, users by) noexcept {
        const unsigned work =
            by == users::one_thread ? ring_single_issuer | ring_defer_taskrun : ring_coop_taskrun;
        io_uring_params made{};
        int error = set_up(entries, ring_submit_all | ring_taskrun_flag | work, made);
        is_recent_ = error == 0;
        if (error == EINVAL && by == users::any_thread) error = set_up(entries, 0, made);
        if (error) return error;
        // The last of these came with Linux 5.13, as did polls that report more than once.
        constexpr unsigned needed = IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP |
                                    IORING_FEAT_FAST_POLL | IORING_FEAT_EXT_ARG |
                                    IORING_FEAT_RSRC_TAGS;
        if ((made.features & needed) != needed) return EOPNOTSUPP;
        if ((error = find_operations())) return error;
        if ((error = map(made))) return error;
        return enter(std::chrono::nanoseconds::zero());  // a sandbox may forbid this call alone
    }

    int set_up(unsigned entries, unsigned flags, io_uring_params& out) noexcept {
        constexpr unsigned most = 1u << 15;  // IORING_MAX_ENTRIES in Linux's io_uring/io_uring.c
        if (entries > most) entries = most;
        out = {};
        out.flags = IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE | flags;
        out.cq_entries = entries * 16;
        handle_.value = static_cast<int>(::syscall(__NR_io_uring_setup, entries, &out));
        return handle_.value < 0 ? errno : 0;
    }

    int find_operations() noexcept {
        constexpr unsigned most = 64;
        alignas(io_uring_probe)
            std::byte block[sizeof(io_uring_probe) + most * sizeof(io_uring_probe_op)] = {};
        if (::syscall(__NR_io_uring_register, handle_.value, IORING_REGISTER_PROBE, block, most) <
            0)
            return errno;
        const auto& probe = *reinterpret_cast<const io_uring_probe*>(block);
        for (const unsigned each :
             {IORING_OP_ACCEPT, IORING_OP_CONNECT, IORING_OP_RECV, IORING_OP_SEND,
              IORING_OP_RECVMSG, IORING_OP_SENDMSG, IORING_OP_POLL_ADD, IORING_OP_ASYNC_CANCEL})
            if (each > probe.last_op || !(probe.ops[each].flags & IO_URING_OP_SUPPORTED))
                return EOPNOTSUPP;
        return 0;
    }

    int map(const io_uring_params& made) noexcept {
        const std::size_t submissions = made.sq_off.array + made.sq_entries * sizeof(unsigned);
        const std::size_t completions = made.cq_off.cqes + made.cq_entries * sizeof(io_uring_cqe);
        const std::size_t larger = submissions > completions ? submissions : completions;
        if (const int error = map(queues_, larger, IORING_OFF_SQ_RING)) return error;
        if (const int error =
                map(entries_, made.sq_entries * sizeof(io_uring_sqe), IORING_OFF_SQES))
            return error;
        const auto at = [&](unsigned offset) {
            return reinterpret_cast<unsigned*>(queues_.start + offset);
        };
        submission_head_ = at(made.sq_off.head);
        submission_tail_ = at(made.sq_off.tail);
        submission_flags_ = at(made.sq_off.flags);
        completion_head_ = at(made.cq_off.head);
        completion_tail_ = at(made.cq_off.tail);
        mask_ = *at(made.sq_off.ring_mask);
        completion_mask_ = *at(made.cq_off.ring_mask);
        submissions_ = reinterpret_cast<io_uring_sqe*>(entries_.start);
        completions_ = reinterpret_cast<const io_uring_cqe*>(at(made.cq_off.cqes));
        for (unsigned i = 0; i < made.sq_entries; ++i) at(made.sq_off.array)[i] = i;
        return 0;
    }

    int map(mapping& into, std::size_t size, std::uint64_t offset) noexcept {
        void* const start = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                                   handle_.value, static_cast<off_t>(offset));
        if (start == MAP_FAILED) return errno;
        into.start = static_cast<std::byte*>(start);
        into.size = size;
        return 0;
    }

    descriptor handle_;
    int error_ = 0;
    const void* user_ = nullptr;  // the thread that has entered the kernel last
    bool is_recent_ = false;
    mapping queues_;
    mapping entries_;

    // The kernel takes from the head of one queue and adds to the tail of the other.
    unsigned* submission_head_ = nullptr;
    unsigned* submission_tail_ = nullptr;
    unsigned* submission_flags_ = nullptr;
    unsigned* completion_head_ = nullptr;
    unsigned* completion_tail_ = nullptr;
    io_uring_sqe* submissions_ = nullptr;
    const io_uring_cqe* completions_ = nullptr;
    unsigned mask_ = 0;
    unsigned completion_mask_ = 0;
    unsigned tail_ = 0;         // of the submissions that are filled in
    unsigned end_of_room_ = 0;  // where the tail cannot pass the head, as seen when last looked at
    unsigned head_ = 0;         // of the completions that are not yet taken
};

}  // namespace curfew::detail::uring

#endif
