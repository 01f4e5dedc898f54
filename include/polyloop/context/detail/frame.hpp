// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_CONTEXT_DETAIL_FRAME_HPP
#define POLYLOOP_CONTEXT_DETAIL_FRAME_HPP

#include <polyloop/context/context.hpp>
#include <polyloop/context/detail/locals.hpp>
#include <polyloop/fwd.hpp>

#include <boost/config.hpp>

#include <functional>
#include <memory>
#include <source_location>
#include <string>
#include <string_view>
#include <vector>

namespace polyloop::detail {

/// Draws `count` ids at once; returns the first. Loops draw in blocks, so that a
/// spawn touches no line that other threads write.
POLYLOOP_DECL context::id_type draw_context_ids(context::id_type count = 1) noexcept;

/// The identity that a thread, strand or fiber carries while it lives.
///
/// Whoever owns something on behalf of a context (a binding of a policy, say) asks to be told of
/// the context's end.
class context_node
{
  public:
    using exit_hook = std::function<void(context::id_type, void* owner)>;

    /// A fiber's inherits the values of whoever makes it.
    explicit context_node(context_kind kind, context::id_type id = 0) noexcept
        : id_(id), kind_(kind)
    {
        if (locals_in_use() && kind == context_kind::fiber) [[unlikely]]
            locals_ = share_locals();
    }

    context_node(context_node const&) = delete;
    context_node& operator=(context_node const&) = delete;

    ~context_node()
    {
        if (extras_) [[unlikely]]
            end();
    }

    context_kind kind() const noexcept
    {
        return kind_;
    }

    context::id_type id() const noexcept
    {
        return id_;
    }

    void set_id(context::id_type id) noexcept
    {
        id_ = id;
    }

    POLYLOOP_DECL void set_name(std::string name);

    /// The given name, or one made of kind and id.
    POLYLOOP_DECL std::string name() const;

    /// Empty where none was given. Allocates nothing: for signal handlers too.
    std::string_view given_name() const noexcept
    {
        return extras_ ? std::string_view(extras_->name) : std::string_view();
    }

    /// The values of `fiber_local`. In the context, or when it has ended.
    locals_ptr const& locals() const noexcept
    {
        return locals_;
    }
    locals_ptr set_locals(locals_ptr l) noexcept
    {
        locals_.swap(l);
        return l;
    }

    /// Runs when the context ends, on whichever thread ends it, if the owner is still there. To be
    /// called in the context. Hooks whose owner is gone are let go of at one of the next calls: a
    /// context that outlives its owners has at most as many of them as of the others.
    POLYLOOP_DECL void at_exit(std::weak_ptr<void> owner, exit_hook hook);

    /// Where it was made, in debug mode: for messages.
    POLYLOOP_DECL void set_origin(std::source_location where);

    /// `file:line (function)`; empty where that is not known.
    POLYLOOP_DECL std::string origin() const;

    /// Name, origin and hooks, which most contexts have not.
    bool has_extras() const noexcept
    {
        return extras_ != nullptr;
    }
    POLYLOOP_DECL void run_exit_hooks() noexcept;

    /// Runs the hooks and lets name and values go. The node can still be asked.
    POLYLOOP_DECL void end() noexcept;

  private:
    struct owned_hook
    {
        std::weak_ptr<void> owner;
        exit_hook call;
    };

    struct extras
    {
        std::string name;
        std::source_location origin = {};
        std::vector<owned_hook> hooks;
    };

    extras& need_extras();

    extras* extras_ = nullptr;
    locals_ptr locals_;
    context::id_type id_;
    context_kind kind_;
};

/// Who runs on a thread. Invariant: `fiber` is the fiber whose stack the thread is on (or whose
/// coroutine it runs), `strand` the strand whose handler it is in, `loop` the running loop (S12).
struct frame_values
{
    event_loop* loop = nullptr;
    loop_core* core = nullptr;
    context_node* fiber = nullptr;
    context_node* strand = nullptr;
};

/// The layout that the Itanium C++ ABI gives to what `__cxa_get_globals` returns: the exceptions
/// that a thread handles.
struct exception_globals
{
    void* caught;
    unsigned uncaught;
};

/// What the calling thread is doing: the one thread-local of the library.
///
/// Loops, strands and fibers push themselves into it and put back what they found;
/// readers include none of them.
struct thread_frame : frame_values
{
    /// The thread's own, which go with whoever runs; null before the thread's first fiber.
    exception_globals* exceptions = nullptr;
    int* error_number = nullptr;
    bool reports_overflow = false; ///< the thread was made ready to report a fiber's
    bool resumes_plainly = false;  ///< there is nothing to be done around a fiber's turn
};

/// For functions that read the frame and are called again after a suspension. Neither inlined nor
/// looked into: a compiler may keep a thread-local's address across a suspension, or take two calls
/// for one, and a fiber of a shared loop wakes up on another thread.
#if defined(__GNUC__) && !defined(__clang__)
#define POLYLOOP_READS_FRAME __attribute__((noipa))
#else
#define POLYLOOP_READS_FRAME BOOST_NOINLINE
#endif

POLYLOOP_DECL thread_frame& this_frame() noexcept;

/// `file:line (function)`; empty for a location that was never set.
POLYLOOP_DECL std::string describe_location(std::source_location const& where);

/// Where a function of the library was called, as its default argument:
/// `call_site(std::source_location::current())`. Not to be made of `{}`, which callers may mean for
/// another argument.
struct call_site
{
    explicit constexpr call_site(std::source_location w) noexcept : where(w)
    {
    }
    std::source_location where;
};

// For the library's own hot functions, where nothing is asked of it after a suspension.
#if defined(POLYLOOP_SOURCE)
#if defined(__ELF__)
#define POLYLOOP_TLS __attribute__((tls_model("initial-exec"), visibility("hidden")))
#else
#define POLYLOOP_TLS
#endif
extern constinit thread_local thread_frame frame_here POLYLOOP_TLS;
#endif

/// The node of the calling thread, made at its first use.
POLYLOOP_DECL context_node& this_thread_node();

/// The node of whoever runs now.
POLYLOOP_DECL context_node& current_node();

/// Puts the frame back as it was found, whichever way the scope is left.
///
/// Not for scopes in which a fiber may be suspended: it would put back another thread's frame.
class frame_guard
{
  public:
    frame_guard() noexcept : frame_guard(this_frame())
    {
    }
    explicit frame_guard(thread_frame& f) noexcept : frame_(f), saved_(f)
    {
    }

    frame_guard(frame_guard const&) = delete;
    frame_guard& operator=(frame_guard const&) = delete;

    ~frame_guard()
    {
        static_cast<frame_values&>(frame_) = saved_;
    }

    thread_frame& frame() noexcept
    {
        return frame_;
    }

    frame_values const& saved() const noexcept
    {
        return saved_;
    }

  private:
    thread_frame& frame_;
    frame_values saved_;
};

} // namespace polyloop::detail

#endif
