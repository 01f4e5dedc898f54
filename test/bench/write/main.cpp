// polyloop_bench_write SYSTEM BYTES: prints its port, accepts a connection on the loopback,
// writes so many bytes to it, 64 KiB at a time, and prints the processor time of that and
// the time that went by, in nanoseconds: user's, system's, real.

#include <polyloop/io/tcp_stream.hpp>
#include <polyloop/loop/event_loop.hpp>
#include <polyloop/task/run_until_complete.hpp>

#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>

#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <vector>

namespace
{

namespace asio = boost::asio;
using boost::system::error_code;
using tcp = asio::ip::tcp;

std::vector<char> const block(65536, 'x');

/// Reads and writes of the system, and poll where they would block.
void bare(int fd, std::size_t blocks)
{
    for (; blocks != 0; --blocks)
        for (std::size_t done = 0; done != block.size();)
        {
            auto const n = ::send(fd, block.data() + done, block.size() - done, MSG_NOSIGNAL);
            pollfd writable{fd, POLLOUT, 0};
            if (n > 0)
                done += static_cast<std::size_t>(n);
            else if (errno != EAGAIN || ::poll(&writable, 1, -1) != 1)
                return;
        }
}

using tcp_socket = asio::basic_stream_socket<tcp, asio::io_context::executor_type>;

void write_on(tcp_socket& s, std::size_t blocks)
{
    asio::async_write(s, asio::buffer(block),
        [&s, blocks](error_code ec, std::size_t)
        {
            if (!ec && blocks > 1)
                write_on(s, blocks - 1);
        });
}

void asio_callbacks(int fd, std::size_t blocks)
{
    asio::io_context io(1);
    tcp_socket s(io.get_executor(), tcp::v4(), fd);
    write_on(s, blocks);
    io.run();
}

void polyloop_streams(int fd, std::size_t blocks)
{
    polyloop::event_loop loop;
    polyloop::run_until_complete(loop,
        [&]
        {
            polyloop::tcp_stream s(loop, tcp::v4(), fd);
            for (error_code ec; !ec && blocks != 0; --blocks)
                asio::write(s, asio::buffer(block), ec);
        });
}

struct system
{
    std::string_view name;
    void (*write)(int fd, std::size_t blocks);
};
constexpr system systems[] = {
    {"bare", bare}, {"asio_callbacks", asio_callbacks}, {"polyloop_streams", polyloop_streams}};

long long nanoseconds(timeval t)
{
    return t.tv_sec * 1'000'000'000LL + t.tv_usec * 1000LL;
}

} // namespace

int main(int argc, char** argv)
{
    std::size_t const blocks = argc == 3 ? std::strtoull(argv[2], nullptr, 10) / block.size() : 0;
    for (auto const& s : systems)
        if (blocks != 0 && s.name == argv[1])
        {
            asio::io_context io;
            tcp::acceptor listener(io, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
            std::printf("%d\n", listener.local_endpoint().port());
            std::fflush(stdout);
            tcp::socket accepted = listener.accept();
            accepted.native_non_blocking(true);
            int const fd = ::dup(accepted.native_handle());
            accepted.close();

            rusage before{}, after{};
            ::getrusage(RUSAGE_SELF, &before);
            auto const begin = std::chrono::steady_clock::now();
            s.write(fd, blocks);
            std::chrono::nanoseconds const real = std::chrono::steady_clock::now() - begin;
            ::getrusage(RUSAGE_SELF, &after);
            std::printf("%lld %lld %lld\n", nanoseconds(after.ru_utime) - nanoseconds(before.ru_utime),
                nanoseconds(after.ru_stime) - nanoseconds(before.ru_stime),
                static_cast<long long>(real.count()));
            return 0;
        }
    std::fprintf(stderr, "Usage: %s SYSTEM BYTES\nSystems:", argv[0]);
    for (auto const& s : systems)
        std::fprintf(stderr, " %s", s.name.data());
    std::fprintf(stderr, "\n");
    return 2;
}
