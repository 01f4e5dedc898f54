// Asio as its documentation advises: one thread, and told so; executors not type-erased,
// as polyloop's sockets; stacks of `spawn` from a pool; a steady_timer for each
// connection, set anew before each read.

#include "echo.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/context/pooled_fixedsize_stack.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <utility>

namespace
{

namespace asio = boost::asio;
using boost::system::error_code;

using executor = asio::io_context::executor_type;
using tcp_socket = asio::basic_stream_socket<asio::ip::tcp, executor>;
using clock = std::chrono::steady_clock;
using steady_timer =
    asio::basic_waitable_timer<clock, asio::wait_traits<clock>, executor>;

template <bool Idle>
class connection
{
public:
    connection(executor const& ex, int fd)
        : socket(ex, asio::ip::tcp::v4(), fd)
    {
        if constexpr (Idle)
            timer_.emplace(ex);
    }

    /// Before each read. The wait before, if any, ends as it is set anew.
    void expect()
    {
        if constexpr (Idle)
        {
            timer_->expires_after(echo::idle_limit);
            timer_->async_wait(
                [this](error_code ec)
                {
                    if (!ec)
                        socket.cancel();
                });
        }
    }
    /// At its end: nobody will look at this connection when the timer's handler runs.
    void done()
    {
        if constexpr (Idle)
            timer_->cancel();
    }

    tcp_socket socket;
    std::array<char, echo::buffer_size> data;

private:
    std::optional<steady_timer> timer_;
};

// -- callbacks

template <bool Idle>
struct session : connection<Idle>
{
    using connection<Idle>::connection;

    void read()
    {
        this->expect();
        this->socket.async_read_some(asio::buffer(this->data),
            [this](error_code ec, std::size_t n)
            {
                if (ec)
                    delete this; // its timer's handler sees an error
                else
                    write(n);
            });
    }
    void write(std::size_t n)
    {
        asio::async_write(this->socket, asio::buffer(this->data, n),
            [this](error_code ec, std::size_t)
            {
                if (ec)
                    delete this;
                else
                    read();
            });
    }
};

template <bool Idle>
void serve_callbacks(echo::sockets const& sockets)
{
    asio::io_context io(1);
    for (int const s : sockets)
        (new session<Idle>(io.get_executor(), s))->read();
    io.run();
}

// -- asio::spawn

using yield_context = asio::basic_yield_context<executor>;

template <bool Idle>
void serve_spawn(echo::sockets const& sockets)
{
    asio::io_context io(1);
    boost::context::pooled_fixedsize_stack stacks(128 * 1024);
    for (int const s : sockets)
        asio::spawn(
            io.get_executor(), std::allocator_arg, stacks,
            [&io, s](yield_context yield)
            {
                connection<Idle> c(io.get_executor(), s);
                for (error_code ec;;)
                {
                    c.expect();
                    auto const n =
                        c.socket.async_read_some(asio::buffer(c.data), yield[ec]);
                    if (ec)
                        break;
                    asio::async_write(c.socket, asio::buffer(c.data, n), yield[ec]);
                    if (ec)
                        break;
                }
                c.done();
            },
            asio::detached);
    io.run();
}

// -- coroutines

constexpr asio::use_awaitable_t<executor> await;

template <bool Idle>
asio::awaitable<void, executor> converse(executor ex, int fd)
{
    connection<Idle> c(ex, fd);
    for (error_code ec;;)
    {
        c.expect();
        auto const n = co_await c.socket.async_read_some(
            asio::buffer(c.data), asio::redirect_error(await, ec));
        if (ec)
            break;
        co_await asio::async_write(
            c.socket, asio::buffer(c.data, n), asio::redirect_error(await, ec));
        if (ec)
            break;
    }
    c.done();
}

template <bool Idle>
void serve_coroutines(echo::sockets const& sockets)
{
    asio::io_context io(1);
    for (int const s : sockets)
        asio::co_spawn(
            io.get_executor(), converse<Idle>(io.get_executor(), s), asio::detached);
    io.run();
}

} // namespace

echo::server const echo::asio_callbacks{
    "asio_callbacks", serve_callbacks<false>, serve_callbacks<true>};
echo::server const echo::asio_spawn{"asio_spawn", serve_spawn<false>, serve_spawn<true>};
echo::server const echo::asio_coroutines{
    "asio_coroutines", serve_coroutines<false>, serve_coroutines<true>};
