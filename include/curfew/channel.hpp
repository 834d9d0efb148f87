// channel: messages from task to task.
#pragma once

#include <coroutine>
#include <cstddef>
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>

#include "await/requests.hpp"
#include "await/wait_list.hpp"
#include "core/outcome.hpp"
#include "core/suspension.hpp"
#include "platform/std_memory.hpp"
#include "result.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

namespace detail {

template <class T>
struct kept_message {
    T message;
};

}  // namespace detail

/// A queue of at most `capacity` messages between tasks of one loop: any number of them may send,
/// and receive. Messages and those who wait keep their order. With a capacity of 0 a message passes
/// only from hand to hand.
///
/// No message is lost or doubled by a limit or a cancellation: a `receive` that says `timed_out` or
/// `canceled` has taken none, and a `send` that does has sent none, and left it where it is.
///
/// It belongs to the loop's thread; from another thread, `post` a function that sends. All its
/// memory is allocated at its construction. A message that has been handed to a task goes with it,
/// should that be destroyed before it can go on.
template <class T>
class channel {
    static_assert(std::is_nothrow_move_constructible_v<T> && std::is_default_constructible_v<T>,
                  "curfew::channel<T>: T must be default-constructible, and movable without "
                  "exceptions");

public:
    /// Empty, with room for so many messages.
    explicit channel(std::size_t capacity) : capacity_(capacity), ring_(new slot[capacity]) {}
    channel(const channel&) = delete;
    channel& operator=(const channel&) = delete;
    ~channel() {
        close();
        while (size_) pop();
    }

    class sender : detail::list_waiter {
    public:
        sender(channel& to, T& message) noexcept : channel_(to), message_(&message) {}
        bool await_ready() const noexcept { return false; }
        template <class Promise>
        bool await_suspend(std::coroutine_handle<Promise> coroutine) noexcept {
            static constexpr detail::suspension_type kind{
                &detail::list_waiter::interrupt,
                [](const detail::suspension&, detail::wait_report& report) noexcept {
                    report.what = "send to a channel";
                },
            };
            return this->wait_in(
                channel_.senders_, coroutine,
                [&] {
                    sent_ = channel_.put(*message_);
                    return sent_ || channel_.closed_;
                },
                kind);
        }
        result<> await_resume() const noexcept {
            if (sent_) return {};
            const std::error_code ec = this->error();
            return ec ? result<>(ec) : errc::closed;
        }

    private:
        friend channel;
        channel& channel_;
        T* message_;  // moved from when it is sent, and not before
        bool sent_ = false;
    };

    class receiver : detail::list_waiter {
    public:
        explicit receiver(channel& from) noexcept : channel_(from) {}
        bool await_ready() const noexcept { return false; }
        template <class Promise>
        bool await_suspend(std::coroutine_handle<Promise> coroutine) noexcept {
            static constexpr detail::suspension_type kind{
                &detail::list_waiter::interrupt,
                [](const detail::suspension&, detail::wait_report& report) noexcept {
                    report.what = "receive from a channel";
                },
            };
            return this->wait_in(
                channel_.receivers_, coroutine,
                [&] {
                    if (auto oldest = channel_.try_receive()) message_.emplace(std::move(*oldest));
                    return message_ || channel_.closed_;
                },
                kind);
        }
        result<T> await_resume() noexcept {
            if (message_) return {{}, std::move(*message_)};
            const std::error_code ec = this->error();
            return ec ? result<T>(ec) : errc::closed;
        }

    private:
        friend channel;
        channel& channel_;
        std::optional<T> message_;
    };

    /// Of a message that is the caller's.
    class [[nodiscard("nothing is sent until this is awaited")]] send_request {
    public:
        send_request(channel & to, T & message) noexcept : channel_(to), message_(message) {}
        sender operator co_await() const noexcept { return sender(channel_, message_); }

    private:
        channel& channel_;
        T& message_;
    };

    /// Of one that has been made for it.
    class [[nodiscard("nothing is sent until this is awaited")]] send_own_request {
        struct own_sender : private detail::kept_message<T>, sender {
            own_sender(channel& to, T&& given) noexcept
                : detail::kept_message<T>{std::move(given)}, sender(to, this->message) {}
        };

    public:
        template <class U>
        send_own_request(channel & to, U && message)
            : channel_(to), message_(std::forward<U>(message)) {}
        own_sender operator co_await()&& noexcept {
            return own_sender(channel_, std::move(message_));
        }

    private:
        channel& channel_;
        T message_;
    };

    /// Sends a message, waiting for room if need be. `closed` if the channel is closed first.
    ///
    /// `send(std::move(message))` refers to the caller's object, and moves from it only when the
    /// message is sent: whatever else comes of it, the caller still has it. So the object must live
    /// until the send has ended, which a temporary in the expression that awaits it does. Of
    /// `send(message)` a copy is sent, and of a value of another type what is made of it at once.
    ///
    /// ```cpp
    /// auto [ec] = co_await with_timeout(jobs.send(std::move(job)), 10ms);
    /// if (ec) put_aside(std::move(job));
    /// ```
    /// Cancellation: `canceled`, and it has not been sent.
    send_request send(T&& message) noexcept { return send_request(*this, message); }
    /// Sends a copy, made at once.
    send_own_request send(const T& message) requires std::is_copy_constructible_v<T> {
        return send_own_request(*this, message);
    }
    /// Sends what is made of `message` at once.
    template <class U>
    requires(!std::is_same_v<std::remove_cvref_t<U>, T> &&
             std::is_convertible_v<U&&, T>) send_own_request send(U&& message) {
        return send_own_request(*this, std::forward<U>(message));
    }

    /// Takes the oldest message, waiting for one if need be. `closed` when the channel is closed
    /// and all that was sent before has been received.
    ///
    /// Cancellation: `canceled`, and none has been taken.
    detail::request_on<receiver, channel> receive() noexcept {
        return detail::request_on<receiver, channel>(*this);
    }

    /// Sends if there is room, or somebody waits for it; otherwise `message` is left as it is.
    template <class U>
    bool try_send(U&& message) {
        if (closed_ || (receivers_.empty() && size_ == capacity_)) return false;
        T own(std::forward<U>(message));
        return put(own);
    }

    /// Takes the oldest message if there is one.
    std::optional<T> try_receive() noexcept {
        if (size_) {
            std::optional<T> oldest(pop());
            if (auto* next = first_sender()) push(accept(*next));
            return oldest;
        }
        if (auto* next = first_sender()) return accept(*next);  // from hand to hand
        return std::nullopt;
    }

    /// Those who wait to send or receive, and who would have to from now on, are told `closed`;
    /// what has been sent can still be received.
    void close() noexcept {
        closed_ = true;
        senders_.complete_all(outcome::closed);
        receivers_.complete_all(outcome::closed);
    }

    /// Whether `close` has been called.
    bool is_closed() const noexcept { return closed_; }

    /// The messages that wait to be received.
    std::size_t size() const noexcept { return size_; }
    /// How many messages there is room for.
    std::size_t capacity() const noexcept { return capacity_; }

private:
    union slot {
        T message;
        slot() noexcept {}
        ~slot() {}
    };

    /// Hands the message on, or stores it. False: there is no room for it, or the channel is
    /// closed.
    bool put(T& message) noexcept {
        if (closed_) return false;
        if (!receivers_.empty()) {  // so nothing is stored
            static_cast<receiver*>(receivers_.first())->message_.emplace(std::move(message));
            receivers_.complete_first();
            return true;
        }
        if (size_ == capacity_) return false;
        push(std::move(message));
        return true;
    }

    sender* first_sender() const noexcept { return static_cast<sender*>(senders_.first()); }

    T accept(sender& from) noexcept {
        from.sent_ = true;
        senders_.complete_first();
        return std::move(*from.message_);
    }

    void push(T&& message) noexcept {
        ::new (&ring_[(begin_ + size_) % capacity_].message) T(std::move(message));
        ++size_;
    }

    T pop() noexcept {
        T& oldest = ring_[begin_].message;
        T taken(std::move(oldest));
        oldest.~T();
        begin_ = (begin_ + 1) % capacity_;
        --size_;
        return taken;
    }

    const std::size_t capacity_;
    const std::unique_ptr<slot[]> ring_;
    std::size_t begin_ = 0;
    std::size_t size_ = 0;
    bool closed_ = false;
    detail::wait_list senders_;
    detail::wait_list receivers_;
};

}  // namespace curfew
