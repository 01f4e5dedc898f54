// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/policy/default_policy.hpp>

#include <polyloop/loop/backend.hpp>

namespace polyloop {
namespace {

void insist(bool proactor, char const* name)
{
    backend const b = current_backend();
    if (is_proactor(b) == proactor)
        return;
    std::string fitting;
    for (backend const other : known_backends())
        if (is_proactor(other) == proactor)
            fitting += (fitting.empty() ? "" : ", ") + std::string(to_string(other));
    // Where both kinds are of one platform: the names that CMake knows.
    char const* variants = "";
    if (!proactor)
        variants = " (polyloop::polyloop, polyloop::select)";
    else if (b == backend::epoll || b == backend::select)
        variants = " (polyloop::io_uring)";
    detail::throw_error(error::backend_unavailable,
                        std::string(name) + ": this build uses " + std::string(to_string(b)) +
                            ", which waits for " + (proactor ? "readiness" : "completion") +
                            "; take the default policy, or link a variant for one of: " +
                            fitting + variants);
}

} // namespace

event_loop& default_policy::get_event_loop()
{
    // The binding keeps it alive when the pointer is gone.
    if (auto const bound = bindings_.get())
        return *bound;
    bindings_.refuse();
}

void default_policy::set_event_loop(std::shared_ptr<event_loop> loop)
{
    bindings_.set(std::move(loop));
}

std::shared_ptr<event_loop> default_policy::new_event_loop()
{
    return std::make_shared<event_loop>(options_);
}

selector_policy::selector_policy(loop_options options) : default_policy(std::move(options))
{
    insist(false, "selector_policy");
}

proactor_policy::proactor_policy(loop_options options) : default_policy(std::move(options))
{
    insist(true, "proactor_policy");
}

} // namespace polyloop
