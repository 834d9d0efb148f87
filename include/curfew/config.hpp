// Version, assertions, and what happens when there is nobody left to report an error to.
#pragma once

// Programs may have macros of these names (Arduino's), where the standard has functions.
#pragma push_macro("abs")
#pragma push_macro("round")
#undef abs
#undef round
#include <cstdio>
#include <cstdlib>
#pragma pop_macro("round")
#pragma pop_macro("abs")

// Function-like macros with the names of this library's functions, such as lwIP has them, cannot be
// while it is used: `acceptor.accept()` would be a call of theirs. To keep such a macro, define it
// after the include. (What it stands for can be called by its own name, lwip_accept.)
#undef accept
#undef bind
#undef close
#undef connect
#undef listen
#undef poll
#undef select
#undef send
#undef shutdown
#undef socket

#define CURFEW_VERSION_MAJOR 0
#define CURFEW_VERSION_MINOR 1
#define CURFEW_VERSION_PATCH 0

#if defined(__cpp_exceptions) || defined(__EXCEPTIONS) || defined(_CPPUNWIND)
#define CURFEW_EXCEPTIONS 1
#else
#define CURFEW_EXCEPTIONS 0
#endif

// Whether `io_context::dump` can say where in the source a task waits. Costs 8 bytes a coroutine
// and a store a `co_await`; must be the same in all of a program.
#if !defined(CURFEW_SOURCE_LOCATIONS)
#define CURFEW_SOURCE_LOCATIONS 1
#endif

// After how many steps (looks at the system, and coroutines resumed) a `run` without an end settles
// in its thread: see reactor::settle. Must be the same in all of a program.
#if !defined(CURFEW_SETTLE_AFTER)
#define CURFEW_SETTLE_AFTER 10'000
#endif

// With CURFEW_SEPARATE_COMPILATION defined, which must be so in all of a program, most of what is
// no template is compiled in one source file only: that which includes <curfew/src.hpp>. What is
// CURFEW_INLINE belongs to that, and CURFEW_DEFINITIONS tells whether it is to be defined here.
#if !defined(CURFEW_SEPARATE_COMPILATION)
#define CURFEW_INLINE inline
#define CURFEW_DEFINITIONS 1
#else
#define CURFEW_INLINE CURFEW_API
#if !defined(CURFEW_DEFINITIONS)
#define CURFEW_DEFINITIONS 0
#endif
#endif

// Warnings in these headers are for those who work on them, and define CURFEW_OWN_WARNINGS. That a
// name in here is also one of the program's (-Wshadow), say, is no concern of the program's. Stands
// before the first namespace of each header.
#if (defined(__GNUC__) || defined(__clang__)) && !defined(CURFEW_OWN_WARNINGS)
#define CURFEW_SYSTEM_HEADER _Pragma("GCC system_header")
#else
#define CURFEW_SYSTEM_HEADER
#endif

// What a program has once, such as which loop runs in a thread, although each of its modules (the
// program and shared libraries) compiles these headers. Two ways lead there.
//
// Where symbols can be shared by name, these few are, also in a module that hides all others
// (-fvisibility=hidden): CURFEW_SHARED. They stand in a namespace named after the version, so that
// modules with different versions do not take one's state for the other's.
//
// Elsewhere (Windows' DLLs), and wherever a program prefers it, one module compiles
// <curfew/src.hpp> and the others refer to that: CURFEW_SEPARATE_COMPILATION is defined for all,
// and CURFEW_API as what exports in that module and imports in the others. Then the state, too,
// belongs to what is compiled there, behind functions: CURFEW_STATE, defined where
// CURFEW_STATE_IS_HERE.
#if defined(CURFEW_API)
#if !defined(CURFEW_SEPARATE_COMPILATION)
#error "CURFEW_API exports what is compiled separately: define CURFEW_SEPARATE_COMPILATION, too"
#endif
#define CURFEW_STATE CURFEW_API
#define CURFEW_STATE_IS_HERE CURFEW_DEFINITIONS
#else
#define CURFEW_API
#define CURFEW_STATE inline
#define CURFEW_STATE_IS_HERE 1
#endif
#if defined(__has_cpp_attribute) && !defined(_WIN32)
#if __has_cpp_attribute(__gnu__::__visibility__)
#define CURFEW_SHARED [[__gnu__::__visibility__("default")]]
#endif
#endif
#if !defined(CURFEW_SHARED)
#define CURFEW_SHARED
#endif

// What hardly ever happens is kept out of the way of what always does, where the compiler listens.
// (With underscores, because programs may have macros named cold or noinline.)
#if defined(__has_cpp_attribute)
#if __has_cpp_attribute(__gnu__::__cold__) && __has_cpp_attribute(__gnu__::__always_inline__)
#define CURFEW_COLD [[__gnu__::__cold__, __gnu__::__noinline__]]
#define CURFEW_APART [[__gnu__::__noinline__]]
#define CURFEW_HOT [[__gnu__::__always_inline__]]
#endif
#endif
#if !defined(CURFEW_COLD)
#define CURFEW_COLD
#define CURFEW_APART
#define CURFEW_HOT
#endif

CURFEW_SYSTEM_HEADER

namespace curfew {

#if CURFEW_VERSION_MAJOR != 0 || CURFEW_VERSION_MINOR != 1
#error "the namespaces v0_1, which hold what modules share, are named after the version"
#endif

/// Called where an exception would be thrown in a program built without exceptions, and by failed
/// assertions. It must not return; if it does, the program is aborted.
using fatal_handler = void (*)(const char* message);

namespace detail {

CURFEW_STATE fatal_handler& installed_fatal_handler() noexcept;

#if CURFEW_STATE_IS_HERE
inline namespace v0_1 {
CURFEW_SHARED inline constinit fatal_handler fatal_handler_of_all = nullptr;
}

CURFEW_STATE fatal_handler& installed_fatal_handler() noexcept { return fatal_handler_of_all; }
#endif

}  // namespace detail

/// Installs the handler for errors that cannot be reported otherwise and returns the one it
/// replaces (null: the default, which prints the message to stderr). Set it before other threads
/// use the library.
inline fatal_handler set_fatal_handler(fatal_handler handler) noexcept {
    fatal_handler before = detail::installed_fatal_handler();
    detail::installed_fatal_handler() = handler;
    return before;
}

namespace detail {

[[noreturn]] inline void fatal(const char* message) noexcept {
    if (fatal_handler handler = installed_fatal_handler())
        handler(message);
    else
        std::fprintf(stderr, "curfew: %s\n", message);
    std::abort();
}

}  // namespace detail
}  // namespace curfew

/// States what must hold. On wherever `assert` would be, unless the program decides otherwise.
#if !defined(CURFEW_ASSERT)
#if defined(NDEBUG)
#define CURFEW_ASSERT(condition) static_cast<void>(0)
#else
#define CURFEW_ASSERT(condition)                                                                   \
    ((condition) ? static_cast<void>(0) : ::curfew::detail::fatal("assertion failed: " #condition))
#endif
#endif
