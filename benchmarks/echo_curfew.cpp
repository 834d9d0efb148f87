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

[[gnu::always_inline]] inline void must(std::error_code ec, const char* what) {
    if (ec) [[unlikely]]
        echo::fail(what, ec.message());
}

template <api Api, limit Limit>
task<> serve(tcp::socket peer) {
    std::vector<std::byte> buffer(echo::buffer_size);
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
task<> talk(tcp::socket socket, unsigned long connection, echo::meter& meter) {
    echo::message message(connection);
    std::vector<std::byte> buffer(echo::buffer_size);
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
void spawn_all(io_context& ctx, echo::meter& meter) {
    unsigned long number = 0;
    for (const auto [client, server] : echo::connect_all(meter.connections())) {
        ctx.spawn(serve<Api, Limit>(tcp::socket::adopt(ctx, server).value()));
        ctx.spawn(talk<Api, Limit>(tcp::socket::adopt(ctx, client).value(), number++, meter));
    }
}

template <api Api>
void spawn_all(std::string_view limit_named, io_context& ctx, echo::meter& meter) {
    if (limit_named == "cancel") return spawn_all<Api, limit::cancel>(ctx, meter);
    if (limit_named == "close") return spawn_all<Api, limit::close>(ctx, meter);
    spawn_all<Api, limit::none>(ctx, meter);
}

}  // namespace

int main(int argc, char** argv) {
    echo::arguments arguments(argc, argv, {ECHO_OPTIONS, "--limit", "--api", "--reactor"});
    echo::meter meter(arguments);
    const std::string_view limit = arguments.choice("--limit", {"none", "cancel", "close"});

    io_context ctx(reactor_of(arguments));
    if (arguments.choice("--api", {"some", "exact"}) == "some")
        spawn_all<api::some>(limit, ctx, meter);
    else
        spawn_all<api::exact>(limit, ctx, meter);
    ctx.run();
    meter.report();
}
