// Cancel scopes: parts of a fiber's work that are cancelled as a whole, such as what a limit is on.
//
// Scopes nest. One is cancelled itself, by its limit or by whoever holds it, or because one around
// it is. A shield is not cancelled because of what is around it.
//
// Scopes are level-triggered: one that is cancelled stays so. Whatever begins in it ends at once,
// and nobody has to be told twice; there is no moment at which a cancellation could be missed.
#pragma once

#include <cstdint>

#include "../config.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

struct nursery;
struct timer_node;

/// Why a scope is cancelled.
enum class cancel_cause : std::uint8_t {
    none,    ///< it is not
    around,  ///< because a scope around it is
    itself,  ///< it was cancelled itself, whatever has become of those around it since
};

struct cancel_scope {
    cancel_scope* parent = nullptr;  // that of a fiber's root is the scope its nursery is in
    nursery* nurseries = nullptr;    // fibers that live within this scope
    const timer_node* limit = nullptr;
    bool shield = false;
    cancel_cause cause = cancel_cause::none;
    /// Something in it has ended with `canceled` because it is cancelled.
    bool cut_short = false;
    /// Scopes around it learn that from whoever awaits the end of what is in it.
    bool keeps_to_itself = false;

    bool cancelled() const noexcept { return cause != cancel_cause::none; }
    bool cancelled_itself() const noexcept { return cause == cancel_cause::itself; }
    bool cut_short_by_itself() const noexcept { return cut_short && cancelled_itself(); }
    bool cut_short_from_around() const noexcept { return cut_short && !cancelled_itself(); }

    /// As it is entered within one that is cancelled, or not: scopes are level-triggered.
    void begin_within(bool cancelled_one) noexcept {
        cause = cancelled_one && !shield ? cancel_cause::around : cancel_cause::none;
    }
    void cancel_itself() noexcept { cause = cancel_cause::itself; }
    void cancel_from_around() noexcept {
        if (!cancelled()) cause = cancel_cause::around;
    }
};

}  // namespace curfew::detail
