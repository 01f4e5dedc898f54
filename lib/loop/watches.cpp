// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/loop/detail/watches.hpp>

#include <polyloop/loop/detail/signals.hpp>
#include <polyloop/loop/event_loop.hpp>

#include <boost/asio/posix/basic_stream_descriptor.hpp>

#include <cerrno>
#include <string>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace polyloop::detail {

/// A wait that begins anew each time its callback has run: what is still ready then is found so at
/// once. On a descriptor of its own, since the user's may be watched in the same `io_context`.
struct watches::descriptor_watch : std::enable_shared_from_this<descriptor_watch>
{
    descriptor_watch(loop_core& c, int handle, direction d, std::shared_ptr<repeated> call)
        : core(&c), way(d), where(call->where()), f(std::move(call)), waits(c.io())
    {
        auto const fail = [handle](int e) {
            throw boost::system::system_error(e, boost::system::system_category(),
                                              "descriptor " + std::to_string(handle) +
                                                  " cannot be waited for");
        };
        struct stat s;
        if (::fstat(handle, &s) != 0)
            fail(errno);
        if (S_ISREG(s.st_mode) || S_ISDIR(s.st_mode))
            fail(EPERM); // as epoll says; they are always ready
        int const own = ::fcntl(handle, F_DUPFD_CLOEXEC, 0);
        if (own == -1)
            fail(errno);
        boost::system::error_code ec;
        waits.assign(own, ec);
        if (ec)
        {
            ::close(own);
            fail(ec.value());
        }
    }

    void wait()
    {
        std::lock_guard const lock(mutex);
        if (!active)
            return;
        waits.async_wait(way == direction::read ? descriptor::wait_read : descriptor::wait_write,
                         [self = shared_from_this()](boost::system::error_code ec) {
                             if (ec != asio::error::operation_aborted)
                                 self->ready(ec);
                         });
    }

    void ready(boost::system::error_code ec)
    {
        core_entry const entry(*core);
        if (ec)
        {
            core->report({"a watched descriptor failed",
                          std::make_exception_ptr(boost::system::system_error(ec))});
            return;
        }
        if (event_loop* const l = core->facade(); l && !core->is_closed())
            l->call_soon([self = shared_from_this()] { self->call(); }, where);
    }

    void call()
    {
        struct again
        {
            descriptor_watch& w;
            ~again()
            {
                w.wait();
            }
        };
        std::shared_ptr<repeated> call;
        {
            std::lock_guard const lock(mutex);
            call = active ? f : nullptr;
        }
        if (!call)
            return;
        again const afterwards{*this};
        (*call)();
    }

    void stop() noexcept
    {
        std::shared_ptr<repeated> released; // outside of the lock
        std::lock_guard const lock(mutex);
        if (!std::exchange(active, false))
            return;
        released.swap(f);
        boost::system::error_code ignored;
        waits.close(ignored);
    }

    using descriptor = asio::posix::basic_stream_descriptor<asio::io_context::executor_type>;

    core_ptr const core;
    direction const way;
    std::source_location const where;
    std::mutex mutex;
    bool active = true;
    std::shared_ptr<repeated> f;
    descriptor waits;
};

watches& watches::of(loop_core& core)
{
    return core.attached_watches<watches>(
        [](loop_core& c) { return std::make_unique<watches>(c); });
}

watches::watches(loop_core& core) : core_(core)
{
}

watches::~watches()
{
    closing();
}

void watches::add(int handle, direction d, std::shared_ptr<repeated> f)
{
    auto const w = std::make_shared<descriptor_watch>(core_, handle, d, std::move(f));
    std::shared_ptr<descriptor_watch> old = w;
    {
        std::lock_guard const lock(mutex_);
        core_.require_open();
        old.swap(descriptors_[{handle, d}]);
    }
    if (old)
        old->stop();
    w->wait();
}

bool watches::remove(int handle, direction d) noexcept
{
    std::unique_lock lock(mutex_);
    auto const found = descriptors_.extract({handle, d});
    lock.unlock();
    if (!found)
        return false;
    found.mapped()->stop();
    return true;
}

void watches::add_signal(int number, std::shared_ptr<repeated> f)
{
    std::shared_ptr<signal_watch> idle;
    std::lock_guard const lock(mutex_);
    core_.require_open();
    if (!signals_)
        signals_ = signal_watch::start(core_, signal_watch::rank::handler,
                                       [this](int n) { on_signal(n); });
    auto const [place, is_new] = handlers_.try_emplace(number);
    try
    {
        signals_->add(number);
    }
    catch (...)
    {
        if (is_new)
            handlers_.erase(place);
        stop_idle(idle);
        throw;
    }
    f.swap(place->second);
}

// A watch without a handler waits no more, as it would keep a run from its end. `idle` is let go of
// outside of the lock.
void watches::stop_idle(std::shared_ptr<signal_watch>& idle) noexcept
{
    if (!handlers_.empty() || !signals_)
        return;
    idle.swap(signals_);
    idle->stop();
}

bool watches::remove_signal(int number) noexcept
{
    std::shared_ptr<repeated> released;
    std::shared_ptr<signal_watch> idle;
    std::lock_guard const lock(mutex_);
    auto const found = handlers_.extract(number);
    if (!found)
        return false;
    released = std::move(found.mapped());
    signals_->remove(number);
    stop_idle(idle);
    return true;
}

void watches::on_signal(int number)
{
    std::source_location where;
    {
        std::lock_guard const lock(mutex_);
        auto const found = handlers_.find(number);
        if (found == handlers_.end())
            return;
        where = found->second->where();
    }
    event_loop* const l = core_.facade();
    if (!l || core_.is_closed())
        return;
    l->call_soon(
        [this, number] {
            std::shared_ptr<repeated> f;
            {
                std::lock_guard const lock(mutex_);
                auto const found = handlers_.find(number);
                if (found != handlers_.end()) // it may have been removed meanwhile
                    f = found->second;
            }
            if (f)
                (*f)();
        },
        where);
}

void watches::closing() noexcept
{
    std::map<std::pair<int, direction>, std::shared_ptr<descriptor_watch>> descriptors;
    std::map<int, std::shared_ptr<repeated>> handlers;
    std::shared_ptr<signal_watch> signals;
    {
        std::lock_guard const lock(mutex_);
        descriptors.swap(descriptors_);
        handlers.swap(handlers_);
        signals.swap(signals_);
    }
    for (auto const& [key, w] : descriptors)
        w->stop();
    if (signals)
        signals->stop();
}

} // namespace polyloop::detail
