// The echo with curfew, on any reactor, with or without a limit on each read.
//
// `--api some` reads what there is into a large buffer; `--api exact` uses read_exactly and
// write_all.

#include "echo.hpp"
#include "reactor_option.hpp"

#include <chrono>
#include <span>

#include <curfew/curfew.hpp>

using namespace curfew;
using namespace std::chrono_literals;

namespace {

enum class api { some, exact };
enum class limit { none, cancel, close };

/// The read that is measured, limited or not.
template <api Api, limit Limit>
auto receive(tcp::socket& socket, std::span<std::byte> buffer) {
    auto read = [&] {
        if constexpr (Api == api::exact)
            return read_exactly(socket, buffer.first(echo::message_size));
        else
            return socket.read_some(buffer);
    };
    if constexpr (Limit == limit::cancel)
        return with_timeout(read(), 30s, on_timeout::cancel);
    else if constexpr (Limit == limit::close)
        return with_timeout(read(), 30s, on_timeout::close);
    else
        return read();
}

template <api Api>
auto send(tcp::socket& socket, std::span<const std::byte> bytes) {
    if constexpr (Api == api::exact)
        return write_all(socket, bytes);
    else
        return socket.write_some(bytes);
}

void must(std::error_code ec, const char* what) {
    if (ec) echo::fail(what, ec.message());
}

template <api Api, limit Limit>
task<> serve(tcp::socket peer) {
    std::array<std::byte, echo::buffer_size> buffer;
    for (;;) {
        auto [ec, n] = co_await receive<Api, Limit>(peer, buffer);
        if (ec == errc::eof) co_return;
        must(ec, "server, read");
        auto [wec, sent] = co_await send<Api>(peer, std::span(buffer).first(n));
        must(wec, "server, write");
        if (sent != n) echo::fail("server", "a short write");
    }
}

template <api Api, limit Limit>
task<> talk(io_context& ctx, ip::endpoint server, unsigned long connection, echo::meter& meter) {
    tcp::socket socket(ctx);
    auto [cec] = co_await socket.connect(server);
    must(cec, "connect");
    socket.no_delay(true).value();
    echo::make_room(socket.native_handle());

    echo::message message(connection);
    std::array<std::byte, echo::buffer_size> buffer;
    for (unsigned long round = 0; round < meter.rounds_of_each(); ++round) {
        auto [wec, sent] = co_await send<Api>(socket, message.stamp(round));
        must(wec, "client, write");
        if (sent != echo::message_size) echo::fail("client", "a short write");
        for (std::size_t received = 0; received < echo::message_size;) {
            auto [ec, n] =
                co_await receive<Api, Limit>(socket, std::span(buffer).subspan(received));
            must(ec, "client, read");
            received += n;
        }
        message.check(buffer.data());
        meter.round_done();
    }
}

template <api Api, limit Limit>
task<> listen(io_context& ctx, unsigned long connections, echo::meter& meter) {
    tcp::acceptor acceptor(ctx);
    acceptor.listen(ip::endpoint::parse("127.0.0.1:0").value()).value();
    for (unsigned long i = 0; i < connections; ++i)
        ctx.spawn(talk<Api, Limit>(ctx, acceptor.local_endpoint(), i, meter));
    for (unsigned long i = 0; i < connections; ++i) {
        auto [ec, peer] = co_await acceptor.accept();
        must(ec, "accept");
        peer.no_delay(true).value();
        echo::make_room(peer.native_handle());
        ctx.spawn(serve<Api, Limit>(std::move(peer)));
    }
}

template <api Api>
task<> listen(std::string_view named, io_context& ctx, unsigned long connections,
              echo::meter& meter) {
    if (named == "cancel") return listen<Api, limit::cancel>(ctx, connections, meter);
    if (named == "close") return listen<Api, limit::close>(ctx, connections, meter);
    return listen<Api, limit::none>(ctx, connections, meter);
}

}  // namespace

int main(int argc, char** argv) {
    echo::arguments arguments(argc, argv, {ECHO_OPTIONS, "--limit", "--api", "--reactor"});
    echo::meter meter(arguments);
    const unsigned long connections = meter.connections();
    const std::string_view limit = arguments.choice("--limit", {"none", "cancel", "close"});

    io_context ctx(reactor_of(arguments));
    if (arguments.choice("--api", {"some", "exact"}) == "some")
        ctx.spawn(listen<api::some>(limit, ctx, connections, meter));
    else
        ctx.spawn(listen<api::exact>(limit, ctx, connections, meter));
    ctx.run();
    meter.report();
}
