#include <curfew/curfew.hpp>
#include <curfew/sim/world.hpp>

#include <doctest/doctest.h>

#include <string>

namespace {

using namespace curfew;
using namespace std::chrono_literals;

task<> echo(tcp::socket peer) {
    std::array<std::byte, 4096> buffer;
    for (;;) {
        const auto [ec, n] = co_await peer.read_some(buffer);
        if (ec) co_return;
        if ((co_await write_all(peer, std::span(buffer).first(n))).error()) co_return;
    }
}

task<> serve(io_context& ctx) {
    tcp::acceptor acceptor(ctx);
    acceptor.listen(ip::endpoint(ip::address::any_v4(), 7)).value();
    for (;;) {
        auto [ec, peer] = co_await acceptor.accept();
        if (!ec) ctx.spawn(echo(std::move(peer)));
    }
}

TEST_CASE("unmodified programs talk over a bad network, byte by byte, in no time") {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        CAPTURE(seed);
        sim::seeded_chooser choices(seed);
        sim::world w(choices);
        sim::host& server = w.host("server", [](io_context& ctx) { ctx.spawn(serve(ctx)); });
        sim::host& user = w.host("user");
        w.link(user, server).latency(5ms, 80ms).loss(0.1).duplicate(0.05).reorder(0.05);
        std::string got;
        user.spawn([](std::string& answer) -> task<> {
            auto [ec, socket] = co_await tcp::connect("server", 7);
            REQUIRE_FALSE(ec);
            std::string text;
            for (int i = 0; i < 2000; ++i) text += std::to_string(i) + ' ';
            task_group group;
            group.spawn([](tcp::socket& to, const std::string& what) -> task<> {
                (co_await write_all(to, what)).value();
            }(socket, text));
            answer.resize(text.size());
            std::size_t done = 0;
            while (done < text.size()) {  // no byte is lost by a limit
                auto [late, n] = co_await with_timeout(
                    socket.read_some(std::as_writable_bytes(std::span(answer).subspan(done))), 3ms);
                if (late && late != errc::timed_out) break;
                done += n;
            }
            CHECK(answer == text);
            (co_await group.join()).value();
        }(got));
        w.run({.time = 300s});
        CHECK_FALSE(got.empty());
        CHECK(w.now() > 100ms);
    }
}

TEST_CASE("a limit on a silent peer fires at its time") {
    sim::seeded_chooser choices(1);
    sim::world w(choices);
    w.host("server", [](io_context& ctx) {
        ctx.spawn([](io_context& c) -> task<> {
            tcp::acceptor acceptor(c);
            acceptor.listen(ip::endpoint(ip::address::any_v4(), 7)).value();
            auto peer = (co_await acceptor.accept()).value();
            (void)co_await sleep_for(24h);
        }(ctx));
    });
    w.host("user").spawn([]() -> task<> {
        auto [ec, socket] = co_await tcp::connect("server", 7);
        std::array<char, 10> buffer;
        const auto begin = curfew::clock::now();
        const auto [late, n] = co_await with_timeout(socket.read_some(buffer), 1h);
        CHECK(late == errc::timed_out);
        CHECK(curfew::clock::now() - begin >= 1h);
        CHECK(curfew::clock::now() - begin < 1h + 1ms);
    });
    w.run({.time = 2h});
    CHECK(w.steps() < 200);
}

TEST_CASE("a task that never ends is stuck, and the dump says where") {
    sim::seeded_chooser choices(1);
    sim::world w(choices);
    w.host("user").spawn([]() -> task<> {
        event never;
        (void)co_await never.wait();
    });
    try {
        w.run({.time = 1s});
        FAIL("it is not stuck");
    } catch (const sim::failure& stuck) {
        const std::string text = stuck.what();
        CHECK(text.find("--- user") != text.npos);
        CHECK(text.find("event") != text.npos);
    }
}

TEST_CASE("who is killed ends its connections, and whose power goes does not") {
    for (const bool power : {false, true}) {
        CAPTURE(power);
        sim::seeded_chooser choices(1);
        sim::world w(choices);
        sim::host& server = w.host("server", [](io_context& ctx) { ctx.spawn(serve(ctx)); });
        w.at(1s, [&] { power ? server.power_off() : server.kill(); });
        std::error_code end;
        w.host("user").spawn([](std::error_code& ec) -> task<> {
            auto socket = (co_await tcp::connect("server", 7)).value();
            std::array<char, 10> buffer;
            ec = (co_await with_timeout(socket.read_some(buffer), 10s)).error();
        }(end));
        w.run({.time = 60s});
        CHECK(end == (power ? errc::timed_out : errc::eof));
        server.boot();
    }
}

TEST_CASE("a clock that drifts says so, and its limits are never early by it") {
    for (const double by : {200e-6, -200e-6, 0.25}) {
        CAPTURE(by);
        sim::seeded_chooser choices(1);
        sim::world w(choices);
        sim::host& user = w.host("user");
        user.clock().drift(by);
        user.spawn([]() -> task<> {
            const auto begin = curfew::clock::now();
            CHECK((co_await sleep_for(1h)).ok());
            CHECK(curfew::clock::now() - begin >= 1h);
            CHECK(curfew::clock::now() - begin < 1h + 1ms);
        });
        w.run({.time = 2h});
        const double took = std::chrono::duration<double>(w.now()).count();
        CHECK(took == doctest::Approx(3600 / (1 + by)).epsilon(1e-6));
    }
}

TEST_CASE("a host that is stopped does nothing, and goes on then") {
    sim::seeded_chooser choices(1);
    sim::world w(choices);
    sim::host& user = w.host("user");
    std::vector<std::chrono::nanoseconds> beats;
    user.spawn([](sim::world& in, std::vector<std::chrono::nanoseconds>& at) -> task<> {
        for (int i = 0; i < 10; ++i) {
            (void)co_await sleep_for(100ms);
            at.push_back(in.now());
        }
    }(w, beats));
    w.at(250ms, [&] { user.pause(2s); });
    w.run();
    REQUIRE(beats.size() == 10);
    CHECK(beats[1] < 250ms);
    CHECK(beats[2] >= 2250ms);
    CHECK(beats[2] < 2260ms);
    CHECK(beats[3] < 2360ms);
}

TEST_CASE("a process that is killed and begins again finds its port lingering, and takes it") {
    sim::seeded_chooser choices(1);
    sim::world w(choices);
    sim::host& server = w.host("server", [](io_context& ctx) { ctx.spawn(serve(ctx)); });
    const auto call = []() -> task<std::error_code> {
        auto [ec, socket] = co_await tcp::connect("server", 7);
        if (ec) co_return ec;
        std::array<char, 4> buffer{};
        if (const auto [failed, n] = co_await write_all(socket, "ping"); failed) co_return failed;
        co_return (co_await with_timeout(socket.read_exactly(buffer), 10s)).error();
    };
    std::error_code first, second;
    w.at(2s, [&] {
        server.kill();
        server.boot();
    });
    w.host("user").spawn([&]() -> task<> {
        first = co_await call();
        (void)co_await sleep_for(3s);
        second = co_await call();
    });
    w.run({.time = 60s});
    CHECK_FALSE(first);
    CHECK_FALSE(second);
}

}  // namespace
