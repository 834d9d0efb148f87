// A read through a buffer: what `co_await in.read_line(limit)` does.
//
// What is there already is found before anything else, in await_ready. If more must be read, and
// the stream is a socket of ours, the awaiter holds the operation, as operation_awaiter does, and
// when that completes and it was not enough it starts the next one, without its coroutine
// (`buffered_read`). So there is no frame, and a limit is a timer beside it. Other streams are read
// by a task
// (`buffered_read_by_task`).
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>

#include "../buffer.hpp"
#include "../core/cancellation.hpp"
#include "../core/operation.hpp"
#include "../core/read_buffer.hpp"
#include "../core/socket_reference.hpp"
#include "../core/suspension.hpp"
#include "../error.hpp"
#include "../platform/std_memory.hpp"
#include "../reactor/reactor.hpp"
#include "../result.hpp"
#include "../task.hpp"
#include "start.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

/// A stream with its buffer.
template <class Stream>
struct buffered_parts {
    Stream stream;
    read_buffer in;
};

/// What a read has come to before it goes the longer way, if it does.
enum class read_phase : std::uint8_t {
    begun,
    share_used_up,  // the coroutine is to go on in the next turn, whatever is there
    has_steps,
};

/// The short way: what is there is taken, and that is all. False: the longer one. So it is in a
/// scope that is cancelled, and while another read is under way; outside of a loop; and where there
/// is something wrong.
template <class Want>
CURFEW_HOT inline bool take_at_once(Want& want, read_buffer& in, read_phase& phase) noexcept {
    run_state* const run = current_run();
    if (!run || in.reader || run->current->in_cancelled) [[unlikely]]
        return false;
    if (share_is_used_up(*run)) [[unlikely]] {
        phase = read_phase::share_used_up;
        return false;
    }
    return want.take_at_once(in);
}

/// The rest of a read over a socket, which takes one operation after the other, all in the place of
/// the first: their end is this read's end only if they have brought enough.
///
/// While it is under way the operation is pending, or is complete and queued. A cancellation, or a
/// limit, that comes to a complete one ends the read if what it has brought is not enough:
/// completion beats the limit, and nothing else is begun after it.
template <class Want>
class read_steps : public operation, buffered_reader {
public:
    read_steps(socket_state& from, read_buffer& buffer, Want& want) noexcept
        : operation(&from, &room_, false), buffered_reader(buffer), want_(want) {
        describe(operation_kind::read, readiness::readable, 0);  // for who looks at it
        want_.prepare();
    }

    bool is_under_way() const noexcept { return is_under_way_; }

    /// False: the coroutine goes on.
    bool begin(std::coroutine_handle<> coroutine, fiber& awaiting, bool used_up) noexcept {
        waiter = coroutine_ = coroutine;
        owner = &awaiting;
        check_thread(*socket);
        if (!owner->loop && socket->loop) socket->loop->adopt(*owner);
        if (owner->cancelled())
            result = outcome::canceled;
        else if (in->reader)
            mistake_ = std::errc::operation_in_progress;
        else if (!want_.take(*in, mistake_))
            return read();
        else
            is_taken_ = mistake_ == std::errc{};
        if (!(used_up ? suspend_until_next_turn(*this) : yield_if_share_is_used_up(*this)))
            return false;
        // What is shown is to be there in the next turn: until then it is a read.
        if (is_taken_) in->reader = this;
        return true;
    }

    /// See above; does what cancel_operation does.
    void end(outcome why, bool abort) noexcept {
        if (!is_under_way_) return;
        cancel_operation(*this, why, abort);
        if (reason != outcome::success || late_reason_ != outcome::success) return;
        late_reason_ = why;
        late_abort_ = abort;
    }

    std::error_code ending() noexcept {
        if (mistake_ != std::errc{}) return std::make_error_code(mistake_);
        if (is_taken_) {
            if (!in && want_.forget_shown()) result = outcome::closed;
            this->end_reading();
        }
        if (result != outcome::success && owner->cancelled()) {
            // What cancels the scope may close the socket for another operation's sake.
            if (result == outcome::closed) result = outcome::canceled;
            if (result == outcome::canceled) owner->note_cut_short();
        }
        return error_of(result, error);
    }

private:
    static read_steps& of(suspension& self) noexcept {
        return static_cast<read_steps&>(static_cast<operation&>(self));
    }

    static bool interrupt(suspension& pending, cancellation& by) noexcept {
        of(pending).end(outcome::canceled, by.aborts());
        return true;
    }
    static std::coroutine_handle<> step(suspension& complete) noexcept {
        read_steps& self = of(complete);
        if (!self.has_ended() && self.go_on()) return {};
        return self.coroutine_;
    }
    static constexpr suspension_type reading{
        &interrupt, operation_suspension.describe, true, false, false, &step};

    bool read() noexcept {
        in->reader = this;
        reference_.refer(*socket);
        return go_on();
    }

    /// Reads until it has enough (false) or has to wait (true).
    bool go_on() noexcept {
        do {
            if (!want_.make_room(*in)) {
                mistake_ = std::errc::not_enough_memory;
                stop();
                return false;
            }
            room_ = want_.room(*in);
            // As new: the last one has completed, and nobody refers to it.
            buffers = &room_;
            progress = state::idle;
            result = reason = outcome::success;
            if (begin_transfer<operation_kind::read, false>(*this)) {
                type = &reading;
                waiter = {};
                // (If it has failed, and others get their turn first, nothing follows; nor is there
                // a loop for a limit where a socket has been moved away.)
                is_under_way_ = result == outcome::success;
                return true;
            }
        } while (!has_ended());
        return false;
    }

    /// After an operation has completed: whether nothing is left to do.
    bool has_ended() noexcept {
        if (!in)  // destroyed, and its bytes with it
            result = outcome::closed;
        else if (result == outcome::success) {
            want_.arrived(*in, transferred);
            if (!want_.take(*in, mistake_) && !must_end()) return false;
        }
        if (result == outcome::eof)
            want_.at_end(*in);
        else if (result != outcome::success)
            want_.cut_short();
        stop();
        return true;
    }

    /// It was asked to end, while or after its last operation has moved some bytes; or there is no
    /// socket for another one.
    bool must_end() noexcept {
        if (reason != outcome::success) {
            result = reason;
        } else if (late_reason_ != outcome::success) {
            result = late_reason_;
            socket_state* const left = reference_.socket;
            if (late_abort_ && left && left->is_open())
                left->loop->system().close(*left, close_mode::abortive, left->loop->done());
        } else if (!reference_.socket) {
            result = outcome::closed;
        } else {
            socket = reference_.socket;
            return false;
        }
        return true;
    }

    void stop() noexcept {
        is_under_way_ = false;
        reference_.forget();
        this->end_reading();
    }

    Want& want_;
    std::errc mistake_{};
    platform::buffer room_;
    std::coroutine_handle<> coroutine_;
    socket_reference reference_;
    outcome late_reason_ = outcome::success;
    bool late_abort_ = false;
    bool is_under_way_ = false;
    bool is_taken_ = false;  // what is wanted was there, and nothing was read for it
};

/// Over a socket. The steps are made when they are needed.
template <class Want, class Stream>
class buffered_read {
public:
    using yielded = result<typename Want::value_type>;

    buffered_read(buffered_parts<Stream>& from, const typename Want::arguments& given) noexcept
        : from_(from), want_(given) {}
    buffered_read(const buffered_read&) = delete;
    buffered_read& operator=(const buffered_read&) = delete;
    ~buffered_read() {
        if (phase_ == read_phase::has_steps) [[unlikely]]
            steps_.~read_steps();
    }

    operation& op() noexcept { return steps_; }
    bool is_pending() const noexcept {
        return phase_ == read_phase::has_steps && steps_.is_under_way();
    }
    void end(outcome why, bool abort) noexcept { steps_.end(why, abort); }

    CURFEW_HOT bool await_ready() noexcept { return take_at_once(want_, from_.in, phase_); }

    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> coroutine) noexcept {
        socket_state& socket = socket_access::state(from_.stream);
        const bool used_up =
            std::exchange(phase_, read_phase::has_steps) == read_phase::share_used_up;
        ::new (static_cast<void*>(std::addressof(steps_)))
            read_steps<Want>(socket, from_.in, want_);
        if constexpr (std::is_base_of_v<promise_base, Promise>)
            return steps_.begin(coroutine, fiber_of(coroutine), used_up);
        else
            return steps_.begin(coroutine, outside_fiber(socket.loop), used_up);
    }

    CURFEW_HOT yielded await_resume() noexcept {
        if (phase_ == read_phase::has_steps) [[unlikely]]
            return {steps_.ending(), want_.value()};
        return {no_error(), want_.value()};
    }

private:
    buffered_parts<Stream>& from_;
    Want want_;
    read_phase phase_ = read_phase::begun;
    union {
        read_steps<Want> steps_;
    };
};

/// Over any other stream. Its reads are the steps of a task, and what ends those ends it.
template <class Want, class Stream>
class buffered_read_by_task {
public:
    using yielded = result<typename Want::value_type>;
    using enable_limits = void;

    buffered_read_by_task(buffered_parts<Stream>& from,
                          const typename Want::arguments& given) noexcept
        : from_(from), want_(given) {}

    CURFEW_HOT bool await_ready() noexcept { return take_at_once(want_, from_.in, phase_); }

    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> coroutine) {
        static_assert(std::is_base_of_v<promise_base, Promise>,
                      "curfew: a buffered stream over a stream that is no socket of curfew's is "
                      "read in a curfew::task");
        want_.prepare();
        work_ = read(std::exchange(phase_, read_phase::has_steps) == read_phase::share_used_up);
        awaiter_.emplace(awaiter_in_task(work_));
        awaiter_->await_suspend(coroutine);
    }

    yielded await_resume() {
        if (phase_ != read_phase::has_steps) return {no_error(), want_.value()};
        const std::error_code ec = awaiter_->await_resume();
        if (mistake_ != std::errc{}) return {std::make_error_code(mistake_), want_.value()};
        return {ec, want_.value()};
    }

private:
    task<std::error_code> read(bool used_up) {
        if (co_await is_cancelled{}) co_return errc::canceled;
        if (from_.in.reader) {
            mistake_ = std::errc::operation_in_progress;
            co_return std::error_code();
        }
        if (want_.take(from_.in, mistake_)) {
            if (!used_up) co_return std::error_code();
            buffered_reader showing(from_.in);
            from_.in.reader = &showing;
            co_await next_turn{};
            co_return !showing.in && want_.forget_shown() ? make_error_code(errc::closed)
                                                          : std::error_code();
        }
        buffered_reader reading(from_.in);
        from_.in.reader = &reading;
        for (;;) {
            if (!want_.make_room(*reading.in)) {
                mistake_ = std::errc::not_enough_memory;
                co_return std::error_code();
            }
            const platform::buffer room = want_.room(*reading.in);
            const auto [ec, n] =
                co_await from_.stream.read_some(mutable_buffer(room.data, room.size));
            if (!reading.in) co_return errc::closed;  // it is gone, with its bytes
            want_.arrived(*reading.in, n);
            if (n > 0 && want_.take(*reading.in, mistake_)) co_return std::error_code();
            if (n > 0 && !ec) continue;
            if (!ec || ec == errc::eof) {  // (Of a stream that says nothing, too.)
                want_.at_end(*reading.in);
                co_return errc::eof;
            }
            want_.cut_short();
            co_return ec;
        }
    }

    /// Whether the scope is cancelled; it has been noticed then.
    struct is_cancelled {
        bool cancelled = false;
        bool await_ready() const noexcept { return false; }
        template <class Promise>
        bool await_suspend(std::coroutine_handle<Promise> coroutine) noexcept {
            fiber& self = fiber_of(coroutine);
            cancelled = self.cancelled();
            if (cancelled) self.note_cut_short();
            return false;
        }
        bool await_resume() const noexcept { return cancelled; }
    };

    /// Goes on behind what the system has to say.
    struct next_turn : suspension {
        bool await_ready() const noexcept { return false; }
        template <class Promise>
        void await_suspend(std::coroutine_handle<Promise> coroutine) noexcept {
            static constexpr suspension_type kind{
                [](suspension&, cancellation&) noexcept { return true; },
                [](const suspension&, wait_report& report) noexcept { report.what = "read"; },
            };
            waiter = coroutine;
            owner = &fiber_of(coroutine);
            type = &kind;
            loop& own = loop_for(*owner);
            since = own.recent();
            owner->waiting = this;
            own.defer(*this);
        }
        void await_resume() const noexcept {}
    };

    buffered_parts<Stream>& from_;
    Want want_;
    read_phase phase_ = read_phase::begun;
    std::errc mistake_{};
    task<std::error_code> work_;
    std::optional<task<std::error_code>::awaiter> awaiter_;
};

}  // namespace curfew::detail
