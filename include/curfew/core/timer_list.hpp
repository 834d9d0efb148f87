// What can be armed for a point in time, and lists of it that it leaves by itself.
#pragma once

#include "../config.hpp"
#include "time.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

/// What a limit tells of itself when somebody looks at the tree of tasks.
struct limit_report {
    const void* target = nullptr;  // the operation or cancel scope that it limits
    bool abort = false;            // on_timeout::close
    ticks now = endless;           // the time, if its deadline is not one of the loop's
};

/// What is armed for a point in time expires with the first reading of the clock that has reached
/// it, to the tick: see deadlines::never_early.
constexpr bool is_due(ticks deadline, ticks now) noexcept { return deadline <= now; }

/// What is in a list of nodes, or its head.
struct timer_link {
    timer_link* next;
    timer_link** link;  // what points at this one; null while it is in no list
};

/// What is armed. It unlinks itself when it is destroyed.
struct timer_node : timer_link {
    ticks deadline;
    /// Its time has come; or, asked for a report, it says what it limits and does nothing else.
    void (*expired)(timer_node&, limit_report*) noexcept;

    explicit timer_node(void (*on_expiry)(timer_node&, limit_report*) noexcept,
                        ticks when = 0) noexcept
        : deadline(when), expired(on_expiry) {
        link = nullptr;
    }
    timer_node(const timer_node&) = delete;
    timer_node& operator=(const timer_node&) = delete;
    ~timer_node() {
        if (link) unlink();
    }

    bool armed() const noexcept { return link != nullptr; }

    /// Becomes the first of a list that ends with null.
    CURFEW_HOT void link_to(timer_link*& first) noexcept {
        CURFEW_ASSERT(!armed());
        next = first;
        if (first) first->link = &next;
        first = this;
        link = &first;
    }

    CURFEW_HOT void disarm() noexcept {
        if (!link) return;
        unlink();
        link = nullptr;
    }

private:
    CURFEW_HOT void unlink() noexcept {
        *link = next;
        if (next) next->link = link;
    }
};

inline timer_node& node_of(timer_link& of) noexcept { return static_cast<timer_node&>(of); }

/// A list from the oldest to the newest, and back to the head: a node leaves it without knowing it.
struct timer_list : timer_link {
    void clear() noexcept {
        next = this;
        link = &next;
    }
    bool empty() const noexcept { return next == this; }

    timer_node& oldest() noexcept { return node_of(*next); }
    timer_node& newest() noexcept {  // `link` points at its first member
        return node_of(*reinterpret_cast<timer_link*>(link));
    }

    void push_newest(timer_node& node) noexcept {
        node.next = this;
        node.link = link;
        *link = &node;
        link = &node.next;
    }
    void push_oldest(timer_node& node) noexcept {
        node.next = next;
        node.link = &next;
        next->link = &node.next;
        next = &node;
    }

    /// Takes all of `from`, as newer ones, or as older ones, than those that are here.
    void append(timer_list& from) noexcept {
        if (from.empty()) return;
        from.next->link = link;
        *link = from.next;
        *from.link = this;
        link = from.link;
        from.clear();
    }
    void prepend(timer_list& from) noexcept {
        if (from.empty()) return;
        *from.link = next;
        next->link = from.link;
        next = from.next;
        next->link = &next;
        from.clear();
    }

    /// `look` may take the node out.
    template <class Look>
    void for_each(Look look) {
        for (timer_link* each = next; each != this;) {
            timer_link* const following = each->next;
            look(node_of(*each));
            each = following;
        }
    }
};

/// Those of `a` first where deadlines are the same.
inline timer_link* merged(timer_link* a, timer_link* b) noexcept {
    timer_link* head = nullptr;
    timer_link** end = &head;
    while (a && b) {
        timer_link*& less = node_of(*b).deadline < node_of(*a).deadline ? b : a;
        *end = less;
        end = &less->next;
        less = less->next;
    }
    *end = a ? a : b;
    return head;
}

/// Merge sort by deadline; those with the same one keep their order.
inline void sort(timer_list& due) noexcept {
    if (due.empty() || &due.oldest() == &due.newest()) return;
    timer_link* runs[64];  // the first `used` are empty or, runs[i], 2^i nodes long
    int used = 0;
    *due.link = nullptr;  // a list that ends with null, linked by `next` alone, until it is sorted
    for (timer_link* list = due.next; list;) {
        timer_link* run = list;
        list = list->next;
        run->next = nullptr;
        int i = 0;
        for (; i < used && runs[i]; ++i) {
            run = merged(runs[i], run);
            runs[i] = nullptr;
        }
        if (i == used) ++used;
        runs[i] = run;
    }
    timer_link* all = nullptr;
    for (int i = 0; i < used; ++i) all = merged(runs[i], all);
    due.clear();
    while (all) {
        timer_node& node = node_of(*all);
        all = all->next;
        due.push_newest(node);
    }
}

}  // namespace curfew::detail
