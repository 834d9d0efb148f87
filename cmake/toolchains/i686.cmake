# 32-bit x86 under Linux: built with Debian's g++-i686-linux-gnu, static, and run by qemu-user-static,
# since not every 64-bit kernel runs such programs.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR i686)
set(CMAKE_CXX_COMPILER i686-linux-gnu-g++)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-i386-static)
set(CMAKE_EXE_LINKER_FLAGS_INIT -static)
