#include <curfew/core/deadlines.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <random>
#include <vector>

using curfew::detail::deadlines;
using curfew::detail::endless;
using curfew::detail::longest;
using curfew::detail::ticks;
using curfew::detail::timer_node;

namespace {

constexpr ticks start = 1'000'000'000'000;
constexpr ticks microsecond = 1'000;
constexpr ticks millisecond = 1'000 * microsecond;

using ids = std::vector<int>;

/// A limit that notes its expiry.
struct limit : timer_node {
    ids* log = nullptr;
    int id = 0;

    limit() : timer_node(&note) {}
    limit(ids& to, int number) : timer_node(&note), log(&to), id(number) {}

    void arm_after(deadlines& in, ticks time) {
        deadline = time;
        in.arm_after(*this);
    }
    void arm_at(deadlines& in, ticks when) {
        deadline = when;
        in.arm_at(*this);
    }

    static void note(timer_node& node, curfew::detail::limit_report*) noexcept {
        const auto& self = static_cast<limit&>(node);
        self.log->push_back(self.id);
    }
};

}  // namespace

TEST_CASE("without limits there is no deadline") {
    deadlines all(start);
    CHECK_FALSE(all.any_fresh());
    CHECK(all.bound() == endless);
    CHECK(all.earliest() == endless);
    all.expire(start + 1);
    CHECK(all.bound() == endless);
}

TEST_CASE("never early: a limit is fresh until it is dated, and counts from then") {
    ids log;
    deadlines all(start);
    limit one(log, 1);
    one.arm_after(all, millisecond);
    CHECK(all.any_fresh());
    CHECK(one.armed());
    all.expire(start + 10 * millisecond);  // fresh ones are not concerned
    CHECK(log.empty());
    all.date(start + 20 * millisecond);
    CHECK_FALSE(all.any_fresh());
    CHECK(all.bound() == start + 21 * millisecond);
    CHECK(all.earliest() == start + 21 * millisecond);
    CHECK(one.deadline == start + 21 * millisecond);
    all.expire(start + 21 * millisecond - 1);
    CHECK(log.empty());
    all.expire(start + 21 * millisecond);
    CHECK(log == ids{1});
    CHECK_FALSE(one.armed());
    CHECK(all.bound() == endless);
}

TEST_CASE("limits that are dated together count from one time; the shortest is the bound") {
    ids log;
    deadlines all(start);
    std::array<limit, 5> limits;
    const std::array<ticks, 5> lengths{300, 100, 500, 200, 400};
    for (std::size_t i = 0; i < 5; ++i) {
        limits[i].log = &log;
        limits[i].id = static_cast<int>(lengths[i]);
        limits[i].arm_after(all, lengths[i]);
    }
    all.date(start);
    CHECK(all.bound() == start + 100);
    all.expire(start + 300);
    CHECK(log == ids{100, 200, 300});
    CHECK(all.bound() <= start + 400);
    all.expire(start + 1'000);
    CHECK(log == ids{100, 200, 300, 400, 500});
}

TEST_CASE("limits of one length expire in the order in which they were armed") {
    ids log;
    deadlines all(start);
    std::vector<std::unique_ptr<limit>> limits;
    for (int id = 0; id < 40; ++id) {
        limits.push_back(std::make_unique<limit>(log, id));
        limits.back()->arm_after(all, millisecond);
        if (id % 4 == 3) all.date(start + id);
    }
    all.expire(start + 2 * millisecond);
    REQUIRE(log.size() == 40);
    CHECK(std::is_sorted(log.begin(), log.end()));
}

TEST_CASE("durations and points in time expire together, in the order of their deadlines") {
    ids log;
    deadlines all(start);
    limit a(log, 3), b(log, 1), c(log, 4), d(log, 2);
    a.arm_after(all, 30);
    b.arm_at(all, start + 10);
    all.date(start);
    c.arm_at(all, start + 40);
    d.arm_after(all, 5);
    all.date(start + 15);
    CHECK(all.bound() == start + 10);
    all.expire(start + 50);
    CHECK(log == ids{1, 2, 3, 4});
}

TEST_CASE("a point in time that is past expires with the next look") {
    ids log;
    deadlines all(start);
    limit past(log, 1), zero(log, 2);
    past.arm_at(all, start - millisecond);
    zero.arm_after(all, 0);
    CHECK(all.bound() == start - millisecond);
    all.date(start);
    all.expire(start);
    CHECK(log == ids{1, 2});
}

TEST_CASE("more generations than the ring has places keep every limit") {
    ids log;
    deadlines all(start);
    std::vector<std::unique_ptr<limit>> limits;
    for (int id = 0; id < 100; ++id) {
        limits.push_back(std::make_unique<limit>(log, id));
        limits.back()->arm_after(all, millisecond);
        all.date(start + id * microsecond);
        REQUIRE(all.bound() == start + millisecond);  // the first one's, wherever it stands by now
    }
    for (int id = 0; id < 100; ++id) {
        all.expire(start + millisecond + id * microsecond - 1);
        REQUIRE(log.size() == static_cast<std::size_t>(id));
        all.expire(start + millisecond + id * microsecond);
        REQUIRE(log.size() == static_cast<std::size_t>(id) + 1);
        REQUIRE(log.back() == id);
    }
    CHECK(all.bound() == endless);
}

TEST_CASE("a limit can be disarmed while it is fresh, young, or in the wheel") {
    ids log;
    for (const int age : {0, 1, 5, 63, 64, 65, 130}) {
        CAPTURE(age);
        deadlines all(start);
        limit gone(log, 1), left(log, 2);
        gone.arm_after(all, 100);
        left.arm_after(all, 200);
        std::vector<std::unique_ptr<limit>> others;
        for (int i = 0; i < age; ++i) {
            all.date(start);
            others.push_back(std::make_unique<limit>(log, 3));
            others.back()->arm_after(all, 300);
        }
        gone.disarm();
        CHECK_FALSE(gone.armed());
        CHECK(left.armed());
        if (all.any_fresh()) all.date(start);
        CHECK(all.earliest() == start + 200);
        CHECK(all.bound() <= start + 200);
        all.expire(start + 200);
        CHECK(log == ids{2});
        log.clear();
    }
}

TEST_CASE("when the only fresh limit is disarmed nothing is fresh") {
    ids log;
    deadlines all(start);
    limit one(log, 1);
    one.arm_after(all, 1);
    one.disarm();
    CHECK_FALSE(all.any_fresh());
    CHECK(all.bound() == endless);
}

TEST_CASE("an expiring limit may arm and disarm others") {
    struct arming : timer_node {
        deadlines& in;
        limit& to_arm;
        limit& to_disarm;
        arming(deadlines& all, limit& on, limit& off)
            : timer_node(&act), in(all), to_arm(on), to_disarm(off) {}
        static void act(timer_node& node, curfew::detail::limit_report*) noexcept {
            auto& self = static_cast<arming&>(node);
            self.to_disarm.disarm();
            self.to_arm.arm_at(self.in, start + 500);
        }
    };
    ids log;
    deadlines all(start);
    limit later(log, 1), never(log, 2), fresh(log, 3);
    arming first(all, later, never);
    first.deadline = 10;
    all.arm_after(first);
    never.arm_after(all, 20);
    all.date(start);
    all.expire(start + 100);
    CHECK(log.empty());
    CHECK_FALSE(never.armed());
    CHECK(all.bound() == start + 500);
    fresh.arm_after(all, 100);
    all.date(start + 100);
    CHECK(all.bound() == start + 200);
    all.expire(start + 500);
    CHECK(log == ids{3, 1});
}

TEST_CASE("the longest limits are no deadline in this century, and do not overflow") {
    ids log;
    deadlines all(start);
    limit ages(log, 1), never(log, 2);
    ages.arm_after(all, longest);
    never.arm_at(all, endless);
    all.date(start);
    CHECK(all.bound() == start + longest);
    CHECK(all.earliest() == start + longest);
    all.expire(start + 1'000'000 * millisecond);
    CHECK(log.empty());
}

TEST_CASE("every armed limit can be looked at, its deadline a point in time") {
    ids log;
    deadlines all(start);
    std::vector<std::unique_ptr<limit>> limits;
    std::vector<ticks> expected;
    for (int id = 0; id < 50; ++id) {
        limits.push_back(std::make_unique<limit>(log, id));
        const ticks length = (id * 7919) % 1'000'000;
        if (id % 3) {
            limits.back()->arm_after(all, length);
            all.date(start + id);
            expected.push_back(start + id + length);
        } else {
            limits.back()->arm_at(all, start + length);
            expected.push_back(start + length);
        }
    }
    std::vector<ticks> seen;
    all.for_each([&](timer_node& node) { seen.push_back(node.deadline); });
    std::sort(seen.begin(), seen.end());
    std::sort(expected.begin(), expected.end());
    CHECK(seen == expected);
    CHECK(log.empty());
}

TEST_CASE("limits that outlive their deadlines are disarmed, fresh, young and in the wheel") {
    ids log;
    limit fresh(log, 1), young(log, 2), placed(log, 3);
    {
        deadlines all(start);
        placed.arm_at(all, start + 10);
        young.arm_after(all, 10);
        all.date(start);
        fresh.arm_after(all, 10);
    }
    CHECK_FALSE(fresh.armed());
    CHECK_FALSE(young.armed());
    CHECK_FALSE(placed.armed());
}

TEST_CASE(
    "in random use no limit is early, late or lost, and the bound never behind the earliest") {
    const unsigned seed = std::random_device()();
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    ids log;
    deadlines all(start);
    constexpr std::size_t count = 200;
    std::vector<std::unique_ptr<limit>> limits;
    for (std::size_t i = 0; i < count; ++i)
        limits.push_back(std::make_unique<limit>(log, static_cast<int>(i)));
    struct state {
        enum { idle, fresh, dated } phase = idle;
        ticks when = 0;
    };
    std::vector<state> model(count);
    ticks now = start;
    const auto length = [&] {
        const auto bits = random() % 34;  // up to 17 s
        return static_cast<ticks>(random() & ((std::uint64_t{1} << bits) - 1));
    };
    std::size_t expired = 0;
    for (int step = 0; step < 40'000; ++step) {
        const std::size_t i = static_cast<std::size_t>(random() % count);
        switch (random() % 8) {
        case 0:
        case 1:
        case 2:
            if (model[i].phase != state::idle) break;
            model[i] = {state::fresh, length()};
            limits[i]->arm_after(all, model[i].when);
            break;
        case 3:
            if (model[i].phase != state::idle) break;
            model[i] = {state::dated, now + length()};
            limits[i]->arm_at(all, model[i].when);
            break;
        case 4:
            limits[i]->disarm();
            model[i].phase = state::idle;
            break;
        case 5:
        case 6:
            now += static_cast<ticks>(random() % (100 * microsecond));
            if (!all.any_fresh()) break;
            all.date(now);
            for (auto& each : model)
                if (each.phase == state::fresh) each = {state::dated, now + each.when};
            break;
        default: {
            now += length() / 64;
            ticks earliest = endless;
            std::vector<ticks> due;
            for (const auto& each : model)
                if (each.phase == state::dated) {
                    earliest = std::min(earliest, each.when);
                    if (each.when <= now) due.push_back(each.when);
                }
            REQUIRE(all.bound() <= earliest);
            if (random() % 4 == 0 && !all.any_fresh()) REQUIRE(all.earliest() == earliest);
            if (all.bound() > now) {
                REQUIRE(due.empty());
                break;
            }
            log.clear();
            all.expire(now);
            std::vector<ticks> times;
            for (const int id : log) {
                auto& each = model[static_cast<std::size_t>(id)];
                REQUIRE(each.phase == state::dated);
                each.phase = state::idle;
                times.push_back(each.when);
            }
            expired += times.size();
            REQUIRE(std::is_sorted(times.begin(), times.end()));
            std::sort(due.begin(), due.end());
            REQUIRE((times == due));
            break;
        }
        }
    }
    CHECK(expired > 1'000);
}
