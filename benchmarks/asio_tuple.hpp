// Where as_tuple is in this version of Asio.
#pragma once

#include <asio/version.hpp>

#if ASIO_VERSION >= 102800
#include <asio/as_tuple.hpp>
using asio::as_tuple;
#else
#include <asio/experimental/as_tuple.hpp>
using asio::experimental::as_tuple;
#endif
