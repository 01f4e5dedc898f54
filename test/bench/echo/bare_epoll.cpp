// The limit: one epoll, one read and one write for each message.

#include "echo.hpp"

#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <vector>

namespace
{

struct connection
{
    int socket = -1;
    std::uint64_t when = 0;
    connection* prev = nullptr;
    connection* next = nullptr;
};

[[noreturn]] void fail(char const* what)
{
    std::perror(what);
    std::exit(1);
}

/// A plain wheel of seconds, for deadlines that all lie less than its size ahead.
class wheel
{
public:
    wheel()
    {
        for (connection& head : heads_)
            head.prev = head.next = &head;
    }
    void insert(connection& c, std::uint64_t when)
    {
        connection& head = heads_[when % heads_.size()];
        c.when = when;
        c.next = &head;
        c.prev = head.prev;
        c.prev->next = head.prev = &c;
    }
    static void erase(connection& c)
    {
        c.prev->next = c.next;
        c.next->prev = c.prev;
    }
    bool any(std::uint64_t when) const
    {
        connection const& head = heads_[when % heads_.size()];
        return head.next != &head;
    }

private:
    std::array<connection, 64> heads_;
};

std::uint64_t seconds_now()
{
    timespec t{};
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return static_cast<std::uint64_t>(t.tv_sec);
}

template <bool Idle>
void serve(echo::sockets const& sockets)
{
    int const queue = epoll_create1(EPOLL_CLOEXEC);
    std::vector<connection> connections(sockets.size());
    wheel w;
    std::uint64_t now = Idle ? seconds_now() : 0;
    auto const limit = static_cast<std::uint64_t>(echo::idle_limit.count());
    for (std::size_t i = 0; i != sockets.size(); ++i)
    {
        connections[i].socket = sockets[i];
        epoll_event event{.events = EPOLLIN, .data = {.ptr = &connections[i]}};
        if (epoll_ctl(queue, EPOLL_CTL_ADD, sockets[i], &event) != 0)
            fail("epoll_ctl");
        if (Idle)
            w.insert(connections[i], now + limit);
    }

    std::size_t left = sockets.size();
    std::array<epoll_event, 128> events;
    std::array<char, echo::buffer_size> data;
    while (left)
    {
        int const n = epoll_wait(
            queue, events.data(), static_cast<int>(events.size()), Idle ? 1000 : -1);
        if (Idle)
        {
            now = seconds_now();
            if (w.any(now))
                fail("an idle connection");
        }
        for (int i = 0; i < n; ++i)
        {
            auto& c =
                *static_cast<connection*>(events[static_cast<std::size_t>(i)].data.ptr);
            auto const got = ::read(c.socket, data.data(), data.size());
            if (Idle)
                w.erase(c);
            if (got <= 0)
            {
                ::close(c.socket);
                --left;
                continue;
            }
            if (::write(c.socket, data.data(), static_cast<std::size_t>(got)) != got)
                fail("write");
            if (Idle)
                w.insert(c, now + limit);
        }
    }
    ::close(queue);
}

} // namespace

echo::server const echo::bare_epoll{"bare_epoll", serve<false>, serve<true>};
