// What a limit costs with Rust's tokio, which is in peer.rs: see ../limits.hpp. `timeout` around a
// `yield_now`, which completes in the next turn: so only on "nothing". None fires: its shortest
// limit takes a millisecond, and that would be what is measured.

#include "../limits.hpp"

namespace {

const limits::setting* how;

std::uint64_t milliseconds_of(std::size_t other) {
    return static_cast<std::uint64_t>(how->other_limit(other));
}

}  // namespace

extern "C" {
void* tokio_limits(std::size_t others, std::uint64_t (*milliseconds)(std::size_t index));
void tokio_limits_run(void* runtime, std::size_t readers, unsigned long rounds, bool limited);
}

namespace {

class bench_run {
public:
    bench_run(const bench::arguments& given, bool limited) : how_(given, limited) {
        limits::must(!how_.sockets() && (how_.event == "later" || how_.event == "again"),
                     "what there is not here, it");
        how = &how_;
        runtime_ = tokio_limits(how_.outstanding - 1, milliseconds_of);
    }

    void run(bool with_limit, unsigned long rounds) {
        tokio_limits_run(runtime_, how_.readers(), rounds, with_limit);
    }

private:
    limits::setting how_;
    void* runtime_;
};

}  // namespace

int main(int argc, char** argv) { limits::compare_and_exit<bench_run>(argc, argv); }
