// Buffered streams: lines, delimiters and counts, over sockets and over streams of other kinds.
#include <curfew/buffered.hpp>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "support/allocations.hpp"
#include "support/effort.hpp"
#include "support/loop.hpp"
#include "support/system_calls.hpp"

using namespace test;

namespace {

// (gcc 12 cannot look into what `co_await` yields in a generic lambda.)
template <class T>
T value(result<T> of) {
    return of.value();
}
template <class T>
T value_if_any(result<T> of) {
    return of.data;
}
template <class T>
std::error_code error(result<T> of) {
    return of.error();
}
template <class T>
bool ok(result<T> of) {
    return of.ok();
}

using texts = std::vector<std::string_view>;

/// A stream of a program's own.
struct wrapped_socket {
    tcp::socket* under;

    task<result<std::size_t>> read_some(mutable_buffer buffer) {
        co_return co_await under->read_some(buffer);
    }
    task<result<std::size_t>> write_some(const_buffer buffer) {
        co_return co_await under->write_some(buffer);
    }
    tcp::socket& lowest_layer() noexcept { return *under; }
};

/// Calls `body(stream)` with a buffered stream of each kind over `socket`, which has its bytes in
/// the buffer back afterwards only if there are none left.
template <class Body>
task<> over_each_kind(tcp::socket& socket, Body body) {
    {
        buffered<tcp::socket&> in(socket, 16);
        INFO("a socket that it refers to");
        co_await body(in);
        CHECK(in.available().empty());
    }
    {
        buffered in(wrapped_socket{&socket}, 16);
        INFO("a stream of the program's own");
        co_await body(in);
        CHECK(in.available().empty());
    }
    {
        buffered in(std::move(socket), 16);
        INFO("a socket that it owns");
        co_await body(in);
        CHECK(in.available().empty());
        socket = std::move(in.next_layer());
    }
}

/// Writes the parts one after the other; who reads has had the ones before by then.
task<> write_parts(tcp::socket& to, std::vector<std::string_view> parts) {
    for (const std::string_view part : parts) {
        if (!part.empty()) value(co_await write_all(to, part));
        for (int i = 0; i < 3; ++i) co_await yield();
    }
}

/// `text` in up to three parts, in many ways; in two, in all.
std::vector<texts> splits_of(std::string_view text) {
    std::vector<texts> all;
    for (std::size_t first = 1; first <= text.size(); ++first)
        for (std::size_t second = first; second <= text.size(); second += 1 + first % 2)
            all.push_back(
                {text.substr(0, first), text.substr(first, second - first), text.substr(second)});
    return all;
}

}  // namespace

REACTOR_TEST("a line ends with \\n or \\r\\n, however it is split") {
    run(kind, [](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        co_await over_each_kind(server, [&](auto& in) -> task<> {
            for (const texts& parts : splits_of("ab\r\nc\n\r\n\r\r\n")) {
                auto writer = ctx.spawn(write_parts(client, parts));
                for (const auto expected : texts{"ab", "c", "", "\r"}) {
                    const auto [ec, line] = co_await in.read_line(80);
                    CHECK_FALSE(ec);
                    CHECK(line == expected);
                }
                co_await writer;
            }
        });
    });
}

REACTOR_TEST("a delimiter is found however it is split") {
    run(kind, [](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        co_await over_each_kind(server, [&](auto& in) -> task<> {
            for (const texts& parts : splits_of("xababaabaab|abaab")) {
                auto writer = ctx.spawn(write_parts(client, parts));
                for (const auto expected : texts{"xababaab", "aab|abaab"}) {
                    const auto [ec, text] = co_await in.read_until("abaab", 80);
                    CHECK_FALSE(ec);
                    CHECK(text == expected);
                }
                co_await writer;
            }
            value(co_await write_all(client, "one;two;"));
            CHECK(value(co_await in.read_until(std::string(";"), 80)) == "one;");
            CHECK(value(co_await in.read_until(";", 4)) == "two;");
            CHECK(error(co_await in.read_until("", 80)) == std::errc::invalid_argument);
        });
    });
}

REACTOR_TEST("a limit that expires after any byte loses none") {
    run(kind, [](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        co_await over_each_kind(server, [&](auto& in) -> task<> {
            constexpr std::string_view text = "a line of more than sixteen bytes\r\n";
            for (const char& each : text) {
                const bool last = &each == &text.back();
                value(co_await write_all(client, const_buffer(&each, 1)));
                if (last) break;
                const auto [ec, line] = co_await with_timeout(in.read_line(80), 0s);
                CHECK(ec == errc::timed_out);
                CHECK(line.empty());
                CHECK(error(co_await with_timeout(in.read_until("\r\n", 80), 0s)) ==
                      errc::timed_out);
                CHECK(error(co_await with_timeout(in.peek(80), 100us)) == errc::timed_out);
            }
            CHECK(value(co_await in.read_line(80)) == text.substr(0, text.size() - 2));

            // What fills a buffer of the caller's is counted.
            std::array<char, 40> all;
            std::size_t had = 0;
            for (const char& each : text) {
                value(co_await write_all(client, const_buffer(&each, 1)));
                const auto [ec, n] =
                    co_await with_timeout(in.read_exactly(std::span(all).subspan(had)), 1ms);
                CHECK(ec == errc::timed_out);
                had += n;
            }
            while (had < text.size())
                had += value_if_any(co_await in.read_some(std::span(all).subspan(had)));
            CHECK(std::string_view(all.data(), had) == text);
        });
    });
}

REACTOR_TEST("what is too long is message_size, and nothing is taken") {
    run(kind, [](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        co_await over_each_kind(server, [&](auto& in) -> task<> {
            // As long as it may be, with either end.
            value(co_await write_all(client, "12345\r\n12345\n"));
            CHECK(value(co_await in.read_line(5)) == "12345");
            CHECK(value(co_await in.read_line(5)) == "12345");
            // One byte more, with the end there and without.
            for (const auto text : texts{"123456\n", "123456\r\n", "12345\r\r\n"}) {
                value(co_await write_all(client, text));
                CHECK(value(co_await in.peek(text.size())) == text);
                const auto [ec, line] = co_await in.read_line(5);
                CHECK(ec == std::errc::message_size);
                CHECK(line.empty());
                CHECK(in.available() == text);
                CHECK(value(co_await in.read_line(6)).size() == 6);
            }
            value(co_await write_all(client, "123456"));
            CHECK(error(co_await in.read_line(5)) == std::errc::message_size);
            CHECK(error(co_await in.read_line(0)) == std::errc::message_size);
            CHECK(error(co_await in.read_until("\n", 6)) == std::errc::message_size);
            CHECK(in.available() == "123456");
            value(co_await write_all(client, "\n"));
            CHECK(value(co_await in.read_until("\n", 7)) == "123456\n");
            // A "\r" may be half of an end.
            value(co_await write_all(client, "12345\r"));
            CHECK(error(co_await with_timeout(in.read_line(5), 1ms)) == errc::timed_out);
            value(co_await write_all(client, "\n"));
            CHECK(value(co_await in.read_line(5)) == "12345");
        });
    });
}

REACTOR_TEST("an endless line takes no more memory than its limit needs") {
    run(kind, [](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        auto writer = ctx.spawn([](tcp::socket& to) -> task<> {
            const std::string much(100'000, 'x');
            while (ok(co_await write_all(to, much))) {}
        }(client));
        buffered in(std::move(server));
        CHECK(error(co_await in.read_line(10'000)) == std::errc::message_size);
        CHECK(in.available().size() < 40'000);
        in.next_layer().abort();
        co_await writer;
    });
}

REACTOR_TEST("at the end of the stream the rest is there") {
    run(kind, [](io_context& ctx) -> task<> {
        for (int which = 0; which < 4; ++which) {
            CAPTURE(which);
            auto [client, server] = co_await test::connect(ctx);
            value(co_await write_all(client, "line\r\nrest"));
            client.close();
            const auto read = [&](auto& in) -> task<> {
                CHECK(value(co_await in.read_line(80)) == "line");
                std::array<char, 40> buffer;
                switch (which) {
                case 0: {
                    const auto [ec, line] = co_await in.read_line(80);
                    CHECK(ec == errc::eof);
                    CHECK(line == "rest");
                    break;
                }
                case 1: {
                    const auto [ec, text] = co_await in.read_until("rests", 80);
                    CHECK(ec == errc::eof);
                    CHECK(text == "rest");
                    break;
                }
                case 2: {
                    const auto [ec, text] = co_await in.peek(5);
                    CHECK(ec == errc::eof);
                    CHECK(text == "rest");
                    CHECK(in.available() == "rest");
                    in.consume(4);
                    break;
                }
                default: {
                    const auto [ec, n] = co_await in.read_exactly(buffer);
                    CHECK(ec == errc::eof);
                    CHECK(n == 4);
                    CHECK(std::string_view(buffer.data(), 4) == "rest");
                }
                }
                const auto [ec, line] = co_await in.read_line(80);
                CHECK(ec == errc::eof);
                CHECK(line.empty());
                CHECK(error(co_await in.read_some(buffer)) == errc::eof);
            };
            if (which % 2 == 0) {
                buffered in(std::move(server), 16);
                co_await read(in);
            } else {
                buffered in(wrapped_socket{&server}, 16);
                co_await read(in);
            }
        }
    });
}

REACTOR_TEST("ten thousand lines of one read take no system call and no allocation") {
    run(kind, [](io_context& ctx) -> task<> {
        constexpr std::size_t count = 10'000;
        auto [client, server] = co_await test::connect(ctx);
        std::string text;
        for (std::size_t i = 0; i < count; ++i) text += "x\r\n";
        auto writer = ctx.spawn([](tcp::socket& to, std::string_view all) -> task<> {
            value(co_await write_all(to, all));
        }(client, text));
        buffered in(std::move(server), text.size());
        CHECK(value(co_await in.peek(text.size())) == text);
        co_await writer;
        // Now and then it is others' turn, which takes calls. Somebody sees when.
        std::size_t turns = 0;
        bool done = false;
        auto observer = ctx.spawn([](std::size_t& seen, const bool& end) -> task<> {
            while (!end) {
                co_await yield();
                ++seen;
            }
        }(turns, done));
        co_await yield();
        std::size_t lines = 0;
        std::size_t of_this_turn = 0;
        std::size_t calls = 0;
        std::size_t blocks = 0;
        while (lines < count) {
            const std::size_t turn = turns;
            const std::size_t called = system_calls();
            const std::size_t allocated = allocations();
            const auto [ec, line] = co_await with_timeout(in.read_line(80), 1h);
            if (turns == turn) {
                ++of_this_turn;
                calls += system_calls() - called;
                blocks += allocations() - allocated;
            }
            if (ec || line != "x") break;
            ++lines;
        }
        CHECK(lines == count);
        CHECK(of_this_turn > count / 10);
        CHECK(calls == 0);
        CHECK(blocks == 0);
        done = true;
        co_await observer;
    });
}

REACTOR_TEST("lines and counts mix") {
    run(kind, [](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        co_await over_each_kind(server, [&](auto& in) -> task<> {
            const std::string large(5000, 'z');
            auto writer = ctx.spawn([](tcp::socket& to, const std::string& body) -> task<> {
                value(co_await write_all(to, "5\nhello6\r\nworld!", "head\r\n\r\n", body, "end\n"));
            }(client, large));
            std::array<char, 16> buffer;
            CHECK(value(co_await in.read_line(80)) == "5");
            CHECK(value(co_await in.read_exactly(std::span(buffer).first(5))) == 5);
            CHECK(std::string_view(buffer.data(), 5) == "hello");
            CHECK(value(co_await in.read_line(80)) == "6");
            CHECK(value(co_await read_exactly(in, std::span(buffer).first(6))) == 6);
            CHECK(std::string_view(buffer.data(), 6) == "world!");
            CHECK(value(co_await in.peek(2)) == "he");
            CHECK(value(co_await in.peek(4)) == "head");
            in.consume(2);
            CHECK(value(co_await in.read_until("\r\n\r\n", 80)) == "ad\r\n\r\n");
            std::string body(large.size(), ' ');
            CHECK(value(co_await in.read_exactly(body)) == body.size());
            CHECK(body == large);
            std::size_t had = 0;
            while (had < 3)
                had += value(co_await in.read_some(std::span(buffer).subspan(had, 3 - had)));
            CHECK(std::string_view(buffer.data(), 3) == "end");
            CHECK(value(co_await in.read_line(0)).empty());
            CHECK(value(co_await in.read_exactly(std::span(buffer).first(0))) == 0);
            CHECK(value(co_await in.peek(0)).empty());
            co_await writer;
        });
    });
}

REACTOR_TEST("lines come out of a pipe, too") {
    run(kind, [](io_context& ctx) -> task<> {
        auto [ec, ends] = pipe::pair(ctx);
        if (ec == errc::not_supported) co_return;
        CHECK_FALSE(ec);
        auto& [out, into] = ends;
        buffered in(std::move(out));
        CHECK((co_await write_all(into, "one\ntwo\nth")).ok());
        CHECK((co_await in.read_line(80)).value() == "one");
        CHECK((co_await in.read_line(80)).value() == "two");
        CHECK((co_await with_timeout(in.read_line(80), 1ms)).error() == errc::timed_out);
        CHECK((co_await write_all(into, "ree\nfour")).ok());
        CHECK((co_await in.read_line(80)).value() == "three");
        CHECK((co_await with_timeout(in.read_line(80), 1ms, on_timeout::close)).error() ==
              errc::timed_out);
        CHECK_FALSE(in.lowest_layer().is_open());
        CHECK(in.available() == "four");
    });
}

REACTOR_TEST("the rest can be taken along, and writes pass through") {
    run(kind, [](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        buffered in(std::move(server));
        buffered out(wrapped_socket{&client});
        CHECK(value(co_await write_all(out, "STARTTLS\r\n\x16\x03")) == 12);
        CHECK(value(co_await in.read_line(80)) == "STARTTLS");
        value(co_await in.peek(2));
        CHECK(in.take_rest() == "\x16\x03");
        CHECK(in.available().empty());
        CHECK(in.take_rest().empty());
        CHECK(value(co_await in.write_all("one\n", "two\n")) == 8);
        CHECK(value(co_await in.write_some("three\n")) == 6);
        for (const auto expected : texts{"one", "two", "three"})
            CHECK(value(co_await out.read_line(80)) == expected);
    });
}

REACTOR_TEST("a limit that closes resets the peer, and leaves what had arrived") {
    blocking_listener listener;
    run(kind, [&](io_context& ctx) -> task<> {
        for (int which = 0; which < 2; ++which) {
            CAPTURE(which);
            auto [socket, peer] = co_await test::connect(ctx, listener);
            const auto use = [&, &from = peer](auto& in) -> task<> {
                CHECK(from.send("one\ntwo\nthr") == 0);
                CHECK(ok(co_await in.peek(11)));
                CHECK(value(co_await in.read_line(80)) == "one");
                const auto [ec, text] =
                    co_await with_timeout(in.read_until("ee\n", 80), 2ms, on_timeout::close);
                CHECK(ec == errc::timed_out);
                CHECK(from.receive().error == native::error_after_reset());
                CHECK_FALSE(in.lowest_layer().is_open());
                CHECK(value(co_await in.read_line(80)) == "two");
                CHECK(error(co_await in.read_line(80)) == errc::closed);
                CHECK(in.available() == "thr");
                CHECK(error(co_await in.write_some("x")) == errc::closed);
            };
            if (which == 0) {
                buffered in(std::move(socket));
                co_await use(in);
            } else {
                buffered in(wrapped_socket{&socket});
                co_await use(in);
            }
        }
    });
}

REACTOR_TEST("a reader that loses, or is cancelled, keeps what has arrived") {
    run(kind, [](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        co_await over_each_kind(server, [&](auto& in) -> task<> {
            value(co_await write_all(client, "half"));
            const auto later = []() -> task<> {
                for (int i = 0; i < 5; ++i) co_await yield();
            };
            auto [index, results] = co_await when_any(in.read_line(80), later());
            CHECK(index == 1);
            CHECK(std::get<0>(results).error() == errc::canceled);

            auto reader = ctx.spawn([](auto& from) -> task<std::error_code> {
                co_return error(co_await from.read_line(80));
            }(in));
            co_await later();
            reader.cancel();
            CHECK(co_await reader == errc::canceled);

            // What cancels a socket's operations ends a read of it.
            reader = ctx.spawn([](auto& from) -> task<std::error_code> {
                co_return error(co_await from.read_line(80));
            }(in));
            co_await later();
            in.lowest_layer().cancel();
            CHECK(co_await reader == errc::canceled);

            value(co_await write_all(client, " and half\n"));
            CHECK(value(co_await in.read_line(80)) == "half and half");
        });
    });
}

REACTOR_TEST("in a cancelled scope not even what is there is taken") {
    run(kind, [](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        co_await over_each_kind(server, [&](auto& in) -> task<> {
            value(co_await write_all(client, "one\ntwo\n"));
            CHECK(ok(co_await in.peek(8)));
            auto handle = ctx.spawn([](auto& from) -> task<> {
                co_await sleep_for(1h);
                std::array<char, 2> buffer;
                CHECK(error(co_await from.read_line(80)) == errc::canceled);
                CHECK(error(co_await from.read_exactly(buffer)) == errc::canceled);
                CHECK(error(co_await with_timeout(from.read_line(80), 1h)) == errc::canceled);
                CHECK(value(co_await shielded(from.read_line(80))) == "one");
            }(in));
            co_await yield();
            handle.cancel();
            co_await handle;
            CHECK(value(co_await in.read_line(80)) == "two");
        });
    });
}

REACTOR_TEST("a second read at the same time is refused") {
    run(kind, [](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        co_await over_each_kind(server, [&](auto& in) -> task<> {
            auto first = ctx.spawn([](auto& from) -> task<std::string> {
                co_return std::string(value(co_await from.read_until(";", 80)));
            }(in));
            co_await yield();
            value(co_await write_all(client, "one\n"));
            while (in.available().empty()) co_await yield();
            std::array<char, 2> buffer;
            CHECK(error(co_await in.read_line(80)) == std::errc::operation_in_progress);
            CHECK(error(co_await with_timeout(in.read_exactly(buffer), 1s)) ==
                  std::errc::operation_in_progress);
            CHECK(ok(co_await in.write_some("written\n")));
            value(co_await write_all(client, ";"));
            CHECK(co_await first == "one\n;");
            std::array<char, 8> written;
            CHECK(ok(co_await client.read_exactly(written)));
        });
        // One that has the socket without the buffer's knowledge.
        buffered<tcp::socket&> in(server);
        auto direct = ctx.spawn([](tcp::socket& from) -> task<std::error_code> {
            std::array<char, 2> buffer;
            co_return error(co_await from.read_some(buffer));
        }(server));
        co_await yield();
        CHECK(error(co_await in.read_line(80)) == std::errc::operation_in_progress);
        client.close();
        CHECK(co_await direct == errc::eof);
    });
}

REACTOR_TEST("what is taken while a read is under way is not missed by it") {
    run(kind, [](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        co_await over_each_kind(server, [&](auto& in) -> task<> {
            for (const bool all : {true, false}) {
                for (const bool line : {true, false}) {
                    value(co_await write_all(client, "abcdef"));
                    value(co_await in.peek(6));
                    auto reader = ctx.spawn([](auto& from, bool by_line) -> task<std::string> {
                        if (by_line) co_return std::string(value(co_await from.read_line(80)));
                        co_return std::string(value(co_await from.read_until("\r\n", 80)));
                    }(in, line));
                    for (int i = 0; i < 3; ++i) co_await yield();
                    if (all)
                        CHECK(in.take_rest() == "abcdef");
                    else
                        in.consume(5);
                    value(co_await write_all(client, "x\r\n"));
                    CHECK(co_await reader == std::string(all ? "x" : "fx") + (line ? "" : "\r\n"));
                }
            }
        });
    });
}

REACTOR_TEST("a stream moves while it is read, and ends the read when it is destroyed") {
    run(kind, [](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        std::optional<buffered<tcp::socket>> first(std::in_place, std::move(server));
        const auto read = [](buffered<tcp::socket>& from) -> task<result<std::string>> {
            const auto [ec, line] = co_await with_timeout(from.read_line(80), 1h);
            co_return {ec, std::string(line)};
        };
        auto reader = ctx.spawn(read(*first));
        co_await yield();
        value(co_await write_all(client, "half"));
        for (int i = 0; i < 5; ++i) co_await yield();
        std::optional<buffered<tcp::socket>> second(std::move(*first));
        first.reset();
        value(co_await write_all(client, " a line\nrest"));
        CHECK(value(co_await reader) == "half a line");
        CHECK(second->next_layer().is_open());

        reader = ctx.spawn(read(*second));
        co_await yield();
        second.reset();
        CHECK(error(co_await reader) == errc::closed);
        std::array<char, 4> buffer;
        CHECK(error(co_await client.read_some(buffer)));

        // Only the buffer, while the socket lives on; and only the socket.
        auto [one, two] = co_await test::connect(ctx);
        std::optional<tcp::socket> socket(std::move(two));
        const auto read_referred = [](buffered<tcp::socket&>& from) -> task<std::error_code> {
            co_return error(co_await from.read_line(80));
        };
        std::optional<buffered<tcp::socket&>> referring(std::in_place, *socket);
        auto other = ctx.spawn(read_referred(*referring));
        co_await yield();
        referring.reset();
        value(co_await write_all(one, "lost\n"));
        CHECK(co_await other == errc::closed);
        referring.emplace(*socket);
        other = ctx.spawn(read_referred(*referring));
        co_await yield();
        socket.reset();
        CHECK(co_await other == errc::closed);
    });
}

REACTOR_TEST("reads of what was moved away end with closed, again and again, under limits too") {
    run(kind, [](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        buffered<tcp::socket> from(std::move(server));
        const buffered<tcp::socket> to(std::move(from));
        std::size_t closed = 0;
        for (int i = 0; i < 20'000; ++i)
            closed += error(co_await with_timeout(from.read_line(80), 1h)) == errc::closed;
        CHECK(closed == 20'000);
    });
}

REACTOR_TEST("a context ends while lines are read") {
    blocking_listener listener;
    std::optional<io_context> ctx(std::in_place, kind);
    auto made = ctx->block_on(test::connect(*ctx, listener));
    auto other = ctx->block_on(test::connect(*ctx, listener));
    CHECK(made.peer.send("half") == 0);
    ctx->spawn([](tcp::socket under) -> task<> {
        buffered in(std::move(under));
        std::ignore = co_await with_timeout(in.read_line(80), 1h);
    }(std::move(made.socket)));
    ctx->spawn([](tcp::socket under) -> task<> {
        buffered in(wrapped_socket{&under});
        std::ignore = co_await with_timeout(in.read_line(80), 1h);
    }(std::move(other.socket)));
    // A read in a task that does not own the stream.
    auto third = ctx->block_on(test::connect(*ctx, listener));
    auto shared = std::make_shared<buffered<tcp::socket>>(std::move(third.socket));
    ctx->spawn([](std::shared_ptr<buffered<tcp::socket>> in) -> task<> {
        std::ignore = co_await in->read_line(80);
    }(std::move(shared)));
    for (int i = 0; i < 3; ++i) ctx->poll();
    ctx.reset();
}

REACTOR_TEST("a limit that expires between two reads of a line ends it there") {
    blocking_listener listener;
    run(kind, [&](io_context& ctx) -> task<> {
        for (int round = 0; round < 12; ++round) {
            CAPTURE(round);
            const bool whole = round % 2;
            const on_timeout policy = round % 4 < 2 ? on_timeout::cancel : on_timeout::close;
            auto [socket, peer] = co_await test::connect(ctx, listener);
            auto [signal, signaller] = co_await test::connect(ctx, listener);
            game_clock game;
            buffered in(std::move(socket));
            // The line's bytes and the end of the limit come in one turn; who is first, the reactor
            // decides.
            auto reader = ctx.spawn(
                [](auto& from, game_clock& time, on_timeout how) -> task<result<std::string>> {
                    const auto [ec, line] = co_await time.with_timeout(from.read_line(80), 1s, how);
                    co_return {ec, std::string(line)};
                }(in, game, policy));
            auto ender = ctx.spawn([](tcp::socket& from, game_clock& time) -> task<> {
                std::array<char, 1> buffer;
                value(co_await from.read_some(buffer));
                time.advance(2s);
            }(signal, game));
            for (int i = 0; i < 3; ++i) co_await yield();
            if (round % 3 == 0) CHECK(signaller.send("!") == 0);
            CHECK(peer.send(whole ? "line\n" : "line") == 0);
            if (round % 3 != 0) CHECK(signaller.send("!") == 0);
            co_await ender;
            const auto [ec, line] = co_await reader;
            if (whole && !ec) {
                CHECK(line == "line");
                continue;
            }
            CHECK(ec == errc::timed_out);
            if (policy == on_timeout::close) {
                CHECK_FALSE(in.next_layer().is_open());
                continue;
            }
            CHECK(peer.send(whole ? "" : "\n") == 0);
            CHECK(value(co_await with_timeout(in.read_line(80), 10s)) == "line");
        }
    });
}

REACTOR_TEST("lines that are always there starve nobody") {
    io_context ctx(kind);
    const auto made = std::make_unique<connection>(ctx.block_on(test::connect(ctx)));
    std::string text;
    for (int i = 0; i < 100'000; ++i) text += '\n';
    bool enough = false;
    std::size_t lines = 0;
    ctx.spawn([](tcp::socket& to, std::string_view all) -> task<> {
        value(co_await write_all(to, all));
    }(made->client, text));
    const auto read = [](auto& in, std::size_t size, bool& end, std::size_t& count) -> task<> {
        value(co_await in.peek(size));
        for (count = 0; !end && !in.available().empty(); ++count) value(co_await in.read_line(80));
    };
    const auto others = [](bool& end) -> task<> {
        for (int i = 0; i < 10; ++i) co_await yield();
        end = true;
    };
    buffered<tcp::socket&> in(made->server);
    ctx.block_on([](auto& from, std::size_t size) -> task<> {
        value(co_await from.peek(size));
    }(in, text.size()));
    ctx.spawn(read(in, text.size(), enough, lines));
    ctx.spawn(others(enough));
    ctx.run();
    CHECK(enough);
    CHECK(lines > 0);
    CHECK(lines < text.size() / 2);
}

REACTOR_TEST("a read that has found its line and lets others have their turn is under way until then") {
    static constexpr std::size_t size = 100'000;
    struct outcome {
        std::size_t lines = 0;
        std::error_code end;
        std::string last;
    };
    const auto read_all = [](auto& in, outcome& of) -> task<> {
        value(co_await in.peek(size));
        for (;;) {
            const auto [ec, line] = co_await in.read_line(80);
            of.last = line;
            of.end = ec;
            if (ec) co_return;
            ++of.lines;
        }
    };
    const auto fill = [](tcp::socket& to) -> task<> {
        std::string text;
        for (std::size_t i = 0; i < size / 2; ++i) text += "x\n";
        value(co_await write_all(to, text));
    };
    // It waits for nothing: when another task goes on, it has given way within a read.
    const auto second_read = [](auto& in, const outcome& of) -> task<std::error_code> {
        while (of.lines == 0) co_await yield();
        CHECK(!in.available().empty());
        co_return error(co_await in.read_line(80));
    };
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        std::optional<buffered<tcp::socket>> in(std::in_place, std::move(server));
        outcome of;
        auto reader = ctx.spawn(read_all(*in, of));
        co_await fill(client);
        CHECK(co_await second_read(*in, of) == std::errc::operation_in_progress);
        // Moved, it is still there; destroyed, it takes along what was to be shown.
        std::optional<buffered<tcp::socket>> moved(std::move(*in));
        in.reset();
        moved.reset();
        co_await reader;
        CHECK(of.end == errc::closed);
        CHECK(of.last.empty());
        CHECK(of.lines < size / 2);
    });
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        buffered in(wrapped_socket{&server});
        outcome of;
        auto reader = ctx.spawn(read_all(in, of));
        co_await fill(client);
        CHECK(co_await second_read(in, of) == std::errc::operation_in_progress);
        client.close();
        co_await reader;
        CHECK(of.end == errc::eof);
        CHECK(of.lines == size / 2);
    });
}

REACTOR_TEST("no byte is lost or doubled under any limits") {
    const unsigned seed = std::random_device()();
    CAPTURE(seed);
    run(kind, [seed](io_context& ctx) -> task<> {
        std::mt19937 random(seed);
        auto [client, server] = co_await test::connect(ctx);
        const int rounds = static_cast<int>(scaled(2000));
        int expired = 0;
        co_await over_each_kind(server, [&](auto& in) -> task<> {
            std::string sent;
            for (int i = 0; i < rounds; ++i)
                sent += std::string(random() % 30, static_cast<char>('a' + random() % 26)) +
                        (random() % 2 ? "\r\n" : "\n");
            auto writer =
                ctx.spawn([](tcp::socket& to, std::string_view all, unsigned rest) -> task<> {
                    std::mt19937 dice(rest);
                    while (!all.empty()) {
                        const auto part = all.substr(0, 1 + dice() % 20);
                        value(co_await write_all(to, part));
                        all.remove_prefix(part.size());
                        for (auto n = dice() % 6; n > 0; --n) co_await yield();
                    }
                }(client, sent, static_cast<unsigned>(random())));
            std::string got;
            while (got.size() < sent.size()) {
                const std::chrono::nanoseconds limit(random() % 2 ? 0 : random() % 40'000);
                std::error_code ec;
                switch (random() % 5) {
                case 0:
                    while (got.size() < sent.size()) {  // whatever its end was
                        const auto [error, text] =
                            co_await with_timeout(in.read_until("\n", 80), limit);
                        ec = error;
                        got += text;
                        if (ec) break;
                    }
                    break;
                case 1: {
                    const auto [error, text] = co_await with_timeout(in.peek(7), limit);
                    ec = error;
                    if (!ec) {
                        got += text;
                        in.consume(text.size());
                    } else if (got.size() + 7 > sent.size()) {
                        got += in.take_rest();
                    }
                    break;
                }
                case 2: {
                    std::array<char, 40> buffer;
                    const std::size_t left = sent.size() - got.size();
                    const auto [error, n] =
                        co_await with_timeout(in.read_exactly(std::span(buffer).first(
                                                  std::min<std::size_t>(left, 1 + random() % 40))),
                                              limit);
                    ec = error;
                    got.append(buffer.data(), n);
                    break;
                }
                case 3: {
                    std::array<char, 5> buffer;
                    const auto [error, n] = co_await with_timeout(in.read_some(buffer), limit);
                    ec = error;
                    got.append(buffer.data(), n);
                    break;
                }
                default: {
                    auto [index, results] =
                        co_await when_any(in.read_until("\n", 80), sleep_for(limit));
                    ec = std::get<0>(results).ec;
                    got += std::get<0>(results).data;
                    if (ec == errc::canceled) ec = errc::timed_out;
                }
                }
                if (ec) {
                    ++expired;
                    CHECK(ec == errc::timed_out);
                }
                if (ec && ec != errc::timed_out) break;
            }
            CHECK(got == sent);
            co_await writer;
        });
        CHECK(expired > 0);
    });
}
