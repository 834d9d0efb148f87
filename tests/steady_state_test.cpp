// Steady state allocates nothing: tasks, combinations, groups, limits and messages live on memory
// that is used again and again.
#include <curfew/curfew.hpp>

#include "support/allocations.hpp"
#include "support/loop.hpp"

using namespace test;

namespace {

constexpr int warm_up = 200;
constexpr int rounds = 100'000;

task<> send_one(channel<int>& to, int number) { (co_await to.send(number)).value(); }

task<result<int>> ask(channel<int>& questions, channel<int>& answers, int number) {
    if (auto [ec] = co_await questions.send(number); ec) co_return ec;
    co_return co_await answers.receive();
}

/// Answers until the channel is closed.
task<> answer(channel<int>& questions, channel<int>& answers) {
    for (;;) {
        auto [ec, number] = co_await questions.receive();
        if (ec) co_return;
        (co_await answers.send(-number)).value();
    }
}

struct totals {
    std::size_t before = 0;
    std::size_t after = 0;
    int right = 0;
};

task<> all_rounds(io_context& ctx, channel<int>& questions, channel<int>& answers, totals& out) {
    channel<int> numbers(1);
    event never;
    semaphore permits(2);
    for (int round = 0; round < warm_up + rounds; ++round) {
        if (round == warm_up) out.before = allocations();
        auto sender = ctx.spawn(send_one(numbers, round));
        auto [ec, any] = co_await with_timeout(
            when_any(with_timeout(never.wait(), 1h), numbers.receive(), sleep_for(1h)), 1h);
        co_await sender;
        bool right = !ec && any.index == 1 && std::get<1>(any.results).data == round;

        auto [asked, held] =
            co_await when_all(with_timeout(ask(questions, answers, round), 1h), permits.acquire());
        permits.release();
        right = right && asked.data == -round && !held.ec;

        if (round % 4 == 0) {
            task_group group;
            for (int i = 0; i < 3; ++i) group.spawn(send_one(numbers, i));
            for (int i = 0; i < 3; ++i) right = right && (co_await numbers.receive()).data == i;
            right = right && (co_await with_timeout(group.join(), 1h)).ok();
        }
        out.right += right;
    }
    out.after = allocations();
}

}  // namespace

REACTOR_TEST("tasks, combinations, groups, limits and messages allocate nothing in steady state") {
    io_context ctx(kind);
    channel<int> questions(0);
    channel<int> answers(4);
    totals all;
    ctx.spawn(answer(questions, answers));
    ctx.block_on(all_rounds(ctx, questions, answers, all));
    questions.close();
    ctx.run();
    CHECK(all.right == warm_up + rounds);
#if CURFEW_RECYCLE_FRAMES
    CHECK(all.after == all.before);
#endif
}
