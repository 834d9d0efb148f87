// read_exactly and write_all over streams that are not sockets.
#include <curfew/stream.hpp>

#include <array>
#include <string>

#include "support/loop.hpp"

using namespace test;

namespace {

/// A stream of a program's own, on top of a socket: three bytes at a time.
struct slow_stream {
    tcp::socket& under;

    task<result<std::size_t>> read_some(mutable_buffer buffer) {
        co_return co_await under.read_some(
            mutable_buffer(buffer.data, std::min<std::size_t>(buffer.size, 3)));
    }
    task<result<std::size_t>> write_some(const_buffer buffer) {
        co_return co_await under.write_some(
            const_buffer(buffer.data, std::min<std::size_t>(buffer.size, 3)));
    }
};

}  // namespace

REACTOR_TEST("any stream is read and written as a whole") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        slow_stream out{client};
        slow_stream in{server};
        CHECK((co_await write_all(out, "ten bytes!")).value() == 10);
        std::array<char, 10> buffer;
        CHECK((co_await read_exactly(in, buffer)).value() == 10);
        CHECK(std::string(buffer.data(), 10) == "ten bytes!");
        CHECK((co_await write_all(out, "half")).value() == 4);
        auto [ec, n] = co_await with_timeout(read_exactly(in, buffer), 2ms);
        CHECK(ec == errc::timed_out);
        CHECK(n == 4);
        client.close();
        auto [ec2, n2] = co_await read_exactly(in, buffer);
        CHECK(ec2 == errc::eof);
        CHECK(n2 == 0);
    });
}

REACTOR_TEST("the end of the stream says how many bytes came before it") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        (co_await write_all(client, "abc")).value();
        client.close();
        std::array<char, 10> buffer;
        auto [ec, n] = co_await read_exactly(server, buffer);
        CHECK(ec == errc::eof);
        CHECK(n == 3);
        CHECK(std::string(buffer.data(), n) == "abc");
    });
}
