// What the tasks of a context are doing: io_context::tasks and io_context::dump.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <source_location>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "await/branches.hpp"
#include "core/fiber.hpp"
#include "core/promise.hpp"
#include "core/ready_queue.hpp"
#include "core/socket_state.hpp"
#include "core/suspension.hpp"
#include "core/timer_list.hpp"
#include "core/timer_wheel.hpp"
#include "io_context.hpp"
#include "ip/endpoint.hpp"
#include "platform/std_chrono.hpp"
#include "timeout.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

/// A place in the source: the `co_await` at which a coroutine is suspended.
struct source_place {
    /// As the compiler names it.
    std::string_view file;
    /// From 1; 0 where it is not known.
    std::uint_least32_t line = 0;
    std::string function;  ///< its name, without parameters
};

/// A limit that has not expired yet.
struct limit_info {
    std::chrono::nanoseconds left{0};  ///< on the clock it counts on
    /// What it will do.
    on_timeout policy = on_timeout::cancel;
    /// Whether it counts on a `game_clock`.
    bool on_game_clock = false;
};

/// A live task, or a branch of `when_all` or `when_any`, at one moment.
struct task_info {
    /// What a task is doing.
    enum class condition : std::uint8_t {
        starting,  ///< spawned, and has not had its first turn yet
        running,   ///< it is the one that asks
        ready,     ///< what it waited for has come; it will go on in its turn
        waiting,  ///< for what `waits_for` says
    };

    /// What it is doing.
    condition state = condition::waiting;
    std::string_view waits_for;  ///< "read", "sleep", "when_all", ...; empty if it does not wait
    ip::endpoint peer;  ///< of the socket it waits for; of an accept or an unconnected UDP socket
                        ///< it is the local one
    std::chrono::nanoseconds waiting{0};  ///< for how long, about: see io_context::tasks
    bool waiting_at_most = false;         ///< it may be any time up to that
    std::optional<std::chrono::nanoseconds> sleep_left;  ///< of a sleep
    std::vector<limit_info> limits;  ///< over what it waits for: those of the operation itself, the
                                     ///< earliest first, then of what is around it, from within;
                                     ///< those of the tasks around it, which hold for it too, are
                                     ///< with them
    std::vector<source_place> stack;  ///< where it waits, the innermost coroutine first
    /// Whether it has been cancelled, and has yet to end.
    bool cancelled = false;
    std::vector<task_info> children;  ///< its branches, and the children of its groups, the oldest
                                      ///< first
};

namespace detail {

/// Takes the picture. `Task` is task_info, and a parameter only so that a program that never asks
/// does not compile all this.
template <class Task>
class task_observer {
public:
    explicit task_observer(loop& of) : loop_(of) {
        loop_.for_each_limit([&](timer_node& node) {
            limit_report report;
            node.expired(node, &report);
            if (report.target) notes_.push_back({address_of(report.target), &node});
        });
        loop_.for_each_ready([&](const ready_node& node) {
            if (node.owner) notes_.push_back({address_of(node.owner), nullptr});
        });
        if (!notes_.empty())
            std::qsort(&notes_.front(), notes_.size(), sizeof(note), &note::compare);
        now_ = loop_.now();
    }

    std::vector<Task> all() const {
        std::vector<Task> found;
        find_within(loop_.outside().root, found);
        turn_round(found);
        return found;
    }

private:
    /// What has been found out about an object: that a fiber is ready, or of a bare operation that
    /// it has this limit. (A sorted list of them, and not a map, for the sake of all who include
    /// this and never ask: the standard's maps would be a twentieth of all they have to compile.)
    struct note {
        std::uintptr_t about;
        const timer_node* limit;  // null: it is ready

        static int compare(const void* left, const void* right) noexcept {
            const auto& a = *static_cast<const note*>(left);
            const auto& b = *static_cast<const note*>(right);
            if (a.about != b.about) return a.about < b.about ? -1 : 1;
            const ticks first = a.limit ? a.limit->deadline : 0;
            const ticks second = b.limit ? b.limit->deadline : 0;
            return (first > second) - (first < second);
        }
    };

    static std::uintptr_t address_of(const void* object) noexcept {
        return reinterpret_cast<std::uintptr_t>(object);
    }

    std::span<const note> notes_about(const void* object) const {
        const std::uintptr_t address = address_of(object);
        std::size_t from = 0;
        for (std::size_t end = notes_.size(); from < end;) {
            const std::size_t middle = from + (end - from) / 2;
            if (notes_[middle].about < address)
                from = middle + 1;
            else
                end = middle;
        }
        std::size_t to = from;
        while (to < notes_.size() && notes_[to].about == address) ++to;
        return std::span(notes_).subspan(from, to - from);
    }

    /// Appends the fibers in the nurseries of a scope, the newest first.
    void find_within(const cancel_scope& scope, std::vector<Task>& found) const {
        for (const nursery* each = scope.nurseries; each; each = each->next)
            for (const fiber* child = each->first; child; child = child->next)
                if (child->ended) found.push_back(look_at(*child));
    }

    static void turn_round(std::vector<Task>& found) noexcept {
        for (std::size_t i = 0; i < found.size() / 2; ++i)
            std::swap(found[i], found[found.size() - 1 - i]);
    }

    Task look_at(const fiber& self) const {
        Task info;
        info.cancelled = self.cancelled();
        if (!self.has_begun())
            info.state = Task::condition::starting;
        else if (!self.waiting)
            info.state = Task::condition::running;
        else if (!notes_about(&self).empty())
            info.state = Task::condition::ready;
        if (self.waiting) look_at(*self.waiting, info);
        bool reached = true;  // by limits further out
        for (const cancel_scope* scope = self.scope;; scope = scope->parent) {
            if (scope->limit && reached && scope->limit->armed()) add(*scope->limit, info);
            if (scope->shield) reached = false;
            find_within(*scope, info.children);
            if (scope == &self.root) break;
        }
        turn_round(info.children);
        if (self.waiting && self.has_begun()) add_stack(self.innermost, info);
        return info;
    }

    void look_at(const suspension& waiting, Task& info) const {
        wait_report report;
        waiting.type->describe(waiting, report);
        info.waits_for = report.what;
        const moment began = loop_.when(waiting.since);
        if (now_ > began.at) {
            info.waiting = std::chrono::nanoseconds(now_ - began.at);
            info.waiting_at_most = began.or_later;
        }
        if (report.address)
            info.peer = ip::endpoint(*report.address);
        else if (report.socket && report.socket->is_open())
            info.peer = peer_of(*report.socket);
        if (report.until != endless) info.sleep_left = left_until(report.until, report.now);
        for (const note& each : notes_about(&waiting)) add(*each.limit, info);
    }

    static ip::endpoint peer_of(const socket_state& socket) {
        const ip::endpoint peer(platform::remote_address(socket.handle));
        return peer.is_unspecified() ? ip::endpoint(platform::local_address(socket.handle)) : peer;
    }

    void add(const timer_node& limit, Task& info) const {
        limit_report report;
        // Asked for a report, it changes nothing.
        limit.expired(const_cast<timer_node&>(limit), &report);
        info.limits.push_back({left_until(limit.deadline, report.now),
                               report.abort ? on_timeout::close : on_timeout::cancel,
                               report.now != endless});
    }

    std::chrono::nanoseconds left_until(ticks deadline, ticks own_now) const noexcept {
        const ticks now = own_now == endless ? now_ : own_now;
        return std::chrono::nanoseconds(deadline > now ? deadline - now : 0);
    }

    static void add_stack([[maybe_unused]] const promise_base* innermost,
                          [[maybe_unused]] Task& info) {
#if CURFEW_SOURCE_LOCATIONS
        for (const promise_base* each = innermost; each; each = each->caller) {
            const std::source_location where = location_of(each->where);
            if (std::strcmp(where.file_name(), branches_file()) != 0)
                info.stack.push_back(
                    {where.file_name(), where.line(), tidy(where.function_name())});
        }
#endif
    }

    /// A compiler's name of a function without its type, parameters and unnamed places.
    static std::string tidy(std::string_view given) {
        std::string name(given);
        for (const std::string_view unnamed : {"(anonymous namespace)::", "(anonymous class)::"})
            for (std::size_t at; (at = name.find(unnamed)) != name.npos;)
                name.erase(at, unnamed.size());
        if (const auto end = name.find('('); end != name.npos) name.resize(end);
        int depth = 0;
        for (std::size_t i = name.size(); i-- > 0;) {
            if (name[i] == '>') ++depth;
            if (name[i] == '<') --depth;
            if (depth == 0 && (name[i] == ' ' || name[i] == '*' || name[i] == '&')) {
                name.erase(0, i + 1);
                break;
            }
        }
        return name;
    }

    loop& loop_;
    ticks now_ = 0;
    std::vector<note> notes_;  // sorted
};

// As text -----------------------------------------------------------------------------------------

/// "35 ms", "1.5 s", "2 min 5 s".
template <class Time>
std::string to_text(Time time) {
    const double seconds = std::chrono::duration<double>(time).count();
    char text[40];
    if (seconds < 0.001)
        std::snprintf(text, sizeof text, "%.0f us", seconds * 1e6);
    else if (seconds < 1)
        std::snprintf(text, sizeof text, "%.0f ms", seconds * 1e3);
    else if (seconds < 60)
        std::snprintf(text, sizeof text, "%.1f s", seconds);
    else
        std::snprintf(text, sizeof text, "%lld min %lld s", static_cast<long long>(seconds) / 60,
                      static_cast<long long>(seconds) % 60);
    return text;
}

template <class Task>
std::size_t count(const std::vector<Task>& tasks) {
    std::size_t total = tasks.size();
    for (const Task& each : tasks) total += count(each.children);
    return total;
}

template <class Task>
std::string describe(const Task& task) {
    std::string text;
    switch (task.state) {
    case Task::condition::starting:
        text = "has not begun yet";
        break;
    case Task::condition::running:
        text = "runs";
        break;
    case Task::condition::ready:
    case Task::condition::waiting:
        text = std::string(task.waits_for);
        if (!task.peer.is_unspecified()) text += ' ' + task.peer.to_string();
        text += (task.waiting_at_most ? ", for at most " : ", for ") + to_text(task.waiting);
        if (task.state == Task::condition::ready) text += ", and will go on now";
        if (task.sleep_left) text += ", " + to_text(*task.sleep_left) + " left";
        break;
    }
    for (const limit_info& limit : task.limits) {
        text += limit.policy == on_timeout::close ? "; limit: close in " : "; limit: cancel in ";
        text += to_text(limit.left);
        if (limit.on_game_clock) text += " of the game";
    }
    if (task.cancelled) text += "; cancelled";
    return text;
}

template <class Task>
void write(const std::vector<Task>& tasks, const std::string& indent, std::string& text) {
    for (const Task& each : tasks) {
        text += indent + "- " + describe(each) + '\n';
        for (const source_place& place : each.stack)
            text += indent + "    " + std::string(place.file) + ':' + std::to_string(place.line) +
                    "  " + place.function + '\n';
        write(each.children, indent + "  ", text);
    }
}

}  // namespace detail

template <class Task>
std::vector<Task> io_context::tasks() {
    loop_.check_thread();
    return detail::task_observer<Task>(loop_).all();
}

template <class Stream>
void io_context::dump(Stream& out) {
    const auto all = tasks();
    const std::size_t live = detail::count(all);
    std::string text(name());
    text += ": " + std::to_string(live) + (live == 1 ? " task\n" : " tasks\n");
    detail::write(all, "", text);
    out << text;
}

}  // namespace curfew
