# 32-bit x86 under Linux: built with Debian's g++-i686-linux-gnu, static; a 64-bit system runs it as it
# is.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR i686)
set(CMAKE_CXX_COMPILER i686-linux-gnu-g++)
set(CMAKE_EXE_LINKER_FLAGS_INIT -static)
