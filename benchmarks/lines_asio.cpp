// Lines with Asio: async_read_until over a dynamic buffer.

#include "lines.hpp"

#include <exception>
#include <string>
#include <string_view>

#include <asio.hpp>

using asio::ip::tcp;

namespace {

asio::awaitable<void> read(tcp::socket socket, int peer, bench::lines_meter& meter) {
    std::string buffer;
    for (unsigned long batch = 0; batch < meter.batches(); ++batch) {
        meter.send_to(peer);
        for (unsigned long i = 0; i < meter.batch(); ++i) {
            const std::size_t size = co_await asio::async_read_until(
                socket, asio::dynamic_buffer(buffer, bench::longest_line * 8), '\n',
                asio::use_awaitable);
            std::string_view line(buffer.data(), size - 1);
            if (line.ends_with('\r')) line.remove_suffix(1);
            meter.one_read(line);
            buffer.erase(0, size);
        }
        meter.batch_read();
    }
}

}  // namespace

int main(int argc, char** argv) {
    bench::arguments arguments(argc, argv, {LINES_OPTIONS});
    bench::lines_meter meter(arguments);
    asio::io_context context(1);
    const auto [client, server] = echo::connect_all(1).front();
    co_spawn(context, read(tcp::socket(context, tcp::v4(), server), client, meter),
             [](std::exception_ptr error) {
                 if (error) std::rethrow_exception(error);
             });
    context.run();
    meter.report();
}
