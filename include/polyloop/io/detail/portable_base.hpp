// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_IO_DETAIL_PORTABLE_BASE_HPP
#define POLYLOOP_IO_DETAIL_PORTABLE_BASE_HPP

#include <polyloop/io/detail/portable_socket.hpp>
#include <polyloop/io/detail/socket_state.hpp>

#include <boost/asio/buffer.hpp>
#include <boost/asio/socket_base.hpp>

#include <array>
#include <cstddef>
#include <utility>

namespace polyloop::detail {

/// A buffer sequence without its type: what goes into one call.
class portable_buffers
{
  public:
    template <class Buffers>
    explicit portable_buffers(Buffers const& buffers)
    {
        auto const last = asio::buffer_sequence_end(buffers);
        for (auto i = asio::buffer_sequence_begin(buffers);
             i != last && count_ != all_.size(); ++i)
        {
            asio::const_buffer const b(*i);
            if (b.size() != 0)
                all_[count_++] = {const_cast<void*>(b.data()), b.size()};
        }
    }

    asio::mutable_buffer const* begin() const noexcept
    {
        return all_.data();
    }
    asio::mutable_buffer const* end() const noexcept
    {
        return all_.data() + count_;
    }

  private:
    std::array<asio::mutable_buffer, 64> all_; // as many as Asio takes
    std::size_t count_ = 0;
};

/// What sockets of all protocols have in common, where they go over Asio's own: `stream_base` for
/// every system and backend. The operations of Asio are tried without waiting, and waited for by
/// `portable_socket`.
class portable_base : public socket_state<portable_socket>
{
  protected:
    using vectors = portable_buffers;

    using socket_state::socket_state;

    POLYLOOP_DECL std::size_t receive(void* where, std::size_t n, boost::system::error_code& ec);
    POLYLOOP_DECL std::size_t receive(vectors& v, boost::system::error_code& ec);
    POLYLOOP_DECL std::size_t send(void const* from, std::size_t n,
                                   boost::system::error_code& ec);
    POLYLOOP_DECL std::size_t send(vectors& v, boost::system::error_code& ec);
    POLYLOOP_DECL void connect_to(int family, int protocol, void const* to, std::size_t size,
                                  unsigned ends, boost::system::error_code& ec);
    POLYLOOP_DECL native_handle_type accept_one(boost::system::error_code& ec);

    POLYLOOP_DECL static std::size_t receive_now(portable_socket& s, vectors& v,
                                                 boost::system::error_code& ec);
    POLYLOOP_DECL static std::size_t send_now(portable_socket& s, vectors& v,
                                              boost::system::error_code& ec);

    POLYLOOP_DECL void get_option(int level, int name, void* data, std::size_t& size,
                                  boost::system::error_code& ec) const;
    POLYLOOP_DECL void set_option(int level, int name, void const* data, std::size_t size,
                                  boost::system::error_code& ec);
    POLYLOOP_DECL void get_name(bool remote, void* data, std::size_t& size,
                                boost::system::error_code& ec) const;
    POLYLOOP_DECL void shut_down(int how, boost::system::error_code& ec);
    POLYLOOP_DECL std::size_t get_available(boost::system::error_code& ec) const;

    /// Calls `f` with Asio's object.
    template <class F>
    void with(boost::system::error_code& ec, F f) const
    {
        ec.clear();
        if (open())
            open()->with(ec, std::move(f));
        else
            ec = asio::error::bad_descriptor;
    }
    /// `attempt(socket, ec)` until it does not fail by `would_block`.
    template <direction Way, class Try>
    std::size_t transfer(boost::system::error_code& ec, Try attempt)
    {
        return transfer(Way, ec, &portable_base::call<Try>, &attempt);
    }

  private:
    using attempt_function = std::size_t (*)(void*, portable_socket&, boost::system::error_code&);

    template <class Try>
    static std::size_t call(void* attempt, portable_socket& s, boost::system::error_code& ec)
    {
        return (*static_cast<Try*>(attempt))(s, ec);
    }
    POLYLOOP_DECL std::size_t transfer(direction way, boost::system::error_code& ec,
                                       attempt_function once, void* attempt);
};

/// The same for `datagram_base`.
class portable_datagram_base : public portable_base
{
  protected:
    struct address
    {
        void* data = nullptr;
        std::size_t size = 0;
    };

    using portable_base::portable_base;

    POLYLOOP_DECL void open_new(int family, int protocol, boost::system::error_code& ec);
    POLYLOOP_DECL void bind_to(void const* name, std::size_t size, boost::system::error_code& ec);
    POLYLOOP_DECL void connect_to(void const* name, std::size_t size,
                                  boost::system::error_code& ec);

    POLYLOOP_DECL std::size_t receive_from(vectors& v, address& from, int flags,
                                           boost::system::error_code& ec);
    POLYLOOP_DECL std::size_t send_to(vectors& v, address const& to, int flags,
                                      boost::system::error_code& ec);
    POLYLOOP_DECL static std::size_t receive_from_now(portable_socket& s, vectors& v,
                                                      address& from, int flags,
                                                      boost::system::error_code& ec);
    POLYLOOP_DECL static std::size_t send_to_now(portable_socket& s, vectors& v,
                                                 address const& to, int flags,
                                                 boost::system::error_code& ec);
};

} // namespace polyloop::detail

#endif
