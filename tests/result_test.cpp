#include <curfew/result.hpp>

#include <doctest/doctest.h>

#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "support/fatal.hpp"
#include "support/foreign.hpp"

using curfew::errc;
using curfew::optional_result;
using curfew::result;

// "True" would mean success here, and failure for an error_code.
static_assert(!std::is_constructible_v<bool, result<>>);
static_assert(!std::is_constructible_v<bool, result<int>>);
static_assert(!std::is_constructible_v<bool, result<bool>>);
static_assert(!std::is_constructible_v<bool, optional_result>);

static_assert(std::is_convertible_v<errc, result<int>>);
static_assert(std::is_convertible_v<errc, result<>>);
static_assert(std::is_convertible_v<std::error_code, result<std::string>>);
static_assert(std::is_convertible_v<int, result<int>>);
static_assert(std::is_convertible_v<result<>, optional_result>);
static_assert(std::is_convertible_v<errc, optional_result>);
static_assert(std::is_move_constructible_v<result<std::unique_ptr<int>>>);
static_assert(!std::is_copy_constructible_v<result<std::unique_ptr<int>>>);

TEST_CASE("a default result is a success with a default value") {
    const result<int> number;
    CHECK(number.ok());
    CHECK_FALSE(number.error());
    CHECK(number.value() == 0);
    CHECK(result<std::string>().value().empty());
    CHECK(result<>().ok());
    CHECK(optional_result().ok());
}

TEST_CASE("a result binds as an error code and a value") {
    const auto make = []() -> result<std::size_t> { return {errc::timed_out, 17}; };
    auto [ec, n] = make();
    CHECK(ec == errc::timed_out);
    CHECK(n == 17);

    auto [good, text] = result<std::string>("yes");
    CHECK_FALSE(good);
    CHECK(text == "yes");
}

TEST_CASE("a result whose value is an error code fails with one argument, and succeeds with two") {
    const result<std::error_code> failed = std::error_code(errc::eof);
    CHECK(failed.ec == errc::eof);
    CHECK_FALSE(failed.data);
    const result<std::error_code> also = errc::eof;
    CHECK(also.ec == errc::eof);
    const result<std::error_code> good = {{}, errc::closed};
    CHECK(good.ok());
    CHECK(good.value() == errc::closed);
    const result<errc> name = {{}, errc::closed};
    CHECK(name.ok());
    CHECK(name.value() == errc::closed);
    CHECK_FALSE(result<errc>(errc::eof).ok());
}

TEST_CASE("a result without a value binds as an error code alone") {
    auto [ec] = result<>(errc::eof);
    CHECK(ec == errc::eof);
    auto [none] = result<>();
    CHECK_FALSE(none);
    auto [optional] = optional_result(errc::closed);
    CHECK(optional == errc::closed);
}

TEST_CASE("an error leaves the value default-made") {
    const result<int> failed = errc::canceled;
    CHECK_FALSE(failed.ok());
    CHECK(failed.error() == errc::canceled);
    const auto [ec, n] = failed;
    CHECK(ec == errc::canceled);
    CHECK(n == 0);
}

TEST_CASE("a result takes errors of every category") {
    const result<int> own = errc::eof;
    CHECK(own.error() == errc::eof);
    const result<int> generic = std::make_error_code(std::errc::connection_reset);
    CHECK(generic.error() == std::errc::connection_reset);
    const result<> system = std::error_code(1, std::system_category());
    CHECK(system.error().value() == 1);
    CHECK(system.error().category() == std::system_category());
    const result<> no_error = std::error_code();
    CHECK(no_error.ok());
}

TEST_CASE("a partial value goes with its error") {
    result<std::vector<int>> partial(errc::timed_out, {1, 2, 3});
    auto [ec, values] = std::move(partial);
    CHECK(ec == errc::timed_out);
    CHECK(values == std::vector<int>{1, 2, 3});
}

TEST_CASE("value gives the value, to be read, changed or moved away") {
    result<std::string> text("one");
    text.value() += " two";
    const auto& same = text;
    CHECK(same.value() == "one two");
    const std::string taken = std::move(text).value();
    CHECK(taken == "one two");
    static_assert(std::is_same_v<decltype(std::declval<const result<int>&>().value()), const int&>);
}

TEST_CASE("a result carries what can only be moved") {
    result<std::unique_ptr<int>> owner(std::make_unique<int>(5));
    REQUIRE(owner.ok());
    const std::unique_ptr<int> taken = std::move(owner).value();
    REQUIRE(taken);
    CHECK(*taken == 5);

    result<std::unique_ptr<int>> failed = errc::closed;
    auto [ec, nothing] = std::move(failed);
    CHECK(ec == errc::closed);
    CHECK(nothing == nullptr);
}

#if CURFEW_EXCEPTIONS

namespace {

template <class Function>
std::error_code thrown_by(Function function) {
    try {
        function();
    } catch (const std::system_error& error) {
        return error.code();
    }
    return {};
}

}  // namespace

TEST_CASE("value of a failed result throws its error code") {
    const auto reset = std::make_error_code(std::errc::connection_reset);
    CHECK(thrown_by([] { (void)result<int>(errc::eof).value(); }) == errc::eof);
    CHECK(thrown_by([&] { (void)result<int>(reset, 4).value(); }) == reset);
    CHECK(thrown_by([] { result<>(errc::canceled).value(); }) == errc::canceled);
    CHECK(thrown_by([] { optional_result(errc::closed).value(); }) == errc::closed);
    const result<int> constant = errc::timed_out;
    CHECK(thrown_by([&] { (void)constant.value(); }) == errc::timed_out);
    result<int> lvalue = errc::timed_out;
    CHECK(thrown_by([&] { (void)lvalue.value(); }) == errc::timed_out);
}

TEST_CASE("value of a good result throws nothing") {
    CHECK_NOTHROW(result<>().value());
    CHECK_NOTHROW((void)result<int>(3).value());
}

#elif TEST_CAN_DIE

TEST_CASE("without exceptions, value of a failed result is fatal and says why") {
    const auto end = test::death_of([] { result<>(errc::eof).value(); });
    CHECK(end.signal == SIGABRT);
    CHECK(end.said == "curfew: curfew::result: end of stream\n");
}

TEST_CASE("without exceptions, a fatal handler gets what value would have thrown") {
    const auto end = test::death_of([] {
        curfew::set_fatal_handler([](const char* message) {
            std::fputs(message, stderr);
            ::_exit(0);
        });
        (void)result<int>(errc::timed_out, 4).value();
    });
    CHECK(end.signal == 0);
    CHECK(end.said == "curfew::result: time limit expired");
}

TEST_CASE("without exceptions, value of a good result is nothing to die for") {
    const auto end = test::death_of([] {
        result<>().value();
        (void)result<int>(3).value();
    });
    CHECK(end.signal == 0);
    CHECK(end.said.empty());
}

#endif

TEST_CASE("an optional result can be made from a result and keeps its error") {
    const result<> failed = errc::not_supported;
    const optional_result same = failed;
    CHECK(same.error() == errc::not_supported);
    CHECK(optional_result(result<>()).ok());
}

TEST_CASE("awaiting a result gives it back without suspending") {
    std::vector<std::string> log;
    [](std::vector<std::string>& to) -> test::detached {
        auto [ec, text] = co_await result<std::string>(errc::timed_out, "part");
        to.push_back(text + ": " + ec.message());
        auto [none] = co_await result<>();
        to.push_back(none ? "error" : "none");
        auto [closed] = co_await optional_result(errc::closed);
        to.push_back(closed == errc::closed ? "closed" : "other");
        auto [good, owner] = co_await result<std::unique_ptr<int>>(std::make_unique<int>(6));
        to.push_back(std::to_string(*owner));
    }(log);
    CHECK(log == std::vector<std::string>{"part: time limit expired", "none", "closed", "6"});
}

TEST_CASE("a result of something is that result; of anything else, a result holding it") {
    using curfew::detail::result_of_t;
    static_assert(std::is_same_v<result_of_t<int>, result<int>>);
    static_assert(std::is_same_v<result_of_t<void>, result<>>);
    static_assert(std::is_same_v<result_of_t<result<int>>, result<int>>);
    static_assert(std::is_same_v<result_of_t<result<>>, result<>>);
    static_assert(std::is_same_v<result_of_t<optional_result>, optional_result>);
    static_assert(std::is_same_v<result_of_t<std::optional<int>>, result<std::optional<int>>>);
    CHECK(curfew::detail::is_result<result<int>>);
    CHECK_FALSE(curfew::detail::is_result<int>);
}
