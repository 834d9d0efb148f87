#include <curfew/tcp.hpp>
#include <curfew/src.hpp>
