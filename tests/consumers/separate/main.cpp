// Most of the library is compiled in curfew.cpp, and only there.
#include <cstdio>
#include <string>

#include <curfew/curfew.hpp>
#include <curfew/reactor/poll.hpp>  // for the one that is made here

using namespace curfew;
using namespace std::chrono_literals;

task<> echo(tcp::acceptor& acceptor);  // other.cpp

namespace {

task<std::string> ask(io_context& ctx, ip::endpoint where) {
    tcp::socket socket(ctx);
    (co_await socket.connect(where)).value();
    (co_await socket.write_all("is anyone ", "there?")).value();
    std::string answer(17, '.');
    (co_await with_timeout(socket.read_exactly(std::span(answer).first(16)), 5s)).value();
    const auto [late, none] = co_await with_timeout(socket.read_some(answer), 1ms);
    if (late != errc::timed_out) co_return "a silent peer: " + late.message();
    socket.close();
    const auto [closed, nothing] = co_await socket.read_some(answer);
    co_return answer + closed.message();
}

task<> call(io_context& ctx, std::string& said) {
    tcp::acceptor acceptor(ctx);
    acceptor.listen(ip::endpoint::parse("127.0.0.1:0").value()).value();
    const ip::endpoint where = acceptor.local_endpoint();
    task_group group(ctx);
    group.spawn(echo(acceptor));
    said = co_await ask(ctx, ip::endpoint::parse(where.to_string()).value());
    (co_await group.join()).value();

    udp::socket one(ctx), other(ctx);
    one.bind(ip::endpoint(ip::address::loopback_v4(), 0)).value();
    (co_await other.send_to("ping", one.local_endpoint())).value();
    std::array<std::byte, 8> bytes;
    ip::endpoint sender;
    const auto [ec, got] = co_await with_timeout(one.receive_from(bytes, sender), 5s);
    said += ec ? ec.message() : ", and a datagram";
}

bool works_on(io_context& ctx) {
    std::string said;
    ctx.block_on(call(ctx, said));
    std::printf("%s: %s\n", std::string(ctx.name()).c_str(), said.c_str());
    return said == "is anyone there?.closed on this side, and a datagram";
}

}  // namespace

int main() {
    io_context by_default;
    io_context named(reactor_kind::select);
    io_context own(std::make_unique<poll_reactor>());
    return works_on(by_default) && works_on(named) && works_on(own) ? 0 : 1;
}
