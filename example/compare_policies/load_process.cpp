// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include "load.hpp"

#include <polyloop/task/use_fiber.hpp>

#include <boost/asio/buffer.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>
#include <boost/json.hpp>

#include <cerrno>
#include <csignal>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;

namespace asio = boost::asio;
namespace json = boost::json;

namespace
{
void check(int error, char const* what)
{
    if (error != 0)
        throw std::system_error(error, std::generic_category(), what);
}

/// This program once more, with `input` as its standard input.
pid_t start(int input)
{
    std::string program = "/proc/self/exe", option = "--load";
    char* const arguments[] = {program.data(), option.data(), nullptr};
    posix_spawn_file_actions_t actions;
    check(posix_spawn_file_actions_init(&actions), "posix_spawn_file_actions_init");
    int error = posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
    pid_t pid = -1;
    if (error == 0)
        error = posix_spawn(&pid, arguments[0], &actions, nullptr, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    check(error, "cannot start the process that makes the load");
    return pid;
}
} // namespace

load_process::load_process()
    : link_(polyloop::get_running_loop().get_executor())
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        check(errno, "socketpair");
    link_.assign(asio::local::stream_protocol(), ends[0]);
    try
    {
        pid_ = start(ends[1]);
    }
    catch (...)
    {
        close(ends[1]);
        throw;
    }
    close(ends[1]);
}

load_process::~load_process()
{
    if (pid_ == -1)
        return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
}

load_result load_process::measure(options const& o, std::uint16_t port)
{
    json::object const what{
        {"port", port},
        {"connections", o.connections},
        {"threads", o.client_threads},
        {"size", o.size},
        {"warmup", o.warmup.count()},
        {"duration", o.duration.count() / o.rounds},
        {"grace", 5},
    };
    asio::async_write(
        link_, asio::buffer(json::serialize(what) + '\n'), polyloop::use_fiber);

    std::string line;
    boost::system::error_code ec;
    asio::async_read_until(
        link_, asio::dynamic_buffer(line), '\n', polyloop::use_fiber[ec]);
    if (ec)
        throw std::runtime_error("the process that makes the load ended early");
    json::value const said = json::parse(line);
    load_result r;
    r.requests = said.at("requests").to_number<std::uint64_t>();
    r.errors = said.at("errors").to_number<std::uint64_t>();
    r.trouble = json::value_to<std::string>(said.at("trouble"));
    r.latency.add(json::value_to<histogram::places>(said.at("latency_ns")));
    r.cpu_us = said.at("cpu_us").to_number<double>();

    int status = 0;
    waitpid(std::exchange(pid_, -1), &status, 0);
    if (status != 0)
        throw std::runtime_error("the process that makes the load ended with an error");
    return r;
}
