// What a read of a buffered stream wants, and how it is found among the bytes that are there.
//
// Each of these is made of the `arguments` of the read and has the same members. `take_at_once`
// takes what is wanted from the buffer if it is there; else all begins with `prepare`. `take` does
// the same, or finds that it will never be there; false: more has to be read. `make_room` and
// `room` say where to, and `arrived` is told how much it was. `at_end` and `cut_short` give what
// there is all the same, at the end of the stream and with any other error. `forget_shown` is for a
// buffer that is gone. `value` is what the read yields.
#pragma once

#include <cstddef>
#include <cstring>
#include <string_view>
#include <system_error>

#include "../buffer.hpp"
#include "../core/find_byte.hpp"
#include "../core/read_buffer.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

/// Something that is shown where it is in the buffer.
class wants_view {
public:
    using value_type = std::string_view;
    value_type value() const noexcept { return {shown_, size_}; }

    bool make_room(read_buffer& in) noexcept { return in.make_room(); }
    platform::buffer room(const read_buffer& in) noexcept { return in.room(); }
    void arrived(read_buffer& in, std::size_t count) noexcept { in.add(count); }
    /// The rest, which is whatever there is.
    void at_end(read_buffer& in) noexcept {
        show(in.data(), in.size());
        in.consume(in.size());
    }
    void cut_short() noexcept {}
    /// The buffer is gone. True: what was shown was in there.
    bool forget_shown() noexcept {
        show(nullptr, 0);
        return true;
    }

protected:
    void show(const char* bytes, std::size_t count) noexcept {
        shown_ = bytes;
        size_ = count;
    }

private:
    const char* shown_;  // set by `show` and by each `prepare`
    std::size_t size_;
};

/// A line without its end, which is "\n" or "\r\n".
class wants_line : public wants_view {
public:
    struct arguments {
        std::size_t limit;
    };
    explicit wants_line(const arguments& given) noexcept : limit_(given.limit) {}

    CURFEW_HOT bool take_at_once(read_buffer& in) noexcept {
        const char* const end = find_byte(in.data(), in.size(), '\n');
        return end && take_until(in, end);
    }

    void prepare() noexcept {
        searched_ = 0;
        show(nullptr, 0);
    }

    bool take(read_buffer& in, std::errc& mistake) noexcept {
        if (in.take_begins_elsewhere()) searched_ = 0;
        const char* const begin = in.data();
        const std::size_t held = in.size();
        if (held == searched_) return false;
        const char* const end = find_byte(begin + searched_, held - searched_, '\n');
        if (end && take_until(in, end)) return true;
        searched_ = held;
        // If there is no end yet, it may follow.
        if (!end && held - (begin[held - 1] == '\r') <= limit_) return false;
        mistake = std::errc::message_size;
        return true;
    }

private:
    /// False: it is too long.
    CURFEW_HOT bool take_until(read_buffer& in, const char* end) noexcept {
        const char* const begin = in.data();
        auto length = static_cast<std::size_t>(end - begin);
        if (length > 0 && end[-1] == '\r') --length;
        if (length > limit_) [[unlikely]]
            return false;
        show(begin, length);
        in.consume_until(end + 1);
        return true;
    }

    std::size_t limit_;
    std::size_t searched_;  // so much of what is there has no "\n" in it
};

/// All up to a delimiter, and that.
class wants_delimiter : public wants_view {
public:
    struct arguments {
        std::string_view delimiter;
        std::size_t limit;
    };
    explicit wants_delimiter(const arguments& given) noexcept : given_(given) { prepare(); }

    bool take_at_once(read_buffer& in) noexcept {
        std::errc mistake{};
        return take(in, mistake) && mistake == std::errc{};
    }

    void prepare() noexcept {
        searched_ = 0;
        show(nullptr, 0);
    }

    bool take(read_buffer& in, std::errc& mistake) noexcept {
        const auto& [delimiter, limit] = given_;
        if (delimiter.empty()) [[unlikely]] {
            mistake = std::errc::invalid_argument;
            return true;
        }
        if (in.take_begins_elsewhere()) searched_ = 0;
        const std::string_view held = in.all();
        const std::size_t at = held.find(delimiter, searched_);
        // Without one, the shortest that there may be is longer by a byte than what is there.
        const bool found = at != held.npos;
        if (found ? at + delimiter.size() > limit : held.size() >= limit) [[unlikely]] {
            mistake = std::errc::message_size;
            return true;
        }
        if (found) {
            show(held.data(), at + delimiter.size());
            in.consume(at + delimiter.size());
        } else if (held.size() >= delimiter.size()) {
            searched_ = held.size() - delimiter.size() + 1;
        }
        return found;
    }

private:
    arguments given_;
    std::size_t searched_;  // no delimiter begins before this
};

/// The next so many bytes, which stay there.
class wants_look : public wants_view {
public:
    struct arguments {
        std::size_t count;
    };
    explicit wants_look(const arguments& given) noexcept : count_(given.count) {}

    bool take_at_once(read_buffer& in) noexcept {
        if (in.size() < count_) return false;
        show(in.data(), count_);
        return true;
    }
    void prepare() noexcept { show(nullptr, 0); }
    bool take(read_buffer& in, std::errc&) noexcept { return take_at_once(in); }
    bool make_room(read_buffer& in) noexcept { return in.make_room(count_); }
    void at_end(read_buffer& in) noexcept { show(in.data(), in.size()); }

private:
    std::size_t count_;
};

/// Bytes in a buffer of the caller's: as many as there are, or, with `Exact`, as it has room for.
template <bool Exact>
class wants_bytes {
public:
    using value_type = std::size_t;
    value_type value() const noexcept { return count_; }

    struct arguments {
        mutable_buffer into;
    };
    explicit wants_bytes(const arguments& given) noexcept : into_(given.into) {}

    bool take_at_once(read_buffer& in) noexcept {
        std::size_t more = into_.size - count_;
        if (more > in.size()) more = in.size();
        if (more > 0) {
            std::memcpy(into_.data + count_, in.data(), more);
            in.consume(more);
            count_ += more;
        }
        return count_ == into_.size || (!Exact && count_ > 0);
    }
    void prepare() noexcept {}
    bool take(read_buffer& in, std::errc&) noexcept { return take_at_once(in); }
    bool make_room(read_buffer& in) noexcept {
        directly_ = into_.size - count_ >= in.capacity();
        return directly_ || in.make_room();
    }
    platform::buffer room(const read_buffer& in) noexcept {
        if (directly_) return {into_.data + count_, into_.size - count_};
        return in.room();
    }
    void arrived(read_buffer& in, std::size_t count) noexcept {
        if (directly_)
            count_ += count;
        else
            in.add(count);
    }
    void at_end(read_buffer&) noexcept {}
    void cut_short() noexcept {}
    bool forget_shown() noexcept { return false; }

private:
    mutable_buffer into_;
    std::size_t count_ = 0;
    bool directly_ = false;  // more than is read at a time anyway: past our own buffer
};

}  // namespace curfew::detail
