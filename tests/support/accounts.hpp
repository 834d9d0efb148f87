// What a random tree of tasks works with, and the books that are kept of it: who may have been
// cancelled, which bytes and messages went where, what is still alive.
#pragma once

#include <curfew/curfew.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "platform.hpp"

namespace test {

using namespace curfew;
using namespace std::chrono_literals;

/// splitmix64: small enough for each node to have one of its own.
class dice {
public:
    explicit dice(std::uint64_t seed) noexcept : state_(seed) {}
    std::uint64_t next() noexcept {
        std::uint64_t z = (state_ += 0x9e3779b97f4a7c15);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }
    int below(int end) noexcept {
        return static_cast<int>(next() % static_cast<std::uint64_t>(end));
    }
    bool one_in(int n) noexcept { return below(n) == 0; }

private:
    std::uint64_t state_;
};

/// The test's own idea of a cancel scope: what may have cancelled what is in it.
struct scope {
    scope* parent = nullptr;
    bool shield = false;
    std::atomic<bool> cancelled{false};  // something may have cancelled it
    clock::time_point until = clock::time_point::max();
    bool seen = false;   // something in it has said `canceled`, so that it must be cancelled
    bool maybe = false;  // something in it has, but that may have concerned that alone
    bool catches = false;
    int thrown = 0;  // exceptions that have left something in it, or, if it catches, arrive here

    void note_thrown(int count) {
        scope* each = this;
        for (; !each->catches; each = each->parent) each->thrown += count;
        each->thrown += count;
    }

    bool may_be_cancelled() const {
        const auto now = clock::now();
        for (const scope* each = this; each; each = each->parent) {
            if (each->cancelled || now >= each->until) return true;
            if (each->shield) return false;
        }
        return false;
    }
};

/// What every stream carries: random bytes with a long period, so that a missing or doubled one
/// shifts all that follow.
class pattern {
public:
    static constexpr std::size_t longest = 65536;
    static std::span<const std::byte> at(std::size_t position, std::size_t size) {
        static const auto bytes = [] {
            std::vector<std::byte> made(period + longest);
            dice random(1);
            for (std::size_t i = 0; i < made.size(); ++i)
                made[i] = i < period ? static_cast<std::byte>(random.next()) : made[i - period];
            return made;
        }();
        return std::span(bytes).subspan(position % period, size);
    }

private:
    static constexpr std::size_t period = 65521;
};

/// One direction of a connection.
struct stream {
    tcp::socket* from = nullptr;
    tcp::socket* to = nullptr;
    std::size_t written = 0;
    std::size_t read = 0;
    bool writing = false;
    bool reading = false;
    bool unknown = false;  // an operation was destroyed, or its socket closed
};

struct message {
    int number = -1;
    std::shared_ptr<int> alive;  // one reference for each message that lives
};

struct accounts {
    io_context* context = nullptr;
    int alive = 0;  // frames, see counted
    std::string complaint;
    std::deque<scope> scopes;
    std::size_t nodes = 0;
    std::size_t canceled = 0;
    bool closes = false;  // limits that close sockets are in the tree
    bool throws = false;
    int wider = 0;  // more branches for each range and group

    std::array<event, 2> events;
    semaphore permits{2};
    channel<message> messages;
    std::shared_ptr<int> alive_messages = std::make_shared<int>();
    std::vector<bool> sent;     // by number
    std::vector<int> received;  // the numbers, in the order in which they were asked for; -1: none
    int destroyed_waits = 0;    // whose outcome nobody knows
    std::deque<tcp::socket> sockets;
    std::deque<stream> streams;

    explicit accounts(std::size_t capacity) : messages(capacity) {}

    void complain(const char* what) {
        if (complaint.empty()) complaint = what;
    }
    void expect(bool holds, const char* what) {
        if (!holds) complain(what);
    }

    scope& inside(scope* parent) {
        scope& made = scopes.emplace_back();
        made.parent = parent;
        return made;
    }

    /// Something has said `canceled` because of what is around `where`.
    void note_canceled(scope& where, const char* who) {
        ++canceled;
        expect(where.may_be_cancelled(), who);
        where.seen = true;
    }

    /// Keeps a connection for the tree.
    void connect(tcp::socket client, tcp::socket server) {
        // Which leaves no connection behind that keeps a port busy.
        for (auto* each : {&client, &server})
            native::reset_on_close(descriptor_of(each->native_handle()));
        client.send_buffer_size(4096);
        server.receive_buffer_size(4096);
        tcp::socket& a = sockets.emplace_back(std::move(client));
        tcp::socket& b = sockets.emplace_back(std::move(server));
        for (auto [from, to] : {std::pair(&a, &b), std::pair(&b, &a)}) {
            stream& made = streams.emplace_back();
            made.from = from;
            made.to = to;
        }
    }

    /// What has been read, and what is left in the connections, is what was written.
    void check_bytes() {
        for (stream& each : streams) {
            if (each.unknown || closes) continue;
            std::vector<std::byte> rest(pattern::longest);
            const native::socket fd = descriptor_of(each.to->native_handle());
            char* const bytes = reinterpret_cast<char*>(rest.data());
            while (each.read < each.written) {
                if (!native::readable(fd, 2000)) break;
                const auto n = native::receive(fd, bytes, rest.size());
                if (n <= 0) break;
                take(each, std::span(rest).first(static_cast<std::size_t>(n)));
            }
            expect(each.read == each.written, "bytes are missing, or too many");
            expect(native::receive(fd, bytes, 1) < 0, "there are bytes that nobody wrote");
        }
    }

    void take(stream& from, std::span<const std::byte> bytes) {
        const auto right = pattern::at(from.read, bytes.size());
        expect(std::equal(bytes.begin(), bytes.end(), right.begin()), "the wrong bytes");
        from.read += bytes.size();
    }

    /// Every message that was sent has been received once, in order, or is still there.
    void check_messages() {
        while (auto left = messages.try_receive()) received.push_back(left->number);
        std::vector<int> numbers;
        for (const int each : received)
            if (each >= 0) numbers.push_back(each);
        for (std::size_t i = 1; i < numbers.size(); ++i)
            expect(numbers[i - 1] < numbers[i], "messages out of order, or twice");
        std::vector<bool> arrived(sent.size());
        for (const int each : numbers) arrived[static_cast<std::size_t>(each)] = true;
        int lost = 0;
        int from_nowhere = 0;
        for (std::size_t i = 0; i < sent.size(); ++i) {
            lost += sent[i] && !arrived[i];
            from_nowhere += !sent[i] && arrived[i];
        }
        expect(lost + from_nowhere <= destroyed_waits, "messages are lost, or were never sent");
    }
};

/// A flag that is set while an operation of a stream runs, and the note that one was destroyed.
class busy {
public:
    busy(bool& flag, stream& of) noexcept : flag_(flag), of_(of) { flag_ = true; }
    busy(const busy&) = delete;
    busy& operator=(const busy&) = delete;
    ~busy() {
        flag_ = false;
        if (!done_) of_.unknown = true;
    }
    void done() noexcept { done_ = true; }

private:
    bool& flag_;
    stream& of_;
    bool done_ = false;
};

/// Counts a wait that is destroyed before its end.
class watched_wait {
public:
    explicit watched_wait(accounts& in) noexcept : in_(in) {}
    watched_wait(const watched_wait&) = delete;
    watched_wait& operator=(const watched_wait&) = delete;
    ~watched_wait() {
        if (!done_) ++in_.destroyed_waits;
    }
    void done() noexcept { done_ = true; }

private:
    accounts& in_;
    bool done_ = false;
};

/// The descriptors that this process has open; 0 where it cannot be told.
inline std::size_t open_descriptors() {
    std::size_t count = 0;
    std::error_code none;
    for (const auto& each : std::filesystem::directory_iterator("/proc/self/fd", none))
        count += !each.path().empty();
    return count;
}

}  // namespace test
