// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_IO_BASIC_STREAM_HPP
#define POLYLOOP_IO_BASIC_STREAM_HPP

#include <polyloop/io/detail/stream_base.hpp>
#include <polyloop/policy/event_loop_policy.hpp>
#include <polyloop/task/detail/async_waiter.hpp>
#include <polyloop/task/use_fiber.hpp>

#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/compose.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <concepts>
#include <iterator>
#include <type_traits>
#include <utility>

namespace polyloop {

/// A connection whose operations have the form of blocking ones: `read_some` suspends the calling
/// fiber, and no other. So everything that is written against Asio's synchronous streams
/// (`asio::read`, `asio::write`, Beast, SSL) works on fibers as it stands.
///
/// Meets Asio's SyncReadStream, SyncWriteStream, AsyncReadStream and AsyncWriteStream. Errors are
/// Asio's; each function comes in a form that throws and one that sets an `error_code`. Options and
/// endpoints are those of Asio's protocol.
///
/// An operation that finds its data waits for nothing; one that does not suspends a fiber, blocks
/// a plain thread, and in a bare handler of a running loop fails by `error::not_in_fiber`. A
/// cancelled task's wait ends by `operation_aborted`, and nothing was read or written then. A
/// fiber that never has to wait gives the others of its loop a turn now and then, at the
/// beginning of an operation.
///
/// Belongs to the loop that it was made for: there its edges are looked at. Fibers of other loops
/// and plain threads may use it while that loop runs.
///
/// Thread safety: one reader, one writer, `cancel` and `close` at once, from any thread; else as
/// any object. It may be moved while nobody waits in it.
template <class Protocol>
class basic_stream : public detail::stream_base
{
  public:
    using protocol_type = Protocol;
    using endpoint_type = typename Protocol::endpoint;
    using lowest_layer_type = basic_stream;

    /// Not connected; on the running loop, else on the one the policy in force gives.
    basic_stream() : basic_stream(get_event_loop())
    {
    }
    /// The same on `loop`, which must live while operations are under way.
    explicit basic_stream(event_loop& loop) noexcept : stream_base(loop)
    {
    }
    /// Takes a connected socket of Asio over, with what it has; nothing may be pending on it. Throws
    /// the system's error.
    template <class Executor>
    basic_stream(event_loop& loop, asio::basic_stream_socket<Protocol, Executor> socket)
        : stream_base(loop)
    {
        socket.native_non_blocking(true);
        set_open(detail::descriptor::open(core(), socket.release(), true, whole));
    }
    /// Takes a connected descriptor over, which does not block from now on. Throws the system's error.
    basic_stream(event_loop& loop, Protocol const& protocol, int descriptor)
        : basic_stream(loop, asio::basic_stream_socket<Protocol, executor_type>(
                                 loop.get_executor(), protocol, descriptor))
    {
    }

    basic_stream(basic_stream&&) noexcept = default;
    basic_stream& operator=(basic_stream&&) noexcept = default;

    /// Hands the connection over to Asio; the stream is closed then. Nobody may use it meanwhile.
    asio::basic_stream_socket<Protocol, executor_type> release()
    {
        auto const protocol = local_endpoint().protocol();
        return {get_executor(), protocol, open()->release()};
    }

    lowest_layer_type& lowest_layer() noexcept
    {
        return *this;
    }
    lowest_layer_type const& lowest_layer() const noexcept
    {
        return *this;
    }

    // -- connecting

    /// Closes what was open, and connects.
    void connect(endpoint_type const& to, boost::system::error_code& ec)
    {
        auto const p = to.protocol();
        connect_to(p.family(), p.protocol(), to.data(), static_cast<::socklen_t>(to.size()), ec);
    }
    void connect(endpoint_type const& to)
    {
        boost::system::error_code ec;
        connect(to, ec);
        check(ec);
    }
    /// The addresses in turn, until one is connected, which is returned; else the last one's error, or
    /// `asio::error::not_found` where there is none.
    template <std::input_iterator Iterator, std::sentinel_for<Iterator> End>
    endpoint_type connect(Iterator begin, End end, boost::system::error_code& ec)
    {
        ec = asio::error::not_found;
        for (; begin != end; ++begin)
        {
            endpoint_type const to = *begin;
            connect(to, ec);
            if (!ec)
                return to;
            // Who was cancelled, or is too late, wants none of the others.
            if (ec == asio::error::operation_aborted || ec == asio::error::timed_out)
                break;
        }
        return {};
    }

    // -- reading and writing

    /// At least one byte, or an error: `asio::error::eof` at the end.
    template <class MutableBuffers>
    std::size_t read_some(MutableBuffers const& buffers, boost::system::error_code& ec)
    {
        if constexpr (std::is_convertible_v<MutableBuffers const&, asio::mutable_buffer>)
        {
            asio::mutable_buffer const b = buffers;
            return receive(b.data(), b.size(), ec);
        }
        else
        {
            detail::io_vectors v(buffers);
            return receive(v, ec);
        }
    }
    template <class MutableBuffers>
    std::size_t read_some(MutableBuffers const& buffers)
    {
        boost::system::error_code ec;
        std::size_t const n = read_some(buffers, ec);
        check(ec);
        return n;
    }

    /// At least one byte, or an error; waits only where the system's buffer is full.
    template <class ConstBuffers>
    std::size_t write_some(ConstBuffers const& buffers, boost::system::error_code& ec)
    {
        if constexpr (std::is_convertible_v<ConstBuffers const&, asio::const_buffer>)
        {
            asio::const_buffer const b = buffers;
            return send(b.data(), b.size(), ec);
        }
        else
        {
            detail::io_vectors v(buffers);
            return send(v, ec);
        }
    }
    template <class ConstBuffers>
    std::size_t write_some(ConstBuffers const& buffers)
    {
        boost::system::error_code ec;
        std::size_t const n = write_some(buffers, ec);
        check(ec);
        return n;
    }

    /// Completes `token` with `void(error_code, std::size_t)`; never within the call. The limit is
    /// that of `expires_after` at its beginning. Cancellation of any type: `operation_aborted`,
    /// with nothing read.
    template <class MutableBuffers, class Token = asio::default_completion_token_t<executor_type>>
    auto async_read_some(MutableBuffers const& buffers, Token&& token = Token())
    {
        return start<detail::direction::read>(buffers, std::forward<Token>(token));
    }
    template <class ConstBuffers, class Token = asio::default_completion_token_t<executor_type>>
    auto async_write_some(ConstBuffers const& buffers, Token&& token = Token())
    {
        return start<detail::direction::write>(buffers, std::forward<Token>(token));
    }

    /// How many bytes can be read without waiting.
    std::size_t available(boost::system::error_code& ec) const
    {
        return get_available(ec);
    }
    std::size_t available() const
    {
        boost::system::error_code ec;
        std::size_t const n = get_available(ec);
        check(ec);
        return n;
    }

    // -- the end of a direction

    void shutdown(asio::socket_base::shutdown_type what, boost::system::error_code& ec)
    {
        shut_down(what, ec);
    }
    void shutdown(asio::socket_base::shutdown_type what)
    {
        boost::system::error_code ec;
        shut_down(what, ec);
        check(ec);
    }

    // -- options and endpoints

    template <class Option>
    void set_option(Option const& option, boost::system::error_code& ec)
    {
        Protocol const p = protocol_of(ec);
        if (!ec)
            stream_base::set_option(option.level(p), option.name(p), option.data(p),
                                    option.size(p), ec);
    }
    template <class Option>
    void set_option(Option const& option)
    {
        boost::system::error_code ec;
        set_option(option, ec);
        check(ec);
    }
    template <class Option>
    void get_option(Option& option, boost::system::error_code& ec) const
    {
        Protocol const p = protocol_of(ec);
        if (ec)
            return;
        std::size_t size = option.size(p);
        stream_base::get_option(option.level(p), option.name(p), option.data(p), size, ec);
        if (!ec)
            option.resize(p, size);
    }
    template <class Option>
    void get_option(Option& option) const
    {
        boost::system::error_code ec;
        get_option(option, ec);
        check(ec);
    }

    endpoint_type local_endpoint(boost::system::error_code& ec) const
    {
        return endpoint(false, ec);
    }
    endpoint_type local_endpoint() const
    {
        boost::system::error_code ec;
        endpoint_type const e = endpoint(false, ec);
        check(ec);
        return e;
    }
    endpoint_type remote_endpoint(boost::system::error_code& ec) const
    {
        return endpoint(true, ec);
    }
    endpoint_type remote_endpoint() const
    {
        boost::system::error_code ec;
        endpoint_type const e = endpoint(true, ec);
        check(ec);
        return e;
    }

  private:
    template <class>
    friend class basic_listener;

    // A read of a local socket stops where a descriptor was sent along.
    static constexpr bool whole = std::is_same_v<Protocol, asio::ip::tcp>;

    basic_stream(event_loop& loop, detail::descriptor::pointer d) noexcept : stream_base(loop)
    {
        set_open(std::move(d));
    }

    endpoint_type endpoint(bool remote, boost::system::error_code& ec) const
    {
        endpoint_type e;
        std::size_t size = e.capacity();
        get_name(remote, e.data(), size, ec);
        if (ec)
            return {};
        e.resize(size);
        return e;
    }
    Protocol protocol_of(boost::system::error_code& ec) const
    {
        return endpoint(false, ec).protocol();
    }

    /// Tries, and waits where it has to, until something was done.
    template <detail::direction Way, class Buffers>
    struct operation
    {
        template <class Self>
        void operator()(Self& self, boost::system::error_code ec = {})
        {
            std::size_t n = 0;
            if (!tried)
                self.reset_cancellation_state(asio::enable_total_cancellation());
            // The first time it waits in any case, so that it never completes within the call.
            if (tried || ec)
            {
                if (!ec)
                {
                    detail::io_vectors v(buffers);
                    n = Way == detail::direction::read ? receive_now(*open, v, ec)
                                                       : send_now(*open, v, ec);
                }
                if (ec == asio::error::would_block &&
                    self.cancelled() != asio::cancellation_type::none)
                    ec = asio::error::operation_aborted; // while nobody waited
                if (ec != asio::error::would_block)
                {
                    self.complete(ec, n);
                    return;
                }
            }
            tried = true;
            auto const wait = [d = open, c = cancels](detail::descriptor_waiter& w) {
                return d->begin(w, Way, c);
            };
            detail::initiate_wait<node, void(boost::system::error_code)>(
                std::move(self), open->place(Way), limit, wait);
        }

        struct node : detail::descriptor_waiter
        {
            std::tuple<boost::system::error_code> result(detail::wait_end e) const noexcept
            {
                return aborted ? boost::system::error_code(asio::error::operation_aborted)
                               : detail::code_of(e);
            }
        };

        detail::descriptor::pointer open;
        Buffers buffers;
        detail::deadline limit;
        unsigned cancels = 0;
        bool tried = false;
    };

    template <detail::direction Way, class Buffers, class Token>
    auto start(Buffers const& buffers, Token&& token)
    {
        return asio::async_compose<Token, void(boost::system::error_code, std::size_t)>(
            operation<Way, Buffers>{need_open(), buffers, limit().fixed(), open()->cancels()},
            token, get_executor());
    }
    detail::descriptor::pointer const& need_open() const
    {
        if (!open()) [[unlikely]]
            detail::throw_error(asio::error::bad_descriptor);
        if (core().is_gone()) [[unlikely]]
            detail::throw_error(error::loop_closed); // and with it the executor
        return open();
    }
};

} // namespace polyloop

#endif
