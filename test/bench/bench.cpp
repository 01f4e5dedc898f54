#include "bench.hpp"

#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <thread>

namespace bench
{

int measured_core()
{
    return static_cast<int>(std::max(1u, std::thread::hardware_concurrency())) - 1;
}

int other_core()
{
    return 0;
}

void pin_to_core(int core)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<unsigned>(core), &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0)
    {
        std::perror("sched_setaffinity");
        std::exit(1);
    }
}

} // namespace bench
