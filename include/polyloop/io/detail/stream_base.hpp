// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_IO_DETAIL_STREAM_BASE_HPP
#define POLYLOOP_IO_DETAIL_STREAM_BASE_HPP

#include <polyloop/io/detail/descriptor.hpp>
#include <polyloop/io/detail/socket_state.hpp>

#include <boost/asio/buffer.hpp>
#include <boost/asio/socket_base.hpp>

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cstddef>

namespace polyloop::detail {

/// A buffer sequence as the system takes it: what goes into one call.
class io_vectors
{
  public:
    template <class Buffers>
    explicit io_vectors(Buffers const& buffers)
    {
        auto const end = asio::buffer_sequence_end(buffers);
        for (auto i = asio::buffer_sequence_begin(buffers);
             i != end && count_ != all_.size(); ++i)
        {
            add(*i);
        }
    }

    ::iovec* data() noexcept
    {
        return all_.data();
    }
    std::size_t count() const noexcept
    {
        return count_;
    }
    std::size_t bytes() const noexcept
    {
        return bytes_;
    }

  private:
    void add(asio::const_buffer b) noexcept
    {
        if (b.size() == 0)
            return;
        all_[count_++] = {const_cast<void*>(b.data()), b.size()};
        bytes_ += b.size();
    }
    void add(asio::mutable_buffer b) noexcept
    {
        add(asio::const_buffer(b));
    }

    std::array<::iovec, 64> all_;
    std::size_t count_ = 0;
    std::size_t bytes_ = 0;
};

/// What streams of all protocols have in common.
class stream_base : public socket_state<descriptor>
{
  protected:
    using vectors = io_vectors;

    using socket_state::socket_state;

    // Wait where they have to.
    POLYLOOP_DECL std::size_t receive(void* where, std::size_t n, boost::system::error_code& ec);
    POLYLOOP_DECL std::size_t receive(io_vectors& v, boost::system::error_code& ec);
    POLYLOOP_DECL std::size_t send(void const* from, std::size_t n,
                                   boost::system::error_code& ec);
    POLYLOOP_DECL std::size_t send(io_vectors& v, boost::system::error_code& ec);
    /// Unless somebody cancelled or closed since `ends`.
    POLYLOOP_DECL void connect_to(int family, int protocol, ::sockaddr const* to,
                                  ::socklen_t size, unsigned ends,
                                  boost::system::error_code& ec);

    /// A new connection's number, which does not block.
    POLYLOOP_DECL int accept_one(boost::system::error_code& ec);

    /// Once, without waiting: `would_block` where it has to be waited for.
    POLYLOOP_DECL static std::size_t receive_now(descriptor& d, io_vectors& v,
                                                 boost::system::error_code& ec);
    POLYLOOP_DECL static std::size_t send_now(descriptor& d, io_vectors& v,
                                              boost::system::error_code& ec);

    POLYLOOP_DECL void get_option(int level, int name, void* data, std::size_t& size,
                                  boost::system::error_code& ec) const;
    POLYLOOP_DECL void set_option(int level, int name, void const* data, std::size_t size,
                                  boost::system::error_code& ec);
    POLYLOOP_DECL void get_name(bool remote, void* data, std::size_t& size,
                                boost::system::error_code& ec) const;
    POLYLOOP_DECL void shut_down(int how, boost::system::error_code& ec);
    POLYLOOP_DECL std::size_t get_available(boost::system::error_code& ec) const;

  private:
    template <direction Way, class Call>
    std::size_t transfer(std::size_t wanted, boost::system::error_code& ec, Call call);
    template <direction Way, class Call>
    std::size_t transfer_near(thread_frame const& frame, std::size_t wanted,
                              boost::system::error_code& ec, Call call);
    template <direction Way>
    bool wait(descriptor& d, unsigned cancels, boost::system::error_code& ec);
};

} // namespace polyloop::detail

#endif
