// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/io/detail/readiness.hpp>

#include <boost/asio/post.hpp>
#include <boost/asio/posix/basic_stream_descriptor.hpp>
#include <boost/asio/version.hpp>

#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>
#include <utility>

// Asio's own wait for a descriptor arms it anew each time, by a system call. An operation of its
// reactor that is tried when it begins needs none; that is no public interface, so it is used for
// the version of Asio that it was written for.
#if defined(BOOST_ASIO_HAS_EPOLL) && BOOST_ASIO_VERSION == 102600
#define POLYLOOP_REACTOR_OPERATION 1
#include <boost/asio/detail/reactor.hpp>
#include <boost/asio/detail/reactor_op.hpp>
#include <poll.h>
#endif

namespace polyloop::detail {
namespace {

[[noreturn]] void fail(int e, char const* what)
{
    throw boost::system::system_error(e, boost::system::system_category(), what);
}

} // namespace

/// What waits for the epoll in the `io_context`.
///
/// It is no work there: an application's `io_context` shall run out of that when its fibers end.
class readiness::watcher
{
  public:
#if defined(POLYLOOP_REACTOR_OPERATION)
    watcher(readiness& set, loop_core& core, int number)
        : set_(set), core_(core), number_(number),
          reactor_(asio::use_service<reactor>(core.io()))
    {
        reactor_.init_task();
        if (int const e = reactor_.register_descriptor(number_, data_))
            fail(e, "cannot wait for the sockets of a loop");
        operation_ = new operation(*this);
        begin();
    }
    ~watcher()
    {
        operation_->owner = nullptr;
        reactor_.deregister_internal_descriptor(number_, data_);
        reactor_.cleanup_descriptor_data(data_);
    }

  private:
    using reactor = asio::detail::reactor;

    /// Invariant: it is queued, in the reactor or by that in the scheduler, but while its
    /// completion runs; so it deletes itself where it finds its owner gone, or is destroyed.
    struct operation : asio::detail::reactor_op
    {
        explicit operation(watcher& w)
            : reactor_op(boost::system::error_code(), &operation::perform, &operation::complete),
              owner(&w)
        {
        }

        // Either the reactor saw an edge, or the operation begins. In a single loop's own thread
        // nobody can have taken an edge since the last look; else somebody may have.
        static status perform(reactor_op* base)
        {
            watcher* const w = static_cast<operation*>(base)->owner;
            if (!w || !std::exchange(w->beginning_, false))
                return done;
            if (w->core_.single())
                return not_done;
            pollfd p{w->number_, POLLIN, 0};
            return ::poll(&p, 1, 0) > 0 ? done : not_done;
        }

        static void complete(void* scheduler, asio::detail::operation* base,
                             boost::system::error_code const&, std::size_t)
        {
            std::unique_ptr<operation> self(static_cast<operation*>(base));
            if (scheduler && self->owner)
                self.release()->owner->on_edges();
        }

        watcher* owner; // changed while no thread runs the loop
    };

    void begin()
    {
        beginning_ = true; // until it was tried, under the reactor's lock
        reactor_.start_op(reactor::read_op, number_, data_, operation_, false, true);
        take_work_back();
    }

    readiness& set_;
    loop_core& core_;
    int const number_;
    reactor& reactor_;
    reactor::per_descriptor_data data_{};
    bool beginning_ = false;
    operation* operation_; // its own owner
#else
    watcher(readiness& set, loop_core& core, int number)
        : set_(set), core_(core), descriptor_(core.io(), ::dup(number))
    {
        begin();
    }
    ~watcher()
    {
        core_.work_started(); // the aborted wait will be counted down by its own handler
    }

  private:
    void begin()
    {
        descriptor_.async_wait(asio::posix::descriptor_base::wait_read,
                               [this](boost::system::error_code ec) {
                                   if (!ec)
                                       on_edges();
                               });
        take_work_back();
    }

    readiness& set_;
    loop_core& core_;
    asio::posix::basic_stream_descriptor<asio::io_context::executor_type> descriptor_;
#endif

    void on_edges()
    {
        core_.work_started(); // for what the `io_context` counts down at the end of this handler
        core_entry const entry(core_);
        set_.look();
        begin();
        if (core_.single())
            core_.run_batch();
    }

    void take_work_back()
    {
        // Only in a handler: elsewhere the count could reach zero, which stops the `io_context`.
        if (core_.on_loop())
            core_.work_finished();
        else
            asio::post(core_.io(), [core = core_ptr(&core_)] { core->work_finished(); });
    }
};

readiness& readiness::of(loop_core& core)
{
    return core.sockets<readiness>(
        [](loop_core& c) { return std::make_unique<readiness>(c); });
}

readiness::readiness(loop_core& core) : epoll_(::epoll_create1(EPOLL_CLOEXEC))
{
    if (epoll_ < 0)
        fail(errno, "no epoll for the sockets of a loop");
    try
    {
        watcher_ = std::make_unique<watcher>(*this, core, epoll_);
    }
    catch (...)
    {
        ::close(epoll_);
        throw;
    }
}

readiness::~readiness()
{
    closing();
}

void readiness::add(descriptor& d)
{
    std::lock_guard const lock(mutex_);
    epoll_event e{};
    e.events = EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLET;
    e.data.ptr = &d;
    if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, d.number(), &e) != 0)
        fail(errno, "cannot wait for a socket");
    intrusive_ptr_add_ref(&d);
    d.next_ = first_;
    if (first_)
        first_->prev_ = &d;
    first_ = &d;
    d.set_ = this;
    d.listed_ = true;
}

void readiness::remove(descriptor& d) noexcept
{
    {
        std::lock_guard const lock(mutex_);
        if (!std::exchange(d.listed_, false))
            return;
        epoll_event e{};
        ::epoll_ctl(epoll_, EPOLL_CTL_DEL, d.number(), &e);
        (d.prev_ ? d.prev_->next_ : first_) = d.next_;
        if (d.next_)
            d.next_->prev_ = d.prev_;
    }
    intrusive_ptr_release(&d);
}

void readiness::closing() noexcept
{
    watcher_.reset();
    std::lock_guard const lock(mutex_);
    while (descriptor* const d = first_)
    {
        first_ = d->next_;
        d->listed_ = false;
        d->orphan();
        intrusive_ptr_release(d);
    }
    if (epoll_ >= 0)
        ::close(std::exchange(epoll_, -1));
}

void readiness::look() noexcept
{
    std::lock_guard const lock(mutex_);
    std::array<epoll_event, 128> events;
    int n;
    do
    {
        n = ::epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), 0);
        for (int i = 0; i < n; ++i)
        {
            std::uint32_t const e = events[static_cast<std::size_t>(i)].events;
            bool const failed = e & (EPOLLERR | EPOLLHUP);
            // After either of these a short read does not mean that nothing is left.
            bool const broken = failed || (e & (EPOLLRDHUP | EPOLLPRI));
            static_cast<descriptor*>(events[static_cast<std::size_t>(i)].data.ptr)
                ->edge(broken || (e & EPOLLIN), failed || (e & EPOLLOUT), broken);
        }
    } while (n == static_cast<int>(events.size()));
}

} // namespace polyloop::detail
