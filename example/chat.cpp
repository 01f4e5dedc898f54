// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// A chat by lines, many to many: telnet to it, say a name, and talk. Two fibers serve each
// member: one reads its lines and puts them into everybody's channel, one writes what
// comes out of its own. Channels are bounded and nobody waits for one: whoever does not
// read holds up no other, and is dropped when the channel is full.

#include "server_program.hpp"

#include <polyloop.hpp>

#include <boost/asio/buffer.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>
#include <boost/program_options.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace asio = boost::asio;
namespace po = boost::program_options;
using boost::system::error_code;

namespace
{
struct limits
{
    std::size_t line;               // bytes
    std::size_t waiting;            // lines that wait for a member
    std::chrono::nanoseconds name;  // until a client has said its name
    std::chrono::nanoseconds write; // until a member has taken a line
};

// tag::room[]
struct member
{
    explicit member(std::size_t most)
        : lines(most)
    {
    }

    polyloop::channel<std::string> lines; // for it; closed when it is no member any more
    std::atomic<bool> slow = false;       // why
};

/// Who is there. Everybody gets the lines in the same order.
class room
{
public:
    explicit room(std::size_t waiting)
        : waiting_(waiting)
    {
    }

    /// Null where the name is taken.
    std::shared_ptr<member> enter(std::string const& name)
    {
        std::lock_guard const lock(mutex_); // nothing waits while it is held
        if (members_.contains(name))
            return nullptr;
        auto const m = std::make_shared<member>(waiting_);
        if (closed_)
            m->lines.close();
        else
            members_[name] = m;
        tell("* " + name + " has joined\n");
        return m;
    }

    void leave(std::string const& name, std::shared_ptr<member> const& m)
    {
        std::lock_guard const lock(mutex_);
        m->lines.close();
        auto const found = members_.find(name);
        if (found == members_.end() || found->second != m)
            return; // it was dropped, and its name may be somebody else's
        members_.erase(found);
        tell("* " + name + " has left\n");
    }

    void say(std::string const& name, std::string const& text)
    {
        std::lock_guard const lock(mutex_);
        tell(name + ": " + text + '\n');
    }

    void close()
    {
        std::lock_guard const lock(mutex_);
        closed_ = true;
        tell("* the server stops\n");
        for (auto const& [name, m] : members_)
            m->lines.close();
        members_.clear();
    }

private:
    void tell(std::string const& line)
    {
        std::vector<std::string> slow;
        for (auto const& [name, m] : members_)
            if (!m->lines.try_send(line))
            {
                m->slow = true;
                m->lines.close();
                slow.push_back(name);
            }
        for (std::string const& name : slow)
            members_.erase(name);
        for (std::string const& name : slow)
            tell("* " + name + " was dropped, being too slow\n");
    }

    std::size_t const waiting_;
    std::mutex mutex_;
    std::map<std::string, std::shared_ptr<member>> members_;
    bool closed_ = false;
};
// end::room[]

/// In the room, until the end of the scope.
class presence
{
public:
    /// Where `self()` is null the name is taken.
    presence(room& where, std::string name)
        : room_(where)
        , name_(std::move(name))
        , self_(room_.enter(name_))
    {
    }
    ~presence()
    {
        if (self_)
            room_.leave(name_, self_);
    }
    presence(presence const&) = delete;
    presence& operator=(presence const&) = delete;

    std::shared_ptr<member> const& self() const { return self_; }
    void say(std::string const& text) { room_.say(name_, text); }

private:
    room& room_;
    std::string const name_;
    std::shared_ptr<member> const self_;
};

/// Nothing at the end of the connection, or where a line is too long.
std::optional<std::string> read_line(
    polyloop::tcp_stream& from, std::string& buffer, limits const& limit, error_code& ec)
{
    auto const n =
        asio::read_until(from, asio::dynamic_buffer(buffer, limit.line + 1), '\n', ec);
    if (ec)
        return std::nullopt;
    std::string line = buffer.substr(0, n);
    buffer.erase(0, n);
    std::erase_if(line, [](unsigned char c) { return c < ' ' || c == 127; });
    return line;
}

bool is_name(std::string const& word)
{
    static std::string const letters =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    return !word.empty() && word.size() <= 20 &&
        word.find_first_not_of(letters) == std::string::npos;
}

/// What is in the member's channel, until that is closed; then the connection is, too.
void write_lines(polyloop::tcp_stream& to, member& self, limits const& limit)
try
{
    auto const write = [&](std::string const& line) {
        polyloop::timeout(limit.write, [&] { asio::write(to, asio::buffer(line)); });
    };
    for (std::string const& line : self.lines)
        write(line);
    if (self.slow)
        write("* you were dropped, being too slow\n");
    to.close();
}
catch (boost::system::system_error const&)
{
    to.close(); // which ends the reader
}

/// The member's lines, until it has no more.
void read_lines(
    polyloop::tcp_stream& from, std::string& buffer, presence& here, limits const& limit)
{
    error_code ec;
    while (auto const line = read_line(from, buffer, limit, ec))
    {
        if (!line->empty())
            here.say(*line);
        // Many may have come at once: the writers get a turn.
        polyloop::this_fiber::yield();
    }
    if (ec == asio::error::not_found)
        here.self()->lines.try_send(
            "* a line has at most " + std::to_string(limit.line) + " bytes\n");
}

void talk(polyloop::tcp_stream& connection, std::string& buffer,
    std::unique_ptr<presence> here, limits const& limit)
{
    polyloop::task_group writer;
    (void)writer.spawn(polyloop::get_running_loop(),
        [&, self = here->self()] { write_lines(connection, *self, limit); });
    read_lines(connection, buffer, *here, limit);
    here.reset();
    writer.join();
}

void serve(polyloop::tcp_stream connection, room& chat, limits const& limit)
{
    error_code ec;
    std::string buffer;
    connection.expires_after(limit.name);
    for (std::string question = "your name?\n";;)
    {
        asio::write(connection, asio::buffer(question), ec);
        auto const name = ec ? std::nullopt : read_line(connection, buffer, limit, ec);
        if (!name)
            return;
        if (!is_name(*name))
            question = "* 1 to 20 letters, digits, _ or -; your name?\n";
        else if (auto here = std::make_unique<presence>(chat, *name); here->self())
        {
            connection.expires_never();
            return talk(connection, buffer, std::move(here), limit);
        }
        else
            question = "* " + *name + " is taken; your name?\n";
    }
}
} // namespace

int main(int argc, char** argv)
try
{
    po::options_description options("A chat by lines under any policy");
    add_server_options(options);
    auto add = options.add_options();
    auto text = [](char const* by_default) {
        return po::value<std::string>()->default_value(by_default);
    };
    add("limit-line", text("1000"), "bytes of a line");
    add("limit-waiting", text("1000"), "lines that wait for a member; one more drops it");
    add("limit-name", text("60"), "seconds that a client may take to say its name");
    add("limit-write", text("10"), "seconds that a member may take to read a line");
    auto const given = read_options(argc, argv, options);
    if (given.contains("help"))
    {
        std::cout << options;
        return 0;
    }

    auto const where = where_to_listen(given);
    auto const limit_stop = seconds(given, "limit-stop");
    limits const limit{
        .line = number<std::size_t>(given, "limit-line", 1, 1U << 20),
        .waiting = number<std::size_t>(given, "limit-waiting", 1, 1U << 20),
        .name = seconds(given, "limit-name"),
        .write = seconds(given, "limit-write"),
    };
    room chat(limit.waiting);
    auto const handle = [&](polyloop::tcp_stream connection) {
        serve(std::move(connection), chat, limit);
    };
    polyloop::run(
        [&] {
            serve_until_stopped(
                where, handle, how_to_serve(given), limit_stop, [&] { chat.close(); });
        },
        how_to_run(given));
}
catch (std::exception const& e)
{
    return failed("chat", e);
}
