// What refers to a loop without being destroyed with it.
#pragma once

#include "../config.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

/// Is told when its loop ends. Coroutines of other libraries are not destroyed with a loop: what
/// they wait in lives on, and must not refer to the loop from then on. Neither must a list in which
/// tasks of the loop have waited.
class loop_dependent {
public:
    /// When the loop ends `loop_gone` is called, once.
    explicit loop_dependent(void (*loop_gone)(loop_dependent&) noexcept) noexcept
        : loop_gone_(loop_gone) {}
    loop_dependent(const loop_dependent&) = delete;
    loop_dependent& operator=(const loop_dependent&) = delete;
    ~loop_dependent() { leave(); }

    /// Becomes the first of a loop's list.
    void join(loop_dependent*& first) noexcept {
        next_ = first;
        if (next_) next_->link_ = &next_;
        first = this;
        link_ = &first;
    }

    static void tell_all(loop_dependent*& first) noexcept {
        while (loop_dependent* const each = first) {
            each->leave();
            each->loop_gone_(*each);
        }
    }

private:
    void leave() noexcept {
        if (!link_) return;
        *link_ = next_;
        if (next_) next_->link_ = link_;
        link_ = nullptr;
    }

    void (*loop_gone_)(loop_dependent&) noexcept;
    loop_dependent* next_ = nullptr;
    loop_dependent** link_ = nullptr;
};

}  // namespace curfew::detail
