// polyloop_bench: every scenario of one process, named scenario/system.

#include "bench.hpp"
#include "idle_memory.hpp"

#include <benchmark/benchmark.h>

#include <cstdlib>
#include <string>
#include <string_view>

int main(int argc, char** argv)
{
    // The measuring thread has the last core; a second thread, where there is one, has
    // the first.
    bench::pin_to_core(bench::measured_core());
    if (argc == 4 && std::string_view(argv[1]) == "--idle-memory")
        return bench::idle_memory_main(argv[2], std::atol(argv[3]));
    benchmark::AddCustomContext("core", std::to_string(bench::measured_core()));

    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv))
        return 2;
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
}
