// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/policy/event_loop_policy.hpp>

#include <polyloop/context/detail/fork.hpp>
#include <polyloop/policy/default_policy.hpp>
#include <polyloop/policy/registry.hpp>

#include <atomic>
#include <mutex>
#include <new>
#include <typeinfo>
#include <utility>

namespace polyloop {
namespace {

// The process's policy, made at first need (S1); replacing is the last writer's (S8). Behind a
// mutex rather than in an atomic shared_ptr, which in libstdc++ 12 is a lock as well, and one that
// the thread sanitizer does not understand. Contexts inside a run do not come here. Never
// destroyed, so that static destructors may still ask.
struct slot
{
    // A default is made anew, as the parent's may be a pool whose threads are not here (S17).
    void forked() noexcept
    {
        if (made_by_default)
            ::new (static_cast<void*>(&policy)) std::shared_ptr<event_loop_policy>();
    }
    static slot& at(void* s) noexcept
    {
        return *static_cast<slot*>(s);
    }

    std::mutex mutex;
    std::shared_ptr<event_loop_policy> policy;
    bool made_by_default = false;
    detail::fork_listener forks{this,
                                {[](void* s) noexcept { at(s).mutex.lock(); },
                                 [](void* s) noexcept { at(s).mutex.unlock(); },
                                 [](void* s) noexcept { at(s).forked(); }}};
};

slot& process_slot()
{
    static slot* const s = new slot;
    return *s;
}

/// Whether a policy is known to place on the running loop, where there is one: then it need not be
/// asked.
bool places_on_running(event_loop_policy const& p)
{
    // Exactly these: what derives from them may place as it likes.
    return typeid(p) == typeid(default_policy) || typeid(p) == typeid(selector_policy) ||
           typeid(p) == typeid(proactor_policy);
}

/// The same of the process's policy.
constinit std::atomic<bool> places_here = false;

/// Under the slot's lock.
void note_placement(event_loop_policy const* p)
{
    places_here.store(p && places_on_running(*p), std::memory_order_relaxed);
}

std::shared_ptr<event_loop_policy> exchange_policy(std::shared_ptr<event_loop_policy> next)
{
    slot& s = process_slot();
    std::lock_guard const lock(s.mutex);
    s.policy.swap(next);
    s.made_by_default = false;
    note_placement(s.policy.get());
    return next;
}

event_loop_policy* attached()
{
    detail::loop_core const* const core = detail::this_frame().core;
    return core ? static_cast<event_loop_policy*>(core->ambient()) : nullptr;
}

/// Calls `f` with the policy in force; inside a run without counting a reference.
template <class F>
decltype(auto) with_policy(F&& f)
{
    if (event_loop_policy* const p = attached())
        return f(*p);
    return f(*get_event_loop_policy());
}

} // namespace

event_loop_policy::~event_loop_policy() = default;

event_loop& event_loop_policy::place(placement_request const&)
{
    if (event_loop* const running = try_get_running_loop())
        return *running;
    return get_event_loop();
}

void event_loop_policy::start(std::shared_ptr<event_loop>)
{
}

void event_loop_policy::stop()
{
}

std::vector<std::shared_ptr<event_loop>> event_loop_policy::loops() const
{
    return {};
}

context_kind event_loop_policy::unit() const noexcept
{
    return context_kind::thread;
}

bool event_loop_policy::spreads_evenly() const noexcept
{
    return false;
}

void event_loop_policy::join_run(event_loop const& main, event_loop& loop)
{
    auto policy = std::static_pointer_cast<event_loop_policy>(main.core().shared_ambient());
    detail::attach_policy(loop, std::move(policy));
}

std::shared_ptr<event_loop_policy> get_event_loop_policy()
{
    if (detail::loop_core const* const core = detail::this_frame().core)
        if (core->ambient())
            return std::static_pointer_cast<event_loop_policy>(core->shared_ambient());
    slot& s = process_slot();
    {
        std::lock_guard const lock(s.mutex);
        if (s.policy)
            return s.policy;
    }
    // Outside of the lock, as a registered factory may ask for the policy itself; whose comes
    // first is everybody's.
    std::shared_ptr<event_loop_policy> made = policy_from_environment();
    std::lock_guard const lock(s.mutex);
    if (!s.policy)
    {
        s.policy.swap(made);
        s.made_by_default = true;
        note_placement(s.policy.get());
    }
    return s.policy;
}

void set_event_loop_policy(std::shared_ptr<event_loop_policy> policy)
{
    // The old one, if this was its last owner, ends outside of the lock.
    exchange_policy(std::move(policy));
}

scoped_policy::scoped_policy(std::shared_ptr<event_loop_policy> policy)
    : old_(exchange_policy(std::move(policy)))
{
}

scoped_policy::~scoped_policy()
{
    set_event_loop_policy(std::move(old_));
}

event_loop& get_event_loop()
{
    if (event_loop* const running = try_get_running_loop())
        return *running;
    return with_policy([](event_loop_policy& p) -> event_loop& { return p.get_event_loop(); });
}

void set_event_loop(std::shared_ptr<event_loop> loop)
{
    with_policy([&](event_loop_policy& p) { p.set_event_loop(std::move(loop)); });
}

std::shared_ptr<event_loop> new_event_loop()
{
    auto loop = with_policy([](event_loop_policy& p) { return p.new_event_loop(); });
    if (!loop)
        detail::throw_error(error::bad_config,
                            "the policy's new_event_loop gave null: it must give a fresh loop");
    return loop;
}

strand make_strand(std::string name)
{
    event_loop& loop =
        detail::place_context({.kind = context_kind::strand, .key = {}, .name = name});
    return strand(loop, std::move(name));
}

namespace detail {

POLYLOOP_READS_FRAME loop_core* placed_here() noexcept
{
    loop_core* const core = frame_here.core;
    if (!core || !core->single()) [[unlikely]]
        return nullptr;
    bool const here = core->ambient() ? core->ambient_places_here()
                                      : places_here.load(std::memory_order_relaxed);
    return here ? core : nullptr;
}

event_loop& place_context(placement_request const& request)
{
    if (loop_core* const here = placed_here())
        return *here->facade();
    return with_policy([&](event_loop_policy& p) -> event_loop& { return p.place(request); });
}

void attach_policy(event_loop& loop, std::shared_ptr<event_loop_policy> policy)
{
    bool const here = policy && places_on_running(*policy);
    loop.core().set_ambient(std::move(policy), here);
}

} // namespace detail
} // namespace polyloop
