// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_LOOP_EVENT_LOOP_HPP
#define POLYLOOP_LOOP_EVENT_LOOP_HPP

#include <polyloop/loop/callback_handle.hpp>
#include <polyloop/loop/detail/callable.hpp>
#include <polyloop/loop/detail/loop_core.hpp>
#include <polyloop/loop/detail/watches.hpp>
#include <polyloop/loop/exception_context.hpp>
#include <polyloop/loop/options.hpp>

#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>

#include <chrono>
#include <concepts>
#include <exception>
#include <memory>
#include <optional>
#include <source_location>
#include <string>
#include <type_traits>
#include <utility>

namespace polyloop {

namespace asio = boost::asio;

/// An event loop: exactly one `boost::asio::io_context`, owned or adopted, and who runs it.
///
/// Everything on a loop is a handler of its `io_context`, so any library on Asio works on it
/// unchanged, and an application may go on running an adopted `io_context` itself. A loop is
/// made, run any number of times, stopped, and closed once. Held by `std::shared_ptr` wherever
/// policies are used.
///
/// Thread safety: `stop`, `call_soon_threadsafe`, the state questions, and everything that hands
/// a callback over are safe from any thread; `close` and the destructor are not to be called
/// while a thread runs the loop. A loop that a `std::shared_ptr` holds lives until its run ends;
/// what an application's own `io_context::run()` runs must not destroy its loop.
///
/// Shutdown: `close()` (and the destructor) drops callbacks without running them (S35) and
/// unwinds waiting fibers by `operation_aborted`. For that it may have to poll the
/// `io_context`, so that their pending operations complete.
///
/// Forks: in a child the loops of its parent are closed, and nothing of them is ended: what would
/// hand something over throws `error::loop_closed`, and to stop, close or destroy one leaves it to
/// the parent (S16, S17).
class event_loop : public std::enable_shared_from_this<event_loop>
{
  public:
    using executor_type = asio::io_context::executor_type;
    using clock = std::chrono::steady_clock;
    using time_point = clock::time_point;
    using native_handle_type = int; ///< of sockets, pipes and whatever else can be waited for

    /// A loop with an `io_context` of its own. Throws `error::bad_config` for unusable options.
    POLYLOOP_DECL explicit event_loop(loop_options options = {});

    /// Adopts an application's `io_context`, which must outlive the loop. Options must name the
    /// number of threads that run it, if it is not one.
    POLYLOOP_DECL explicit event_loop(asio::io_context& borrowed, loop_options options = {});

    event_loop(event_loop const&) = delete;
    event_loop& operator=(event_loop const&) = delete;

    /// Closes the loop. Reports a loop that was never closed in debug mode (S38).
    POLYLOOP_DECL ~event_loop();

    asio::io_context& io_context() noexcept
    {
        return core_->io();
    }
    executor_type get_executor() noexcept
    {
        return core_->io().get_executor();
    }
    loop_options const& options() const noexcept
    {
        return core_->options();
    }
    /// `loop_options::name`, or the one it got.
    std::string const& name() const noexcept
    {
        return core_->options().name;
    }

    // -- running

    /// Runs until `stop()`, whether there is work or not. Blocks the thread.
    ///
    /// Throws, checked in this order (S28): `error::loop_closed`, `error::loop_already_running`,
    /// `error::another_loop_running`. What handlers throw goes to the exception handler (S45).
    void run_forever()
    {
        auto const keep = weak_from_this().lock(); // a handler may drop the last other owner
        core_->run();
    }

    /// Lets the batch of ready callbacks finish, then `run_forever` returns on every thread (S30).
    /// Before a run it makes that run one iteration that does not block (S31). From any thread.
    void stop() noexcept
    {
        core_->stop();
    }

    /// Whether a thread is in `run_forever` or `run_until_complete`. An application's own
    /// `io_context::run()` does not count.
    bool is_running() const noexcept
    {
        return core_->is_running();
    }

    bool is_closed() const noexcept
    {
        return core_->is_closed();
    }

    /// Drops callbacks, unwinds tasks, shuts the default executor down without waiting. A second
    /// call does nothing (S34, S35). Throws `error::loop_is_running`.
    void close()
    {
        core_->close();
    }

    /// The monotonic clock, read once per batch. Outside of the loop's own handlers it is
    /// read each time.
    time_point time() noexcept
    {
        return core_->time();
    }

    // -- callbacks

    /// Queues `f` for the next batch, first in first out (S40); it runs in the thread's
    /// context, not in a fiber, so it must not wait.
    ///
    /// Errors: `error::loop_closed`; `error::bad_config` for an empty `std::function` or
    /// null pointer; in debug mode `error::wrong_thread` while another thread runs
    /// the loop (S80). What `f` throws goes to the exception handler, in debug mode with `where`
    /// (S82), as does an `f` that takes long (S81).
    template <std::invocable F>
    callback_handle call_soon(F&& f,
                              std::source_location where = std::source_location::current())
    {
        if (core_->plain() && core_->on_loop()) [[likely]]
        {
            detail::refuse_empty(f);
            return callback_handle(detail::callback::start_near(*core_, std::forward<F>(f)));
        }
        bool const unusual = core_->unusual();
        if (unusual) [[unlikely]]
            check_call();
        return soon(std::forward<F>(f), unusual, where);
    }

    /// The same from any thread; wakes the loop (S41). A burst costs one wake-up.
    template <std::invocable F>
    callback_handle
    call_soon_threadsafe(F&& f, std::source_location where = std::source_location::current())
    {
        if (!options().locking) [[unlikely]]
            refuse_threadsafe();
        bool const unusual = core_->unusual();
        if (unusual) [[unlikely]]
            core_->require_open();
        return soon(std::forward<F>(f), unusual, where);
    }

    /// As `call_at(time() + delay, f)` (S42); any duration, which saturates.
    template <class Rep, class Period, std::invocable F>
    callback_handle call_later(std::chrono::duration<Rep, Period> delay, F&& f,
                               std::source_location where = std::source_location::current())
    {
        return call_at(detail::saturating_add(time(), detail::to_nanoseconds(delay)),
                       std::forward<F>(f), where);
    }

    /// Runs `f` at `when` or as soon after as the loop can, never before. Callbacks of equal times
    /// run in any order (S42).
    template <std::invocable F>
    callback_handle call_at(time_point when, F&& f,
                            std::source_location where = std::source_location::current())
    {
        bool const unusual = core_->unusual();
        if (unusual) [[unlikely]]
            check_call();
        callback_handle h = make(std::forward<F>(f), core_->near());
        if (unusual) [[unlikely]]
            core_->note_origin(h.state_.get(), where);
        if (!h.state_->start_at(when))
            detail::throw_error(error::loop_closed);
        return h;
    }

    // -- signals and descriptors

    /// Calls `f` on the loop, as a callback, for each signal of this number that the process gets,
    /// until it is removed or the loop is closed (S36). Another one of the same number and loop is
    /// replaced. On several loops, each is told. Inside of a run it takes the place of what the run
    /// itself does for the signal (S60).
    ///
    /// What handled the signal before is put back when the last handler goes, if nobody else has
    /// replaced ours by then. A watched signal is work: an application's own `io_context::run()`
    /// does not return meanwhile. In a forked child none is left.
    ///
    /// Throws `error::loop_closed`, `error::bad_config` for an empty `f` or a number that is none,
    /// and the system's error for a signal that cannot be caught (SIGKILL). What `f` throws goes to
    /// the exception handler. Thread safety: from any thread.
    template <std::invocable F>
    void add_signal_handler(int number, F&& f,
                            std::source_location where = std::source_location::current())
    {
        detail::watches::of(*core_).add_signal(
            number, detail::repeated::make(std::forward<F>(f), where));
    }

    /// Whether there was one. On the loop's own thread: `f` does not begin afterwards, and is
    /// released. From another thread a call that is just beginning, or has begun, goes on, and `f`
    /// is released when it ends; none comes after it.
    POLYLOOP_DECL bool remove_signal_handler(int number);

    /// Calls `f` on the loop, as a callback, once in each iteration in which `handle` can be read
    /// without blocking, at its end and in error too, until it is removed or the loop is closed.
    /// Another one of the same handle is replaced. `f` has to read, or is called again at once.
    ///
    /// The handle stays the caller's, whatever its mode. The loop waits on a duplicate: remove the
    /// reader before the handle is closed. It is work, as a signal handler is. For sockets and
    /// pipes that Asio's classes do not own; a fiber waits better with `use_fiber` or in a stream.
    ///
    /// Throws `error::loop_closed`, `error::bad_config` for an empty `f`, and the system's error
    /// for a handle that is closed, or a file, which cannot be waited for. What `f` throws goes to
    /// the exception handler. Thread safety: from any thread, where `loop_options::locking` is on.
    template <std::invocable F>
    void add_reader(native_handle_type handle, F&& f,
                    std::source_location where = std::source_location::current())
    {
        detail::watches::of(*core_).add(handle, detail::watches::direction::read,
                                        detail::repeated::make(std::forward<F>(f), where));
    }
    /// Whether there was one. On the loop's own thread: `f` does not begin afterwards, and is
    /// released. From another thread, as for a loop of several, a call that is just beginning, or
    /// has begun, goes on, and `f` is released when it ends; none comes after it. The handle may be
    /// closed at once, if `f` can bear it. Thread safety: as `add_reader`.
    bool remove_reader(native_handle_type handle)
    {
        return remove_watch(handle, detail::watches::direction::read);
    }

    /// The same for a handle that can be written.
    template <std::invocable F>
    void add_writer(native_handle_type handle, F&& f,
                    std::source_location where = std::source_location::current())
    {
        detail::watches::of(*core_).add(handle, detail::watches::direction::write,
                                        detail::repeated::make(std::forward<F>(f), where));
    }
    bool remove_writer(native_handle_type handle)
    {
        return remove_watch(handle, detail::watches::direction::write);
    }

    // -- blocking work

    /// Calls `f` on a thread of the default executor and completes `token` with
    /// `void(std::exception_ptr, R)`, or `void(std::exception_ptr)` where `f` returns nothing.
    ///
    /// The pool is made at the first call. Throws `error::loop_closed`, `error::executor_shut_down`
    /// (S76), or `error::bad_config` for an empty `f`. Cancelling the wait, through its
    /// cancellation slot, ends it with `operation_aborted` and drops the result; an `f` that was
    /// begun runs to its end.
    template <class F, class Token>
    auto run_in_executor(F&& f, Token&& token);

    /// Replaces the default executor; null is `error::bad_config`. What the old one was given is
    /// still done, and nobody waits for it. Throws `error::loop_closed` (S37).
    void set_default_executor(std::shared_ptr<asio::thread_pool> pool)
    {
        core_->set_default_executor(std::move(pool));
    }

    // -- errors and debugging

    /// Who is told of exceptions that nobody else gets; an empty function restores the default,
    /// which writes to the standard error.
    void set_exception_handler(exception_handler h)
    {
        core_->set_exception_handler(std::move(h));
    }
    void call_exception_handler(exception_context const& c) noexcept
    {
        core_->report(c);
    }

    bool get_debug() const noexcept
    {
        return core_->debug();
    }
    /// May be called while the loop runs (S83).
    void set_debug(bool on) noexcept
    {
        core_->set_debug(on);
    }

    /// Live tasks, those on their way from other threads included. From any thread.
    POLYLOOP_DECL std::size_t task_count() const noexcept;

    // For the rooms further down.
    detail::loop_core& core() const noexcept
    {
        return *core_;
    }

  private:
    POLYLOOP_DECL void check_call() const;
    POLYLOOP_DECL bool remove_watch(native_handle_type handle, detail::watches::direction d);
    [[noreturn]] POLYLOOP_DECL void refuse_threadsafe() const;

    template <class F>
    callback_handle make(F&& f, bool near)
    {
        detail::refuse_empty(f);
        return callback_handle(
            detail::callback_ptr(detail::callback::make(*core_, std::forward<F>(f), near), false));
    }

    template <class F>
    callback_handle soon(F&& f, bool unusual, std::source_location where)
    {
        callback_handle h = make(std::forward<F>(f), core_->near());
        if (unusual) [[unlikely]]
            core_->note_origin(h.state_.get(), where);
        if (!h.state_->start())
            detail::throw_error(error::loop_closed);
        return h;
    }

    detail::core_ptr core_;
};

/// The loop that runs the calling thread now; never consults a policy (S14). Throws
/// `error::no_running_loop`.
POLYLOOP_DECL event_loop& get_running_loop();

/// The same, or null (S15).
POLYLOOP_DECL event_loop* try_get_running_loop() noexcept;

namespace detail {

template <class R>
struct executor_signature
{
    using type = void(std::exception_ptr, R);
};
template <>
struct executor_signature<void>
{
    using type = void(std::exception_ptr);
};

/// A callable on its way through the default executor, and the handler that waits for it.
template <class R, class F, class Handler>
class executor_call final : public executor_job
{
    using executor = asio::associated_executor_t<Handler, asio::io_context::executor_type>;

  public:
    executor_call(loop_core& core, F&& f, Handler&& h)
        : core_(&core), f_(std::move(f)), handler_(std::move(h)),
          work_(asio::get_associated_executor(*handler_, core.io().get_executor()))
    {
    }

    /// On a thread of the pool.
    void call()
    {
        std::exception_ptr error;
        if constexpr (std::is_void_v<R>)
        {
            attempt(error, [this] { f_(); });
            complete(std::move(error));
        }
        else
        {
            std::optional<R> result;
            attempt(error, [&] { result.emplace(f_()); });
            if (result)
                complete(std::move(error), std::move(*result));
            else
                complete_without(std::move(error));
        }
    }

    void drop() noexcept override
    {
        handler_.reset();
        work_.reset();
    }

    /// Lets the wait be cancelled. Before the call can end.
    void connect()
    {
        auto slot = asio::get_associated_cancellation_slot(*handler_);
        if (slot.is_connected())
            slot.assign([self = boost::intrusive_ptr<executor_call>(this)](
                            asio::cancellation_type) { self->cancel(); });
    }

  private:
    void cancel()
    {
        auto const aborted = std::make_exception_ptr(boost::system::system_error(
            boost::system::error_code(asio::error::operation_aborted)));
        if constexpr (std::is_void_v<R>)
            complete(aborted);
        else
            complete_without(aborted);
    }

    /// The handler takes a result even where there is none. One whose default cannot be made
    /// either can be told nothing: it is destroyed, and the loop told.
    void complete_without(std::exception_ptr error)
    {
        std::optional<R> nothing;
        std::exception_ptr failure;
        attempt(failure, [&] { nothing.emplace(); });
        if (nothing)
            complete(std::move(error), std::move(*nothing));
        else if (core_->take_job(*this))
        {
            core_->report({"run_in_executor: no result can be made for the handler", failure});
            // Where it would have been called, as its destructor may rely on that.
            executor const ex = work_->get_executor();
            asio::post(ex, [h = std::move(*handler_), w = std::move(*work_)]() mutable {
                w.reset();
                [[maybe_unused]] auto const dropped = std::move(h);
            });
            drop();
            core_->finish_job();
        }
    }

    template <class G>
    static void attempt(std::exception_ptr& error, G g) noexcept
    {
        try
        {
            g();
        }
        catch (...)
        {
            error = std::current_exception();
        }
    }

    template <class... Args>
    void complete(Args... args)
    {
        if (!core_->take_job(*this))
            return; // the loop is gone, and the handler with it
        executor const ex = work_->get_executor();
        auto slot = asio::get_associated_cancellation_slot(*handler_);
        asio::post(ex, [h = std::move(*handler_), w = std::move(*work_), slot,
                        ... a = std::move(args)]() mutable {
            if (slot.is_connected())
                slot.clear();
            w.reset(); // its executor may be valid no longer than the wait
            std::move(h)(std::move(a)...);
        });
        drop();
        core_->finish_job();
    }

    core_ptr core_;
    F f_;
    std::optional<Handler> handler_;
    std::optional<asio::executor_work_guard<executor>> work_; // the loop must not run dry
};

} // namespace detail

template <class F, class Token>
auto event_loop::run_in_executor(F&& f, Token&& token)
{
    using callable = std::decay_t<F>;
    using result = std::invoke_result_t<callable&>;
    static_assert(std::is_void_v<result> || std::is_default_constructible_v<result>,
                  "polyloop: run_in_executor needs a callable whose result can be "
                  "default-constructed, as every completion handler of Asio gets one");
    using signature = typename detail::executor_signature<result>::type;
    detail::refuse_empty(f);
    std::shared_ptr<asio::thread_pool> pool = core_->default_executor();
    return asio::async_initiate<Token, signature>(
        [](auto handler, std::shared_ptr<asio::thread_pool> p, detail::core_ptr core,
           callable g) {
            using call = detail::executor_call<result, callable, decltype(handler)>;
            boost::intrusive_ptr<call> const job(
                new call(*core, std::move(g), std::move(handler)));
            core->add_job(*job);
            job->connect();
            asio::post(*p, [job] { job->call(); });
        },
        token, std::move(pool), core_, callable(std::forward<F>(f)));
}

} // namespace polyloop

#endif
