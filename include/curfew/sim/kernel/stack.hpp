// The sockets of one simulated host, behind the calls that a system has for them. Every call
// returns the error number that Linux would (0: none), never blocks, and leaves time as it is.
//
// It is long because it is a list of calls, one after the other; what they have in common stands in
// open_socket.hpp, ports.hpp, connections.hpp and tcp.hpp.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "../../config.hpp"
#include "../../platform/std_memory.hpp"
#include "../../platform/types.hpp"
#include "addresses.hpp"
#include "connections.hpp"
#include "network.hpp"
#include "open_socket.hpp"
#include "packet.hpp"
#include "ports.hpp"
#include "tcp.hpp"
#include "tcp_parameters.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::sim {

using descriptor = int;

class stack final : public station, public tcp_host {
public:
    explicit stack(network& wire) noexcept : network_(wire) { wire.add(*this); }

    ~stack() { power_off(); }

    stack(const stack&) = delete;
    stack& operator=(const stack&) = delete;

    tcp_parameters tcp;
    std::size_t udp_buffer = 208 << 10;  // bytes of datagrams that wait to be received
    int most_descriptors = 1024;
    /// Called when what `poll` would say may have changed.
    void (*on_change)(void*) = nullptr;
    void* on_change_argument = nullptr;

    void add_address(const address& which) {
        address own = which;
        own.port = 0;
        addresses_.push_back(own);
        network_.add_address(*this, own);
    }
    const std::vector<address>& addresses() const noexcept { return addresses_; }

    /// As if the power went: no packet leaves any more, and none of what it had is left. The
    /// descriptors are still there for whoever is about to close them, without effect.
    void power_off() noexcept {
        powered_ = false;
        connections_.stop(network_.events());
    }
    /// It is there again, with nothing of what it had.
    void power_on() {
        sockets_.clear();
        open_ = 0;
        connections_.clear();
        ports_.clear();
        powered_ = true;
    }
    bool powered() const noexcept { return powered_; }

    // Calls --------------------------------------------------------------------------------------

    int open(platform::family which, platform::transport type, descriptor& made) {
        if (which == platform::family::unspecified) return EAFNOSUPPORT;
        auto fresh = std::make_unique<open_socket>();
        fresh->family = which;
        fresh->type = type;
        fresh->options.send_buffer = tcp.send_buffer;
        fresh->options.receive_buffer = tcp.receive_buffer;
        return enter(std::move(fresh), made);
    }

    /// Something that is readable while its count is not 0: what ends a wait.
    int open_counter(descriptor& made) {
        auto fresh = std::make_unique<open_socket>();
        fresh->is_counter = true;
        return enter(std::move(fresh), made);
    }
    void count(descriptor which, bool up) noexcept {
        open_socket* const counter = find(which);
        if (!counter || !counter->is_counter) return;
        counter->counted = up;
        if (up) changed();
    }

    bool is_open(descriptor which) const noexcept { return find(which) != nullptr; }

    int close(descriptor which) {
        open_socket* const closing = find(which);
        if (!closing) return EBADF;
        const std::unique_ptr<open_socket> own =
            std::move(sockets_[static_cast<std::size_t>(which)]);
        --open_;
        end(*own);
        return 0;
    }

    int bind(descriptor which, const address& to) {
        open_socket* const on = find(which);
        if (!on) return EBADF;
        if (on->is_counter) return ENOTSOCK;
        if (on->link) {
            // One that is over has given its port back, unless the user had chosen it.
            if (!on->link->is_over() || on->locked_port || on->bound_anew) return EINVAL;
            on->bound_anew = true;
            ports_.release(*on);
            on->bound = {};
        }
        if (on->bound.port) return EINVAL;
        address local;
        if (const int error = to_local(*on, to, local)) return error;
        if (!is_unspecified(local) && !is_own(local) &&
            !(on->type == platform::transport::datagram &&
              (network::is_group(local) || network::is_broadcast(local))))
            return EADDRNOTAVAIL;
        if (local.port == 0) {
            local.port = ports_.free_port(
                *on, [](std::uint16_t) { return true; }, false);
            if (local.port == 0) return EADDRINUSE;
        } else if (!ports_.may_bind(*on, local)) {
            return EADDRINUSE;
        }
        on->bound = local;
        on->locked_port = to.port != 0;
        ports_.claim(*on);
        return 0;
    }

    int listen(descriptor which, int backlog) {
        open_socket* const on = find(which);
        if (!on) return EBADF;
        if (on->is_counter) return ENOTSOCK;
        if (on->type != platform::transport::stream) return EOPNOTSUPP;
        if (on->phase != connecting::not_yet) return EINVAL;
        if (!on->bound.port)
            if (const int error = autobind(*on)) return error;
        if (!on->listening)
            for (const port_user& each : ports_.users(*on, on->bound.port))
                if (each.who != on && each.who && each.who->listening &&
                    ports::overlap(*each.who, *on, on->bound) &&
                    !(each.who->reuse_port && on->reuse_port))
                    return EADDRINUSE;
        on->listening = true;
        on->was_listener = false;
        on->backlog = backlog < 0 ? 4096u : static_cast<std::size_t>(std::min(backlog, 4096));
        changed();
        return 0;
    }

    int connect(descriptor which, const address& to) {
        open_socket* const on = find(which);
        if (!on) return EBADF;
        if (on->is_counter) return ENOTSOCK;
        if (on->listening) return EISCONN;
        if (on->was_listener) return EINVAL;
        if (on->phase == connecting::told) return EISCONN;
        if (on->phase == connecting::begun) {
            connection& link = *on->link;
            if (link.state() == tcp_state::syn_sent || link.state() == tcp_state::syn_received)
                return EALREADY;
            if (!link.is_over()) {
                on->phase = connecting::told;
                return 0;
            }
            const int error = link.take_error();
            drop_link(*on);
            return error ? error : ECONNABORTED;
        }
        address remote;
        if (const int error = to_wire(*on, to, remote)) return error;
        if (is_unspecified(remote)) {  // this host
            remote = loopback_of(remote.family, remote.port);
        }
        if (on->type == platform::transport::datagram) {
            if (network::is_broadcast(remote) && !on->broadcast) return EACCES;
            address local;
            if (const int error = source_for(*on, remote, local)) return error;
            if (!on->bound.port)
                if (const int error = autobind(*on)) return error;
            on->peer = remote;
            on->from = local;
            return 0;
        }
        if (network::is_group(remote) || network::is_broadcast(remote)) return ENETUNREACH;
        if (remote.port == 0) return ECONNREFUSED;
        address local;
        if (const int error = source_for(*on, remote, local)) return error;
        if (on->bound.port) {
            local.port = on->bound.port;
            if (connections_.find(local, remote)) return EADDRNOTAVAIL;
        } else {
            local.port = ports_.free_port(
                *on,
                [&](std::uint16_t port) {
                    address with = local;
                    with.port = port;
                    return connections_.find(with, remote) != nullptr;
                },
                true);
            if (local.port == 0) return EADDRNOTAVAIL;
            on->bound = local;
            ports_.claim(*on);
        }
        on->phase = connecting::begun;
        on->link = &connections_.make(*this, local, remote);
        on->link->shut(on->shut_receive, on->shut_send);
        on->link->open(local, remote, on->options, mss_to(remote), next_initial());
        return EINPROGRESS;
    }

    int accept(descriptor which, descriptor& made, address* peer) {
        open_socket* const on = find(which);
        if (!on) return EBADF;
        if (on->is_counter) return ENOTSOCK;
        if (on->type != platform::transport::stream) return EOPNOTSUPP;
        if (!on->listening) return EINVAL;
        if (on->queue.empty()) return EAGAIN;
        auto fresh = std::make_unique<open_socket>();
        fresh->family = on->family;
        fresh->type = on->type;
        fresh->reuse_address = on->reuse_address;
        fresh->reuse_port = on->reuse_port;
        fresh->v6_only = on->v6_only;
        connection& link = *on->queue.front();
        fresh->link = &link;
        fresh->options = link.options;
        fresh->bound = link.local();
        fresh->accepted = true;
        fresh->phase = connecting::told;
        if (const int error = enter(std::move(fresh), made)) return error;
        on->queue.erase(on->queue.begin());
        link.accept();
        if (peer) *peer = to_user(*on, link.remote());
        return 0;
    }

    std::ptrdiff_t send(descriptor which, const std::byte* data, std::size_t size) {
        open_socket* const on = find(which);
        if (!on) return -EBADF;
        if (on->is_counter) return -ENOTSOCK;
        if (on->type == platform::transport::datagram)
            return send_datagram(*on, data, size, nullptr);
        if (!on->link) return -EPIPE;
        return on->link->send(data, size);
    }

    std::ptrdiff_t receive(descriptor which, std::byte* data, std::size_t size, bool peek = false) {
        open_socket* const on = find(which);
        if (!on) return -EBADF;
        if (on->is_counter) return -ENOTSOCK;
        if (on->type == platform::transport::datagram) {
            bool cut = false;
            return receive_datagram(*on, data, size, nullptr, cut, peek);
        }
        if (!on->link) return on->shut_receive && !on->listening ? 0 : -ENOTCONN;
        return on->link->receive(data, size, peek);
    }

    std::ptrdiff_t send_to(descriptor which, const std::byte* data, std::size_t size,
                           const address* to) {
        open_socket* const on = find(which);
        if (!on) return -EBADF;
        if (on->is_counter) return -ENOTSOCK;
        if (on->type == platform::transport::stream) return send(which, data, size);
        return send_datagram(*on, data, size, to);
    }

    /// Sets `cut` if the datagram was longer than `size`.
    std::ptrdiff_t receive_from(descriptor which, std::byte* data, std::size_t size, address* from,
                                bool& cut) {
        cut = false;
        open_socket* const on = find(which);
        if (!on) return -EBADF;
        if (on->is_counter) return -ENOTSOCK;
        if (on->type == platform::transport::stream) return receive(which, data, size);
        return receive_datagram(*on, data, size, from, cut, false);
    }

    int shutdown(descriptor which, platform::shutdown_side side) {
        open_socket* const on = find(which);
        if (!on) return EBADF;
        if (on->is_counter) return ENOTSOCK;
        const bool receiving = side != platform::shutdown_side::send;
        const bool sending = side != platform::shutdown_side::receive;
        if (on->type == platform::transport::datagram) {
            on->shut_receive |= receiving;
            on->shut_send |= sending;
            changed();
            return on->peer.port ? 0 : ENOTCONN;
        }
        if (on->listening) {
            if (!receiving) return 0;
            stop_listening(*on);
            on->was_listener = true;
            on->shut_receive = on->shut_send = false;
            if (on->locked_port) return 0;
            ports_.release(*on);
            on->bound = {};
            return 0;
        }
        if (!on->link) {
            on->shut_receive |= receiving;
            on->shut_send |= sending;
            return ENOTCONN;
        }
        if (on->link->state() > tcp_state::syn_received || on->link->is_over())
            on->phase = connecting::told;
        else if (on->link->state() == tcp_state::syn_sent)
            on->phase = connecting::not_yet;
        return on->link->shutdown(receiving, sending);
    }

    /// SO_ERROR.
    int take_error(descriptor which) {
        open_socket* const on = find(which);
        if (!on) return EBADF;
        if (on->link) return on->link->take_error();
        return std::exchange(on->error, 0);
    }

    /// SO_LINGER {1, 0}.
    void reset_on_close(descriptor which) {
        open_socket* const on = find(which);
        if (!on) return;
        tcp_options& options = on->link ? on->link->options : on->options;
        options.lingers = true;
        options.linger_seconds = 0;
    }

    unsigned poll(descriptor which) const noexcept {
        const open_socket* const on = find(which);
        if (!on) return 0;
        if (on->is_counter) return on->counted ? poll_bit_in : 0;
        if (on->type == platform::transport::datagram) {
            unsigned found = poll_bit_out;
            if (!on->datagrams.empty() || on->shut_receive) found |= poll_bit_in;
            if (on->shut_receive) found |= poll_bit_peer_hang_up;
            if (on->shut_receive && on->shut_send) found |= poll_bit_hang_up;
            if (on->error) found |= poll_bit_error;
            return found;
        }
        if (on->listening) return on->queue.empty() ? 0 : poll_bit_in;
        if (!on->link) {
            unsigned found = poll_bit_out | poll_bit_hang_up;
            if (on->shut_receive) found |= poll_bit_in | poll_bit_peer_hang_up;
            if (on->error) found |= poll_bit_error;
            return found;
        }
        return on->link->poll();
    }

    int set_option(descriptor which, platform::option name, int value) {
        open_socket* const on = find(which);
        if (!on) return EBADF;
        if (on->is_counter) return ENOTSOCK;
        tcp_options& options = on->link ? on->link->options : on->options;
        const auto size = static_cast<std::size_t>(std::max(value, 1));
        switch (name) {
        case platform::option::no_delay:
            if (on->type != platform::transport::stream) return EOPNOTSUPP;
            options.no_delay = value != 0;
            return 0;
        case platform::option::keep_alive:
            options.keep_alive = value != 0;
            if (on->link) on->link->keep_alive_changed();
            return 0;
        case platform::option::reuse_address:
            on->reuse_address = value != 0;
            return 0;
        case platform::option::reuse_port:
            on->reuse_port = value != 0;
            return 0;
        case platform::option::broadcast:
            on->broadcast = value != 0;
            return 0;
        case platform::option::v6_only:
            if (on->family != platform::family::v6) return ENOPROTOOPT;
            if (on->bound.port) return EINVAL;
            on->v6_only = value != 0;
            return 0;
        case platform::option::receive_buffer_size:  // Linux doubles both
            options.receive_buffer = std::max<std::size_t>(2 * size, 2304);
            return 0;
        case platform::option::send_buffer_size:
            options.send_buffer = std::max<std::size_t>(2 * size, 4608);
            return 0;
        case platform::option::hops:
        case platform::option::traffic_class:
        case platform::option::dont_fragment:
        case platform::option::multicast_loop:
        case platform::option::multicast_hops:
        case platform::option::multicast_interface:
            break;  // nothing here depends on them
        }
        return platform::unsupported;
    }

    int get_option(descriptor which, platform::option name, int& value) const {
        const open_socket* const on = find(which);
        if (!on) return EBADF;
        if (on->is_counter) return ENOTSOCK;
        const tcp_options& options = on->link ? on->link->options : on->options;
        switch (name) {
        case platform::option::no_delay:
            if (on->type != platform::transport::stream) return EOPNOTSUPP;
            return value = options.no_delay, 0;
        case platform::option::keep_alive:
            return value = options.keep_alive, 0;
        case platform::option::reuse_address:
            return value = on->reuse_address, 0;
        case platform::option::reuse_port:
            return value = on->reuse_port, 0;
        case platform::option::broadcast:
            return value = on->broadcast, 0;
        case platform::option::v6_only:
            if (on->family != platform::family::v6) return ENOPROTOOPT;
            return value = on->v6_only, 0;
        case platform::option::receive_buffer_size:
            return value = static_cast<int>(options.receive_buffer), 0;
        case platform::option::send_buffer_size:
            return value = static_cast<int>(options.send_buffer), 0;
        case platform::option::hops:
        case platform::option::traffic_class:
        case platform::option::dont_fragment:
        case platform::option::multicast_loop:
        case platform::option::multicast_hops:
        case platform::option::multicast_interface:
            break;  // nothing here depends on them
        }
        return platform::unsupported;
    }

    /// SO_TYPE.
    int type(descriptor which, platform::transport& type) const noexcept {
        const open_socket* const on = find(which);
        if (!on) return EBADF;
        if (on->is_counter) return ENOTSOCK;
        type = on->type;
        return 0;
    }

    address local_address(descriptor which) const noexcept {
        const open_socket* const on = find(which);
        if (!on || on->is_counter) return {};
        if (on->link) return to_user(*on, on->link->local());
        address local = on->bound;
        if (on->peer.port) {
            local = on->from;
            local.port = on->bound.port;
        }
        if (local.family == platform::family::unspecified) local.family = on->family;
        return to_user(*on, local);
    }

    /// The unspecified one where there is none (any more).
    address remote_address(descriptor which, bool also_if_gone) const noexcept {
        const open_socket* const on = find(which);
        if (!on || on->is_counter) return {};
        if (on->type == platform::transport::datagram)
            return on->peer.port ? to_user(*on, on->peer) : address{};
        if (!on->link) return {};
        const tcp_state state = on->link->state();
        const bool there = state != tcp_state::closed && state != tcp_state::syn_sent;
        if (!there && !(also_if_gone && on->link->was_established())) return {};
        return to_user(*on, on->link->remote());
    }

    // Groups of datagram sockets.
    int join(descriptor which, const address& group, bool in) {
        open_socket* const on = find(which);
        if (!on) return EBADF;
        if (on->is_counter) return ENOTSOCK;
        if (!network::is_group(group)) return EINVAL;
        const auto found = std::find(on->groups.begin(), on->groups.end(), group);
        if (in == (found != on->groups.end())) return in ? EADDRINUSE : EADDRNOTAVAIL;
        if (in) {
            on->groups.push_back(group);
            network_.join(*this, group);
        } else {
            on->groups.erase(found);
            network_.leave(*this, group);
        }
        return 0;
    }

    // The network's side -------------------------------------------------------------------------

    void input(packet& arrived) override {
        if (powered_) {
            switch (arrived.protocol) {
            case protocol::tcp:
                input_tcp(arrived);
                break;
            case protocol::udp:
                if (input_udp(arrived)) return;  // it is kept
                break;
            case protocol::icmp:
                input_icmp(arrived);
                break;
            }
        }
        network_.pool().give_back(arrived);
    }

    // What its connections need ------------------------------------------------------------------

    const tcp_parameters& parameters() const noexcept override { return tcp; }
    nanoseconds now() const noexcept override { return network_.now(); }
    event_queue& events() noexcept override { return network_.events(); }
    packet& make_packet() override { return network_.pool().take(); }
    void send(packet& what) override {
        if (!powered_)
            network_.pool().give_back(what);
        else if (is_loopback(what.to))
            network_.loop_back(*this, what);
        else
            network_.send(*this, what);
    }
    void changed(connection&) override { changed(); }

    arrival arrived(connection& which) override {
        open_socket* const on = ports_.listener_for(which.local());
        if (!on) return arrival::refused;
        if (on->queue.size() > on->backlog) return arrival::full;
        on->queue.push_back(&which);
        changed();
        return arrival::taken;
    }

    void ended(connection& which) override {
        connections_.forget(which);
        ports_.release(which);
        if (!which.has_user() && !which.is_listed()) connections_.release(which);
    }

private:
    open_socket* find(descriptor which) const noexcept {
        const auto at = static_cast<std::size_t>(which - first_descriptor);
        return which >= first_descriptor && at + first_descriptor < sockets_.size()
                   ? sockets_[at + first_descriptor].get()
                   : nullptr;
    }

    int enter(std::unique_ptr<open_socket> fresh, descriptor& made) {
        if (open_ + first_descriptor >= most_descriptors) return EMFILE;
        std::size_t at = first_descriptor;
        while (at < sockets_.size() && sockets_[at]) ++at;
        if (at >= sockets_.size()) sockets_.resize(at + 1);
        sockets_[at] = std::move(fresh);
        ++open_;
        made = static_cast<descriptor>(at);
        return 0;
    }

    void changed() noexcept {
        if (on_change) on_change(on_change_argument);
    }

    // Addresses ----------------------------------------------------------------------------------

    bool is_own(const address& which) const noexcept {
        if (is_loopback(which)) return true;
        return std::any_of(addresses_.begin(), addresses_.end(),
                           [&](const address& each) { return same_host(each, which); });
    }

    /// The address from which this host reaches `to`.
    int source_for(const open_socket& on, const address& to, address& source) const noexcept {
        if (on.bound.port && !is_unspecified(on.bound)) {
            if (on.bound.family != to.family) return EAFNOSUPPORT;
            source = on.bound;
            return 0;
        }
        if (is_loopback(to)) {
            source = to;
            source.port = 0;
            return 0;
        }
        if (is_own(to)) {
            source = to;
            source.port = 0;
            source.scope = 0;
            return 0;
        }
        for (const address& each : addresses_)
            if (each.family == to.family) {
                source = each;
                return 0;
            }
        return ENETUNREACH;
    }

    std::uint16_t mss_to(const address& to) {
        station* const there = is_loopback(to) ? this : network_.owner(to);
        const std::uint32_t mtu =
            there ? network_.options(*this, *there).mtu : network_.default_link().mtu;
        const std::uint32_t headers = to.family == platform::family::v6 ? 60 : 40;
        return static_cast<std::uint16_t>(
            std::min<std::uint32_t>(mtu > headers + 88 ? mtu - headers : 88, 65483));
    }

    std::uint32_t next_initial() noexcept {
        return static_cast<std::uint32_t>(random_numbers(++initials_ << 20 ^ index()).next());
    }

    // Ports --------------------------------------------------------------------------------------

    int autobind(open_socket& on) {
        address local;
        local.family = on.family;
        local.port = ports_.free_port(
            on, [](std::uint16_t) { return true; }, false);
        if (local.port == 0) return on.type == platform::transport::datagram ? EAGAIN : EADDRINUSE;
        on.bound = local;
        ports_.claim(on);
        return 0;
    }

    // Connections --------------------------------------------------------------------------------

    /// Its user has no use for it any more.
    void leave(connection& over) {
        if (over.state() == tcp_state::closed)
            connections_.release(over);
        else
            over.close();
    }

    /// The socket of a connect that failed is as it was before.
    void drop_link(open_socket& on) {
        leave(*std::exchange(on.link, nullptr));
        on.phase = connecting::not_yet;
        on.accepted = on.bound_anew = on.shut_receive = on.shut_send = false;
        if (on.locked_port) return;
        ports_.release(on);
        on.bound = {};
    }

    void stop_listening(open_socket& on) {
        on.listening = false;
        for (connection* each : std::exchange(on.queue, {})) {
            const bool over = each->state() == tcp_state::closed;
            each->leave_listener();
            if (over)
                connections_.release(*each);
            else
                each->abort();
        }
        changed();
    }

    void end(open_socket& on) {
        for (const address& each : on.groups) network_.leave(*this, each);
        for (std::size_t i = on.first_datagram; i < on.datagrams.size(); ++i)
            network_.pool().give_back(*on.datagrams[i]);
        if (on.listening) stop_listening(on);
        ports_.release(on);
        connection* const link = std::exchange(on.link, nullptr);
        if (!link) return;
        if (link->is_over()) return leave(*link);
        // The port is in use for as long as the connection is.
        if (!on.accepted) ports_.claim(*link, on.reuse_address);
        link->close();
    }

    void input_tcp(packet& from) {
        if (connection* const link = connections_.find(from.to, from.from)) {
            const bool again = link->state() == tcp_state::time_wait && from.syn && !from.ack;
            if (!again) return link->input(from);
            link->vanish();  // a new connection may begin where one lingers (RFC 6191)
        }
        if (from.rst) return;
        open_socket* const on = ports_.listener_for(from.to);
        if (on && from.syn && !from.ack) {
            if (on->queue.size() > on->backlog) return;  // it will ask again
            connection& link = connections_.make(*this, from.to, from.from);
            link.answer(from, on->options, mss_to(from.from), next_initial());
            ports_.claim(link, on->reuse_address);
            return;
        }
        // Nobody is there.
        packet& answer = make_packet();
        answer.protocol = protocol::tcp;
        answer.from = from.to;
        answer.to = from.from;
        answer.rst = true;
        answer.peer_initial = from.initial;
        if (from.ack) {
            answer.sequence = from.acknowledgment;
            answer.initial = from.peer_initial;
        } else {
            answer.ack = true;
            answer.acknowledgment =
                from.sequence + from.payload.size() + (from.syn ? 1 : 0) + (from.fin ? 1 : 0);
        }
        send(answer);
    }

    // Datagrams ----------------------------------------------------------------------------------

    std::ptrdiff_t send_datagram(open_socket& on, const std::byte* data, std::size_t size,
                                 const address* given) {
        if (!on.bound.port)
            if (const int error = autobind(on)) return -error;
        address to = on.peer;
        if (given) {
            if (const int error = to_wire(on, *given, to)) return -error;
            if (to.port == 0) return -EINVAL;
            if (is_unspecified(to)) to = loopback_of(to.family, to.port);
        } else if (!on.peer.port) {
            return -EDESTADDRREQ;
        }
        const std::size_t most = to.family == platform::family::v6 ? 65527 : 65507;
        if (size > most) return -EMSGSIZE;
        if (network::is_broadcast(to) && !on.broadcast) return -EACCES;
        address from;
        if (given || !on.peer.port) {
            if (const int error = source_for(on, to, from)) return -error;
        } else {
            from = on.from;
        }
        if (on.error) return -std::exchange(on.error, 0);
        if (on.shut_send) return -EPIPE;
        from.port = on.bound.port;
        packet& made = make_packet();
        made.protocol = protocol::udp;
        made.from = from;
        made.to = to;
        made.payload.assign(data, data + size);
        send(made);
        return static_cast<std::ptrdiff_t>(size);
    }

    std::ptrdiff_t receive_datagram(open_socket& on, std::byte* data, std::size_t size,
                                    address* from, bool& cut, bool peek) {
        if (on.error) return -std::exchange(on.error, 0);
        if (on.first_datagram == on.datagrams.size()) return -EAGAIN;  // even after a shutdown
        packet& got = *on.datagrams[on.first_datagram];
        const std::size_t n = std::min(size, got.payload.size());
        if (n) std::memcpy(data, got.payload.data(), n);
        cut = got.payload.size() > n;
        if (from) *from = to_user(on, got.from);
        if (peek) return static_cast<std::ptrdiff_t>(n);
        on.datagram_bytes -= got.payload.size() + datagram_overhead;
        if (++on.first_datagram == on.datagrams.size()) {
            on.datagrams.clear();
            on.first_datagram = 0;
        }
        network_.pool().give_back(got);
        return static_cast<std::ptrdiff_t>(n);
    }

    /// True: it is kept.
    bool input_udp(packet& arrived) {
        const bool to_many = network::is_group(arrived.to) || network::is_broadcast(arrived.to);
        open_socket* best = nullptr;
        int best_score = -1;
        for (const port_user& each : ports_.datagrams(arrived.to.port)) {
            open_socket& on = *each.who;
            int score = 0;
            if (on.peer.port) {
                if (!(same_host(on.peer, arrived.from) && on.peer.port == arrived.from.port))
                    continue;
                score += 4;
            }
            if (on.bound.family != arrived.to.family) {
                if (!is_unspecified(on.bound) || on.bound.family != platform::family::v6 ||
                    on.v6_only)
                    continue;
            } else {
                ++score;
                if (!is_unspecified(on.bound)) {
                    if (!same_host(on.bound, arrived.to)) continue;
                    score += 2;
                }
            }
            if (to_many) {
                if (network::is_group(arrived.to) &&
                    std::none_of(on.groups.begin(), on.groups.end(), [&](const address& group) {
                        return same_host(group, arrived.to);
                    }))
                    continue;
                keep(on, network_.pool().copy(arrived));
                continue;
            }
            if (score > best_score) {
                best_score = score;
                best = &on;
            }
        }
        if (to_many) return false;
        if (best) {
            keep(*best, arrived);
            return true;
        }
        packet& answer = make_packet();
        answer.protocol = protocol::icmp;
        answer.from = arrived.to;
        answer.to = arrived.from;
        answer.why = unreachable::port;
        answer.original_protocol = protocol::udp;
        answer.original_from = arrived.from;
        answer.original_to = arrived.to;
        send(answer);
        return false;
    }

    void keep(open_socket& on, packet& arrived) {
        if (on.datagram_bytes + arrived.payload.size() > udp_buffer)
            return network_.pool().give_back(arrived);
        on.datagram_bytes += arrived.payload.size() + datagram_overhead;
        on.datagrams.push_back(&arrived);
        changed();
    }

    void input_icmp(const packet& from) {
        if (from.original_protocol == protocol::tcp) {
            if (connection* const link = connections_.find(from.original_from, from.original_to))
                link->input(from, from.why);
            return;
        }
        for (const port_user& each : ports_.datagrams(from.original_from.port)) {
            open_socket& on = *each.who;
            // (Linux tells only those that are connected.)
            if (!on.peer.port || !same_host(on.peer, from.original_to) ||
                on.peer.port != from.original_to.port)
                continue;
            if (from.why == unreachable::port)
                on.error = ECONNREFUSED;
            else if (from.why == unreachable::too_big)
                on.error = EMSGSIZE;
            else
                continue;
            changed();
        }
    }

    static constexpr int first_descriptor = 3;
    static constexpr std::size_t datagram_overhead = 64;

    network& network_;
    std::vector<address> addresses_;
    std::vector<std::unique_ptr<open_socket>> sockets_;  // by descriptor
    int open_ = 0;
    bool powered_ = true;
    std::uint64_t initials_ = 0;
    connections connections_;
    ports ports_;
};

}  // namespace curfew::sim
