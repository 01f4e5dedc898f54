// HTTP servers that differ in nothing but the system they are written for: each reads
// requests by Beast's parser within limits in bytes and time, and answers with one page.

#ifndef POLYLOOP_TEST_BENCH_HTTP_HTTP_HPP
#define POLYLOOP_TEST_BENCH_HTTP_HTTP_HPP

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace bench_http
{

inline constexpr std::string_view page = "This is an HTTP server on fibers.\n";

// None is ever reached.
inline constexpr std::uint32_t header_limit = 8192;
inline constexpr std::uint64_t body_limit = 1 << 20;
inline constexpr std::chrono::seconds limit{30}; ///< of a request, and between two

struct server
{
    std::string_view name;
    void (*serve)(); ///< on a port of the loopback that it prints, for ever
};

extern server const beast_callbacks;
extern server const beast_callbacks_without_limits; ///< those in time
extern server const beast_coroutines;
extern server const polyloop_streams;

void print_port(unsigned short port);

} // namespace bench_http

#endif
