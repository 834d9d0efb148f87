// What when_all and when_any return: branches for a fixed number of awaitables, or for a range of
// them, and how their results are put together.
#pragma once

#include <coroutine>
#include <cstddef>
#include <iterator>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "../platform/std_memory.hpp"
#include "branches.hpp"
#include "enable_limits.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

/// What `when_any` yields: which branch was the first to end, and what every one of them yielded.
template <class Results>
struct when_any_result {
    std::size_t index = 0;  ///< as many as there are branches, if there are none
    Results results;        ///< a tuple, or for a range a vector
};

namespace detail {

/// Yields results as `when_all` does, or as `when_any` does.
template <ends_all When, class Results>
auto combined(std::size_t first, Results&& results) {
    if constexpr (When == ends_all::first)
        return when_any_result<Results>{first, std::move(results)};
    else
        return std::move(results);
}

// A fixed number of them --------------------------------------------------------------------------

template <ends_all When, class... T>
class tuple_of_branches : branch_set {
public:
    explicit tuple_of_branches(task<T>... works)
        : branch_set(When), branches_(std::move(works)...) {}

    bool await_ready() const noexcept { return false; }

    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> coroutine) noexcept {
        if (!open(coroutine, sizeof...(T))) return false;
        std::apply(
            [&](auto&... each) {
                [[maybe_unused]] std::size_t index = 0;
                (begin(each, index++), ...);
            },
            branches_);
        return true;
    }

    auto await_resume() {
        close();
        return std::apply(
            [&](auto&... each) {
                return combined<When>(first(), std::tuple<branch_value_t<T>...>{each.take()...});
            },
            branches_);
    }

private:
    std::tuple<branch<T>...> branches_;
};

template <ends_all When, class... Awaitable>
class [[nodiscard("a combination does nothing until it is awaited")]] tuple_combination {
public:
    static constexpr bool is_cancellable = (detail::is_cancellable<Awaitable> && ...);

    explicit tuple_combination(Awaitable && ... awaitables)
        : awaitables_(static_cast<Awaitable&&>(awaitables)...) {}

    auto operator co_await()&& {
        return std::apply(
            [](auto&&... each) { return make(as_task(static_cast<Awaitable&&>(each))...); },
            awaitables_);
    }

private:
    template <class... T>
    static auto make(task<T>... works) {
        return tuple_of_branches<When, T...>(std::move(works)...);
    }

    std::tuple<Awaitable...> awaitables_;
};

// As many as there are ----------------------------------------------------------------------------

template <class Range>
concept range = requires(Range& r) {
    std::begin(r) != std::end(r);
    *std::begin(r);
};

/// An element of a range as it may be awaited: those of an rvalue container are moved from.
template <class Range, class Iterator>
decltype(auto) element(Iterator& at) {
    if constexpr (std::is_lvalue_reference_v<Range> || !std::is_lvalue_reference_v<decltype(*at)>)
        return *at;
    else
        return std::move(*at);
}

template <ends_all When, class T>
class range_of_branches : branch_set {
    using value = branch_value_t<T>;
    static_assert(
        !std::is_reference_v<value>,
        "curfew::when_all and when_any of a range: its elements yield references, which a "
        "vector cannot hold; let them yield pointers or values");

public:
    template <class Range>
    explicit range_of_branches(Range&& range) : branch_set(When) {
        for (auto at = std::begin(range); at != std::end(range); ++at)
            works_.push_back(as_task(element<Range>(at)));
    }
    ~range_of_branches() {
        for (std::size_t i = begun_; i-- > 0;) branches_[i].~branch();
        if (branches_) give_back(branches_, works_.size() * sizeof(branch<T>));
    }

    bool await_ready() const noexcept { return false; }

    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> coroutine) {
        const std::size_t count = works_.size();
        if (count) branches_ = static_cast<branch<T>*>(take_block(count * sizeof(branch<T>)));
        if (!open(coroutine, count)) return false;
        for (; begun_ < count; ++begun_)
            begin(*::new (&branches_[begun_]) branch<T>(std::move(works_[begun_])), begun_);
        return true;
    }

    auto await_resume() {
        close();
        std::vector<value> results;
        results.reserve(begun_);
        for (std::size_t i = 0; i < begun_; ++i) results.push_back(branches_[i].take());
        return combined<When>(first(), std::move(results));
    }

private:
    std::vector<task<T>> works_;
    branch<T>* branches_ = nullptr;
    std::size_t begun_ = 0;
};

template <ends_all When, class Range>
class [[nodiscard("a combination does nothing until it is awaited")]] range_combination {
    using iterator = decltype(std::begin(std::declval<Range&>()));
    using work = decltype(as_task(element<Range>(std::declval<iterator&>())));

public:
    static constexpr bool is_cancellable =
        detail::is_cancellable<decltype(element<Range>(std::declval<iterator&>()))>;

    explicit range_combination(Range && range) : range_(static_cast<Range&&>(range)) {}

    auto operator co_await()&& {
        return range_of_branches<When, typename work::value_type>(static_cast<Range&&>(range_));
    }

private:
    Range range_;  // a reference if it was given as an lvalue
};

template <bool IsRange, ends_all When, class... Awaitable>
struct combination {
    using type = tuple_combination<When, Awaitable...>;
};
template <ends_all When, class Range>
struct combination<true, When, Range> {
    using type = range_combination<When, Range>;
};

template <ends_all When, class... Awaitable>
auto combine(Awaitable&&... awaitables) {
    constexpr bool is_range = sizeof...(Awaitable) == 1 && (range<Awaitable> && ...);
    using combined = typename combination<is_range, When, Awaitable...>::type;
    if constexpr (When == ends_all::first)
        static_assert(
            combined::is_cancellable,
            "curfew::when_any could not cut this branch short: it is, or contains, an "
            "awaitable of another library; see curfew::enable_limits for one that ends by "
            "itself");
    return combined(static_cast<Awaitable&&>(awaitables)...);
}

}  // namespace detail
}  // namespace curfew
