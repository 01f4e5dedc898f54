// libuv: what arrived is tried to be written at once, as its documentation advises, since
// that spares a request; a uv_timer for each connection, set anew at each read.

#include "echo.hpp"

#include <uv.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>

namespace
{

struct connection
{
    uv_tcp_t stream;
    uv_timer_t timer;
    int open = 1;
    bool idle = false;
    std::array<char, echo::buffer_size> data;
};

connection& of(void* handle)
{
    return *static_cast<connection*>(static_cast<uv_handle_t*>(handle)->data);
}

void check(int result)
{
    if (result < 0)
    {
        std::fprintf(stderr, "libuv: %s\n", uv_strerror(result));
        std::exit(1);
    }
}

void closed(uv_handle_t* h)
{
    connection& c = of(h);
    if (--c.open == 0)
        delete &c;
}

void close(connection& c)
{
    if (c.idle)
        uv_close(reinterpret_cast<uv_handle_t*>(&c.timer), closed);
    uv_close(reinterpret_cast<uv_handle_t*>(&c.stream), closed);
}

void expired(uv_timer_t* t)
{
    close(of(t));
}

void expect(connection& c)
{
    if (c.idle)
        check(uv_timer_start(&c.timer, expired,
            static_cast<std::uint64_t>(echo::idle_limit.count()) * 1000, 0));
}

void place(uv_handle_t* h, std::size_t, uv_buf_t* where)
{
    connection& c = of(h);
    *where = uv_buf_init(c.data.data(), static_cast<unsigned>(c.data.size()));
}

void arrived(uv_stream_t* s, ssize_t n, uv_buf_t const* data)
{
    connection& c = of(s);
    if (n < 0)
        return close(c);
    if (n == 0)
        return;
    uv_buf_t const answer = uv_buf_init(data->base, static_cast<unsigned>(n));
    if (uv_try_write(s, &answer, 1) != n)
        check(UV_EIO); // never so with one small message on its way
    expect(c);
}

template <bool Idle>
void serve(echo::sockets const& sockets)
{
    uv_loop_t loop;
    check(uv_loop_init(&loop));
    for (int const s : sockets)
    {
        auto* const c = new connection;
        c->idle = Idle;
        check(uv_tcp_init(&loop, &c->stream));
        c->stream.data = c;
        if (Idle)
        {
            check(uv_timer_init(&loop, &c->timer));
            c->timer.data = c;
            c->open = 2;
        }
        check(uv_tcp_open(&c->stream, s));
        expect(*c);
        check(uv_read_start(reinterpret_cast<uv_stream_t*>(&c->stream), place, arrived));
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    check(uv_loop_close(&loop));
}

} // namespace

echo::server const echo::libuv{"libuv", serve<false>, serve<true>};
