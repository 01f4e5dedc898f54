// Which system calls the calling thread made: the linker sends those of the program's own
// objects, Asio and polyloop among them, through counters (see CMakeLists.txt).

#ifndef POLYLOOP_TEST_BENCH_CALLS_HPP
#define POLYLOOP_TEST_BENCH_CALLS_HPP

namespace bench
{

struct call_counts
{
    long waits = 0; ///< epoll_wait
    long wakes = 0; ///< epoll_ctl, read, write, timerfd_settime
};

extern thread_local call_counts calls;

} // namespace bench

#endif
