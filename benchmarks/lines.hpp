// What the programs share that read lines: the text, and where it comes from.
//
// All of them read lines of 1 to 14 bytes, as protocols have them, from a TCP connection, `--batch`
// of them at a time: so many are sent with one call, all of which the connection has room for, when
// those before have been read. Sending is the program's own and measured with all; it costs the
// same for everyone.
#pragma once

#include "counter.hpp"
#include "echo.hpp"

#include <string>
#include <string_view>
#include <vector>

#include <sys/socket.h>

namespace bench {

#define LINES_OPTIONS "--lines", "--batch"

/// As long as lines may be.
inline constexpr std::size_t longest_line = 1024;

class lines_meter {
public:
    explicit lines_meter(const arguments& given)
        : batch_(given.number("--batch", 100)),
          lines_((given.number("--lines", 1'000'000) + batch_ - 1) / batch_ * batch_),
          counter_(batch_ * 10, lines_) {
        for (unsigned long i = 0; i < batch_; ++i)
            text_ += std::string(1 + i % 14, static_cast<char>('a' + i % 26)) + "\r\n";
        for (std::size_t from = 0, end; from < text_.size(); from = end + 2) {
            end = text_.find('\r', from);
            all_.push_back(std::string_view(text_).substr(from, end - from));
        }
        if (text_.size() > std::size_t{60} << 10) fail("--batch", "is more than a socket holds");
    }

    /// All batches that there will be, those before and behind what is measured included.
    unsigned long batches() const noexcept { return 11 + lines_ / batch_; }
    unsigned long batch() const noexcept { return batch_; }

    /// What is sent, and the lines in it.
    const std::string& text() const noexcept { return text_; }
    const std::vector<std::string_view>& lines() const noexcept { return all_; }

    /// Sends a batch.
    void send_to(int peer) const {
        const auto sent = ::send(peer, text_.data(), text_.size(), 0);
        if (sent != static_cast<ssize_t>(text_.size())) fail("send", "not all of it");
    }

    /// A line of the batch has been read. (As little as can be is done to it.)
    void one_read(std::string_view line) noexcept {
        bytes_ += line.size();
        counter_.one_done();
    }
    /// All of a batch have been.
    void batch_read() noexcept {
        if (bytes_ != text_.size() - 2 * batch_) fail("lines", "they are not what was sent");
        bytes_ = 0;
    }

    void report() const {
        std::printf("lines=%lu ", lines_);
        counter_.print("line");
    }

private:
    unsigned long batch_;
    unsigned long lines_;
    counter counter_;
    std::string text_;
    std::vector<std::string_view> all_;
    std::size_t bytes_ = 0;  // of this batch
};

}  // namespace bench
