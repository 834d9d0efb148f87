// A set of handles that are any numbers at all, such as Windows' sockets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <type_traits>

#include "../../config.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::platform::detail {

/// The handles stand in an array without gaps, behind one place that is left to the set's owner.
/// Where each of them stands is told by a table with open addressing, at least half of which is
/// empty: to add, find or remove one takes no longer in a large set than in a small one.
template <class Handle>
class handle_set {
    static_assert(std::is_trivially_copyable_v<Handle>);

public:
    handle_set() noexcept = default;
    handle_set(const handle_set&) = delete;
    handle_set& operator=(const handle_set&) = delete;
    ~handle_set() { std::free(values_); }

    std::size_t size() const noexcept { return size_; }

    /// The place in front of the handles, which follow it. Null before the first one was added.
    Handle* front() noexcept { return values_; }

    bool has(Handle handle) const noexcept { return size_ > 0 && places_[search(handle)] != 0; }

    /// False: there is no memory, and all is as it was.
    bool add(Handle handle) noexcept {
        if (has(handle)) return true;
        if (size_ == room_ && !grow()) return false;
        insert(handle);
        return true;
    }

    void remove(Handle handle) noexcept {
        if (!has(handle)) return;
        std::size_t gap = search(handle);
        const std::uint32_t place = places_[gap];
        if (place != size_) {  // the last one moves there
            places_[search(values_[size_])] = place;
            values_[place] = values_[size_];
        }
        --size_;
        // Those that were pushed on by what is gone move up, as far as where they are looked for.
        for (std::size_t i = next(gap); places_[i]; i = next(i)) {
            const std::size_t pushed = (i - home_of(values_[places_[i]])) & mask();
            if (pushed < ((i - gap) & mask())) continue;
            places_[gap] = places_[i];
            gap = i;
        }
        places_[gap] = 0;
    }

    /// Becomes a copy of the other. False: there is no memory, and it is empty.
    bool assign(const handle_set& other) noexcept {
        if (room_ < other.room_ && !make_room(other.room_)) {
            keep(0);
            return false;
        }
        size_ = other.size_;
        if (size_ > 0)
            std::memcpy(static_cast<void*>(values_), other.values_, (size_ + 1) * sizeof(Handle));
        index();
        return true;
    }

    /// The owner has rearranged the handles: of those there were, the first `count` are left.
    void keep(std::size_t count) noexcept {
        if (count < size_) size_ = count;
        index();
    }

private:
    static constexpr std::size_t smallest = 16;

    std::size_t mask() const noexcept { return 2 * room_ - 1; }
    std::size_t next(std::size_t at) const noexcept { return (at + 1) & mask(); }

    /// Where in the table a handle is looked for first. (Fibonacci hashing: neighbouring numbers,
    /// and multiples of 4 as Windows' handles are, end far from each other.)
    std::size_t home_of(Handle handle) const noexcept {
        const std::uint64_t spread =
            static_cast<std::uint64_t>(handle) * UINT64_C(0x9E3779B97F4A7C15);
        return static_cast<std::size_t>(spread >> 32) & mask();
    }

    /// Where in the table the handle is, or would be.
    std::size_t search(Handle handle) const noexcept {
        std::size_t at = home_of(handle);
        while (places_[at] && !(values_[places_[at]] == handle)) at = next(at);
        return at;
    }

    void insert(Handle handle) noexcept {
        values_[++size_] = handle;
        places_[search(handle)] = static_cast<std::uint32_t>(size_);
    }

    void index() noexcept {
        if (!values_) return;
        std::memset(places_, 0, 2 * room_ * sizeof *places_);
        const std::size_t count = size_;
        for (size_ = 0; size_ < count;) insert(values_[size_ + 1]);
    }

    CURFEW_COLD bool grow() noexcept {
        if (!make_room(room_ ? 2 * room_ : smallest)) return false;
        index();
        return true;
    }

    /// One block holds both: the handles, and then the table, which is to be filled.
    CURFEW_COLD bool make_room(std::size_t room) noexcept {
        const std::size_t bytes = (room + 1) * sizeof(Handle);
        static_assert(sizeof(Handle) % sizeof(std::uint32_t) == 0);
        void* const block = std::malloc(bytes + 2 * room * sizeof(std::uint32_t));
        if (!block) return false;
        auto* const values = static_cast<Handle*>(block);
        if (size_ > 0)
            std::memcpy(block, static_cast<const void*>(values_), (size_ + 1) * sizeof(Handle));
        std::free(values_);
        values_ = values;
        places_ = reinterpret_cast<std::uint32_t*>(static_cast<char*>(block) + bytes);
        room_ = room;
        return true;
    }

    Handle* values_ = nullptr;         // from 1 on
    std::uint32_t* places_ = nullptr;  // in `values_`; 0: empty. Twice as many as there is room
    std::size_t size_ = 0;
    std::size_t room_ = 0;  // a power of two
};

}  // namespace curfew::platform::detail
