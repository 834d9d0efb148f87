// What this library and its users need of <chrono>: durations with their literals, points in time,
// and the clocks.
//
// The rest of it, calendars and time zones, is for those who include <chrono>. libstdc++ includes
// <sstream> for it, a thirteenth of what a compiler does for all of curfew.hpp, so since gcc 12 it
// has a header for its own <mutex>, <thread> and <stop_token> that leaves it out.
#pragma once

// See config.hpp.
#pragma push_macro("abs")
#pragma push_macro("round")
#undef abs
#undef round
#if __has_include(<bits/chrono.h>)
#include <bits/chrono.h>
#else
#include <chrono>
#endif
#pragma pop_macro("round")
#pragma pop_macro("abs")
