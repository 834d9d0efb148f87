// A process that has no descriptor left.
#pragma once

#if !defined(_WIN32)  // where there is no limit to lower

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
