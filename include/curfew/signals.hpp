// signals: SIGINT, SIGTERM and their like, awaited.
#pragma once

#include <atomic>
#include <bit>
#include <coroutine>
#include <csignal>
#include <cstdint>
#include <initializer_list>
#include <system_error>
#include <utility>

#include "await/wait_list.hpp"
#include "core/awaiter.hpp"
#include "core/loop_dependent.hpp"
#include "core/suspension.hpp"
#include "error.hpp"
#include "io_context.hpp"
#include "loop/loop.hpp"
#include "loop/queues.hpp"
#include "platform/platform.hpp"
#include "platform/signal_records.hpp"
#include "result.hpp"

CURFEW_SYSTEM_HEADER

#pragma push_macro("signals")  // Qt's
#undef signals

namespace curfew {

/// Takes signals over, and tells tasks of them.
///
/// ```cpp
/// signals interrupts(ctx, {SIGINT, SIGTERM});
/// auto [ec, number] = co_await interrupts.wait();
/// ```
/// What a signal does is changed for the whole process, from here until no object is left that
/// takes it: then it does again what it did before, and handlers of others are called again. (One
/// that somebody else has set since stays.) Any number of objects, in any number of contexts and
/// threads, may take the same signal: each of them is told.
///
/// A signal that comes while the object lives is told to one `wait`: to the one that has waited
/// longest, or else to the next. At most one of each kind is kept for that; those that come before
/// it is told count as one, as POSIX has it. Of several kinds the one with the lowest number comes
/// first. A limit or a cancellation takes none away.
///
/// In a child that `fork` has made of the process, signals do what they did before. (A daemon makes
/// its objects when it has become one.) On Windows these are the events of the console: SIGINT is
/// Ctrl+C, SIGBREAK is Ctrl+Break, and SIGTERM the end of its window, of the session or the system,
/// for which there are five seconds.
///
/// It belongs to the context's thread, as all does but the signals themselves. `signals` is the same
/// class; in a file that has a macro of that name, as with Qt, it is called `signal_set`.
class signal_set : detail::loop_dependent, platform::signal_record {
public:
    /// From here on no signal is missed. When they cannot be taken over, `error` says why, and so
    /// does every `wait`: `std::errc::invalid_argument` for what is no signal's number, or that of
    /// one by which the system reports a mistake of the program's own (SIGSEGV, SIGBUS, SIGFPE,
    /// SIGILL); what the system says of SIGKILL, say; `errc::not_supported` where the platform has
    /// no signals.
    signal_set(io_context& context, std::initializer_list<int> numbers) noexcept;
    signal_set(const signal_set&) = delete;
    signal_set& operator=(const signal_set&) = delete;

    /// Who still waits is told `closed`. What has come and has not been told is forgotten.
    ~signal_set() { detach(); }

    /// Why there is nothing to wait for; none if there is.
    std::error_code error() const noexcept { return error_; }

    class awaiter : detail::list_waiter {
    public:
        explicit awaiter(signal_set& of) noexcept : signals_(of) {}
        bool await_ready() const noexcept { return false; }
        template <class Promise>
        bool await_suspend(std::coroutine_handle<Promise> coroutine) noexcept {
            static constexpr detail::suspension_type kind{
                &interrupt,
                [](const suspension&, detail::wait_report& report) noexcept {
                    report.what = "signal";
                },
            };
            return wait_in(
                signals_.waiting_, coroutine, [&] { return signals_.serve(*this); }, kind);
        }
        result<int> await_resume() const noexcept {
            if (number_) return {{}, number_};  // whatever has happened since it was told
            if (failed_) return failed_;
            return error();
        }

    private:
        friend signal_set;
        signal_set& signals_;
        int number_ = 0;  // 0: none was told
        std::error_code failed_;
    };

    /// Waits until one of the signals comes, or takes one that has, and yields its number.
    ///
    /// Cancellation: `canceled`, and no signal is taken. `closed`: the context is gone.
    detail::request_on<awaiter, signal_set> wait() noexcept {
        return detail::request_on<awaiter, signal_set>(*this);
    }

private:
    /// Goes to the loop when a signal has come. Handlers are at it in any thread, and at any
    /// moment: they note the signal first, and queue this unless it is queued. It says that it is
    /// not queued any more first, and takes what has been noted then. So what is noted is taken.
    struct arrival : detail::posted_function {
        signal_set& to;
        std::atomic<bool> queued{false};
        explicit arrival(signal_set& of) noexcept : to(of) {
            run = [](detail::posted_function& self, bool wanted) {
                auto& own = static_cast<arrival&>(self);
                own.queued = false;
                if (wanted) own.to.tell();
            };
        }
    };

    /// In a handler, or a thread of the system's.
    static void note(platform::signal_record& record, int number) noexcept {
        auto& self = static_cast<signal_set&>(record);
        self.noted_[(number - 1) / 32].fetch_or(std::uint32_t{1} << (number - 1) % 32);
        if (!self.arrival_.queued.exchange(true)) self.loop_->post_from_handler(self.arrival_);
    }

    /// Hands out what has come.
    void tell() noexcept {
        come_ |= noted_[0].exchange(0) | std::uint64_t{noted_[1].exchange(0)} << 32;
        while (come_ && !waiting_.empty()) {
            static_cast<awaiter&>(*waiting_.first()).number_ = take();
            waiting_.complete_first();
        }
    }

    /// Whether a wait that begins has its end already.
    bool serve(awaiter& begins) noexcept {
        begins.failed_ = error_;
        if (error_) return true;
        tell();  // those who wait come first
        if (come_) begins.number_ = take();
        return begins.number_ != 0;
    }

    int take() noexcept {
        const int number = std::countr_zero(come_) + 1;
        come_ &= come_ - 1;
        return number;
    }

    /// From here on no handler knows this, and nothing of it is queued.
    void detach() noexcept {
        if (!loop_) return;
#if defined(CURFEW_HAS_SIGNALS)
        platform::forget_signals(*this);
#endif
        if (arrival_.queued) loop_->withdraw(arrival_);
        loop_ = nullptr;
        error_ = errc::closed;
    }

    static_assert(std::atomic<std::uint32_t>::is_always_lock_free,
                  "signal handlers must not wait for each other");

    detail::loop* loop_;  // null: it is told nothing
    std::error_code error_;
    std::atomic<std::uint32_t> noted_[2]{};  // by handlers; bit n - 1 for signal n
    std::uint64_t come_ = 0;                 // and known to the loop
    arrival arrival_{*this};
    detail::wait_list waiting_;
};

inline signal_set::signal_set(io_context& context, std::initializer_list<int> wanted) noexcept
    : loop_dependent(
          [](loop_dependent& self) noexcept { static_cast<signal_set&>(self).detach(); }),
      loop_(&detail::loop_of(context)) {
    loop_->check_thread();
    arrived = &note;
#if defined(CURFEW_HAS_SIGNALS)
    for (const int number : wanted) {
        if (!platform::can_watch_signal(number))
            error_ = std::make_error_code(std::errc::invalid_argument);
        else
            numbers |= std::uint64_t{1} << (number - 1);
    }
    if (!error_)
        if (const int error = platform::watch_signals(*this)) error_ = detail::system_error(error);
#else
    static_cast<void>(wanted);
    error_ = errc::not_supported;
#endif
    if (error_)
        loop_ = nullptr;
    else
        loop_->add(*this);
}

/// What is easier to say.
using signals = signal_set;

}  // namespace curfew

#pragma pop_macro("signals")
