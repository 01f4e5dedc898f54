// Echo servers that differ in nothing but the system they are written for: each gets its
// connected sockets, already not blocking, and serves them until the last is closed.

#ifndef POLYLOOP_TEST_BENCH_ECHO_ECHO_HPP
#define POLYLOOP_TEST_BENCH_ECHO_ECHO_HPP

#include <chrono>
#include <cstddef>
#include <string_view>
#include <vector>

namespace echo
{

/// Of every read, where the servers are asked for a deadline. None ever expires.
inline constexpr std::chrono::seconds idle_limit{30};

inline constexpr std::size_t buffer_size = 1024; // messages have 64 bytes

using sockets = std::vector<int>;

struct server
{
    std::string_view name;
    void (*serve)(sockets const&);
    void (*serve_idle)(sockets const&); ///< with a deadline on every read; may be null
};

extern server const bare_epoll;
extern server const asio_callbacks;
extern server const asio_spawn;
extern server const asio_coroutines;
extern server const libuv;
extern server const polyloop_fibers;
extern server const polyloop_coroutines;
extern server const polyloop_streams; ///< sockets made for fibers

} // namespace echo

#endif
