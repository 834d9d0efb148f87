// Cancellation reaches every leaf: random trees of everything that can be awaited, ended at a
// random moment in every way there is. Whatever happens, all of it ends, each part with the right
// code, and every frame, descriptor, byte, message and permit is accounted for.
//
// CURFEW_TEST_TREES=200000 tries so many; CURFEW_TEST_TREE=17 replays one.
#include <curfew/curfew.hpp>

#include <cstdlib>
#include <exception>
#include <thread>

#include "support/accounts.hpp"
#include "support/counted.hpp"
#include "support/effort.hpp"
#include "support/loop.hpp"

using namespace test;

namespace {

using std::chrono::microseconds;

struct leaf_error {};

std::error_code failure() { return std::make_error_code(std::errc::io_error); }

task<result<int>> grow(accounts& all, scope& in, std::uint64_t seed, int depth);

microseconds some_time(dice& random) {
    return microseconds(random.one_in(8) ? 0 : random.below(random.one_in(4) ? 1500 : 200));
}

/// What a node says of itself: `canceled` if the scope it ran in is known to be.
result<int> verdict(const scope& in, std::error_code otherwise = {}) {
    return {in.seen ? make_error_code(errc::canceled) : otherwise, 1};
}

// Leaves ------------------------------------------------------------------------------------------

/// Awaits one operation, with a limit of its own or without, and judges the code it ends with.
template <class Operation>
auto await_leaf(accounts& all, scope& in, dice random, Operation operation)
    -> task<detail::result_of_t<detail::awaited_t<Operation>>> {
    const counted frame(all.alive);
    const bool must_be_canceled = in.seen;
    detail::result_of_t<detail::awaited_t<Operation>> got;
    if (random.one_in(3)) {
        const auto limit = some_time(random);
        const auto before = clock::now();
        if (all.closes && random.one_in(4))
            got = co_await with_timeout(std::move(operation), limit, on_timeout::close);
        else
            got = co_await with_timeout(std::move(operation), limit);
        if (got.ec == errc::timed_out)
            all.expect(clock::now() - before >= limit, "a leaf timed out early");
    } else {
        got = co_await std::move(operation);
        all.expect(got.ec != errc::timed_out, "a leaf without a limit timed out");
    }
    if (got.ec == errc::canceled)
        all.note_canceled(in, "a leaf was canceled, and nobody did it");
    else
        all.expect(!must_be_canceled, "a leaf went on in a cancelled scope");
    co_return got;
}

task<> pass_time(accounts& all, scope& in, dice random) {
    const bool forever = random.one_in(3);
    const auto time = forever ? microseconds(1h) : some_time(random);
    const auto before = clock::now();
    auto [ec] = co_await await_leaf(all, in, dice(random.next()), sleep_for(time));
    if (!ec) all.expect(clock::now() - before >= time, "a sleep was short");
}

task<> send(accounts& all, scope& in, dice random) {
    const auto number = all.sent.size();
    all.sent.push_back(false);
    watched_wait wait(all);
    message one{static_cast<int>(number), all.alive_messages};
    if (random.one_in(4)) {
        all.sent[number] = all.messages.try_send(std::move(one));
    } else {
        auto [ec] =
            co_await await_leaf(all, in, dice(random.next()), all.messages.send(std::move(one)));
        all.sent[number] = !ec;
    }
    wait.done();
}

void take(accounts& all, std::size_t ticket, const result<message>& got) {
    all.expect(got.ec ? got.data.number < 0 : got.data.number >= 0, "a message with an error");
    all.received[ticket] = got.data.number;
}

/// A bare `receive` that notes its place among all of them when it begins.
struct receive_in_turn {
    accounts& all;
    std::size_t& ticket;
    channel<message>::receiver operator co_await() const {
        ticket = all.received.size();
        all.received.push_back(-1);
        return all.messages.receive().operator co_await();
    }
};

task<> receive(accounts& all, scope& in, dice random) {
    const auto ticket = all.received.size();
    all.received.push_back(-1);
    watched_wait wait(all);
    if (random.one_in(4)) {
        if (auto got = all.messages.try_receive()) all.received[ticket] = got->number;
    } else {
        take(all, ticket,
             co_await await_leaf(all, in, dice(random.next()), all.messages.receive()));
    }
    wait.done();
}

void judge_transfer(accounts& all, const result<std::size_t>& got, std::size_t size, bool exact) {
    if (!got.ec)
        all.expect(exact ? got.data == size : got.data > 0 && got.data <= size, "a wrong count");
    else if (got.ec == errc::canceled || got.ec == errc::timed_out)
        all.expect(exact ? got.data < size : got.data == 0, "cut short, and yet bytes were moved");
    else
        all.expect(all.closes, "a transfer failed");
}

task<> read(accounts& all, scope& in, dice random, stream& from) {
    busy guard(from.reading, from);
    const bool exact = random.one_in(2);
    std::vector<std::byte> buffer(
        1 + static_cast<std::size_t>(random.below(random.one_in(8) ? 20000 : 200)));
    const dice own(random.next());
    const auto got = exact ? co_await await_leaf(all, in, own, from.to->read_exactly(buffer))
                           : co_await await_leaf(all, in, own, from.to->read_some(buffer));
    judge_transfer(all, got, buffer.size(), exact);
    all.take(from, std::span(buffer).first(got.data));
    guard.done();
}

task<> write(accounts& all, scope& in, dice random, stream& to) {
    busy guard(to.writing, to);
    const bool exact = random.one_in(2);
    const auto bytes = pattern::at(
        to.written, 1 + static_cast<std::size_t>(random.below(random.one_in(6) ? 60000 : 300)));
    const dice own(random.next());
    const auto got = exact ? co_await await_leaf(all, in, own, to.from->write_all(bytes))
                           : co_await await_leaf(all, in, own, to.from->write_some(bytes));
    judge_transfer(all, got, bytes.size(), exact);
    to.written += got.data;
    guard.done();
}

task<> wait_readable(accounts& all, scope& in, dice random, stream& from) {
    busy guard(from.reading, from);
    auto [ec] = co_await await_leaf(all, in, random, from.to->wait(readiness::readable));
    all.expect(!ec || all.closes || ec == errc::canceled || ec == errc::timed_out, "a wait failed");
    guard.done();
}

task<result<int>> grow_leaf(accounts& all, scope& in, std::uint64_t seed) {
    const counted frame(all.alive);
    dice random(seed);
    const int kind = random.below(17);
    if (kind >= 10 && kind < 15 && !all.streams.empty()) {
        stream& at = all.streams[random.next() % all.streams.size()];
        if (kind < 12 && !at.writing)
            co_await write(all, in, random, at);
        else if (kind < 14 && !at.reading)
            co_await read(all, in, random, at);
        else if (!at.reading)
            co_await wait_readable(all, in, random, at);
        co_return verdict(in);
    }
    switch (kind) {
    case 0:
    case 1:
        co_await send(all, in, random);
        break;
    case 2:
    case 3:
        co_await receive(all, in, random);
        break;
    case 4:
        (void)co_await await_leaf(all, in, random, all.events[random.next() % 2].wait());
        break;
    case 5:
        if (event& which = all.events[random.next() % 2]; which.is_set())
            which.reset();
        else
            which.set();
        break;
    case 6:
        (void)co_await await_leaf(all, in, random, yield());
        break;
    case 7:
        (void)co_await await_leaf(all, in, random, next_tick());
        break;
    case 8:
        if (random.one_in(6)) co_return verdict(in, failure());
        break;
#if CURFEW_EXCEPTIONS
    case 9:
        if (all.throws) {
            in.note_thrown(1);
            throw leaf_error();
        }
        break;
#endif
    default:
        co_await pass_time(all, in, random);
    }
    co_return verdict(in);
}

// Combinations ------------------------------------------------------------------------------------

/// Notes, at the end of one of several things, that the others may be cancelled because of it.
class end_of_one {
public:
    explicit end_of_one(scope& others, bool always) noexcept : others_(others), always_(always) {}
    end_of_one(const end_of_one&) = delete;
    end_of_one& operator=(const end_of_one&) = delete;
    ~end_of_one() {
        if (always_ || std::uncaught_exceptions() > 0) others_.cancelled = true;
    }
    void failed() noexcept { always_ = true; }

private:
    scope& others_;
    bool always_;
};

task<result<int>> grow_branch(accounts& all, scope& others, scope& own, bool any,
                              std::uint64_t seed, int depth) {
    const counted frame(all.alive);
    const end_of_one guard(others, any);
    co_return co_await grow(all, own, seed, depth);
}

/// What a branch that has ended says about the scope it was in.
void judge_branch(accounts& all, scope& in, const scope& own, const result<int>& got, bool alone) {
    all.expect((got.ec == errc::canceled) == own.seen && got.data == 1,
               "a branch's result is lost");
    if (own.seen && alone) all.note_canceled(in, "a branch was canceled, and nobody did it");
    if (own.seen || own.maybe) in.maybe = true;
}

task<> grow_fixed(accounts& all, scope& in, dice random, int depth, bool any) {
    const counted frame(all.alive);
    scope& set = all.inside(&in);
    scope& a = all.inside(&set);
    scope& b = all.inside(&set);
    auto first = grow_branch(all, set, a, any, random.next(), depth);
    auto second = grow_branch(all, set, b, any, random.next(), depth);
    if (!any) {
        auto [x, y] = co_await when_all(std::move(first), std::move(second));
        judge_branch(all, in, a, x, true);
        judge_branch(all, in, b, y, true);
        co_return;
    }
    auto [index, results] = co_await when_any(std::move(first), std::move(second));
    all.expect(index < 2, "when_any has a wrong index");
    judge_branch(all, in, a, std::get<0>(results), index == 0);
    judge_branch(all, in, b, std::get<1>(results), index == 1);
}

task<> grow_range(accounts& all, scope& in, dice random, int depth, bool any) {
    const counted frame(all.alive);
    scope& set = all.inside(&in);
    std::vector<task<result<int>>> works;
    std::vector<scope*> owns;
    for (int i = random.below(5) + all.wider; i > 0; --i) {
        owns.push_back(&all.inside(&set));
        works.push_back(grow_branch(all, set, *owns.back(), any, random.next(), depth));
    }
    std::size_t index = 0;
    std::vector<result<int>> results;
    if (any) {
        auto got = co_await when_any(std::move(works));
        index = got.index;
        results = std::move(got.results);
        all.expect(index < owns.size() || (index == 0 && owns.empty()), "a wrong index");
    } else {
        results = co_await when_all(std::move(works));
    }
    all.expect(results.size() == owns.size(), "a combination has lost results");
    for (std::size_t i = 0; i < results.size(); ++i)
        judge_branch(all, in, *owns[i], results[i], !any || i == index);
}

/// Bare operations beside a task.
task<> grow_bare(accounts& all, scope& in, dice random, int depth, bool any) {
    const counted frame(all.alive);
    scope& set = all.inside(&in);
    scope& own = all.inside(&set);
    set.cancelled = any;  // nobody tells when a bare operation ends
    stream* from = all.streams.empty() ? nullptr : &all.streams[random.next() % all.streams.size()];
    const auto time = some_time(random);
    auto work = grow_branch(all, set, own, any, random.next(), depth);
    const auto judge = [&](std::error_code ec, bool alone) {
        all.expect(!ec || ec == errc::canceled || (all.closes && from),
                   "a bare operation has failed");
        if (ec == errc::canceled && alone) all.note_canceled(in, "a bare operation was canceled");
        if (ec == errc::canceled) in.maybe = true;
    };
    if (from && !from->reading) {
        busy guard(from->reading, *from);
        std::array<std::byte, 100> buffer;
        result<std::size_t> read;
        if (any) {
            auto [index, results] =
                co_await when_any(from->to->read_some(buffer), std::move(work), sleep_for(time));
            read = std::get<0>(results);
            judge(read.ec, index == 0);
            judge_branch(all, in, own, std::get<1>(results), index == 1);
            judge(std::get<2>(results).ec, index == 2);
        } else {
            auto [x, y] = co_await when_all(from->to->read_some(buffer), std::move(work));
            read = x;
            judge(read.ec, true);
            judge_branch(all, in, own, y, true);
        }
        judge_transfer(all, read, buffer.size(), false);
        all.take(*from, std::span(buffer).first(read.data));
        guard.done();
    } else if (any) {
        std::size_t ticket = 0;
        watched_wait wait(all);
        auto [index, results] =
            co_await when_any(receive_in_turn{all, ticket}, all.events[0].wait(), std::move(work));
        take(all, ticket, std::get<0>(results));
        wait.done();
        judge(std::get<0>(results).ec, index == 0);
        judge(std::get<1>(results).ec, index == 1);
        judge_branch(all, in, own, std::get<2>(results), index == 2);
    } else {
        auto [x, y, z] = co_await when_all(sleep_for(time), all.events[1].wait(), std::move(work));
        judge(x.ec, true);
        judge(y.ec, true);
        judge_branch(all, in, own, z, true);
    }
}

task<result<int>> grow_child(accounts& all, scope& group, scope& own, bool fails,
                             std::uint64_t seed, int depth) {
    const counted frame(all.alive);
    end_of_one guard(group, false);
    auto got = co_await grow(all, own, seed, depth);
    if (got.ec && got.ec != errc::canceled && fails) guard.failed();
    co_return got;
}

task<std::error_code> grow_group(accounts& all, scope& in, dice random, int depth) {
    const counted frame(all.alive);
    scope& set = all.inside(&in);
    const auto policy = random.one_in(2) ? on_error::cancel_rest : on_error::ignore;
    task_group group(policy);
    const end_of_one kills(set, false);  // when an exception is on its way out of here
    std::vector<scope*> owns;
    std::vector<join_handle<result<int>>> handles;
    for (int i = random.below(4) + all.wider; i > 0; --i) {
        owns.push_back(&all.inside(&set));
        handles.push_back(group.spawn(grow_child(
            all, set, *owns.back(), policy == on_error::cancel_rest, random.next(), depth)));
        if (random.one_in(6)) {
            owns.back()->cancelled = true;
            handles.back().cancel();
        }
    }
    if (random.one_in(2)) (void)co_await grow(all, in, random.next(), depth);
    if (random.one_in(4)) {
        set.cancelled = true;
        group.cancel();
    }
    std::error_code ec;
    if (random.one_in(4)) {
        const auto limit = some_time(random);
        set.until = clock::now() + limit;
        ec = (co_await with_timeout(group.join(), limit)).ec;
        if (ec == errc::timed_out) {
            all.expect(clock::now() >= set.until, "a join timed out early");
            ec = {};
        }
    } else {
        ec = (co_await group.join()).ec;
    }
    all.expect(group.size() == 0, "a group is joined and has children");
    for (scope* each : owns)
        if (each->seen || each->maybe) in.maybe = true;
    if (ec == errc::canceled)
        all.note_canceled(in, "a group was canceled, and nobody did it");
    else
        all.expect(!ec || (ec == failure() && policy == on_error::cancel_rest), "a group failed");
    if (ec != failure()) co_return std::error_code();
    set.note_thrown(-set.thrown);  // an error came first, and is what the group reports
    co_return ec;
}

task<int> without_result(accounts& all, scope& in, std::uint64_t seed, int depth) {
    const counted frame(all.alive);
    (void)co_await grow(all, in, seed, depth);
    co_return 1;
}

task<> grow_limited(accounts& all, scope& in, dice random, int depth) {
    const counted frame(all.alive);
    scope& own = all.inside(&in);
    const auto limit = some_time(random);
    const auto policy = all.closes && random.one_in(3) ? on_timeout::close : on_timeout::cancel;
    const bool plain = random.one_in(2);
    const auto seed = random.next();
    own.until = clock::now() + limit;
    const auto got =
        plain ? co_await with_timeout(without_result(all, own, seed, depth), limit, policy)
              : co_await with_timeout(grow(all, own, seed, depth), limit, policy);
    all.expect(got.data == 1, "a limit has lost what was achieved");
    if (got.ec == errc::timed_out) {
        all.expect(clock::now() >= own.until, "a limit expired early");
        all.expect(own.seen || own.maybe, "timed out, and nothing was cut short");
        co_return;
    }
    if (own.seen) {
        all.expect(got.ec == errc::canceled || plain, "a limit has lost a cancellation");
        all.note_canceled(in, "what a limit cancelled does not say timed_out");
    } else {
        all.expect(got.ec != errc::canceled || own.maybe || plain,
                   "a limit says canceled, and nothing in it does");
    }
    in.maybe |= own.maybe;
}

/// Nothing gets through a shield; a limit within sees to it that it ends.
task<> grow_shielded(accounts& all, scope& in, dice random, int depth) {
    const counted frame(all.alive);
    scope& own = all.inside(&in);
    own.shield = true;
    const auto limit = some_time(random);
    own.until = clock::now() + limit;
    auto [ec, n] = co_await shielded(with_timeout(grow(all, own, random.next(), depth), limit));
    all.expect(n == 1 && ec != errc::canceled, "a cancellation got through a shield");
    if (ec == errc::timed_out) all.expect(clock::now() >= own.until, "a limit expired early");
}

/// Who is destroyed while awaiting a task cancels it, and does not see what it throws.
class abandoned_join {
public:
    explicit abandoned_join(scope& of) noexcept : of_(of) {}
    abandoned_join(const abandoned_join&) = delete;
    abandoned_join& operator=(const abandoned_join&) = delete;
    ~abandoned_join() {
        if (!done_) of_.cancelled = of_.catches = true;
    }
    void done() noexcept { done_ = true; }

private:
    scope& of_;
    bool done_ = false;
};

task<> grow_spawned(accounts& all, scope& in, dice random, int depth) {
    const counted frame(all.alive);
    scope& own = all.inside(&in);
    auto handle = all.context->spawn(grow(all, own, random.next(), depth));
    if (random.one_in(4)) {
        own.cancelled = true;
        handle.cancel();
    }
    abandoned_join guard(own);
    const auto got = co_await handle;
    guard.done();
    all.expect(got.data == 1 && (got.ec == errc::canceled) == own.seen, "a join has lost a result");
    if (own.seen && !own.cancelled)
        all.note_canceled(in, "a spawned task was canceled, and nobody did it");
    in.maybe |= own.seen || own.maybe;
}

task<> grow_holding(accounts& all, scope& in, dice random, int depth) {
    const counted frame(all.alive);
    watched_wait wait(all);
    auto [ec] = co_await await_leaf(all, in, dice(random.next()), all.permits.acquire());
    wait.done();
    if (ec) co_return;
    const permit held(all.permits);
    (void)co_await grow(all, in, random.next(), depth);
}

task<> grow_catching(accounts& all, scope& in, dice random, int depth) {
    const counted frame(all.alive);
    scope& own = all.inside(&in);
    own.catches = true;
#if CURFEW_EXCEPTIONS
    bool caught = false;
    try {
        (void)co_await grow(all, own, random.next(), depth);
    } catch (const leaf_error&) {
        caught = true;
    }
    all.expect(caught == (own.thrown > 0), "an exception is lost, or from nowhere");
#else
    (void)co_await grow(all, own, random.next(), depth);
#endif
    if (own.seen) all.note_canceled(in, "a scope that catches was canceled");
    in.maybe |= own.maybe;
}

task<result<int>> grow(accounts& all, scope& in, std::uint64_t seed, int depth) {
    const counted frame(all.alive);
    dice random(seed);
    ++all.nodes;
    const int next = depth - 1;
    std::error_code failed;
    switch (depth > 0 ? random.below(depth > 2 ? 15 : 17) : 15) {
    case 0:
    case 1:
        co_await grow_fixed(all, in, random, next, false);
        break;
    case 2:
    case 3:
        co_await grow_fixed(all, in, random, next, true);
        break;
    case 4:
        co_await grow_range(all, in, random, next, false);
        break;
    case 5:
        co_await grow_range(all, in, random, next, true);
        break;
    case 6:
        co_await grow_bare(all, in, random, next, random.one_in(2));
        break;
    case 7:
    case 8:
        failed = co_await grow_group(all, in, random, next);
        break;
    case 9:
    case 10:
        co_await grow_limited(all, in, random, next);
        break;
    case 11:
        co_await grow_shielded(all, in, random, next);
        break;
    case 12:
        co_await grow_spawned(all, in, random, next);
        break;
    case 13:
        co_await grow_holding(all, in, random, next);
        break;
    case 14:
        if (random.one_in(2)) {
            co_await grow_catching(all, in, random, next);
            break;
        }
        for (int i = 2 + random.below(2); i > 0; --i)
            if (auto got = co_await grow(all, in, random.next(), next); got.ec == failure())
                failed = got.ec;
        break;
    default:
        failed = (co_await grow_leaf(all, in, random.next())).ec;
    }
    co_return verdict(in, failed);
}

// One tree ----------------------------------------------------------------------------------------

enum class by { handle, limit, token, token_of_a_thread, destruction };

struct totals {
    std::size_t nodes = 0;
    std::size_t canceled = 0;
    std::size_t read = 0;
    std::size_t messages = 0;
    std::size_t exceptions = 0;
};

task<> connect_some(io_context& ctx, accounts& all, int count) {
    for (; count > 0; --count) {
        auto [client, server] = co_await test::connect(ctx);
        all.connect(std::move(client), std::move(server));
    }
}

task<> root(accounts& all, scope& top, by how, microseconds limit, std::stop_token token,
            std::uint64_t seed, int depth, std::size_t& exceptions) {
    const counted frame(all.alive);
    const auto work = [&]() -> task<result<int>> {
        if (how == by::limit) {
            auto got = co_await with_timeout(grow(all, top, seed, depth), limit);
            if (got.ec == errc::timed_out)
                all.expect(top.seen || top.maybe, "timed out, untouched");
            all.expect(got.ec != errc::canceled, "the outermost limit says canceled");
            co_return got;
        }
        if (how == by::token || how == by::token_of_a_thread)
            co_return co_await cancel_on(grow(all, top, seed, depth), token);
        co_return co_await grow(all, top, seed, depth);
    };
#if CURFEW_EXCEPTIONS
    bool caught = false;
    try {
        (void)co_await work();
    } catch (const leaf_error&) {
        caught = true;
        ++exceptions;
    }
    all.expect(caught == (top.thrown > 0), "an exception is lost, or from nowhere");
#else
    (void)exceptions;
    (void)co_await work();
#endif
}

/// Runs the loop; exceptions of spawned tasks whose owner is gone come out here.
template <class Run>
void running(const accounts& all, Run run) {
#if CURFEW_EXCEPTIONS
    try {
        run();
    } catch (const leaf_error&) {
        if (!all.throws) throw;
    }
#else
    (void)all;
    run();
#endif
}

void try_tree(reactor_kind kind, std::uint64_t seed, totals& sum) {
    dice random(seed * 2654435761u + 1);
    accounts all(static_cast<std::size_t>(random.below(3)));
    all.closes = random.one_in(10);
    all.throws = random.one_in(4);
    all.wider = random.one_in(6) ? 2 : 0;
    const auto how = static_cast<by>(random.below(5));
    const int depth = 2 + random.below(5);
    const int turns = random.below(random.one_in(3) ? 40 : 6);
    const microseconds time = some_time(random);
    scope& top = all.inside(nullptr);
    top.catches = true;
    std::stop_source source;
    std::thread stopper;

    auto ctx = std::make_unique<io_context>(kind);
    all.context = ctx.get();
    if (random.one_in(2)) ctx->block_on(connect_some(*ctx, all, 1 + random.below(2)));
    if (how == by::limit) top.until = clock::now() + time;
    auto handle = ctx->spawn(
        root(all, top, how, time, source.get_token(), random.next(), depth, sum.exceptions));

    if (random.one_in(2))
        for (int i = 0; i < turns; ++i) running(all, [&] { ctx->poll(); });
    else
        running(all, [&] { ctx->run_for(time); });
    if (how != by::limit) top.cancelled = true;
    switch (how) {
    case by::handle:
        handle.cancel();
        break;
    case by::token:
        source.request_stop();
        break;
    case by::token_of_a_thread:
        stopper = std::thread([&] { source.request_stop(); });
        break;
    case by::destruction:
        ctx.reset();
        break;
    case by::limit:
        break;
    }
    if (ctx) {
        const auto last = clock::now() + 20s;
        while ((all.alive > 0 || !handle.done()) && clock::now() < last)
            running(all, [&] { ctx->run_for(1s); });
        all.expect(handle.done() && all.alive == 0, "something does not end");
    }
    if (stopper.joinable()) stopper.join();
    if (all.complaint.empty()) {  // and else it may still run
        all.expect(all.alive == 0, "a frame is left");
        all.check_messages();
        if (ctx) all.check_bytes();
        const auto held = 2 - all.permits.available();
        all.expect(held <= static_cast<std::size_t>(all.destroyed_waits), "a permit is lost");
        all.expect(all.alive_messages.use_count() == 1, "a message is left");
    }
    CHECK(all.complaint == "");
    sum.nodes += all.nodes;
    sum.canceled += all.canceled;
    for (const stream& each : all.streams) sum.read += each.read;
    for (const int each : all.received) sum.messages += each >= 0;
}

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
    const char* const text = std::getenv(name);
    return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

#if CURFEW_RECYCLE_FRAMES
const std::uint64_t enough = scaled(4000);
#else
const std::uint64_t enough = scaled(1000);
#endif

}  // namespace

REACTOR_TEST("cancellation reaches every leaf of random trees, and everything is accounted for") {
    const std::uint64_t only = from_environment("CURFEW_TEST_TREE", 0);
    const std::uint64_t first = only ? only : 1;
    const std::uint64_t last = only ? only : from_environment("CURFEW_TEST_TREES", enough);
    totals sum;
    { const io_context warm_up(kind); }
    const auto descriptors = open_descriptors();
    for (std::uint64_t seed = first; seed <= last; ++seed) {
        INFO("replay it with CURFEW_TEST_TREE=", seed);
        try_tree(kind, seed, sum);
        REQUIRE(open_descriptors() == descriptors);
    }
    MESSAGE(sum.nodes, " nodes, ", sum.canceled, " canceled, ", sum.read, " bytes, ", sum.messages,
            " messages, ", sum.exceptions, " exceptions");
    if (only) return;
    // The trees do what they are meant to do.
    CHECK(sum.nodes > 5 * last);
    CHECK(sum.canceled > last);
    CHECK(sum.read > 10 * last);
    CHECK(sum.messages > last / 10);
#if CURFEW_EXCEPTIONS
    CHECK(sum.exceptions > last / 200);
#endif
}
