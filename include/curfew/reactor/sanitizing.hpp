// What `select` and `poll` say, taken with a grain of salt.
//
// On some systems they fail as a whole although nothing is wrong but one socket, which has an error
// to report; taken at their word, one peer's reset would end the loop for all. The rule, the same
// for every platform, because it costs nothing where it is not needed:
//
// 1. What a call is to fill in is cleared before it, and so is the last error: some systems leave
//    the former as it was, or fail without setting the latter.
// 2. A failure that speaks of a socket (reset, aborted, timed out, refused, unreachable) counts as
//    success: everyone may be ready. Operations never block, so the one with the error reports it
//    as its own, and the others have nothing to do. Marks mean nothing after a failure: systems
//    that have no mark for an error mark all but the one that matters.
// 3. A failure that nobody knows, lack of memory, interruptions that do not end, and a success that
//    counts more than it marks are treated alike: at worst everyone is tried again and again, at
//    the pace of rule 6.
// 4. A descriptor that is none: those whose it is get the error, the others go on.
// 5. After a wait that was interrupted there is a look, which does not wait: what is ready by now
//    must be known before the loop turns to its deadlines.
// 6. Failures that lead nowhere, again and again, must not turn the loop into a spin: it rests
//    between them, for longer and longer, listening to its waker alone.
// 7. A single socket may stay marked for something that nobody takes: what stands in its error
//    queue, say. One that was marked in vain twice in a row is ignored for a while, for longer and
//    longer (1 to 16 ms), and the others are not: what comes for it meanwhile is found at the next
//    look.
// 8. Only what says that the call itself is wrong is the loop's own failure, and ends it.
//
// Nothing here asks for SO_ERROR: reading it clears it, and the operation that the error belongs to
// would never see it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../core/completions.hpp"
#include "../core/operation.hpp"
#include "../core/plain_array.hpp"
#include "../core/socket_state.hpp"
#include "../platform/std_chrono.hpp"
#include "readiness.hpp"
#include "wait_failure.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

/// A readiness reactor that names all it watches in each wait.
class sanitizing_reactor : public readiness_reactor {
public:
    void wake() noexcept final { waker_.signal(); }

protected:
    /// What a wait has said about one socket.
    struct marks {
        int count = 0;  // how many of the call's total they are
        bool readable = false;
        bool writable = false;
        bool invalid = false;  // the descriptor is none
    };

    /// One wait by the rule above. `ask(time, ready)` makes the call: it returns the error number
    /// and leaves the call's total in `ready`, negative if it failed. `waker_marks()` and
    /// `marks_of(socket)` tell what it has marked.
    template <class Ask, class WakerMarks, class MarksOf>
    int sanitized_wait(std::chrono::nanoseconds time, completions& done, Ask ask,
                       WakerMarks waker_marks, MarksOf marks_of) noexcept {
        if (rest_.count() > 0 && time.count() > 0) [[unlikely]] {
            rest(time < rest_ ? time : rest_);
            time = std::chrono::nanoseconds::zero();
        }
        const bool looks_again = ignored_ > 0 && look_at_ignored(time);
        int ready = 0;
        platform::clear_last_error();
        int error = ask(time, ready);
        if (platform::interrupted(error)) [[unlikely]] {
            platform::clear_last_error();
            error = ask(std::chrono::nanoseconds::zero(), ready);
        }
        if (error || ready < 0) [[unlikely]]
            return after_failure(error, done);
        if (waker_marks().invalid) return platform::bad_descriptor;
        const int found = deliver(ready, done, waker_marks, marks_of);
        if (found < ready) [[unlikely]]
            try_everyone(done);
        if (found > 0 || ready == 0) rest_ = {};
        if (looks_again && ignored_ == 0) ignored_for_ = shortest_rest;
        return 0;
    }

    /// Adds a socket to those that are watched; its `reactor_data` is its index in `sockets_` + 1.
    /// False: there is no memory for it.
    bool enlist(socket_state& socket) noexcept {
        if (!sockets_.reserve(sockets_.size() + 1)) return false;
        sockets_.push_back(&socket);
        socket.reactor_data = static_cast<std::uint32_t>(sockets_.size());
        socket.level_triggered = true;
        return true;
    }

    /// Takes it out again; the last one moves into its place.
    void delist(socket_state& socket) noexcept {
        if (is_ignored(socket)) --ignored_;
        socket.reactor_flags = 0;
        sockets_.back()->reactor_data = socket.reactor_data;
        sockets_[socket.reactor_data - 1] = sockets_.back();
        sockets_.pop_back();
        socket.reactor_data = 0;
    }

    /// A listed socket is not to be named in waits any more; or to be again, for what is waited for
    /// there (false: there is no memory for that).
    virtual void ignore(socket_state& socket) noexcept = 0;
    virtual bool notice(socket_state& socket) noexcept = 0;

    static bool is_ignored(const socket_state& socket) noexcept {
        return socket.reactor_flags == often;
    }

    platform::waker waker_;
    plain_array<socket_state*> sockets_;

private:
    // The `reactor_flags` of a socket: how many times in a row it was marked in vain.
    static constexpr std::uint8_t once = 1;
    static constexpr std::uint8_t often = 2;
    static constexpr int many = 64;  // marks
    static constexpr std::chrono::nanoseconds shortest_rest = std::chrono::milliseconds(1);
    static constexpr std::chrono::nanoseconds longest_rest = std::chrono::milliseconds(16);

    /// Looks at what is marked, until all of `ready` marks have been found; returns how many were.
    template <class WakerMarks, class MarksOf>
    int deliver(int ready, completions& done, WakerMarks waker_marks, MarksOf marks_of) noexcept {
        int found = waker_marks().count;
        if (found) waker_.drain();
        if (ready > many) [[unlikely]]
            return found + deliver_some(ready - found, done, marks_of);
        // From the back: one that is no longer wanted is replaced by the last one, which has been
        // looked at already.
        for (std::size_t i = sockets_.size(); found < ready && i-- > 0;)
            found += deliver_to(*sockets_[i], marks_of(*sockets_[i]), done);
        return found;
    }

    /// The same where many are marked: for no longer than a part of a turn, and each time from
    /// where the last one has ended, so that all have their turn. What is left is marked again by
    /// the next wait; here it counts as found.
    template <class MarksOf>
    CURFEW_COLD int deliver_some(int ready, completions& done, MarksOf marks_of) noexcept {
        constexpr std::chrono::nanoseconds longest_time = std::chrono::microseconds(250);
        constexpr int asked_after = 8;
        const auto begun = platform::steady_now();
        int found = 0;
        int looked_at = 0;
        for (std::size_t left = sockets_.size(); found < ready && left > 0; --left) {
            if (next_ == 0 || next_ > sockets_.size()) next_ = sockets_.size();
            socket_state& socket = *sockets_[--next_];
            const int marked = deliver_to(socket, marks_of(socket), done);
            if (marked == 0) continue;
            found += marked;
            if (++looked_at % asked_after == 0 && platform::steady_now() - begun > longest_time)
                break;
        }
        if (found == 0) return 0;  // somebody is, but nobody knows who
        if (found < ready) done.more_may_follow();
        return ready;
    }

    /// Returns how many marks the socket has.
    int deliver_to(socket_state& socket, marks on, completions& done) noexcept {
        if (!on.count) return 0;
        if (on.invalid) [[unlikely]] {
            on_bad_descriptor(socket, platform::bad_descriptor, done);
            return on.count;
        }
        const work before = pending_on(socket);
        if (on.readable) on_readable(socket, done);
        if (on.writable) on_writable(socket, done);
        if (!(before == work{}) && before == pending_on(socket)) [[unlikely]]
            note_in_vain(socket);
        else
            socket.reactor_flags = 0;
        unwatch(socket);
        return on.count;
    }

    CURFEW_COLD void note_in_vain(socket_state& socket) noexcept {
        if (socket.reactor_flags == 0) {
            socket.reactor_flags = once;
            return;
        }
        socket.reactor_flags = often;
        if (ignored_++ == 0) ignored_until_ = platform::steady_now() + ignored_for_;
        ignore(socket);
    }

    /// Some are ignored: shortens a wait to the time when they are looked at again. True: that is
    /// now. (Those that are marked in vain once more are ignored at once, and for longer.)
    CURFEW_COLD bool look_at_ignored(std::chrono::nanoseconds& time) noexcept {
        const auto left = ignored_until_ - platform::steady_now();
        if (left.count() > 0) {
            if (time > left) time = left;
            return false;
        }
        ignored_ = 0;
        for (socket_state* each : sockets_) {
            if (!is_ignored(*each)) continue;
            if (notice(*each))
                each->reactor_flags = once;
            else
                ++ignored_;
        }
        ignored_for_ = 2 * ignored_for_ < longest_rest ? 2 * ignored_for_ : longest_rest;
        return true;
    }

    /// The whole wait has failed: `error` is the system's number, 0 if it did not give one. Returns
    /// it if it is the loop's own.
    CURFEW_COLD int after_failure(int error, completions& done) noexcept {
        const wait_failure meaning = meaning_of(error);
        if (meaning == wait_failure::of_the_loop) return error;
        if (meaning == wait_failure::bad_descriptor) {
            if (end_closed(error, done)) return 0;
            if (platform::is_closed(waker_.handle())) return error;
        }
        try_everyone(done);
        return 0;
    }

    /// Somebody may be ready, and nobody knows who.
    CURFEW_COLD void try_everyone(completions& done) noexcept {
        const auto before = outstanding();
        waker_.drain();
        for (std::size_t i = sockets_.size(); i-- > 0;) {
            socket_state& socket = *sockets_[i];
            on_readable(socket, done);
            on_writable(socket, done);
            unwatch(socket);
        }
        if (outstanding() == before)
            rest_longer();
        else
            rest_ = {};
    }

    /// Some descriptor is none: ends what is pending on those that are. False: none is.
    bool end_closed(int error, completions& done) noexcept {
        bool found = false;
        for (std::size_t i = sockets_.size(); i-- > 0;) {
            socket_state& socket = *sockets_[i];
            if (!platform::is_closed(socket.handle)) continue;
            found = true;
            on_bad_descriptor(socket, error, done);
        }
        return found;
    }

    /// How many operations are parked, and how many bytes they have moved: what changes when a
    /// failure has led somewhere.
    struct work {
        std::size_t count = 0;
        std::size_t bytes = 0;
        friend bool operator==(const work&, const work&) = default;
    };
    static work pending_on(const socket_state& socket) noexcept {
        work left;
        for (const operation* op : {socket.reader, socket.writer})
            if (op) ++left.count, left.bytes += op->transferred;
        return left;
    }
    work outstanding() const noexcept {
        work left;
        for (const socket_state* each : sockets_) {
            const work one = pending_on(*each);
            left.count += one.count, left.bytes += one.bytes;
        }
        return left;
    }

    void rest_longer() noexcept {
        rest_ = rest_.count() == 0 ? shortest_rest : 2 * rest_;
        if (rest_ > longest_rest) rest_ = longest_rest;
    }

    /// Waits for the waker alone.
    CURFEW_COLD void rest(std::chrono::nanoseconds time) noexcept {
        int ready = 0;
        wait_for_one(waker_.handle(), readiness::readable, time, ready);
        if (ready < 0) platform::pause(time);
    }

    std::chrono::nanoseconds rest_{};  // before the next wait, after failures that led nowhere

    std::size_t next_ = 0;  // behind the place in `sockets_` that comes next, where many are marked

    std::size_t ignored_ = 0;                              // sockets
    std::chrono::nanoseconds ignored_until_{};             // those that are
    std::chrono::nanoseconds ignored_for_{shortest_rest};  // those that will be
};

}  // namespace curfew::detail
