// The simulated network: a world of hosts from a seed, and tests in it.
#pragma once

#include "choice.hpp"
#include "test.hpp"
#include "world.hpp"
