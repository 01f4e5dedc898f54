// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_IO_BASIC_SOCKET_HPP
#define POLYLOOP_IO_BASIC_SOCKET_HPP

#include <polyloop/io/detail/socket_operation.hpp>
#include <polyloop/io/detail/transport.hpp>

#include <boost/asio/async_result.hpp>
#include <boost/asio/compose.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/socket_base.hpp>

#include <cstddef>
#include <utility>

namespace polyloop {

/// What streams and datagram sockets of a protocol have in common: options and endpoints, which
/// are Asio's, beside `cancel`, `close` and the limits that all sockets of this room have.
///
/// None of these waits. On a socket that is not open they fail by `bad_descriptor`.
template <class Protocol, class Transport>
class basic_socket : public Transport
{
  public:
    using protocol_type = Protocol;
    using endpoint_type = typename Protocol::endpoint;

    /// How many bytes can be read without waiting.
    std::size_t available(boost::system::error_code& ec) const
    {
        return this->get_available(ec);
    }
    std::size_t available() const
    {
        boost::system::error_code ec;
        std::size_t const n = available(ec);
        this->check(ec);
        return n;
    }

    /// Ends one direction, or both; the other one goes on.
    void shutdown(asio::socket_base::shutdown_type what, boost::system::error_code& ec)
    {
        this->shut_down(what, ec);
    }
    void shutdown(asio::socket_base::shutdown_type what)
    {
        boost::system::error_code ec;
        shutdown(what, ec);
        this->check(ec);
    }

    template <class Option>
    void set_option(Option const& option, boost::system::error_code& ec)
    {
        Protocol const p = local_endpoint(ec).protocol();
        if (!ec)
            Transport::set_option(option.level(p), option.name(p), option.data(p),
                                  option.size(p), ec);
    }
    template <class Option>
    void set_option(Option const& option)
    {
        boost::system::error_code ec;
        set_option(option, ec);
        this->check(ec);
    }
    template <class Option>
    void get_option(Option& option, boost::system::error_code& ec) const
    {
        Protocol const p = local_endpoint(ec).protocol();
        if (ec)
            return;
        std::size_t size = option.size(p);
        Transport::get_option(option.level(p), option.name(p), option.data(p), size, ec);
        if (!ec)
            option.resize(p, size);
    }
    template <class Option>
    void get_option(Option& option) const
    {
        boost::system::error_code ec;
        get_option(option, ec);
        this->check(ec);
    }

    /// With the port that the system chose for port 0.
    endpoint_type local_endpoint(boost::system::error_code& ec) const
    {
        return endpoint(false, ec);
    }
    endpoint_type local_endpoint() const
    {
        boost::system::error_code ec;
        endpoint_type const e = endpoint(false, ec);
        this->check(ec);
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
        this->check(ec);
        return e;
    }

  protected:
    using Transport::Transport;

    /// `attempt` until something was done. Throws `error::loop_closed`.
    template <detail::direction Way, class Try, class Token>
    auto start(Try attempt, Token&& token)
    {
        if (this->core().is_gone()) [[unlikely]]
            detail::throw_error(error::loop_closed); // and with it the executor
        using operation = detail::socket_operation<typename Transport::open_socket, Way, Try>;
        return asio::async_compose<Token, void(boost::system::error_code, std::size_t)>(
            operation{this->open(), std::move(attempt), this->limit().fixed()}, token,
            this->get_executor());
    }

    /// What is open as a `Socket` of Asio's, which did not take it if this throws: it is closed
    /// then.
    template <class Socket>
    Socket hand_over()
    {
        Protocol const protocol = local_endpoint().protocol();
        Socket to(this->get_executor());
        auto const number = this->open()->release();
        try
        {
            to.assign(protocol, number);
        }
        catch (...)
        {
            Transport::open_socket::give_back(number);
            throw;
        }
        return to;
    }

  private:
    endpoint_type endpoint(bool remote, boost::system::error_code& ec) const
    {
        endpoint_type e;
        std::size_t size = e.capacity();
        this->get_name(remote, e.data(), size, ec);
        if (ec)
            return {};
        e.resize(size);
        return e;
    }
};

} // namespace polyloop

#endif
