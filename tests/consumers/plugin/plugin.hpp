// What the plugin does, as one table, which a program that opens the plugin finds by name.
#pragma once

#include <system_error>

#include <curfew/curfew.hpp>

#if defined(_WIN32)
#define PLUGIN_EXPORT extern "C" __declspec(dllexport)
#else
#define PLUGIN_EXPORT extern "C" __attribute__((visibility("default")))
#endif

struct plugin_functions {
    std::error_code (*error_of)(curfew::errc);
    std::error_code (*system_error_of)(int number);
    bool (*is)(const std::error_code&, curfew::errc);
    curfew::task<int> (*work)(curfew::io_context&, const char* what);  // 7: all was as it should be
    void (*spawn)(curfew::io_context&, int& out);
    curfew::tcp::socket (*moved_from)(curfew::io_context&);
    void (*fail)();                                 // calls the fatal handler
    void (*end_quietly)();                          // installs one that prints and ends
    curfew::task<int> (*frame_from)(int& counted);  // `counted`: what the thread's lists hand out
};

PLUGIN_EXPORT const plugin_functions* plugin();
