// What the peer sees when a socket is closed while an operation is pending on it, and what becomes
// of the operation: a report of your Windows, as a table fit for a bug report. Sources disagree on
// whether a receive that is pending, or was cancelled, makes `closesocket` send a RST. This looks.
//
//   close_report                         Windows: the peer is a thread of this process
//   close_report --peer 127.0.0.1:7000   Windows: the peer is another process of this machine
//   close_report --serve 7000 [SECONDS]  any system: be that peer (0: on any free port), until
//                                        nobody has come for so long (60)
//
// The first table is made with Winsock alone, on a completion port, with no library in between; the
// second one with curfew, where each way to end has one outcome on every system. Wine often reads a
// RST as the end of the stream. There the peer should be a Linux process, made of the same file:
//
//   g++ -std=c++20 -pthread close_report.cpp -o peer && ./peer --serve 7000
//
// What is said to the peer: each connection begins with a line.
//   NAME read    its bytes are read until it ends
//   NAME hold    the same, but not before "go NAME"
//   NAME greet   it gets 100 bytes first, then the same as "read"
//   control      it is the one that asks, a line each, and gets a line for each:
//     go NAME    "ok"
//     what NAME  "end of stream", "reset", "error NUMBER" or, if that connection goes on, "nothing
//                for 3 s", and " after N bytes", not counting its first line
//     who        the system that the peer runs on
//     quit       no answer: the peer ends
//
// To be read from the bottom up: main, the two tables, then the peer.
#if defined(_WIN32)
#include <curfew/curfew.hpp>

#include <array>
#include <optional>
#include <span>
#else
#include <netinet/in.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#endif

#include <algorithm>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;

constexpr std::chrono::seconds idle_limit = 60s;  // of the peer, and of its connections
constexpr std::chrono::seconds silence = 3s;      // that "nothing" means
constexpr std::size_t greeting = 100;

// --- Blocking sockets, on any system ---

#if defined(_WIN32)

using native_socket = SOCKET;
using address_size = int;
using io_size = int;
constexpr native_socket no_socket = INVALID_SOCKET;
constexpr int connection_reset = WSAECONNRESET;

int last_error() { return ::WSAGetLastError(); }
void close_native(native_socket socket) { ::closesocket(socket); }

void limit_receive(native_socket socket, std::chrono::seconds time) {
    const auto ms = static_cast<DWORD>(std::chrono::milliseconds(time).count());
    ::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, reinterpret_cast<const char*>(&ms), sizeof ms);
}

void start_sockets() {
    WSADATA data;
    if (const int error = ::WSAStartup(MAKEWORD(2, 2), &data))
        throw std::system_error(error, std::system_category(), "WSAStartup");
}

/// A function of ntdll that no header of the compiler's has to know; null where it is missing.
template <class Function>
Function find_in_ntdll(const char* name) {
    const HMODULE library = ::GetModuleHandleW(L"ntdll.dll");
    void* const found =
        library ? reinterpret_cast<void*>(::GetProcAddress(library, name)) : nullptr;
    return reinterpret_cast<Function>(found);
}

std::string system_name() {
    OSVERSIONINFOW version{};
    version.dwOSVersionInfoSize = sizeof version;
    // GetVersionEx says what the program's manifest wants to hear.
    const auto ask = find_in_ntdll<LONG(WINAPI*)(OSVERSIONINFOW*)>("RtlGetVersion");
    std::string name = "Windows, version unknown";
    if (ask && ask(&version) == 0)
        name = "Windows " + std::to_string(version.dwMajorVersion) + '.' +
               std::to_string(version.dwMinorVersion) + " build " +
               std::to_string(version.dwBuildNumber);
    if (const auto wine = find_in_ntdll<const char* (*)()>("wine_get_version"))
        name = std::string("Wine ") + wine() + " (not Windows; it calls itself " + name + ')';
    return name;
}

#else

using native_socket = int;
using address_size = socklen_t;
using io_size = std::size_t;
constexpr native_socket no_socket = -1;
constexpr int connection_reset = ECONNRESET;

int last_error() { return errno; }
void close_native(native_socket socket) { ::close(socket); }

void limit_receive(native_socket socket, std::chrono::seconds time) {
    timeval limit{};
    limit.tv_sec = time.count();
    ::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
}

void start_sockets() { std::signal(SIGPIPE, SIG_IGN); }

std::string system_name() {
    utsname name;
    if (::uname(&name) != 0) return "POSIX";
    return std::string(name.sysname) + ' ' + name.release;
}

#endif

[[noreturn]] void fail(const char* what) {
    throw std::system_error(last_error(), std::system_category(), what);
}

/// A blocking TCP socket of 127.0.0.1, which it closes in the end.
class tcp_stream {
public:
    explicit tcp_stream(native_socket socket = no_socket) noexcept : socket_(socket) {}
    tcp_stream(tcp_stream&& other) noexcept : socket_(std::exchange(other.socket_, no_socket)) {}
    tcp_stream& operator=(tcp_stream&& other) noexcept {
        std::swap(socket_, other.socket_);
        return *this;
    }
    ~tcp_stream() {
        if (is_open()) close_native(socket_);
    }

    static tcp_stream open() {
        tcp_stream made(::socket(AF_INET, SOCK_STREAM, IPPROTO_TCP));
        if (!made.is_open()) fail("socket");
        return made;
    }
    static tcp_stream listening(std::uint16_t port) {
        tcp_stream made = open();
        const sockaddr_in at = loopback(port);
        if (::bind(made.socket_, reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0)
            fail("bind");
        if (::listen(made.socket_, 32) != 0) fail("listen");
        return made;
    }
    static tcp_stream connected(std::uint16_t port) {
        tcp_stream made = open();
        const sockaddr_in to = loopback(port);
        if (::connect(made.socket_, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0)
            fail("connecting to the peer");
        return made;
    }

    bool is_open() const noexcept { return socket_ != no_socket; }
    native_socket get() const noexcept { return socket_; }
    native_socket release() noexcept { return std::exchange(socket_, no_socket); }

    std::uint16_t port() const {
        sockaddr_in address{};
        address_size size = sizeof address;
        ::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size);
        return ntohs(address.sin_port);
    }

    /// False if it cannot send all of it.
    bool send(std::string_view bytes) const {
        while (!bytes.empty()) {
            const auto n = ::send(socket_, bytes.data(), static_cast<io_size>(bytes.size()), 0);
            if (n <= 0) return false;
            bytes.remove_prefix(static_cast<std::size_t>(n));
        }
        return true;
    }

    /// The number of bytes, 0 at the end of the stream; negative after an error.
    std::ptrdiff_t receive(char* to, std::size_t size) const {
        return ::recv(socket_, to, static_cast<io_size>(size), 0);
    }

    /// Without its end; empty if none comes, or one that is too long to be meant for us.
    std::string line() const {
        std::string text;
        for (char c; text.size() < 200 && receive(&c, 1) == 1; text += c)
            if (c == '\n') return text;
        return {};
    }

private:
    static sockaddr_in loopback(std::uint16_t port) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(port);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        return address;
    }

    native_socket socket_;
};

// --- The peer: plain blocking calls, a thread for each connection ---

class peer {
public:
    explicit peer(std::uint16_t port, std::chrono::seconds idle = idle_limit)
        : listener_(tcp_stream::listening(port)), books_(std::make_shared<accounts>(idle)) {}

    std::uint16_t port() const { return listener_.port(); }

    /// From any thread: `serve` is to return.
    void quit() const { books_->close(); }

    /// Until it is told to quit, or nobody has come for too long.
    void serve() const {
        while (!books_->closed()) {
            fd_set listeners;
            FD_ZERO(&listeners);
            FD_SET(listener_.get(), &listeners);
            timeval tick{0, 100'000};
            const int ready = ::select(static_cast<int>(listener_.get()) + 1, &listeners, nullptr,
                                       nullptr, &tick);
            if (ready < 0) std::this_thread::sleep_for(100ms);  // interrupted, or broken
            if (ready <= 0) continue;
            tcp_stream accepted(::accept(listener_.get(), nullptr, nullptr));
            // The thread may outlive this, but not for longer than its connection may be silent.
            if (accepted.is_open()) std::thread(talk, std::move(accepted), books_).detach();
        }
    }

private:
    /// What has become of the connections, by name.
    class accounts {
    public:
        explicit accounts(std::chrono::seconds idle) : idle_(idle) {}

        void release(const std::string& name) {
            change(name, [](account& each) { each.released = true; });
        }
        void wait_for_release(const std::string& name) {
            wait(name, idle_limit, [](const account& each) { return each.released; });
        }
        void received(const std::string& name, std::size_t size) {
            change(name, [&](account& each) { each.bytes += size; });
        }
        void ended(const std::string& name, const std::string& how) {
            change(name, [&](account& each) { each.end = how; });
        }
        std::string outcome(const std::string& name) {
            const account seen =
                wait(name, silence, [](const account& each) { return !each.end.empty(); });
            std::string end = seen.end;
            if (end.empty()) end = "nothing for " + std::to_string(silence.count()) + " s";
            return end + " after " + std::to_string(seen.bytes) + " bytes";
        }

        void somebody_came() {
            const std::lock_guard lock(mutex_);
            last_ = std::chrono::steady_clock::now();
        }
        void close() {
            const std::lock_guard lock(mutex_);
            closed_ = true;
        }
        bool closed() {
            const std::lock_guard lock(mutex_);
            return closed_ || std::chrono::steady_clock::now() - last_ > idle_;
        }

    private:
        struct account {
            bool released = false;
            std::size_t bytes = 0;
            std::string end;  // empty as long as it goes on
        };

        template <class Change>
        void change(const std::string& name, Change what) {
            {
                const std::lock_guard lock(mutex_);
                what(all_[name]);
            }
            changed_.notify_all();
        }
        template <class Condition>
        account wait(const std::string& name, std::chrono::seconds limit, Condition condition) {
            std::unique_lock lock(mutex_);
            const account& it = all_[name];
            changed_.wait_for(lock, limit, [&] { return condition(it); });
            return it;
        }

        const std::chrono::seconds idle_;
        std::mutex mutex_;
        std::condition_variable changed_;
        std::map<std::string, account> all_;
        std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
        bool closed_ = false;
    };

    static void talk(tcp_stream connection, std::shared_ptr<accounts> books) {
        books->somebody_came();
        limit_receive(connection.get(), idle_limit);
        const std::string first = connection.line();
        if (first == "control") return obey(connection, *books);
        const std::size_t space = std::min(first.find(' '), first.size());
        const std::string name = first.substr(0, space), task = first.substr(space);
        if (task == " hold")
            books->wait_for_release(name);
        else if (task == " greet")
            connection.send(std::string(greeting, 'g'));
        else if (task != " read")
            return;

        std::vector<char> buffer(64 * 1024);
        for (;;) {
            const auto n = connection.receive(buffer.data(), buffer.size());
            const int error = n < 0 ? last_error() : 0;
            if (n > 0) {
                books->received(name, static_cast<std::size_t>(n));
                continue;
            }
            std::string how = "error " + std::to_string(error);
            if (error == connection_reset) how = "reset";
            if (error == 0) how = "end of stream";
            return books->ended(name, how);
        }
    }

    static void obey(const tcp_stream& control, accounts& books) {
        for (std::string line; !(line = control.line()).empty();) {
            books.somebody_came();
            const std::size_t space = std::min(line.find(' '), line.size() - 1);
            const std::string order = line.substr(0, space), name = line.substr(space + 1);
            if (line == "quit") return books.close();
            if (order == "go") books.release(name);
            const std::string answer = order == "go"     ? "ok"
                                       : order == "what" ? books.outcome(name)
                                       : line == "who"   ? system_name()
                                                         : "what do you mean?";
            if (!control.send(answer + '\n')) return;
        }
    }

    tcp_stream listener_;
    std::shared_ptr<accounts> books_;
};

int serve(std::uint16_t port, std::chrono::seconds idle) {
    const peer self(port, idle);
    std::printf("listening on 127.0.0.1:%u\n", static_cast<unsigned>(self.port()));
    std::fflush(stdout);
    self.serve();
    return 0;
}

#if defined(_WIN32)

// --- What both tables need ---

/// The peer as seen from here.
class peer_at {
public:
    explicit peer_at(std::uint16_t port)
        : port_(port), control_(tcp_stream::connected(port)),
          run_(std::to_string(std::chrono::system_clock::now().time_since_epoch().count())) {
        limit_receive(control_.get(), 20s);
        if (!control_.send("control\n")) fail("telling the peer");
    }

    std::uint16_t port() const { return port_; }

    /// A name that no other connection has, even of an earlier run with the same peer.
    std::string new_name() { return "case-" + run_ + '-' + std::to_string(++cases_); }

    std::string ask(const std::string& what) const {
        std::string answer;
        if (control_.send(what + '\n')) answer = control_.line();
        if (answer.empty()) throw std::runtime_error("the peer does not answer '" + what + '\'');
        return answer;
    }

    void quit() const { control_.send("quit\n"); }

private:
    std::uint16_t port_;
    tcp_stream control_;
    std::string run_;
    int cases_ = 0;
};

/// Of Markdown, with columns that are straight as plain text, too.
class table {
public:
    using row = std::vector<std::string>;

    explicit table(row titles) : rows_{std::move(titles)} {}

    void add(row cells) { rows_.push_back(std::move(cells)); }

    void print() const {
        std::vector<std::size_t> widths(rows_.front().size());
        for (const row& each : rows_)
            for (std::size_t i = 0; i < each.size(); ++i)
                widths[i] = std::max(widths[i], each[i].size());
        for (const row& each : rows_) {
            for (std::size_t i = 0; i < each.size(); ++i)
                std::printf("| %-*s ", static_cast<int>(widths[i]), each[i].c_str());
            std::puts("|");
            if (&each != &rows_.front()) continue;
            for (const std::size_t width : widths)
                std::printf("|%s", std::string(width + 2, '-').c_str());
            std::puts("|");
        }
        std::fflush(stdout);
    }

private:
    std::vector<row> rows_;
};

constexpr std::size_t receive_size = 4096;
constexpr std::size_t said_before = 1000;  // bytes, where no send is pending
constexpr std::size_t send_size = 64 * 1024;

// --- The first table: Winsock alone ---

namespace winsock {

using steady = std::chrono::steady_clock;

constexpr std::chrono::milliseconds packet_limit = 1s;  // for a completion

std::string milliseconds_since(steady::time_point begin) {
    char text[32];
    std::snprintf(text, sizeof text, "%.1f ms",
                  std::chrono::duration<double, std::milli>(steady::now() - begin).count());
    return text;
}

/// An overlapped operation and its buffer.
struct overlapped : OVERLAPPED {
    explicit overlapped(std::size_t size) : OVERLAPPED{}, bytes(size, 'x') {}

    WSABUF buffer() { return {static_cast<ULONG>(bytes.size()), bytes.data()}; }
    bool is_complete() const { return HasOverlappedIoCompleted(this); }

    std::vector<char> bytes;
};

/// What the completion port has said of an operation.
struct completion {
    unsigned long status = 0;  // an NTSTATUS
    DWORD error = 0;           // what Windows makes of it
    DWORD bytes = 0;
};

class completion_port {
public:
    completion_port() : port_(::CreateIoCompletionPort(INVALID_HANDLE_VALUE, nullptr, 0, 1)) {
        if (!port_) fail_with("CreateIoCompletionPort");
    }
    ~completion_port() { ::CloseHandle(port_); }
    completion_port(const completion_port&) = delete;
    completion_port& operator=(const completion_port&) = delete;

    void attach(HANDLE handle) const {
        if (!::CreateIoCompletionPort(handle, port_, 0, 0)) fail_with("CreateIoCompletionPort");
    }

    std::optional<completion> take(std::chrono::milliseconds limit) const {
        DWORD bytes = 0;
        ULONG_PTR key = 0;
        OVERLAPPED* which = nullptr;
        const BOOL good = ::GetQueuedCompletionStatus(port_, &bytes, &key, &which,
                                                      static_cast<DWORD>(limit.count()));
        const DWORD error = good ? 0 : ::GetLastError();
        if (!which) return {};
        return completion{static_cast<unsigned long>(which->Internal), error, bytes};
    }

private:
    [[noreturn]] static void fail_with(const char* what) {
        throw std::system_error(static_cast<int>(::GetLastError()), std::system_category(), what);
    }

    HANDLE port_;
};

enum class pending { nothing, nothing_unread, receive, send };
enum class before { nothing, cancel, cancel_and_reap };

/// The names of those errors that may be expected.
const char* name_of(DWORD error) {
    switch (error) {
    case ERROR_SUCCESS:
        return "success";
    case ERROR_INVALID_HANDLE:
        return "ERROR_INVALID_HANDLE";
    case ERROR_NETNAME_DELETED:
        return "ERROR_NETNAME_DELETED";
    case 676:
        return "ERROR_HANDLES_CLOSED";
    case ERROR_OPERATION_ABORTED:
        return "ERROR_OPERATION_ABORTED";
    case ERROR_CONNECTION_ABORTED:
        return "ERROR_CONNECTION_ABORTED";
    case WSAENOTSOCK:
        return "WSAENOTSOCK";
    case WSAECONNABORTED:
        return "WSAECONNABORTED";
    case WSAECONNRESET:
        return "WSAECONNRESET";
    }
    return "an error";
}

/// One row: a connection, an operation on it, its end, and what both sides say of it.
class experiment {
public:
    experiment(peer_at& peer, pending what, before first, bool abort)
        : peer_(peer), what_(what), first_(first), abort_(abort) {}

    table::row run() {
        std::string seen;
        try {
            begin();
            cancel();
            close();
            if (what_ == pending::send) peer_.ask("go " + name_);
            seen = peer_.ask("what " + name_);
            if (is_pending() && !done_ && reap(0ms)) when_ += ", there after the peer had ended";
        } catch (const std::exception& error) {  // the other rows may be of use all the same
            seen = std::string("no experiment: ") + error.what();
        }
        return {name_of(what_), before_, abort_ ? "abort" : "close", local(), when_, sent_, seen};
    }

private:
    bool is_pending() const { return what_ == pending::receive || what_ == pending::send; }

    static const char* name_of(pending what) {
        switch (what) {
        case pending::nothing:
            break;
        case pending::nothing_unread:
            return "none, bytes unread";
        case pending::receive:
            return "WSARecv";
        case pending::send:
            return "WSASend";
        }
        return "none";
    }

    void begin() {
        const char* const task = what_ == pending::send             ? " hold\n"
                                 : what_ == pending::nothing_unread ? " greet\n"
                                                                    : " read\n";
        if (!socket_.send(name_ + task)) fail("send");
        port_.attach(handle());
        if (what_ == pending::send) return fill();
        if (!socket_.send(std::string(said_before, 's'))) fail("send");
        sent_ = std::to_string(said_before);
        if (what_ == pending::receive) receive();
        if (what_ == pending::nothing_unread) wait_for_greeting();
    }

    void receive() {
        WSABUF buffer = operation_.buffer();
        DWORD flags = 0;
        must_not_fail(::WSARecv(socket_.get(), &buffer, 1, nullptr, &flags, &operation_, nullptr));
        if (reap(100ms)) throw std::runtime_error("the receive was not pending");
    }

    /// Sends until the peer's window, and all buffers in between, are full.
    void fill() {
        constexpr std::size_t most = std::size_t{1} << 30;
        for (std::size_t sent = 0; sent < most; sent += done_->bytes) {
            sent_ = std::to_string(sent) + ", " + std::to_string(send_size) + " pending";
            static_cast<OVERLAPPED&>(operation_) = {};
            WSABUF buffer = operation_.buffer();
            must_not_fail(::WSASend(socket_.get(), &buffer, 1, nullptr, 0, &operation_, nullptr));
            if (!reap(300ms)) return;
            if (done_->error) throw std::runtime_error("a send has failed: " + local());
        }
        throw std::runtime_error("the peer's window is endless");
    }

    void wait_for_greeting() {
        u_long there = 0;
        for (int i = 0; i < 200 && there < greeting; ++i) {
            ::Sleep(10);
            ::ioctlsocket(socket_.get(), static_cast<long>(FIONREAD), &there);
        }
        if (there < greeting) throw std::runtime_error("the peer does not greet");
    }

    void cancel() {
        if (first_ == before::nothing) return;
        before_ = "CancelIoEx";
        const auto begin = steady::now();
        if (!::CancelIoEx(handle(), &operation_))
            before_ += " (error " + std::to_string(::GetLastError()) + ')';
        if (first_ != before::cancel_and_reap) return;
        before_ += ", reaped";
        if (!reap(packet_limit)) {
            when_ = "not within 1 s of CancelIoEx; ";
            return;
        }
        when_ = milliseconds_since(begin) + " after CancelIoEx";
        DWORD bytes = 0;
        DWORD flags = 0;
        const BOOL good =
            ::WSAGetOverlappedResult(socket_.get(), &operation_, &bytes, FALSE, &flags);
        winsock_ = ", Winsock " + std::to_string(good ? 0 : ::WSAGetLastError());
    }

    void close() {
        if (abort_) {
            const linger abortive{1, 0};
            must_not_fail(::setsockopt(socket_.get(), SOL_SOCKET, SO_LINGER,
                                       reinterpret_cast<const char*>(&abortive), sizeof abortive));
        }
        const bool complete = operation_.is_complete();
        must_not_fail(::closesocket(socket_.release()));
        if (!is_pending() || done_) return;
        const auto closed = steady::now();
        when_ += complete ? "complete before closesocket, " : "pending at closesocket, ";
        if (reap(0ms))
            when_ += "there when that returned";
        else if (reap(packet_limit))
            when_ += "there " + milliseconds_since(closed) + " after it";
        else
            when_ += "no packet within 1 s";
    }

    std::string local() const {
        if (!is_pending()) return "";
        if (!done_) return "no packet";
        char text[128];
        std::snprintf(text, sizeof text, "0x%08lX, Win32 %lu %s%s, %lu bytes", done_->status,
                      done_->error, winsock::name_of(done_->error), winsock_.c_str(), done_->bytes);
        return text;
    }

    bool reap(std::chrono::milliseconds limit) {
        done_ = port_.take(limit);
        return done_.has_value();
    }

    HANDLE handle() const { return reinterpret_cast<HANDLE>(socket_.get()); }

    static void must_not_fail(int result) {
        if (result != 0 && ::WSAGetLastError() != WSA_IO_PENDING) fail("a call on the socket");
    }

    peer_at& peer_;
    const pending what_;
    const before first_;
    const bool abort_;
    const std::string name_ = peer_.new_name();
    tcp_stream socket_ = tcp_stream::connected(peer_.port());
    completion_port port_;
    // It is never destroyed, for the system may never say that it has let go of it.
    overlapped& operation_ = *new overlapped(what_ == pending::send ? send_size : receive_size);
    std::optional<completion> done_;
    std::string before_ = "nothing", when_, sent_, winsock_;
};

table look(peer_at& peer) {
    table all({"pending", "before closing", "closed by", "local completion", "when it came",
               "bytes sent before", "the peer saw"});
    const auto add = [&](pending what, before first) {
        for (const bool abort : {false, true}) all.add(experiment(peer, what, first, abort).run());
    };
    add(pending::nothing, before::nothing);
    add(pending::nothing_unread, before::nothing);
    for (const auto what : {pending::receive, pending::send})
        for (const auto first : {before::nothing, before::cancel, before::cancel_and_reap})
            add(what, first);
    return all;
}

/// Who makes the system's TCP sockets.
std::string provider() {
    const tcp_stream any = tcp_stream::open();
    WSAPROTOCOL_INFOW info{};
    int size = sizeof info;
    if (::getsockopt(any.get(), SOL_SOCKET, SO_PROTOCOL_INFOW, reinterpret_cast<char*>(&info),
                     &size) != 0)
        return "unknown";
    char name[2 * WSAPROTOCOL_LEN]{};
    ::WideCharToMultiByte(CP_UTF8, 0, info.szProtocol, -1, name, sizeof name - 1, nullptr, nullptr);
    // What a port's skipping of successes depends on.
    const bool ifs = (info.dwServiceFlags1 & XP1_IFS_HANDLES) != 0;
    return std::string(name) + (ifs ? ", IFS handles" : ", no IFS handles");
}

}  // namespace winsock

// --- The second table: curfew ---

namespace with_curfew {

using namespace curfew;

enum class ending { close, abort, limit_cancel, limit_close };

/// One read, or writes without end; how many bytes they have moved.
task<result<std::size_t>> operate(tcp::socket& socket, bool writes) {
    if (!writes) {
        std::array<char, receive_size> buffer;
        co_return co_await socket.read_some(buffer);
    }
    const std::vector<char> bytes(send_size, 'x');
    for (std::size_t sent = 0;;) {
        auto [ec, n] = co_await write_all(socket, bytes);
        sent += n;
        if (ec) co_return {ec, sent};
    }
}

std::string name_of(std::error_code ec) {
    if (!ec) return "success";
    if (ec == errc::timed_out) return "timed_out";
    if (ec == errc::canceled) return "canceled";
    if (ec == errc::closed) return "closed";
    return ec.message();
}

task<table::row> experiment(io_context& ctx, peer_at& peer, bool writes, ending how) {
    const std::string name = peer.new_name();
    tcp::socket socket(ctx);
    (co_await socket.connect({ip::address::loopback_v4(), peer.port()})).value();
    (co_await write_all(socket, name + (writes ? " hold\n" : " read\n"))).value();
    const std::string some(said_before, 's');
    std::size_t sent = 0;
    if (!writes) sent = (co_await write_all(socket, some)).value();

    const char* what = nullptr;
    result<std::size_t> got;
    switch (how) {
    case ending::close:
    case ending::abort: {
        auto operation = ctx.spawn(operate(socket, writes));
        (co_await sleep_for(50ms)).value();
        what = how == ending::close ? "close()" : "abort()";
        how == ending::close ? socket.close() : socket.abort();
        got = co_await operation;
        break;
    }
    case ending::limit_cancel:
        what = writes ? "with_timeout(..., 50ms, on_timeout::cancel), close()"
                      : "with_timeout(..., 50ms, on_timeout::cancel), 1000 more bytes, close()";
        got = co_await with_timeout(operate(socket, writes), 50ms, on_timeout::cancel);
        if (!writes) sent += (co_await write_all(socket, some)).value();
        socket.close();
        break;
    case ending::limit_close:
        what = "with_timeout(..., 50ms, on_timeout::close)";
        got = co_await with_timeout(operate(socket, writes), 50ms, on_timeout::close);
        break;
    }
    if (writes) {
        sent = got.data;
        peer.ask("go " + name);
    }
    co_return {writes ? "write" : "read", what, name_of(got.ec), std::to_string(sent),
               peer.ask("what " + name)};
}

table look(io_context& ctx, peer_at& peer) {
    table all({"pending", "ended by", "the caller got", "bytes sent before", "the peer saw"});
    for (const bool writes : {false, true})
        for (const auto how :
             {ending::close, ending::abort, ending::limit_cancel, ending::limit_close})
            all.add(ctx.block_on(experiment(ctx, peer, writes, how)));
    return all;
}

}  // namespace with_curfew

// --- The report ---

int report(std::uint16_t port, const std::string& where) {
    // First of all, since CURFEW_REACTOR may ask for what there is not.
    curfew::io_context ctx;
    peer_at peer(port);
    std::fputs("close_report: this may take half a minute\n", stderr);
    SYSTEMTIME now;
    ::GetSystemTime(&now);
    std::printf(
        "### What closing a socket does to what is pending, and to the peer\n\n"
        "- System: %s\n"
        "- Date: %04d-%02d-%02d %02d:%02d UTC\n"
        "- Provider: %s\n"
        "- Peer: %s, on %s\n\n"
        "TCP over loopback, sockets bound to a completion port. `abort`: SO_LINGER {1, 0},\n"
        "then closesocket; `close`: closesocket alone. Nothing is unread in the socket but\n"
        "where the table says so. Where a WSASend is pending, the peer reads nothing until\n"
        "the socket has been closed.\n\n",
        system_name().c_str(), now.wYear, now.wMonth, now.wDay, now.wHour, now.wMinute,
        winsock::provider().c_str(), where.c_str(), peer.ask("who").c_str());
    std::fflush(stdout);
    winsock::look(peer).print();

    std::printf("\nThe same by curfew %d.%d.%d, on its reactor `%s`. `close()` and a limit that "
                "cancels\nsend no RST, and lose nothing of what was sent; `abort()` and a limit "
                "that closes send one.\n\n",
                CURFEW_VERSION_MAJOR, CURFEW_VERSION_MINOR, CURFEW_VERSION_PATCH,
                std::string(ctx.name()).c_str());
    with_curfew::look(ctx, peer).print();
    peer.quit();
    return 0;
}

int report_with_thread() {
    const peer other(0);
    std::jthread thread([&] { other.serve(); });
    const struct at_end {
        const peer& other;
        ~at_end() { other.quit(); }
    } quit{other};
    return report(other.port(), "a thread of this process");
}

#endif

// --- The command line ---

int usage() {
    std::fputs("usage: close_report [--peer 127.0.0.1:PORT]  on Windows\n"
               "       close_report --serve PORT [SECONDS]   on any system\n",
               stderr);
    return 2;
}

/// A port, or so many seconds. False if it is neither.
bool parse(std::string_view text, std::uint16_t& number) {
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, number);
    return error == std::errc{} && stop == end;
}

int run(const std::vector<std::string_view>& arguments) {
    start_sockets();
    std::uint16_t port = 0;
    std::uint16_t idle = idle_limit.count();
    if ((arguments.size() == 2 || arguments.size() == 3) && arguments[0] == "--serve" &&
        parse(arguments[1], port) && (arguments.size() == 2 || parse(arguments[2], idle)))
        return serve(port, std::chrono::seconds(idle));
#if defined(_WIN32)
    if (arguments.empty()) return report_with_thread();
    constexpr std::string_view loopback = "127.0.0.1:";
    if (arguments.size() == 2 && arguments[0] == "--peer" && arguments[1].starts_with(loopback) &&
        parse(arguments[1].substr(loopback.size()), port))
        return report(port, "another process");
#else
    if (arguments.empty()) {
        std::fputs("close_report: this reports what Windows does, and is only good for its peer "
                   "on other systems: --serve PORT\n",
                   stderr);
        return 2;
    }
#endif
    return usage();
}

}  // namespace

int main(int count, char** arguments) {
    try {
        return run({arguments + 1, arguments + count});
    } catch (const std::exception& error) {
        std::fprintf(stderr, "close_report: %s\n", error.what());
        return 1;
    }
}
