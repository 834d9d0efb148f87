// The bytes that have been read of a stream and not been taken yet.
#pragma once

#include <cstddef>
#include <cstring>
#include <string_view>
#include <utility>

#include "../platform/platform.hpp"
#include "frame_memory.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

class read_buffer;

/// A read that is under way, and what it has of its buffer if that is destroyed meanwhile: the
/// system may be about to write there.
struct buffered_reader {
    read_buffer* in;  // null: it is gone, or the read has ended
    char* left_behind = nullptr;
    std::size_t left_size;

    explicit buffered_reader(read_buffer& from) noexcept : in(&from) {}
    buffered_reader(const buffered_reader&) = delete;
    buffered_reader& operator=(const buffered_reader&) = delete;
    inline ~buffered_reader();

    inline void end_reading() noexcept;
};

/// One block, which is taken with the first read and grows when something larger has to be in it as
/// a whole. Bytes are taken at its front and added at its back; they move to the front only before
/// a read, so what was shown of them is good until then.
class read_buffer {
public:
    /// Reads are to have room for so many bytes.
    explicit read_buffer(std::size_t capacity) noexcept : capacity_(capacity ? capacity : 1) {}
    read_buffer(read_buffer&& other) noexcept { take_over(other); }
    read_buffer& operator=(read_buffer&& other) noexcept {
        if (this == &other) return *this;
        release();
        take_over(other);
        return *this;
    }
    ~read_buffer() { release(); }

    std::size_t size() const noexcept { return static_cast<std::size_t>(end_ - begin_); }
    bool empty() const noexcept { return begin_ == end_; }
    const char* data() const noexcept { return begin_; }
    std::string_view all() const noexcept { return {begin_, size()}; }
    std::size_t capacity() const noexcept { return capacity_; }

    void consume(std::size_t count) noexcept { begin_ += count; }

    /// The same by somebody else than who reads; a read that is under way hears of it.
    void consume_meanwhile(std::size_t count) noexcept {
        consume(count);
        begins_elsewhere_ = true;
    }
    /// Whether that has happened since it was asked last: what was seen of the bytes before may be
    /// gone.
    bool take_begins_elsewhere() noexcept { return std::exchange(begins_elsewhere_, false); }

    void consume_until(const char* end) noexcept { begin_ = const_cast<char*>(end); }

    /// Sees that there is room behind the bytes, so that `whole` of them fit into it together. What
    /// was shown is good no more. False: there is no memory.
    bool make_room(std::size_t whole = 0) noexcept {
        if (!block_) return grow(whole > capacity_ ? whole : capacity_);
        const std::size_t held = size();
        if (whole > capacity_ || (held == capacity_ && begin_ == block_))
            return grow(whole > 2 * capacity_ ? whole : 2 * capacity_);
        // (A little behind many bytes is no room worth a call, and moving many bytes for a little
        // at the front comes once: then the block is full.)
        const auto behind = static_cast<std::size_t>(block_ + capacity_ - end_);
        if (held == 0 || behind < capacity_ / 2 || whole > held + behind) {
            if (held && begin_ != block_) std::memmove(block_, begin_, held);
            begin_ = block_;
            end_ = block_ + held;
        }
        return true;
    }
    platform::buffer room() const noexcept {
        return {reinterpret_cast<std::byte*>(end_),
                static_cast<std::size_t>(block_ + capacity_ - end_)};
    }
    void add(std::size_t count) noexcept { end_ += count; }

    /// The read that is under way; null: there is none.
    buffered_reader* reader = nullptr;

private:
    bool grow(std::size_t capacity) noexcept {
        char* block = nullptr;
#if CURFEW_EXCEPTIONS
        try {
            block = static_cast<char*>(take_block(capacity));
        } catch (...) {
            return false;
        }
#else
        block = static_cast<char*>(take_block(capacity));
#endif
        const std::size_t held = size();
        if (held) std::memcpy(block, begin_, held);
        if (block_) give_back(block_, capacity_);
        block_ = begin_ = block;
        end_ = block + held;
        capacity_ = capacity;
        return true;
    }

    void take_over(read_buffer& other) noexcept {
        begin_ = std::exchange(other.begin_, nullptr);
        end_ = std::exchange(other.end_, nullptr);
        block_ = std::exchange(other.block_, nullptr);
        capacity_ = other.capacity_;
        begins_elsewhere_ = other.begins_elsewhere_;
        reader = std::exchange(other.reader, nullptr);
        if (reader) reader->in = this;
    }

    void release() noexcept {
        if (reader) {
            reader->left_behind = block_;
            reader->left_size = capacity_;
            reader->in = nullptr;
            reader = nullptr;
        } else if (block_) {
            give_back(block_, capacity_);
        }
    }

    char* begin_ = nullptr;
    char* end_ = nullptr;
    char* block_ = nullptr;
    std::size_t capacity_;
    bool begins_elsewhere_ = false;
};

inline void buffered_reader::end_reading() noexcept {
    if (in && in->reader == this) in->reader = nullptr;
    in = nullptr;
}

inline buffered_reader::~buffered_reader() {
    end_reading();
    if (left_behind) give_back(left_behind, left_size);
}

}  // namespace curfew::detail
