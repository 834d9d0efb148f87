// For the programs that use libevent: its results.
#pragma once

#include "measure.hpp"
#include "plain.hpp"

#include <event2/event.h>
#include <event2/event_struct.h>

namespace libevent {

inline event_base* loop() {
    event_base* const made = event_base_new();
    if (!made) bench::fail("event_base_new", "failed");
    return made;
}

/// For many limits of the same length: it is cheaper than a time of one's own.
inline const timeval* common(event_base* base, long seconds) {
    const timeval length{seconds, 0};
    const timeval* const made = event_base_init_common_timeout(base, &length);
    if (!made) bench::fail("event_base_init_common_timeout", "failed");
    return made;
}

/// Without an allocation, in a record of the caller's.
inline void assign(event_base* base, event& which, int descriptor, int what,
                   event_callback_fn callback, void* whose) {
    if (event_assign(&which, base, descriptor, static_cast<short>(what), callback, whose) != 0)
        bench::fail("event_assign", "failed");
}

inline void add(event& which, const timeval* limit) {
    if (event_add(&which, limit) != 0) bench::fail("event_add", "failed");
}

}  // namespace libevent
