// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/loop/detail/affinity.hpp>

#include <polyloop/error.hpp>

#include <algorithm>
#include <cerrno>
#include <thread>

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif

namespace polyloop::detail {

#if defined(__linux__)

struct affinity::impl
{
    cpu_set_t allowed;
};

affinity::affinity() : impl_(std::make_unique<impl>())
{
    CPU_ZERO(&impl_->allowed);
    // Refused on a machine with more processors than the set holds: then no one is known.
    if (::sched_getaffinity(0, sizeof(cpu_set_t), &impl_->allowed) != 0)
        CPU_ZERO(&impl_->allowed);
}

unsigned affinity::count() const noexcept
{
    int const n = CPU_COUNT(&impl_->allowed);
    return n > 0 ? static_cast<unsigned>(n) : std::max(1u, std::thread::hardware_concurrency());
}

void affinity::pin(unsigned n) const
{
    n %= count();
    for (int cpu = 0; cpu != CPU_SETSIZE; ++cpu)
        if (CPU_ISSET(cpu, &impl_->allowed) && n-- == 0)
        {
            cpu_set_t one;
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            if (int const e = ::pthread_setaffinity_np(::pthread_self(), sizeof(one), &one))
                throw_error(boost::system::error_code(e, boost::system::system_category()));
            return;
        }
    throw_error(error::option_unsupported,
                "the processors that this thread may use could not be read");
}

void affinity::restore() const noexcept
{
    ::pthread_setaffinity_np(::pthread_self(), sizeof(cpu_set_t), &impl_->allowed);
}

#else

struct affinity::impl
{
};

affinity::affinity() : impl_(std::make_unique<impl>())
{
}

unsigned affinity::count() const noexcept
{
    return std::max(1u, std::thread::hardware_concurrency());
}

void affinity::pin(unsigned) const
{
    throw_error(error::option_unsupported, "pinning a thread is not supported on this system");
}

void affinity::restore() const noexcept
{
}

#endif

affinity::~affinity() = default;
affinity::affinity(affinity&&) noexcept = default;
affinity& affinity::operator=(affinity&&) noexcept = default;

} // namespace polyloop::detail
