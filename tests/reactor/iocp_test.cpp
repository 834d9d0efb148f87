// What only IOCP has to prove: overlapped operations that outlive what began them, sockets that are
// closed when nothing is pending on them any more, and handles that are tied to one port. (What
// other reactors have to prove, too: pending_test.cpp.)
#include <curfew/reactor/iocp.hpp>

#if defined(CURFEW_HAS_IOCP)

#include <array>
#include <list>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "support/counted.hpp"
#include "support/effort.hpp"
#include "support/loop.hpp"

using namespace test;

namespace {

/// Runs `body(ctx)` on a context with a completion port.
template <class Body>
void run_on_port(Body body) {
    run(reactor_kind::iocp, body);
}

task<result<std::size_t>> read_into(tcp::socket& socket, std::span<char> buffer) {
    co_return co_await socket.read_some(buffer);
}

/// How many handles of the system's this process has.
DWORD handles() {
    DWORD count = 0;
    CHECK(::GetProcessHandleCount(::GetCurrentProcess(), &count));
    return count;
}

/// Each block is a page of its own, which nobody can touch any more when it has been given back:
/// neither this program, nor the system on its behalf.
class guarded_pages final : public frame_resource {
public:
    void* allocate(std::size_t bytes) override {
        void* const block =
            ::VirtualAlloc(nullptr, bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
        REQUIRE(block);
        ++live;
        return block;
    }
    void deallocate(void* block, std::size_t bytes) noexcept override {
        ::VirtualFree(block, bytes, MEM_DECOMMIT);  // its addresses stay reserved
        --live;
    }
    int live = 0;
};

/// A read that is pending on a connection, as a reactor sees it.
struct pending_read {
    pending_read(iocp_reactor& port, blocking_listener& listener)
        : client(blocking_connect(listener.endpoint())), peer(listener.accept()) {
        REQUIRE(platform::adopt(client.fd(), platform::transport::stream) == 0);
        socket.handle = client.release();
        read.buffers = &buffer;
        read.buffer_count = 1;
        read.progress = operation::state::pending;
        REQUIRE_FALSE(port.start(read));
        socket.reader = &read;
    }

    blocking_socket client, peer;
    socket_state socket;
    char byte = 0;
    const platform::buffer buffer{reinterpret_cast<std::byte*>(&byte), 1};
    operation read{operation_kind::read, readable, &socket};
};

}  // namespace

TEST_CASE("a context ends with hundreds of overlapped operations, and none is told of afterwards") {
    guarded_pages pages;
    int alive = 0;
    {
        io_context ctx(reactor_kind::iocp);
        ctx.frames(&pages);
        std::list<connection> connections;
        std::list<tcp::acceptor> acceptors;
        ctx.block_on([](io_context& c, auto& all) -> task<> {
            for (int i = 0; i < 100; ++i) all.push_back(co_await test::connect(c));
        }(ctx, connections));
        for (auto& each : connections) {
            ctx.spawn([](tcp::socket& s, counted) -> task<> {
                std::array<char, 256> buffer;  // in the frame
                (void)co_await s.read_some(buffer);
            }(each.client, counted(alive)));
            ctx.spawn([](tcp::socket& s, counted) -> task<> {
                (void)co_await with_timeout(s.wait(readable), 1h);
            }(each.server, counted(alive)));
            ctx.spawn([](io_context& c, counted) -> task<> {
                udp::socket socket(c);
                socket.bind(any_port()).value();
                std::array<char, 256> buffer;
                ip::endpoint sender;
                (void)co_await socket.receive_from(buffer, sender);
            }(ctx, counted(alive)));
            acceptors.emplace_back(ctx).listen(any_port()).value();
            ctx.spawn([](tcp::acceptor& a, counted) -> task<> {
                (void)co_await a.accept();
            }(acceptors.back(), counted(alive)));
        }
        ctx.run_for(10ms);
        CHECK(alive == 400);
        // Some of them complete while the context ends.
        for (auto& each : connections) {
            const char byte = 'x';
            ::send(each.server.native_handle(), &byte, 1, 0);
        }
    }
    CHECK(alive == 0);
    CHECK(pages.live == 0);
    ::Sleep(20);  // for what would come too late
}

TEST_CASE("a thousand connects and accepts in flight") {
    run_on_port([](io_context& ctx) -> task<> {
        constexpr int many = 1'000;
        std::list<tcp::acceptor> acceptors;
        std::vector<task<bool>> works;
        for (int i = 0; i < many; ++i) {
            acceptors.emplace_back(ctx).listen(any_port()).value();
            works.push_back([](tcp::acceptor& a) -> task<bool> {
                auto [ec, peer] = co_await with_timeout(a.accept(), 30s);
                if (ec) co_return false;
                co_return (co_await write_all(peer, "hello")).ok();
            }(acceptors.back()));
        }
        for (auto& each : acceptors)
            works.push_back([](io_context& c, ip::endpoint to) -> task<bool> {
                co_await yield();  // all accepts are pending
                tcp::socket socket(c);
                if (!(co_await with_timeout(socket.connect(to), 30s)).ok()) co_return false;
                std::array<char, 5> buffer;
                co_return (co_await with_timeout(read_exactly(socket, buffer), 30s)).ok();
            }(ctx, each.local_endpoint()));
        int good = 0;
        for (const bool each : co_await when_all(std::move(works))) good += each;
        CHECK(good == 2 * many);
    });
}

TEST_CASE("ten thousand connections leave no handle behind") {
    run_on_port([](io_context& ctx) -> task<> {
        tcp::acceptor acceptor(ctx);
        acceptor.listen(any_port()).value();
        DWORD before = 0;
        for (std::size_t i = 0; i < scaled(10'000); ++i) {
            if (i == 50) before = handles();  // the system has made what it keeps
            connection made;
            made.client = tcp::socket(ctx);
            (co_await made.client.connect(acceptor.local_endpoint())).value();
            made.server = (co_await acceptor.accept()).value();
            std::array<char, 4> buffer;
            switch (i % 4) {
            case 0:  // with a read pending, in good order
            case 1:  // and not
                (void)co_await with_timeout(made.client.read_some(buffer), 1us);
                (i % 4 ? made.client.abort() : made.client.close());
                break;
            case 2:  // a limit aborts it
                (void)co_await with_timeout(made.client.read_some(buffer), 1us, on_timeout::close);
                break;
            case 3: {  // closed under a read
                auto reading = ctx.spawn(read_into(made.client, buffer));
                co_await yield();
                made.client.close();
                CHECK((co_await reading).ec == errc::closed);
                break;
            }
            }
        }
        CHECK(handles() == before);
    });
}

TEST_CASE("a pending accept makes a socket in advance, which is gone when it is cancelled") {
    run_on_port([](io_context& ctx) -> task<> {
        tcp::acceptor acceptor(ctx);
        acceptor.listen(any_port()).value();
        CHECK((co_await with_timeout(acceptor.accept(), 1ms)).ec == errc::timed_out);
        const DWORD before = handles();
        for (int i = 0; i < 100; ++i)
            CHECK((co_await with_timeout(acceptor.accept(), 100us)).ec == errc::timed_out);
        CHECK(handles() == before);
    });
}

TEST_CASE("an accept that was pending says who has connected, also if they are gone") {
    run_on_port([](io_context& ctx) -> task<> {
        tcp::acceptor acceptor(ctx);
        acceptor.listen(any_port()).value();
        for (const bool gone : {false, true}) {
            CAPTURE(gone);
            ip::endpoint who;
            auto accepting =
                ctx.spawn([](tcp::acceptor& a, ip::endpoint& peer) -> task<std::error_code> {
                    co_return (co_await a.accept(peer)).ec;
                }(acceptor, who));
            co_await yield();
            // In this thread, so that the loop learns of it when all is over.
            auto client = blocking_connect(acceptor.local_endpoint());
            const ip::endpoint expected(ip::address::loopback_v4(), native::port_of(client.fd()));
            if (gone) client.reset();
            CHECK((co_await accepting) == std::error_code());
            CHECK(who == expected);
        }
    });
}

TEST_CASE("a released socket works in another context, after operations have been pending on it") {
    io_context first(reactor_kind::iocp);
    io_context second(reactor_kind::iocp);
    auto made = first.block_on(test::connect(first));
    std::array<char, 8> buffer;
    auto reading = first.spawn(read_into(made.client, buffer));
    first.run_for(1ms);
    const auto handle = made.client.release();
    first.block_on([](join_handle<result<std::size_t>>& ended, tcp::socket& server) -> task<> {
        CHECK((co_await ended).ec == errc::canceled);
        (co_await write_all(server, "over")).value();
    }(reading, made.server));
    auto adopted = tcp::socket::adopt(second, handle).value();
    const auto end =
        second.block_on([](tcp::socket& s, std::span<char> into) -> task<std::error_code> {
            CHECK((co_await with_timeout(s.read_some(into), 5s)).value() == 4);
            co_return (co_await with_timeout(s.read_some(into), 1ms)).ec;
        }(adopted, buffer));
    if (end == std::errc::invalid_argument) {
        MESSAGE("this system cannot untie a socket from a port: it works in the same context only");
        auto back = tcp::socket::adopt(first, adopted.release()).value();
        first.block_on([](tcp::socket& s, std::span<char> into) -> task<> {
            CHECK((co_await with_timeout(s.read_some(into), 1ms)).ec == errc::timed_out);
        }(back, buffer));
    } else {
        CHECK(end == errc::timed_out);
    }
}

TEST_CASE("a socket that belongs to somebody else's port says so, and stays its owner's") {
    run_on_port([](io_context& ctx) -> task<> {
        auto made = co_await test::connect(ctx);
        const HANDLE port = ::CreateIoCompletionPort(INVALID_HANDLE_VALUE, nullptr, 0, 1);
        SOCKET theirs =
            ::WSASocketW(AF_INET, SOCK_STREAM, IPPROTO_TCP, nullptr, 0, WSA_FLAG_OVERLAPPED);
        REQUIRE(::CreateIoCompletionPort(reinterpret_cast<HANDLE>(theirs), port, 0, 0) == port);
        auto adopted = tcp::socket::adopt(ctx, theirs).value();
        const auto failed = co_await adopted.wait(readable | writable);
        CHECK(failed.ec == std::errc::invalid_argument);
        CHECK(adopted.is_open());
        adopted.close();
        ::CloseHandle(port);
    });
}

TEST_CASE("a wake-up that is found while sockets are closed or released ends the next wait") {
    for (const auto how : {close_mode::graceful, close_mode::abortive}) {
        detail::ready_queue ready;
        completions done(ready);
        iocp_reactor port;
        blocking_listener listener;
        pending_read closed(port, listener), released(port, listener);
        port.wake();
        port.close(closed.socket, how, done);
        const auto handle = released.socket.handle;
        port.release(released.socket, done);  // waits for what is pending, so all has been seen
        native::close(handle);
        CHECK_FALSE(closed.socket.reader);
        CHECK_FALSE(released.socket.reader);
        const auto begun = clock::now();
        CHECK(port.wait(60s, done) == 0);
        CHECK(clock::now() - begun < 30s);
    }
}

#if CURFEW_EXCEPTIONS
TEST_CASE("who opens a socket again before its operations have ended is told of lack of memory") {
    class scarce final : public frame_resource {
    public:
        void* allocate(std::size_t bytes) override {
            if (none_left) throw std::bad_alloc();
            return ::operator new(bytes);
        }
        void deallocate(void* block, std::size_t) noexcept override { ::operator delete(block); }
        bool none_left = false;
    } memory;
    io_context ctx(reactor_kind::iocp);
    ctx.frames(&memory);
    ctx.block_on([](io_context& c, scarce& from) -> task<> {
        tcp::acceptor listening(c);
        listening.listen(any_port()).value();
        auto made = co_await test::connect(c);
        std::array<char, 4> buffer;
        auto reading = c.spawn(read_into(made.client, buffer));
        tcp::acceptor acceptor(c);
        acceptor.listen(any_port()).value();
        auto accepting = c.spawn([](tcp::acceptor& a) -> task<std::error_code> {
            co_return (co_await a.accept()).ec;
        }(acceptor));
        co_await yield();
        made.client.abort();  // which reaps nothing, unlike a close
        acceptor.abort();
        const auto again = made.client.connect(listening.local_endpoint());
        from.none_left = true;
        const auto connected = co_await again;
        const auto listens = acceptor.listen(any_port());
        from.none_left = false;
        CHECK(connected.ec == std::errc::not_enough_memory);
        CHECK(listens.ec == std::errc::not_enough_memory);
        CHECK((co_await reading).ec == errc::closed);
        CHECK((co_await accepting) == errc::closed);
        CHECK((co_await made.client.connect(listening.local_endpoint())).ok());
        CHECK(acceptor.listen(any_port()).ok());
    }(ctx, memory));
}
#endif

TEST_CASE("a cancelled write has moved what it says, and the stream goes on there") {
    run_on_port([](io_context& ctx) -> task<> {
        auto made = co_await test::connect(ctx);
        made.client.send_buffer_size(8192);
        made.server.receive_buffer_size(8192);
        std::string much(1 << 20, '\0');
        for (std::size_t i = 0; i < much.size(); ++i) much[i] = static_cast<char>(i * 31 + i / 256);
        auto reader = ctx.spawn([](tcp::socket& s, std::string_view all) -> task<std::size_t> {
            std::vector<char> buffer(32 * 1024);
            std::size_t read = 0;
            for (;;) {
                auto [ec, n] = co_await s.read_some(buffer);
                if (ec || all.substr(read, n) != std::string_view(buffer.data(), n)) co_return read;
                read += n;
                if (read % 5 == 0) (void)co_await sleep_for(100us);
            }
        }(made.server, much));
        std::size_t written = 0;
        int cancelled = 0;
        while (written < much.size()) {
            const auto rest = std::string_view(much).substr(written);
            auto [ec, n] = co_await with_timeout(write_all(made.client, rest), 50us);
            written += n;
            cancelled += ec == errc::timed_out;
            if (ec && ec != errc::timed_out) break;
        }
        made.client.shutdown(shutdown_how::send).value();
        CHECK(co_await reader == much.size());
        CHECK(cancelled > 10);
    });
}

#endif
