// Macros that programs have before they include curfew, as widely used libraries and systems define
// them: with each SET the file compiles. (With 99 it does not: that shows that the test can fail.)
#if SET == 1  // Qt, without QT_NO_KEYWORDS
#define signals public
#define slots
#define emit
#define foreach(variable, container) for (variable : container)
#define forever for (;;)
#elif SET == 2  // <windows.h> without NOMINMAX, <rpcndr.h>, <objbase.h>
#define min(a, b) (((a) < (b)) ? (a) : (b))
#define max(a, b) (((a) > (b)) ? (a) : (b))
#define near
#define far
#define small char
#define hyper __int64
#define interface struct
#define pascal
#define cdecl
#define ERROR 0
#define IN
#define OUT
#define OPTIONAL
#define IGNORE 0
#elif SET == 3  // Xlib
#define None 0L
#define Success 0
#define Bool int
#define Status int
#define True 1
#define False 0
#define Always 2
#define Above 0
#define Below 1
#define Complex 0
#define Convex 2
#define Unsorted 0
#define KeyPress 2
#define FocusIn 9
#define CursorShape 0
#define GrayScale 1
#define InputOnly 2
#elif SET == 4  // lwIP with LWIP_COMPAT_SOCKETS (without read and write, which std has, too)
#define accept(s, addr, addrlen) lwip_accept(s, addr, addrlen)
#define bind(s, name, namelen) lwip_bind(s, name, namelen)
#define shutdown(s, how) lwip_shutdown(s, how)
#define getpeername(s, name, namelen) lwip_getpeername(s, name, namelen)
#define getsockname(s, name, namelen) lwip_getsockname(s, name, namelen)
#define setsockopt(s, level, optname, opval, optlen)                                               \
    lwip_setsockopt(s, level, optname, opval, optlen)
#define getsockopt(s, level, optname, opval, optlen)                                               \
    lwip_getsockopt(s, level, optname, opval, optlen)
#define closesocket(s) lwip_close(s)
#define connect(s, name, namelen) lwip_connect(s, name, namelen)
#define listen(s, backlog) lwip_listen(s, backlog)
#define recvmsg(s, msg, flags) lwip_recvmsg(s, msg, flags)
#define recv(s, mem, len, flags) lwip_recv(s, mem, len, flags)
#define recvfrom(s, mem, len, flags, from, fromlen) lwip_recvfrom(s, mem, len, flags, from, fromlen)
#define send(s, dataptr, size, flags) lwip_send(s, dataptr, size, flags)
#define sendmsg(s, message, flags) lwip_sendmsg(s, message, flags)
#define sendto(s, dataptr, size, flags, to, tolen) lwip_sendto(s, dataptr, size, flags, to, tolen)
#define socket(domain, type, protocol) lwip_socket(domain, type, protocol)
#define select(maxfdp1, readset, writeset, exceptset, timeout)                                     \
    lwip_select(maxfdp1, readset, writeset, exceptset, timeout)
#define poll(fds, nfds, timeout) lwip_poll(fds, nfds, timeout)
#define ioctlsocket(s, cmd, argp) lwip_ioctl(s, cmd, argp)
#define inet_ntop(af, src, dst, size) lwip_inet_ntop(af, src, dst, size)
#define inet_pton(af, src, dst) lwip_inet_pton(af, src, dst)
#define readv(s, iov, iovcnt) lwip_readv(s, iov, iovcnt)
#define writev(s, iov, iovcnt) lwip_writev(s, iov, iovcnt)
#define close(s) lwip_close(s)
#define fcntl(s, cmd, val) lwip_fcntl(s, cmd, val)
#define ioctl(s, cmd, argp) lwip_ioctl(s, cmd, argp)
#elif SET == 5  // C programs
#define countof(x) (sizeof(x) / sizeof *(x))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define container_of(pointer, type, member) ((type*)pointer)
#define unused __attribute__((unused))
#define noinline __attribute__((noinline))
#define barrier() asm volatile("" ::: "memory")
#define SWAP(a, b) (void)0
#define CLAMP(x, low, high) (x)
#elif SET == 6  // and their attributes
#define cold __attribute__((cold))
#define hot __attribute__((hot))
#define always_inline inline __attribute__((always_inline))
#define visibility(x) __attribute__((visibility(x)))
#define hidden __attribute__((visibility("hidden")))
#define pure __attribute__((pure))
#define weak __attribute__((weak))
#elif SET == 7  // Apple's AssertMacros.h, Objective-C, Unreal Engine, Arduino
#define check(x) (void)(x)
#define verify(x) (void)(x)
#define ensure(x) (x)
#define require(x, label) (void)(x)
#define TEXT(x) x
#define nil 0
#define PI 3.14159
#define abs(x) ((x) > 0 ? (x) : -(x))
#define round(x) ((x) >= 0 ? (long)((x) + 0.5) : (long)((x)-0.5))
#define bit(b) (1UL << (b))
#define sq(x) ((x) * (x))
#define word(...) makeWord(__VA_ARGS__)
#define interrupts() 0
#define F(x) x
#elif SET == 8  // Unixes
#define major(x) (x)
#define minor(x) (x)
#define makedev(a, b) (a)
#define sun 1
#define unix 1
#define linux 1
#define mips 1
#elif SET == 9  // curses
#define timeout(delay) wtimeout(stdscr, delay)
#define refresh() wrefresh(stdscr)
#define getch() wgetch(stdscr)
#define echo() wecho(stdscr)
#define nl() wnl(stdscr)
#define border(a, b, c, d) wborder(stdscr, a, b, c, d)
#define box(a, b) wbox(stdscr, a, b)
#define scroll(a) wscroll(stdscr, a)
#define delay_output(x) wdelay(stdscr, x)
#elif SET == 10  // as objects, whatever they stand for; others' headers are there before
#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <chrono>
#include <climits>
#include <compare>
#include <concepts>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <exception>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <ratio>
#include <source_location>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>
#if defined(__linux__)
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/version.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#endif
#undef emit
#define emit @
#undef slots
#define slots @
#undef signals
#define signals @
#undef forever
#define forever @
#undef foreach
#define foreach @
#undef None
#define None @
#undef Success
#define Success @
#undef Status
#define Status @
#undef Bool
#define Bool @
#undef True
#define True @
#undef False
#define False @
#undef Always
#define Always @
#undef Above
#define Above @
#undef Below
#define Below @
#undef near
#define near @
#undef far
#define far @
#undef small
#define small @
#undef hyper
#define hyper @
#undef interface
#define interface @
#undef huge
#define huge @
#undef pascal
#define pascal @
#undef cdecl
#define cdecl @
#undef rad1
#define rad1 @
#undef grp1
#define grp1 @
#undef ERROR
#define ERROR @
#undef DELETE
#define DELETE @
#undef IN
#define IN @
#undef OUT
#define OUT @
#undef OPTIONAL
#define OPTIONAL @
#undef CONST
#define CONST @
#undef VOID
#define VOID @
#undef cold
#define cold @
#undef hot
#define hot @
#undef always_inline
#define always_inline @
#undef noinline
#define noinline @
#undef unused
#define unused @
#undef packed
#define packed @
#undef pure
#define pure @
#undef weak
#define weak @
#undef hidden
#define hidden @
#undef section
#define section @
#undef check
#define check @
#undef verify
#define verify @
#undef ensure
#define ensure @
#undef require
#define require @
#undef nil
#define nil @
#undef YES
#define YES @
#undef NO
#define NO @
#undef OK
#define OK @
#undef ERR
#define ERR @
#undef PI
#define PI @
#undef MIN
#define MIN @
#undef MAX
#define MAX @
#undef ABS
#define ABS @
#undef CLAMP
#define CLAMP @
#undef SWAP
#define SWAP @
#undef countof
#define countof @
#undef ARRAY_SIZE
#define ARRAY_SIZE @
#undef container_of
#define container_of @
#undef barrier
#define barrier @
#undef interrupts
#define interrupts @
#undef major
#define major @
#undef minor
#define minor @
#undef makedev
#define makedev @
#undef unix
#define unix @
#undef linux
#define linux @
#undef sun
#define sun @
#undef i386
#define i386 @
#undef mips
#define mips @
#undef global
#define global @
#undef persist
#define persist @
#undef internal
#define internal @
#undef fn
#define fn @
#undef var
#define var @
#undef let
#define let @
#undef elsif
#define elsif @
#undef unless
#define unless @
#undef repeat
#define repeat @
#undef byte_t
#define byte_t @
#undef uchar
#define uchar @
#undef u8
#define u8 @
#undef u16
#define u16 @
#undef u32
#define u32 @
#undef u64
#define u64 @
#undef i8
#define i8 @
#undef i16
#define i16 @
#undef i32
#define i32 @
#undef i64
#define i64 @
#undef f32
#define f32 @
#undef f64
#define f64 @
#elif SET == 99
#define socket_base 1 +
#endif

#include <curfew/curfew.hpp>

curfew::task<> subject(curfew::io_context& ctx) {
    curfew::tcp::acceptor acceptor(ctx);
    (void)co_await acceptor.accept();
    acceptor.close();
    curfew::tcp::socket peer(ctx);
    (void)co_await peer.connect({});
    peer.shutdown(curfew::shutdown_how::send);
    curfew::udp::socket datagrams = curfew::udp::socket(ctx);
    (void)datagrams.bind({});
    (void)co_await datagrams.send("x");
    curfew::channel<int> numbers(1);
    (void)co_await numbers.send(1);
    ctx.poll();
}

int main() {
    curfew::io_context ctx(curfew::reactor_kind::select);
    ctx.run();
}
