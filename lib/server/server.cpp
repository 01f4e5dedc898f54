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
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

namespace polyloop {
namespace detail {

bool is_end_of_connection(boost::system::error_code const& ec) noexcept
{
    namespace e = boost::asio::error;
    return ec == e::eof || ec == e::connection_reset || ec == e::broken_pipe ||
           ec == e::operation_aborted;
}

namespace {

/// Whether the system spreads connections over all sockets that listen at one endpoint.
#if defined(__linux__) && defined(SO_REUSEPORT)
constexpr bool system_spreads = true;
constexpr int reuse_port_name = SO_REUSEPORT;
#else
constexpr bool system_spreads = false;
constexpr int reuse_port_name = 0;
#endif

/// Lets others listen where this one does.
struct reuse_port
{
    int level(asio::ip::tcp const&) const noexcept
    {
        return SOL_SOCKET;
    }
    int name(asio::ip::tcp const&) const noexcept
    {
        return reuse_port_name;
    }
    int const* data(asio::ip::tcp const&) const noexcept
    {
        return &on;
    }
    std::size_t size(asio::ip::tcp const&) const noexcept
    {
        return sizeof on;
    }

    int on = 1;
};

/// The loops that shall have a listener each; none where one listener serves all.
std::vector<std::shared_ptr<event_loop>> listening_loops(event_loop& loop,
                                                         server_options const& options)
{
    bool const wanted = options.listener_per_loop.value_or(false);
    if (wanted && !system_spreads)
        throw_error(error::option_unsupported,
                    "server_options::listener_per_loop: this system does not spread connections "
                    "over several listeners; leave it unset");
    if (wanted && options.max_connections != 0)
        throw_error(error::bad_config,
                    "server_options::listener_per_loop cannot keep to max_connections, which is "
                    "for all loops together; leave one of them unset");
    auto const policy = get_event_loop_policy();
    if (!options.listener_per_loop.value_or(system_spreads && policy->spreads_evenly() &&
                                            options.max_connections == 0))
        return {};
    auto loops = policy->loops();
    auto const is_caller = [&](auto const& l) { return l.get() == &loop; };
    if (loops.size() < 2 || std::none_of(loops.begin(), loops.end(), is_caller))
        loops.clear();
    return loops;
}

} // namespace

/// A task accepts until the server is closed, one for each listener, and where there are several,
/// one more waits for all of them. Another one waits after that until the last connection is over,
/// so that others can wait for either by joining.
///
/// Invariant: they accept together or not at all. However one of them ends, the others end with it.
class server_state : public std::enable_shared_from_this<server_state>
{
  public:
    server_state(event_loop& loop, tcp::endpoint const& endpoint, connection_starter start,
                 server_options options)
        : loop_(&loop), options_(std::move(options)), start_(std::move(start)),
          count_(std::make_shared<connection_count>())
    {
        if (options_.unit == context_kind::thread)
            throw_error(error::bad_config, "server_options::unit is thread: a connection gets a "
                                           "strand or a fiber");
        auto const loops = listening_loops(loop, options_);
        listeners_.reserve(std::max<std::size_t>(loops.size(), 1));
        add_listener(loops.empty() ? loop : *loops[0], endpoint, false);
        endpoint_ = listeners_[0].acceptor->local_endpoint();
        if (loops.size() > 1)
        {
            // Only now: had it said so before, it could have shared the port with a stranger.
            listeners_[0].acceptor->set_option(reuse_port());
            for (std::size_t i = 1; i != loops.size(); ++i)
                add_listener(*loops[i], endpoint_, true);
        }
        for (listener& l : listeners_)
            l.acceptor->listen(options_.backlog);
    }

    server serve(event_loop& loop)
    {
        auto self = shared_from_this();
        try
        {
            start_accepting(self);
            draining_ = spawn(
                loop,
                [self, accepting = accepting_]() mutable {
                    accepting.join_for(std::chrono::nanoseconds::max());
                    (void)self->failure(); // which is not reported again
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
        end_parts();
    }
    void wait_closed()
    {
        draining_.join_for(std::chrono::nanoseconds::max());
        if (std::exception_ptr const f = failure())
            std::rethrow_exception(f);
    }
    task<> task_until_closed()
    {
        if (draining_.done() && !failure())
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
    using pause = std::chrono::milliseconds;
    static constexpr pause first_pause{10};
    static constexpr pause longest_pause{1000};

    /// Its accepting task's.
    struct listener
    {
        event_loop* loop;
        std::optional<tcp::acceptor> acceptor;
        std::size_t failures = 0;
        pause next_pause = first_pause;
    };

    /// In an accepting task's callable: however that ends, and if it never starts, nobody
    /// listens any more. The callable is destroyed on the loop.
    struct listening
    {
        listening(std::shared_ptr<server_state> s, listener& l) noexcept
            : state(std::move(s)), own(&l)
        {
        }
        listening(listening&&) noexcept = default;
        listening& operator=(listening&&) = delete;
        ~listening()
        {
            if (!state)
                return;
            own->acceptor.reset();
            state->end_parts();
        }

        std::shared_ptr<server_state> state;
        listener* own;
    };

    /// In the callable of the task that waits for several of these: they end with it.
    struct waiting
    {
        explicit waiting(std::shared_ptr<server_state> s) noexcept : state(std::move(s))
        {
        }
        waiting(waiting&&) noexcept = default;
        waiting& operator=(waiting&&) = delete;
        ~waiting()
        {
            if (state)
                state->end_parts();
        }

        std::shared_ptr<server_state> state;
    };

    void add_listener(event_loop& loop, tcp::endpoint const& endpoint, bool shares)
    {
        listener& l = listeners_.emplace_back(listener{&loop, {}});
        tcp::acceptor& a = l.acceptor.emplace(loop.io_context());
        a.open(endpoint.protocol());
        if (options_.reuse_address)
            a.set_option(tcp::acceptor::reuse_address(true));
        if (shares)
            a.set_option(reuse_port());
        a.bind(endpoint);
    }

    task<> start_part(std::shared_ptr<server_state> const& self, listener& l)
    {
        task<> part = spawn(*l.loop,
                            [in = listening(self, l)] { in.state->accept_until_closed(*in.own); },
                            {.name = options_.name, .key = {}});
        std::unique_lock lock(parts_mutex_);
        parts_.push_back(part);
        bool const ended = closed_;
        lock.unlock();
        if (ended)
            part.cancel(); // another one has ended meanwhile
        return part;
    }
    void start_accepting(std::shared_ptr<server_state> const& self)
    {
        parts_.reserve(listeners_.size());
        for (listener& l : listeners_)
            accepting_ = start_part(self, l);
        if (listeners_.size() > 1)
            accepting_ = spawn(*loop_, [w = waiting(self)] { w.state->wait_for_parts(); },
                               {.name = options_.name + " listeners", .key = {}});
    }

    /// Once; from any thread. Needs no memory, the want of which may be why.
    void end_parts() noexcept
    {
        std::unique_lock lock(parts_mutex_);
        if (closed_.exchange(true))
            return;
        // More may be started until it is seen there that it is closed.
        for (std::size_t i = 0; i != parts_.size(); ++i)
        {
            task<> part = parts_[i];
            lock.unlock(); // one that never started may end in the call
            part.cancel();
            lock.lock();
        }
    }
    void wait_for_parts()
    {
        std::exception_ptr failure;
        for (task<> t : parts_)
            try
            {
                t.join();
            }
            catch (...) // also the cancellation of this task
            {
                if (!failure)
                    failure = std::current_exception();
                end_parts();
            }
        for (task<> t : parts_)
            t.join_for(std::chrono::nanoseconds::max());
        if (failure)
            unless_closed(failure);
    }

    /// What ended the accepting, once it has, but for a close; null if nothing did.
    std::exception_ptr failure() const
    {
        task<> accepting = accepting_;
        if (!accepting.done() || accepting.cancelled())
            return nullptr;
        try
        {
            accepting.join();
        }
        catch (...)
        {
            return std::current_exception();
        }
        return nullptr;
    }

    /// Throws it, but for the cancellation of a server that was closed.
    void unless_closed(std::exception_ptr const& failure) const
    {
        try
        {
            std::rethrow_exception(failure);
        }
        catch (boost::system::system_error const& e)
        {
            if (!closed_ || e.code() != asio::error::operation_aborted)
                throw;
        }
    }

    void accept_until_closed(listener& l)
    {
        try
        {
            for (;;)
            {
                if (options_.max_connections != 0)
                    count_->wait_at_most(options_.max_connections - 1);
                if (std::exception_ptr const failure = accept_one(l))
                    back_off(l, failure);
                else
                    recovered(l);
            }
        }
        catch (boost::system::system_error const& e)
        {
            if (e.code() != asio::error::operation_aborted)
                give_up(l);
            unless_closed(std::current_exception());
        }
        catch (...)
        {
            give_up(l);
            throw;
        }
    }

    /// Says that it is over, and why.
    void give_up(listener& l)
    {
        l.loop->call_exception_handler({"a server accepts no more connections, and is closed",
                                        std::current_exception(), options_.name});
    }

    /// What went wrong, null if nothing did: with the accepting, with the placing (a strategy of
    /// somebody's own), or for want of memory or a stack. Throws `operation_aborted` alone.
    std::exception_ptr accept_one(listener& l)
    {
        boost::system::error_code ec;
        try
        {
            accept_one(l, ec);
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

    void accept_one(listener& l, boost::system::error_code& ec)
    {
        context_kind const unit = options_.unit.value_or(
            get_event_loop_policy()->unit() == context_kind::strand ? context_kind::strand
                                                                    : context_kind::fiber);
        event_loop& loop =
            listeners_.size() == 1
                ? place_context({.kind = unit, .key = {}, .name = options_.name})
                : *l.loop;
        tcp::socket socket = l.acceptor->async_accept(loop.io_context(), use_fiber[ec]);
        if (ec)
            return;
        std::optional<strand> on;
        if (unit == context_kind::strand)
            on.emplace(loop, options_.name + " connection");
        start_(loop, on, std::move(socket), connection_count::ticket(count_),
               options_.name + " connection");
    }

    void back_off(listener& l, std::exception_ptr const& failure)
    {
        if (l.failures++ == 0)
        {
            l.next_pause = first_pause;
            l.loop->call_exception_handler(
                {options_.name + " cannot accept connections, and goes on trying",
                 failure, options_.name});
        }
        this_fiber::sleep_for(l.next_pause);
        l.next_pause = std::min(2 * l.next_pause, longest_pause);
    }

    void recovered(listener& l)
    {
        if (l.failures == 0)
            return;
        l.loop->call_exception_handler({options_.name + " accepts connections again, after " +
                                         std::to_string(l.failures) + " failures",
                                     nullptr, options_.name});
        l.failures = 0;
    }

    // Asked for only while `draining_` is not done; it is done when its loop is closed.
    event_loop* const loop_;
    server_options const options_;
    connection_starter const start_;
    std::vector<listener> listeners_;
    tcp::endpoint endpoint_;
    std::shared_ptr<connection_count> const count_;
    std::mutex parts_mutex_;
    std::atomic<bool> closed_ = false; // set under the mutex
    std::vector<task<>> parts_;        // grows under the mutex, until all are started
    task<> accepting_;                 // the only part, or who waits for all of them
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
