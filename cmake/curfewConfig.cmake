# find_package(curfew) reads this. curfew depends on no other package.
include(${CMAKE_CURRENT_LIST_DIR}/curfewTargets.cmake)
