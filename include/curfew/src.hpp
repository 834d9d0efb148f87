// All that a program with CURFEW_SEPARATE_COMPILATION compiles once: to be included in one of its
// source files, before any other header of curfew.
#pragma once

#if defined(CURFEW_DEFINITIONS)
#error "curfew/src.hpp has to be included before any other header of curfew"
#endif

#if !defined(CURFEW_SEPARATE_COMPILATION)
#define CURFEW_SEPARATE_COMPILATION
#endif
#define CURFEW_DEFINITIONS 1
#include "curfew.hpp"
