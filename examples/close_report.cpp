// What the other side sees when a socket is closed with an operation pending: a report of your
// Windows, as a table fit for a bug report. Sources disagree on whether a receive that was pending,
// or that was cancelled, makes `closesocket` send a RST; this program looks.
//
//     close_report                          Windows: the peer is a thread of the same process
//     close_report --peer 127.0.0.1:7000    the peer is another process, say on another system
//     close_report --serve 7000             any system: be that peer, until it says so, or a minute
//
// The first table is made with Winsock alone, on an I/O completion port, without curfew; the second
// one with curfew, whose closes are what they are called on every system. Under Wine the peer
// should be a Linux process: Wine reads a RST as the end of the stream.
//
// What the peer is told: each connection begins with a line. "control" makes it the one that asks
// "go NAME", "what NAME" and "quit", a line each, and gets a line back. "NAME read" has its bytes
// read until it ends, "NAME hold" from the "go" on. What became of it is "end of stream", "reset"
// or "nothing", after so many bytes.
#include <curfew/curfew.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <list>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#if !defined(_WIN32)
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#endif

using namespace std::chrono_literals;

namespace {

// A few blocking calls under one name each
// ---------------------------------------------------------

#if defined(_WIN32)
using native = SOCKET;
constexpr native none = INVALID_SOCKET;
constexpr int reset_error = WSAECONNRESET;
constexpr int no_signal = 0;
void close_native(native socket) { ::closesocket(socket); }
int last_error() { return ::WSAGetLastError(); }
bool begin() {
    WSADATA data;
    return ::WSAStartup(MAKEWORD(2, 2), &data) == 0;
}
void limit(native socket, int ms) {
    const DWORD time = static_cast<DWORD>(ms);
    ::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, reinterpret_cast<const char*>(&time),
                 sizeof time);
}
#else
using native = int;
constexpr native none = -1;
constexpr int reset_error = ECONNRESET;
constexpr int no_signal = MSG_NOSIGNAL;
void close_native(native socket) { ::close(socket); }
int last_error() { return errno; }
bool begin() { return true; }
void limit(native socket, int ms) {
    const timeval time{ms / 1000, ms % 1000 * 1000};
    ::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
}
#endif

sockaddr_in loopback(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

/// A blocking TCP socket.
class stream {
public:
    explicit stream(native socket = none) : socket_(socket) {}
    stream(stream&& other) noexcept : socket_(std::exchange(other.socket_, none)) {}
    stream& operator=(stream&& other) noexcept {
        std::swap(socket_, other.socket_);
        return *this;
    }
    ~stream() { close(); }

    static stream connected(int port) {
        stream made(::socket(AF_INET, SOCK_STREAM, 0));
        const auto to = loopback(port);
        if (::connect(made.socket_, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0)
            made.close();
        return made;
    }

    explicit operator bool() const { return socket_ != none; }
    native get() const { return socket_; }
    native release() { return std::exchange(socket_, none); }
    void close() {
        if (socket_ != none) close_native(std::exchange(socket_, none));
    }

    void send(std::string_view text) {
        ::send(socket_, text.data(), static_cast<int>(text.size()), no_signal);
    }
    /// The bytes received, 0 at the end; negative: the error.
    long receive(char* to, std::size_t size) {
        const auto n = ::recv(socket_, to, static_cast<int>(size), 0);
        return n >= 0 ? static_cast<long>(n) : -static_cast<long>(last_error());
    }
    /// Without its end; empty at the end of the stream.
    std::string line() {
        std::string text;
        for (char c; receive(&c, 1) == 1 && c != '\n';) text += c;
        return text;
    }

private:
    native socket_;
};

// The peer
// -----------------------------------------------------------------------------------------

class peer {
public:
    /// Port 0: one of the system's choice.
    explicit peer(int port) {
        listener_ = stream(::socket(AF_INET, SOCK_STREAM, 0));
        const auto at = loopback(port);
        if (::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0 ||
            ::listen(listener_.get(), 16) != 0)
            listener_.close();
    }
    ~peer() {
        for (auto& each : threads_) each.join();
    }

    explicit operator bool() const { return static_cast<bool>(listener_); }

    int port() const {
        sockaddr_in address{};
#if defined(_WIN32)
        int size = sizeof address;
#else
        socklen_t size = sizeof address;
#endif
        ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size);
        return ntohs(address.sin_port);
    }

    /// Until it is told to quit, or nobody has come for a minute.
    void serve() {
        while (!quit_) {
            fd_set readable;
            FD_ZERO(&readable);
            FD_SET(listener_.get(), &readable);
            timeval time{60, 0};
            if (::select(static_cast<int>(listener_.get()) + 1, &readable, nullptr, nullptr,
                         &time) != 1)
                return;
            stream next(::accept(listener_.get(), nullptr, nullptr));
            if (next && !quit_)
                threads_.emplace_back([this, s = std::move(next)]() mutable { talk(s); });
        }
    }

private:
    void talk(stream& with) {
        limit(with.get(), 60'000);
        const std::string first = with.line();
        if (first == "control") return obey(with);
        const auto space = first.find(' ');
        if (space == first.npos) return;
        const std::string name = first.substr(0, space);
        if (first.substr(space) == " hold") {
            std::unique_lock lock(mutex_);
            changed_.wait_for(lock, 30s, [&] { return released_[name]; });
        }
        limit(with.get(), 2'000);
        std::vector<char> bytes(1 << 20);
        long long count = 0;
        long n;
        while ((n = with.receive(bytes.data(), bytes.size())) > 0) count += n;
        const std::lock_guard lock(mutex_);
        outcomes_[name] = (n == 0              ? "end of stream after "
                           : -n == reset_error ? "reset after "
                                               : "nothing after ") +
                          std::to_string(count) + " bytes";
        changed_.notify_all();
    }

    void obey(stream& with) {
        for (;;) {
            const std::string command = with.line();
            const std::string name =
                command.substr(std::min(command.size(), command.find(' ') + 1));
            std::unique_lock lock(mutex_);
            if (command.starts_with("go ")) {
                released_[name] = true;
                changed_.notify_all();
                with.send("ok\n");
            } else if (command.starts_with("what ")) {
                changed_.wait_for(lock, 10s, [&] { return outcomes_.count(name) > 0; });
                with.send(outcomes_[name] + "\n");
            } else {
                quit_ = command == "quit";
                lock.unlock();
                if (quit_) stream::connected(port());  // for `serve` to see it
                return;
            }
        }
    }

    stream listener_;
    std::vector<std::thread> threads_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::map<std::string, bool> released_;
    std::map<std::string, std::string> outcomes_;
    std::atomic<bool> quit_{false};
};

int serve(int port) {
    peer self(port);
    if (!self) {
        std::fprintf(stderr, "close_report: cannot listen on port %d\n", port);
        return 1;
    }
    std::printf("listening on %d\n", self.port());
    std::fflush(stdout);
    self.serve();
    return 0;
}

#if defined(_WIN32)

// Winsock alone
// ------------------------------------------------------------------------------------

struct observer {
    int port;
    stream control;

    explicit observer(int at) : port(at), control(stream::connected(at)) {
        if (control) control.send("control\n");
    }
    std::string ask(const std::string& what) {
        control.send(what + "\n");
        return control.line();
    }
};

enum class before { nothing, cancel, cancel_and_reap };

constexpr const char* to_string(before what) {
    return what == before::nothing ? "nothing" : what == before::cancel ? "cancel" : "cancel, reap";
}

class report {
public:
    explicit report(observer& by) : by_(by) {}

    void row(bool sends, before first, bool abort) {
        const std::string name = "case" + std::to_string(++cases_);
        stream socket = stream::connected(by_.port);
        socket.send(name + (sends ? " hold\n" : " read\n"));
        const HANDLE port = ::CreateIoCompletionPort(INVALID_HANDLE_VALUE, nullptr, 0, 1);
        const auto handle = reinterpret_cast<HANDLE>(socket.get());
        ::CreateIoCompletionPort(handle, port, 0, 0);

        // They stay, as some of them may never be reported.
        OVERLAPPED& operation = operations_.emplace_back();
        std::vector<char>& bytes = buffers_.emplace_back(sends ? 64 << 20 : 64, 'x');
        WSABUF buffer{static_cast<ULONG>(bytes.size()), bytes.data()};
        DWORD flags = 0;
        const int result =
            sends ? ::WSASend(socket.get(), &buffer, 1, nullptr, 0, &operation, nullptr)
                  : ::WSARecv(socket.get(), &buffer, 1, nullptr, &flags, &operation, nullptr);
        const bool pending = result != 0 && ::WSAGetLastError() == WSA_IO_PENDING;
        ::Sleep(100);  // for what can be moved to be moved

        std::string local = pending ? "" : "(was not pending) ";
        if (first != before::nothing) ::CancelIoEx(handle, &operation);
        if (first == before::cancel_and_reap) local += completion(port, operation);
        if (abort) {
            const linger abortive{1, 0};
            ::setsockopt(socket.get(), SOL_SOCKET, SO_LINGER,
                         reinterpret_cast<const char*>(&abortive), sizeof abortive);
        }
        socket.close();
        if (first != before::cancel_and_reap) local += completion(port, operation);
        if (sends) by_.ask("go " + name);
        std::printf("| %-7s | %-12s | %-5s | %-52s | %s |\n", sends ? "send" : "receive",
                    to_string(first), abort ? "abort" : "close", local.c_str(),
                    by_.ask("what " + name).c_str());
        ::CloseHandle(port);
    }

private:
    static std::string completion(HANDLE port, OVERLAPPED& operation) {
        DWORD count = 0;
        ULONG_PTR key = 0;
        OVERLAPPED* which = nullptr;
        ::SetLastError(0);
        const BOOL good = ::GetQueuedCompletionStatus(port, &count, &key, &which, 1000);
        if (!which) return "no packet within 1 s";
        const DWORD error = good ? 0 : ::GetLastError();
        char text[96];
        std::snprintf(text, sizeof text, "error %lu, status 0x%08lX, %lu bytes", error,
                      static_cast<unsigned long>(operation.Internal), count);
        return text;
    }

    observer& by_;
    std::list<OVERLAPPED> operations_;
    std::list<std::vector<char>> buffers_;
    int cases_ = 0;
};

// With curfew
// --------------------------------------------------------------------------------------

using namespace curfew;

task<tcp::socket> connect(io_context& ctx, int port, std::string_view first_line) {
    tcp::socket socket(ctx);
    (co_await socket.connect({ip::address::loopback_v4(), static_cast<std::uint16_t>(port)}))
        .value();
    (co_await write_all(socket, first_line)).value();
    co_return socket;
}

/// Has a read or a write pending on the socket, and returns what it said in the end.
task<std::error_code> pending(tcp::socket& socket, bool sends) {
    std::vector<char> bytes(sends ? 64 << 20 : 64, 'x');
    for (;;) {
        const auto [ec, n] =
            sends ? co_await write_all(socket, bytes) : co_await socket.read_some(bytes);
        if (ec) co_return ec;
    }
}

task<std::error_code> limited(tcp::socket& socket, bool sends, on_timeout policy) {
    std::vector<char> bytes(sends ? 64 << 20 : 64, 'x');
    const auto [ec, n] = sends ? co_await with_timeout(write_all(socket, bytes), 100ms, policy)
                               : co_await with_timeout(socket.read_some(bytes), 100ms, policy);
    co_return ec;
}

task<> rows(io_context& ctx, observer& by) {
    const char* const ways[] = {"close()", "abort()", "a limit, cancel; then close()",
                                "a limit, close"};
    int cases = 0;
    for (const bool sends : {false, true})
        for (const std::string way : ways) {
            const std::string name = "curfew" + std::to_string(++cases);
            tcp::socket socket =
                co_await connect(ctx, by.port, name + (sends ? " hold\n" : " read\n"));
            std::error_code local;
            if (way.starts_with("a limit")) {
                local = co_await limited(socket, sends,
                                         way == ways[3] ? on_timeout::close : on_timeout::cancel);
                socket.close();
            } else {
                auto operation = ctx.spawn(pending(socket, sends));
                (void)co_await sleep_for(100ms);
                way == ways[0] ? socket.close() : socket.abort();
                local = co_await operation;
            }
            if (sends) by.ask("go " + name);
            std::printf("| %-7s | %-29s | %-22s | %s |\n", sends ? "write" : "read", way.c_str(),
                        local.message().c_str(), by.ask("what " + name).c_str());
        }
}

// ---------------------------------------------------------------------------------------------------

std::string system_name() {
    const HMODULE library = ::GetModuleHandleW(L"ntdll.dll");
    const auto find = [&](const char* name) {
        return reinterpret_cast<void*>(::GetProcAddress(library, name));
    };
    std::string name = "unknown";
    OSVERSIONINFOW version{};
    version.dwOSVersionInfoSize = sizeof version;
    using get_version = LONG(WINAPI*)(OSVERSIONINFOW*);
    if (const auto ask = reinterpret_cast<get_version>(find("RtlGetVersion"));
        ask && !ask(&version))
        name = "Windows " + std::to_string(version.dwMajorVersion) + "." +
               std::to_string(version.dwMinorVersion) + ", build " +
               std::to_string(version.dwBuildNumber);
    using get_wine = const char*(CDECL*)();
    if (const auto wine = reinterpret_cast<get_wine>(find("wine_get_version")))
        name = "Wine " + std::string(wine()) + ", which says it is " + name;
    return name;
}

int observe(int port, const char* where) {
    observer by(port);
    if (!by.control) {
        std::fprintf(stderr, "close_report: nobody listens on port %d\n", port);
        return 1;
    }
    SYSTEMTIME now;
    ::GetSystemTime(&now);
    std::printf(
        "System: %s. Date: %04d-%02d-%02d. The peer: %s. TCP over loopback, nothing unread in "
        "the socket.\n\n",
        system_name().c_str(), now.wYear, now.wMonth, now.wDay, where);
    std::printf(
        "| pending | before that  | then  | the operation's completion %25s | the peer saw |\n"
        "|---|---|---|---|---|\n",
        "");
    report winsock(by);
    for (const bool sends : {false, true})
        for (const auto first : {before::nothing, before::cancel, before::cancel_and_reap})
            for (const bool abort : {false, true}) winsock.row(sends, first, abort);

    io_context ctx;
    std::printf(
        "\nWith curfew (%s):\n\n"
        "| pending | ended by                      | the caller got         | the peer saw |\n"
        "|---|---|---|---|\n",
        std::string(ctx.name()).c_str());
    ctx.block_on(rows(ctx, by));
    by.control.send("quit\n");
    return 0;
}

#endif

int usage() {
    std::fputs("usage: close_report [--peer 127.0.0.1:PORT] (Windows)\n"
               "       close_report --serve PORT\n"
               "It reports what closing a socket does on Windows; on other systems it can only be "
               "the peer.\n",
               stderr);
    return 2;
}

}  // namespace

int main(int count, char** arguments) {
    if (!begin()) return 1;
    const std::string_view what = count > 1 ? arguments[1] : "";
    if (what == "--serve" && count == 3) return serve(std::atoi(arguments[2]));
#if defined(_WIN32)
    if (what == "--peer" && count == 3) {
        const auto at = curfew::ip::endpoint::parse(arguments[2]);
        return at.ok() ? observe(at.value().port(), "another process") : usage();
    }
    if (count == 1) {
        peer self(0);
        if (!self) return 1;
        std::thread server([&] { self.serve(); });
        const int result = observe(self.port(), "a thread of this process");
        server.join();
        return result;
    }
#endif
    return usage();
}
