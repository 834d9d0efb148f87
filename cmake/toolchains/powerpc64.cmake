# 64-bit PowerPC, big-endian, under Linux: built with Debian's g++-powerpc64-linux-gnu, static, and run
# by qemu-user-static.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR ppc64)
set(CMAKE_CXX_COMPILER powerpc64-linux-gnu-g++)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-ppc64-static)
set(CMAKE_EXE_LINKER_FLAGS_INIT -static)
