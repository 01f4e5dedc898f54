// polyloop_bench_load PORT CONNECTIONS REQUESTS: that many connections, each with one
// message of 64 bytes on its way at any time, until so many have come back altogether;
// then all of them are closed. Prints the nanoseconds that took. The same for every
// server.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace
{

constexpr std::size_t message_size = 64;

[[noreturn]] void fail(char const* what)
{
    std::perror(what);
    std::exit(1);
}

int connect_to(int port)
{
    int const s = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<in_port_t>(port));
    int const on = 1;
    if (s < 0 ||
        ::connect(s, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
        ::setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0)
        fail("connect");
    return s;
}

struct connection
{
    int socket = -1;
    unsigned char sent = 0;
    std::size_t received = 0;
    std::array<unsigned char, message_size> data;

    void send()
    {
        data.fill(++sent);
        if (::send(socket, data.data(), data.size(), 0) !=
            static_cast<ssize_t>(data.size()))
            fail("send");
        received = 0;
    }
    /// Whether the whole answer is there, and is what was sent.
    bool receive()
    {
        auto const n = ::recv(socket, data.data() + received, data.size() - received, 0);
        if (n <= 0)
            fail("recv");
        received += static_cast<std::size_t>(n);
        if (received != data.size())
            return false;
        for (unsigned char const c : data)
            if (c != sent)
                fail("the answer is another");
        return true;
    }
};

} // namespace

int main(int argc, char** argv)
{
    if (argc != 4)
    {
        std::fprintf(stderr, "Usage: %s PORT CONNECTIONS REQUESTS\n", argv[0]);
        return 2;
    }
    int const port = std::atoi(argv[1]);
    long left = std::atol(argv[3]);
    std::vector<connection> all(static_cast<std::size_t>(std::atol(argv[2])));
    int const queue = epoll_create1(EPOLL_CLOEXEC);
    for (connection& c : all)
    {
        c.socket = connect_to(port);
        epoll_event event{.events = EPOLLIN, .data = {.ptr = &c}};
        if (epoll_ctl(queue, EPOLL_CTL_ADD, c.socket, &event) != 0)
            fail("epoll_ctl");
    }

    auto const begin = std::chrono::steady_clock::now();
    long sent = 0;
    for (connection& c : all)
        if (sent < left)
        {
            c.send();
            ++sent;
        }
    long to_send = left - sent;
    std::array<epoll_event, 256> events;
    while (left > 0)
    {
        int const n =
            epoll_wait(queue, events.data(), static_cast<int>(events.size()), -1);
        for (int i = 0; i < n; ++i)
        {
            auto& c =
                *static_cast<connection*>(events[static_cast<std::size_t>(i)].data.ptr);
            if (!c.receive())
                continue;
            --left;
            if (to_send > 0)
            {
                --to_send;
                c.send();
            }
        }
    }
    auto const time = std::chrono::steady_clock::now() - begin;
    for (connection& c : all)
        ::close(c.socket);
    std::printf("%lld\n", static_cast<long long>(std::chrono::nanoseconds(time).count()));
}
