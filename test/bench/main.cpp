// polyloop_bench: every scenario of one process, named scenario/system.

#include "bench.hpp"

#include <benchmark/benchmark.h>

#include <string>
#include <thread>

int main(int argc, char** argv)
{
    // The measuring thread has the last core; a second thread, where there is one, has the first.
    bench::pin_to_core(bench::measured_core());
    benchmark::AddCustomContext("core", std::to_string(bench::measured_core()));

    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv))
        return 2;
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
}
