// The requests of io_uring: what the reactor knows of each pending operation, besides the operation
// itself. A request is named by its number in the table, which the operation keeps (`reactor_data`)
// and the kernel hands back with what has become of it.
#pragma once

#include "../../platform/platform.hpp"

#if defined(CURFEW_HAS_IO_URING)

#include <cstdint>
#include <new>
#include <utility>

#include "../../core/operation.hpp"
#include "../../core/plain_array.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail::uring {

using request_id = std::uint32_t;
inline constexpr request_id no_request = ~request_id{0};

/// The system's description of an operation with an address, or with several buffers. It lives
/// until the completion is there, as some of it is written by the kernel.
struct message {
    platform::detail::buffer_vector buffers{nullptr, 0, 0};
    platform::detail::native_address address;
    msghdr header;
    message* next = nullptr;  // among the idle ones
};

/// One is free, pending, or over; and it stands in the queue or not.
enum class request_state : std::uint8_t {
    free,
    queued,            ///< has yet to be submitted
    submitted,         ///< the kernel has it, or will with the next `enter`
    submitted_single,  ///< the same: a single transfer, and nothing else that is here holds for it
    cancel_queued,     ///< submitted, and its cancellation has yet to be
    ended_in_queue,    ///< over, but still in the queue: free when it leaves that
};

struct request {
    /// What is asked of the kernel next.
    enum class step : std::uint8_t {
        operation,  ///< to do it
        poll,       ///< to say when it can be tried (again)
        rest,       ///< nothing for a while, see `only_error`
    };

    operation* op = nullptr;       // good while it is pending
    message* details = nullptr;    // of an operation that needs one
    request_id next = no_request;  // in the queue, or among the free ones
    request_state state = request_state::free;
    step next_step = step::operation;
    bool closed = false;  // its socket was closed meanwhile
    /// The last poll has found nothing but an error. What is ready for an error that nobody takes
    /// (see socket_state::error_told) would be polled and tried without end.
    bool only_error = false;

    bool is_queued() const noexcept {
        return state == request_state::queued || state == request_state::cancel_queued ||
               state == request_state::ended_in_queue;
    }
    bool is_in_flight() const noexcept {
        return state == request_state::submitted || state == request_state::submitted_single ||
               state == request_state::cancel_queued;
    }
    bool is_pending() const noexcept { return is_in_flight() || state == request_state::queued; }
};

/// All requests, which are reused, and the queue of those that are to be submitted.
class request_table {
public:
    request_table() = default;
    request_table(const request_table&) = delete;
    request_table& operator=(const request_table&) = delete;
    ~request_table() {
        for (const request& each : requests_) {
            CURFEW_ASSERT(!each.is_pending());
            delete each.details;  // of one that was still queued
        }
        while (idle_messages_) delete std::exchange(idle_messages_, idle_messages_->next);
    }

    request& operator[](request_id id) noexcept { return requests_[id]; }
    const request& operator[](request_id id) const noexcept { return requests_[id]; }
    request_id size() const noexcept { return static_cast<request_id>(requests_.size()); }

    /// The request of a pending operation.
    static request_id of(const operation& op) noexcept {
        CURFEW_ASSERT(op.progress == operation::state::pending);
        return op.reactor_data;
    }

    /// Whether `take` may be called.
    bool has_room() const noexcept { return free_ != no_request; }

    /// Sees that there is room, and a message for an operation that needs one. False: there is no
    /// memory for that.
    CURFEW_COLD bool make_room(const operation& op) noexcept {
        if (free_ == no_request) {
            if (!requests_.try_push_back({})) return false;
            free_ = size() - 1;
        }
        if (needs_message(op) && !idle_messages_) idle_messages_ = new (std::nothrow) message;
        return idle_messages_ || !needs_message(op);
    }

    /// A free request for `op`, whose state is to be set.
    CURFEW_HOT request_id take(operation& op) noexcept {
        const request_id id = std::exchange(free_, requests_[free_].next);
        requests_[id].op = &op;
        op.reactor_data = id;
        return id;
    }

    void take_message(request_id id) noexcept {
        if (needs_message(*requests_[id].op))
            requests_[id].details = std::exchange(idle_messages_, idle_messages_->next);
    }

    /// The operation has left the kernel, or has never been there.
    void give_back(request_id id) noexcept {
        request& over = requests_[id];
        CURFEW_ASSERT(over.is_pending());
        if (over.is_queued())
            over.state = request_state::ended_in_queue;
        else
            free(id);
    }

    /// The same for a single transfer that was submitted.
    CURFEW_HOT void give_back_single(request_id id) noexcept {
        CURFEW_ASSERT(requests_[id].state == request_state::submitted_single);
        requests_[id].state = request_state::free;
        requests_[id].next = std::exchange(free_, id);
    }

    // The queue

    bool queue_is_empty() const noexcept { return first_ == no_request; }
    request_id first_in_queue() const noexcept { return first_; }

    /// At its end, to be submitted.
    void enqueue(request_id id) noexcept {
        request& added = requests_[id];
        CURFEW_ASSERT(!added.is_queued());
        added.state = request_state::queued;
        added.next = no_request;
        (last_ == no_request ? first_ : requests_[last_].next) = id;
        last_ = id;
    }

    /// In front of all, for its cancellation. (What expires together has mostly been submitted in
    /// that order, and the kernel looks through long lists for what it is to cancel, the youngest
    /// first.)
    void enqueue_cancellation(request_id id) noexcept {
        CURFEW_ASSERT(requests_[id].is_in_flight() && !requests_[id].is_queued());
        requests_[id].state = request_state::cancel_queued;
        requests_[id].next = std::exchange(first_, id);
        if (last_ == no_request) last_ = id;
    }

    /// Takes out the first one, whose state is to be set; one that has ended is free.
    request_id dequeue() noexcept {
        const request_id id = first_;
        first_ = requests_[id].next;
        if (first_ == no_request) last_ = no_request;
        if (requests_[id].state == request_state::ended_in_queue) free(id);
        return id;
    }

    request_id in_flight() const noexcept {
        request_id count = 0;
        for (const request& each : requests_) count += each.is_in_flight();
        return count;
    }

    /// Gives back what a peak has left behind. All that is in use is pending when a wait begins, so
    /// that what is idle then was not needed in this turn.
    CURFEW_COLD void trim() noexcept {
        request_id used = 0;
        request_id messages = 0;
        request_id end = 0;  // of those in use
        for (request_id id = 0; id < size(); ++id) {
            if (requests_[id].state == request_state::free) continue;
            ++used;
            messages += requests_[id].details != nullptr;
            end = id + 1;
        }
        trim_messages(2 * messages + most_idle);
        request_id room = 2 * used + most_idle;
        if (2 * room >= size()) return;
        if (room < end) room = end;
        requests_.shrink(room);
        // The first ones are to be used first, so that the last ones can be given back.
        free_ = no_request;
        for (request_id id = room; id-- > 0;)
            if (requests_[id].state == request_state::free)
                requests_[id].next = std::exchange(free_, id);
    }

private:
    static constexpr request_id most_idle = 64;  // beside as many as are in use

    static bool needs_message(const operation& op) noexcept {
        if (op.kind == operation_kind::read || op.kind == operation_kind::write)
            return op.buffer_count != 1;
        return op.kind != operation_kind::accept && op.kind != operation_kind::wait &&
               op.kind != operation_kind::call;
    }

    void free(request_id id) noexcept {
        request& freed = requests_[id];
        freed.state = request_state::free;
        freed.next_step = request::step::operation;
        freed.closed = freed.only_error = false;
        freed.next = std::exchange(free_, id);
        if (message* const idle = std::exchange(freed.details, nullptr)) [[unlikely]]
            idle->next = std::exchange(idle_messages_, idle);
    }

    void trim_messages(request_id most) noexcept {
        message** rest = &idle_messages_;
        for (; *rest && most > 0; --most) rest = &(*rest)->next;
        while (message* const idle = *rest) {
            *rest = idle->next;
            delete idle;
        }
    }

    plain_array<request> requests_;
    message* idle_messages_ = nullptr;
    request_id free_ = no_request;   // the first free one
    request_id first_ = no_request;  // the queue
    request_id last_ = no_request;
};

}  // namespace curfew::detail::uring

#endif
