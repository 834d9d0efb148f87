// What this library and its users need of <memory>: unique_ptr and shared_ptr.
//
// The rest of libstdc++'s <memory>, algorithms that run in parallel among it, is for those who
// include it; it takes a compiler a while, and these are apart.
#pragma once

#if __has_include(<bits/unique_ptr.h>) && __has_include(<bits/shared_ptr.h>)
#include <bits/shared_ptr.h>
#include <bits/unique_ptr.h>
#else
#include <memory>
#endif
