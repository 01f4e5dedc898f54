// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_IO_BASIC_STREAM_HPP
#define POLYLOOP_IO_BASIC_STREAM_HPP

#include <polyloop/io/basic_socket.hpp>
#include <polyloop/io/detail/resolve.hpp>
#include <polyloop/policy/event_loop_policy.hpp>
#include <polyloop/task/spawn.hpp>
#include <polyloop/task/use_fiber.hpp>

#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/system/system_error.hpp>

#include <concepts>
#include <exception>
#include <iterator>
#include <new>
#include <string_view>
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
/// Thread safety: one reader and one writer, or one who connects, with `cancel`, `close` and
/// `is_open` at once, from any thread; else as any object. It may be moved while nobody waits in
/// it.
template <class Protocol>
class basic_stream : public basic_socket<Protocol, detail::stream_transport>
{
    using base = basic_socket<Protocol, detail::stream_transport>;
    using open_socket = detail::stream_transport::open_socket;
    using vectors = detail::stream_transport::vectors;

  public:
    using typename base::endpoint_type;
    using typename base::executor_type;
    using lowest_layer_type = basic_stream;

    /// Not connected; on the running loop, else on the one the policy in force gives.
    basic_stream() : basic_stream(get_event_loop())
    {
    }
    /// The same on `loop`, which must live while operations are under way.
    explicit basic_stream(event_loop& loop) noexcept : base(loop)
    {
    }
    /// Takes a connected socket of Asio over, with what it has; nothing may be pending on it.
    /// Throws the system's error.
    template <class Executor>
    basic_stream(event_loop& loop, asio::basic_stream_socket<Protocol, Executor> socket)
        : base(loop)
    {
        socket.native_non_blocking(true);
        this->set_open(open_socket::open(this->core(), socket.release(), true, whole));
    }
    /// Takes a connected descriptor over, which does not block from now on. Throws the system's
    /// error.
    basic_stream(event_loop& loop, Protocol const& protocol, int descriptor)
        : basic_stream(loop, asio::basic_stream_socket<Protocol, executor_type>(
                                 loop.get_executor(), protocol, descriptor))
    {
    }

    basic_stream(basic_stream&&) noexcept = default;
    basic_stream& operator=(basic_stream&&) noexcept = default;

    /// Hands the connection over to Asio; the stream is closed then. Nobody may use it meanwhile.
    /// Throws `bad_descriptor`, and the system's error where Asio cannot take it, which ends the
    /// connection.
    asio::basic_stream_socket<Protocol, executor_type> release()
    {
        return this->template hand_over<asio::basic_stream_socket<Protocol, executor_type>>();
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

    /// Closes what was open, and connects. `close` and `cancel` end it by `operation_aborted`, from
    /// any thread and whatever it is at; the stream is closed then. A local listener whose queue is
    /// full is asked again, after pauses from 1 to 64 ms.
    void connect(endpoint_type const& to, boost::system::error_code& ec)
    {
        connect_one(to, this->ends(), ec);
    }
    void connect(endpoint_type const& to)
    {
        boost::system::error_code ec;
        connect(to, ec);
        this->check(ec);
    }
    /// The addresses in turn, until one is connected, which is returned; else the last one's
    /// error, or `asio::error::not_found` where there is none. The limit is one for all of them,
    /// and `close` and `cancel` end all of it.
    template <std::input_iterator Iterator, std::sentinel_for<Iterator> End>
        requires std::convertible_to<std::iter_reference_t<Iterator>, endpoint_type>
    endpoint_type connect(Iterator begin, End end, boost::system::error_code& ec)
    {
        return connect_each(std::move(begin), std::move(end), this->ends(), ec);
    }

    /// To a host, by name or address, and a service, by name or number: each address in turn.
    /// Returns the one that is connected.
    ///
    /// A name is looked up on a thread of the default executor, so the loop goes on. What was set
    /// by `expires_after` is one limit for all of it. A cancelled task leaves at once, whatever it
    /// is at; after `close` or `cancel` nothing is connected, but the looking up is waited for.
    ///
    /// Errors: `host_not_found` and its like, `service_not_found`, those of the last address,
    /// `timed_out`, `operation_aborted`; `error::executor_shut_down`. The form that throws names
    /// host and service, and what can be done.
    endpoint_type connect(std::string_view host, std::string_view service,
                          boost::system::error_code& ec)
        requires std::same_as<Protocol, asio::ip::tcp>
    {
        unsigned const ends = this->ends();
        auto const all = detail::resolve(this->core(), host, service, this->limit(), ec);
        return ec ? endpoint_type() : connect_each(all.begin(), all.end(), ends, ec);
    }
    endpoint_type connect(std::string_view host, std::string_view service)
        requires std::same_as<Protocol, asio::ip::tcp>
    {
        boost::system::error_code ec;
        endpoint_type const to = connect(host, service, ec);
        if (ec) [[unlikely]]
            detail::throw_not_connected(host, service, ec);
        return to;
    }

    /// `connect` with a completion token: `void(error_code)`, never within the call. It is a fiber
    /// of the stream's loop that connects. Cancellation of any type: `operation_aborted`, and the
    /// stream is closed. The stream has to stay where it is until then. Throws
    /// `error::loop_closed`.
    template <class Token = asio::default_completion_token_t<executor_type>>
    auto async_connect(endpoint_type const& to, Token&& token = Token())
    {
        if (this->core().is_gone()) [[unlikely]]
            detail::throw_error(error::loop_closed);
        return asio::async_compose<Token, void(boost::system::error_code)>(
            connecting{*this, to}, token, this->get_executor());
    }

    // -- reading and writing

    /// At least one byte, or an error: `asio::error::eof` at the end.
    template <class MutableBuffers>
    std::size_t read_some(MutableBuffers const& buffers, boost::system::error_code& ec)
    {
        if constexpr (std::is_convertible_v<MutableBuffers const&, asio::mutable_buffer>)
        {
            asio::mutable_buffer const b = buffers;
            return this->receive(b.data(), b.size(), ec);
        }
        else
        {
            vectors v(buffers);
            return this->receive(v, ec);
        }
    }
    template <class MutableBuffers>
    std::size_t read_some(MutableBuffers const& buffers)
    {
        boost::system::error_code ec;
        std::size_t const n = read_some(buffers, ec);
        this->check(ec);
        return n;
    }

    /// At least one byte, or an error; waits only where the system's buffer is full.
    template <class ConstBuffers>
    std::size_t write_some(ConstBuffers const& buffers, boost::system::error_code& ec)
    {
        if constexpr (std::is_convertible_v<ConstBuffers const&, asio::const_buffer>)
        {
            asio::const_buffer const b = buffers;
            return this->send(b.data(), b.size(), ec);
        }
        else
        {
            vectors v(buffers);
            return this->send(v, ec);
        }
    }
    template <class ConstBuffers>
    std::size_t write_some(ConstBuffers const& buffers)
    {
        boost::system::error_code ec;
        std::size_t const n = write_some(buffers, ec);
        this->check(ec);
        return n;
    }

    /// Completes `token` with `void(error_code, std::size_t)`; never within the call. The limit is
    /// that of `expires_after` at its beginning. Cancellation of any type: `operation_aborted`,
    /// with nothing read.
    template <class MutableBuffers, class Token = asio::default_completion_token_t<executor_type>>
    auto async_read_some(MutableBuffers const& buffers, Token&& token = Token())
    {
        auto receive = [buffers](open_socket& s, boost::system::error_code& ec) {
            vectors v(buffers);
            return base::receive_now(s, v, ec);
        };
        return this->template start<detail::direction::read>(std::move(receive),
                                                             std::forward<Token>(token));
    }
    template <class ConstBuffers, class Token = asio::default_completion_token_t<executor_type>>
    auto async_write_some(ConstBuffers const& buffers, Token&& token = Token())
    {
        auto send = [buffers](open_socket& s, boost::system::error_code& ec) {
            vectors v(buffers);
            return base::send_now(s, v, ec);
        };
        return this->template start<detail::direction::write>(std::move(send),
                                                              std::forward<Token>(token));
    }

  private:
    template <class>
    friend class basic_listener;

    // For `async_compose`.
    struct connecting
    {
        template <class Self>
        void operator()(Self& self)
        {
            self.reset_cancellation_state(asio::enable_total_cancellation());
            auto connect = [&s = stream, e = to, ends = stream.ends()] {
                boost::system::error_code ec;
                s.connect_one(e, ends, ec);
                return ec;
            };
            spawn(*stream.core().facade(), std::move(connect), {.name = "connect", .key = {}})
                .async_join(std::move(self));
        }
        template <class Self>
        void operator()(Self& self, std::exception_ptr const& failure,
                        boost::system::error_code ec)
        {
            self.complete(failure ? code_of(failure) : ec);
        }
        static boost::system::error_code code_of(std::exception_ptr const& failure)
        {
            try
            {
                std::rethrow_exception(failure);
            }
            catch (boost::system::system_error const& e)
            {
                return e.code();
            }
            catch (std::bad_alloc const&)
            {
                return asio::error::no_memory;
            }
        }

        basic_stream& stream;
        endpoint_type to;
    };

    // Unless somebody cancelled or closed since `ends`.
    void connect_one(endpoint_type const& to, unsigned ends, boost::system::error_code& ec)
    {
        auto const p = to.protocol();
        this->connect_to(p.family(), p.protocol(), to.data(), to.size(), ends, ec);
    }
    template <class Iterator, class End>
    endpoint_type connect_each(Iterator begin, End end, unsigned ends,
                               boost::system::error_code& ec)
    {
        ec = asio::error::not_found;
        for (; begin != end; ++begin)
        {
            endpoint_type const to = *begin;
            connect_one(to, ends, ec);
            if (!ec)
                return to;
            // Who was cancelled, or is too late, wants none of the others.
            if (ec == asio::error::operation_aborted || ec == asio::error::timed_out)
                break;
        }
        return {};
    }

    // A read of a local socket stops where a descriptor was sent along.
    static constexpr bool whole = std::is_same_v<Protocol, asio::ip::tcp>;
};

} // namespace polyloop

#endif
