#include "calls.hpp"

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

thread_local bench::call_counts bench::calls;

extern "C"
{

    int __real_epoll_wait(int, epoll_event*, int, int);
    int __real_epoll_ctl(int, int, int, epoll_event*);
    int __real_timerfd_settime(int, int, itimerspec const*, itimerspec*);
    ssize_t __real_read(int, void*, size_t);
    ssize_t __real_write(int, void const*, size_t);

    int __wrap_epoll_wait(int fd, epoll_event* events, int size, int timeout)
    {
        ++bench::calls.waits;
        return __real_epoll_wait(fd, events, size, timeout);
    }

    int __wrap_epoll_ctl(int fd, int what, int which, epoll_event* event)
    {
        ++bench::calls.wakes;
        return __real_epoll_ctl(fd, what, which, event);
    }

    int __wrap_timerfd_settime(int fd, int flags, itimerspec const* to, itimerspec* from)
    {
        ++bench::calls.wakes;
        return __real_timerfd_settime(fd, flags, to, from);
    }

    ssize_t __wrap_read(int fd, void* to, size_t size)
    {
        ++bench::calls.wakes;
        return __real_read(fd, to, size);
    }

    ssize_t __wrap_write(int fd, void const* from, size_t size)
    {
        ++bench::calls.wakes;
        return __real_write(fd, from, size);
    }

} // extern "C"
