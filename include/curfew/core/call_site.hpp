// Where in the source a function is called, as small as it can be passed.
#pragma once

#include <bit>
#include <cstdio>
#include <source_location>

#include "../config.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

// In a coroutine every object of a full expression that awaits has its place in the frame, and is
// stored there: a std::source_location as a default argument twice, 16 bytes and two stores for
// each co_await. Where it is a pointer to a constant of the compiler's, that pointer is passed.
#if defined(__has_builtin)
#if __has_builtin(__builtin_source_location)
#define CURFEW_CALL_SITE __builtin_source_location()
#endif
#endif

#if defined(CURFEW_CALL_SITE)
using call_site = const void*;
static_assert(sizeof(std::source_location) == sizeof(call_site));
#else
#define CURFEW_CALL_SITE ::std::source_location::current()
using call_site = std::source_location;
#endif

inline std::source_location location_of(call_site site) noexcept {
    return std::bit_cast<std::source_location>(site);
}

/// Ends the program because of a mistake that was made at `site`, if that is known.
[[noreturn]] CURFEW_COLD inline void fatal_at(call_site site, const char* mistake) noexcept {
    const std::source_location where = location_of(site);
    if (where.line() == 0) fatal(mistake);
    char text[1024];
    std::snprintf(text, sizeof text, "%s (%s:%u)", mistake, where.file_name(),
                  static_cast<unsigned>(where.line()));
    fatal(text);
}

}  // namespace curfew::detail
