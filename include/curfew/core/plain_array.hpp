// A growing array of plain values.
//
// Whoever must not throw allocates with this, or with `new (std::nothrow)`, and makes an error of
// an operation of it if there is no memory (reactors, whose calls are noexcept). What ends
// something (completions, limits, cancellations, closing) allocates nothing at all: it could not
// fail.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>
#include <type_traits>

#include "../config.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

/// What the reactors keep, one entry for each socket or operation. Like a vector of them, which
/// would take a compiler several times as long; without memory it is fatal, or reported to who can
/// tell somebody.
template <class T>
class plain_array {
    static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);

public:
    plain_array() = default;
    plain_array(const plain_array&) = delete;
    plain_array& operator=(const plain_array&) = delete;
    ~plain_array() { std::free(values_); }

    std::size_t size() const noexcept { return size_; }
    std::size_t room() const noexcept { return room_; }
    T* data() noexcept { return values_; }
    T& operator[](std::size_t index) noexcept { return values_[index]; }
    const T& operator[](std::size_t index) const noexcept { return values_[index]; }
    T& back() noexcept { return values_[size_ - 1]; }

    T* begin() noexcept { return values_; }
    T* end() noexcept { return values_ + size_; }
    const T* begin() const noexcept { return values_; }
    const T* end() const noexcept { return values_ + size_; }

    /// Makes room for `size` values, and more in proportion. False: there is no memory for that,
    /// and nothing has changed. References to the values end.
    [[nodiscard]] bool reserve(std::size_t size) noexcept { return size <= room_ || grow(size); }

    /// References to the values end.
    void push_back(T added) noexcept {
        if (!try_push_back(added)) fatal("out of memory");
    }
    /// The same; false, and nothing has changed, where there is no memory.
    bool try_push_back(T added) noexcept {
        if (!reserve(size_ + 1)) return false;
        ::new (static_cast<void*>(values_ + size_++)) T(added);
        return true;
    }
    /// When most of the memory is idle, half of it goes back. (Then it takes as many steps again
    /// until it shrinks or grows the next time.) References to the values end.
    void pop_back() noexcept {
        --size_;
        if (size_ < room_ / 4 && room_ > most_idle) [[unlikely]]
            resize_room(room_ / 2);
    }
    void clear() noexcept { size_ = 0; }
    /// Keeps the first `size` values, and no more memory than for them. References to them end.
    CURFEW_COLD void shrink(std::size_t size) noexcept {
        size_ = size;
        resize_room(size ? size : 1);
    }

private:
    static constexpr std::size_t most_idle = 1024;

    CURFEW_COLD void resize_room(std::size_t room) noexcept {
        if (void* const smaller = std::realloc(static_cast<void*>(values_), room * sizeof(T))) {
            values_ = static_cast<T*>(smaller);
            room_ = room;
        }
    }

    CURFEW_COLD bool grow(std::size_t size) noexcept {
        const std::size_t more = room_ ? 2 * room_ : 8;
        const std::size_t room = size > more ? size : more;
        if (room > ~std::size_t{0} / sizeof(T)) return false;
        void* const larger = std::realloc(static_cast<void*>(values_), room * sizeof(T));
        if (!larger) return false;
        values_ = static_cast<T*>(larger);
        room_ = room;
        return true;
    }

    T* values_ = nullptr;
    std::size_t size_ = 0;
    std::size_t room_ = 0;
};

}  // namespace curfew::detail
