// The console's network library, on Linux.
#include "console.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

namespace {

using namespace console;

constexpr struct {
    std::string_view name;
    quirk which;
} names[] = {
    {"failing_waits", failing_waits},
    {"garbage_sets", garbage_sets},
    {"untouched_revents", untouched_revents},
    {"no_pollerr", no_pollerr},
    {"empty_waits_fail", empty_waits_fail},
    {"bad_descriptors_fail_all", bad_descriptors_fail_all},
    {"spurious_interrupts", spurious_interrupts},
    {"unexplained_failures", unexplained_failures},
};

unsigned quirks_of_environment() {
    const char* const asked = std::getenv("CONSOLE_QUIRKS");
    if (!asked) return all_quirks;
    unsigned which = 0;
    for (std::string_view rest = asked; !rest.empty() && rest != "none";) {
        const auto name = rest.substr(0, rest.find(','));
        const unsigned before = which;
        for (const auto& each : names)
            if (each.name == name) which |= each.which;
        if (which == before) std::abort();  // a misspelt one would prove nothing
        rest.remove_prefix(name.size() < rest.size() ? name.size() + 1 : rest.size());
    }
    return which;
}

std::atomic<unsigned>& active() {
    static std::atomic<unsigned> which{quirks_of_environment()};
    return which;
}

bool has(quirk which) { return (active().load(std::memory_order_relaxed) & which) != 0; }

// Errors ------------------------------------------------------------------------------------------

constexpr struct {
    int system;
    int own;
} numbers[] = {
    {EPERM, error::perm},
    {EINTR, error::intr},
    {EBADF, error::badf},
    {ENOMEM, error::nomem},
    {EACCES, error::acces},
    {EFAULT, error::fault},
    {EMFILE, error::mfile},
    {EPIPE, error::pipe},
    {EAGAIN, error::again},
    {EINPROGRESS, error::inprogress},
    {EALREADY, error::already},
    {ENOTSOCK, error::notsock},
    {EDESTADDRREQ, error::destaddrreq},
    {EMSGSIZE, error::msgsize},
    {EPROTOTYPE, error::prototype},
    {ENOPROTOOPT, error::noprotoopt},
    {EPROTONOSUPPORT, error::protonosupport},
    {EOPNOTSUPP, error::opnotsupp},
    {EAFNOSUPPORT, error::afnosupport},
    {EADDRINUSE, error::addrinuse},
    {EADDRNOTAVAIL, error::addrnotavail},
    {ENETDOWN, error::netdown},
    {ENETUNREACH, error::netunreach},
    {ENETRESET, error::netreset},
    {ECONNABORTED, error::connaborted},
    {ECONNRESET, error::connreset},
    {ENOBUFS, error::nobufs},
    {EISCONN, error::isconn},
    {ENOTCONN, error::notconn},
    {ETIMEDOUT, error::timedout},
    {ECONNREFUSED, error::connrefused},
    {EHOSTDOWN, error::hostdown},
    {EHOSTUNREACH, error::hostunreach},
};

int from_system(int number) {
    for (const auto& each : numbers)
        if (each.system == number) return each.own;
    return error::inval;
}

int fail(int own) {
    last_error() = own;
    return -1;
}

template <class Number>
Number checked(Number n) {
    return n < 0 ? fail(from_system(errno)) : n;
}

// Pending errors ----------------------------------------------------------------------------------
//
// A wait that fails with a socket's pending error leaves it pending. Linux tells the error only to
// who takes it away, so what was taken is kept here, for the next call that reports it.

std::atomic<int> pending[65536];

std::atomic<int>& pending_of(int socket) {
    return pending[static_cast<unsigned>(native(socket)) % std::size(pending)];
}

std::atomic<int> sticking[std::size(pending)];

std::atomic<int>& sticking_to(int socket) {
    return sticking[static_cast<unsigned>(native(socket)) % std::size(sticking)];
}

int take_pending(int socket) { return pending_of(socket).exchange(0); }

/// The pending error of a socket that a poll has marked with one.
int peek_pending(int socket) {
    if (const int known = pending_of(socket)) return known;
    int found = 0;
    socklen_t size = sizeof found;
    if (::getsockopt(native(socket), SOL_SOCKET, SO_ERROR, &found, &size) < 0 || !found) return 0;
    pending_of(socket) = from_system(found);
    return pending_of(socket);
}

bool is_datagram(int socket) {
    int type = 0;
    socklen_t size = sizeof type;
    return ::getsockopt(native(socket), SOL_SOCKET, SO_TYPE, &type, &size) == 0 &&
           type == SOCK_DGRAM;
}

/// What a call to receive returns that the system has answered with `n`: a stream gives its bytes
/// first.
template <class Receive>
std::ptrdiff_t receiving(int socket, Receive receive) {
    if (pending_of(socket) && is_datagram(socket)) return fail(take_pending(socket));
    const auto n = receive();
    if (n > 0 || !pending_of(socket)) return checked(n);
    return fail(take_pending(socket));
}

std::atomic<int> send_failures_left{0};
std::atomic<int> send_failure{0};

template <class Send>
std::ptrdiff_t sending(int socket, Send send) {
    if (send_failures_left > 0) {
        --send_failures_left;
        return fail(send_failure);
    }
    if (const int error = take_pending(socket)) return fail(error);
    return checked(send());
}

// Addresses and options ---------------------------------------------------------------------------

sockaddr_in to_system(const address& from) {
    sockaddr_in to{};
    to.sin_family = from.family == af_inet ? AF_INET : AF_UNSPEC;
    std::memcpy(&to.sin_port, from.port, sizeof from.port);
    std::memcpy(&to.sin_addr, from.host, sizeof from.host);
    return to;
}

void to_own(const sockaddr_in& from, address& to) {
    to = {};
    std::memcpy(to.port, &from.sin_port, sizeof to.port);
    std::memcpy(to.host, &from.sin_addr, sizeof to.host);
}

const sockaddr* generic(const sockaddr_in& in) { return reinterpret_cast<const sockaddr*>(&in); }
sockaddr* generic(sockaddr_in& in) { return reinterpret_cast<sockaddr*>(&in); }

constexpr struct {
    int level, name, system_level, system_name;
} options[] = {
    {sol_socket, so_reuseaddr, SOL_SOCKET, SO_REUSEADDR},
    {sol_socket, so_keepalive, SOL_SOCKET, SO_KEEPALIVE},
    {sol_socket, so_broadcast, SOL_SOCKET, SO_BROADCAST},
    {sol_socket, so_linger, SOL_SOCKET, SO_LINGER},
    {sol_socket, so_sndbuf, SOL_SOCKET, SO_SNDBUF},
    {sol_socket, so_rcvbuf, SOL_SOCKET, SO_RCVBUF},
    {sol_socket, so_error, SOL_SOCKET, SO_ERROR},
    {sol_socket, so_type, SOL_SOCKET, SO_TYPE},
    {ipproto_tcp, tcp_nodelay, IPPROTO_TCP, TCP_NODELAY},
};

// Waiting -----------------------------------------------------------------------------------------

std::atomic<std::size_t> wait_count{0};
std::atomic<int> failures_left{0};
std::atomic<int> failure{0};

std::atomic<std::size_t> lone_wait_count{0};
std::atomic<int> longest_lone{0};

/// -1 if this wait goes wrong by itself.
int begin_wait(std::size_t sockets, int milliseconds) {
    if (sockets == 1) {
        ++lone_wait_count;
        if (milliseconds > longest_lone) longest_lone = milliseconds;
    }
    const auto number = ++wait_count;
    if (failures_left) {
        if (failures_left > 0) --failures_left;
        return fail(failure);
    }
    if (has(spurious_interrupts) && number % 7 == 3) return fail(error::intr);
    if (has(unexplained_failures) && number % 11 == 5) return -1;
    return 0;
}

/// The error of one of these that a wait fails with; 0: there is none.
int failure_of(const std::vector<pollfd>& marked) {
    for (const pollfd& each : marked)
        if (each.fd >= 0 && sticking_to(from_native(each.fd)))
            return sticking_to(from_native(each.fd));
    if (!has(failing_waits)) return 0;
    for (const pollfd& each : marked) {
        if (each.fd < 0) continue;
        if (const int known = pending_of(from_native(each.fd))) return known;
        if (!(each.revents & POLLERR)) continue;
        if (const int error = peek_pending(from_native(each.fd))) return error;
    }
    return 0;
}

/// One that has an error pending that only this library knows of is ready too.
bool any_pending(const std::vector<pollfd>& watched) {
    for (const pollfd& each : watched)
        if (each.fd >= 0 && (pending_of(from_native(each.fd)) || sticking_to(from_native(each.fd))))
            return true;
    return false;
}

int poll_system(std::vector<pollfd>& entries, int milliseconds) {
    if (any_pending(entries)) milliseconds = 0;
    const int n = ::poll(entries.data(), entries.size(), milliseconds);
    if (n < 0) return fail(from_system(errno));
    for (pollfd& each : entries)
        if (each.fd >= 0 && pending_of(from_native(each.fd)))
            each.revents =
                static_cast<short>(each.revents | POLLERR | (each.events & (POLLIN | POLLOUT)));
    return 0;
}

}  // namespace

namespace console {

unsigned quirks() noexcept { return active(); }
void set_quirks(unsigned which) noexcept { active() = which; }
std::size_t waits() noexcept { return wait_count; }
std::size_t lone_waits() noexcept { return lone_wait_count; }
int longest_lone_wait() noexcept { return longest_lone.exchange(0); }

void fail_sends(int error, int times) noexcept {
    send_failure = error;
    send_failures_left = times;
}

void fail_waits(int error, int times) noexcept {
    failure = error;
    failures_left = times;
}

void stick_error(int socket, int error) noexcept { sticking_to(socket) = error; }

int& last_error() noexcept {
    thread_local int last = 0;
    return last;
}

int socket(int family, int type, int protocol) noexcept {
    if (family != af_inet) return fail(error::afnosupport);
    const int fd = ::socket(AF_INET, type | SOCK_CLOEXEC, protocol);
    if (fd >= 0) pending_of(from_native(fd)) = 0;
    return checked(from_native(fd));
}

int socketclose(int socket) noexcept {
    pending_of(socket) = 0;
    sticking_to(socket) = 0;
    return checked(::close(native(socket)));
}

int bind(int socket, const address* to) noexcept {
    const auto system = to_system(*to);
    return checked(::bind(native(socket), generic(system), sizeof system));
}

int listen(int socket, int backlog) noexcept { return checked(::listen(native(socket), backlog)); }

int accept(int socket, address* peer) noexcept {
    sockaddr_in system{};
    socklen_t size = sizeof system;
    const int fd = ::accept4(native(socket), generic(system), &size, SOCK_CLOEXEC);
    if (fd >= 0) {
        pending_of(from_native(fd)) = 0;
        if (peer) to_own(system, *peer);
    }
    return checked(from_native(fd));
}

int connect(int socket, const address* to) noexcept {
    const auto system = to_system(*to);
    return checked(::connect(native(socket), generic(system), sizeof system));
}

int shutdown(int socket, int how) noexcept {
    static_assert(shut_rd == SHUT_RD && shut_wr == SHUT_WR && shut_rdwr == SHUT_RDWR);
    return checked(::shutdown(native(socket), how));
}

int getsockname(int socket, address* name) noexcept {
    sockaddr_in system{};
    socklen_t size = sizeof system;
    const int error = ::getsockname(native(socket), generic(system), &size);
    if (error == 0) to_own(system, *name);
    return checked(error);
}

int getpeername(int socket, address* name) noexcept {
    sockaddr_in system{};
    socklen_t size = sizeof system;
    const int error = ::getpeername(native(socket), generic(system), &size);
    if (error == 0) to_own(system, *name);
    return checked(error);
}

int setsockopt(int socket, int level, int name, const void* value, std::size_t size) noexcept {
    if (level == sol_socket && name == so_nbio) {
        const int flags = ::fcntl(native(socket), F_GETFL);
        const int on = *static_cast<const int*>(value);
        return checked(
            ::fcntl(native(socket), F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK));
    }
    static_assert(sizeof(linger) == sizeof(::linger));
    for (const auto& each : options)
        if (each.level == level && each.name == name)
            return checked(::setsockopt(native(socket), each.system_level, each.system_name, value,
                                        static_cast<socklen_t>(size)));
    return fail(error::noprotoopt);
}

int getsockopt(int socket, int level, int name, void* value, std::size_t* size) noexcept {
    for (const auto& each : options) {
        if (each.level != level || each.name != name) continue;
        auto system_size = static_cast<socklen_t>(*size);
        if (::getsockopt(native(socket), each.system_level, each.system_name, value, &system_size) <
            0)
            return fail(from_system(errno));
        *size = system_size;
        if (each.system_level == SOL_SOCKET && each.system_name == SO_ERROR) {
            int& error = *static_cast<int*>(value);
            error = error ? from_system(error) : take_pending(socket);
        }
        return 0;
    }
    return fail(error::noprotoopt);
}

std::ptrdiff_t recv(int socket, void* data, std::size_t size, int flags) noexcept {
    return receiving(socket, [&] { return ::recv(native(socket), data, size, flags); });
}

std::ptrdiff_t send(int socket, const void* data, std::size_t size, int flags) noexcept {
    return sending(socket, [&] {
        return ::send(native(socket), data, size, flags | MSG_NOSIGNAL);  // it has no signals
    });
}

std::ptrdiff_t recvmsg(int socket, message* into, int flags) noexcept {
    static_assert(sizeof(io_vector) == sizeof(iovec));
    if (into->vector_count == 0) return fail(error::msgsize);
    sockaddr_in name{};
    msghdr system{};
    system.msg_name = into->name ? &name : nullptr;
    system.msg_namelen = into->name ? sizeof name : 0;
    system.msg_iov = reinterpret_cast<iovec*>(into->vectors);
    system.msg_iovlen = into->vector_count;
    const auto n = receiving(socket, [&] { return ::recvmsg(native(socket), &system, flags); });
    into->flags = system.msg_flags & MSG_TRUNC ? msg_trunc : 0;
    if (n >= 0 && into->name) to_own(name, *into->name);
    return n;
}

std::ptrdiff_t sendmsg(int socket, const message* from, int flags) noexcept {
    if (from->vector_count == 0) return fail(error::msgsize);
    sockaddr_in name{};
    msghdr system{};
    if (from->name) {
        name = to_system(*from->name);
        system.msg_name = &name;
        system.msg_namelen = sizeof name;
    }
    system.msg_iov = reinterpret_cast<iovec*>(from->vectors);
    system.msg_iovlen = from->vector_count;
    return sending(socket,
                   [&] { return ::sendmsg(native(socket), &system, flags | MSG_NOSIGNAL); });
}

int socketpoll(poll_entry* entries, std::size_t count, int milliseconds) noexcept {
    if (has(empty_waits_fail) && count == 0) return fail(error::inval);
    if (begin_wait(count, milliseconds) < 0) return -1;
    thread_local std::vector<pollfd> system;
    system.resize(count);
    for (std::size_t i = 0; i < count; ++i)
        system[i] = {native(entries[i].socket), entries[i].events, 0};
    if (poll_system(system, milliseconds) < 0) return -1;

    int error = failure_of(system);
    int ready = 0;
    for (pollfd& each : system) {
        if (each.revents) ++ready;
        if (has(no_pollerr) && each.revents & POLLERR) each.revents = 0;
        if (has(bad_descriptors_fail_all) && each.revents & POLLNVAL) error = error::badf;
    }
    for (std::size_t i = 0; i < count; ++i)
        if (!has(untouched_revents) || (!error && system[i].revents))
            entries[i].revents = system[i].revents;
    return error ? fail(error) : ready;
}

int socketselect(int count, socket_set* readable, socket_set* writable, socket_set* failed,
                 const time_value* limit) noexcept {
    thread_local std::vector<pollfd> system;
    system.clear();
    for (int i = 0; i < count; ++i) {
        const int socket = from_native(i);
        const int in = readable && fd_isset(socket, *readable) ? POLLIN : 0;
        const int out = writable && fd_isset(socket, *writable) ? POLLOUT : 0;
        if (in || out || (failed && fd_isset(socket, *failed)))
            system.push_back({i, static_cast<short>(in | out), 0});
    }
    if (has(empty_waits_fail) && system.empty()) return fail(error::inval);
    int milliseconds = -1;
    if (limit && limit->seconds < INT_MAX / 1000 - 1)
        milliseconds = static_cast<int>(limit->seconds * 1000 + (limit->microseconds + 999) / 1000);
    if (begin_wait(system.size(), milliseconds) < 0) return -1;
    if (poll_system(system, milliseconds) < 0) return -1;

    int error = failure_of(system);
    for (const pollfd& each : system)
        if (each.revents & POLLNVAL) error = error::badf;
    if (error) {
        if (has(garbage_sets))
            for (socket_set* set : {readable, writable, failed})
                if (set) std::memset(set->bits, 0xa5, sizeof set->bits);
        return fail(error);
    }
    int ready = 0;
    for (const pollfd& each : system) {
        const int socket = from_native(each.fd);
        const bool in = each.events & POLLIN && each.revents & (POLLIN | POLLHUP | POLLERR);
        const bool out = each.events & POLLOUT && each.revents & (POLLOUT | POLLHUP | POLLERR);
        if (readable && !in) fd_clr(socket, *readable);
        if (writable && !out) fd_clr(socket, *writable);
        if (failed) fd_clr(socket, *failed);  // for urgent data only, as on BSD
        ready += in + out;
    }
    return ready;
}

}  // namespace console
