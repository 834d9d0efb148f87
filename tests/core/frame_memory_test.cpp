#include <curfew/core/frame_memory.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include <curfew/task.hpp>

#include "support/fatal.hpp"

using curfew::detail::give_back;
using curfew::detail::recycled;

namespace {

/// From the thread's lists.
void* take(std::size_t size) { return curfew::detail::take_block(size, nullptr); }

constexpr std::size_t behind = sizeof(void*);  // each block, where its home is noted

}  // namespace

TEST_CASE("blocks are aligned for everything, and as large as asked for") {
    std::vector<std::pair<unsigned char*, std::size_t>> blocks;
    for (std::size_t size = 1; size <= 40'000; size += size < 200 ? 1 : 337) {
        auto* block = static_cast<unsigned char*>(take(size));
        REQUIRE(reinterpret_cast<std::uintptr_t>(block) % alignof(std::max_align_t) == 0);
        std::memset(block, static_cast<int>(size % 251), size);
        blocks.emplace_back(block, size);
    }
    for (const auto& [block, size] : blocks) {  // nobody has written into another one's
        const auto filled = static_cast<unsigned char>(size % 251);
        REQUIRE(std::all_of(block, block + size, [&](unsigned char c) { return c == filled; }));
        give_back(block, size);
    }
}

TEST_CASE("blocks in use never overlap in random sequences") {
    const unsigned seed = std::random_device()();
    CAPTURE(seed);
    std::mt19937 random(seed);
    struct block {
        unsigned char* bytes;
        std::size_t size;
        unsigned char filled;
    };
    std::vector<block> blocks;
    for (int i = 0; i < 20'000; ++i) {
        if (blocks.size() < 50 || random() % 2) {
            const std::size_t size = 1 + random() % (random() % 4 ? 300 : 5'000);
            block made{static_cast<unsigned char*>(take(size)), size,
                       static_cast<unsigned char>(random())};
            std::memset(made.bytes, made.filled, size);
            blocks.push_back(made);
        } else {
            std::swap(blocks[random() % blocks.size()], blocks.back());
            const block gone = blocks.back();
            REQUIRE(std::all_of(gone.bytes, gone.bytes + gone.size,
                                [&](unsigned char c) { return c == gone.filled; }));
            give_back(gone.bytes, gone.size);
            blocks.pop_back();
        }
    }
    for (const block& each : blocks) give_back(each.bytes, each.size);
}

#if CURFEW_RECYCLE_FRAMES

namespace {

/// What malloc notes beside a block: the sizes of the lists are that much short of round numbers.
constexpr std::size_t word = sizeof(std::size_t);

std::set<void*> allocate_all(std::size_t count, std::size_t size) {
    std::set<void*> blocks;
    while (blocks.size() < count) blocks.insert(take(size));
    return blocks;
}

void free_all(const std::set<void*>& blocks, std::size_t size) {
    for (void* block : blocks) give_back(block, size);
}

}  // namespace

TEST_CASE("what was freed is used again for the next block of about its size") {
    for (const std::size_t whole :
         {17u, 63u, 64u, 65u, 128u, 1'000u, 2'048u, 2'049u, 4'200u, 32'768u}) {
        const std::size_t size = whole - word - behind;
        CAPTURE(size);
        const auto first = allocate_all(100, size);
        free_all(first, size);
        const auto again = allocate_all(100, size);
        CHECK(again == first);
        free_all(again, size);
    }
    void* const block = take(65 - word - behind);
    give_back(block, 65 - word - behind);
    void* const similar = take(80 - word - behind);
    CHECK(similar == block);
    give_back(similar, 80 - word - behind);
}

TEST_CASE("a block is never used for one that does not fit into it") {
    for (const std::size_t whole : {32u, 64u, 1'984u, 2'048u, 3'072u}) {
        const std::size_t size = whole - word - behind;
        CAPTURE(size);
        const auto small = allocate_all(100, size);
        free_all(small, size);
        const auto larger = allocate_all(100, size + 1);
        CHECK(std::none_of(larger.begin(), larger.end(),
                           [&](void* block) { return small.count(block) > 0; }));
        free_all(larger, size + 1);
    }
}

TEST_CASE("each thread has lists of its own") {
    void* const mine = take(500);
    give_back(mine, 500);
    void* theirs = nullptr;
    std::thread([&] {
        theirs = take(500);
        give_back(theirs, 500);
    }).join();
    CHECK(theirs != mine);
    void* const again = take(500);
    CHECK(again == mine);
    give_back(again, 500);
}

TEST_CASE("a block may be freed by another thread, which then uses it") {
    void* const block = take(700);
    void* reused = nullptr;
    std::thread([&] {
        give_back(block, 700);
        reused = take(700);
        give_back(reused, 700);
    }).join();
    CHECK(reused == block);
}

namespace {

/// Where a coroutine keeps its local variables: in its frame.
curfew::task<> tell_address(const void*& where) {
    int local = 0;
    where = &local;
    co_await std::suspend_always();
    where = nullptr;
}

}  // namespace

TEST_CASE("a task's frame is made where the last one of its kind was") {
    const void* where[3] = {};
    for (const void*& each : where) {
        auto begun = tell_address(each);
        auto awaiter = begun.operator co_await();
        awaiter.await_suspend(std::noop_coroutine());  // runs it up to its suspension
    }
    CHECK(where[0] != nullptr);
    CHECK(where[1] == where[0]);
    CHECK(where[2] == where[0]);
}

#endif

namespace {

struct made_often : recycled {
    explicit made_often(int n) : number(n) {}
    int number;
    unsigned char more[100]{};
};

}  // namespace

TEST_CASE("records that are recycled begin anew") {
    auto* const first = new made_often(7);
    first->more[99] = 1;
    delete first;
    auto* const second = new made_often(8);
    CHECK(second->number == 8);
    CHECK(second->more[99] == 0);
#if CURFEW_RECYCLE_FRAMES
    CHECK(second == first);
#endif
    delete second;
}

#if CURFEW_EXCEPTIONS && CURFEW_RECYCLE_FRAMES
TEST_CASE("a constructor that throws gives its memory back") {
    struct made_never_right : recycled {
        made_never_right() { throw 1; }
    };
    void* const block = take(sizeof(made_never_right));
    give_back(block, sizeof(made_never_right));
    CHECK_THROWS_AS(new made_never_right, int);
    void* const again = take(sizeof(made_never_right));
    CHECK(again == block);
    give_back(again, sizeof(made_never_right));
}
#endif

#if !CURFEW_EXCEPTIONS && TEST_CAN_DIE
TEST_CASE("without exceptions, memory that is not to be had is fatal") {
    const auto end = test::death_of([] { take(std::size_t{1} << 60); });
    CHECK(end.signal == SIGABRT);
    CHECK(end.said == "curfew: out of memory\n");
}
#endif

#if !defined(CURFEW_EMULATED_THREAD_LOCAL)  // where destructors meet no variable that is theirs
namespace {

/// Destroyed at the end of its thread; made before its lists are used, so after they are closed.
struct late_user {
    void* block = nullptr;
    bool* good = nullptr;
    ~late_user() {
        if (!block) return;
        give_back(block, 128);
        auto* other = static_cast<unsigned char*>(take(128));
        std::memset(other, 9, 128);
        *good = other[127] == 9;
        give_back(other, 128);
    }
};

}  // namespace

TEST_CASE("memory still works after a thread's lists are closed") {
    bool good = false;
    std::thread([&] {
        static thread_local late_user user;
        user.good = &good;
        user.block = take(128);
    }).join();
    CHECK(good);
}
#endif

#if !CURFEW_RECYCLE_FRAMES
TEST_CASE("address sanitizer knows where a block ends for its user") {
    auto* const block = static_cast<std::byte*>(take(100));
    CHECK(__asan_region_is_poisoned(block, 100) == nullptr);
    CHECK(__asan_address_is_poisoned(block + 100));
    CHECK(__asan_address_is_poisoned(block + 100 + behind - 1));
    give_back(block, 100);
}
#endif

#if CURFEW_RECYCLE_FRAMES
TEST_CASE("of blocks that nobody needs half go back each time, and none of those in use") {
    constexpr std::size_t size = 1'000;
    static curfew::detail::free_lists lists;  // large, and constant-initialized as in a thread
    lists.open();
    const auto use = [&](std::size_t count) {
        std::vector<void*> blocks;
        for (std::size_t i = 0; i < count; ++i) blocks.push_back(lists.allocate(size));
        for (void* each : blocks)
            if (!lists.keep(each, size)) lists.release(each, size);
    };
    use(1'000);
    const std::ptrdiff_t peak = lists.bytes_held();
    lists.decay();  // all were in use since the beginning
    CHECK(lists.bytes_held() == peak);
    for (int i = 0; i < 10; ++i) {
        use(1'000);
        CHECK(lists.decay() > 0);
        CHECK(lists.bytes_held() == peak);
    }
    const std::size_t taken = lists.counters().from_system;
    for (int i = 0; i < 20; ++i) {
        use(300);
        const std::ptrdiff_t before = lists.bytes_held();
        lists.decay();
        CHECK(lists.bytes_held() <= before);
        if (i == 1) CHECK(lists.bytes_held() < peak * 3 / 4);
    }
    CHECK(lists.bytes_held() >= peak * 3 / 10);
    CHECK(lists.bytes_held() < peak / 2);
    CHECK(lists.counters().from_system == taken);  // those in use have stayed
    std::size_t rounds = 0;
    while (lists.decay() > 0) ++rounds;
    CHECK(rounds < 20);
    CHECK(lists.bytes_held() > 0);  // a few stay
    lists.trim();
    CHECK(lists.bytes_held() == 0);
    lists.close();
}
#endif
