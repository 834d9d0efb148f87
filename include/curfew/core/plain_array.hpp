// A growing array of plain values.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>
#include <type_traits>

#include "../config.hpp"

namespace curfew::detail {

/// What the reactors keep, one entry for each socket or operation. Like a vector of them, which
/// would take a compiler several times as long; fatal where there is no memory, since nobody is
/// there who could be told.
template <class T>
class plain_array {
    static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);

public:
    plain_array() = default;
    plain_array(const plain_array&) = delete;
    plain_array& operator=(const plain_array&) = delete;
    ~plain_array() { std::free(values_); }

    std::size_t size() const noexcept { return size_; }
    T* data() noexcept { return values_; }
    T& operator[](std::size_t index) noexcept { return values_[index]; }
    const T& operator[](std::size_t index) const noexcept { return values_[index]; }
    T& back() noexcept { return values_[size_ - 1]; }

    T* begin() noexcept { return values_; }
    T* end() noexcept { return values_ + size_; }
    const T* begin() const noexcept { return values_; }
    const T* end() const noexcept { return values_ + size_; }

    /// References to the values end.
    void push_back(T added) noexcept {
        if (size_ == room_) grow();
        ::new (static_cast<void*>(values_ + size_++)) T(added);
    }
    void pop_back() noexcept { --size_; }

private:
    CURFEW_COLD void grow() noexcept {
        room_ = room_ ? 2 * room_ : 8;
        void* const larger = std::realloc(static_cast<void*>(values_), room_ * sizeof(T));
        if (!larger) fatal("out of memory");
        values_ = static_cast<T*>(larger);
    }

    T* values_ = nullptr;
    std::size_t size_ = 0;
    std::size_t room_ = 0;
};

}  // namespace curfew::detail
