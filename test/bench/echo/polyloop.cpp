// polyloop: a fiber for each connection, on Asio's sockets and on those made for fibers,
// and a coroutine for each.

#include "echo.hpp"

#include <polyloop/loop/event_loop.hpp>
#include <polyloop/loop/tcp.hpp>
#include <polyloop/task/run_until_complete.hpp>
#include <polyloop/task/spawn.hpp>
#include <polyloop/task/use_fiber.hpp>

#include <polyloop/task/timeout.hpp>
#include <polyloop/io/tcp_stream.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <array>
#include <utility>
#include <vector>

namespace
{

namespace asio = boost::asio;
using boost::system::error_code;

/// A task for each socket, by `start(socket)`, and waits for all of them.
template <class Start>
void serve(echo::sockets const& sockets, Start start)
{
    polyloop::event_loop loop;
    polyloop::run_until_complete(loop,
        [&]
        {
            std::vector<polyloop::task<>> all;
            for (int const s : sockets)
                all.push_back(start(
                    polyloop::tcp::socket(loop.get_executor(), polyloop::tcp::v4(), s)));
            for (auto& t : all)
                t.join();
        });
}

// -- fibers

template <bool Idle>
std::size_t receive(polyloop::tcp::socket& s, asio::mutable_buffer where, error_code& ec)
{
    if constexpr (Idle)
        return s.async_read_some(where, polyloop::use_fiber(echo::idle_limit)[ec]);
    else
        return s.async_read_some(where, polyloop::use_fiber[ec]);
}

template <bool Idle>
void serve_fibers(echo::sockets const& sockets)
{
    serve(sockets,
        [](polyloop::tcp::socket s)
        {
            return polyloop::spawn(
                [s = std::move(s)]() mutable
                {
                    std::array<char, echo::buffer_size> data;
                    for (error_code ec;;)
                    {
                        auto const n = receive<Idle>(s, asio::buffer(data), ec);
                        if (ec)
                            break;
                        asio::async_write(
                            s, asio::buffer(data, n), polyloop::use_fiber[ec]);
                        if (ec)
                            break;
                    }
                });
        });
}

// -- coroutines

template <bool Idle>
asio::awaitable<std::size_t> receive(polyloop::tcp::socket& s, asio::mutable_buffer where)
{
    if constexpr (Idle)
        return polyloop::timeout(echo::idle_limit,
            [&s, where] { return s.async_read_some(where, asio::use_awaitable); });
    else
        return s.async_read_some(where, asio::use_awaitable);
}

template <bool Idle>
asio::awaitable<void> converse(polyloop::tcp::socket s)
{
    std::array<char, echo::buffer_size> data;
    try
    {
        for (;;)
        {
            std::size_t const n = co_await receive<Idle>(s, asio::buffer(data));
            co_await asio::async_write(s, asio::buffer(data, n), asio::use_awaitable);
        }
    }
    catch (boost::system::system_error const&)
    {
        // The client is gone.
    }
}

template <bool Idle>
void serve_coroutines(echo::sockets const& sockets)
{
    serve(sockets,
        [](polyloop::tcp::socket s)
        {
            return polyloop::spawn(
                [s = std::move(s)]() mutable { return converse<Idle>(std::move(s)); });
        });
}

constexpr auto fibers_idle = serve_fibers<true>;
constexpr auto coroutines_idle = serve_coroutines<true>;

// -- sockets made for fibers

template <bool Idle>
void serve_streams(echo::sockets const& sockets)
{
    polyloop::event_loop loop;
    polyloop::run_until_complete(loop,
        [&]
        {
            std::vector<polyloop::task<>> all;
            for (int const number : sockets)
                all.push_back(polyloop::spawn(
                    [s = polyloop::tcp_stream(loop, polyloop::tcp::v4(), number)]() mutable
                    {
                        std::array<char, echo::buffer_size> data;
                        for (error_code ec;;)
                        {
                            if constexpr (Idle)
                                s.expires_after(echo::idle_limit);
                            auto const n = s.read_some(asio::buffer(data), ec);
                            if (ec)
                                break;
                            asio::write(s, asio::buffer(data, n), ec);
                            if (ec)
                                break;
                        }
                    }));
            for (auto& t : all)
                t.join();
        });
}

} // namespace

echo::server const echo::polyloop_fibers{
    "polyloop_fibers", serve_fibers<false>, fibers_idle};
echo::server const echo::polyloop_coroutines{
    "polyloop_coroutines", serve_coroutines<false>, coroutines_idle};
echo::server const echo::polyloop_streams{"polyloop_streams", serve_streams<false>, serve_streams<true>};
