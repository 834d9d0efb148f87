// Memory may run out at any point: the n-th allocation fails, for every n until none does. Then
// std::bad_alloc comes out of what was called or awaited (or an operation says that there was not
// enough memory), nothing is lost, and the context can be used.
#include <curfew/curfew.hpp>

#include <array>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include "support/allocations.hpp"
#include "support/loop.hpp"

#if CURFEW_EXCEPTIONS

using namespace test;

namespace {

/// No free lists, so that all that is made anew may fail.
struct straight_memory final : frame_resource {
    void* allocate(std::size_t bytes) override { return ::operator new(bytes); }
    void deallocate(void* block, std::size_t) noexcept override { ::operator delete(block); }
};

/// `wanted`, or else it is for lack of memory.
void expect(std::error_code ec, std::error_code wanted = {}) {
    if (ec == std::errc::not_enough_memory) throw std::bad_alloc();
    if (ec != wanted) throw std::system_error(ec);
}

/// In a task that is on its own: where what it waits for may be gone, because its owner had no
/// memory.
void expect_on_its_own(std::error_code ec) {
    if (ec != errc::closed) expect(ec);
}

struct count_of_runs {
    std::size_t failures = 0;  // runs in which an allocation failed
    std::size_t untold = 0;    // of these, such that nothing was thrown
    std::size_t leaks = 0;
    std::size_t spoiled = 0;  // afterwards the context did not work any more
    std::string strange;      // something else was thrown
};

task<bool> works() {
    co_await yield();
    co_return (co_await with_timeout(sleep_for(1h), 1ms)).error() == errc::timed_out;
}

/// Runs `scenario(ctx)`, a coroutine, again and again.
template <class Scenario>
count_of_runs fail_each_allocation(reactor_kind kind, Scenario scenario) {
    count_of_runs seen;
    for (std::size_t n = 0;; ++n) {  // 0: none fails, and what is kept for ever is allocated
        const std::size_t before = blocks_in_use();
        bool failed = false;
        {
            straight_memory memory;
            std::optional<io_context> ctx;
            bool thrown = false;
            {
                const failing_allocation failing(n);
                try {
                    const frame_resource_scope use(&memory);
                    ctx.emplace(kind);
                    ctx->frames(&memory);
                    ctx->block_on(scenario(*ctx));
                } catch (const std::bad_alloc&) {
                    thrown = true;
                } catch (const std::system_error& error) {
                    thrown = error.code() == std::errc::not_enough_memory;
                    if (!thrown) seen.strange = error.what();
                } catch (const std::exception& error) {
                    seen.strange = error.what();
                }
                failed = n > 0 && failing.has_failed();
            }
            if (failed) ++seen.failures;
            if (failed && !thrown) ++seen.untold;
            try {
                if (ctx && !ctx->block_on(works())) ++seen.spoiled;
            } catch (const std::bad_alloc&) {
                // Of a task that had failed, too, and was not the first.
            }
        }
        if (n > 0 && blocks_in_use() != before) ++seen.leaks;
        if (n > 0 && !failed) return seen;
    }
}

void check(const count_of_runs& seen, std::size_t at_least) {
    CHECK(seen.failures >= at_least);
    CHECK(seen.untold == 0);
    CHECK(seen.leaks == 0);
    CHECK(seen.spoiled == 0);
    CHECK(seen.strange == "");
}

task<int> value(int number) {
    co_await yield();
    co_return number;
}

}  // namespace

#define ALLOCATION_TEST(name)                                                                      \
    REACTOR_TEST_IMPL(DOCTEST_ANONYMOUS(allocation_test_), "any allocation may fail: " name)

ALLOCATION_TEST("an echo under limits") {
    if (allocations() == 0) return;
    const auto serve = [](tcp::socket peer) -> task<> {
        std::array<char, 64> buffer;
        for (;;) {
            auto [ec, n] = co_await with_timeout(peer.read_some(buffer), 1h);
            if (ec == errc::eof) co_return;
            expect(ec);
            expect((co_await write_all(peer, std::span(buffer).first(n))).ec);
        }
    };
    check(fail_each_allocation(kind,
                               [&](io_context& ctx) -> task<> {
                                   auto [client, server] = co_await test::connect(ctx);
                                   ctx.spawn(serve(std::move(server)));
                                   std::array<char, 5> answer{};
                                   for (int i = 0; i < 3; ++i) {
                                       expect((co_await write_all(client, "hello")).ec);
                                       expect((co_await with_timeout(read_exactly(client, answer),
                                                                     1h, on_timeout::close))
                                                  .ec);
                                   }
                               }),
          6);
}

ALLOCATION_TEST("accepting") {
    if (allocations() == 0) return;
    const auto accept_one = [](tcp::acceptor& from) -> task<> {
        auto [ec, peer] = co_await with_timeout(from.accept(), 1h);
        expect_on_its_own(ec);
    };
    check(fail_each_allocation(
              kind,
              [&](io_context& ctx) -> task<> {
                  tcp::acceptor acceptor(ctx);
                  // (By default an accept waits for memory, and nobody is told.)
                  expect(acceptor.listen(any_port(), {.wait_for_descriptors = false}).ec);
                  // One that waits for its connection, and then connections that wait.
                  auto waiting = ctx.spawn(accept_one(acceptor));
                  co_await yield();
                  std::vector<tcp::socket> clients;
                  for (int i = 0; i < 3; ++i) {
                      clients.emplace_back(ctx);
                      expect((co_await clients.back().connect(acceptor.local_endpoint())).ec);
                  }
                  co_await waiting;
                  co_await accept_one(acceptor);
                  expect((co_await acceptor.accept()).ec);
              }),
          6);
}

ALLOCATION_TEST("spawning, joining and posting") {
    if (allocations() == 0) return;
    bool called = false;  // also when who has posted that is gone
    check(fail_each_allocation(kind,
                               [&](io_context& ctx) -> task<> {
                                   called = false;
                                   const std::string long_text(100, 'x');
                                   ctx.post([&called, long_text] { called = true; });
                                   auto first = ctx.spawn(value(1));
                                   ctx.spawn(value(2));
                                   const std::vector<int> kept(100);
                                   auto third = ctx.spawn([kept]() -> task<std::size_t> {
                                       co_await yield();
                                       co_return kept.size();
                                   });
                                   CHECK(co_await first == 1);
                                   CHECK(co_await third == 100);
                                   CHECK(called);
                               }),
          8);
}

ALLOCATION_TEST("when_all and when_any") {
    if (allocations() == 0) return;
    check(fail_each_allocation(kind,
                               [](io_context& ctx) -> task<> {
                                   udp::socket socket(ctx);
                                   expect(socket.bind(any_port()).ec);
                                   std::array<char, 8> buffer;
                                   auto [a, b] =
                                       co_await when_all(value(1), with_timeout(value(2), 1h));
                                   CHECK(a + b.value() == 3);
                                   std::vector<task<int>> works;
                                   for (int i = 0; i < 3; ++i) works.push_back(value(i));
                                   CHECK((co_await when_all(std::move(works))).size() == 3);
                                   auto any = co_await when_any(sleep_for(1h), value(1),
                                                                socket.receive(buffer));
                                   if (any.index == 2) expect(std::get<2>(any.results).ec);
                                   CHECK(any.index == 1);
                                   std::vector<task<int>> racers;
                                   for (int i = 0; i < 3; ++i) racers.push_back(value(i));
                                   CHECK((co_await when_any(std::move(racers))).index == 0);
                               }),
          10);
}

ALLOCATION_TEST("groups, joined or left by an exception") {
    if (allocations() == 0) return;
    const auto child = [](semaphore& slots, int number) -> task<result<>> {
        expect((co_await slots.acquire()).ec);
        const permit slot(slots);
        CHECK(co_await value(number) == number);
        co_return result<>();
    };
    check(fail_each_allocation(kind,
                               [&](io_context&) -> task<> {
                                   semaphore slots(2);
                                   task_group group;
                                   for (int i = 0; i < 4; ++i) group.spawn(child(slots, i));
                                   group.spawn([&slots, &child]() { return child(slots, 5); });
                                   expect((co_await group.join()).error());
                                   for (int i = 0; i < 2; ++i) group.spawn(child(slots, i));
                                   expect((co_await with_timeout(group.join(), 1h)).ec);
                               }),
          10);
}

ALLOCATION_TEST("channels and events") {
    if (allocations() == 0) return;
    struct closer {
        channel<std::string>& to;
        ~closer() { to.close(); }
    };
    const auto send = [](channel<std::string>& to) -> task<> {
        const closer at_end{to};
        for (int i = 0; i < 3; ++i) expect((co_await to.send(std::string(100, 'x'))).ec);
    };
    const auto wait = [](event& what) -> task<> { expect((co_await what.wait()).error()); };
    check(fail_each_allocation(kind,
                               [&](io_context&) -> task<> {
                                   event happened;
                                   channel<std::string> messages(1);
                                   task_group group;
                                   group.spawn(send(messages));
                                   group.spawn(wait(happened));
                                   for (;;) {
                                       auto [ec, message] =
                                           co_await with_timeout(messages.receive(), 1h);
                                       if (ec == errc::closed) break;
                                       expect(ec);
                                   }
                                   happened.set();
                                   expect((co_await group.join()).error());
                               }),
          6);
}

ALLOCATION_TEST("limits, shields, stop tokens, and results from elsewhere") {
    if (allocations() == 0) return;
    check(fail_each_allocation(
              kind,
              [](io_context& ctx) -> task<> {
                  udp::socket socket(ctx);
                  expect(socket.bind(any_port()).ec);
                  std::array<char, 8> buffer;
                  expect((co_await with_timeout(socket.receive(buffer), 1ms)).ec, errc::timed_out);
                  CHECK((co_await with_timeout(works(), 1h)).value());
                  CHECK(co_await shielded(value(1)) == 1);
                  std::stop_source source;
                  CHECK(co_await cancel_on(value(2), source.get_token()) == 2);
                  source.request_stop();
                  expect((co_await cancel_on(socket.receive(buffer), source.get_token())).ec,
                         errc::canceled);
                  thread_promise<std::string> promise;
                  auto future = promise.get_future();
                  promise.set_value(std::string(100, 'x'));
                  expect((co_await with_timeout(future, 1h)).ec);
              }),
          6);
}

ALLOCATION_TEST("many sockets at once") {
    if (allocations() == 0) return;
    const auto receive = [](udp::socket& from) -> task<> {
        std::array<char, 8> buffer;
        auto [ec, n] = co_await with_timeout(from.receive(buffer), 1ms);
        expect(ec, errc::timed_out);
    };
    check(fail_each_allocation(kind,
                               [&](io_context& ctx) -> task<> {
                                   std::vector<udp::socket> sockets;
                                   task_group group;
                                   sockets.reserve(40);
                                   for (int i = 0; i < 40; ++i) {
                                       sockets.emplace_back(ctx);
                                       expect(sockets.back().bind(any_port()).ec);
                                       group.spawn(receive(sockets.back()));
                                   }
                                   expect((co_await group.join()).error());
                               }),
          80);
}

ALLOCATION_TEST("lines that grow, through a socket and through a task") {
    if (allocations() == 0) return;
    check(fail_each_allocation(
              kind,
              [](io_context& ctx) -> task<> {
                  auto made = co_await test::connect(ctx);
                  const std::string line(100, 'x');
                  expect((co_await made.client.write_all(line, "\n", line, "\nrest")).ec);
                  buffered<tcp::socket&> in(made.server, 16);
                  expect((co_await in.read_line(200)).ec);
                  CHECK(in.available().size() + 100 > 16);
                  buffered<buffered<tcp::socket&>&> through(in, 16);
                  const auto [ec, second] = co_await through.read_line(200);
                  expect(ec);
                  CHECK(second == line);
                  CHECK((co_await with_timeout(through.read_line(200), 1ms)).error() ==
                        errc::timed_out);
              }),
          6);
}

#endif
