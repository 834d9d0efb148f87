// Names that are looked up as slowly as a test wants: what `resolve<slow_names>` asks in its
// threads.
#pragma once

#include <atomic>
#include <chrono>
#include <cstring>
#include <string_view>
#include <thread>

#include <curfew/platform/platform.hpp>

namespace test {

namespace platform = curfew::platform;

/// "silent..." is not answered while `silence` lasts; "none..." is no host; all others have one
/// address of each family, first 2001:db8::1 and then 192.0.2.1.
class slow_names {
public:
    static inline std::atomic<bool> silence{false};
    static inline std::atomic<int> begun{0};
    static inline std::atomic<int> ended{0};

    platform::name_lookup look_up(const char* host, const char*, platform::family,
                                  platform::transport) noexcept {
        ++begun;
        const std::string_view name(host);
        while (name.starts_with("silent") && silence)
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        found_ = !name.starts_with("none");
        ++ended;
        if (!found_) return {platform::name_error::host_not_found};
        return {};
    }

    template <class Look>
    void for_each(Look look) const {
        if (!found_) return;
        platform::socket_address six;
        six.family = platform::family::v6;
        constexpr std::uint8_t documentation[] = {0x20, 0x01, 0x0d, 0xb8};
        std::memcpy(six.bytes, documentation, sizeof documentation);
        six.bytes[15] = 1;
        look(six);
        platform::socket_address four;
        four.family = platform::family::v4;
        constexpr std::uint8_t test_net[] = {192, 0, 2, 1};
        std::memcpy(four.bytes, test_net, sizeof test_net);
        look(four);
    }

    /// While it lives, name servers are silent. Leaves when all of its look-ups have ended.
    struct silent_servers {
        silent_servers() { silence = true, begun = 0, ended = 0; }
        ~silent_servers() {
            silence = false;
            wait_for_all();
        }
        silent_servers(const silent_servers&) = delete;
        silent_servers& operator=(const silent_servers&) = delete;
    };

    /// Waits until those that have begun have ended.
    static void wait_for_all() {
        while (ended < begun) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }

private:
    bool found_ = false;
};

}  // namespace test
