// The network library of a games console that never was, made from Linux by wrapping: BSD sockets
// with other names, other numbers, and a dozen ways to misbehave. What quirky.hpp is a port to.
//
// Modelled on what consoles of the 2000s have: error numbers and option values of BSD,
// `socketselect`, `socketpoll` and `socketclose`, non-blocking mode by a socket option, sockets
// that count from a high number; no IPv6, no fcntl, no pipes or socket pairs, no name look-up, no
// signals, no SO_REUSEPORT.
#pragma once

#include <cstddef>
#include <cstdint>

namespace console {

// What is wrong with it ---------------------------------------------------------------------------

/// Each can be switched on alone. All are on at first, unless the environment variable
/// CONSOLE_QUIRKS names others: their names in lower case, separated by commas, or "none".
enum quirk : unsigned {
    /// A wait fails with the pending error of any socket that it watches.
    failing_waits = 1 << 0,
    /// After a failure the sets of a select contain garbage.
    garbage_sets = 1 << 1,
    /// A poll writes the `revents` of what is ready, and after a failure none; else it writes all,
    /// always.
    untouched_revents = 1 << 2,
    /// A poll has no way to report an error: it marks nothing, but counts the entry all the same.
    no_pollerr = 1 << 3,
    /// A wait for no socket at all fails with EINVAL.
    empty_waits_fail = 1 << 4,
    /// A bad descriptor fails the whole poll with EBADF, too.
    bad_descriptors_fail_all = 1 << 5,
    /// Now and then a wait is interrupted, by nothing in particular.
    spurious_interrupts = 1 << 6,
    /// Now and then a wait fails without saying why: the last error is whatever it was before.
    unexplained_failures = 1 << 7,
    all_quirks = (1 << 8) - 1,
};

/// Those that are on; may be changed at any time.
unsigned quirks() noexcept;
void set_quirks(unsigned which) noexcept;

/// How many waits there were, and how many of them for a single socket.
std::size_t waits() noexcept;
std::size_t lone_waits() noexcept;

/// The longest that a wait for a single socket was asked to take since the last call, in
/// milliseconds.
int longest_lone_wait() noexcept;

/// The next `times` calls to send fail with this error.
void fail_sends(int error, int times) noexcept;

/// The next `times` waits fail with this error; negative: all of them.
void fail_waits(int error, int times) noexcept;

/// From now on each wait for this socket fails with `error`, and no operation on it takes that
/// away, until it is closed.
void stick_error(int socket, int error) noexcept;

// Errors ------------------------------------------------------------------------------------------

namespace error {
inline constexpr int perm = 1, intr = 4, badf = 9, nomem = 12, acces = 13, fault = 14, inval = 22,
                     mfile = 24, pipe = 32, again = 35, inprogress = 36, already = 37, notsock = 38,
                     destaddrreq = 39, msgsize = 40, prototype = 41, noprotoopt = 42,
                     protonosupport = 43, opnotsupp = 45, afnosupport = 47, addrinuse = 48,
                     addrnotavail = 49, netdown = 50, netunreach = 51, netreset = 52,
                     connaborted = 53, connreset = 54, nobufs = 55, isconn = 56, notconn = 57,
                     timedout = 60, connrefused = 61, hostdown = 64, hostunreach = 65;
}

/// The error of the thread's last call that returned -1.
int& last_error() noexcept;

// Sockets: like the calls of BSD with these names -------------------------------------------------

inline constexpr int af_inet = 2;
inline constexpr int sock_stream = 1, sock_dgram = 2;
inline constexpr int msg_trunc = 0x10;
inline constexpr int shut_rd = 0, shut_wr = 1, shut_rdwr = 2;
inline constexpr int somaxconn = 128;

inline constexpr int sol_socket = 0xffff;
inline constexpr int so_reuseaddr = 0x0004, so_keepalive = 0x0008, so_broadcast = 0x0020,
                     so_linger = 0x0080, so_sndbuf = 0x1001, so_rcvbuf = 0x1002, so_error = 0x1007,
                     so_type = 0x1008, so_nbio = 0x1100;
inline constexpr int ipproto_tcp = 6, tcp_nodelay = 1;

/// Numbers of sockets begin here, not at zero.
inline constexpr int first_socket = 0x40000000;

struct address {
    std::uint8_t size = sizeof(address);
    std::uint8_t family = af_inet;
    std::uint8_t port[2] = {};  // in network order, like the next one
    std::uint8_t host[4] = {};
    std::uint8_t zero[8] = {};
};

struct linger {
    int on;
    int seconds;
};

struct io_vector {
    void* data;
    std::size_t size;
};

struct message {
    address* name = nullptr;  // or null
    io_vector* vectors = nullptr;
    std::size_t vector_count = 0;
    int flags = 0;  // set by recvmsg
};

int socket(int family, int type, int protocol) noexcept;
int socketclose(int socket) noexcept;
int bind(int socket, const address* to) noexcept;
int listen(int socket, int backlog) noexcept;
int accept(int socket, address* peer) noexcept;  // the new one blocks, whatever the listener does
int connect(int socket, const address* to) noexcept;
int shutdown(int socket, int how) noexcept;
int getsockname(int socket, address* name) noexcept;
int getpeername(int socket, address* name) noexcept;
int setsockopt(int socket, int level, int name, const void* value, std::size_t size) noexcept;
int getsockopt(int socket, int level, int name, void* value, std::size_t* size) noexcept;
std::ptrdiff_t recv(int socket, void* data, std::size_t size, int flags) noexcept;
std::ptrdiff_t send(int socket, const void* data, std::size_t size, int flags) noexcept;
std::ptrdiff_t recvmsg(int socket, message* into, int flags) noexcept;
std::ptrdiff_t sendmsg(int socket, const message* from, int flags) noexcept;

// Waiting -----------------------------------------------------------------------------------------

inline constexpr int fd_setsize = 1024;

struct socket_set {
    std::uint32_t bits[fd_setsize / 32] = {};
};

constexpr int index_of(int socket) noexcept { return socket - first_socket; }
constexpr std::uint32_t bit_of(int socket) noexcept {
    return std::uint32_t{1} << (index_of(socket) % 32);
}
constexpr void fd_set(int socket, socket_set& set) noexcept {
    set.bits[index_of(socket) / 32] |= bit_of(socket);
}
constexpr void fd_clr(int socket, socket_set& set) noexcept {
    set.bits[index_of(socket) / 32] &= ~bit_of(socket);
}
constexpr bool fd_isset(int socket, const socket_set& set) noexcept {
    return (set.bits[index_of(socket) / 32] & bit_of(socket)) != 0;
}

struct time_value {
    std::int64_t seconds;
    std::int32_t microseconds;
};

/// `count` is the highest index in a set + 1.
int socketselect(int count, socket_set* readable, socket_set* writable, socket_set* failed,
                 const time_value* limit) noexcept;

struct poll_entry {
    int socket;
    short events;
    short revents;
};

inline constexpr short poll_in = 1, poll_out = 4, poll_err = 8, poll_hup = 16, poll_nval = 32;

/// In milliseconds; negative: for ever.
int socketpoll(poll_entry* entries, std::size_t count, int milliseconds) noexcept;

// For the tests, which are programs of the system underneath --------------------------------------

inline constexpr int native(int socket) noexcept { return socket < 0 ? -1 : index_of(socket); }
inline constexpr int from_native(int descriptor) noexcept {
    return descriptor < 0 ? -1 : descriptor + first_socket;
}

}  // namespace console
