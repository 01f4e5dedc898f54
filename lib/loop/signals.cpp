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
#include <map>
#include <optional>
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

using numbers = std::array<std::atomic<unsigned>, most + 1>;

/// What the handler reads. Constant initialization, and never destroyed.
///
/// Whose a signal is, is decided when it comes: the users' while they have handlers, else the
/// runs'. By the time that somebody looks, handlers may have come and gone.
struct
{
    std::atomic<signal_port*> first = nullptr;
    std::atomic<pid_t> process = 0;
    numbers for_handlers{}; // signals that were the users'
    numbers for_runs{};     // signals that were not
    numbers handlers{};     // of users, how many
    numbers unseen{};       // signals that no run has looked at
    // What handled a signal before us. Changed only while somebody awaits the signal, and read only
    // where nobody does.
    std::array<struct sigaction, most + 1> before{};

    numbers& counts(signal_watch::rank r) noexcept
    {
        return r == signal_watch::rank::handler ? for_handlers : for_runs;
    }
} constinit told;

// A loop that does not look at its signals is stuck: the next one does what it would without us.
constexpr unsigned patience = 3;

struct sigaction by_default() noexcept
{
    struct sigaction none = {};
    none.sa_handler = SIG_DFL;
    ::sigemptyset(&none.sa_mask);
    return none;
}

bool stands(int number) noexcept;

void on_signal(int number)
{
    int const saved = errno;
    auto const give_up = [number](struct sigaction const& to) {
        ::sigaction(number, &to, nullptr);
        ::raise(number); // when this handler returns
    };
    if (::getpid() != told.process.load(std::memory_order_relaxed))
        give_up(by_default()); // a child that shares the memory, between vfork and exec
    else
    {
        bool const for_run = told.handlers[number].load() == 0;
        (for_run ? told.for_runs : told.for_handlers)[number].fetch_add(1);
        bool awaited = false;
        for (signal_port* p = told.first.load(std::memory_order_acquire); p; p = p->next)
            if (p->signals.load() & bit(number))
            {
                std::uint64_t const one = 1;
                [[maybe_unused]] auto const n = ::write(p->descriptor.load(), &one, sizeof(one));
                awaited = true;
            }
        if (for_run && awaited && told.unseen[number].fetch_add(1) + 1 >= patience)
            give_up(by_default());
        // Who found this handler while it was awaited may have put it back when it was no more.
        // Where it is not the one that stands, it is being taken down, and the signal was in time.
        if (!awaited && stands(number))
            give_up(told.before[number]);
    }
    errno = saved;
}

bool is_ours(struct sigaction const& a) noexcept
{
    return !(a.sa_flags & SA_SIGINFO) && a.sa_handler == &on_signal;
}

bool is_default(struct sigaction const& a) noexcept
{
    return !(a.sa_flags & SA_SIGINFO) && a.sa_handler == SIG_DFL;
}

bool stands(int number) noexcept
{
    struct sigaction now = {};
    return ::sigaction(number, nullptr, &now) == 0 && is_ours(now);
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

    /// How many signals of the rank had come when it began to be told; none where somebody else
    /// handles the signal, to whom a run gives way.
    std::optional<unsigned> add(signal_port& p, int number, signal_watch::rank r)
    {
        std::lock_guard const lock(mutex_);
        told.process.store(::getpid());
        unsigned const seen = told.counts(r)[number];
        // The disposition last: once it is ours, there is somebody whose each signal is.
        p.signals.fetch_or(bit(number));
        if (r == signal_watch::rank::handler)
            ++told.handlers[number];
        ++users_[number];
        told.unseen[number] = 0;
        int e = 0;
        if (install(number, r, e))
            return seen;
        forget(p, number, r);
        if (e != 0)
            fail(e, "signal " + std::to_string(number) + " cannot be handled");
        return {};
    }
    /// For one of the same port: somebody else may have taken the signal, or put the default back.
    /// False where a run gives way.
    bool add_again(int number, signal_watch::rank r)
    {
        std::lock_guard const lock(mutex_);
        int e = 0;
        if (install(number, r, e))
            return true;
        if (e != 0)
            fail(e, "signal " + std::to_string(number) + " cannot be handled");
        return false;
    }
    void remove(signal_port& p, int number, signal_watch::rank r) noexcept
    {
        std::lock_guard const lock(mutex_);
        if (!(p.signals.load() & bit(number)))
            return; // a child has nothing to put back
        // First, so that no signal comes to us when nobody is told any more.
        bool const last = users_[number] == 1;
        bool const last_handler =
            r == signal_watch::rank::handler && told.handlers[number].load() == 1;
        if (last)
            put_back(number);
        else if (last_handler && !is_default(told.before[number]))
        {
            // The user's who took the signal from the runs that are left: those began with the
            // default (S60), and give way again.
            put_back(number);
            told.before[number] = by_default();
        }
        forget(p, number, r);
    }

    /// Also where our handler was put back by who had found it, and stands for nobody.
    bool is_free(int number) noexcept
    {
        std::lock_guard const lock(mutex_);
        struct sigaction now = {};
        if (::sigaction(number, nullptr, &now) != 0)
            return false;
        return is_default(now) ||
               (is_ours(now) && users_[number] == 0 && is_default(told.before[number]));
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
    void forget(signal_port& p, int number, signal_watch::rank r) noexcept
    {
        --users_[number];
        if (r == signal_watch::rank::handler)
            --told.handlers[number]; // from here on the runs'
        p.signals.fetch_and(~bit(number));
    }
    /// False with 0 where a run has to give way. Others may change the disposition at any time:
    /// what counts is what was replaced.
    bool install(int number, signal_watch::rank r, int& e) noexcept
    {
        bool const gives_way = r == signal_watch::rank::run;
        struct sigaction found = {};
        if (::sigaction(number, nullptr, &found) != 0)
            return e = errno, false;
        bool const alone = users_[number] == 1;
        if (is_ours(found))
            return !gives_way || (alone && is_default(told.before[number]));
        if (gives_way && !is_default(found))
            return false;
        struct sigaction ours = {};
        ours.sa_handler = &on_signal;
        // On a stack of the thread's own where it has one: those of fibers may be small.
        ours.sa_flags = SA_RESTART | SA_ONSTACK;
        ::sigemptyset(&ours.sa_mask);
        if (::sigaction(number, &ours, &found) != 0)
            return e = errno, false;
        if (gives_way && !is_default(found))
            return ::sigaction(number, &found, nullptr), false;
        told.before[number] = found;
        return true;
    }
    void put_back(int number) noexcept
    {
        struct sigaction found = {};
        if (::sigaction(number, nullptr, &found) == 0 && is_ours(found) &&
            ::sigaction(number, &told.before[number], &found) == 0 && !is_ours(found))
            ::sigaction(number, &found, nullptr); // whoever was quicker keeps it
    }

    std::mutex mutex_;
    std::array<unsigned, most + 1> users_{};
    fork_listener const forks_{this,
                               {[](void* t) noexcept { get_at(t).mutex_.lock(); },
                                [](void* t) noexcept { get_at(t).mutex_.unlock(); },
                                [](void* t) noexcept { get_at(t).forked(); }}};
};

} // namespace

bool signal_is_default(int number) noexcept
{
    return signal_table::get().is_free(number);
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
      told_(std::make_shared<std::function<void(int)> const>(std::move(f))),
      port_(&signal_table::get().open()),
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

bool signal_watch::add(int number)
{
    if (number < 1 || number > most)
        throw_error(error::bad_config, "there is no signal " + std::to_string(number));
    std::lock_guard const lock(mutex_);
    if (!port_)
        throw_error(error::loop_closed);
    auto const [place, is_new] = seen_.try_emplace(number, 0);
    if (!is_new)
        return signal_table::get().add_again(number, rank_);
    try
    {
        if (auto const seen = signal_table::get().add(*port_, number, rank_))
        {
            place->second = *seen;
            return true;
        }
    }
    catch (...)
    {
        seen_.erase(place);
        throw;
    }
    seen_.erase(place);
    return false;
}

bool signal_watch::remove(int number) noexcept
{
    std::lock_guard const lock(mutex_);
    if (!port_ || seen_.erase(number) == 0)
        return false;
    signal_table::get().remove(*port_, number, rank_);
    return true;
}

bool signal_watch::empty() const noexcept
{
    std::lock_guard const lock(mutex_);
    return seen_.empty();
}

template <class F>
void signal_watch::take_locked(F&& each)
{
    for (auto& [number, seen] : seen_)
    {
        unsigned const now = told.counts(rank_)[number].load();
        unsigned const n = now - std::exchange(seen, now);
        if (rank_ == rank::run)
            told.unseen[number] = 0;
        total_ += n;
        if (n != 0)
            each(number, n);
    }
}

unsigned signal_watch::tell(std::function<void(int)> next)
{
    auto f = std::make_shared<std::function<void(int)> const>(std::move(next));
    std::lock_guard const lock(mutex_);
    if (!port_)
        return 0;
    take_locked([](int, unsigned) {});
    told_.swap(f);
    return std::exchange(total_, 0);
}

unsigned signal_watch::stop() noexcept
{
    // It may hold the loop, in whose `io_context` the wait that was ended still holds us.
    std::shared_ptr<std::function<void(int)> const> gone;
    std::lock_guard const lock(mutex_);
    if (!port_)
        return total_;
    gone.swap(told_);
    for (auto const& [number, seen] : seen_)
        signal_table::get().remove(*port_, number, rank_);
    take_locked([](int, unsigned) {}); // those that came until they were put back
    seen_.clear();
    signal_table::get().close(*port_);
    port_ = nullptr;
    boost::system::error_code ignored;
    readable_.close(ignored);
    return total_;
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
        take_locked([&](int number, unsigned count) { news.emplace(number, count); });
    }
    for (auto const& [number, n] : news)
        for (unsigned i = 0; i != n; ++i)
            (*tell)(number);
    std::lock_guard const lock(mutex_);
    if (port_)
        wait();
}

} // namespace polyloop::detail
