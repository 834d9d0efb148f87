#include <curfew/core/timer_wheel.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>
#include <limits>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

using curfew::detail::endless;
using curfew::detail::ticks;
using curfew::detail::timer_node;
using curfew::detail::timer_wheel;

namespace {

constexpr ticks microsecond = 1'000;
constexpr ticks millisecond = 1'000 * microsecond;
constexpr ticks second = 1'000 * millisecond;
constexpr ticks hour = 3'600 * second;
constexpr ticks year = 8'766 * hour;

struct recorded;
using record = std::vector<recorded*>;

/// A node that notes its expiry in a list.
struct recorded : timer_node {
    record* list = nullptr;
    int id = 0;

    recorded() : timer_node(&note) {}
    explicit recorded(record& to, int number = 0) : timer_node(&note), list(&to), id(number) {}

    void arm(timer_wheel& wheel, ticks when) {
        deadline = when;
        wheel.arm(*this);
    }

    static void note(timer_node& node, curfew::detail::limit_report*) noexcept {
        auto& self = static_cast<recorded&>(node);
        self.list->push_back(&self);
    }
};

std::vector<ticks> deadlines(const record& list) {
    std::vector<ticks> all;
    for (const recorded* each : list) all.push_back(each->deadline);
    return all;
}

/// Numbers of all magnitudes alike.
ticks any_magnitude(std::mt19937_64& random) {
    const auto bits = random() % 58;  // up to four years
    return static_cast<ticks>(random() & ((std::uint64_t{1} << bits) - 1));
}

}  // namespace

TEST_CASE("an empty wheel has no deadline") {
    timer_wheel wheel(5 * second);
    CHECK(wheel.bound() == endless);
    CHECK(wheel.earliest() == endless);
    wheel.expire(100 * year);
    CHECK(wheel.bound() == endless);
}

TEST_CASE("never early: a node expires at its deadline and not a nanosecond before it") {
    for (const ticks distance : {ticks{1}, ticks{2}, ticks{65'535}, ticks{65'536}, ticks{65'537},
                                 millisecond, second, hour, 24 * hour, year, 100 * year}) {
        CAPTURE(distance);
        const ticks start = 123'456'789;
        timer_wheel wheel(start);
        record expired;
        recorded node(expired);
        node.arm(wheel, start + distance);
        CHECK(node.armed());

        wheel.expire(start + distance - 1);
        CHECK(expired.empty());
        CHECK(node.armed());
        wheel.expire(start + distance);
        CHECK(expired == record{&node});
        CHECK_FALSE(node.armed());
    }
}

TEST_CASE("a deadline that has passed expires at the next expire, whatever the time is then") {
    const ticks start = hour;
    timer_wheel wheel(start);
    record expired;
    recorded epoch(expired), past(expired), now(expired), later(expired);
    epoch.arm(wheel, 0);
    past.arm(wheel, start - second);
    now.arm(wheel, start);
    later.arm(wheel, start + 1);
    CHECK(wheel.bound() == 0);
    wheel.expire(start);
    CHECK(expired == record{&epoch, &past, &now});
    CHECK(later.armed());
}

TEST_CASE("nodes expire in the order of their exact deadlines, however they were armed") {
    const ticks start = 7 * hour + 31;
    const std::vector<ticks> offsets{0,          1,         2,          3,        65'535, 65'536,
                                     65'537,     4'194'303, 4'194'304,  second,   hour,   hour + 1,
                                     hour + 100, 3 * hour,  300 * hour, 10 * year};
    const unsigned seed = std::random_device()();
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    for (int round = 0; round < 50; ++round) {
        timer_wheel wheel(start);
        record expired;
        std::vector<std::unique_ptr<recorded>> nodes;
        std::vector<ticks> shuffled = offsets;
        std::shuffle(shuffled.begin(), shuffled.end(), random);
        for (const ticks offset : shuffled) {
            nodes.push_back(std::make_unique<recorded>(expired));
            nodes.back()->arm(wheel, start + offset);
        }
        wheel.expire(start + 20 * year);  // all at once
        std::vector<ticks> expected;
        for (const ticks offset : offsets) expected.push_back(start + offset);
        REQUIRE(deadlines(expired) == expected);
    }
}

TEST_CASE("nodes with one deadline expire in the order in which they were armed") {
    timer_wheel wheel(0);
    record expired;
    std::array<recorded, 5> nodes;
    for (auto& each : nodes) {
        each.list = &expired;
        each.arm(wheel, 3 * millisecond);
    }
    wheel.expire(second);
    CHECK(expired == record{&nodes[0], &nodes[1], &nodes[2], &nodes[3], &nodes[4]});
}

TEST_CASE("and so they do when each was armed at another time, the first ones far ahead") {
    for (const ticks deadline : {40 * second, 20 * hour, second}) {
        CAPTURE(deadline);
        constexpr int many = 2'000;
        timer_wheel wheel(0);
        record expired;
        std::vector<std::unique_ptr<recorded>> nodes;
        recorded last(expired, many);
        last.arm(wheel, year);
        for (int id = 0; id < many; ++id) {
            nodes.push_back(std::make_unique<recorded>(expired, id));
            nodes.back()->arm(wheel, deadline);
            // Half of them at once; then time passes, ever slower, until just before the deadline.
            if (id >= many / 2) {
                const double left = 1.0 - static_cast<double>(id + 1 - many / 2) / (many / 2);
                wheel.expire(deadline - 1 -
                             static_cast<ticks>(left * left * static_cast<double>(deadline - 1)));
            }
        }
        REQUIRE(expired.empty());
        wheel.expire(deadline);
        REQUIRE(expired.size() == many);
        CHECK(std::is_sorted(expired.begin(), expired.end(),
                             [](auto* a, auto* b) { return a->id < b->id; }));
    }
}

TEST_CASE("a disarmed node does not expire, and can be armed again") {
    timer_wheel wheel(0);
    record expired;
    recorded a(expired), b(expired), c(expired);
    for (auto* each : {&a, &b, &c}) each->arm(wheel, second);
    b.disarm();
    CHECK_FALSE(b.armed());
    b.disarm();  // once more does nothing
    wheel.expire(second);
    CHECK(expired.size() == 2);
    CHECK(std::count(expired.begin(), expired.end(), &b) == 0);

    b.arm(wheel, 2 * second);
    expired.clear();
    wheel.expire(2 * second);
    CHECK(expired == record{&b});
}

TEST_CASE("a node that is destroyed takes itself out") {
    timer_wheel wheel(0);
    record expired;
    recorded before(expired), after(expired);
    before.arm(wheel, second);
    {
        recorded gone(expired);
        gone.arm(wheel, second);
        after.arm(wheel, second);
        CHECK(wheel.earliest() == second);
    }
    wheel.expire(second);
    CHECK(expired == record{&before, &after});
}

TEST_CASE("nodes that outlive their wheel are disarmed") {
    record expired;
    recorded soon(expired), later(expired);
    {
        timer_wheel wheel(0);
        soon.arm(wheel, 1);
        later.arm(wheel, year);
    }
    CHECK_FALSE(soon.armed());
    CHECK_FALSE(later.armed());
    CHECK(expired.empty());
}

TEST_CASE("earliest is the earliest deadline exactly, bound never later than it") {
    timer_wheel wheel(10 * second);
    record expired;
    recorded a(expired), b(expired), c(expired);
    a.arm(wheel, 20 * second + 3);
    CHECK(wheel.earliest() == 20 * second + 3);
    CHECK(wheel.bound() == 20 * second + 3);
    b.arm(wheel, 20 * second + 1);  // the same slot
    CHECK(wheel.earliest() == 20 * second + 1);
    CHECK(wheel.bound() == 20 * second + 1);
    c.arm(wheel, hour);
    CHECK(wheel.earliest() == 20 * second + 1);

    b.disarm();
    CHECK(wheel.earliest() == 20 * second + 3);
    CHECK(wheel.bound() <= 20 * second + 3);
    a.disarm();
    CHECK(wheel.earliest() == hour);
    CHECK(wheel.bound() <= hour);
    c.disarm();
    CHECK(wheel.earliest() == endless);
}

TEST_CASE(
    "a bound left behind by a disarmed node costs one expire, then it is the next deadline's") {
    timer_wheel wheel(0);
    record expired;
    recorded first(expired), second_one(expired);
    first.arm(wheel, second);
    second_one.arm(wheel, second + 1);
    first.disarm();
    CHECK(wheel.bound() == second);
    wheel.expire(second);
    CHECK(expired.empty());
    CHECK(wheel.bound() > second);
    CHECK(wheel.bound() <= second + 1);
}

TEST_CASE("a wheel that sleeps until its bound meets each deadline in few wake-ups") {
    timer_wheel wheel(0);
    record expired;
    recorded node(expired);
    const ticks deadline = 100 * year + 12'345;
    node.arm(wheel, deadline);
    int wakes = 0;
    while (expired.empty()) {
        REQUIRE(wheel.bound() <= deadline);
        wheel.expire(wheel.bound());
        REQUIRE(++wakes < 10);
    }
    CHECK(wakes == 1);
}

TEST_CASE("deadlines on the borders of units, slots and levels expire exactly") {
    constexpr ticks unit = 65'536;
    std::vector<ticks> borders;
    for (int level = 0; level <= 7; ++level) {
        const int shift = 16 + 6 * level;
        for (const std::uint64_t digit : {1u, 2u, 31u, 32u, 62u, 63u}) {
            const std::uint64_t border = digit << shift;
            if (border >> shift != digit || border >= static_cast<std::uint64_t>(endless)) continue;
            borders.push_back(static_cast<ticks>(border));
        }
    }
    for (const ticks start : {ticks{0}, ticks{1}, unit - 1, unit, 63 * unit, 64 * unit - 1,
                              4'096 * unit - 1, hour, (ticks{1} << 40) - 1, ticks{1} << 52}) {
        for (const ticks border : borders) {
            for (const ticks beside : {ticks{-1}, ticks{0}, ticks{1}}) {
                const ticks deadline = border + beside;
                if (deadline < start) continue;
                CAPTURE(start);
                CAPTURE(deadline);
                timer_wheel wheel(start);
                record expired;
                recorded node(expired), neighbour(expired);
                node.arm(wheel, deadline);
                neighbour.arm(wheel, deadline + 1);
                if (deadline > start) wheel.expire(deadline - 1);
                REQUIRE(expired.empty());
                REQUIRE(wheel.earliest() == deadline);
                REQUIRE(wheel.bound() <= deadline);
                wheel.expire(deadline);
                REQUIRE(expired == record{&node});
                REQUIRE(wheel.earliest() == deadline + 1);
                REQUIRE(wheel.bound() <= deadline + 1);
                wheel.expire(deadline + 1);
                REQUIRE(expired == record{&node, &neighbour});
            }
        }
    }
}

TEST_CASE("a jump of hours expires all that lies in between, in order, and nothing else") {
    timer_wheel wheel(0);
    record expired;
    std::vector<std::unique_ptr<recorded>> nodes;
    for (int minute = 600; minute > 0; --minute) {
        nodes.push_back(std::make_unique<recorded>(expired, minute));
        nodes.back()->arm(wheel, minute * 60 * second);
    }
    wheel.expire(5 * hour);
    REQUIRE(expired.size() == 300);
    for (int i = 0; i < 300; ++i) REQUIRE(expired[static_cast<std::size_t>(i)]->id == i + 1);
    CHECK(wheel.earliest() == 301 * 60 * second);
    wheel.expire(50 * hour);
    CHECK(expired.size() == 600);
    CHECK(wheel.earliest() == endless);
}

// From within `expired` ---------------------------------------------------------------------------

namespace {

/// A node that does something when it expires.
template <class Function>
struct acting : timer_node {
    Function act;
    explicit acting(Function f)
        : timer_node([](timer_node& node, curfew::detail::limit_report*) noexcept {
              static_cast<acting&>(node).act();
          }),
          act(f) {}
};

}  // namespace

TEST_CASE("a node disarmed by one that expires before it does not expire") {
    timer_wheel wheel(0);
    record expired;
    recorded same_batch(expired), later(expired), spared(expired);
    acting first([&] {
        same_batch.disarm();
        later.disarm();
    });
    first.deadline = 1;
    wheel.arm(first);
    same_batch.arm(wheel, 2);
    spared.arm(wheel, 3);
    later.arm(wheel, hour);
    wheel.expire(second);
    CHECK(expired == record{&spared});
    CHECK_FALSE(same_batch.armed());
    CHECK_FALSE(later.armed());
    CHECK(wheel.earliest() == endless);
}

TEST_CASE("a node destroyed by one that expires before it does not expire") {
    timer_wheel wheel(0);
    record expired;
    auto next = std::make_unique<recorded>(expired);
    auto last = std::make_unique<recorded>(expired);
    recorded middle(expired);
    acting first([&] {
        next.reset();
        last.reset();
    });
    first.deadline = 1;
    wheel.arm(first);
    next->arm(wheel, 2);
    middle.arm(wheel, 3);
    last->arm(wheel, 4);
    wheel.expire(second);
    CHECK(expired == record{&middle});
}

TEST_CASE("a node may destroy itself when it expires") {
    struct ephemeral : timer_node {
        int* destroyed;
        explicit ephemeral(int& count)
            : timer_node([](timer_node& node, curfew::detail::limit_report*) noexcept {
                  delete static_cast<ephemeral*>(&node);
              }),
              destroyed(&count) {}
        ~ephemeral() { ++*destroyed; }
    };
    timer_wheel wheel(0);
    record expired;
    int destroyed = 0;
    recorded after(expired);
    auto* self = new ephemeral(destroyed);
    self->deadline = 1;
    wheel.arm(*self);
    after.arm(wheel, 2);
    wheel.expire(5);
    CHECK(destroyed == 1);
    CHECK(expired == record{&after});
}

TEST_CASE("a node armed again by itself expires at its new deadline, not in the same expire") {
    timer_wheel wheel(0);
    int count = 0;
    timer_node* self = nullptr;
    acting again([&] {
        ++count;
        self->deadline += second;
        wheel.arm(*self);
    });
    self = &again;
    again.deadline = second;
    wheel.arm(again);
    for (int i = 1; i <= 100; ++i) {
        wheel.expire(i * second - 1);
        REQUIRE(count == i - 1);
        wheel.expire(i * second);
        REQUIRE(count == i);
        REQUIRE(wheel.earliest() == (i + 1) * second);
    }
}

TEST_CASE("what is armed for the past while others expire waits for the next expire") {
    timer_wheel wheel(hour);
    record expired;
    recorded armed_late(expired);
    acting first([&] { armed_late.arm(wheel, hour - second); });
    first.deadline = hour + 1;
    wheel.arm(first);
    wheel.expire(hour + second);
    CHECK(expired.empty());
    CHECK(wheel.bound() <= hour - second);
    CHECK(wheel.earliest() == hour - second);
    wheel.expire(hour + second);
    CHECK(expired == record{&armed_late});
}

TEST_CASE("a node that waits its turn in the same expire can be armed for later instead") {
    timer_wheel wheel(0);
    record expired;
    recorded moved(expired);
    acting first([&] {
        moved.disarm();
        moved.arm(wheel, hour);
    });
    first.deadline = 1;
    wheel.arm(first);
    moved.arm(wheel, 2);
    wheel.expire(second);
    CHECK(expired.empty());
    CHECK(wheel.earliest() == hour);
    wheel.expire(hour);
    CHECK(expired == record{&moved});
}

namespace {

/// How many nodes of a list have another place than before.
class observer {
public:
    explicit observer(const std::vector<std::unique_ptr<recorded>>& nodes) : nodes_(nodes) {
        for (const auto& each : nodes) before_.push_back(each->link);
    }
    std::size_t moved() {
        std::size_t count = 0;
        for (std::size_t i = 0; i < nodes_.size(); ++i)
            count += std::exchange(before_[i], nodes_[i]->link) != nodes_[i]->link;
        return count;
    }

private:
    const std::vector<std::unique_ptr<recorded>>& nodes_;
    std::vector<curfew::detail::timer_link**> before_;
};

}  // namespace

TEST_CASE("many whose time comes nearer move down a few at a time, and none of them is late") {
    constexpr std::size_t many = 20'000;
    timer_wheel wheel(0);
    record expired;
    std::vector<std::unique_ptr<recorded>> nodes;
    for (std::size_t i = 0; i < many; ++i) {
        nodes.push_back(std::make_unique<recorded>(expired));
        nodes.back()->arm(wheel,
                          40 * second + static_cast<ticks>(i * 7919 % many) * millisecond / 10);
    }
    observer watch(nodes);
    SUBCASE("asked whenever the bound says so") {
        int wake_ups = 0;
        for (std::size_t seen = 0; expired.size() < many; seen = expired.size(), ++wake_ups) {
            const ticks now = wheel.bound();
            wheel.expire(now);
            if (seen == 0) REQUIRE(watch.moved() <= 2'000);  // it takes long to look at all
            for (std::size_t i = seen; i < expired.size(); ++i)
                REQUIRE(expired[i]->deadline == now);
        }
        CHECK(wake_ups < 2 * static_cast<int>(many));  // each has its own deadline
    }
    SUBCASE("asked twice a second") {
        const ticks interval = 500 * millisecond;
        for (ticks now = 0; expired.size() < many; now += interval) {
            const std::size_t seen = expired.size();
            wheel.expire(now);
            if (expired.empty()) REQUIRE(watch.moved() <= 6'000);
            for (std::size_t i = seen; i < expired.size(); ++i) {
                REQUIRE(expired[i]->deadline <= now);
                REQUIRE(expired[i]->deadline > now - interval);
            }
        }
    }
}

TEST_CASE("many of one instant move down as one, whatever others are there") {
    constexpr std::size_t many = 20'000;
    const ticks instant = 40 * second + 12'345 * microsecond;
    timer_wheel wheel(0);
    record expired;
    std::vector<std::unique_ptr<recorded>> nodes, others;
    const auto add_other = [&](ticks when) {
        others.push_back(std::make_unique<recorded>(expired));
        others.back()->arm(wheel, when);
    };
    for (const ticks away : {2 * second, 60 * millisecond, millisecond, 20 * microsecond}) {
        add_other(instant - away);
        add_other(instant + away);
    }
    for (std::size_t i = 0; i < many; ++i) {
        nodes.push_back(std::make_unique<recorded>(expired, static_cast<int>(i)));
        nodes.back()->arm(wheel, instant);
    }
    observer watch(nodes);
    int looks = 0;
    for (; wheel.bound() < instant; ++looks) {
        wheel.expire(wheel.bound());
        // Those that came before a crowd was known to be one may move alone.
        REQUIRE(watch.moved() <= 600);
    }
    CHECK(looks < 100);
    expired.clear();
    SUBCASE("and expire in their order") {
        wheel.expire(instant);
        REQUIRE(expired.size() == many);
        bool in_order = true;
        for (std::size_t i = 0; i < many; ++i) in_order = in_order && expired[i] == nodes[i].get();
        CHECK(in_order);
        CHECK(wheel.earliest() == instant + 20 * microsecond);
    }
    SUBCASE("and expire in slices, between which nothing of the others is late by all of them") {
        ticks now = instant;
        std::size_t before_other = 0;
        recorded beat(expired);
        while (expired.size() < many) {
            if (!beat.armed()) {
                beat.arm(wheel, now);
                before_other = expired.size();
            }
            const std::size_t before = expired.size();
            wheel.expire(now, [] { return true; });
            CHECK(expired.size() - before <= 16);
            CHECK(wheel.bound() <= now);
            for (std::size_t i = before; i < expired.size(); ++i)
                if (expired[i] == &beat) REQUIRE(i - before_other <= 300);
            now += microsecond / 10;
        }
    }
    SUBCASE("and are disarmed, seen and armed anew while they wait for their slice") {
        wheel.expire(instant, [] { return true; });
        REQUIRE(expired.size() == 16);
        CHECK(wheel.earliest() == instant);
        std::size_t seen = 0;
        wheel.for_each([&](timer_node&) { ++seen; });
        CHECK(seen == many - 16 + 4);  // and those of the others that come later
        for (std::size_t i = 16; i < many; i += 2) nodes[i]->disarm();
        nodes[17]->disarm();
        nodes[17]->arm(wheel, instant + second);
        wheel.expire(instant);
        CHECK(expired.size() == 16 + (many - 16) / 2 - 1);
        CHECK(nodes[17]->armed());
        CHECK(wheel.earliest() == instant + 20 * microsecond);
    }
}

TEST_CASE("a few that are far away are not asked about before their time") {
    timer_wheel wheel(0);
    record expired;
    std::vector<std::unique_ptr<recorded>> nodes;
    for (int i = 0; i < 100; ++i) {
        nodes.push_back(std::make_unique<recorded>(expired));
        nodes.back()->arm(wheel, hour + i * second);
    }
    CHECK(wheel.bound() == hour);
}

// Against a model ---------------------------------------------------------------------------------

namespace {

/// Random sequences against a multimap. Deadlines of every magnitude, also past ones; steps of
/// time of every magnitude; sometimes an expiring node arms and disarms others.
class simulation {
public:
    /// With so many nodes, and deadlines that are at most 2^`bits` ns away.
    simulation(std::uint64_t seed, std::size_t count, unsigned bits)
        : random_(seed), bits_(bits), now_(any_magnitude(random_)), wheel_(now_), nodes_(count),
          where_(count, model_.end()) {
        for (node& each : nodes_) each.owner = this;
    }

    void run(int steps) {
        for (int i = 0; i < steps; ++i) {
            switch (random_() % 8) {
            case 0:
            case 1:
            case 2:
            case 3:
                arm(any());
                break;
            case 4:
                disarm(any());
                break;
            case 5:
                disarm(any());
                break;
            default:
                expire();
                break;
            }
            check();
        }
        while (!model_.empty()) {
            now_ = std::max(now_, model_.begin()->first);
            pass_time();
            check();
        }
        REQUIRE(wheel_.earliest() == endless);
    }

private:
    struct node : timer_node {
        simulation* owner = nullptr;
        node()
            : timer_node([](timer_node& self, curfew::detail::limit_report*) noexcept {
                  auto& due = static_cast<node&>(self);
                  due.owner->on_expiry(due);
              }) {}
    };
    using model = std::multimap<ticks, std::size_t>;

    std::size_t any() { return static_cast<std::size_t>(random_() % nodes_.size()); }

    void arm(std::size_t i) {
        if (where_[i] != model_.end()) return;
        const ticks distance =
            bits_ < 58 ? static_cast<ticks>(random_() >> (64 - bits_)) : any_magnitude(random_);
        ticks deadline = random_() % 8 ? now_ + distance : now_ - distance;
        // Many with the deadline of another one, or beside it.
        if (!model_.empty() && random_() % 4 == 0)
            deadline = model_.begin()->first + static_cast<ticks>(random_() % 3) - 1;
        deadline = std::max<ticks>(deadline, 0);
        nodes_[i].deadline = deadline;
        wheel_.arm(nodes_[i]);
        where_[i] = model_.emplace(deadline, i);
    }

    void disarm(std::size_t i) {
        nodes_[i].disarm();
        if (where_[i] == model_.end()) return;
        model_.erase(where_[i]);
        where_[i] = model_.end();
    }

    void expire() {
        if (random_() % 4 == 0 && !model_.empty())
            now_ = std::max(now_, model_.begin()->first - static_cast<ticks>(random_() % 2));
        else
            now_ += any_magnitude(random_) >> (58 - bits_ + random_() % 20);
        pass_time();
    }

    void pass_time() {
        due_.clear();
        for (const auto& [deadline, i] : model_) {
            if (deadline > now_) break;
            due_.emplace(deadline, i);
        }
        wheel_.expire(now_);
        for (const auto& [deadline, i] : due_) {  // all that were due, unless disarmed meanwhile
            CAPTURE(deadline);
            CAPTURE(now_);
            REQUIRE_FALSE(is_due(i));
        }
    }

    bool is_late(std::size_t i) const { return std::count(late_.begin(), late_.end(), i) != 0; }

    bool is_due(std::size_t i) const {
        return where_[i] != model_.end() && where_[i]->first <= now_ && !is_late(i);
    }

    /// Of those with one deadline, the one that was armed first.
    std::size_t first_due() const {
        for (const auto& [deadline, i] : model_)
            if (!is_late(i)) return i;
        return nodes_.size();
    }

    void on_expiry(node& due) noexcept {
        const auto i = static_cast<std::size_t>(&due - nodes_.data());
        // Never early, and in order: nothing that was due and still is stands before it.
        ordered_ = ordered_ && where_[i] != model_.end() && due.deadline <= now_ &&
                   where_[i]->first == due.deadline && first_due() == i;
        if (where_[i] != model_.end()) model_.erase(where_[i]);
        where_[i] = model_.end();
        if (random_() % 4) return;
        disarm(any());
        const std::size_t other = any();
        if (where_[other] != model_.end()) return;
        arm(other);
        late_.push_back(other);  // even if its deadline has passed, it expires the next time only
    }

    void check() {
        const ticks earliest = model_.empty() ? endless : model_.begin()->first;
        CAPTURE(now_);
        REQUIRE(ordered_);
        REQUIRE(wheel_.earliest() == earliest);
        REQUIRE(wheel_.bound() <= earliest);
        const std::size_t i = any();
        REQUIRE(nodes_[i].armed() == (where_[i] != model_.end()));
        late_.clear();
    }

    std::mt19937_64 random_;
    unsigned bits_;
    ticks now_;
    timer_wheel wheel_;
    std::vector<node> nodes_;
    model model_;
    std::vector<model::iterator> where_;
    model due_;
    std::vector<std::size_t> late_;
    bool ordered_ = true;
};

}  // namespace

TEST_CASE("the wheel behaves like a sorted map in random sequences") {
    std::random_device source;
    for (int round = 0; round < 60; ++round) {
        const std::uint64_t seed = (std::uint64_t{source()} << 32) | source();
        CAPTURE(seed);
        simulation(seed, 200, 58).run(3'000);
    }
}

TEST_CASE("and so it does where many wait in one slot") {
    std::random_device source;
    for (const unsigned bits : {28u, 35u, 40u}) {
        const std::uint64_t seed = (std::uint64_t{source()} << 32) | source();
        CAPTURE(seed);
        CAPTURE(bits);
        simulation(seed, 3'000, bits).run(20'000);
    }
}

TEST_CASE("a million nodes expire once each, in order") {
    constexpr std::size_t many = 1'000'000;
    const unsigned seed = std::random_device()();
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    timer_wheel wheel(hour);
    record expired;
    expired.reserve(many);
    const auto nodes = std::make_unique<recorded[]>(many);
    std::size_t disarmed = 0;
    for (std::size_t i = 0; i < many; ++i) {
        nodes[i].list = &expired;
        nodes[i].arm(wheel, hour + any_magnitude(random));
    }
    for (std::size_t i = 0; i < many; i += 3, ++disarmed) nodes[i].disarm();

    ticks now = hour;
    bool never_early = true;
    for (std::size_t seen = 0; expired.size() < many - disarmed;) {
        now += any_magnitude(random);
        wheel.expire(now);
        for (; seen < expired.size(); ++seen)
            never_early = never_early && expired[seen]->deadline <= now;
    }
    CHECK(never_early);
    CHECK(expired.size() == many - disarmed);
    CHECK(std::is_sorted(expired.begin(), expired.end(),
                         [](auto* a, auto* b) { return a->deadline < b->deadline; }));
    CHECK(wheel.earliest() == endless);
    CHECK(wheel.bound() == endless);
}

TEST_CASE("a million nodes with one deadline expire at it, all of them") {
    constexpr std::size_t many = 1'000'000;
    timer_wheel wheel(0);
    record expired;
    expired.reserve(many);
    const auto nodes = std::make_unique<recorded[]>(many);
    for (std::size_t i = 0; i < many; ++i) {
        nodes[i].list = &expired;
        nodes[i].arm(wheel, second);
    }
    wheel.expire(second - 1);
    CHECK(expired.empty());
    wheel.expire(second);
    CHECK(expired.size() == many);
}
