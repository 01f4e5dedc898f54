// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_SERVER_SERVER_HPP
#define POLYLOOP_SERVER_SERVER_HPP

#include <polyloop/io/tcp_stream.hpp>
#include <polyloop/loop/tcp.hpp>
#include <polyloop/server/detail/connection_count.hpp>
#include <polyloop/task/spawn.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/socket_base.hpp>

#include <concepts>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

namespace polyloop {

struct server_options
{
    /// Connections at once; further clients wait in the system's backlog. 0 is no limit of the
    /// server's own.
    std::size_t max_connections = 0;

    /// Clients that the system keeps waiting.
    int backlog = asio::socket_base::max_listen_connections;

    /// Lets the server start while connections of an earlier one still linger.
    bool reuse_address = true;

    /// The context of each connection: a strand with a task on it, or a plain task (`fiber`). Unset
    /// takes a strand where that is the policy's unit, else a fiber. A thread is
    /// `error::bad_config`.
    std::optional<context_kind> unit = {};

    /// A listener for each loop of the policy in force, over which the system spreads the clients
    /// (`SO_REUSEPORT`), and no loop waits for another one's accepting. Else one listener accepts,
    /// and asks the policy for each connection.
    ///
    /// Unset: where the system spreads evenly (Linux), and so does the policy
    /// (`event_loop_policy::spreads_evenly`), and `max_connections` is 0. True is
    /// `error::option_unsupported` where the system does not spread, and `error::bad_config` with
    /// `max_connections`.
    std::optional<bool> listener_per_loop = {};

    /// Names the server's tasks: `<name>`, and `<name> connection` for its connections. It is what
    /// the placement `by_key` sees, so under that all connections of a server share a loop.
    std::string name = "server";
};

namespace detail {

class server_state;

/// A connection for whose end nobody is to blame: end of file, reset, cancellation.
POLYLOOP_DECL bool is_end_of_connection(boost::system::error_code const& ec) noexcept;

/// Gives a connection to its task on the loop: what is left of the handler's type.
using connection_starter = std::function<void(event_loop& loop, std::optional<strand> const& on,
                                              tcp::socket socket, connection_count::ticket ticket,
                                              std::string name)>;

} // namespace detail

/// A handle to a server that was started: asyncio.Server. Copies refer to the same one; dropping
/// the handle leaves it serving until it is closed or its run ends.
///
/// Thread safety: distinct objects safe, for the same server too.
class server
{
  public:
    /// An empty handle, on which every other operation throws `error::empty_handle`.
    server() noexcept = default;

    /// Where it listens, with the port that the system chose for port 0.
    POLYLOOP_DECL tcp::endpoint endpoint() const;

    /// Stops accepting; connections go on. A second call does nothing. From any thread, at once.
    POLYLOOP_DECL void close();

    /// Whether it accepts connections.
    POLYLOOP_DECL bool is_serving() const;

    /// Connections at this moment.
    POLYLOOP_DECL std::size_t connections() const;

    /// Waits until the server is closed and its last connection has ended; throws what ended the
    /// accepting, if not a close. Suspends a fiber, blocks a plain thread. A cancelled caller
    /// leaves, and the server stays as it is.
    POLYLOOP_DECL void wait_closed();

    /// The same for coroutines, with any completion token: `void(std::exception_ptr)`.
    template <class Token>
    auto async_wait_closed(Token&& token)
    {
        return task_until_closed().async_join(std::forward<Token>(token));
    }

    /// Waits until somebody closes the server; throws what ended the accepting, if not a close. A
    /// cancelled caller closes it and throws `operation_aborted`. Suspends a fiber, blocks a plain
    /// thread.
    POLYLOOP_DECL void serve_forever();

    /// The same for coroutines, with any completion token: `void(std::exception_ptr)`.
    template <class Token>
    auto async_serve_forever(Token&& token)
    {
        return task_serving().async_join(std::forward<Token>(token));
    }

  private:
    friend class detail::server_state;

    explicit server(std::shared_ptr<detail::server_state> s) noexcept : state_(std::move(s))
    {
    }
    detail::server_state& get() const;
    POLYLOOP_DECL task<> task_until_closed() const;
    POLYLOOP_DECL task<> task_serving() const;

    std::shared_ptr<detail::server_state> state_;
};

namespace detail {

/// What a handler is called with: a socket of Asio if it takes one, else a stream for fibers.
template <class H>
using connection_of =
    std::conditional_t<std::invocable<H const&, tcp::socket>, tcp::socket, tcp_stream>;

template <class H>
using connection_result = std::invoke_result_t<H const&, connection_of<H>>;

} // namespace detail

/// What a server can call for each connection: `void(tcp_stream)` or `void(tcp::socket)`, run in a
/// fiber, or a coroutine, `asio::awaitable<void>` of the same; `asio::ip::tcp::socket` does as
/// well.
template <class H>
concept connection_handler =
    std::invocable<H const&, detail::connection_of<H>> && std::copy_constructible<H> &&
    (std::is_void_v<detail::connection_result<H>> ||
     std::is_same_v<detail::connection_result<H>, asio::awaitable<void>>);

namespace detail {

POLYLOOP_DECL server start_server(tcp::endpoint const& endpoint, connection_starter start,
                                  server_options options);

/// In its task.
template <class Connection>
Connection connection(tcp::socket socket)
{
    if constexpr (std::is_same_v<Connection, tcp_stream>)
        return tcp_stream(get_running_loop(), std::move(socket));
    else
        return socket;
}

template <class H>
connection_starter make_starter(H handler)
{
    constexpr bool coroutine = !std::is_void_v<connection_result<H>>;
    // Shared, as a coroutine may refer to its handler's captures to its end.
    return [h = std::make_shared<H const>(std::move(handler))](
               event_loop& loop, std::optional<strand> const& on, tcp::socket socket,
               connection_count::ticket ticket, std::string name) {
        spawn_options options{.name = std::move(name), .key = {}};
        auto start = [&](auto body) {
            if (on)
                (void)spawn(*on, std::move(body), std::move(options));
            else
                (void)spawn(loop, std::move(body), std::move(options));
        };
        if constexpr (coroutine)
            start([h, s = std::move(socket), t = std::move(ticket)]() mutable {
                return [](std::shared_ptr<H const> f, tcp::socket own,
                          connection_count::ticket) -> asio::awaitable<void> {
                    try
                    {
                        co_await (*f)(connection<connection_of<H>>(std::move(own)));
                    }
                    catch (boost::system::system_error const& e)
                    {
                        if (!is_end_of_connection(e.code()))
                            throw;
                    }
                }(h, std::move(s), std::move(t));
            });
        else
            start([h, s = std::move(socket), t = std::move(ticket)]() mutable {
                try
                {
                    (*h)(connection<connection_of<H>>(std::move(s)));
                }
                catch (boost::system::system_error const& e)
                {
                    if (!is_end_of_connection(e.code()))
                        throw;
                }
            });
    };
}

} // namespace detail

/// Listens at `endpoint` and calls `handler` for each connection in a context of its own, on a
/// loop of the policy in force: the one whose listener got it, or, with one listener, the one where
/// the policy places it (see `server_options::listener_per_loop`). The connection is accepted
/// straight into that loop.
///
/// To be called where `get_event_loop()` gives a loop, which then runs the accepting, or waits for
/// that of the others. The handler is called on several threads at once if the policy has several
/// loops. What it throws goes to the exception handler of its loop, but for the ends that
/// connections have: end of file, reset, broken pipe, cancellation.
///
/// Errors of accepting are reported to the exception handler, once for each series, and tried
/// again after a growing pause (10 ms to 1 s): out of descriptors, the server goes on as soon as
/// there are some. Where not even that can be done, for want of memory, the server closes, with all
/// its listeners, which is reported as well.
///
/// Throws the system's error where it cannot listen (address in use, permission), and
/// `error::bad_config` for an empty handler.
template <connection_handler H>
server start_server(tcp::endpoint const& endpoint, H handler, server_options options = {})
{
    detail::refuse_empty(handler);
    return detail::start_server(endpoint, detail::make_starter(std::move(handler)),
                                std::move(options));
}

} // namespace polyloop

#endif
