// How much memory a fiber that waits keeps resident, measured in a process of its own.

#ifndef POLYLOOP_TEST_BENCH_IDLE_MEMORY_HPP
#define POLYLOOP_TEST_BENCH_IDLE_MEMORY_HPP

namespace bench
{

/// What that process does: makes `count` fibers of `system`, lets them all sleep, prints
/// the bytes of each, and ends. Returns only if the system is unknown.
int idle_memory_main(char const* system, long count);

} // namespace bench

#endif
