// What a program pays for the include alone; compared with include_asio.cpp.
#include <curfew/curfew.hpp>
