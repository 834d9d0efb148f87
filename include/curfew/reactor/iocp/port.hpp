// A completion port of Windows, with time limits finer than the clock's tick.
#pragma once

#include "../../platform/platform.hpp"

#if defined(CURFEW_HAS_IOCP)

#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "../../platform/std_chrono.hpp"
#include "system_calls.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail::iocp {

/// A timer that ends a wait on a port to a fraction of a millisecond: Windows 10 version 1803 has
/// it. Elsewhere `arm` says no.
class port_timer {
public:
    port_timer() noexcept {
        constexpr DWORD high_resolution = 2;  // CREATE_WAITABLE_TIMER_HIGH_RESOLUTION
        const nt_calls& calls = nt();
        if (!calls.create_wait_completion_packet || !calls.associate_wait_completion_packet ||
            !calls.cancel_wait_completion_packet)
            return;
        timer_ = ::CreateWaitableTimerExW(nullptr, nullptr, high_resolution, TIMER_ALL_ACCESS);
        if (!timer_) return;
        if (calls.create_wait_completion_packet(&packet_, GENERIC_ALL, nullptr) < 0)
            packet_ = nullptr;
    }
    ~port_timer() {
        if (packet_) ::CloseHandle(packet_);
        if (timer_) ::CloseHandle(timer_);
    }
    port_timer(const port_timer&) = delete;
    port_timer& operator=(const port_timer&) = delete;

    bool exists() const noexcept { return packet_ != nullptr; }

    /// Has the port report an entry without OVERLAPPED when that time is over. False: it does not.
    bool arm(HANDLE port, std::chrono::nanoseconds time) noexcept {
        disarm();
        LARGE_INTEGER due;  // in units of 100 ns, negative: from now on
        due.QuadPart = -(static_cast<std::int64_t>(time.count()) + 99) / 100;
        armed_ = ::SetWaitableTimer(timer_, &due, 0, nullptr, nullptr, FALSE) &&
                 nt().associate_wait_completion_packet(packet_, port, timer_, nullptr, nullptr, 0,
                                                       0, nullptr) >= 0;
        return armed_;
    }

    /// Takes it back, and also what it has reported if nobody has seen that.
    void disarm() noexcept {
        if (armed_) nt().cancel_wait_completion_packet(packet_, TRUE);
        armed_ = false;
    }

private:
    HANDLE timer_ = nullptr;
    HANDLE packet_ = nullptr;  // which ties it to a port
    bool armed_ = false;
};

class completion_port {
public:
    completion_port() noexcept : error_(platform::detail::start_winsock()) {
        if (error_) return;
        port_ = ::CreateIoCompletionPort(INVALID_HANDLE_VALUE, nullptr, 0, 1);
        if (!port_) error_ = static_cast<int>(::GetLastError());
    }
    ~completion_port() {
        if (port_) ::CloseHandle(port_);
    }
    completion_port(const completion_port&) = delete;
    completion_port& operator=(const completion_port&) = delete;

    /// Why it could not be made; 0 if it was.
    int error() const noexcept { return error_; }

    /// From now on what is begun on the socket is reported here. `skip`: except what succeeds at
    /// once; it is false afterwards if that cannot be had.
    int attach(platform::socket_handle socket, bool& skip) noexcept {
        if (error_) return error_;  // without a port the call below would make one
        const auto handle = reinterpret_cast<HANDLE>(socket);
        if (!::CreateIoCompletionPort(handle, port_, 0, 0))
            return static_cast<int>(::GetLastError());
        UCHAR modes = FILE_SKIP_SET_EVENT_ON_HANDLE;
        skip = skip && may_skip();
        if (skip) modes |= FILE_SKIP_COMPLETION_PORT_ON_SUCCESS;
        if (!::SetFileCompletionNotificationModes(handle, modes)) skip = false;
        return 0;
    }

    /// Undoes it: the socket may be attached to another port then. Nothing may be pending on it.
    /// That what succeeds at once is not reported stays so. False: the system cannot do it (it can
    /// since Windows 8.1; Wine 8 cannot).
    static bool detach(platform::socket_handle socket) noexcept {
        if (!nt().set_information_file) return false;
        struct {
            HANDLE port;
            void* key;
        } none{};
        ULONG_PTR status[2];
        constexpr int replace_completion = 61;  // FileReplaceCompletionInformation
        return nt().set_information_file(reinterpret_cast<HANDLE>(socket), status, &none,
                                         sizeof none, replace_completion) >= 0;
    }

    /// Ends the current `reap`, or else the next one, at once. From any thread.
    void wake() noexcept { ::PostQueuedCompletionStatus(port_, 0, 0, nullptr); }

    /// Has a completion that was not reported reported all the same. False: it is not.
    bool post(OVERLAPPED& completed, DWORD count) noexcept {
        return ::PostQueuedCompletionStatus(port_, count, 0, &completed) != 0;
    }

    /// Waits up to `time` for something to be there, calls `deliver` with the OVERLAPPED of what
    /// has completed, and returns the system's error number. `more`: it may have left something.
    template <class Deliver>
    int reap(std::chrono::nanoseconds time, bool& more, Deliver deliver) noexcept {
        if (error_) return error_;
        if (woken_) time = std::chrono::nanoseconds::zero();
        ULONG count = 0;
        int error = wait(time, count);
        for (int batches = 1;; ++batches) {
            take(count, deliver);
            more = count == batch;
            if (error || !more || batches == most_batches) break;
            error = get(0, count);
        }
        woken_ = false;  // this is the wait that it was to end
        return error;
    }

    /// The same for who is not the loop, waits for a few milliseconds at most, and takes one batch.
    /// A wake-up that it finds there ends the next `reap`: the entry is gone, and nobody would make
    /// another one before the loop has looked at what it was made for.
    template <class Deliver>
    void look(DWORD ms, Deliver deliver) noexcept {
        ULONG count = 0;
        get(ms, count);
        take(count, deliver);
    }

private:
    static constexpr ULONG batch = 128;
    static constexpr int most_batches = 8;  // between two turns of the loop

    template <class Deliver>
    void take(ULONG count, Deliver deliver) noexcept {
        for (ULONG i = 0; i < count; ++i) {
            if (entries_[i].lpOverlapped)
                deliver(*entries_[i].lpOverlapped, entries_[i].dwNumberOfBytesTransferred);
            else
                woken_ = true;
        }
    }

    /// Whether all of the system's sockets are handles of the kernel's, whose operations can be
    /// told to make no entry if they succeed at once (SetFileCompletionNotificationModes,
    /// "Remarks").
    static bool may_skip() noexcept {
        static const bool may = [] {
            int tcp[]{IPPROTO_TCP, 0};
            DWORD size = 0;
            ::WSAEnumProtocolsW(tcp, nullptr, &size);
            auto* const all = static_cast<WSAPROTOCOL_INFOW*>(std::malloc(size));
            const int count = all ? ::WSAEnumProtocolsW(tcp, all, &size) : 0;
            bool every = count > 0;
            for (int i = 0; i < count; ++i) every &= !!(all[i].dwServiceFlags1 & XP1_IFS_HANDLES);
            std::free(all);
            return every;
        }();
        return may;
    }

    int get(DWORD ms, ULONG& count) noexcept {
        count = 0;
        if (::GetQueuedCompletionStatusEx(port_, entries_, batch, &count, ms, FALSE)) return 0;
        count = 0;
        const DWORD error = ::GetLastError();
        return error == WAIT_TIMEOUT ? 0 : static_cast<int>(error);
    }

    /// The port's own time limit counts ticks of the system's clock (15.6 ms), so where there is a
    /// timer it tells the end. To arm it takes system calls, so that is left until the end is near:
    /// most waits are over before.
    int wait(std::chrono::nanoseconds time, ULONG& count) noexcept {
        using std::chrono::milliseconds;
        constexpr std::chrono::nanoseconds near_end = milliseconds(50), tick = milliseconds(17);
        if (time.count() <= 0 || time == platform::unlimited || !timer_.exists())
            return get(platform::detail::to_milliseconds(time), count);
        const std::chrono::nanoseconds end = platform::steady_now() + time;
        while (time > near_end) {
            if (const int error = get(platform::detail::to_milliseconds(time - tick), count);
                error || count)
                return error;
            time = end - platform::steady_now();
        }
        if (time.count() <= 0) return get(0, count);
        const bool timed = timer_.arm(port_, time);
        const int error = get(timed ? INFINITE : platform::detail::to_milliseconds(time), count);
        timer_.disarm();
        return error;
    }

    HANDLE port_ = nullptr;
    int error_;
    bool woken_ = false;  // the entry of a `wake` was taken, and no `reap` has ended with it
    port_timer timer_;
    OVERLAPPED_ENTRY entries_[batch];
};

}  // namespace curfew::detail::iocp

#endif
