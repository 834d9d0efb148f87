// A process that has no descriptor left.
#pragma once

// Not where there is no limit to lower. (And clang's check of virtual calls makes a pipe for each look
// at what may be no object.)
#if defined(__has_feature)
#if __has_feature(undefined_behavior_sanitizer)
#define TEST_NEEDS_DESCRIPTORS 1
#endif
#endif
#if !defined(_WIN32) && !defined(TEST_NEEDS_DESCRIPTORS)
#define TEST_HAS_NO_DESCRIPTORS 1

#include <sys/resource.h>
#include <unistd.h>

namespace test {

/// Nobody gets one for as long as this lives; whoever closes one makes room for one.
class no_descriptors {
public:
    no_descriptors() {
        ::getrlimit(RLIMIT_NOFILE, &before_);
        const int next = ::dup(0);
        ::close(next);
        rlimit tight = before_;
        tight.rlim_cur = static_cast<rlim_t>(next);
        ::setrlimit(RLIMIT_NOFILE, &tight);
    }
    no_descriptors(const no_descriptors&) = delete;
    no_descriptors& operator=(const no_descriptors&) = delete;
    ~no_descriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }

private:
    rlimit before_{};
};

}  // namespace test

#endif
