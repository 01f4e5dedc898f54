// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_EXAMPLE_LOAD_HPP
#define POLYLOOP_EXAMPLE_LOAD_HPP

#include "histogram.hpp"
#include "options.hpp"

#include <polyloop/loop/event_loop.hpp>

#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/local/stream_protocol.hpp>

#include <cstdint>
#include <string>

#include <sys/types.h>

/// What the load saw of one round.
struct load_result
{
    std::uint64_t requests = 0; // answered within the measured time
    std::uint64_t errors = 0;
    std::string trouble; // the first error, for a person
    histogram latency;   // nanoseconds
    double cpu_us = 0;   // of the server's process, within the measured time
};

/// The process that makes the load, seen from the server's. Made in a fiber, which waits
/// in its operations. The process ends with its link, so it outlives neither this object
/// nor this process.
class load_process
{
public:
    load_process();
    ~load_process();

    load_process(load_process const&) = delete;
    load_process& operator=(load_process const&) = delete;

    /// One round; to be called once.
    load_result measure(options const& o, std::uint16_t port);

private:
    boost::asio::local::stream_protocol::socket link_;
    pid_t pid_ = -1;
};

/// That process's main function. Its standard input is the link.
int run_load();

#endif
