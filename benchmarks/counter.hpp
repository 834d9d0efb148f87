// Counts what a program does, and measures all but the first of it.
#pragma once

#include "measure.hpp"

namespace bench {

class counter {
public:
    counter(unsigned long warm_up, unsigned long measured)
        : measured_(measured), until_mark_(warm_up) {}

    void one_done() noexcept {
        if (--until_mark_ == 0) mark();
    }

    unsigned long measured() const noexcept { return measured_; }
    bool finished() const noexcept { return finished_; }

    /// The figures, as `name=value` pairs, and the end of the line.
    void print(const char* one) const {
        if (!finished_) fail("benchmark", "the program ended before it had done all");
        const auto count = static_cast<double>(measured_);
        std::printf("per_second=%.0f per_cpu_second=%.0f allocations_per_%s=%.6g\n",
                    count / (last_.wall - first_.wall), count / (last_.cpu - first_.cpu), one,
                    static_cast<double>(last_.allocations - first_.allocations) / count);
    }

private:
    [[gnu::noinline]] void mark() noexcept {
        if (!started_) {
            started_ = true;
            until_mark_ = measured_;
            first_ = moment::now();
            begin_counting();
        } else {
            end_counting();
            last_ = moment::now();
            finished_ = true;
        }
    }

    unsigned long measured_;
    unsigned long until_mark_;
    bool started_ = false;
    bool finished_ = false;
    moment first_{};
    moment last_{};
};

}  // namespace bench
