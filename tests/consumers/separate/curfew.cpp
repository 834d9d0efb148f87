#include <curfew/src.hpp>
