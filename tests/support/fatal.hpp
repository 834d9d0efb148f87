// For tests of what is fatal: the program ends, so it is tried in a child process.
#pragma once

#include <string>

#include <curfew/config.hpp>

#if defined(__unix__) || defined(__APPLE__)
#define TEST_CAN_DIE 1
#define TEST_HAS_SIGNALS 1

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>

namespace test {

struct death {
    int signal = 0;    // that ended the child; 0: it lived on
    std::string said;  // on stderr
};

/// Calls `function` in a child process.
template <class Function>
death death_of(Function function) {
    int ends[2];
    if (::pipe(ends) != 0) return {};
    std::fflush(nullptr);
    const pid_t child = ::fork();
    if (child == 0) {
        const rlimit no_core{0, 0};
        ::setrlimit(RLIMIT_CORE, &no_core);
        for (const int each : {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE})
            std::signal(each, SIG_DFL);  // not doctest's, which would report a failure
        ::dup2(ends[1], 2);
        ::close(ends[0]);
        function();
        ::_exit(0);
    }
    ::close(ends[1]);
    death end;
    char bytes[256];
    for (ssize_t n; (n = ::read(ends[0], bytes, sizeof bytes)) > 0;)
        end.said.append(bytes, static_cast<std::size_t>(n));
    ::close(ends[0]);
    // An emulator has something to say about it, too.
    if (const auto emulator = end.said.find("qemu: "); emulator != end.said.npos)
        end.said.resize(emulator);
    int status = 0;
    ::waitpid(child, &status, 0);
    if (WIFSIGNALED(status)) end.signal = WTERMSIG(status);
    return end;
}

/// Whether it ended with this message, and the number of that line of the test.
inline bool said_at(const death& end, const std::string& what, int line) {
    if (end.signal != SIGABRT || end.said.find(what) == end.said.npos) return false;
#if CURFEW_SOURCE_LOCATIONS
    return end.said.find(':' + std::to_string(line) + ')') != end.said.npos;
#else
    return line > 0;
#endif
}

}  // namespace test

#else
#define TEST_CAN_DIE 0
#define TEST_HAS_SIGNALS 0
#endif
