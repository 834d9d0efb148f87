// The timeout lab shows what a limit on a read does, on every reactor of this machine.
//
//   timeout_lab [--quick] [--reactor NAME]
//
// The peer at the other end of each connection runs in a process of its own and knows nothing of
// curfew: it is written with plain, blocking socket calls, as any server out there might be. What
// it saw it reports through a pipe. The lab ends with 0 if everything was as promised.
//
// To be read from the bottom up: main, then the three experiments, then the peer.
#include <curfew/curfew.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <initializer_list>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <csignal>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace std::chrono_literals;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;

namespace {

// --- The numbered bytes ---

/// Byte `i` of the stream that consists of the 32-bit numbers 0, 1, 2, ...
unsigned char numbered_byte(std::size_t i) {
    return static_cast<unsigned char>(i / 4 >> (8 * (i % 4)));
}

// --- The peer: another process, and nothing of curfew ---

namespace blocking {

enum class errand : char {
    answer,   // think it over, say "done!" once told to, and see what the other side has to say
    silence,  // say nothing
    stream,   // send numbered bytes, in small pieces and with pauses
};

struct order {
    errand what = errand::silence;
    int pieces = 0;  // of a stream
};

/// What a peer saw; error numbers as in errno, 0 for success.
struct report {
    std::size_t sent = 0;
    int send_error = 0;
    char received[32] = {};
    int receive_error = 0;
};

[[noreturn]] void give_up(const char* what) {
    std::fprintf(stderr, "the peer: %s: %s\n", what, std::strerror(errno));
    _exit(1);
}

void send_bytes(int connection, const void* bytes, std::size_t size, report& seen) {
    const ssize_t sent = send(connection, bytes, size, 0);
    if (sent < 0)
        seen.send_error = errno;
    else
        seen.sent += static_cast<std::size_t>(sent);
}

void receive_text(int connection, report& seen) {
    const ssize_t received = recv(connection, seen.received, sizeof seen.received - 1, 0);
    if (received < 0) seen.receive_error = errno;
}

void send_stream(int connection, int pieces, report& seen) {
    std::minstd_rand random(1);
    std::uniform_int_distribution<std::size_t> size(1, 1500);
    std::uniform_int_distribution<unsigned> pause(0, 500);
    std::array<unsigned char, 1500> piece;
    for (int i = 0; i < pieces && !seen.send_error; ++i) {
        const std::size_t n = size(random);
        for (std::size_t k = 0; k < n; ++k) piece[k] = numbered_byte(seen.sent + k);
        send_bytes(connection, piece.data(), n, seen);
        usleep(pause(random));
    }
}

[[noreturn]] void serve(int orders, int reports) {
    std::signal(SIGPIPE, SIG_IGN);
    alarm(300);  // whatever happens, this process ends
    const int listener = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    socklen_t size = sizeof address;
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, reinterpret_cast<sockaddr*>(&address), size) != 0) give_up("bind");
    if (listen(listener, 8) != 0) give_up("listen");
    getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
    const std::uint16_t port = ntohs(address.sin_port);
    if (write(reports, &port, sizeof port) != sizeof port) give_up("write");

    order next;
    while (read(orders, &next, sizeof next) == sizeof next) {
        const int connection = accept(listener, nullptr, nullptr);
        if (connection < 0) give_up("accept");
        report seen;
        char go;
        switch (next.what) {
        case errand::answer:
            usleep(75'000);
            if (read(orders, &go, 1) != 1) give_up("read");
            send_bytes(connection, "done!", 5, seen);
            receive_text(connection, seen);
            break;
        case errand::silence:
            receive_text(connection, seen);
            break;
        case errand::stream:
            send_stream(connection, next.pieces, seen);
            break;
        }
        close(connection);
        if (write(reports, &seen, sizeof seen) != sizeof seen) give_up("write");
    }
    _exit(0);
}

/// The peer as seen from here.
class peer {
public:
    peer() {
        int orders[2], reports[2];
        if (pipe(orders) != 0 || pipe(reports) != 0) fail("pipe");
        process_ = fork();
        if (process_ < 0) fail("fork");
        if (process_ == 0) {
            close(orders[1]);
            close(reports[0]);
            serve(orders[0], reports[1]);
        }
        close(orders[0]);
        close(reports[1]);
        orders_ = orders[1];
        reports_ = reports[0];
        receive(port_);
    }
    peer(const peer&) = delete;
    peer& operator=(const peer&) = delete;
    ~peer() {
        close(orders_);  // and the process ends
        close(reports_);
        waitpid(process_, nullptr, 0);
    }

    std::uint16_t port() const { return port_; }
    void expect(errand what, int pieces = 0) { send(order{what, pieces}); }
    void go() { send('!'); }
    report ask() {
        report seen;
        receive(seen);
        return seen;
    }

private:
    [[noreturn]] static void fail(const char* what) {
        throw std::system_error(errno, std::generic_category(), what);
    }
    template <class T>
    void send(const T& message) {
        if (write(orders_, &message, sizeof message) != sizeof message) fail("telling the peer");
    }
    template <class T>
    void receive(T& message) {
        if (read(reports_, &message, sizeof message) != sizeof message)
            throw std::runtime_error("the peer has died");
    }

    pid_t process_ = 0;
    int orders_ = -1;
    int reports_ = -1;
    std::uint16_t port_ = 0;
};

}  // namespace blocking

using namespace curfew;

// --- The printed page ---

class page {
public:
    explicit page(bool colours) : colours_(colours) {}

    void heading(const char* text) { std::printf("\n%s%s%s\n\n", bold(), text, plain()); }

    [[gnu::format(printf, 2, 3)]] void header(const char* format, ...) {
        std::va_list values;
        va_start(values, format);
        std::printf("%s  %-8s", faint(), "reactor");
        std::vprintf(format, values);
        std::printf("%s\n", plain());
        va_end(values);
    }

    /// A row starts with the reactor and ends with the verdict.
    [[gnu::format(printf, 3, 4)]] void row(std::string_view reactor, const char* format, ...) {
        std::va_list values;
        va_start(values, format);
        std::printf("  %-8s", std::string(reactor).c_str());
        std::vprintf(format, values);
        va_end(values);
        const bool good = broken_.size() == judged_;
        std::printf("  %s%s%s\n", good ? green() : red(), good ? "ok" : "NOT AS PROMISED", plain());
        judged_ = broken_.size();
        std::fflush(stdout);
    }

    void legend(std::initializer_list<const char*> lines) {
        std::printf("\n");
        for (const char* each : lines) std::printf("%s  %s%s\n", faint(), each, plain());
    }

    /// Notes a promise that does not hold; it counts for the row printed next.
    void promise(bool kept, std::string_view reactor, const std::string& what) {
        if (!kept) broken_.push_back(std::string(reactor) + ": " + what);
    }

    /// The last line. True if all promises were kept.
    bool verdict(std::chrono::duration<double> taken) const {
        if (broken_.empty()) {
            std::printf("\n%sEverything as promised%s, in %.1f s.\n", green(), plain(),
                        taken.count());
        } else {
            std::printf("\n%sNot as promised:%s\n", red(), plain());
            for (const auto& each : broken_) std::printf("  - %s\n", each.c_str());
        }
        return broken_.empty();
    }

private:
    const char* bold() const { return colours_ ? "\033[1m" : ""; }
    const char* faint() const { return colours_ ? "\033[2m" : ""; }
    const char* green() const { return colours_ ? "\033[32m" : ""; }
    const char* red() const { return colours_ ? "\033[1;31m" : ""; }
    const char* plain() const { return colours_ ? "\033[0m" : ""; }

    bool colours_;
    std::vector<std::string> broken_;
    std::size_t judged_ = 0;  // of these, how many have been shown in a row
};

double in_ms(nanoseconds time) { return std::chrono::duration<double, std::milli>(time).count(); }

/// 1234567 as "1,234,567".
std::string grouped(std::size_t number) {
    std::string text = std::to_string(number);
    for (auto place = text.size(); place > 3;) text.insert(place -= 3, 1, ',');
    return text;
}

/// One connection to the peer, and all that an experiment needs around it.
struct lab {
    io_context& ctx;
    blocking::peer& peer;
    page& out;
    bool quick;

    task<tcp::socket> connect() {
        tcp::socket socket(ctx);
        auto [ec] = co_await socket.connect({ip::address::loopback_v4(), peer.port()});
        if (ec) throw std::system_error(ec, "connecting to the peer");
        co_return socket;
    }
};

// --- 1. An answer that comes too late ---

constexpr milliseconds answer_limit = 50ms;

/// How an operation on the socket ended, in words: what it read, or why not.
std::string outcome_of(std::error_code ec, std::string_view read) {
    if (ec == errc::timed_out) return "timed_out";
    if (ec == errc::closed) return "closed";
    if (ec) return ec.message();
    return '"' + std::string(read) + '"';
}

task<> late_answer(lab& here, std::optional<on_timeout> policy) {
    using blocking::errand;
    here.peer.expect(errand::answer);
    tcp::socket socket = co_await here.connect();
    std::array<char, 32> buffer;
    const auto text = [&](std::size_t n) { return std::string_view(buffer.data(), n); };

    // The read, with its limit. Only when that is over is the peer told to answer, so that a busy
    // machine cannot change the outcome; without a limit it is told at once, or all would wait
    // for ever.
    if (!policy) here.peer.go();
    result<std::size_t> first;
    const auto begin = clock::now();
    if (policy)
        first = co_await with_timeout(socket.read_some(buffer), answer_limit, *policy);
    else
        first = co_await socket.read_some(buffer);
    const auto taken = clock::now() - begin;
    const std::string said = outcome_of(first.error(), text(first.ok() ? first.value() : 0));
    if (policy) here.peer.go();

    // The same socket once more, and a word of thanks.
    std::string then = "-";
    if (policy) {
        auto [ec, n] = co_await socket.read_some(buffer);
        then = outcome_of(ec, text(n));
    }
    auto [write_error, sent] = co_await write_all(socket, "thanks");
    socket.close();

    const blocking::report seen = here.peer.ask();
    const bool reset = seen.send_error == ECONNRESET || seen.receive_error == ECONNRESET;
    std::string peer_says;
    if (reset)
        peer_says = "connection reset";
    else if (seen.send_error || seen.receive_error)
        peer_says = std::strerror(seen.send_error ? seen.send_error : seen.receive_error);
    else
        peer_says = std::string("sent \"done!\", got \"") + seen.received + '"';

    const auto name = here.ctx.name();
    const char* limit = !policy ? "none" : policy == on_timeout::cancel ? "cancel" : "close";
    const auto promise = [&](bool kept, const char* what) {
        here.out.promise(kept, name, "limit " + std::string(limit) + ": " + what);
    };
    if (!policy) {
        promise(said == "\"done!\"", "the read gets the answer");
    } else {
        promise(said == "timed_out", "the read says timed_out");
        promise(taken >= answer_limit, "the limit is not early");
    }
    if (policy == on_timeout::cancel)
        promise(then == "\"done!\"", "the late answer arrives on the same socket");
    if (policy == on_timeout::close) {
        promise(then == "closed" && write_error == errc::closed, "the socket is closed afterwards");
        promise(reset, "the peer gets a connection reset");
    } else {
        promise(!reset && seen.sent == 5 && std::string_view(seen.received) == "thanks",
                "the peer notices nothing");
    }
    here.out.row(name, "  %-8s %-12s %6.1f ms  %-14s  %-26s", limit, said.c_str(), in_ms(taken),
                 then.c_str(), peer_says.c_str());
}

task<> late_answers(lab& here) {
    co_await late_answer(here, std::nullopt);
    co_await late_answer(here, on_timeout::cancel);
    co_await late_answer(here, on_timeout::close);
}

void late_answers_header(page& out) {
    out.heading("1. A read with a limit of 50 ms; the peer answers \"done!\" only later.");
    out.header("  %-8s %-12s %9s  %-14s  %s", "limit", "read says", "after", "next read says",
               "the peer, meanwhile");
}

void late_answers_legend(page& out) {
    out.legend({"none    no limit: the read waits for the answer, however long it takes",
                "cancel  the read ends, the socket lives on, and the late answer arrives on it",
                "close   the read ends by an abortive close of its socket: the peer gets a RST"});
}

// --- 2. When a limit fires ---

task<> punctuality(lab& here) {
    here.peer.expect(blocking::errand::silence);
    tcp::socket socket = co_await here.connect();
    std::array<char, 32> buffer;

    struct series {
        milliseconds limit;
        int count;
    };
    for (const auto [limit, usual_count] : {series{1ms, 40}, series{10ms, 15}, series{50ms, 5}}) {
        const int count = here.quick ? usual_count / 4 + 1 : usual_count;
        std::vector<nanoseconds> late;
        for (int i = 0; i < count; ++i) {
            const auto begin = clock::now();
            auto [ec, n] = co_await with_timeout(socket.read_some(buffer), limit);
            late.push_back(clock::now() - begin - limit);
            here.out.promise(ec == errc::timed_out, here.ctx.name(), "a read of nothing times out");
        }
        std::sort(late.begin(), late.end());
        const auto median = late[late.size() / 2];
        const auto early = std::count_if(late.begin(), late.end(), [](auto t) { return t < 0ns; });
        const std::string which = "a limit of " + std::to_string(limit.count()) + " ms ";
        here.out.promise(early == 0, here.ctx.name(), which + "is never early");
        // The machine may be busy with something else, but not every time.
        here.out.promise(late.front() <= 2ms, here.ctx.name(), which + "fires within 2 ms");
        here.out.row(
            here.ctx.name(), "  %5lld ms  %5d  %9.3f ms  %5lld  %8.3f ms  %8.3f ms  %8.3f ms",
            static_cast<long long>(limit.count()), count, in_ms(limit + median),
            static_cast<long long>(early), in_ms(late.front()), in_ms(median), in_ms(late.back()));
    }
    socket.close();
    here.peer.ask();
}

void punctuality_header(page& out) {
    out.heading("2. The peer says nothing. How punctual is a limit?");
    out.header("  %8s  %5s  %12s  %5s  %11s  %11s  %11s", "asked", "times", "taken", "early",
               "least late", "median late", "most late");
}

void punctuality_legend(page& out) {
    out.legend({"asked       the limit on the read",
                "taken       the time until the read said timed_out (the median)",
                "early       how many were; promised: none",
                "least late  promised: at most 2 ms (a busy machine may delay some, but not all)"});
}

// --- 3. A stream under tiny limits ---

task<> stream(lab& here) {
    here.peer.expect(blocking::errand::stream, here.quick ? 400 : 2000);
    tcp::socket socket = co_await here.connect();
    std::vector<unsigned char> buffer(4096);
    std::mt19937 random(1);
    std::uniform_int_distribution<int> limit(0, 300);  // microseconds
    std::uniform_int_distribution<std::size_t> size(1, buffer.size());

    std::size_t total = 0, fired = 0, with_bytes = 0, wrong = 0;
    for (bool exactly = false;; exactly = !exactly) {
        // In turn a read that takes what there is, and one that wants a certain number of bytes: of
        // that one, the limit may leave a part.
        const mutable_buffer wanted(buffer.data(), size(random));
        result<std::size_t> got;
        if (exactly)
            got = co_await with_timeout(read_exactly(socket, wanted), microseconds(limit(random)));
        else
            got = co_await with_timeout(socket.read_some(wanted), microseconds(limit(random)));
        const auto [ec, n] = got;

        for (std::size_t i = 0; i < n; ++i) wrong += buffer[i] != numbered_byte(total + i);
        total += n;
        if (ec == errc::timed_out) {
            ++fired;
            with_bytes += n > 0;
        } else if (ec) {
            here.out.promise(ec == errc::eof, here.ctx.name(), "the stream ends: " + ec.message());
            break;
        }
    }
    socket.close();

    const blocking::report seen = here.peer.ask();
    here.out.promise(total == seen.sent, here.ctx.name(), "all bytes of the stream arrive");
    here.out.promise(wrong == 0, here.ctx.name(), "the bytes of the stream arrive in order");
    here.out.promise(fired >= (here.quick ? 100 : 1000), here.ctx.name(),
                     "many limits fire (only " + std::to_string(fired) + " did)");
    here.out.row(here.ctx.name(), "  %10s  %10s  %4s  %9s  %10s  %11s", grouped(seen.sent).c_str(),
                 grouped(total).c_str(),
                 seen.sent < total ? "?" : grouped(seen.sent - total).c_str(),
                 grouped(wrong).c_str(), grouped(fired).c_str(), grouped(with_bytes).c_str());
}

void stream_header(page& out) {
    out.heading("3. The peer streams numbered bytes; each read has a random limit of 0 to 0.3 ms.");
    out.header("  %10s  %10s  %4s  %9s  %10s  %11s", "bytes sent", "bytes read", "lost",
               "misplaced", "timed out", "in mid-read");
}

void stream_legend(page& out) {
    out.legend(
        {"timed out    reads that their limit ended; promised: over 1,000 (--quick: 100)",
         "in mid-read  those of them that had read a part of what they wanted: it is not lost"});
}

// --- The lab ---

constexpr const char* usage = R"(Usage: timeout_lab [--quick] [--reactor NAME] [--help]

Shows what a time limit on a read does, on every reactor of this machine, against a peer in another
process that is written with plain, blocking socket calls:
  1. what the caller and the peer see under the two policies, on_timeout::cancel and close
  2. when limits of 1, 10 and 50 ms fire
  3. that thousands of limits cost a stream no byte

  --quick          fewer samples, about a second
  --reactor NAME   only on io_uring, epoll, poll or select

Ends with 0 if everything was as promised, 1 if not.
)";

struct experiment {
    void (*header)(page&);
    task<> (*run)(lab&);
    void (*legend)(page&);
};

constexpr experiment experiments[] = {
    {late_answers_header, late_answers, late_answers_legend},
    {punctuality_header, punctuality, punctuality_legend},
    {stream_header, stream, stream_legend},
};

/// The reactors that this machine has, of those asked for.
std::vector<reactor_kind> available(std::optional<reactor_kind> asked) {
    std::vector<reactor_kind> found;
    for (const auto kind : {reactor_kind::io_uring, reactor_kind::iocp, reactor_kind::epoll,
                            reactor_kind::poll, reactor_kind::select}) {
        if (asked && kind != *asked) continue;
        try {
            io_context probe(kind);
            found.push_back(kind);
        } catch (const std::system_error&) {
            if (asked) throw;
        }
    }
    return found;
}

bool run(blocking::peer& peer, std::optional<reactor_kind> asked, bool quick) {
    const auto kinds = available(asked);
    const auto begin = clock::now();
    page out(isatty(STDOUT_FILENO) && !std::getenv("NO_COLOR"));
    std::printf(
        "What a time limit on a read does, on each reactor of this machine. The peer is another\n"
        "process, written with plain, blocking socket calls.\n");
    for (const auto& each : experiments) {
        each.header(out);
        for (const auto kind : kinds) {
            io_context ctx(kind);
            lab here{ctx, peer, out, quick};
            ctx.block_on(each.run(here));
        }
        each.legend(out);
    }
    return out.verdict(clock::now() - begin);
}

}  // namespace

int main(int argc, char** argv) {
    bool quick = false;
    std::optional<reactor_kind> only;
    for (int i = 1; i < argc; ++i) {
        const std::string_view option = argv[i];
        if (option == "--help" || option == "-h") {
            std::fputs(usage, stdout);
            return 0;
        }
        if (option == "--quick") {
            quick = true;
        } else if (option == "--reactor" && i + 1 < argc && parse_reactor_kind(argv[i + 1])) {
            only = parse_reactor_kind(argv[++i]);
        } else {
            std::fprintf(stderr, "timeout_lab: what is %s? See --help.\n", argv[i]);
            return 2;
        }
    }
    alarm(60);  // should a limit never fire, this ends the lab
    try {
        blocking::peer peer;  // a process of its own, before there is anything it might inherit
        return run(peer, only, quick) ? 0 : 1;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "timeout_lab: %s\n", error.what());
        return 1;
    }
}
