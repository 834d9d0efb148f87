// Counts every call to the allocator, whoever makes it. Replacing `operator new` would not do: a
// library may call malloc or aligned_alloc itself (Asio does, for coroutine frames). So malloc and
// its relatives are replaced, and pass the call on to glibc's own names for them.

#include "measure.hpp"

#include <cerrno>
#include <cstddef>

namespace {
unsigned long calls = 0;  // the programs have one thread
}

unsigned long bench::allocations() noexcept { return calls; }

extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);

void* malloc(std::size_t size) { return ++calls, __libc_malloc(size); }
void* calloc(std::size_t count, std::size_t size) { return ++calls, __libc_calloc(count, size); }
void* realloc(void* old, std::size_t size) { return ++calls, __libc_realloc(old, size); }
void* memalign(std::size_t alignment, std::size_t size) {
    return ++calls, __libc_memalign(alignment, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) {
    return ++calls, __libc_memalign(alignment, size);
}
int posix_memalign(void** block, std::size_t alignment, std::size_t size) {
    ++calls;
    *block = __libc_memalign(alignment, size);
    return *block ? 0 : ENOMEM;
}
}
