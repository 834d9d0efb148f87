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
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>

#include "../core/read_buffer.hpp"
#include "../core/socket_reference.hpp"
#include "../error.hpp"
#include "../result.hpp"
#include "../task.hpp"
#include "start.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

/// What both ways have in common.
template <class Want>
struct buffered_awaiter : buffered_reader {
    using yielded = result<decltype(Want::value)>;

    Want want;
    std::errc mistake{};
    bool is_there = false;  // what is wanted

    buffered_awaiter(read_buffer& from, const Want& wanted) noexcept
        : buffered_reader(from), want(wanted) {}

    /// In a scope that is cancelled, and while another read is under way, nothing is taken; nor is
    /// anything done here in a fiber that has no loop yet.
    CURFEW_HOT bool await_ready() noexcept {
        run_state& state = this_thread();
        if (this->in->reader || !state.current || state.current->in_cancelled) [[unlikely]]
            return false;
        is_there = want.take(*this->in, mistake);
        return is_there && !share_is_used_up(state);
    }

protected:
    /// The read is under way: it is the only one.
    void begin_reading() noexcept { this->in->reader = this; }
    void end_reading() noexcept {
        if (this->in && this->in->reader == this) this->in->reader = nullptr;
    }

    /// The only ends that are no system's.
    std::error_code mistaken() const noexcept { return std::make_error_code(mistake); }
};

/// Over a socket. It takes one operation after the other, all in the place of the first: their end
/// is this read's end only if they have brought enough.
///
/// While it is under way the operation is pending, or is complete and queued. A cancellation, or a
/// limit, that comes to a complete one ends the read if what it has brought is not enough:
/// completion beats the limit, and nothing else is begun after it.
template <class Want>
class buffered_read : operation, public buffered_awaiter<Want> {
    using base = buffered_awaiter<Want>;

public:
    buffered_read(socket_state& from, read_buffer& buffer, const Want& wanted) noexcept
        : operation(&from, &room_, false), base(buffer, wanted) {}
    ~buffered_read() { this->end_reading(); }

    operation& op() noexcept { return *this; }
    bool is_pending() const noexcept { return is_under_way_; }

    /// See above; does what cancel_operation does.
    void end(outcome why, bool abort) noexcept {
        if (!is_under_way_) return;
        cancel_operation(*this, why, abort);
        if (reason != outcome::success || late_reason_ != outcome::success) return;
        late_reason_ = why;
        late_abort_ = abort;
    }

    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> coroutine) noexcept {
        waiter = coroutine_ = coroutine;
        if constexpr (std::is_base_of_v<promise_base, Promise>)
            owner = &fiber_of(coroutine);
        else
            owner = &outside_fiber(socket->loop);
        describe(operation_kind::read, readiness::readable, 0);     // for who looks at it
        if (this->is_there) return suspend_until_next_turn(*this);  // it has had its share
        check_thread(*socket);
        if (!owner->loop && socket->loop) socket->loop->adopt(*owner);
        if (owner->cancelled()) {
            result = outcome::canceled;
            return yield_if_share_is_used_up(*this);
        }
        if (this->in->reader) {
            this->mistake = std::errc::operation_in_progress;
            return yield_if_share_is_used_up(*this);
        }
        if (this->want.take(*this->in, this->mistake)) return yield_if_share_is_used_up(*this);
        this->begin_reading();
        reference_.refer(*socket);
        return go_on();
    }

    typename base::yielded await_resume() noexcept {
        if (result == outcome::success && this->mistake == std::errc{}) [[likely]]
            return {no_error(), this->want.value};
        return {failure(), this->want.value};
    }

private:
    static buffered_read& of(suspension& self) noexcept {
        return static_cast<buffered_read&>(static_cast<operation&>(self));
    }

    static constexpr suspension_type reading{
        [](suspension& pending, cancellation& by) noexcept {
            of(pending).end(outcome::canceled, by.aborts());
            return true;
        },
        operation_suspension.describe,
        true,
        false,
        false,
        [](suspension& complete) noexcept -> std::coroutine_handle<> {
            buffered_read& self = of(complete);
            if (!self.has_ended() && self.go_on()) return {};
            return self.coroutine_;
        },
    };

    /// Reads until it has enough (false) or has to wait (true).
    bool go_on() noexcept {
        do {
            if (!this->want.make_room(*this->in)) {
                this->mistake = std::errc::not_enough_memory;
                return stop();
            }
            room_ = this->want.room(*this->in);
            // As new: the last one has completed, and nobody refers to it.
            buffers = &room_;
            progress = state::idle;
            result = reason = outcome::success;
            if (begin_transfer<operation_kind::read, false>(*this)) {
                type = &reading;
                waiter = {};
                is_under_way_ = true;
                return true;
            }
        } while (!has_ended());
        return false;
    }

    /// After an operation has completed: whether nothing is left to do.
    bool has_ended() noexcept {
        if (!this->in) {  // destroyed, and its bytes with it
            result = outcome::closed;
            return !stop();
        }
        if (result == outcome::success) {
            this->want.arrived(*this->in, transferred);
            if (this->want.take(*this->in, this->mistake)) return !stop();
            if (!must_end()) return false;
        }
        if (result == outcome::eof)
            this->want.at_end(*this->in);
        else
            this->want.cut_short();
        return !stop();
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

    bool stop() noexcept {
        is_under_way_ = false;
        reference_.forget();
        this->end_reading();
        return false;
    }

    CURFEW_COLD std::error_code failure() noexcept {
        if (this->mistake != std::errc{}) return this->mistaken();
        if (owner->cancelled()) {
            // What cancels the scope may close the socket for another operation's sake.
            if (result == outcome::closed) result = outcome::canceled;
            if (result == outcome::canceled) owner->notice();
        }
        return error_of(result, error);
    }

    platform::buffer room_;
    std::coroutine_handle<> coroutine_;
    socket_reference reference_;
    outcome late_reason_ = outcome::success;
    bool late_abort_ = false;
    bool is_under_way_ = false;
};

/// Over any other stream. Its reads are the steps of a task, and what ends those ends it.
template <class Want, class Stream>
class buffered_read_by_task : public buffered_awaiter<Want> {
    using base = buffered_awaiter<Want>;

public:
    using enable_limits = void;

    buffered_read_by_task(Stream& from, read_buffer& buffer, const Want& wanted) noexcept
        : base(buffer, wanted), stream_(from) {}

    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> coroutine) {
        static_assert(std::is_base_of_v<promise_base, Promise>,
                      "curfew: a buffered stream over a stream that is no socket of curfew's is "
                      "read in a curfew::task");
        work_ = this->is_there ? wait_for_next_turn() : read();
        awaiter_.emplace(awaiter_in_task(work_));
        awaiter_->await_suspend(coroutine);
    }

    typename base::yielded await_resume() {
        const std::error_code ec = awaiter_ ? awaiter_->await_resume() : std::error_code();
        if (this->mistake != std::errc{}) return {this->mistaken(), this->want.value};
        return {ec, this->want.value};
    }

private:
    task<std::error_code> wait_for_next_turn() {
        co_await next_turn{};
        co_return std::error_code();
    }

    task<std::error_code> read() {
        if (this->in->reader) {
            this->mistake = std::errc::operation_in_progress;
            co_return std::error_code();
        }
        if (co_await is_cancelled{}) co_return errc::canceled;
        if (this->want.take(*this->in, this->mistake)) co_return std::error_code();
        struct reading {
            buffered_read_by_task& self;
            explicit reading(buffered_read_by_task& of) noexcept : self(of) {
                self.begin_reading();
            }
            ~reading() { self.end_reading(); }
        } const under_way(*this);
        for (;;) {
            if (!this->want.make_room(*this->in)) {
                this->mistake = std::errc::not_enough_memory;
                co_return std::error_code();
            }
            const platform::buffer room = this->want.room(*this->in);
            const auto [ec, n] = co_await stream_.read_some(mutable_buffer(room.data, room.size));
            if (!this->in) co_return errc::closed;  // the buffer is gone
            this->want.arrived(*this->in, n);
            if (n > 0 && this->want.take(*this->in, this->mistake)) co_return std::error_code();
            const std::error_code end = ec || n > 0 ? ec : make_error_code(errc::eof);
            if (!end) continue;
            if (end == errc::eof)
                this->want.at_end(*this->in);
            else
                this->want.cut_short();
            co_return end;
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
            if (cancelled) self.notice();
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

    Stream& stream_;
    task<std::error_code> work_;
    std::optional<task<std::error_code>::awaiter> awaiter_;
};

}  // namespace curfew::detail
