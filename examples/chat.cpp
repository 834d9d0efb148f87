// Chat: what one client says, all the others read.
//
//   chat PORT [--idle MS] [--answer MS] [--write MS]
//
//   chat 7000                  and in as many windows as you like: nc 127.0.0.1 7000
//
// A line is what ends with a newline; "/quit" says goodbye. Limits keep the room tidy:
//   --idle     a client that has said nothing for so long is asked whether it is there (60 s)
//   --answer   and dropped if it says nothing for so long after that (20 s)
//   --write    a client that does not read what it is sent for so long is cut off with a RST (5 s)
//
// The question does not disturb who is typing: the limit cancels the read of a line, and the half
// of it that has arrived already is still there when the next read goes on.
#include <curfew/curfew.hpp>

#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

using namespace curfew;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t longest_line = 1000;

struct limits {
    std::chrono::milliseconds idle = 60s;
    std::chrono::milliseconds answer = 20s;
    std::chrono::milliseconds write = 5s;
};

/// "7000" and "127.0.0.1:7000" are the same.
ip::endpoint parse_endpoint(std::string text) {
    if (text.find(':') == text.npos) text = "127.0.0.1:" + text;
    const auto [ec, endpoint] = ip::endpoint::parse(text);
    if (ec) throw std::system_error(ec, text);
    return endpoint;
}

struct client {
    buffered<tcp::socket> stream;
    std::string name;
    std::string outbox;       // to be written
    bool is_writing = false;  // a task is at it
};

class room {
public:
    room(io_context& ctx, limits chosen) : ctx_(ctx), limits_(chosen) {}

    /// Takes in clients for ever.
    task<> listen(ip::endpoint at) {
        tcp::acceptor acceptor(ctx_);
        if (auto [ec] = acceptor.listen(at); ec)
            throw std::system_error(ec, "listening on " + at.to_string());
        log("listening on " + acceptor.local_endpoint().to_string());

        for (;;) {
            auto [ec, socket] = co_await acceptor.accept();
            if (ec) co_return log("accept: " + ec.message());
            // With little room in the system's buffers it shows soon that somebody does not read.
            socket.send_buffer_size(64 * 1024);
            ctx_.spawn(attend(std::make_shared<client>(
                client{buffered(std::move(socket)), "guest-" + std::to_string(++guests_), {}})));
        }
    }

private:
    /// Everything there is to one client, from hello to goodbye.
    task<> attend(std::shared_ptr<client> me) {
        clients_.push_back(me);
        tell(me,
             "* hello " + me->name + ", there are " + std::to_string(clients_.size()) + " here");
        announce(*me, "has come");

        std::string_view parting;
        while (parting.empty()) {
            auto heard = co_await with_timeout(me->stream.read_line(longest_line), limits_.idle);
            if (heard.error() == errc::timed_out) {
                tell(me, "* are you there?");
                heard = co_await with_timeout(me->stream.read_line(longest_line), limits_.answer);
            }

            if (heard.ok() && heard.value() == "/quit")
                parting = "says goodbye";
            else if (heard.ok())
                tell_others(*me, (me->name + ": ").append(heard.value()));
            else if (heard.error() == errc::timed_out)
                parting = "has fallen asleep";
            else if (heard.error() == std::errc::message_size)
                parting = "talks without end";
            else if (heard.error() == errc::closed)  // by the limit in flush()
                parting = "does not listen";
            else
                parting = "has gone";
        }

        tell(me, "* goodbye");
        std::erase(clients_, me);
        announce(*me, parting);
        // The socket closes when the last owner of the client lets go: this task or, if there is
        // something left to be written, flush().
    }

    void announce(const client& about, std::string_view what) {
        const std::string text = "* " + about.name + ' ' + std::string(what);
        log(text);
        tell_others(about, text);
    }

    void tell_others(const client& from, const std::string& text) {
        for (const auto& each : clients_)
            if (each.get() != &from) tell(each, text);
    }

    /// Never waits: the line is put into the outbox, which a task of its own empties.
    void tell(const std::shared_ptr<client>& to, std::string_view text) {
        if (!to->stream.next_layer().is_open()) return;
        to->outbox.append(text).push_back('\n');
        if (!std::exchange(to->is_writing, true)) ctx_.spawn(flush(to));
    }

    task<> flush(std::shared_ptr<client> to) {
        while (!to->outbox.empty()) {
            const std::string lines = std::exchange(to->outbox, {});
            auto [ec, sent] = co_await with_timeout(to->stream.write_all(lines), limits_.write,
                                                    on_timeout::close);
            if (ec) break;  // attend() learns of it, too: its read ends
        }
        to->is_writing = false;
    }

    static void log(const std::string& text) {
        std::puts(text.c_str());
        std::fflush(stdout);
    }

    io_context& ctx_;
    const limits limits_;
    std::vector<std::shared_ptr<client>> clients_;
    int guests_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
    limits chosen;
    bool understood = argc >= 2 && argc % 2 == 0;
    try {
        for (int i = 2; understood && i < argc; i += 2) {
            const std::string_view option = argv[i];
            const std::chrono::milliseconds time(std::stol(argv[i + 1]));
            if (option == "--idle")
                chosen.idle = time;
            else if (option == "--answer")
                chosen.answer = time;
            else if (option == "--write")
                chosen.write = time;
            else
                understood = false;
        }
        if (!understood) {
            std::fprintf(stderr, "usage: %s PORT [--idle MS] [--answer MS] [--write MS]\n",
                         argv[0]);
            return 2;
        }
        io_context ctx;
        room lobby(ctx, chosen);
        ctx.spawn(lobby.listen(parse_endpoint(argv[1])));
        ctx.run();
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s: %s\n", argv[0], error.what());
        return 1;
    }
}
