// What a read of a buffered stream wants, and how it is found among the bytes that are there.
//
// Each of these has the same members. `take` takes what is wanted from the buffer, or finds that it
// will never be there; false: more has to be read. `make_room` and `room` say where to, and
// `arrived` is told how much it was. `at_end` and `cut_short` give what there is all the same, at
// the end of the stream and with any other error. `value` is what the read yields.
#pragma once

#include <cstddef>
#include <cstring>
#include <string_view>
#include <system_error>

#include "../buffer.hpp"
#include "../core/read_buffer.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

/// Something that is shown where it is in the buffer.
struct wants_view {
    std::string_view value;

    bool make_room(read_buffer& in) noexcept { return in.make_room(); }
    platform::buffer room(const read_buffer& in) noexcept { return in.room(); }
    void arrived(read_buffer& in, std::size_t count) noexcept { in.add(count); }
    /// The rest, which is whatever there is.
    void at_end(read_buffer& in) noexcept { value = in.take(in.size()); }
    void cut_short() noexcept {}
};

/// A line without its end, which is "\n" or "\r\n".
struct wants_line : wants_view {
    std::size_t limit;
    std::size_t searched = 0;  // so much of what is there has no "\n" in it

    explicit wants_line(std::size_t most) noexcept : limit(most) {}

    CURFEW_HOT bool take(read_buffer& in, std::errc& mistake) noexcept {
        const char* const begin = in.data();
        const std::size_t held = in.size();
        if (held == searched) return false;
        const void* const found = std::memchr(begin + searched, '\n', held - searched);
        if (!found) [[unlikely]]
            return note_searched(begin, held, mistake);
        const auto end = static_cast<std::size_t>(static_cast<const char*>(found) - begin);
        const std::size_t length = end > 0 && begin[end - 1] == '\r' ? end - 1 : end;
        if (length > limit) [[unlikely]] {
            mistake = std::errc::message_size;
            return true;
        }
        value = {begin, length};
        in.consume(end + 1);
        return true;
    }

private:
    CURFEW_COLD bool note_searched(const char* begin, std::size_t held,
                                   std::errc& mistake) noexcept {
        searched = held;
        if (held - (begin[held - 1] == '\r') <= limit) return false;  // its end may follow
        mistake = std::errc::message_size;
        return true;
    }
};

/// All up to a delimiter, and that.
struct wants_delimiter : wants_view {
    std::string_view delimiter;
    std::size_t limit;
    std::size_t searched = 0;  // no delimiter begins before this

    wants_delimiter(std::string_view mark, std::size_t most) noexcept
        : delimiter(mark), limit(most) {}

    bool take(read_buffer& in, std::errc& mistake) noexcept {
        if (delimiter.empty()) [[unlikely]] {
            mistake = std::errc::invalid_argument;
            return true;
        }
        const std::string_view held = in.all();
        const std::size_t at = held.find(delimiter, searched);
        // Without one, the shortest that there may be is longer by a byte than what is there.
        const bool found = at != held.npos;
        if (found ? at + delimiter.size() > limit : held.size() >= limit) [[unlikely]] {
            mistake = std::errc::message_size;
            return true;
        }
        if (found)
            value = in.take(at + delimiter.size());
        else if (held.size() >= delimiter.size())
            searched = held.size() - delimiter.size() + 1;
        return found;
    }
};

/// The next so many bytes, which stay there.
struct wants_look : wants_view {
    std::size_t count;

    explicit wants_look(std::size_t bytes) noexcept : count(bytes) {}

    bool take(read_buffer& in, std::errc&) noexcept {
        if (in.size() < count) return false;
        value = {in.data(), count};
        return true;
    }
    bool make_room(read_buffer& in) noexcept { return in.make_room(count); }
    void at_end(read_buffer& in) noexcept { value = in.all(); }
};

/// Bytes in a buffer of the caller's: as many as there are, or, with `Exact`, as it has room for.
template <bool Exact>
struct wants_bytes {
    mutable_buffer into;
    std::size_t value = 0;
    bool directly = false;  // more than is read at a time anyway: past our own buffer

    explicit wants_bytes(mutable_buffer buffer) noexcept : into(buffer) {}

    bool take(read_buffer& in, std::errc&) noexcept {
        std::size_t count = into.size - value;
        if (count > in.size()) count = in.size();
        if (count > 0) {
            std::memcpy(into.data + value, in.data(), count);
            in.consume(count);
            value += count;
        }
        return value == into.size || (!Exact && value > 0);
    }
    bool make_room(read_buffer& in) noexcept {
        directly = into.size - value >= in.capacity();
        return directly || in.make_room();
    }
    platform::buffer room(const read_buffer& in) noexcept {
        if (directly) return {into.data + value, into.size - value};
        return in.room();
    }
    void arrived(read_buffer& in, std::size_t count) noexcept {
        if (directly)
            value += count;
        else
            in.add(count);
    }
    void at_end(read_buffer&) noexcept {}
    void cut_short() noexcept {}
};

}  // namespace curfew::detail
