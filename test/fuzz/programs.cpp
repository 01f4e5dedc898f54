// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// Random programs of fibers over several loops: they spawn, wait, cancel, time out, lock, send and
// close, also through streams between the loops. What has to hold in every one of them: nothing is
// lost, nothing comes twice, all end, nothing is leaked.
//
// The first byte chooses the policy, and its highest bit whether the program knows all steps: also
// those of coroutines, threads, groups, and the rarer objects. The others are the code that all
// fibers of the program run, each from where its parent says, in a circle, until its steps are used
// up.
//
// All steps only where POLYLOOP_FUZZ_ALL is set: some of those programs do not come to the end of
// their shutdown, and whether the program or the library is wrong is not known yet.

#include <polyloop.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <stdexcept>
#include <utility>
#include <vector>

#include <sys/socket.h>

using namespace polyloop;
using namespace std::chrono_literals;

namespace {

#define MUST_HOLD(what)                                                                           \
    do                                                                                            \
        if (!(what))                                                                              \
        {                                                                                         \
            std::fprintf(stderr, "line %d: does not hold: %s\n", __LINE__, #what);               \
            std::abort();                                                                         \
        }                                                                                         \
    while (false)

struct broken : std::runtime_error
{
    broken() : std::runtime_error("thrown by the program")
    {
    }
};

/// One end of a stream, of which one fiber reads at a time, and one writes. What goes in is
/// counted, and has to come out in order.
struct stream_end
{
    std::optional<local_stream> stream;
    std::atomic<bool> read = false;
    std::atomic<bool> written = false;
    std::uint8_t in = 0; // of who reads
    std::uint8_t out = 0; // of who writes
};

/// Sets a flag for a scope, unless somebody else has it.
class turn_at
{
  public:
    explicit turn_at(std::atomic<bool>& f) : flag_(f), mine_(!f.exchange(true))
    {
    }
    turn_at(turn_at const&) = delete;
    turn_at& operator=(turn_at const&) = delete;
    ~turn_at()
    {
        if (mine_)
            flag_ = false;
    }
    explicit operator bool() const
    {
        return mine_;
    }

  private:
    std::atomic<bool>& flag_;
    bool mine_;
};

/// One more for a scope.
class counted
{
  public:
    explicit counted(std::atomic<int>& n) : n_(n)
    {
        ++n_;
    }
    counted(counted const&) = delete;
    counted& operator=(counted const&) = delete;
    ~counted()
    {
        --n_;
    }

  private:
    std::atomic<int>& n_;
};

/// What all fibers of a program share.
class world
{
  public:
    static constexpr int most_fibers = 48;
    static constexpr int most_steps = 24; // of one fiber
    static constexpr std::size_t most_items = 2048;

    world(std::uint8_t const* code, std::size_t size, bool all_steps)
        : whole(all_steps), code_(code), size_(size)
    {
    }

    std::uint8_t at(std::size_t pc) const
    {
        return code_[pc % size_];
    }

    /// One more task, if the program may have it.
    bool admit()
    {
        return fibers_.fetch_add(1) < most_fibers;
    }
    /// All of them have to be done in the end.
    void keep(task<> const& t)
    {
        std::lock_guard const lock(tasks_mutex_);
        tasks_.push_back(t);
    }
    /// A task that the program may still ask for.
    task<> start(std::size_t pc);
    std::optional<task<>> any(std::size_t which)
    {
        std::lock_guard const lock(tasks_mutex_);
        if (tasks_.empty())
            return std::nullopt;
        return tasks_[which % tasks_.size()];
    }

    void send(std::uint8_t how);
    void receive(std::uint8_t how);
    void enter(std::uint8_t how);
    void wait(std::uint8_t how);
    void close(std::uint8_t how)
    {
        channels_[how % channels_.size()].close();
    }
    void set(std::uint8_t how)
    {
        if (how & 2)
            events_[how & 1].clear();
        else
            events_[how & 1].set();
    }

    void notify(std::uint8_t how)
    {
        ++tickets_;
        if (how & 64)
            told_.notify_all();
        else
            told_.notify_one();
    }
    void wait_for_ticket(std::uint8_t how);
    void acquire(std::uint8_t how);
    void change(std::uint8_t how);
    void look(std::uint8_t how);
    void meet(std::uint8_t how);
    task<> start_coroutine(std::size_t pc);
    task<> start_thread(std::uint8_t how);

    /// In the run: each end on another loop, as far as there are several.
    void open_streams();
    void use_stream(std::uint8_t how);

    void check();

    std::atomic<int> alive = 0; // callables and frames
    bool const whole;           // all steps

  private:
    enum fate_kind : std::uint8_t
    {
        unused,
        offered,
        accepted,
        refused
    };

    boost::asio::awaitable<void> run_coroutine(std::size_t pc);
    bool draw_item(int& item)
    {
        item = next_item_.fetch_add(1);
        return item < static_cast<int>(most_items);
    }
    void got(int item)
    {
        MUST_HOLD(received_[static_cast<std::size_t>(item)].fetch_add(1) == 0);
    }

    std::uint8_t const* code_;
    std::size_t size_;
    std::atomic<int> fibers_ = 0;
    std::mutex tasks_mutex_;
    std::vector<task<>> tasks_;
    std::array<mutex, 2> mutexes_;
    std::array<std::atomic<int>, 2> inside_ = {};
    std::array<event, 2> events_;
    mutex ticket_mutex_;
    condition_variable told_;
    std::atomic<int> tickets_ = 0;
    semaphore permits_{2};
    std::atomic<int> admitted_ = 0;
    shared_mutex book_;
    std::atomic<int> writers_ = 0;
    std::atomic<int> readers_ = 0;
    barrier meeting_{2};
    std::array<channel<int>, 3> channels_{channel<int>(0), channel<int>(1), channel<int>(7)};
    std::array<stream_end, 4> ends_; // two and two
    std::atomic<int> next_item_ = 0;
    std::array<std::atomic<std::uint8_t>, most_items> fate_ = {};
    std::array<std::atomic<int>, most_items> received_ = {};
};

/// Lives as long as a callable or a frame of the program.
class presence
{
  public:
    explicit presence(world& w) : world_(&w)
    {
        ++world_->alive;
    }
    presence(presence const& other) : presence(*other.world_)
    {
    }
    presence& operator=(presence const&) = delete;
    ~presence()
    {
        --world_->alive;
    }

  private:
    world* world_;
};

std::chrono::microseconds some_time(std::uint8_t how)
{
    return std::chrono::microseconds((how % 8) * 25);
}

/// One fiber of the program.
class machine
{
  public:
    machine(world& w, std::size_t pc) : world_(w), here_(w), pc_(pc)
    {
    }

    void run(bool main)
    {
        for (int i = 0; i != world::most_steps; ++i)
        {
            std::uint8_t const code = next();
            std::uint8_t const how = next();
            if (!step(code, how, main))
                return;
        }
    }

  private:
    std::uint8_t next()
    {
        return world_.at(pc_++);
    }

    bool step(std::uint8_t code, std::uint8_t how, bool main)
    {
        switch (code % 16)
        {
        case 0:
            this_fiber::yield();
            break;
        case 1:
            this_fiber::sleep_for(some_time(how));
            break;
        case 2:
        case 3:
            if (auto t = world_.start(pc_ + how))
                children_.push_back(std::move(t));
            break;
        case 4:
            join(how, main);
            break;
        case 5:
            if (!children_.empty())
                children_[how % children_.size()].cancel();
            break;
        case 6:
            if (auto t = world_.any(how)) // maybe the fiber itself
                t->cancel();
            break;
        case 7:
            if (!children_.empty())
                children_.pop_back();
            break;
        case 8:
            world_.send(main ? how | 1 : how);
            break;
        case 9:
            world_.receive(main ? how | 1 : how);
            break;
        case 10:
            world_.enter(main ? how | 1 : how);
            break;
        case 11:
            world_.wait(main ? how | 1 : how);
            break;
        case 12:
            world_.set(how);
            break;
        case 13:
            if (how < 32)
                world_.close(how);
            else if (depth_ < 3)
                limited(how, main);
            break;
        case 14:
            if (how >= 16)
                return !world_.whole || further_step(how, main);
            if (!main)
                throw broken();
            break;
        case 15:
            if (how < 64)
                return false;
            if (how >= 128)
                talk(how, main);
            break;
        }
        return true;
    }

    bool further_step(std::uint8_t how, bool main)
    {
        std::uint8_t const limited_how = main ? how | 16 : how;
        switch (how % 12)
        {
        case 0:
            world_.notify(how);
            break;
        case 1:
            world_.wait_for_ticket(limited_how);
            break;
        case 2:
            world_.acquire(limited_how);
            break;
        case 3:
            world_.change(limited_how);
            break;
        case 4:
            world_.look(limited_how);
            break;
        case 5:
            world_.meet(limited_how);
            break;
        case 6:
        case 7:
        case 8:
            for_so_long(how, main, [&] { together(how); });
            break;
        case 9:
            // Which a cancellation does not end, but the child's own.
            if (!main && !children_.empty())
                try
                {
                    shield(children_[how % children_.size()]);
                }
                catch (broken const&)
                {
                }
            break;
        case 10:
            if (auto t = world_.start_coroutine(pc_ + how))
                children_.push_back(std::move(t));
            break;
        case 11:
            if (auto t = world_.start_thread(how))
                children_.push_back(std::move(t));
            break;
        }
        return true;
    }

    /// Several tasks at once.
    void together(std::uint8_t how)
    {
        try
        {
            if (how % 12 == 7)
                gather(children_);
            else if (how % 12 == 8)
                wait(children_, some_time(how),
                     how & 64 ? return_when::first_completed : return_when::all);
            else
            {
                auto const child = [&w = world_, pc = pc_ + how, p = presence(world_)] {
                    machine(w, pc).run(false);
                };
                int before = 0;
                try
                {
                    with_task_group([&](task_group& g) {
                        for (int i = 0; i != 2 && world_.admit(); ++i)
                            world_.keep(g.spawn(child));
                        before = 1;
                        if (how & 64)
                            throw broken();
                        this_fiber::yield();
                    });
                }
                catch (exception_group const& e)
                {
                    MUST_HOLD(before == 1 && !e.exceptions().empty());
                }
            }
        }
        catch (broken const&)
        {
        }
    }

    template <class F>
    void for_so_long(std::uint8_t how, bool main, F f)
    {
        if (!main)
            return f();
        try
        {
            timeout(some_time(how), f);
        }
        catch (boost::system::system_error const& e)
        {
            if (e.code() != boost::asio::error::timed_out)
                throw;
        }
    }

    /// The next step, for so long.
    void limited(std::uint8_t how, bool main)
    {
        std::uint8_t const code = next();
        std::uint8_t const inner = next();
        ++depth_;
        try
        {
            timeout(some_time(how), [&] { step(code, inner, main); });
        }
        catch (boost::system::system_error const& e)
        {
            --depth_;
            if (e.code() != boost::asio::error::timed_out)
                throw;
            return;
        }
        catch (...)
        {
            --depth_;
            throw;
        }
        --depth_;
    }

    void talk(std::uint8_t how, bool main)
    {
        for_so_long(how, main, [&] { world_.use_stream(how); });
    }

    /// For ever only in fibers that somebody cancels in the end.
    void join(std::uint8_t how, bool main)
    {
        if (children_.empty())
            return;
        task<> const t = children_[how % children_.size()];
        try
        {
            if (main || how & 64)
            {
                bool const done = task<>(t).join_for(some_time(how));
                MUST_HOLD(!done || t.done());
            }
            else
            {
                task<>(t).join();
                MUST_HOLD(t.done());
            }
        }
        catch (broken const&)
        {
            MUST_HOLD(t.done());
        }
    }

    world& world_;
    presence here_;
    std::size_t pc_;
    int depth_ = 0; // of timeouts
    std::vector<task<>> children_;
};

task<> world::start(std::size_t pc)
{
    if (!admit())
        return {};
    auto t = spawn([this, pc, p = presence(*this)] { machine(*this, pc).run(false); });
    keep(t);
    return t;
}

task<> world::start_coroutine(std::size_t pc)
{
    if (!admit())
        return {};
    auto t = spawn([this, pc, p = presence(*this)] { return run_coroutine(pc); });
    keep(t);
    return t;
}

/// A plain thread that takes part, for a while.
task<> world::start_thread(std::uint8_t how)
{
    if (!admit())
        return {};
    auto t = to_thread([this, how, p = presence(*this)] {
        switch (how % 5)
        {
        case 0:
            return send((how | 1) & ~2);
        case 1:
            return receive((how | 1) & ~2);
        case 2:
            return acquire(how | 16);
        case 3:
            return wait_for_ticket(how | 16);
        default:
            return meet(how | 16);
        }
    });
    keep(t);
    return t;
}

boost::asio::awaitable<void> world::run_coroutine(std::size_t pc)
{
    constexpr auto token = boost::asio::as_tuple(boost::asio::use_awaitable);
    presence const here(*this);
    boost::system::error_code ec;
    for (std::size_t i = 0; i != 8; ++i)
    {
        std::uint8_t const how = at(pc + i);
        channel<int>& c = channels_[(how >> 3) % channels_.size()];
        if (how % 5 == 0)
        {
            auto const [e, item] = co_await c.async_receive_for(some_time(how), token);
            if (!e)
                got(item);
            ec = e;
        }
        else if (int item = 0; how % 5 == 1 && draw_item(item))
        {
            auto& fate = fate_[static_cast<std::size_t>(item)];
            fate = offered;
            auto const [e] = co_await c.async_send_for(item, some_time(how), token);
            fate = e ? refused : accepted;
            ec = e;
        }
        else if (how % 5 == 2)
        {
            auto const [e] = co_await events_[how >> 7].async_wait_for(some_time(how), token);
            ec = e;
        }
        else if (how % 5 == 3)
        {
            auto const [e] = co_await permits_.async_acquire_for(some_time(how), token);
            if (!e)
            {
                MUST_HOLD(admitted_.fetch_add(1) < 2);
                MUST_HOLD(admitted_.fetch_sub(1) > 0);
                permits_.release();
            }
            ec = e;
        }
        else
        {
            auto const [e, place] = co_await meeting_.async_wait_for(some_time(how), token);
            MUST_HOLD(e || place < 2);
            ec = e;
        }
        if (ec == boost::asio::error::operation_aborted)
            throw boost::system::system_error(ec);
    }
}

void world::wait_for_ticket(std::uint8_t how)
{
    std::unique_lock lock(ticket_mutex_);
    auto const there = [&] { return tickets_ > 0; };
    bool got_one = true;
    if (how & 16)
        got_one = told_.wait_for(lock, some_time(how), there);
    else
        told_.wait(lock, there);
    MUST_HOLD(lock.owns_lock());
    if (got_one)
        MUST_HOLD(tickets_.fetch_sub(1) > 0); // nobody else takes one meanwhile
}

void world::acquire(std::uint8_t how)
{
    if (!(how & 16))
        permits_.acquire();
    else if (!permits_.try_acquire_for(some_time(how)))
        return;
    struct permit
    {
        world& w;
        explicit permit(world& from) : w(from)
        {
            MUST_HOLD(w.admitted_.fetch_add(1) < 2);
        }
        ~permit()
        {
            --w.admitted_;
            w.permits_.release();
        }
    } const held(*this);
    if ((how & 32) && try_get_running_loop())
        this_fiber::yield();
}

void world::change(std::uint8_t how)
{
    if (!(how & 16))
        book_.lock();
    else if (!book_.try_lock_for(some_time(how)))
        return;
    std::unique_lock const lock(book_, std::adopt_lock);
    counted const writing(writers_);
    MUST_HOLD(writers_ == 1 && readers_ == 0);
    this_fiber::yield();
    MUST_HOLD(writers_ == 1 && readers_ == 0);
}

void world::look(std::uint8_t how)
{
    if (!(how & 16))
        book_.lock_shared();
    else if (!book_.try_lock_shared_for(some_time(how)))
        return;
    std::shared_lock const lock(book_, std::adopt_lock);
    counted const reading(readers_);
    MUST_HOLD(writers_ == 0);
    this_fiber::yield();
    MUST_HOLD(writers_ == 0);
}

void world::meet(std::uint8_t how)
{
    if (how & 16)
    {
        auto const place = meeting_.wait_for(some_time(how));
        MUST_HOLD(!place || *place < 2);
    }
    else
        MUST_HOLD(meeting_.wait() < 2);
}

void world::send(std::uint8_t how)
{
    channel<int>& c = channels_[(how >> 3) % channels_.size()];
    int item = 0;
    if (!draw_item(item))
        return;
    auto& fate = fate_[static_cast<std::size_t>(item)];
    fate = offered;
    try
    {
        bool sent = true;
        if ((how & 3) == 3)
            sent = c.try_send(item);
        else if (how & 1)
            sent = c.try_send_for(item, some_time(how));
        else
            c.send(item);
        fate = sent ? accepted : refused;
    }
    catch (...)
    {
        fate = refused;
        throw;
    }
}

void world::receive(std::uint8_t how)
{
    channel<int>& c = channels_[(how >> 3) % channels_.size()];
    std::optional<int> item;
    if ((how & 3) == 3)
        item = c.try_receive();
    else if (how & 1)
        item = c.try_receive_for(some_time(how));
    else
        item = c.receive();
    if (item)
        got(*item);
}

void world::enter(std::uint8_t how)
{
    std::size_t const i = (how >> 3) & 1;
    if ((how & 3) == 3 ? !mutexes_[i].try_lock()
                       : (how & 1) && !mutexes_[i].try_lock_for(some_time(how)))
        return;
    if (!(how & 1))
        mutexes_[i].lock();
    std::unique_lock const lock(mutexes_[i], std::adopt_lock);
    struct inside
    {
        std::atomic<int>& n;
        explicit inside(std::atomic<int>& who) : n(who)
        {
            MUST_HOLD(n.fetch_add(1) == 0);
        }
        ~inside()
        {
            MUST_HOLD(n.fetch_sub(1) == 1);
        }
    } const in(inside_[i]);
    if (how & 16)
        this_fiber::yield();
    if (how & 32)
        this_fiber::sleep_for(some_time(how));
}

void world::wait(std::uint8_t how)
{
    event& e = events_[(how >> 3) & 1];
    if (how & 1)
        e.wait_for(some_time(how));
    else
        e.wait();
}

void world::open_streams()
{
    auto const loops = get_event_loop_policy()->loops();
    for (std::size_t i = 0; i != ends_.size(); i += 2)
    {
        int fds[2];
        MUST_HOLD(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
        for (std::size_t k = 0; k != 2; ++k)
            ends_[i + k].stream.emplace(
                loops.empty() ? get_running_loop() : *loops[(i + k) % loops.size()],
                boost::asio::local::stream_protocol(), fds[k]);
    }
}

void world::use_stream(std::uint8_t how)
{
    std::size_t const i = how & 3;
    stream_end& end = ends_[i];
    boost::system::error_code ec;
    switch ((how >> 2) % 8)
    {
    case 0:
    case 1:
    case 2:
        if (turn_at const mine{end.written})
            if (end.stream->write_some(boost::asio::buffer(&end.out, 1), ec) == 1)
                ++end.out;
        break;
    case 3:
    case 4:
    case 5:
        if (turn_at const mine{end.read})
        {
            std::uint8_t byte = 0;
            if (end.stream->read_some(boost::asio::buffer(&byte, 1), ec) == 1)
                MUST_HOLD(byte == end.in++);
        }
        break;
    case 6:
        end.stream->cancel();
        break;
    case 7:
        if (how & 64)
            end.stream->close();
        break;
    }
    if (ec == boost::asio::error::operation_aborted)
        throw boost::system::system_error(ec); // maybe the fiber's own
}

/// When the run is over.
void world::check()
{
    for (std::size_t i = 0; i != ends_.size(); ++i)
        MUST_HOLD(!ends_[i].read && !ends_[i].written);
    for (auto const& t : tasks_)
        MUST_HOLD(t.done());
    tasks_.clear(); // and with them callables that never ran
    MUST_HOLD(alive == 0);
    for (auto const& n : inside_)
        MUST_HOLD(n == 0);
    for (auto& m : mutexes_)
    {
        MUST_HOLD(m.try_lock());
        m.unlock();
    }
    MUST_HOLD(ticket_mutex_.try_lock());
    ticket_mutex_.unlock();
    MUST_HOLD(admitted_ == 0 && readers_ == 0 && writers_ == 0 && tickets_ >= 0);
    MUST_HOLD(permits_.try_acquire() && permits_.try_acquire() && !permits_.try_acquire());
    permits_.release(2);
    MUST_HOLD(book_.try_lock());
    book_.unlock();
    MUST_HOLD(meeting_.n_waiting() == 0);
    for (auto& c : channels_)
    {
        c.close();
        try
        {
            for (;;)
                if (auto const item = c.try_receive())
                    got(*item);
        }
        catch (boost::system::system_error const& e)
        {
            MUST_HOLD(e.code() == error::channel_closed);
        }
    }
    for (std::size_t i = 0; i != most_items; ++i)
    {
        MUST_HOLD(fate_[i] != offered);
        MUST_HOLD(received_[i] == (fate_[i] == accepted ? 1 : 0));
    }
}

void run_program(std::uint8_t const* data, std::size_t size)
{
    static constexpr char const* policies[] = {"default", "fiber loops=2", "strand loops=2",
                                               "shared loops=2", "fiber loops=3"};
    if (size < 3)
        return;
    static bool const all = std::getenv("POLYLOOP_FUZZ_ALL") != nullptr;
    world w(data + 1, size - 1, all && data[0] >= 128);
    {
        runner r({.policy = make_policy(policies[data[0] % std::size(policies)]),
                  .debug = false,
                  .shutdown_timeout = 1h}); // whoever does not end, hangs
        auto ignore = [](event_loop&, exception_context const&) {};
        r.get_loop().set_exception_handler(ignore);
        try
        {
            r.run([&] {
                for (auto const& loop : get_event_loop_policy()->loops())
                    loop->set_exception_handler(ignore);
                w.open_streams();
                machine(w, 0).run(true);
            });
        }
        catch (boost::system::system_error const&) // a closed channel, a cancelled child
        {
        }
    }
    w.check();
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size)
{
    run_program(data, size);
    return 0;
}
