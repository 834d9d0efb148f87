// One TCP connection, from the first SYN to the end of TIME_WAIT, as Linux behaves where the
// standards leave a choice (RFC 9293, 6298, 5681, 1122). What its user sees of it comes
// after what arrives.
//
// It knows nothing of descriptors, links or other connections: it takes packets in by `input`,
// hands packets to its host, and asks to be woken at a time. A position in a stream counts from the
// initial sequence number and has 64 bits, so nothing ever wraps: 0 is the SYN, 1 the first byte.
//
// It is a long file because it is one machine, in which each event may meet each state; what could
// be told apart from the states stands in tcp_receiver.hpp and tcp_pace.hpp.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "../../config.hpp"
#include "../../platform/types.hpp"
#include "byte_queue.hpp"
#include "events.hpp"
#include "packet.hpp"
#include "tcp_pace.hpp"
#include "tcp_parameters.hpp"
#include "tcp_receiver.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::sim {

class connection final : public event {
public:
    explicit connection(tcp_host& host) noexcept : host_(&host) {
        happen = [](event& self) { static_cast<connection&>(self).on_time(); };
    }
    connection(const connection&) = delete;
    connection& operator=(const connection&) = delete;

    // How it begins ------------------------------------------------------------------------------

    void open(const address& local, const address& remote, const tcp_options& with,
              std::uint16_t own_mss, std::uint32_t initial) {
        local_ = local;
        remote_ = remote;
        options = with;
        own_mss_ = own_mss;
        initial_ = initial;
        state_ = tcp_state::syn_sent;
        round_trip_.begin(host_->parameters(), host_->now());
        send_syn(false);
        next_ = highest_ = 1;
        retransmit_at_ = host_->now() + round_trip_.timeout();
        plan();
    }

    /// A SYN has come to a listener.
    void answer(const packet& syn, const tcp_options& with, std::uint16_t own_mss,
                std::uint32_t initial) {
        local_ = syn.to;
        remote_ = syn.from;
        options = with;
        own_mss_ = own_mss;
        initial_ = initial;
        listed_ = true;
        has_user_ = false;
        state_ = tcp_state::syn_received;
        round_trip_.begin(host_->parameters(), host_->now());
        take_syn(syn);
        send_syn(true);
        next_ = highest_ = 1;
        retransmit_at_ = host_->now() + round_trip_.timeout();
        plan();
    }

    // What arrives -------------------------------------------------------------------------------

    void input(const packet& from) {
        last_heard_ = host_->now();
        probes_ = 0;
        if (options.keep_alive) arm_keep_alive();
        if (state_ == tcp_state::closed) return;
        if (state_ == tcp_state::syn_sent) return input_in_syn_sent(from);
        if (state_ == tcp_state::time_wait) return input_in_time_wait(from);

        const std::uint64_t length = from.payload.size() + (from.fin ? 1 : 0);
        const bool acceptable = receiver_.accepts(from.sequence, length);
        if (from.rst) {
            if (acceptable) reset_by_peer();
            return;
        }
        if (from.syn) {
            // Again, because the answer was lost; or none of this connection's.
            if (state_ != tcp_state::syn_received) return acknowledge();
            if (listed_ || !from.ack || from.acknowledgment != 1) return send_syn(true);
            una_ = 1;  // both have begun at the same time
            begin_to_flow(from);
            return output();
        }
        if (!from.ack) return;
        if (!acceptable) {
            // It may be a probe, or what has been had already: the sender has to learn that. What
            // it acknowledges holds all the same.
            if (from.acknowledgment > una_ && from.acknowledgment <= highest_) take_ack(from);
            if (state_ == tcp_state::closed) return;
            // Two who have lost each other would answer each other's answers for ever.
            if (length == 0 && host_->now() < answered_at_ + 500 * millisecond) return;
            if (length == 0) answered_at_ = host_->now();
            acknowledge();
            return;
        }
        if (state_ == tcp_state::syn_received) {
            if (from.acknowledgment == 0 || from.acknowledgment > highest_) return refuse(from);
            if (listed_) {
                const arrival how = host_->arrived(*this);
                if (how == arrival::full) return;  // the SYN is answered once more
                if (how == arrival::refused) {
                    refuse(from);
                    listed_ = false;
                    return fail(0);
                }
            }
            una_ = std::max<std::uint64_t>(una_, 1);
            begin_to_flow(from);
        }
        if (from.acknowledgment > highest_) return acknowledge();
        if (!take_ack(from)) return;
        take_data(from);
        if (state_ != tcp_state::closed && state_ != tcp_state::time_wait) output();
    }

    /// Somebody on the way says that a packet of this connection was not delivered.
    void input(const packet& from, unreachable why) {
        if (why == unreachable::too_big) {
            if (from.mtu < 80) return;
            mss_ = static_cast<std::uint16_t>(std::min<std::uint32_t>(mss_, from.mtu - 60));
            next_ = una_;
            return output();
        }
        if (state_ != tcp_state::syn_sent) return;  // it may pass
        fail(why == unreachable::port      ? ECONNREFUSED
             : why == unreachable::network ? ENETUNREACH
                                           : EHOSTUNREACH);
    }

    // What its user sees -------------------------------------------------------------------------

    tcp_options options;

    tcp_state state() const noexcept { return state_; }
    const address& local() const noexcept { return local_; }
    const address& remote() const noexcept { return remote_; }
    bool was_established() const noexcept { return was_established_; }
    /// Nothing that its user does has an effect on it any more. (What is left of it then may keep
    /// the peer from mistaking old packets for new ones.)
    bool is_over() const noexcept {
        return state_ == tcp_state::closed || state_ == tcp_state::time_wait;
    }
    /// Before it begins: its user will not do that.
    void shut(bool receiving, bool sending) noexcept {
        shut_receive_ = receiving;
        shut_send_ = sending;
    }
    bool has_user() const noexcept { return has_user_; }
    bool is_listed() const noexcept { return listed_; }

    bool is_shut(bool receiving) const noexcept { return receiving ? shut_receive_ : shut_send_; }

    /// Nobody is going to accept it.
    void leave_listener() noexcept { listed_ = false; }

    /// Somebody has accepted it.
    void accept() noexcept {
        has_user_ = true;
        listed_ = false;
    }

    /// The error that the next call of the user's is told, if any; it is told once.
    int take_error() noexcept { return std::exchange(error_, 0); }

    unsigned poll() const noexcept {
        unsigned found = 0;
        if ((shut_receive_ && shut_send_) || is_over()) found |= poll_bit_hang_up;
        if (shut_receive_) found |= poll_bit_in | poll_bit_peer_hang_up;
        if (state_ != tcp_state::syn_sent && state_ != tcp_state::syn_received) {
            if (!receiver_.bytes.empty()) found |= poll_bit_in;
            if (shut_send_ || out_.size() * 3 <= options.send_buffer * 2) found |= poll_bit_out;
        }
        if (error_) found |= poll_bit_error;
        return found;
    }

    /// The count, or the negated error.
    std::ptrdiff_t send(const std::byte* data, std::size_t size) {
        if (const int error = may_send()) return -error;
        const std::size_t room =
            options.send_buffer > out_.size() ? options.send_buffer - out_.size() : 0;
        const std::size_t n = std::min(size, room);
        if (n == 0 && size != 0) return -EAGAIN;
        if (out_.empty() && una_ == next_) last_heard_ = host_->now();
        out_.push(data, n);
        if (n && receiver_.received() > 1) answers_ = true;
        output();
        return static_cast<std::ptrdiff_t>(n);
    }

    int may_send() noexcept {
        if (error_) return take_error();
        if (shut_send_) return EPIPE;
        if (state_ == tcp_state::syn_sent || state_ == tcp_state::syn_received) return EAGAIN;
        return state_ == tcp_state::established || state_ == tcp_state::close_wait ? 0 : EPIPE;
    }

    std::ptrdiff_t receive(std::byte* data, std::size_t size, bool peek = false) {
        if (receiver_.bytes.empty()) return nothing_to_receive();
        const std::size_t n = std::min(size, receiver_.bytes.size());
        receiver_.bytes.copy(0, data, n);
        if (peek) return static_cast<std::ptrdiff_t>(n);
        receiver_.bytes.drop(n);
        // Who has read all that came is told so at once, unless it is one that answers: then the
        // answer says it as well.
        if (receiver_.bytes.empty() && n && unacknowledged_ &&
            (!answers_ || unacknowledged_pushes_ > 1))
            acknowledge();
        tell_window();
        return static_cast<std::ptrdiff_t>(n);
    }

    std::size_t unread() const noexcept { return receiver_.bytes.size(); }

    int shutdown(bool receiving, bool sending) {
        if (is_over()) {
            shut_receive_ |= receiving;
            shut_send_ |= sending;
            return ENOTCONN;
        }
        if (state_ == tcp_state::syn_sent) {
            fail(ECONNRESET);
            shut_receive_ = shut_send_ = false;
            return 0;
        }
        shut_receive_ |= receiving;
        if (sending && !shut_send_) {
            shut_send_ = true;
            end_sending();
        }
        host_->changed(*this);
        return 0;
    }

    /// The user has no descriptor any more.
    void close() {
        has_user_ = false;
        shut_receive_ = true;
        if (state_ == tcp_state::closed || state_ == tcp_state::time_wait) return;
        if (state_ == tcp_state::syn_sent) return fail(0);
        if (!receiver_.bytes.empty() || (options.lingers && options.linger_seconds == 0)) {
            const bool peer_has_to_know =
                state_ != tcp_state::closing && state_ != tcp_state::last_ack;
            if (peer_has_to_know || !receiver_.bytes.empty()) send_reset();
            receiver_.bytes.clear();
            return fail(0);
        }
        if (!shut_send_) {
            shut_send_ = true;
            end_sending();
        } else if (state_ == tcp_state::fin_wait_2) {
            arm_fin_wait_2();
        }
    }

    /// It is forgotten, and the peer learns nothing.
    void vanish() { fail(0); }

    /// The peer gets a RST, and the connection is gone.
    void abort() {
        if (state_ == tcp_state::closed) return;
        if (state_ != tcp_state::syn_sent) send_reset();
        fail(0);
    }

    /// After the option has been set.
    void keep_alive_changed() {
        if (!options.keep_alive)
            keep_alive_at_ = never;
        else if (state_ >= tcp_state::established)
            arm_keep_alive();
    }

private:
    // The beginning ------------------------------------------------------------------------------

    void input_in_syn_sent(const packet& from) {
        if (from.ack && from.acknowledgment != 1) return from.rst ? void() : refuse(from);
        if (from.rst) return from.ack ? fail(ECONNREFUSED) : void();
        if (!from.syn) return;
        take_syn(from);
        if (!from.ack) {  // both have begun at the same time
            state_ = tcp_state::syn_received;
            return send_syn(true);
        }
        una_ = 1;
        begin_to_flow(from);
        acknowledge();
        output();
    }

    void take_syn(const packet& syn) {
        peer_initial_ = syn.initial;
        receiver_.begin(options.receive_buffer);
        mss_ = std::min(own_mss_, syn.mss ? syn.mss : std::uint16_t{536});
        peer_window_ = syn.window;
        most_peer_window_ = syn.window;
        congestion_.begin(host_->parameters().initial_window, mss_);
        window_from_ = syn.sequence;
    }

    void begin_to_flow(const packet& from) {
        state_ = tcp_state::established;
        was_established_ = true;
        retries_ = 0;
        peer_window_ = from.window;
        window_ack_ = from.acknowledgment;
        round_trip_.limit(host_->parameters().initial_timeout);
        round_trip_.acknowledged(1, host_->parameters(), host_->now());
        retransmit_at_ = never;
        arm_keep_alive();
        host_->changed(*this);
    }

    // What the peer has got ----------------------------------------------------------------------

    /// False: the connection has ended by it.
    bool take_ack(const packet& from) {
        if (from.acknowledgment > una_) {
            take_new_ack(from.acknowledgment);
        } else if (from.acknowledgment == una_ && una_ < next_ && from.payload.empty() &&
                   !from.fin && from.window == peer_window_) {
            if (congestion_.repeated(una_, next_, mss_)) send_again();
        }
        if (from.sequence > window_from_ ||
            (from.sequence == window_from_ && from.acknowledgment >= window_ack_)) {
            window_from_ = from.sequence;
            window_ack_ = from.acknowledgment;
            if (peer_window_ == 0 && from.window > 0) retries_ = 0;
            peer_window_ = from.window;
            most_peer_window_ = std::max(most_peer_window_, peer_window_);
        }
        if (!fin_is_acknowledged()) return true;
        switch (state_) {
        case tcp_state::fin_wait_1:
            state_ = tcp_state::fin_wait_2;
            if (!has_user_) arm_fin_wait_2();
            return true;
        case tcp_state::closing:
            enter_time_wait();
            return false;
        case tcp_state::last_ack:
            fail(0);
            return false;
        default:
            return true;
        }
    }

    void take_new_ack(std::uint64_t upto) {
        const std::uint64_t before = una_;
        una_ = upto;
        next_ = std::max(next_, una_);
        const std::uint64_t data_end = out_begin_ + out_.size();
        const std::uint64_t data_acked = std::min(upto, data_end);
        if (data_acked > out_begin_) {
            const bool was_full = out_.size() * 3 > options.send_buffer * 2;
            out_.drop(static_cast<std::size_t>(data_acked - out_begin_));
            out_begin_ = data_acked;
            if (was_full && out_.size() * 3 <= options.send_buffer * 2) host_->changed(*this);
        }
        retries_ = 0;
        round_trip_.acknowledged(upto, host_->parameters(), host_->now());
        if (congestion_.acknowledged(upto, upto - before, mss_)) send_again();
        retransmit_at_ = una_ < next_ ? host_->now() + round_trip_.timeout() : never;
        plan();
    }

    /// What has not been acknowledged first.
    void send_again() {
        round_trip_.forget();
        send_segment(una_);
    }

    // What is sent -------------------------------------------------------------------------------

    std::uint64_t data_end() const noexcept { return out_begin_ + out_.size(); }
    bool fin_is_acknowledged() const noexcept { return fin_queued_ && una_ > data_end(); }

    void end_sending() {
        switch (state_) {
        case tcp_state::syn_received:
        case tcp_state::established:
            state_ = tcp_state::fin_wait_1;
            break;
        case tcp_state::close_wait:
            state_ = tcp_state::last_ack;
            break;
        default:
            return;
        }
        fin_queued_ = true;
        output();
    }

    void output() {
        if (state_ < tcp_state::established || state_ == tcp_state::fin_wait_2) return;
        for (;;) {
            const std::uint64_t end = data_end();
            if (next_ < end) {
                const std::uint64_t limit =
                    una_ + std::min<std::uint64_t>(peer_window_, congestion_.window());
                const std::uint64_t room = limit > next_ ? limit - next_ : 0;
                const std::uint64_t left = end - next_;
                const std::uint64_t n = std::min({left, room, std::uint64_t{mss_}});
                if (n == 0) break;
                // Small segments only at the end (Nagle, as Minshall has it: when no other small
                // one is on its way), or when the peer has never had room for more.
                if (n < mss_ && n < left && una_ < next_ && n * 2 < most_peer_window_) break;
                if (n < mss_ && n == left && una_ < next_ && last_small_ > una_ &&
                    !options.no_delay && !fin_queued_)
                    break;
                send_segment(next_);
            } else if (fin_queued_ && next_ == end) {
                send_segment(next_);
            } else {
                break;
            }
        }
        // Something is on its way, or waits for the peer to have room, which it is asked for.
        if (retransmit_at_ == never && (una_ < next_ || next_ < data_end())) {
            retransmit_at_ = host_->now() + round_trip_.timeout();
            plan();
        }
    }

    /// What begins at `from`, up to a segment, with the FIN if it is the last.
    void send_segment(std::uint64_t from) {
        const std::uint64_t end = data_end();
        const auto n = static_cast<std::size_t>(
            from < end ? std::min({end - from, std::uint64_t{mss_},
                                   std::max<std::uint64_t>(una_ + peer_window_, from + 1) - from})
                       : 0);
        packet& made = make(from);
        if (n) {
            made.payload.resize(n);
            out_.copy(static_cast<std::size_t>(from - out_begin_), made.payload.data(), n);
        }
        made.fin = fin_queued_ && from + n == end;
        made.push = from + n == end;
        const std::uint64_t after = from + n + (made.fin ? 1 : 0);
        if (n < mss_) last_small_ = after;
        if (from >= highest_) round_trip_.sent(from, host_->now());
        next_ = std::max(next_, after);
        highest_ = std::max(highest_, next_);
        host_->send(made);
    }

    packet& make(std::uint64_t sequence) {
        packet& made = host_->make_packet();
        made.protocol = protocol::tcp;
        made.from = local_;
        made.to = remote_;
        made.initial = initial_;
        made.peer_initial = peer_initial_;
        made.sequence = sequence;
        if (state_ != tcp_state::syn_sent) {
            made.ack = true;
            made.acknowledgment = receiver_.received();
            made.window = receiver_.window(options.receive_buffer);
            unacknowledged_ = 0;
            unacknowledged_pushes_ = 0;
            ack_at_ = never;
        }
        return made;
    }

    void send_syn(bool with_ack) {
        packet& made = host_->make_packet();
        made.protocol = protocol::tcp;
        made.from = local_;
        made.to = remote_;
        made.initial = initial_;
        made.syn = true;
        made.mss = own_mss_;
        made.window = static_cast<std::uint32_t>(options.receive_buffer);
        if (with_ack) {
            made.ack = true;
            made.acknowledgment = receiver_.received();
            made.peer_initial = peer_initial_;
        }
        host_->send(made);
    }

    void acknowledge() { host_->send(make(next_)); }

    void send_reset() {
        packet& made = make(next_);
        made.rst = true;
        host_->send(made);
    }

    /// A packet acknowledges what was never sent.
    void refuse(const packet& from) {
        packet& made = host_->make_packet();
        made.protocol = protocol::tcp;
        made.from = local_;
        made.to = remote_;
        made.rst = true;
        made.sequence = from.acknowledgment;
        made.initial = initial_;
        host_->send(made);
    }

    // What arrives of the stream -----------------------------------------------------------------

    void take_data(const packet& from) {
        const std::uint64_t begin = from.sequence;
        const std::uint64_t end = begin + from.payload.size();
        if (from.fin) peer_fin_ = end;
        if (!from.payload.empty() && end > receiver_.received()) {
            if (shut_receive_ &&
                (state_ == tcp_state::fin_wait_1 || state_ == tcp_state::fin_wait_2)) {
                // Nobody will ever read it.
                send_reset();
                return fail(ECONNRESET);
            }
            if (!receiver_.take(from)) return acknowledge();  // something before it is missing
            unacknowledged_ += from.payload.size();
            unacknowledged_pushes_ += from.push;
            host_->changed(*this);
        }
        if (peer_fin_ && receiver_.received() == peer_fin_ &&
            (state_ == tcp_state::established || state_ == tcp_state::fin_wait_1 ||
             state_ == tcp_state::fin_wait_2))
            return take_fin();
        if (from.payload.empty() && !from.fin) return;
        if ((quick_acks_ > 0 && !answers_) || unacknowledged_ >= 2u * mss_ ||
            receiver_.misses_something() || end <= begin || end < receiver_.received() ||
            receiver_.open() < mss_) {
            if (quick_acks_ > 0) --quick_acks_;
            acknowledge();
        } else if (unacknowledged_ && ack_at_ == never) {
            ack_at_ = host_->now() + host_->parameters().delayed_ack;
            plan();
        }
    }

    void take_fin() {
        receiver_.take_fin();
        shut_receive_ = true;
        done_ = true;
        acknowledge();
        switch (state_) {
        case tcp_state::established:
            state_ = tcp_state::close_wait;
            break;
        case tcp_state::fin_wait_1:
            state_ = tcp_state::closing;
            break;
        default:
            enter_time_wait();
            break;
        }
        host_->changed(*this);
    }

    std::ptrdiff_t nothing_to_receive() noexcept {
        if (done_) return 0;
        if (error_) return -take_error();
        if (shut_receive_) return 0;
        return is_over() ? -ENOTCONN : -EAGAIN;
    }

    /// The user has read: a sender that waits for room learns of it, if there is enough.
    void tell_window() {
        if (state_ != tcp_state::established && state_ != tcp_state::fin_wait_1 &&
            state_ != tcp_state::fin_wait_2)
            return;
        const std::uint64_t before = receiver_.open();
        const std::size_t free = receiver_.room(options.receive_buffer);
        if (free >= before + 2u * mss_ || (free >= before + options.receive_buffer / 2) ||
            (before < mss_ &&
             free >= before + std::min<std::size_t>(mss_, options.receive_buffer / 2)))
            acknowledge();
    }

    // Time ---------------------------------------------------------------------------------------

    void plan() {
        const nanoseconds next = std::min({retransmit_at_, ack_at_, wait_at_, keep_alive_at_});
        if (next == never) return;
        if (at == never || next < at) host_->events().plan(*this, next);
    }

    void on_time() {
        const nanoseconds now = host_->now();
        if (ack_at_ <= now) {
            ack_at_ = never;
            if (state_ != tcp_state::closed) acknowledge();
        }
        if (retransmit_at_ <= now) on_retransmit();
        if (keep_alive_at_ <= now) on_keep_alive();
        if (wait_at_ <= now) {
            wait_at_ = never;
            return fail(0);
        }
        plan();
    }

    void on_retransmit() {
        retransmit_at_ = never;
        const tcp_parameters& with = host_->parameters();
        const bool opening = state_ == tcp_state::syn_sent || state_ == tcp_state::syn_received;
        const int most = state_ == tcp_state::syn_sent       ? with.syn_retries
                         : state_ == tcp_state::syn_received ? with.syn_ack_retries
                         : has_user_                         ? with.retries
                                                             : with.orphan_retries;
        if (!opening && una_ == next_ && next_ == data_end()) return;
        if (retries_ >= most) {
            if (state_ != tcp_state::syn_sent && state_ != tcp_state::syn_received) send_reset();
            return fail(ETIMEDOUT);
        }
        ++retries_;
        round_trip_.back_off(with);
        if (opening) {
            send_syn(state_ == tcp_state::syn_received);
        } else if (una_ == next_ || peer_window_ == 0) {
            // The peer had no room: does it have some now? (It answers what it has had already.)
            packet& probe = make(una_ - 1);
            host_->send(probe);
        } else {
            congestion_.timed_out(next_ - una_, mss_);
            next_ = una_;
            output();
        }
        if (retransmit_at_ == never) retransmit_at_ = host_->now() + round_trip_.timeout();
    }

    void arm_keep_alive() {
        if (!options.keep_alive || state_ == tcp_state::closed) return;
        keep_alive_at_ = last_heard_ + host_->parameters().keep_alive_after;
        plan();
    }

    void on_keep_alive() {
        keep_alive_at_ = never;
        if (!options.keep_alive || state_ < tcp_state::established) return;
        const tcp_parameters& with = host_->parameters();
        if (una_ < next_) {  // what is on its way asks as well
            last_heard_ = host_->now();
            return arm_keep_alive();
        }
        if (probes_ >= with.keep_alive_probes) {
            send_reset();
            return fail(ETIMEDOUT);
        }
        ++probes_;
        host_->send(make(una_ - 1));
        keep_alive_at_ = host_->now() + with.keep_alive_interval;
    }

    void arm_fin_wait_2() {
        wait_at_ = host_->now() + host_->parameters().fin_wait_2;
        plan();
    }

    void enter_time_wait() {
        state_ = tcp_state::time_wait;
        retransmit_at_ = ack_at_ = keep_alive_at_ = never;
        wait_at_ = host_->now() + host_->parameters().time_wait;
        plan();
    }

    void input_in_time_wait(const packet& from) {
        if (from.rst) return fail(0);
        if (from.syn || !from.payload.empty() || from.fin) {
            wait_at_ = host_->now() + host_->parameters().time_wait;
            acknowledge();
        }
    }

    // The end ------------------------------------------------------------------------------------

    void reset_by_peer() {
        // One that has not come to its listener yet has nobody to be told.
        if (state_ == tcp_state::syn_received) listed_ = false;
        fail(state_ == tcp_state::close_wait ? EPIPE : ECONNRESET);
    }

    /// It is over, with what its user is told (0: nothing).
    void fail(int error) {
        if (state_ == tcp_state::closed) return;
        if (error) error_ = error;
        state_ = tcp_state::closed;
        shut_receive_ = shut_send_ = true;
        out_.clear();
        receiver_.forget_early();
        fin_queued_ = false;
        retransmit_at_ = ack_at_ = wait_at_ = keep_alive_at_ = never;
        host_->events().take_back(*this);
        host_->changed(*this);
        host_->ended(*this);  // last: it may be destroyed
    }

    tcp_host* host_;
    address local_;
    address remote_;
    tcp_state state_ = tcp_state::closed;
    bool listed_ = false;  // it has come to a listener, and nobody has accepted it
    bool has_user_ = true;
    bool was_established_ = false;
    bool shut_receive_ = false;
    bool shut_send_ = false;
    bool done_ = false;  // the peer's end of the stream has been reached
    bool fin_queued_ = false;
    int error_ = 0;
    std::uint16_t own_mss_ = 0;
    std::uint16_t mss_ = 0;
    std::uint32_t initial_ = 0;
    std::uint32_t peer_initial_ = 0;

    // Sending: [una_, next_) is on its way, `highest_` the most that ever was.
    byte_queue out_;  // from `out_begin_`
    std::uint64_t out_begin_ = 1;
    std::uint64_t una_ = 0;
    std::uint64_t next_ = 0;
    std::uint64_t highest_ = 0;
    std::uint64_t peer_window_ = 0;
    std::uint64_t most_peer_window_ = 0;
    std::uint64_t window_from_ = 0;  // the packet that said it
    std::uint64_t window_ack_ = 0;
    congestion congestion_;
    round_trip round_trip_;
    std::uint64_t last_small_ = 0;  // the end of the last segment that was not full

    tcp_receiver receiver_;
    std::uint64_t peer_fin_ = 0;  // 0: not known
    std::size_t unacknowledged_ = 0;
    int unacknowledged_pushes_ = 0;
    bool answers_ = false;  // what it sends comes after what it has received
    int quick_acks_ = 16;   // Linux tells a sender that begins of each segment

    nanoseconds last_heard_ = 0;
    nanoseconds answered_at_ = -second;  // when a packet without bytes was last out of place
    int retries_ = 0;
    int probes_ = 0;

    nanoseconds retransmit_at_ = never;
    nanoseconds ack_at_ = never;
    nanoseconds wait_at_ = never;  // the end of TIME_WAIT, or of a FIN_WAIT_2 without a user
    nanoseconds keep_alive_at_ = never;
};

}  // namespace curfew::sim
