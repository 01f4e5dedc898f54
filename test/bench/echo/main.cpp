// polyloop_bench_echo SYSTEM CONNECTIONS [idle]: prints its port, accepts so many
// connections on the loopback, serves them until the last has closed, and prints the
// processor time of that in nanoseconds: user's and system's.

#include "echo.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace
{

echo::server const* const servers[] = {&echo::bare_epoll, &echo::asio_callbacks,
    &echo::asio_spawn, &echo::asio_coroutines, &echo::libuv, &echo::polyloop_fibers,
    &echo::polyloop_coroutines, &echo::polyloop_streams};

[[noreturn]] void fail(char const* what)
{
    std::perror(what);
    std::exit(1);
}

echo::sockets accept_all(int count)
{
    int const listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    auto* const where = reinterpret_cast<sockaddr*>(&address);
    if (listener < 0 || ::bind(listener, where, length) != 0 ||
        ::listen(listener, SOMAXCONN) != 0 ||
        ::getsockname(listener, where, &length) != 0)
        fail("listen");
    std::printf("%d\n", ntohs(address.sin_port));
    std::fflush(stdout);

    echo::sockets all;
    while (static_cast<int>(all.size()) != count)
    {
        int const s = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
        int const on = 1;
        if (s < 0 || ::setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0)
            fail("accept");
        all.push_back(s);
    }
    ::close(listener);
    return all;
}

long long nanoseconds(timeval t)
{
    return t.tv_sec * 1'000'000'000LL + t.tv_usec * 1000LL;
}

} // namespace

int main(int argc, char** argv)
{
    int const count = argc > 2 ? std::atoi(argv[2]) : 0;
    bool const idle = argc > 3 && std::string_view(argv[3]) == "idle";
    echo::server const* found = nullptr;
    for (auto* s : servers)
        if (argc > 1 && s->name == argv[1])
            found = s;
    if (!found || count <= 0 || argc > 4 || (argc == 4 && !idle))
    {
        std::fprintf(stderr, "Usage: %s SYSTEM CONNECTIONS [idle]\nSystems:", argv[0]);
        for (auto* s : servers)
            std::fprintf(stderr, " %s", s->name.data());
        std::fprintf(stderr, "\n");
        return 2;
    }
    auto* const serve = idle ? found->serve_idle : found->serve;
    if (!serve)
    {
        std::fprintf(stderr, "%s is not in this build.\n", found->name.data());
        return 3;
    }

    auto const all = accept_all(count);
    rusage before{}, after{};
    ::getrusage(RUSAGE_SELF, &before);
    serve(all);
    ::getrusage(RUSAGE_SELF, &after);
    std::printf("%lld %lld\n", nanoseconds(after.ru_utime) - nanoseconds(before.ru_utime),
        nanoseconds(after.ru_stime) - nanoseconds(before.ru_stime));
}
