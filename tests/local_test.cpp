// Local sockets: names, connections, datagrams, who is there, and descriptors handed over.
#include <curfew/local.hpp>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "support/loop.hpp"

using namespace test;

namespace {

/// Names that nobody else uses, whose files are gone at the end.
class names {
public:
    local::endpoint next() {
        // (Short, since a name is; and in /tmp, since Wine's own directories have long names.)
        static int count = 0;
        const auto number =
            static_cast<unsigned long long>(curfew::clock::now().time_since_epoch().count());
        made_.emplace_back("/tmp/curfew_local_" + std::to_string(number) + "_" +
                           std::to_string(count++));
        return made_.back();
    }
    names() = default;
    names(const names&) = delete;
    names& operator=(const names&) = delete;
    ~names() {
        for (const auto& each : made_) (void)each.remove();
    }

private:
    std::vector<local::endpoint> made_;
};

}  // namespace

TEST_CASE("what belongs to nothing says closed") {
    local::socket socket;
    CHECK(socket.open().error() == errc::closed);
    CHECK(socket.peer_credentials().error() == errc::closed);
    CHECK(socket.local_endpoint().is_unspecified());
    CHECK(socket.remote_endpoint().is_unspecified());
    local::datagram datagram;
    CHECK(datagram.try_send_to("x", local::endpoint("/x")).error() == errc::closed);
    local::acceptor acceptor;
    CHECK(acceptor.listen(local::endpoint("/x")).error() == errc::closed);
}

#if !defined(CURFEW_HAS_LOCAL) || defined(_WIN32)

REACTOR_TEST("what the system does not have it says so") {
    run(kind, [](io_context& ctx) -> task<> {
        names all;
        CHECK(local::pair(ctx).error() == errc::not_supported);
        CHECK(local::datagram_pair(ctx).error() == errc::not_supported);
        local::socket socket(ctx);
        if (socket.open().error() != errc::not_supported) co_return;  // a Windows that has them
        CHECK((co_await socket.connect(all.next())).error() == errc::not_supported);
        local::acceptor acceptor(ctx);
        CHECK(acceptor.listen(all.next()).error() == errc::not_supported);
        local::datagram datagram(ctx);
        CHECK(datagram.bind(all.next()).error() == errc::not_supported);
    });
}

#endif

#if defined(CURFEW_HAS_LOCAL) && !defined(_WIN32)

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace {

struct two_sockets {
    local::socket client;
    local::socket server;
};

task<two_sockets> connect_at(io_context& ctx, const local::endpoint& at) {
    local::acceptor acceptor(ctx);
    acceptor.listen(at).value();
    two_sockets made;
    made.client = local::socket(ctx);
    (co_await made.client.connect(at)).value();
    made.server = (co_await acceptor.accept()).value();
    co_return made;
}

/// How many descriptors this process has open.
int open_descriptors() {
    int count = 0;
    for (int i = 0; i < 1024; ++i) count += ::fcntl(i, F_GETFD) >= 0;
    return count;
}

}  // namespace

REACTOR_TEST("programs of one machine are connected by a path") {
    run(kind, [](io_context& ctx) -> task<> {
        names all;
        const auto at = all.next();
        local::acceptor acceptor(ctx);
        CHECK(acceptor.listen(at).ok());
        CHECK(acceptor.local_endpoint() == at);
        CHECK(acceptor.listen(at).error() == std::errc::already_connected);
        local::socket client(ctx);
        // Whoever comes first waits.
        auto accepting = ctx.spawn([](local::acceptor& a) -> task<result<local::socket>> {
            co_return co_await a.accept();
        }(acceptor));
        co_await yield();
        CHECK((co_await client.connect(at)).ok());
        auto server = (co_await std::move(accepting)).value();
        CHECK(client.remote_endpoint() == at);
        CHECK(client.local_endpoint().is_unspecified());
        CHECK(server.local_endpoint() == at);
        CHECK(server.remote_endpoint().is_unspecified());

        std::array<char, 16> buffer;
        CHECK((co_await write_all(client, "question")).value() == 8);
        CHECK((co_await server.read_some(buffer)).value() == 8);
        CHECK((co_await write_all(server, "answer")).value() == 6);
        CHECK((co_await read_exactly(client, std::span(buffer).first(6))).value() == 6);
        CHECK(std::string_view(buffer.data(), 6) == "answer");
        CHECK(client.shutdown(shutdown_how::send).ok());
        CHECK((co_await server.read_some(buffer)).error() == errc::eof);
        server.close();
        CHECK((co_await client.read_some(buffer)).error() == errc::eof);
        CHECK((co_await client.write_some("x")).error() == std::errc::broken_pipe);
    });
}

#if defined(__linux__)
REACTOR_TEST("an abstract name is there for as long as its socket") {
    run(kind, [](io_context& ctx) -> task<> {
        const auto at = local::endpoint::abstract(
            "curfew test " + std::to_string(curfew::clock::now().time_since_epoch().count()));
        {
            auto [client, server] = co_await connect_at(ctx, at);
            CHECK(client.remote_endpoint() == at);
            CHECK(server.local_endpoint().is_abstract());
            CHECK((co_await write_all(client, "x")).ok());
            std::array<char, 4> buffer;
            CHECK((co_await server.read_some(buffer)).value() == 1);
        }
        local::socket late(ctx);
        CHECK((co_await late.connect(at)).error() == std::errc::connection_refused);
        CHECK(at.remove().ok());
        local::acceptor first(ctx), second(ctx);
        CHECK(first.listen(at).ok());
        CHECK(second.listen(at).error() == std::errc::address_in_use);
    });
}
#endif

REACTOR_TEST("a path that nobody uses any more is taken over, and no other") {
    run(kind, [](io_context& ctx) -> task<> {
        names all;
        const auto at = all.next();
        { co_await connect_at(ctx, at); }
        local::socket client(ctx);
        CHECK((co_await client.connect(at)).error() == std::errc::connection_refused);
        CHECK_FALSE(client.is_open());
        local::acceptor second(ctx);
        CHECK(second.listen(at, {{.replace_stale = false}}).error() == std::errc::address_in_use);
        CHECK_FALSE(second.is_open());
        CHECK(second.listen(at).ok());
        CHECK((co_await client.connect(at)).ok());

        local::acceptor third(ctx);
        CHECK(third.listen(at).error() == std::errc::address_in_use);  // somebody listens
        CHECK((co_await second.accept()).ok());                        // the client
        local::socket one_more(ctx);
        CHECK((co_await one_more.connect(at)).ok());

        // Nor what is no socket at all.
        const std::string file = std::string(all.next().name());
        std::FILE* const made = std::fopen(file.c_str(), "w");
        REQUIRE(made);
        std::fclose(made);
        CHECK(third.listen(local::endpoint(file)).error() == std::errc::address_in_use);
        CHECK(local::endpoint(file).remove().error() == std::errc::not_a_socket);
        CHECK(::access(file.c_str(), F_OK) == 0);
        ::unlink(file.c_str());
        CHECK(local::endpoint(file).remove().error() == std::errc::no_such_file_or_directory);
    });
}

REACTOR_TEST("a path is there until somebody removes it") {
    run(kind, [](io_context& ctx) -> task<> {
        names all;
        const auto at = all.next();
        local::acceptor acceptor(ctx);
        acceptor.listen(at).value();
        CHECK(at.remove().ok());
        local::socket client(ctx);
        CHECK((co_await client.connect(at)).error() == std::errc::no_such_file_or_directory);
    });
}

REACTOR_TEST("what is no name is refused, and a failed connect can be tried again") {
    run(kind, [](io_context& ctx) -> task<> {
        names all;
        const local::endpoint none;
        local::socket client(ctx);
        CHECK((co_await client.connect(none)).error() == std::errc::invalid_argument);
        CHECK_FALSE(client.is_open());
        local::acceptor acceptor(ctx);
        CHECK(acceptor.listen(none).error() == std::errc::invalid_argument);
        CHECK_FALSE(acceptor.is_open());
        local::datagram datagram(ctx);
        CHECK(datagram.bind(none).error() == std::errc::invalid_argument);
        CHECK(datagram.try_send_to("x", none).error() == std::errc::invalid_argument);
        CHECK(datagram.connect(none).error() == std::errc::invalid_argument);

        const auto at = all.next();
        CHECK((co_await client.connect(at)).error() == std::errc::no_such_file_or_directory);
        acceptor.listen(at).value();
        CHECK((co_await client.connect(at)).ok());
        CHECK((co_await client.connect(at)).error() == std::errc::already_connected);
        auto server = (co_await acceptor.accept()).value();
        CHECK((co_await write_all(client, "still there")).ok());
        std::array<char, 16> buffer;
        CHECK((co_await server.read_some(buffer)).value() == 11);
    });
}

#if defined(__linux__)
REACTOR_TEST("a connect does not wait for room in a listener's queue") {
    run(kind, [](io_context& ctx) -> task<> {
        names all;
        const auto at = all.next();
        local::acceptor acceptor(ctx);
        local::listen_options short_queue;
        short_queue.backlog = 0;
        acceptor.listen(at, short_queue).value();
        std::vector<local::socket> clients;
        std::error_code refused;
        for (int i = 0; i < 10 && !refused; ++i) {
            clients.emplace_back(ctx);
            refused = (co_await clients.back().connect(at)).error();
        }
        CHECK(refused == std::errc::resource_unavailable_try_again);
        CHECK_FALSE(clients.back().is_open());
        CHECK((co_await acceptor.accept()).ok());
        CHECK((co_await clients.back().connect(at)).ok());
    });
}
#endif

REACTOR_TEST("a cancelled accept loses no connection") {
    run(kind, [](io_context& ctx) -> task<> {
        names all;
        const auto at = all.next();
        local::acceptor acceptor(ctx);
        acceptor.listen(at).value();
        int accepted = 0;
        for (int i = 0; i < 20; ++i) {
            accepted += (co_await with_timeout(acceptor.accept(), 0s)).ok();
            local::socket client(ctx);
            (co_await client.connect(at)).value();
            accepted += (co_await with_timeout(acceptor.accept(), 1ms)).ok();
        }
        while ((co_await with_timeout(acceptor.accept(), 20ms)).ok()) ++accepted;
        CHECK(accepted == 20);
    });
}

REACTOR_TEST("a limit on a local stream loses nothing, and on_timeout::close ends it") {
    run(kind, [](io_context& ctx) -> task<> {
        auto [a, b] = local::pair(ctx).value();
        std::array<char, 8> buffer;
        CHECK((co_await with_timeout(a.read_some(buffer), 0s)).error() == errc::timed_out);
        CHECK((co_await with_timeout(a.read_some(buffer), 2ms)).error() == errc::timed_out);
        const auto either = co_await when_any(a.read_some(buffer), sleep_for(1ms));
        CHECK(either.index == 1);
        CHECK((co_await write_all(b, "abc")).ok());
        CHECK((co_await with_timeout(a.read_some(buffer), 10s)).value() == 3);
        CHECK((co_await with_timeout(a.read_some(buffer), 2ms, on_timeout::close)).error() ==
              errc::timed_out);
        CHECK((co_await a.read_some(buffer)).error() == errc::closed);
        CHECK((co_await b.read_some(buffer)).error());
    });
}

REACTOR_TEST("every byte arrives once, whatever the limits on both sides") {
    run(kind, [](io_context& ctx) -> task<> {
        auto [a, b] = local::pair(ctx).value();
        std::vector<char> sent(std::size_t{1} << 20);
        for (std::size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<char>(i * 7 + i / 251);
        auto writing = ctx.spawn([](local::socket& to, std::vector<char>& bytes) -> task<> {
            std::size_t at = 0;
            while (at < bytes.size()) {
                auto [ec, n] =
                    co_await with_timeout(write_all(to, std::span(bytes).subspan(at)), 200us);
                at += n;
                CHECK((!ec || ec == errc::timed_out));
            }
            to.close();
        }(a, sent));
        std::vector<char> got;
        std::array<char, 5000> buffer;
        for (;;) {
            auto [ec, n] = co_await with_timeout(b.read_some(buffer), 100us);
            got.insert(got.end(), buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(n));
            if (ec == errc::eof) break;
            CHECK((!ec || ec == errc::timed_out));
            if (got.size() % 3 == 0) co_await sleep_for(50us);
        }
        co_await std::move(writing);
        CHECK(got == sent);
    });
}

REACTOR_TEST("who is at the other end is known") {
    run(kind, [](io_context& ctx) -> task<> {
        names all;
        auto [client, server] = co_await connect_at(ctx, all.next());
        for (const local::socket* each : {&client, &server}) {
            const auto [ec, peer] = each->peer_credentials();
            if (ec == errc::not_supported) continue;
            CHECK_FALSE(ec);
            CHECK(peer.user == static_cast<std::int64_t>(::geteuid()));
            CHECK(peer.group == static_cast<std::int64_t>(::getegid()));
            CHECK((peer.process == ::getpid() || peer.process == -1));
#if defined(__linux__)
            CHECK(peer.process == ::getpid());
#endif
        }
        local::socket unconnected(ctx);
        unconnected.open().value();
        CHECK(unconnected.peer_credentials().error());
    });
}

// Descriptors -------------------------------------------------------------------------------------

REACTOR_TEST("descriptors are handed over with the bytes that they were sent with") {
    run(kind, [](io_context& ctx) -> task<> {
        auto [a, b] = local::pair(ctx).value();
        auto [c, d] = local::pair(ctx).value();
        std::array<char, 64> buffer;
        for (const bool waits : {false, true}) {
            local::descriptors received;
            const auto send = [](local::socket& by, int what) -> task<> {
                CHECK((co_await write_all(by, "before")).ok());
                CHECK((co_await by.send_descriptors(std::span(&what, 1), "with")).value() == 4);
                CHECK((co_await write_all(by, "after")).ok());
            };
            if (!waits) co_await send(a, c.native_handle());
            auto reading = ctx.spawn([](local::socket& from, local::descriptors& into,
                                        std::span<char> bytes) -> task<std::string> {
                std::string all;
                bool was_with = false;
                while (all.size() < 15) {
                    auto [ec, n] = co_await with_timeout(
                        from.receive_descriptors(std::span(bytes), into), 10s);
                    CHECK_FALSE(ec);
                    if (ec) break;
                    all.append(bytes.data(), n);
                    if (into.empty()) continue;
                    // A read ends with what the descriptor came with.
                    CHECK(all.substr(0, 10).ends_with("with"));
                    CHECK(all.size() == 10);
                    was_with = true;
                    break;
                }
                CHECK(was_with);
                co_return all;
            }(b, received, buffer));
            co_await sleep_for(1ms);
            if (waits) co_await send(a, c.native_handle());
            CHECK(co_await std::move(reading) == "beforewith");
            REQUIRE(received.size() == 1);
            CHECK(received[0] != c.native_handle());
            CHECK((::fcntl(received[0], F_GETFD) & FD_CLOEXEC) != 0);
            CHECK((co_await read_exactly(b, std::span(buffer).first(5))).value() == 5);
            CHECK(std::string_view(buffer.data(), 5) == "after");

            auto other = local::socket::adopt(ctx, received.release(0)).value();
            CHECK(received[0] == platform::invalid_socket);
            CHECK((co_await write_all(other, "through it")).ok());
            CHECK((co_await d.read_some(buffer)).value() == 10);
        }
    });
}

REACTOR_TEST("a read that ends where descriptors are attached leaves nothing unnoticed behind it") {
    run(kind, [](io_context& ctx) -> task<> {
        names all;
        auto [client, server] = co_await connect_at(ctx, all.next());
        for (const auto& [from, to] : {std::pair(&client, &server), std::pair(&server, &client)}) {
            std::array<char, 64> buffer;
            for (int i = 0; i < 3; ++i) {
                CHECK((co_await with_timeout(to->read_some(buffer), 1ms)).error() ==
                      errc::timed_out);  // the reactor knows it now
                auto sending = ctx.spawn([](local::socket& by) -> task<> {
                    const int own = by.native_handle();
                    CHECK((co_await by.send_descriptors(std::span(&own, 1), "abc")).ok());
                    CHECK((co_await write_all(by, "def")).ok());
                }(*from));
                CHECK((co_await with_timeout(to->read_some(buffer), 10s)).value() == 3);
                CHECK((co_await with_timeout(to->read_some(buffer), 10s)).value() == 3);
                co_await std::move(sending);
            }
        }
    });
}

REACTOR_TEST("a read that is waited for under a limit loses neither bytes nor descriptors") {
    run(kind, [](io_context& ctx) -> task<> {
        auto [a, b] = local::pair(ctx).value();
        std::array<char, 8> buffer;
        local::descriptors received;
        const int own = a.native_handle();
        int arrived = 0;
        for (int i = 0; i < 30; ++i) {
            if (i % 2) CHECK((co_await a.send_descriptors(std::span(&own, 1), "x")).ok());
            auto [ec, n] = co_await with_timeout(
                b.receive_descriptors(std::span(buffer).first(1), received), i % 3 ? 0ns : 100us);
            CHECK((ec ? ec == errc::timed_out && n == 0 : n == 1));
            CHECK(received.size() == n);
            arrived += static_cast<int>(n);
        }
        while (arrived < 15) {
            CHECK((co_await with_timeout(
                       b.receive_descriptors(std::span(buffer).first(1), received), 10s))
                      .ok());
            CHECK(received.size() == 1);
            ++arrived;
        }
        CHECK((co_await with_timeout(b.receive_descriptors(std::span(buffer), received), 1ms,
                                     on_timeout::close))
                  .error() == errc::timed_out);
        CHECK_FALSE(b.is_open());
        CHECK((co_await b.receive_descriptors(std::span(buffer), received)).error() ==
              errc::closed);
        CHECK(received.empty());
    });
}

REACTOR_TEST("what nobody takes of what has come is closed") {
    run(kind, [](io_context& ctx) -> task<> {
        auto [a, b] = local::pair(ctx).value();
        std::array<char, 8> buffer;
        const int own = a.native_handle();
        const std::array<int, 3> three{own, own, own};
        {  // (The reactor has made what it needs.)
            (void)co_await with_timeout(b.read_some(buffer), 1ms);
            local::descriptors received;
            (void)co_await with_timeout(b.receive_descriptors(std::span(buffer), received), 1ms);
        }
        const int before = open_descriptors();
        {
            local::descriptors received;
            CHECK((co_await a.send_descriptors(three, "x")).ok());
            CHECK((co_await b.receive_descriptors(std::span(buffer), received)).ok());
            CHECK(received.size() == 3);
            CHECK(open_descriptors() == before + 3);
            local::descriptors moved(std::move(received));
            CHECK(received.empty());
            CHECK(moved.size() == 3);
            ::close(moved.release(1));
            CHECK(open_descriptors() == before + 2);
            CHECK((co_await a.send_descriptors(three, "x")).ok());
            CHECK((co_await b.receive_descriptors(std::span(buffer), moved)).ok());
            CHECK(open_descriptors() == before + 3);
            moved = local::descriptors();
            CHECK(open_descriptors() == before);
        }
        CHECK((co_await a.send_descriptors(three, "x")).ok());
        CHECK((co_await b.read_some(buffer)).value() == 1);  // which asks for none
        CHECK(open_descriptors() == before);
    });
}

REACTOR_TEST("as many descriptors as the system takes, and not more; and none without a byte") {
    run(kind, [](io_context& ctx) -> task<> {
        auto [a, b] = local::pair(ctx).value();
        std::array<char, 8> buffer;
        local::descriptors received;
        std::vector<int> many(platform::max_descriptors, a.native_handle());
        CHECK((co_await a.send_descriptors(many, "x")).ok());
        CHECK((co_await b.receive_descriptors(std::span(buffer), received)).value() == 1);
        CHECK(received.size() == many.size());
        many.push_back(a.native_handle());
        CHECK((co_await a.send_descriptors(many, "x")).error() == std::errc::invalid_argument);
        CHECK((co_await a.send_descriptors(std::span(many).first(1), "")).error() ==
              std::errc::invalid_argument);
        const int none = 1'000'000;
        CHECK((co_await a.send_descriptors(std::span(&none, 1), "x")).error() ==
              std::errc::bad_file_descriptor);
        CHECK((co_await a.send_descriptors({}, "x")).value() == 1);
        CHECK((co_await b.receive_descriptors(std::span(buffer), received)).value() == 1);
        CHECK(received.empty());
        CHECK((co_await b.receive_descriptors(std::span(buffer).first(0), received)).value() == 0);
        a.close();
        CHECK((co_await b.receive_descriptors(std::span(buffer), received)).error() == errc::eof);
    });
}

REACTOR_TEST("descriptors wait for room like bytes") {
    run(kind, [](io_context& ctx) -> task<> {
        auto [a, b] = local::pair(ctx).value();
        const std::string large(std::size_t{8} << 20, 'x');
        const auto [full, filled] = co_await with_timeout(write_all(a, large), 5ms);
        CHECK(full == errc::timed_out);
        const int own = b.native_handle();
        CHECK((co_await with_timeout(a.send_descriptors(std::span(&own, 1), "y"), 5ms)).error() ==
              errc::timed_out);
        auto sending = ctx.spawn([](local::socket& by, int what) -> task<result<std::size_t>> {
            co_return co_await by.send_descriptors(std::span(&what, 1), "y");
        }(a, own));
        local::descriptors received;
        std::vector<char> buffer(65536);
        std::size_t got = 0;
        while (received.empty()) {
            auto [ec, n] = co_await with_timeout(b.receive_descriptors(buffer, received), 10s);
            CHECK_FALSE(ec);
            if (ec) break;
            got += n;
        }
        CHECK(got == filled + 1);
        CHECK((co_await std::move(sending)).value() == 1);
    });
}

// Datagrams ---------------------------------------------------------------------------------------

REACTOR_TEST("datagrams have a sender, and come whole") {
    const honest_system quiet;  // what never waits says what there is
    run(kind, [](io_context& ctx) -> task<> {
        names all;
        const auto here = all.next(), there = all.next();
        local::datagram a(ctx), b(ctx);
        CHECK(a.bind(here).ok());
        CHECK(b.bind(there).ok());
        CHECK(a.local_endpoint() == here);
        local::endpoint sender("/before");
        std::array<char, 16> buffer;
        auto receiving = ctx.spawn([](local::datagram& by, std::span<char> bytes,
                                      local::endpoint& who) -> task<result<std::size_t>> {
            co_return co_await by.receive_from(bytes, who);
        }(b, buffer, sender));
        co_await yield();
        CHECK(a.try_send_to("hello", there).value() == 5);
        CHECK((co_await std::move(receiving)).value() == 5);
        CHECK(sender == here);

        local::datagram unnamed(ctx);
        CHECK(unnamed.try_send_to("anonymous", there).value() == 9);
        CHECK((co_await b.receive_from(buffer, sender)).value() == 9);
        CHECK(sender.is_unspecified());

        CHECK(a.connect(there).ok());
        CHECK(a.remote_endpoint() == there);
        CHECK((co_await a.send("two ", "parts")).value() == 9);
        CHECK((co_await b.receive(std::span(buffer).first(4), std::span(buffer).subspan(4)))
                  .value() == 9);
        CHECK((co_await a.send(std::string(20, 'x'))).value() == 20);
        const auto [ec, n] = co_await b.receive(buffer);
        CHECK(ec == std::errc::message_size);
        CHECK(n == 16);
        CHECK((co_await with_timeout(b.receive(buffer), 1ms)).error() == errc::timed_out);

        const auto nobody = all.next();
        CHECK(a.try_send_to("x", nobody).error() == std::errc::no_such_file_or_directory);
        b.close();
        CHECK(unnamed.try_send_to("x", there).error() == std::errc::connection_refused);
        CHECK(b.bind(there).ok());  // the path was left behind
        local::datagram c(ctx);
        CHECK(c.bind(there).error() == std::errc::address_in_use);
    });
}

REACTOR_TEST("a pair of datagram sockets waits for room, and hands descriptors over") {
    run(kind, [](io_context& ctx) -> task<> {
        auto [a, b] = local::datagram_pair(ctx).value();
        const std::string message(1000, 'x');
        std::size_t sent = 0;
        for (;;) {
            const auto [ec, n] = co_await with_timeout(a.send(message), 5ms);
            if (ec) {
                CHECK(ec == errc::timed_out);
                break;
            }
            ++sent;
        }
        CHECK(sent > 0);
        auto sending = ctx.spawn([](local::datagram& by) -> task<result<std::size_t>> {
            co_return co_await by.send("last");
        }(a));
        std::vector<char> buffer(2000);
        for (std::size_t i = 0; i < sent; ++i)
            CHECK((co_await with_timeout(b.receive(buffer), 10s)).value() == 1000);
        CHECK((co_await with_timeout(b.receive(buffer), 10s)).value() == 4);
        CHECK((co_await std::move(sending)).value() == 4);

        local::descriptors received;
        const int own = a.native_handle();
        CHECK((co_await a.send_descriptors(std::span(&own, 1), "with it")).ok());
        CHECK((co_await b.receive_descriptors(buffer, received)).value() == 7);
        CHECK(received.size() == 1);
        CHECK((co_await a.send_descriptors(std::span(&own, 1), "too long")).ok());
        const auto [ec, n] = co_await b.receive_descriptors(std::span(buffer).first(3), received);
        CHECK(ec == std::errc::message_size);
        CHECK(n == 3);
        CHECK(received.size() == 1);
    });
}

#if defined(__linux__)
REACTOR_TEST("nobody waits for somebody's room whom one is not connected to") {
    const honest_system quiet;
    run(kind, [](io_context& ctx) -> task<> {
        names all;
        const auto there = all.next();
        local::datagram a(ctx), b(ctx);
        b.bind(there).value();
        std::error_code full;
        std::size_t sent = 0;
        while (!full && sent < 100'000) {
            full = a.try_send_to("x", there).error();
            sent += !full;
        }
        CHECK(full == std::errc::resource_unavailable_try_again);
        std::array<char, 4> buffer;
        for (std::size_t i = 0; i < sent; ++i)
            CHECK((co_await with_timeout(b.receive(buffer), 10s)).value() == 1);
        CHECK(a.try_send_to("x", there).ok());
    });
}
#endif

REACTOR_TEST("descriptors from elsewhere are taken in, and given away") {
    run(kind, [](io_context& ctx) -> task<> {
        int ends[2] = {-1, -1};
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
        CHECK(local::datagram::adopt(ctx, ends[0]).error() == std::errc::wrong_protocol_type);
        auto socket = local::socket::adopt(ctx, ends[0]).value();
        CHECK((::fcntl(ends[0], F_GETFL) & O_NONBLOCK) != 0);
        std::array<char, 4> buffer;
        CHECK((co_await with_timeout(socket.read_some(buffer), 1ms)).error() == errc::timed_out);
        CHECK(socket.release() == ends[0]);
        CHECK_FALSE(socket.is_open());
        CHECK(::write(ends[0], "x", 1) == 1);
        ::close(ends[0]);
        ::close(ends[1]);

        names all;
        const auto at = all.next();
        local::acceptor acceptor(ctx);
        acceptor.listen(at).value();
        auto adopted = local::acceptor::adopt(ctx, acceptor.release()).value();
        local::socket client(ctx);
        CHECK((co_await client.connect(at)).ok());
        CHECK((co_await adopted.accept()).ok());
    });
}

#endif
