// Pipes, files, terminals, and the standard input.
#include <curfew/pipe.hpp>

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "support/loop.hpp"

using namespace test;

TEST_CASE("what belongs to nothing says closed") {
    io_context ctx;
    ctx.block_on([]() -> task<> {
        pipe::reader reader;
        pipe::writer writer;
        std::array<char, 4> buffer;
        CHECK((co_await reader.read_some(buffer)).error() == errc::closed);
        CHECK((co_await reader.wait()).error() == errc::closed);
        CHECK((co_await writer.write_some("x")).error() == errc::closed);
        CHECK((co_await writer.wait()).error() == errc::closed);
    }());
}

#if !defined(CURFEW_HAS_FILES)

TEST_CASE("where there are no pipes, that is what is said") {
    io_context ctx;
    CHECK(pipe::pair(ctx).error() == errc::not_supported);
    CHECK(standard_input(ctx).error() == errc::not_supported);
    CHECK(pipe::reader::adopt(ctx, platform::invalid_socket).error() == errc::not_supported);
    CHECK(pipe::reader::share(ctx, platform::invalid_socket).error() == errc::not_supported);
    CHECK(pipe::writer::adopt(ctx, platform::invalid_socket).error() == errc::not_supported);
}

#else

#include <csignal>
#include <cstdlib>

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

namespace {

/// A plain pipe, whose ends block.
struct plain_pipe {
    int ends[2] = {-1, -1};
    plain_pipe() { REQUIRE(::pipe(ends) == 0); }
    plain_pipe(const plain_pipe&) = delete;
    plain_pipe& operator=(const plain_pipe&) = delete;
    ~plain_pipe() {
        for (int i : {0, 1}) close(i);
    }
    int out() const { return ends[0]; }
    void write(std::string_view text) const {
        CHECK(::write(ends[1], text.data(), text.size()) == static_cast<ssize_t>(text.size()));
    }
    void close(int which) {
        if (ends[which] >= 0) ::close(std::exchange(ends[which], -1));
    }
};

/// A terminal with nobody at it: what is written to `keys` is typed.
struct terminal {
    int keys = -1;
    int other = -1;
    terminal() {
        keys = ::posix_openpt(O_RDWR | O_NOCTTY);
        REQUIRE(keys >= 0);
        REQUIRE(::grantpt(keys) == 0);
        REQUIRE(::unlockpt(keys) == 0);
        other = ::open(::ptsname(keys), O_RDWR | O_NOCTTY);
        REQUIRE(other >= 0);
    }
    terminal(const terminal&) = delete;
    terminal& operator=(const terminal&) = delete;
    ~terminal() {
        ::close(keys);
        ::close(other);
    }
    void type(std::string_view text) const {
        CHECK(::write(keys, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
    }
};

/// A file with this in it, open for reading, that has no name any more.
int file_with(std::string_view text) {
    std::string name = "/tmp/curfew_pipe_XXXXXX";
    const int made = ::mkstemp(name.data());
    REQUIRE(made >= 0);
    ::unlink(name.c_str());
    REQUIRE(::write(made, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
    REQUIRE(::lseek(made, 0, SEEK_SET) == 0);
    return made;
}

task<std::string> read_all(pipe::reader& from) {
    std::string all;
    std::vector<char> buffer(100'000);
    for (;;) {
        const auto [ec, n] = co_await with_timeout(from.read_some(buffer), 10s);
        if (ec) {
            CHECK(ec == errc::eof);
            co_return all;
        }
        all.append(buffer.data(), n);
    }
}

/// While it lives, this is the standard input.
struct as_standard_input {
    explicit as_standard_input(int what) : before(::dup(0)) { ::dup2(what, 0); }
    as_standard_input(const as_standard_input&) = delete;
    as_standard_input& operator=(const as_standard_input&) = delete;
    ~as_standard_input() {
        ::dup2(before, 0);
        ::close(before);
    }
    int before;
};

}  // namespace

REACTOR_TEST("what is written to a pipe is read from it, until it is closed") {
    run(kind, [](io_context& ctx) -> task<> {
        auto [out, in] = pipe::pair(ctx).value();
        std::array<char, 16> buffer;
        CHECK((co_await in.write_some("abc")).value() == 3);
        CHECK((co_await out.read_some(buffer)).value() == 3);
        CHECK(std::string_view(buffer.data(), 3) == "abc");
        auto reading = ctx.spawn([](pipe::reader& from) -> task<std::string> {
            co_return co_await read_all(from);
        }(out));
        co_await sleep_for(1ms);
        CHECK((co_await in.write_some("de", "fg")).value() == 4);
        co_await sleep_for(1ms);
        CHECK((co_await write_all(in, "h")).value() == 1);
        in.close();
        CHECK(co_await std::move(reading) == "defgh");
        CHECK((co_await out.read_some(buffer)).error() == errc::eof);
        CHECK((co_await out.read_some(std::span(buffer).first(0))).value() == 0);
    });
}

REACTOR_TEST("a write that nobody will read fails, without a signal") {
    struct sigaction before {};
    struct sigaction deadly {};
    deadly.sa_handler = SIG_DFL;
    ::sigaction(SIGPIPE, &deadly, &before);
    run(kind, [](io_context& ctx) -> task<> {
        for (const bool waits : {false, true}) {
            auto [out, in] = pipe::pair(ctx).value();
            if (waits) {
                const std::string large(std::size_t{1} << 20, 'x');
                CHECK((co_await with_timeout(write_all(in, large), 2ms)).error() ==
                      errc::timed_out);
                ctx.post([&reader = out] { reader.close(); });
            } else {
                out.close();
            }
            CHECK((co_await with_timeout(in.write_some("x"), 10s)).error() ==
                  std::errc::broken_pipe);
            CHECK((co_await with_timeout(in.wait(), 10s)).ok());
        }
        // One that is pending because the program blocks it is left pending, and no other comes.
        sigset_t one, old, pending;
        sigemptyset(&one);
        sigaddset(&one, SIGPIPE);
        ::pthread_sigmask(SIG_BLOCK, &one, &old);
        for (const bool raised : {false, true}) {
            if (raised) ::raise(SIGPIPE);
            auto [out, in] = pipe::pair(ctx).value();
            out.close();
            CHECK((co_await in.write_some("x")).error() == std::errc::broken_pipe);
            ::sigpending(&pending);
            CHECK((sigismember(&pending, SIGPIPE) == 1) == raised);
        }
        int number = 0;
        ::sigwait(&one, &number);
        ::pthread_sigmask(SIG_SETMASK, &old, nullptr);
    });
    ::sigaction(SIGPIPE, &before, nullptr);
}

REACTOR_TEST("limits on both ends of a pipe lose nothing") {
    run(kind, [](io_context& ctx) -> task<> {
        auto [out, in] = pipe::pair(ctx).value();
        std::string sent(std::size_t{1} << 20, ' ');
        for (std::size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<char>(i * 7 + i / 251);
        auto writing = ctx.spawn([](pipe::writer& to, const std::string& bytes) -> task<> {
            std::size_t at = 0;
            while (at < bytes.size()) {
                const auto [ec, n] =
                    co_await with_timeout(write_all(to, std::string_view(bytes).substr(at)), 200us);
                at += n;
                CHECK((!ec || ec == errc::timed_out));
            }
            to.close();
        }(in, sent));
        std::string got;
        std::array<char, 5000> buffer;
        for (;;) {
            const auto [ec, n] = co_await with_timeout(out.read_some(buffer), 100us);
            got.append(buffer.data(), n);
            if (ec == errc::eof) break;
            CHECK((!ec || ec == errc::timed_out));
            if (got.size() % 3 == 0) co_await sleep_for(50us);
        }
        co_await std::move(writing);
        CHECK(got == sent);
    });
}

REACTOR_TEST("a read of a pipe is cancelled like any other operation") {
    run(kind, [](io_context& ctx) -> task<> {
        auto [out, in] = pipe::pair(ctx).value();
        std::array<char, 16> buffer;
        CHECK((co_await with_timeout(out.read_some(buffer), 0s)).error() == errc::timed_out);
        CHECK((co_await when_any(out.read_some(buffer), sleep_for(1ms))).index == 1);
        const auto read = [](pipe::reader& from) -> task<std::error_code> {
            std::array<char, 4> own;
            co_return (co_await from.read_some(own)).error();
        };
        auto first = ctx.spawn(read(out));
        co_await yield();
        CHECK((co_await out.read_some(buffer)).error() == std::errc::operation_in_progress);
        out.cancel();
        CHECK(co_await std::move(first) == errc::canceled);
        CHECK((co_await in.write_some("abc")).ok());
        CHECK((co_await out.read_some(std::span(buffer).first(1), std::span(buffer).subspan(1)))
                  .value() == 3);
        CHECK((co_await with_timeout(out.read_some(buffer), 1ms, on_timeout::close)).error() ==
              errc::timed_out);
        CHECK_FALSE(out.is_open());
        CHECK((co_await in.write_some("x")).error() == std::errc::broken_pipe);
        auto [out2, in2] = pipe::pair(ctx).value();
        auto second = ctx.spawn(read(out2));
        co_await sleep_for(1ms);
        out2.close();
        CHECK(co_await std::move(second) == errc::closed);
    });
}

REACTOR_TEST("a wait ends when there is something, and takes nothing") {
    run(kind, [](io_context& ctx) -> task<> {
        auto [out, in] = pipe::pair(ctx).value();
        CHECK((co_await with_timeout(out.wait(), 1ms)).error() == errc::timed_out);
        CHECK((co_await with_timeout(in.wait(), 10s)).ok());
        ctx.post([&writer = in] { CHECK(::write(writer.native_handle(), "x", 1) == 1); });
        CHECK((co_await with_timeout(out.wait(), 10s)).ok());
        std::array<char, 4> buffer;
        CHECK((co_await out.read_some(buffer)).value() == 1);
    });
}

REACTOR_TEST("files and devices are read to their end, and keep nobody waiting who has a limit") {
    run(kind, [](io_context& ctx) -> task<> {
        std::string text(std::size_t{1} << 20, ' ');
        for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 7 + i / 251);
        for (const bool shared : {false, true}) {
            const int file = file_with(text);
            auto reader =
                (shared ? pipe::reader::share(ctx, file) : pipe::reader::adopt(ctx, file)).value();
            CHECK((co_await with_timeout(reader.wait(), 10s)).ok());
            CHECK(co_await read_all(reader) == text);
            std::array<char, 4> buffer;
            CHECK((co_await reader.read_some(buffer)).error() == errc::eof);
            if (shared) ::close(file);

            const int null = ::open("/dev/null", O_RDONLY);
            auto nothing =
                (shared ? pipe::reader::share(ctx, null) : pipe::reader::adopt(ctx, null)).value();
            CHECK((co_await nothing.read_some(buffer)).error() == errc::eof);
            if (shared) ::close(null);

            const int zeros = ::open("/dev/zero", O_RDONLY);
            auto endless =
                (shared ? pipe::reader::share(ctx, zeros) : pipe::reader::adopt(ctx, zeros))
                    .value();
            const auto [ec] = co_await with_timeout(
                [](pipe::reader& from) -> task<result<>> {
                    std::array<char, 64> own;
                    for (;;)
                        if (const auto got = co_await from.read_some(own); !got.ok())
                            co_return got.error();
                }(endless),
                20ms);
            CHECK(ec == errc::timed_out);
            if (shared) ::close(zeros);
        }
        std::vector<char> half(text.size() / 2);
        auto exact = pipe::reader::adopt(ctx, file_with(text)).value();
        CHECK((co_await read_exactly(exact, half)).value() == half.size());
        CHECK(std::string_view(half.data(), half.size()) ==
              std::string_view(text).substr(0, half.size()));
        // However large the buffer, others have their turn.
        std::vector<char> large(text.size());
        auto whole = pipe::reader::adopt(ctx, file_with(text)).value();
        CHECK((co_await whole.read_some(large)).value() == std::size_t{256} << 10);
    });
}

REACTOR_TEST("a descriptor that others share stays as it is, and reads of it never block") {
    run(kind, [](io_context& ctx) -> task<> {
        plain_pipe pipe;
        const int flags = ::fcntl(pipe.out(), F_GETFL);
        {
            auto reader = pipe::reader::share(ctx, pipe.out()).value();
            CHECK(reader.native_handle() != pipe.out());
            CHECK((::fcntl(reader.native_handle(), F_GETFD) & FD_CLOEXEC) != 0);
            std::array<char, 4> buffer;
            for (int i = 0; i < 10; ++i) {
                CHECK(
                    (co_await with_timeout(reader.read_some(buffer), i % 2 ? 1ms : 0ms)).error() ==
                    errc::timed_out);
                CHECK(::fcntl(pipe.out(), F_GETFL) == flags);
                pipe.write("abcdef");
                CHECK((co_await with_timeout(reader.read_some(buffer), 10s)).value() == 4);
                CHECK((co_await with_timeout(reader.read_some(buffer), 10s)).value() == 2);
            }
        }
        CHECK(::fcntl(pipe.out(), F_GETFL) == flags);  // and it is open
        pipe.write("x");
        char one = 0;
        CHECK(::read(pipe.out(), &one, 1) == 1);
        auto again = pipe::reader::share(ctx, pipe.out()).value();
        pipe.close(1);
        CHECK((co_await read_all(again)).empty());
        CHECK(pipe::reader::share(ctx, 1'000'000).error() == std::errc::bad_file_descriptor);
        CHECK(pipe::reader::adopt(ctx, 1'000'000).error() == std::errc::bad_file_descriptor);
    });
}

#if defined(__linux__) && !defined(CURFEW_POSIX_ONLY)
REACTOR_TEST("somebody who was quicker to read a pipe keeps no loop waiting") {
    run(kind, [](io_context& ctx) -> task<> {
        const plain_pipe pipe;
        auto a = pipe::reader::share(ctx, pipe.out()).value();
        auto b = pipe::reader::share(ctx, pipe.out()).value();
        int got = 0;
        const auto count = [](pipe::reader& from, int& all) -> task<> {
            std::array<char, 4> own;
            const auto [ec, n] = co_await with_timeout(from.read_some(own), 20ms);
            all += static_cast<int>(n);
            CHECK((!ec || ec == errc::timed_out));
        };
        auto first = ctx.spawn(count(a, got));
        auto second = ctx.spawn(count(b, got));
        co_await sleep_for(1ms);
        pipe.write("x");  // both are told
        co_await std::move(first);
        co_await std::move(second);
        CHECK(got == 1);
    });
}
#endif

REACTOR_TEST("a terminal gives line after line, and a limit takes no key") {
    run(kind, [](io_context& ctx) -> task<> {
        const terminal tty;
        const int flags = ::fcntl(tty.other, F_GETFL);
        auto reader = pipe::reader::share(ctx, tty.other).value();
        std::array<char, 64> buffer;
        CHECK((co_await with_timeout(reader.read_some(buffer), 2ms)).error() == errc::timed_out);
        tty.type("hal");
        CHECK((co_await with_timeout(reader.read_some(buffer), 2ms)).error() == errc::timed_out);
        tty.type("f\nsecond\n");
        CHECK((co_await with_timeout(reader.read_some(buffer), 10s)).value() == 5);
        CHECK(std::string_view(buffer.data(), 5) == "half\n");
        CHECK((co_await with_timeout(reader.read_some(buffer), 10s)).value() == 7);
        ctx.post([&tty] { tty.type("third\n"); });
        CHECK((co_await with_timeout(reader.read_some(buffer), 10s)).value() == 6);
        ctx.post([&tty] { tty.type("\x04"); });
        CHECK((co_await with_timeout(reader.read_some(buffer), 10s)).error() == errc::eof);
        // It may go on after that.
        tty.type("more\n");
        CHECK((co_await with_timeout(reader.read_some(std::span(buffer).first(2)), 10s)).value() ==
              2);
        CHECK((co_await with_timeout(reader.read_some(buffer), 10s)).value() == 3);
        CHECK(::fcntl(tty.other, F_GETFL) == flags);

        termios mode;
        REQUIRE(::tcgetattr(tty.other, &mode) == 0);
        mode.c_lflag &= ~static_cast<tcflag_t>(ICANON);
        REQUIRE(::tcsetattr(tty.other, TCSANOW, &mode) == 0);
        for (int i = 0; i < 20; ++i) {  // key after key
            CHECK((co_await with_timeout(reader.read_some(buffer), 100us)).error() ==
                  errc::timed_out);
            tty.type("k");
            CHECK((co_await with_timeout(reader.read_some(buffer), 10s)).value() == 1);
        }
    });
}

REACTOR_TEST("the standard input is read, whatever it is, and left open") {
    run(kind, [](io_context& ctx) -> task<> {
        const plain_pipe pipe;
        const int file = file_with("from a file");
        {
            const as_standard_input here(pipe.out());
            const int flags = ::fcntl(0, F_GETFL);
            auto input = standard_input(ctx).value();
            std::array<char, 16> buffer;
            CHECK((co_await with_timeout(input.read_some(buffer), 1ms)).error() == errc::timed_out);
            pipe.write("abc");
            CHECK((co_await with_timeout(input.read_some(buffer), 10s)).value() == 3);
            input.close();
            CHECK(::fcntl(0, F_GETFL) == flags);
        }
        {
            const as_standard_input here(file);
            auto input = standard_input(ctx).value();
            CHECK(co_await read_all(input) == "from a file");
        }
        ::close(file);
    });
}

REACTOR_TEST("a program that waits for a key ends at once, and its terminal is as before") {
    // In a process of its own, whose terminal it is.
    const terminal tty;
    const int flags = ::fcntl(tty.other, F_GETFL);
    plain_pipe told;  // that the first read has timed out
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        ::setsid();
        ::ioctl(tty.other, TIOCSCTTY, 0);
        ::dup2(tty.other, 0);
        int result = 1;
        {
            io_context ctx(kind);
            result = ctx.block_on([](io_context& own, int to) -> task<int> {
                auto input = standard_input(own).value();
                std::array<char, 16> buffer;
                const auto late = co_await with_timeout(input.read_some(buffer), 5ms);
                if (late.error() != errc::timed_out) co_return 2;
                if (::write(to, "x", 1) != 1) co_return 4;
                const auto line = co_await with_timeout(input.read_some(buffer), 10s);
                if (line.error() || std::string_view(buffer.data(), 3) != "ab\n") co_return 3;
                own.spawn([](pipe::reader from) -> task<> {  // for ever
                    std::array<char, 4> key;
                    (void)co_await from.read_some(key);
                }(std::move(input)));
                co_await sleep_for(5ms);
                co_return 0;
            }(ctx, told.ends[1]));
        }
        ::_exit(result);
    }
    told.close(1);
    char one = 0;
    CHECK(::read(told.out(), &one, 1) == 1);
    tty.type("ab\n");
    int status = -1;
    const auto end = curfew::clock::now() + 10s;
    while (::waitpid(child, &status, WNOHANG) == 0 && curfew::clock::now() < end)
        std::this_thread::sleep_for(1ms);
    CHECK(status == 0);
    if (status != 0) ::kill(child, SIGKILL);
    CHECK(::fcntl(tty.other, F_GETFL) == flags);
    // The line that came after it is its successor's.
    tty.type("next\n");
    std::array<char, 16> buffer;
    CHECK(::read(tty.other, buffer.data(), buffer.size()) == 5);
}

REACTOR_TEST("pipes from elsewhere are taken in, and given away") {
    run(kind, [](io_context& ctx) -> task<> {
        plain_pipe pipe;
        auto reader = pipe::reader::adopt(ctx, std::exchange(pipe.ends[0], -1)).value();
        auto writer = pipe::writer::adopt(ctx, std::exchange(pipe.ends[1], -1)).value();
        CHECK((::fcntl(reader.native_handle(), F_GETFL) & O_NONBLOCK) != 0);
        CHECK((co_await writer.write_some("x")).ok());
        std::array<char, 4> buffer;
        CHECK((co_await reader.read_some(buffer)).value() == 1);
        CHECK((co_await with_timeout(reader.read_some(buffer), 1ms)).error() == errc::timed_out);
        const int given = reader.release();
        CHECK_FALSE(reader.is_open());
        CHECK((co_await writer.write_some("y")).ok());
        CHECK(::read(given, buffer.data(), 4) == 1);
        ::close(given);
    });
}

#endif
