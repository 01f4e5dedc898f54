// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/io/detail/portable_socket.hpp>

#include <memory>
#include <type_traits>

namespace polyloop::detail {
namespace {

using boost::system::error_code;

/// What the system knows of a number: family, type.
std::pair<int, int> kind_of(portable_socket::native number)
{
    asio::detail::sockaddr_storage_type name{};
    std::size_t length = sizeof name;
    error_code ec;
    asio::detail::socket_ops::getsockname(
        number, reinterpret_cast<asio::detail::socket_addr_type*>(&name), &length, ec);
    if (ec)
        throw_error(ec);
    int type = 0;
    std::size_t size = sizeof type;
    asio::detail::socket_ops::getsockopt(number, asio::detail::socket_ops::state_type{},
                                         SOL_SOCKET, SO_TYPE, &type, &size, ec);
    if (ec)
        throw_error(ec);
    return {name.ss_family, type};
}

portable_socket::any socket_of(loop_core& core, portable_socket::native number, bool connected)
{
    auto const [family, type] = kind_of(number);
    auto const ex = core.io().get_executor();
    if (type == SOCK_DGRAM)
        return portable_socket::datagram(ex, asio::generic::datagram_protocol(family, 0), number);
    asio::generic::stream_protocol const protocol(family, 0);
    if (connected)
        return portable_socket::stream(ex, protocol, number);
    return portable_socket::acceptor(ex, protocol, number);
}

} // namespace

portable_socket::portable_socket(loop_core& core, any socket)
    : core_(&core), number_(std::visit([](auto& s) { return s.native_handle(); }, socket)),
      socket_(std::move(socket))
{
    // They fail where they would wait.
    std::visit([](auto& s) { s.non_blocking(true); }, *socket_);
}

portable_socket::pointer portable_socket::open(loop_core& core, any socket)
{
    pointer s(new portable_socket(core, std::move(socket)));
    portable_set::of(core).add(*s);
    return s;
}

portable_socket::pointer portable_socket::open(loop_core& core, native number, bool connected,
                                               bool)
{
    std::optional<any> socket;
    try
    {
        core.require_open();
        socket.emplace(socket_of(core, number, connected));
    }
    catch (...)
    {
        give_back(number);
        throw;
    }
    return open(core, std::move(*socket));
}

// -- waiting

boost::system::error_code portable_socket::wait(direction d, deadline limit, unsigned cancels,
                                                bool arms)
{
    blocker self;
    descriptor_waiter w;
    {
        section s(word_);
        if (this->cancels() != cancels) [[unlikely]]
            return asio::error::operation_aborted;
        if (s.value & closed_bit) [[unlikely]]
            return asio::error::bad_descriptor;
        if (limit.passed()) [[unlikely]]
            return asio::error::timed_out;
        if (s.value & orphan_bit) [[unlikely]]
            return make_error_code(error::loop_closed);
        if (!self.may_wait()) [[unlikely]]
        {
            s.finish();
            try
            {
                self.refuse();
            }
            catch (boost::system::system_error const& e)
            {
                return e.code();
            }
        }
        self.prepare(w);
        waiters(d).push(w);
    }
    try
    {
        if (arms)
            arm(d);
    }
    catch (...)
    {
        if (!leave(d, w))
            self.wait_uncancelled(w); // it is being let go
        throw;
    }
    switch (self.wait(w, place(d), limit))
    {
    case wait_end::granted:
        break;
    case wait_end::timed_out:
        return asio::error::timed_out;
    case wait_end::cancelled:
        return asio::error::operation_aborted;
    }
    if (w.aborted) [[unlikely]]
        return asio::error::operation_aborted;
    return {};
}

bool portable_socket::begin(descriptor_waiter& w, direction d, unsigned cancels)
{
    {
        section s(word_);
        if ((s.value & orphan_bit) || this->cancels() != cancels)
        {
            w.aborted = true;
            return true;
        }
        if (s.value & closed_bit)
            return true; // the attempt tells
        waiters(d).push(w);
    }
    try
    {
        arm(d);
    }
    catch (...)
    {
        if (leave(d, w))
            throw;
    }
    return false;
}

void portable_socket::arm(direction d)
{
    std::lock_guard const lock(mutex_);
    arm_held(d);
}

void portable_socket::arm_held(direction d)
{
    if (!socket_ || armed(d))
        return; // who waits is let go, or will be
    {
        section s(word_);
        if (waiters(d).empty())
            return;
    }
    auto const what =
        d == direction::read ? asio::socket_base::wait_read : asio::socket_base::wait_write;
    std::visit(
        [&](auto& s) {
            s.async_wait(what, [self = pointer(this), d](error_code const& ec) {
                self->on_ready(d, ec);
            });
        },
        *socket_);
    armed(d) = true;
}

/// Nobody waits there any more, so that the operation is no work. That ends the other direction's,
/// too, which begins anew where somebody waits.
void portable_socket::disarm(direction d) noexcept
{
    std::lock_guard const lock(mutex_);
    if (!socket_ || !armed(d))
        return;
    {
        section s(word_);
        if (!waiters(d).empty())
            return;
    }
    error_code ignored;
    std::visit([&](auto& s) { s.cancel(ignored); }, *socket_);
}

/// In the `io_context`.
void portable_socket::on_ready(direction d, error_code const& ec) noexcept
{
    if (core_->is_closed())
        return; // and everybody was told
    core_entry const entry(*core_);
    {
        std::unique_lock lock(mutex_);
        armed(d) = false;
        if (ec == asio::error::operation_aborted)
            try
            {
                arm_held(d); // for those for whom it was not ended
                return;
            }
            catch (...) // for want of memory: they shall try
            {
            }
        section s(word_);
        s.release_all(waiters(d));
        lock.unlock();
    }
    if (core_->single())
        core_->run_batch();
}

bool portable_socket::leave(direction d, waiter& w) noexcept
{
    // Who was granted may have let the socket go.
    bool last = false;
    bool const left = leave_wait(word_, w, [&](section&) {
        waiters(d).erase(w);
        last = waiters(d).empty();
    });
    if (last)
        disarm(d);
    return left;
}

bool portable_socket::leave_readers(void* self, waiter& w)
{
    return static_cast<portable_socket*>(self)->leave(direction::read, w);
}

bool portable_socket::leave_writers(void* self, waiter& w)
{
    return static_cast<portable_socket*>(self)->leave(direction::write, w);
}

// -- connecting

void portable_socket::start_connect(asio::generic::stream_protocol::endpoint const& to)
{
    std::lock_guard const lock(mutex_);
    if (!socket_)
        return;
    connected_.reset();
    std::get<stream>(*socket_).async_connect(to, [self = pointer(this)](error_code const& ec) {
        {
            std::lock_guard const held(self->mutex_);
            self->connected_ = ec;
        }
        self->on_ready(direction::write, ec);
    });
    armed(direction::write) = true;
}

std::optional<error_code> portable_socket::connected() const
{
    std::lock_guard const lock(mutex_);
    return connected_;
}

bool portable_socket::has_peer()
{
    error_code ec;
    with(ec, [&](auto& s) {
        if constexpr (!std::is_same_v<std::decay_t<decltype(s)>, acceptor>)
            s.remote_endpoint(ec);
    });
    return !ec;
}

// -- the end

/// Ends all waits. False where it was `set` before.
bool portable_socket::abort(state_word::value set) noexcept
{
    section s(word_);
    if (set && (s.value & set))
        return false;
    s.value |= set;
    cancels_.store(cancels() + 1, std::memory_order_relaxed);
    for (direction const d : {direction::read, direction::write})
    {
        for (waiter* w = waiters(d).front(); w; w = w->next)
            static_cast<descriptor_waiter*>(w)->aborted = true;
        s.release_all(waiters(d));
    }
    return true;
}

void portable_socket::drop() noexcept
{
    std::lock_guard const lock(mutex_);
    if (socket_)
    {
        // Asio's destructor would give up the linger that was asked for, and so a reset.
        error_code ignored;
        std::visit([&](auto& s) { s.close(ignored); }, *socket_);
    }
    socket_.reset();
}

void portable_socket::cancel() noexcept
{
    abort(0);
    for (direction const d : {direction::read, direction::write})
        disarm(d);
}

void portable_socket::orphan() noexcept
{
    abort(orphan_bit);
    drop();
}

void portable_socket::close() noexcept
{
    if (!abort(closed_bit))
        return;
    set_->remove(*this);
    drop();
}

portable_socket::native portable_socket::release()
{
    if (!abort(closed_bit))
        throw_error(asio::error::bad_descriptor);
    set_->remove(*this);
    std::lock_guard const lock(mutex_);
    if (!socket_)
        throw_error(error::loop_closed);
    native const number = std::visit([](auto& s) { return s.release(); }, *socket_);
    socket_.reset();
    return number;
}

void portable_socket::give_back(native number) noexcept
{
    asio::detail::socket_ops::state_type state = 0;
    error_code ignored;
    asio::detail::socket_ops::close(number, state, true, ignored);
}

// -- those of a loop

portable_set& portable_set::of(loop_core& core)
{
    return core.sockets<portable_set>(
        [](loop_core&) { return std::make_unique<portable_set>(); });
}

portable_set::~portable_set()
{
    closing();
}

void portable_set::add(portable_socket& s)
{
    std::lock_guard const lock(mutex_);
    intrusive_ptr_add_ref(&s);
    s.next_ = first_;
    if (first_)
        first_->prev_ = &s;
    first_ = &s;
    s.set_ = this;
    s.listed_ = true;
}

void portable_set::remove(portable_socket& s) noexcept
{
    {
        std::lock_guard const lock(mutex_);
        if (!std::exchange(s.listed_, false))
            return;
        (s.prev_ ? s.prev_->next_ : first_) = s.next_;
        if (s.next_)
            s.next_->prev_ = s.prev_;
    }
    intrusive_ptr_release(&s);
}

void portable_set::closing() noexcept
{
    std::lock_guard const lock(mutex_);
    while (portable_socket* const s = first_)
    {
        first_ = s->next_;
        s->listed_ = false;
        s->orphan();
        intrusive_ptr_release(s);
    }
}

} // namespace polyloop::detail
