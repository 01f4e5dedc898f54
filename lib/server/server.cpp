// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/server/server.hpp>

#include <polyloop/task/this_fiber.hpp>
#include <polyloop/task/use_fiber.hpp>

#include <boost/asio/error.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <optional>
#include <utility>

namespace polyloop {
namespace detail {

bool is_end_of_connection(boost::system::error_code const& ec) noexcept
{
    namespace e = boost::asio::error;
    return ec == e::eof || ec == e::connection_reset || ec == e::broken_pipe ||
           ec == e::operation_aborted;
}

/// Two tasks serve a server: one accepts until it is closed, one waits after that until the last
/// connection is over, so that others can wait for either by joining.
class server_state : public std::enable_shared_from_this<server_state>
{
  public:
    server_state(event_loop& loop, tcp::endpoint const& endpoint, connection_starter start,
                 server_options options)
        : loop_(&loop), options_(std::move(options)), start_(std::move(start)),
          acceptor_(std::in_place, loop.io_context()), count_(std::make_shared<connection_count>())
    {
        if (options_.unit == context_kind::thread)
            throw_error(error::bad_config, "server_options::unit is thread: a connection gets a "
                                           "strand or a fiber");
        acceptor_->open(endpoint.protocol());
        if (options_.reuse_address)
            acceptor_->set_option(tcp::acceptor::reuse_address(true));
        acceptor_->bind(endpoint);
        acceptor_->listen(options_.backlog);
        endpoint_ = acceptor_->local_endpoint();
    }

    server serve(event_loop& loop)
    {
        auto self = shared_from_this();
        accepting_ = spawn(loop, [l = listening(self)] { l.state->accept_until_closed(); },
                           {.name = options_.name, .key = {}});
        try
        {
            draining_ = spawn(
                loop,
                [self, accepting = accepting_]() mutable {
                    accepting.join_for(std::chrono::nanoseconds::max());
                    self->count_->wait_at_most(0);
                },
                {.name = options_.name + " drain", .key = {}});
        }
        catch (...)
        {
            close(); // nobody gets a handle to it
            throw;
        }
        return server(std::move(self));
    }

    tcp::endpoint const& endpoint() const noexcept
    {
        return endpoint_;
    }
    bool serving() const
    {
        return !closed_ && !accepting_.done();
    }
    std::size_t connections() const noexcept
    {
        return count_->value();
    }
    void close()
    {
        if (!closed_.exchange(true))
            accepting_.cancel();
    }
    void wait_closed()
    {
        draining_.join_for(std::chrono::nanoseconds::max());
    }
    task<> task_until_closed()
    {
        if (draining_.done())
            return draining_;
        // A task of its own, as cancelling the wait cancels it.
        return spawn(*loop_, [self = shared_from_this()] { self->wait_closed(); },
                     {.name = options_.name + " wait", .key = {}});
    }
    task<> task_serving() const
    {
        return accepting_;
    }
    void serve_forever()
    {
        try
        {
            accepting_.join_for(std::chrono::nanoseconds::max());
        }
        catch (boost::system::system_error const& e)
        {
            // Whoever could not wait here at all has said nothing about the server.
            if (e.code() == asio::error::operation_aborted)
                close();
            throw;
        }
        if (!accepting_.cancelled())
            accepting_.join(); // throws what ended it, if not a close
    }

  private:
    /// In the accepting task's callable: however that ends, and if it never starts, nobody
    /// listens any more. The callable is destroyed on the loop.
    struct listening
    {
        explicit listening(std::shared_ptr<server_state> s) noexcept : state(std::move(s))
        {
        }
        listening(listening&&) noexcept = default;
        listening& operator=(listening&&) = delete;
        ~listening()
        {
            if (!state)
                return;
            state->closed_ = true;
            state->acceptor_.reset();
        }

        std::shared_ptr<server_state> state;
    };

    using pause = std::chrono::milliseconds;
    static constexpr pause first_pause{10};
    static constexpr pause longest_pause{1000};

    void accept_until_closed()
    {
        event_loop& loop = get_running_loop();
        try
        {
            for (;;)
            {
                if (options_.max_connections != 0)
                    count_->wait_at_most(options_.max_connections - 1);
                if (std::exception_ptr const failure = accept_one())
                    back_off(loop, failure);
                else
                    recovered(loop);
            }
        }
        catch (boost::system::system_error const& e)
        {
            if (!closed_ || e.code() != asio::error::operation_aborted)
                throw;
        }
    }

    /// What went wrong, null if nothing did: with the accepting, with the placing (a strategy of
    /// somebody's own), or for want of memory or a stack. Throws `operation_aborted` alone.
    std::exception_ptr accept_one()
    {
        boost::system::error_code ec;
        try
        {
            accept_one(ec);
        }
        catch (boost::system::system_error const& e)
        {
            if (e.code() == asio::error::operation_aborted)
                throw; // the task was cancelled before the accepting began
            return std::current_exception();
        }
        catch (...)
        {
            return std::current_exception();
        }
        if (ec == asio::error::operation_aborted)
            throw_cancelled();
        if (!ec || ec == asio::error::connection_aborted)
            return nullptr;
        return std::make_exception_ptr(boost::system::system_error(ec));
    }

    void accept_one(boost::system::error_code& ec)
    {
        context_kind const unit = options_.unit.value_or(
            get_event_loop_policy()->unit() == context_kind::strand ? context_kind::strand
                                                                    : context_kind::fiber);
        event_loop& loop = place_context({.kind = unit, .key = {}, .name = options_.name});
        tcp::socket socket = acceptor_->async_accept(loop.io_context(), use_fiber[ec]);
        if (ec)
            return;
        std::optional<strand> on;
        if (unit == context_kind::strand)
            on.emplace(loop, options_.name + " connection");
        start_(loop, on, std::move(socket), connection_count::ticket(count_),
               options_.name + " connection");
    }

    void back_off(event_loop& loop, std::exception_ptr const& failure)
    {
        if (failures_++ == 0)
        {
            pause_ = first_pause;
            loop.call_exception_handler(
                {options_.name + " cannot accept connections, and goes on trying",
                 failure, options_.name});
        }
        this_fiber::sleep_for(pause_);
        pause_ = std::min(2 * pause_, longest_pause);
    }

    void recovered(event_loop& loop)
    {
        if (failures_ == 0)
            return;
        loop.call_exception_handler({options_.name + " accepts connections again, after " +
                                         std::to_string(failures_) + " failures",
                                     nullptr, options_.name});
        failures_ = 0;
    }

    // Asked for only while `draining_` is not done; it is done when its loop is closed.
    event_loop* const loop_;
    server_options const options_;
    connection_starter const start_;
    std::optional<tcp::acceptor> acceptor_; // the accepting task's
    tcp::endpoint endpoint_;
    std::shared_ptr<connection_count> const count_;
    std::atomic<bool> closed_ = false;
    std::size_t failures_ = 0;
    pause pause_ = first_pause;
    task<> accepting_;
    task<> draining_;
};

server start_server(tcp::endpoint const& endpoint, connection_starter start,
                    server_options options)
{
    event_loop& loop = get_event_loop();
    return std::make_shared<server_state>(loop, endpoint, std::move(start), std::move(options))
        ->serve(loop);
}

} // namespace detail

detail::server_state& server::get() const
{
    if (!state_)
        detail::throw_error(error::empty_handle);
    return *state_;
}

tcp::endpoint server::endpoint() const
{
    return get().endpoint();
}

void server::close()
{
    get().close();
}

bool server::is_serving() const
{
    return get().serving();
}

task<> server::task_until_closed() const
{
    return get().task_until_closed();
}

task<> server::task_serving() const
{
    return get().task_serving();
}

std::size_t server::connections() const
{
    return get().connections();
}

void server::wait_closed()
{
    get().wait_closed();
}

void server::serve_forever()
{
    get().serve_forever();
}

} // namespace polyloop
