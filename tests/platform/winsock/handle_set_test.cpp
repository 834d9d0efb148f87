// Sets of handles: against the standard's, and in proportion.
#include <curfew/platform/winsock/handle_set.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <random>
#include <set>

namespace {

using set_of_numbers = curfew::platform::detail::handle_set<std::uintptr_t>;

std::set<std::uintptr_t> contents(set_of_numbers& all) {
    std::set<std::uintptr_t> found;
    for (std::size_t i = 1; i <= all.size(); ++i) found.insert(all.front()[i]);
    return found;
}

std::size_t comparisons = 0;

/// A handle that counts how often one is compared with another.
struct counted_handle {
    std::uintptr_t number;
    explicit operator std::uint64_t() const { return number; }
    friend bool operator==(counted_handle a, counted_handle b) {
        ++comparisons;
        return a.number == b.number;
    }
};

/// The comparisons that it takes to add `n` handles, to find each, to copy all, to rearrange them,
/// and to remove them.
std::size_t steps(std::uintptr_t n, std::uintptr_t apart) {
    curfew::platform::detail::handle_set<counted_handle> all, copy;
    comparisons = 0;
    for (std::uintptr_t i = 0; i < n; ++i) all.add({100 + i * apart});
    std::size_t found = 0;
    for (std::uintptr_t i = 0; i < 2 * n; ++i) found += all.has({100 + i * apart});
    CHECK(found == n);
    copy.assign(all);
    copy.keep(n / 2);
    for (std::uintptr_t i = 0; i < n; ++i) all.remove({100 + i * apart});
    CHECK(all.size() == 0);
    return comparisons;
}

}  // namespace

TEST_CASE("a set of handles has what was added and not removed, each once") {
    std::mt19937 random(7);
    set_of_numbers all;
    std::set<std::uintptr_t> expected;
    for (int i = 0; i < 20'000; ++i) {
        const std::uintptr_t handle = random() % 500 * 4;
        if (random() % 2) {
            CHECK(all.add(handle));
            expected.insert(handle);
        } else {
            all.remove(handle);
            expected.erase(handle);
        }
        const std::uintptr_t other = random() % 500 * 4;
        CHECK(all.has(other) == (expected.count(other) == 1));
        CHECK(all.size() == expected.size());
    }
    CHECK(contents(all) == expected);
}

TEST_CASE("a set of handles is copied, and keeps what its owner leaves in it") {
    set_of_numbers all, copy;
    CHECK(copy.assign(all));
    CHECK(copy.size() == 0);
    for (std::uintptr_t i = 1; i <= 100; ++i) all.add(i);
    copy.add(1'000);
    CHECK(copy.assign(all));
    CHECK(contents(copy) == contents(all));
    CHECK_FALSE(copy.has(1'000));
    // As `select` does with its sets: some move to the front, and there are no others.
    copy.front()[1] = 70;
    copy.front()[2] = 30;
    copy.keep(2);
    CHECK(contents(copy) == std::set<std::uintptr_t>{30, 70});
    CHECK(copy.has(70));
    CHECK(copy.has(30));
    CHECK_FALSE(copy.has(1));
    CHECK_FALSE(copy.has(2));
    CHECK(copy.add(2));
    copy.keep(10);
    CHECK(copy.size() == 3);
    copy.keep(0);
    CHECK(copy.size() == 0);
    CHECK_FALSE(copy.has(70));
}

TEST_CASE("what a set of handles does takes time in proportion") {
    for (const std::uintptr_t apart : {1u, 4u, 8u, 64u, 4096u}) {
        CAPTURE(apart);
        CHECK(steps(1'000, apart) < 20 * 1'000);
        CHECK(steps(10'000, apart) < 20 * 10'000);
    }
}
