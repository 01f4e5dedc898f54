// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/loop/detail/signals.hpp>

#include <polyloop/context/detail/fork.hpp>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <string>
#include <utility>

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace polyloop::detail {

/// One end that is told, by a descriptor. Ports are used again and never freed, and nor are their
/// descriptors, as a handler on another thread may be about to write.
struct signal_port
{
    std::atomic<int> descriptor = -1;
    std::atomic<std::uint64_t> signals = 0; // a bit for each number
    bool used = false;                      // under the table's mutex
    signal_port* next = nullptr;
};

namespace {

constexpr int most = 64;

[[noreturn]] void fail(int e, std::string const& what)
{
    throw boost::system::system_error(e, boost::system::system_category(), what);
}

constexpr std::uint64_t bit(int number) noexcept
{
    return std::uint64_t(1) << (number - 1);
}

/// What the handler reads. Constant initialization, and never destroyed.
struct
{
    std::atomic<signal_port*> first = nullptr;
    std::atomic<pid_t> process = 0;
    std::array<std::atomic<unsigned>, most + 1> counts{};
    std::array<std::atomic<unsigned>, most + 1> handlers{}; // of users
    std::array<std::atomic<unsigned>, most + 1> unseen{};   // by runs
} constinit told;

// A loop that does not look at its signals is stuck: the next one does what it would without us.
constexpr unsigned patience = 3;

void on_signal(int number)
{
    int const saved = errno;
    auto const give_up = [number] {
        struct sigaction none = {};
        none.sa_handler = SIG_DFL;
        ::sigemptyset(&none.sa_mask);
        ::sigaction(number, &none, nullptr);
        ::raise(number); // when this handler returns
    };
    if (::getpid() != told.process.load(std::memory_order_relaxed))
        give_up(); // a child that shares the memory, between vfork and exec
    else
    {
        told.counts[number].fetch_add(1);
        bool for_run = false;
        for (signal_port* p = told.first.load(std::memory_order_acquire); p; p = p->next)
            if (p->signals.load() & bit(number))
            {
                std::uint64_t const one = 1;
                [[maybe_unused]] auto const n = ::write(p->descriptor.load(), &one, sizeof(one));
                for_run = true;
            }
        if (for_run && told.handlers[number].load() == 0 &&
            told.unseen[number].fetch_add(1) + 1 >= patience)
            give_up();
    }
    errno = saved;
}

bool is_ours(struct sigaction const& a) noexcept
{
    return !(a.sa_flags & SA_SIGINFO) && a.sa_handler == &on_signal;
}

class signal_table
{
  public:
    static signal_table& get()
    {
        static signal_table* const t = new signal_table;
        return *t;
    }

    signal_port& open()
    {
        std::lock_guard const lock(mutex_);
        signal_port* p = told.first.load();
        while (p && p->used)
            p = p->next;
        if (!p)
        {
            p = new signal_port;
            p->next = told.first.load();
            told.first.store(p, std::memory_order_release);
        }
        if (p->descriptor == -1)
            p->descriptor = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (p->descriptor == -1)
            fail(errno, "no descriptor for signals");
        p->used = true;
        return *p;
    }
    void close(signal_port& p) noexcept
    {
        std::lock_guard const lock(mutex_);
        p.used = false;
    }

    void add(signal_port& p, int number, bool handler)
    {
        std::lock_guard const lock(mutex_);
        told.process.store(::getpid());
        struct sigaction now = {};
        if (::sigaction(number, nullptr, &now) != 0)
            fail(errno, "signal " + std::to_string(number));
        if (!is_ours(now))
        {
            struct sigaction ours = {};
            ours.sa_handler = &on_signal;
            ours.sa_flags = SA_RESTART;
            ::sigemptyset(&ours.sa_mask);
            if (::sigaction(number, &ours, nullptr) != 0)
                fail(errno, "signal " + std::to_string(number) + " cannot be handled");
            before_[number] = now;
        }
        ++users_[number];
        if (handler)
            ++told.handlers[number];
        told.unseen[number] = 0;
        p.signals.fetch_or(bit(number));
    }
    void remove(signal_port& p, int number, bool handler) noexcept
    {
        std::lock_guard const lock(mutex_);
        if (!(p.signals.fetch_and(~bit(number)) & bit(number)))
            return; // a child has nothing to put back
        if (handler)
            --told.handlers[number];
        if (--users_[number] == 0)
            put_back(number);
    }

  private:
    /// The signals of the child are its own, and so must be what they wake (S17).
    void forked() noexcept
    {
        for (int n = 1; n <= most; ++n)
        {
            if (std::exchange(users_[n], 0) != 0)
                put_back(n);
            told.handlers[n] = 0;
        }
        for (signal_port* p = told.first.load(); p; p = p->next)
        {
            p->signals = 0;
            p->used = false;
            if (int const d = p->descriptor.exchange(-1); d != -1)
                ::close(d);
        }
    }

    static signal_table& get_at(void* t) noexcept
    {
        return *static_cast<signal_table*>(t);
    }
    void put_back(int number) noexcept
    {
        struct sigaction now = {};
        if (::sigaction(number, nullptr, &now) == 0 && is_ours(now))
            ::sigaction(number, &before_[number], nullptr);
    }

    std::mutex mutex_;
    std::array<unsigned, most + 1> users_{};
    std::array<struct sigaction, most + 1> before_{};
    fork_listener const forks_{this,
                               {[](void* t) noexcept { get_at(t).mutex_.lock(); },
                                [](void* t) noexcept { get_at(t).mutex_.unlock(); },
                                [](void* t) noexcept { get_at(t).forked(); }}};
};

} // namespace

bool signal_is_default(int number) noexcept
{
    struct sigaction now = {};
    return ::sigaction(number, nullptr, &now) == 0 && !(now.sa_flags & SA_SIGINFO) &&
           now.sa_handler == SIG_DFL;
}

std::shared_ptr<signal_watch> signal_watch::start(loop_core& core, rank r,
                                                  std::function<void(int)> tell)
{
    std::shared_ptr<signal_watch> w(new signal_watch(core, r, std::move(tell)));
    std::lock_guard const lock(w->mutex_);
    w->wait();
    return w;
}

signal_watch::signal_watch(loop_core& core, rank r, std::function<void(int)> f)
    : core_(&core), rank_(r),
      told_(std::make_shared<std::function<void(int)> const>(std::move(f))), port_(&signal_table::get().open()),
      readable_(core.io())
{
    int const own = ::fcntl(port_->descriptor, F_DUPFD_CLOEXEC, 0);
    boost::system::error_code ec;
    if (own != -1)
        readable_.assign(own, ec);
    if (own != -1 && !ec)
        return;
    int const e = own == -1 ? errno : ec.value();
    if (own != -1)
        ::close(own);
    signal_table::get().close(*port_);
    fail(e, "cannot wait for signals");
}

signal_watch::~signal_watch()
{
    stop();
}

void signal_watch::add(int number)
{
    if (number < 1 || number > most)
        throw_error(error::bad_config, "there is no signal " + std::to_string(number));
    std::lock_guard const lock(mutex_);
    if (!port_)
        throw_error(error::loop_closed);
    if (seen_.contains(number))
        return;
    seen_.emplace(number, told.counts[number].load());
    try
    {
        signal_table::get().add(*port_, number, rank_ == rank::handler);
    }
    catch (...)
    {
        seen_.erase(number);
        throw;
    }
}

bool signal_watch::remove(int number) noexcept
{
    std::lock_guard const lock(mutex_);
    if (!port_ || seen_.erase(number) == 0)
        return false;
    signal_table::get().remove(*port_, number, rank_ == rank::handler);
    return true;
}

bool signal_watch::empty() const noexcept
{
    std::lock_guard const lock(mutex_);
    return seen_.empty();
}

std::map<int, unsigned> signal_watch::take_locked() noexcept
{
    std::map<int, unsigned> news;
    for (auto& [number, seen] : seen_)
    {
        unsigned const now = told.counts[number].load();
        unsigned const n = now - std::exchange(seen, now);
        told.unseen[number] = 0;
        if (n != 0 && (rank_ == rank::handler || told.handlers[number].load() == 0))
            news.emplace(number, n);
    }
    return news;
}

unsigned signal_watch::take_untold() noexcept
{
    std::lock_guard const lock(mutex_);
    unsigned all = 0;
    for (auto const& [number, n] : take_locked())
        all += n;
    return all;
}

void signal_watch::stop() noexcept
{
    // It may hold the loop, in whose `io_context` the wait that was ended still holds us.
    std::shared_ptr<std::function<void(int)> const> gone;
    std::lock_guard const lock(mutex_);
    if (!port_)
        return;
    gone.swap(told_);
    for (auto const& [number, seen] : seen_)
        signal_table::get().remove(*port_, number, rank_ == rank::handler);
    seen_.clear();
    signal_table::get().close(*port_);
    port_ = nullptr;
    boost::system::error_code ignored;
    readable_.close(ignored);
}

void signal_watch::wait()
{
    readable_.async_wait(descriptor::wait_read,
                         [self = shared_from_this()](boost::system::error_code ec) {
                             if (!ec)
                                 self->look();
                         });
}

void signal_watch::look()
{
    core_entry const entry(*core_);
    std::map<int, unsigned> news;
    std::shared_ptr<std::function<void(int)> const> tell;
    {
        std::lock_guard const lock(mutex_);
        if (!port_)
            return;
        tell = told_;
        std::uint64_t woken = 0; // first, so that what comes after it wakes again
        [[maybe_unused]] auto const n = ::read(readable_.native_handle(), &woken, sizeof(woken));
        news = take_locked();
    }
    for (auto const& [number, n] : news)
        for (unsigned i = 0; i != n; ++i)
            (*tell)(number);
    std::lock_guard const lock(mutex_);
    if (port_)
        wait();
}

} // namespace polyloop::detail
