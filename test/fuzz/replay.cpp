// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// Stands in for libFuzzer: runs the programs of the corpus, and some that are drawn.
//
//     fuzz.programs DIRECTORY [NUMBER [SEED]]

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size);

int main(int argc, char** argv)
{
    if (argc < 2)
    {
        std::cerr << "fuzz.programs DIRECTORY [NUMBER [SEED]]\n";
        return 2;
    }
    int files = 0;
    for (auto const& entry : std::filesystem::directory_iterator(argv[1]))
    {
        std::ifstream in(entry.path(), std::ios::binary);
        std::vector<char> const text(std::istreambuf_iterator<char>(in), {});
        std::cerr << entry.path().filename().string() << std::endl;
        LLVMFuzzerTestOneInput(reinterpret_cast<std::uint8_t const*>(text.data()), text.size());
        ++files;
    }
    unsigned long const number = argc > 2 ? std::stoul(argv[2]) : 0;
    unsigned long const first = argc > 3 ? std::stoul(argv[3]) : std::random_device()();
    for (unsigned long seed = first; seed != first + number; ++seed)
    {
        std::cerr << "seed " << seed << std::endl; // the last one is that of a failure
        std::mt19937_64 engine(seed);
        std::vector<std::uint8_t> program(3 + engine() % 200);
        for (auto& b : program)
            b = static_cast<std::uint8_t>(engine());
        LLVMFuzzerTestOneInput(program.data(), program.size());
    }
    std::cerr << files << " programs of the corpus, " << number << " drawn\n";
    return files == 0;
}
