// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_IO_DETAIL_PORTABLE_SOCKET_HPP
#define POLYLOOP_IO_DETAIL_PORTABLE_SOCKET_HPP

#include <polyloop/io/detail/descriptor.hpp>
#include <polyloop/loop/event_loop.hpp>

#include <boost/asio/basic_datagram_socket.hpp>
#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/generic/datagram_protocol.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <mutex>
#include <optional>
#include <utility>
#include <variant>

namespace polyloop::detail {

class portable_set;

/// A socket of Asio's that is open, and who waits for it: what `descriptor` is, where there is
/// nothing better to wait with than Asio's `async_wait`.
///
/// One such operation is under way for each direction in which somebody waits; it lets all of them
/// go on, and try.
///
/// Invariants
/// - The word is the lock of the lists, and whether the socket is closed, and whether its loop is.
/// - The mutex guards Asio's object, which is there until either is the case, and what is armed.
///   It is taken before the word, and not held while somebody is let go.
class portable_socket
{
  public:
    using pointer = boost::intrusive_ptr<portable_socket>;
    using executor_type = event_loop::executor_type;
    using stream = asio::basic_stream_socket<asio::generic::stream_protocol, executor_type>;
    using acceptor = asio::basic_socket_acceptor<asio::generic::stream_protocol, executor_type>;
    using datagram = asio::basic_datagram_socket<asio::generic::datagram_protocol, executor_type>;
    using any = std::variant<stream, acceptor, datagram>;
    using native = stream::native_handle_type;

    /// Takes the number over. Throws the system's error, and has closed it then. `connected`
    /// tells a stream from a listener.
    POLYLOOP_DECL static pointer open(loop_core& core, native number, bool connected, bool whole);
    /// Takes the socket, which is open, over.
    POLYLOOP_DECL static pointer open(loop_core& core, any socket);

    loop_core& core() const noexcept
    {
        return *core_;
    }
    native number() const noexcept
    {
        return number_;
    }
    bool closed() const noexcept
    {
        return word_.load() & (closed_bit | orphan_bit);
    }

    /// Calls `f(socket)` with Asio's object, whatever its kind, unless there is none any more.
    template <class F>
    void with(boost::system::error_code& ec, F f)
    {
        std::lock_guard const lock(mutex_);
        if (!socket_) [[unlikely]]
            ec = word_.load() & closed_bit ? boost::system::error_code(asio::error::bad_descriptor)
                                           : make_error_code(error::loop_closed);
        else
            std::visit(f, *socket_);
    }

    /// Begins to connect; `connected` says how that ended, once a wait for writing is over.
    POLYLOOP_DECL void start_connect(asio::generic::stream_protocol::endpoint const& to);
    POLYLOOP_DECL std::optional<boost::system::error_code> connected() const;

    /// Whether it has a peer, without which a local socket may be "connected": the listener's queue
    /// was full.
    POLYLOOP_DECL bool has_peer();

    /// Until it may be ready; as `descriptor` has it.
    boost::system::error_code wait(direction d, deadline limit, unsigned cancels)
    {
        return wait(d, limit, cancels, true);
    }
    /// For so long, unless it is ended: then the error is not `timed_out`.
    boost::system::error_code pause(deadline limit, unsigned cancels)
    {
        return wait(direction::write, limit, cancels, false);
    }
    unsigned cancels() const noexcept
    {
        return cancels_.load(std::memory_order_relaxed);
    }
    boost::system::error_code why_closed(unsigned cancels) const noexcept
    {
        if (this->cancels() != cancels)
            return asio::error::operation_aborted;
        return asio::error::bad_descriptor;
    }
    POLYLOOP_DECL bool begin(descriptor_waiter& w, direction d, unsigned cancels);
    wait_place place(direction d) noexcept
    {
        return {this, d == direction::read ? &portable_socket::leave_readers
                                           : &portable_socket::leave_writers};
    }

    POLYLOOP_DECL void cancel() noexcept;
    POLYLOOP_DECL void orphan() noexcept;
    POLYLOOP_DECL void close() noexcept;
    /// Gives its number to the caller. Throws the system's error, and `bad_descriptor`.
    POLYLOOP_DECL native release();
    /// To the system, which had given it.
    POLYLOOP_DECL static void give_back(native number) noexcept;

    friend void intrusive_ptr_add_ref(portable_socket* s) noexcept
    {
        s->refs_.fetch_add(1, std::memory_order_relaxed);
    }
    friend void intrusive_ptr_release(portable_socket* s) noexcept
    {
        if (s->refs_.fetch_sub(1, std::memory_order_acq_rel) == 1)
            delete s;
    }

  private:
    static constexpr state_word::value closed_bit = 2;
    static constexpr state_word::value orphan_bit = 4;

    portable_socket(loop_core& core, any socket);
    ~portable_socket() = default;

    wait_list& waiters(direction d) noexcept
    {
        return d == direction::read ? readers_ : writers_;
    }
    bool& armed(direction d) noexcept
    {
        return armed_[static_cast<std::size_t>(d)];
    }

    POLYLOOP_DECL boost::system::error_code wait(direction d, deadline limit, unsigned cancels,
                                                 bool arms);
    void arm(direction d);
    void arm_held(direction d);
    void disarm(direction d) noexcept;
    void on_ready(direction d, boost::system::error_code const& ec) noexcept;
    bool abort(state_word::value set) noexcept;
    void drop() noexcept;
    bool leave(direction d, waiter& w) noexcept;
    POLYLOOP_DECL static bool leave_readers(void* self, waiter& w);
    POLYLOOP_DECL static bool leave_writers(void* self, waiter& w);

    friend class portable_set;

    core_ptr core_;
    portable_set* set_ = nullptr; // lives as long as the core
    bool listed_ = false;         // under the lock of the set
    portable_socket* prev_ = nullptr;
    portable_socket* next_ = nullptr;
    native number_;
    std::atomic<unsigned> refs_ = 0;
    std::atomic<unsigned> cancels_ = 0; // written under the word
    state_word word_;
    wait_list readers_;
    wait_list writers_;
    mutable std::mutex mutex_;
    std::optional<any> socket_;
    std::array<bool, 2> armed_{};
    std::optional<boost::system::error_code> connected_;
};

/// The sockets of one loop, which end with it.
class portable_set final : public loop_attachment
{
  public:
    static portable_set& of(loop_core& core);

    ~portable_set() override;

    void add(portable_socket& s);
    void remove(portable_socket& s) noexcept;

    void closing() noexcept override;

  private:
    std::mutex mutex_;
    portable_socket* first_ = nullptr;
};

} // namespace polyloop::detail

#endif
