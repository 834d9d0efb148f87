// Threads for calls that block: a bounded number of them, detached, and a queue of what they do.
//
// A thread is made when there is something to do and fewer than `most` are there, and ends when it
// finds the queue empty. So a program that has nothing to do for them has none.
//
// The threads are detached because a call that blocks (getaddrinfo, for ten seconds) cannot be
// ended, and a program must be able to. When `main` returns, or `exit` is called, they go on until
// the system ends them with the process, beside the destructors of static objects. That is safe
// because they use nothing that these destroy: the pool itself is constant-initialised and has no
// destructor, and what a job refers to it owns (no reference leads from it to a loop, other than
// by a thread_promise, which knows whether that is still there).
//
// A shared library with code of theirs must not be unloaded while they run. In a child process
// after `fork` none of them is there: use them only after `exec`.
#pragma once

#include <atomic>

#include "../platform/platform.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

/// Something that a worker thread is to do. It stays where it is while it is queued; `run` may
/// destroy it.
struct job {
    explicit job(void (*does)(job&) noexcept) noexcept : run(does) {}

    void (*run)(job&) noexcept;

private:
    friend class worker_threads;
    job* next_ = nullptr;
    job* previous_ = nullptr;
    bool queued_ = false;
};

class worker_threads {
public:
    constexpr explicit worker_threads(unsigned most) noexcept : most_(most) {}

    worker_threads(const worker_threads&) = delete;
    worker_threads& operator=(const worker_threads&) = delete;

    /// Queues a job, which begins as soon as a thread is free. Otherwise the error number: no
    /// thread is there, and none can be made. From any thread.
    int submit(job& what) noexcept {
        const guard locked(*this);
        // It is made while the pool is locked (some 20 microseconds), so that those who are counted
        // are there: nobody waits for one that could not be made.
        if (running_ < most_) {
            const int error = platform::start_thread<&work>(this);
            if (!error)
                ++running_;
            else if (running_ == 0)
                return error;
        }
        what.previous_ = last_;
        (last_ ? last_->next_ : first_) = &what;
        last_ = &what;
        what.queued_ = true;
        return 0;
    }

    /// True: it was queued, and will never begin. False: it has begun (or was never queued). From
    /// any thread.
    bool withdraw(job& what) noexcept {
        const guard locked(*this);
        if (!what.queued_) return false;
        remove(what);
        return true;
    }

private:
    /// Held for some instructions, or while a thread is made. (<mutex> would take every program
    /// that includes the library a while to compile.)
    class guard {
    public:
        explicit guard(worker_threads& pool) noexcept : pool_(pool) {
            while (pool_.locked_.exchange(true, std::memory_order_acquire))
                platform::pause(std::chrono::microseconds(20));
        }
        ~guard() { pool_.locked_.store(false, std::memory_order_release); }
        guard(const guard&) = delete;
        guard& operator=(const guard&) = delete;

    private:
        worker_threads& pool_;
    };

    void remove(job& what) noexcept {
        (what.previous_ ? what.previous_->next_ : first_) = what.next_;
        (what.next_ ? what.next_->previous_ : last_) = what.previous_;
        what.next_ = what.previous_ = nullptr;
        what.queued_ = false;
    }

    /// The next job; null: there is none, and the thread that asks counts no more.
    job* take() noexcept {
        const guard locked(*this);
        job* const next = first_;
        if (next)
            remove(*next);
        else
            --running_;
        return next;
    }

    static void work(void* of) noexcept {
        auto& pool = *static_cast<worker_threads*>(of);
        while (job* const next = pool.take()) next->run(*next);
    }

    std::atomic<bool> locked_{false};
    const unsigned most_;
    unsigned running_ = 0;
    job* first_ = nullptr;
    job* last_ = nullptr;
};

}  // namespace curfew::detail
