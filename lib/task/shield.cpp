// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/task/shield.hpp>

#include <polyloop/task/detail/wait_name.hpp>

namespace polyloop::detail {
namespace {

struct shielded_joiner : join_waiter, fiber_wait
{
    shielded_joiner(fiber& f, task_base& t, bool until_end) noexcept
        : join_waiter(&shielded_joiner::on_done), fiber_wait(&shielded_joiner::on_interrupt),
          self(f), joined(t), stays(until_end)
    {
    }

    static void on_done(join_waiter* w)
    {
        static_cast<shielded_joiner*>(w)->self.wake();
    }
    static bool on_interrupt(fiber_wait& w, reason why)
    {
        auto& j = static_cast<shielded_joiner&>(w);
        if (why == reason::cancel || j.stays || !j.joined.remove_waiter(j))
            return false;
        j.aborted = true;
        j.self.wake();
        return true;
    }

    fiber& self;
    task_base& joined;
    bool const stays;
    bool aborted = false;
};

wait_name const shield_name(&shielded_joiner::on_interrupt, [](fiber_wait const& w) {
    return "the shielded task \"" + static_cast<shielded_joiner const&>(w).joined.name() + '"';
});

} // namespace

void wait_shielded(task_base& t, bool until_end)
{
    fiber& f = current_fiber();
    if (&t == &f)
        throw_error(error::self_join);
    if (!until_end && f.core().unwinding() && !t.done())
        f.check_cancel();
    task_ptr const keep(&t);
    shielded_joiner j(f, t, until_end);
    if (t.add_waiter(j))
        f.suspend(j);
    if (j.aborted)
        throw_cancelled();
}

} // namespace polyloop::detail
