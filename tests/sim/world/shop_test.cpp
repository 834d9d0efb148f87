// A shop in which an order is paid once, however bad the network; and one in which it is not.
#include <curfew/curfew.hpp>

#include <doctest/doctest.h>

#include <curfew/sim/sim.hpp>

#include <set>
#include <string>

namespace {

using namespace curfew;
using namespace std::chrono_literals;

struct shop {
    bool remembers;  // which orders have been paid
    std::set<std::string> known{};
    int paid = 0;
};

task<> serve_customer(tcp::socket peer, shop& of) {
    buffered in(std::move(peer));
    for (;;) {
        const auto [ec, line] = co_await with_timeout(in.read_line(100), 30s);
        if (ec) co_return;
        if (of.known.insert(std::string(line)).second || !of.remembers) ++of.paid;
        if ((co_await write_all(in, "paid\n")).error()) co_return;
    }
}

task<> serve_shop(io_context& ctx, shop& of) {
    tcp::acceptor acceptor(ctx);
    acceptor.listen(ip::endpoint(ip::address::any_v4(), 443)).value();
    for (;;) {
        auto [ec, peer] = co_await acceptor.accept();
        if (!ec) ctx.spawn(serve_customer(std::move(peer), of));
    }
}

/// Tries again until it is told that it is paid.
task<> order() {
    for (;;) {
        auto [ec, socket] = co_await with_timeout(tcp::connect("shop", 443), 2s);
        if (ec) continue;
        buffered in(std::move(socket));
        if ((co_await with_timeout(write_all(in, "order 1\n"), 1s)).error()) continue;
        const auto [late, line] = co_await with_timeout(in.read_line(100), 500ms);
        if (!late && line == "paid") co_return;
    }
}

void an_order(sim::simulation& sim, bool remembers) {
    sim::world& w = sim.world();
    shop of{remembers};
    sim::host& there = w.host("shop", [&](io_context& ctx) { ctx.spawn(serve_shop(ctx, of)); });
    sim::host& user = w.host("user");
    w.link(user, there).latency(5ms, 80ms).loss(0.02).duplicate(0.01).reorder(0.05);
    w.swarm();
    w.at(30ms, [&] { w.partition(there >> user); });
    w.at(3s, [&] { w.heal(); });
    user.spawn(order());
    w.always([&] { return of.paid <= 1; });
    w.run({.time = 600s, .turns = 1'000'000});
    sim.expect(of.paid == 1, "the order is paid");
}

SIM_TEST("an order is paid once", sim::seeds(200)) { an_order(sim, true); }

TEST_CASE("a shop that forgets is found out, and the way to it is short") {
    try {
        sim::check(sim::seeds(1000), [](sim::simulation& sim) { an_order(sim, false); });
        FAIL("nothing was found");
    } catch (const sim::failure& found) {
        const std::string text = found.what();
        CHECK(text.find("what always holds does not") != text.npos);
        CHECK(text.find("CURFEW_SIM_SEED=") != text.npos);
        CHECK(text.find("shop_test.cpp") != text.npos);
        CHECK(text.find("serve_customer") != text.npos);
        CHECK(text.find("by 2 choices that matter") != text.npos);
    }
}

SIM_EXHAUST("whatever comes first, a byte or the limit, no byte is lost", sim::bound{.events = 5}) {
    sim::world& w = sim.world();
    w.host("server", [](io_context& ctx) {
        ctx.spawn([](io_context& c) -> task<> {
            tcp::acceptor acceptor(c);
            acceptor.listen(ip::endpoint(ip::address::any_v4(), 7)).value();
            auto peer = (co_await acceptor.accept()).value();
            (co_await write_all(peer, "a")).value();
            (co_await write_all(peer, "b")).value();
            (void)co_await sleep_for(1h);
        }(ctx));
    });
    std::string got;
    w.host("user").spawn([](std::string& text) -> task<> {
        tcp::socket socket(this_context());
        while ((co_await socket.connect(ip::endpoint::parse("10.0.0.1:7").value())).error()) {}
        while (text.size() < 2) {
            std::array<char, 1> one;
            const auto [ec, n] = co_await with_timeout(socket.read_some(one), 100us);
            text.append(one.data(), n);
            if (ec && ec != errc::timed_out) co_return;
        }
    }(got));
    w.run({.time = 60s});
    sim.expect(got == "ab", "both bytes have come, in their order");
}

}  // namespace
