// Linux: epoll. Connections are registered once, edge-triggered for both directions. Where
// datagrams or connections arrive it is level-triggered, for what is waited for: see
// socket_state::announced.
#pragma once

#include "../platform/platform.hpp"

#if defined(CURFEW_HAS_EPOLL)

#include <sys/epoll.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "../core/completions.hpp"
#include "../core/operation.hpp"
#include "number_set.hpp"
#include "readiness.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

/// Linux' epoll, edge-triggered: each socket is registered once.
class epoll_reactor final : public detail::readiness_reactor {
public:
    epoll_reactor() noexcept : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
        if (epoll_ < 0) {
            error_ = errno;
            return;
        }
        error_ = waker_.error();
        if (!error_)
            error_ = control(epoll_, EPOLL_CTL_ADD, waker_.handle(), EPOLLIN | EPOLLET, &nobody_);
        if (!error_ && !numbers_.make_room(first_numbers)) error_ = ENOMEM;
    }

    ~epoll_reactor() override {
        if (epoll_ >= 0) platform::close(epoll_);
    }

    /// Why the reactor could not be made (the system's error number); 0 if it was.
    int error() const noexcept override { return error_; }

    std::string_view name() const noexcept override { return "epoll"; }

    int wait(std::chrono::nanoseconds time, completions& done) noexcept override {
        const int count = wait_for_events(time);
        // One comparison finds both what is none and what is many.
        unsigned left = static_cast<unsigned>(count) - 1;
        if (left >= small_batch - 1) [[unlikely]]
            return none_or_many(count, done);
        const epoll_event* event = events_;
        do deliver(*event++, done);
        while (left-- != 0);
        return 0;
    }

    void wake() noexcept override { waker_.signal(); }

protected:
    int watch(const operation& op) noexcept override {
        socket_state& socket = *op.socket;
        const bool one_by_one = socket.type == platform::transport::datagram || brings_one(op);
        const bool is_known = socket.stays_registered || socket.reactor_data != 0;
        if (!is_known && !numbers_.make_room(socket.handle)) return ENOMEM;
        const int error = socket.reactor_data != 0 || (one_by_one && !socket.stays_registered)
                              ? set_level(epoll_, socket, levels_of(socket) | op.interest)
                              : set_edge(epoll_, socket);
        if (!error && !is_known) took_number(socket);
        if (!error && socket.reactor_data == 0) socket.reactor_flags = just_registered;
        return error;
    }

    void unwatch(socket_state&) noexcept override {}

    /// Closing a descriptor drops its registration only when no duplicate of it is left, so it is
    /// removed explicitly (epoll(7), questions and answers, 6). That fails if somebody has closed
    /// the number behind our back: then a duplicate, if there is one, goes on reporting events for
    /// this record.
    bool forget(socket_state& socket) noexcept override {
        if (!socket.stays_registered && socket.reactor_data == 0) return true;
        numbers_.remove(socket.handle);
        const bool is_own = !is_registered(socket) || remove(epoll_, socket);
        socket.reactor_data = 0;
        return is_own;
    }

private:
    // Few enough for what belongs to them to be still at hand when their coroutines are resumed: of
    // 1,000 connections a batch of 256 makes 12 % fewer round trips. And fewer still where reads
    // bring much: with 64 KiB each a batch of 32 makes 8 % fewer than one of 8.
    static constexpr int batch = 32;
    static constexpr unsigned small_batch = 8;
    static constexpr std::size_t much = 8192;  // bytes

    /// The `reactor_flags` of an edge-triggered socket whose first event is still to come.
    static constexpr std::uint8_t just_registered = 1;

    static constexpr int first_numbers = 16'383;  // that there is room for at once: 2 KiB

    CURFEW_HOT static void deliver(const epoll_event& event, completions& done) noexcept {
        // No coroutine runs meanwhile, so no socket of this batch can be gone yet; and `forget`
        // takes a descriptor out before it is closed, so none can be stale.
        auto& socket = *static_cast<socket_state*>(event.data.ptr);
        if (event.events != (EPOLLIN | EPOLLOUT)) [[unlikely]]
            return on_events(socket, event.events, done);
        on_readable(socket, done);
        on_writable(socket, done);
    }

    /// Of many events it looks what they move: that says how large the next batch may be.
    CURFEW_APART int none_or_many(int count, completions& done) noexcept {
        if (count < 0) count = look_again();
        if (count <= 0) return -count;
        if (count == batch_) done.more_may_follow();
        std::size_t bytes = 0;
        for (int i = 0; i < count; ++i) {
            const auto& socket = *static_cast<const socket_state*>(events_[i].data.ptr);
            const operation* const reader = socket.reader;
            const operation* const writer = socket.writer;
            const std::size_t sent = writer ? writer->transferred : 0;
            deliver(events_[i], done);
            if (reader && !socket.reader) bytes += reader->transferred;  // it has completed
            if (writer && writer != reader) bytes += writer->transferred - sent;
        }
        batch_ = bytes / static_cast<std::size_t>(count) >= much ? int{small_batch} : batch;
        return 0;
    }

    /// Anything but both directions and nothing else, which is what a connection with data says
    /// unless its peer is slow, or about to go.
    CURFEW_COLD static void on_events(socket_state& socket, std::uint32_t events,
                                      completions& done) noexcept {
        if (socket.reactor_data != 0) return on_level(socket, events, done);
        if (events & ~std::uint32_t{EPOLLIN | EPOLLOUT}) {
            socket.ignore_short_reads = true;
            if (events & EPOLLERR) note_error(socket);
            if (events & (EPOLLHUP | EPOLLERR)) events |= EPOLLOUT;
            events |= EPOLLIN;
        }
        if (events & EPOLLIN) on_readable(socket, done);
        if (events & EPOLLOUT) on_writable(socket, done);
    }

    /// There is an error, which a `wait` has not been told of, unless this is the event that comes
    /// of the registration: that speaks of what there was before.
    static void note_error(socket_state& socket) noexcept {
        if (socket.reactor_flags != just_registered) socket.error_told = false;
        socket.reactor_flags = 0;
    }

    static int control(int epoll, int what, int handle, std::uint32_t events,
                       socket_state* socket) noexcept {
        epoll_event event{};
        event.events = events;
        event.data.ptr = socket;
        return ::epoll_ctl(epoll, what, handle, &event) < 0 ? errno : 0;
    }

    static bool is_registered(const socket_state& socket) noexcept {
        return socket.stays_registered || (socket.reactor_data & 3) != 0;
    }

    static bool remove(int epoll, socket_state& socket) noexcept {
        const bool removed = control(epoll, EPOLL_CTL_DEL, socket.handle, 0, nullptr) == 0;
        if (!removed) socket.system_may_refer = true;
        return removed;
    }

    /// The socket has been registered by its number. Is that noted already, another socket was
    /// registered by it, whose descriptor somebody has closed behind our back; the system has taken
    /// the one for the other's successor, or this could not have been added. Were it left as it is,
    /// its `close` or its next operation would take the number for its own.
    void took_number(socket_state& socket) noexcept {
        if (numbers_.has(socket.handle)) disown_others(socket);
        numbers_.add(socket.handle);
    }

    CURFEW_COLD static void disown_others(const socket_state& taker) noexcept {
        socket_state* other = detail::first_socket_beside(taker);
        for (; other; other = other->next) {
            if (other == &taker || other->handle != taker.handle) continue;
            disown(*other);
            other->system_may_refer = true;  // by a duplicate, which may report events for it
        }
    }

    /// Registers a socket for every edge; or once more, so that it is looked at once more: an edge,
    /// if it is ready.
    static int set_edge(int epoll, socket_state& socket) noexcept {
        const int error =
            control(epoll, is_registered(socket) ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, socket.handle,
                    EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET, &socket);
        if (error) return error;
        socket.stays_registered = true;
        socket.level_triggered = false;
        socket.reactor_data = 0;
        return 0;
    }

    // The `reactor_data` of a level-triggered socket: the epoll descriptor (as it is needed where
    // the reactor is not known), a mark, and the directions that are registered. With none it is
    // not registered at present, but goes by its number all the same.
    static constexpr std::uint32_t is_level = 4;
    static constexpr int bits_before_descriptor = 3;

    static readiness levels_of(const socket_state& socket) noexcept {
        return static_cast<readiness>(socket.reactor_data & 3);
    }

    static int set_level(int epoll, socket_state& socket, readiness directions) noexcept {
        if (socket.reactor_data != 0 && levels_of(socket) == directions) return 0;
        std::uint32_t events = 0;
        // (Two names of one thing: so that what is reported is never taken for a connection's.)
        if (directions & readiness::readable) events |= EPOLLIN | EPOLLRDNORM;
        if (directions & readiness::writable) events |= EPOLLOUT;
        const int what = is_registered(socket) ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
        if (const int error = control(epoll, what, socket.handle, events, &socket)) return error;
        socket.reactor_data = static_cast<std::uint32_t>(epoll) << bits_before_descriptor |
                              is_level | static_cast<std::uint32_t>(directions);
        socket.level_triggered = true;
        return 0;
    }

    static void remove_for_now(int epoll, socket_state& socket) noexcept {
        remove(epoll, socket);
        socket.reactor_data &= ~std::uint32_t{3};
    }

    /// Nobody waits for what is told: it must not be told for ever. Somebody does, and it has led
    /// nowhere (an error that is kept for others, or another process was quicker): it might be told
    /// for ever, too, so from now on each thing is told once.
    CURFEW_COLD static void on_level(socket_state& socket, std::uint32_t events,
                                     completions& done) noexcept {
        const int epoll = static_cast<int>(socket.reactor_data >> bits_before_descriptor);
        const bool problem = events & (EPOLLHUP | EPOLLERR);
        const bool in = problem || (events & EPOLLIN);
        const bool out = problem || (events & EPOLLOUT);
        const operation* const reader = socket.reader;
        const operation* const writer = socket.writer;
        if (in) on_readable(socket, done);
        if (out) on_writable(socket, done);
        const bool in_vain =
            (in && reader && socket.reader == reader) || (out && writer && socket.writer == writer);
        auto directions = static_cast<unsigned>(levels_of(socket));
        if (in && !reader) directions &= ~static_cast<unsigned>(readiness::readable);
        if (out && !writer) directions &= ~static_cast<unsigned>(readiness::writable);
        if (!in_vain && directions == 0) return remove_for_now(epoll, socket);
        if (!in_vain) {
            set_level(epoll, socket, static_cast<readiness>(directions));
            return;
        }
        set_edge(epoll, socket);
        socket.reactor_flags = just_registered;
    }

    CURFEW_HOT int wait_for_events(std::chrono::nanoseconds time) noexcept {
        int milliseconds = time.count() <= 0 ? 0 : -1;
        if (time.count() > 0 && time != platform::unlimited) {
            // One comparison finds both what is short and what is too long for an int.
            const auto rounded_up =
                (static_cast<std::uint64_t>(time.count()) + 999'999) / 1'000'000;
            if (rounded_up - 1000 > 0x3fff'ffff) [[unlikely]]
                return wait_precisely(time);
            milliseconds = static_cast<int>(rounded_up);
        }
        return ::epoll_wait(epoll_, events_, batch_, milliseconds);
    }

    /// A wait has failed. What is ready by now must be known before the loop turns to its
    /// deadlines. Returns how many events there are, or the negated error number.
    CURFEW_COLD int look_again() noexcept {
        const int count =
            platform::interrupted(errno) ? ::epoll_wait(epoll_, events_, batch_, 0) : -1;
        if (count >= 0) return count;
        return platform::interrupted(errno) ? 0 : -errno;
    }

    /// For less than a second, or for many days. epoll_pwait2 takes nanoseconds but came with Linux
    /// 5.11, and costs more than epoll_wait; before it, and for a second or more, a limit is
    /// rounded up to milliseconds.
    CURFEW_COLD int wait_precisely(std::chrono::nanoseconds time) noexcept {
#if defined(__GLIBC__) && (__GLIBC__ > 2 || (__GLIBC__ == 2 && __GLIBC_MINOR__ >= 35))
        if (has_pwait2().load(std::memory_order_relaxed)) {
            const timespec limit = platform::detail::to_timespec(time);
            const int count = ::epoll_pwait2(epoll_, events_, batch_, &limit, nullptr);
            if (count >= 0 || platform::interrupted(errno)) return count;
            has_pwait2().store(false, std::memory_order_relaxed);
        }
#endif
        return ::epoll_wait(epoll_, events_, batch_, platform::detail::to_milliseconds(time));
    }

    /// Whether epoll_pwait2 may be tried: until it has failed once in this process. An older kernel
    /// says ENOSYS; a sandbox that does not know the call says what its author liked (EPERM,
    /// EACCES, EINVAL). An error that is not of the call but of the wait comes from epoll_wait,
    /// too.
    static std::atomic<bool>& has_pwait2() noexcept {
        static std::atomic<bool> has{true};
        return has;
    }

    int epoll_;
    int batch_ = batch;  // how many the next wait may bring
    epoll_event events_[batch];
    detail::number_set numbers_;  // of sockets that are registered, or have been
    int error_ = 0;
    platform::waker waker_;
    socket_state nobody_;  // the waker's, whose edge needs no draining and who waits for nothing
};

}  // namespace curfew

#endif
