// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TEST_SUPPORT_CLIENTS_HPP
#define POLYLOOP_TEST_SUPPORT_CLIENTS_HPP

#include "support/process.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>

namespace test {

inline std::string example(std::string const& name)
{
    return std::string(POLYLOOP_EXAMPLE_DIR) + '/' + name;
}

inline bool contains(std::string_view text, std::string_view part)
{
    return text.find(part) != text.npos;
}

inline std::size_t count(std::string_view text, std::string_view part)
{
    std::size_t n = 0;
    for (auto at = text.find(part); at != text.npos; at = text.find(part, at + part.size()))
        ++n;
    return n;
}

/// Where an example says that it listens, on the loopback.
inline boost::asio::ip::tcp::endpoint listening(process& server)
{
    std::string const line = server.wait_for_line("listening on 127.0.0.1:");
    auto const port = std::stoi(line.substr(line.rfind(':') + 1));
    return {boost::asio::ip::address_v4::loopback(), static_cast<unsigned short>(port)};
}

/// The policies under which the examples that serve are tried.
inline std::string const serving_policies[] = {"default", "strand loops=2", "fiber loops=2",
                                               "shared loops=2"};

/// An example that serves.
struct serving
{
    explicit serving(std::string const& name, process::arguments args = {})
        : program(example(name), std::move(args)), where(listening(program))
    {
    }

    /// Orderly, and without a complaint.
    void stop()
    {
        program.signal(SIGTERM);
        BOOST_TEST(program.wait() == 0);
        BOOST_TEST(program.err() == "");
        BOOST_TEST(contains(program.out(), "stopped\n"));
    }

    process program;
    boost::asio::ip::tcp::endpoint where;
};

/// A program that was run to its end.
struct finished
{
    int code;
    std::string out, err;
};

/// `program` is looked for in the usual places.
inline finished run(std::string const& program, process::arguments args = {}, int input = -1)
{
    args.insert(args.begin(), program);
    process p("/usr/bin/env", std::move(args), {}, input);
    int const code = p.wait();
    return {code, p.out(), p.err()};
}

/// How many descriptors a process has open.
inline std::size_t open_descriptors(process const& p)
{
    std::filesystem::directory_iterator const all("/proc/" + std::to_string(p.pid()) + "/fd");
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

/// Asks again and again whether it has come, for a minute.
template <class Condition>
bool eventually(Condition come)
{
    auto const limit = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    while (!come())
    {
        if (std::chrono::steady_clock::now() > limit)
            return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return true;
}

/// A directory that goes with its object.
class temporary_directory
{
  public:
    temporary_directory()
    {
        std::string name = (std::filesystem::temp_directory_path() / "polyloop.XXXXXX").string();
        if (!::mkdtemp(name.data()))
            throw std::runtime_error("no temporary directory");
        path_ = name;
    }
    ~temporary_directory()
    {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    temporary_directory(temporary_directory const&) = delete;
    temporary_directory& operator=(temporary_directory const&) = delete;

    std::string operator/(std::string const& name) const
    {
        return (path_ / name).string();
    }
    std::string write(std::string const& name, std::string const& content) const
    {
        auto const file = path_ / name;
        std::filesystem::create_directories(file.parent_path());
        std::ofstream(file, std::ios::binary) << content;
        return file.string();
    }

  private:
    std::filesystem::path path_;
};

/// A plain client, which blocks. What does not come within a minute is an error.
class raw_client
{
  public:
    explicit raw_client(boost::asio::ip::tcp::endpoint const& to, int receive_buffer = 0)
    {
        socket_.open(to.protocol());
        if (receive_buffer)
            socket_.set_option(boost::asio::socket_base::receive_buffer_size(receive_buffer));
        socket_.connect(to); // which goes on when it was interrupted, without a limit for sending
        timeval const limit{60, 0};
        ::setsockopt(socket_.native_handle(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        ::setsockopt(socket_.native_handle(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
        socket_.set_option(boost::asio::ip::tcp::no_delay(true));
    }

    /// False where the connection is broken.
    bool send(std::string_view text)
    {
        boost::system::error_code ec;
        boost::asio::write(socket_, boost::asio::buffer(text), ec);
        return !ec;
    }
    /// To the end of `mark`, or what there is.
    std::string read_to(std::string const& mark)
    {
        for (;;)
        {
            if (auto const at = buffer_.find(mark); at != buffer_.npos)
                return take(at + mark.size());
            if (end_)
                return take(buffer_.size());
            more();
        }
    }
    std::string read_line()
    {
        return read_to("\n");
    }
    /// At least so many bytes, or what there is.
    std::string read(std::size_t n)
    {
        while (buffer_.size() < n && !end_)
            more();
        return take(std::min(n, buffer_.size()));
    }
    /// All to the end.
    std::string read_all()
    {
        while (!end_)
            more();
        return take(buffer_.size());
    }
    /// How the connection ended for the reader.
    boost::system::error_code const& end() const
    {
        return end_;
    }

    void shutdown_send()
    {
        socket_.shutdown(boost::asio::socket_base::shutdown_send);
    }
    void reset()
    {
        socket_.set_option(boost::asio::socket_base::linger(true, 0));
        socket_.close();
    }
    boost::asio::ip::tcp::socket& socket()
    {
        return socket_;
    }

  private:
    std::string take(std::size_t n)
    {
        std::string const taken = buffer_.substr(0, n);
        buffer_.erase(0, n);
        return taken;
    }
    void more()
    {
        char part[16384];
        // A socket with a limit does not go on by itself when a signal has interrupted it, and the
        // kernel's io_uring interrupts the thread that it has news for.
        std::size_t n;
        do
            n = socket_.read_some(boost::asio::buffer(part), end_);
        while (end_ == boost::asio::error::interrupted);
        buffer_.append(part, n);
    }

    boost::asio::io_context io_;
    boost::asio::ip::tcp::socket socket_{io_};
    std::string buffer_;
    boost::system::error_code end_;
};

} // namespace test

#endif
