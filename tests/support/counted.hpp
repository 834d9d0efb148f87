// A value that counts how many of it live: what a frame holds, and so whether it was destroyed.
#pragma once

namespace test {

class counted {
public:
    explicit counted(int& alive) noexcept : alive_(&alive) { ++*alive_; }
    counted(const counted& other) noexcept : alive_(other.alive_) { ++*alive_; }
    counted& operator=(const counted&) = delete;
    ~counted() { --*alive_; }

private:
    int* alive_;
};

}  // namespace test
