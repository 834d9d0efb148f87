// What a program pays for the include alone; compared with include_curfew.cpp.
#include <asio.hpp>
