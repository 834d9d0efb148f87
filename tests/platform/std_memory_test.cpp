#include <curfew/platform/std_memory.hpp>

#include <doctest/doctest.h>

TEST_CASE("unique_ptr and shared_ptr are there, without anything else of <memory>") {
    int destroyed = 0;
    struct counted {
        int& count;
        ~counted() { ++count; }
    };
    {
        const std::unique_ptr<counted> one(new counted{destroyed});
        const std::shared_ptr<counted> shared(new counted{destroyed});
        const std::shared_ptr<counted> again = shared;
        CHECK(shared.use_count() == 2);
    }
    CHECK(destroyed == 2);
}
