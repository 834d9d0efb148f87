// Descriptors on their way from one program to another.
#pragma once

#include <cstddef>
#include <utility>

#include "../config.hpp"
#include "../platform/platform.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

template <class Base>
class local_socket;

}  // namespace curfew::detail

namespace curfew::local {

/// Descriptors that have come with what was received. They are this object's, which closes them,
/// until they are taken out.
class descriptors {
public:
    /// What the platform calls a descriptor.
    using native_handle_type = platform::socket_handle;

    descriptors() noexcept = default;
    descriptors(descriptors&& other) noexcept { take(other); }
    descriptors& operator=(descriptors&& other) noexcept {
        if (this != &other) {
            clear();
            take(other);
        }
        return *this;
    }
    ~descriptors() { clear(); }

    /// How many have come.
    std::size_t size() const noexcept { return size_; }
    /// Whether none has come.
    bool empty() const noexcept { return size_ == 0; }

    /// The descriptor, still this object's; `platform::invalid_socket` if it has been released.
    native_handle_type operator[](std::size_t index) const noexcept {
        CURFEW_ASSERT(index < size_);
        return all_[index];
    }

    /// Gives a descriptor away; it is the caller's to close. It blocks or not as it did with
    /// whoever sent it, and is to be closed on exec.
    native_handle_type release(std::size_t index) noexcept {
        CURFEW_ASSERT(index < size_);
        return std::exchange(all_[index], platform::invalid_socket);
    }

    /// Closes those that have not been released.
    void clear() noexcept {
        for (std::size_t i = 0; i < size_; ++i)
            if (all_[i] != platform::invalid_socket) platform::close(all_[i]);
        size_ = 0;
    }

private:
    template <class Base>
    friend class detail::local_socket;

    void take(descriptors& other) noexcept {
        size_ = std::exchange(other.size_, 0);
        for (std::size_t i = 0; i < size_; ++i) all_[i] = other.all_[i];
    }

    std::size_t size_ = 0;
    native_handle_type all_[platform::max_descriptors];  // `size_` of them
};

}  // namespace curfew::local
