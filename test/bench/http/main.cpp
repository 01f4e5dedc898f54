// polyloop_bench_http SYSTEM: prints its port, and serves until it is killed.

#include "http.hpp"

#include <cstdio>
#include <string_view>

namespace
{

bench_http::server const* const servers[] = {&bench_http::beast_callbacks,
    &bench_http::beast_callbacks_without_limits, &bench_http::beast_coroutines,
    &bench_http::polyloop_streams};

} // namespace

void bench_http::print_port(unsigned short port)
{
    std::printf("%d\n", port);
    std::fflush(stdout);
}

int main(int argc, char** argv)
{
    for (auto* s : servers)
        if (argc == 2 && s->name == argv[1])
        {
            s->serve();
            return 1;
        }
    std::fprintf(stderr, "Usage: %s SYSTEM\nSystems:", argv[0]);
    for (auto* s : servers)
        std::fprintf(stderr, " %s", s->name.data());
    std::fprintf(stderr, "\n");
    return 2;
}
