// `--reactor`, for the programs that use curfew.
#pragma once

#include "measure.hpp"

#include <curfew/curfew.hpp>

inline curfew::reactor_kind reactor_of(const bench::arguments& arguments) {
    using enum curfew::reactor_kind;
    const auto name = arguments.choice("--reactor", {"epoll", "poll", "select", "io_uring"});
    if (name == "select") return select;
    if (name == "poll") return poll;
    if (name == "io_uring") return io_uring;
    return epoll;
}
