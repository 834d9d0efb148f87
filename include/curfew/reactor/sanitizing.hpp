// What `select` and `poll` say, taken with a grain of salt.
//
// On some systems they fail as a whole although nothing is wrong but one socket, which has an error
// to report; taken at their word, one peer's reset would end the loop for all. The rule, the same
// for every platform, because it costs nothing where it is not needed:
//
// 1. What a call is to fill in is cleared before it, and so is the last error: some systems leave
//    the former as it was when they fail, or fail without setting the latter.
// 2. A failure that speaks of a socket (reset, aborted, timed out, refused, unreachable, ...)
// counts
//    as success. So does one that nobody knows: at worst, everyone is tried again and again, at
//    the pace of rule 6. Whoever is marked is looked at; if nobody is, or if marks mean
//    nothing after a failure, everyone is. Operations never block, so the one with the error
//    reports it as its own, and the others have nothing to do.
// 3. The same holds if a call succeeds and counts more than it marks.
// 4. A descriptor that is none: those whose it is get the error, the others go on.
// 5. A wait that was interrupted becomes a look, which does not wait: what is ready by now must be
//    known before the loop turns to its deadlines. Out of memory is nobody's error, and as good as
//    one that nobody knows. Only what says that the call itself is wrong is the loop's own failure.
// 6. Failures that lead nowhere, again and again, must not turn the loop into a spin: it rests
//    between them, for longer and longer, listening to its waker alone.
//
// Nothing here asks for SO_ERROR: reading it clears it, and the operation that the error belongs to
// would never see it.
#pragma once

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include "readiness.hpp"
#include "wait_failure.hpp"

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
    enum class after_failure : bool { marks_count, marks_mean_nothing };

    /// One wait by the rule above. `ask(time, ready)` makes the call: it returns the error number
    /// and leaves the call's total in `ready`, negative if it failed. `waker_marks()` and
    /// `marks_of(socket)` tell what it has marked.
    template <class Ask, class WakerMarks, class MarksOf>
    int sanitized_wait(std::chrono::nanoseconds time, completions& done, after_failure trust,
                       Ask ask, WakerMarks waker_marks, MarksOf marks_of) noexcept {
        if (rest_.count() > 0 && time.count() > 0) [[unlikely]] {
            rest(std::min(time, rest_));
            time = std::chrono::nanoseconds::zero();
        }
        int ready = 0;
        int error = 0;
        for (int interruptions = 0; interruptions < 8; ++interruptions) {
            platform::clear_last_error();
            error = ask(time, ready);
            if (!platform::interrupted(error)) [[likely]]
                break;
            time = std::chrono::nanoseconds::zero();
        }
        if (!error && ready >= 0) [[likely]] {
            if (waker_marks().invalid) return platform::bad_descriptor;
            if (deliver(ready, done, waker_marks, marks_of) < ready) [[unlikely]]
                return try_everyone(done);
            rest_ = {};
            return 0;
        }
        switch (meaning_of(error)) {
        case wait_failure::interrupted:
            return 0;
        case wait_failure::out_of_resources:
            return try_everyone(done);
        case wait_failure::bad_descriptor:
            return end_closed(error, done);
        case wait_failure::of_the_loop:
            return error;
        case wait_failure::of_a_socket:
            break;
        }
        if (trust == after_failure::marks_mean_nothing) return try_everyone(done);
        const auto before = outstanding();
        if (deliver(-1, done, waker_marks, marks_of) == 0) return try_everyone(done);
        note_progress(before);
        return 0;
    }

    /// Adds a socket to those that are watched; its `slot` is its index in `sockets_` + 1.
    void enlist(socket_state& socket) {
        sockets_.push_back(&socket);
        socket.slot = static_cast<std::uint32_t>(sockets_.size());
    }

    /// Takes it out again; the last one moves into its place.
    void delist(socket_state& socket) noexcept {
        sockets_.back()->slot = socket.slot;
        sockets_[socket.slot - 1] = sockets_.back();
        sockets_.pop_back();
        socket.slot = 0;
    }

    platform::waker waker_;
    std::vector<socket_state*> sockets_;

private:
    static constexpr std::chrono::nanoseconds longest_rest = std::chrono::milliseconds(16);

    /// Looks at what is marked, until `most` marks have been found; returns how many were.
    template <class WakerMarks, class MarksOf>
    int deliver(int most, completions& done, WakerMarks waker_marks, MarksOf marks_of) noexcept {
        int found = 0;
        if (const marks on = waker_marks(); on.count && most != 0) {
            found += on.count;
            waker_.drain();
        }
        // From the back: one that is no longer wanted is replaced by the last one, which has been
        // looked at already.
        for (std::size_t i = sockets_.size(); found != most && i-- > 0;) {
            socket_state& socket = *sockets_[i];
            const marks on = marks_of(socket);
            if (!on.count) continue;
            found += on.count;
            if (on.invalid) [[unlikely]] {
                on_bad_descriptor(socket, platform::bad_descriptor, done);
                continue;
            }
            if (on.readable) on_readable(socket, done);
            if (on.writable) on_writable(socket, done);
            unwatch(socket);
        }
        return found;
    }

    /// Somebody may be ready, and nobody knows who.
    CURFEW_COLD int try_everyone(completions& done) noexcept {
        const auto before = outstanding();
        waker_.drain();
        for (std::size_t i = sockets_.size(); i-- > 0;) {
            socket_state& socket = *sockets_[i];
            on_readable(socket, done);
            on_writable(socket, done);
            unwatch(socket);
        }
        note_progress(before);
        return 0;
    }

    /// Some descriptor is none, and nobody knows whose.
    CURFEW_COLD int end_closed(int error, completions& done) noexcept {
        bool found = false;
        for (std::size_t i = sockets_.size(); i-- > 0;) {
            socket_state& socket = *sockets_[i];
            if (!platform::is_closed(socket.handle)) continue;
            found = true;
            on_bad_descriptor(socket, error, done);
        }
        if (found) return 0;
        return platform::is_closed(waker_.handle()) ? error : try_everyone(done);
    }

    /// How many operations are parked, and how many bytes they have moved: what changes when a
    /// failure has led somewhere.
    std::pair<std::size_t, std::size_t> outstanding() const noexcept {
        std::size_t count = 0;
        std::size_t bytes = 0;
        for (const socket_state* each : sockets_)
            for (const operation* op : {each->reader, each->writer})
                if (op) ++count, bytes += op->transferred;
        return {count, bytes};
    }

    void note_progress(const std::pair<std::size_t, std::size_t>& before) noexcept {
        if (outstanding() == before)
            rest_longer();
        else
            rest_ = {};
    }

    void rest_longer() noexcept {
        rest_ = std::clamp<std::chrono::nanoseconds>(2 * rest_, std::chrono::milliseconds(1),
                                                     longest_rest);
    }

    /// Waits for the waker alone.
    CURFEW_COLD void rest(std::chrono::nanoseconds time) noexcept {
        bool woken = false;
        const int error = wait_for_one(waker_.handle(), readiness::readable, time, woken);
        if (error && !platform::interrupted(error)) platform::pause(time);
    }

    std::chrono::nanoseconds rest_{};  // before the next wait, after failures that led nowhere
};

}  // namespace curfew::detail
