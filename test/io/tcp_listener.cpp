// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE io.tcp_listener

#include <polyloop/io/tcp_listener.hpp>

#include "support/error.hpp"
#include "support/policies.hpp"

#include <polyloop/task/spawn.hpp>
#include <polyloop/task/this_fiber.hpp>

#include <boost/asio/ip/tcp.hpp>
#include <boost/test/unit_test.hpp>

#include <atomic>
#include <cerrno>
#include <vector>

using namespace polyloop;
using boost::system::error_code;

namespace {

asio::ip::tcp::endpoint const any_port{asio::ip::address_v4::loopback(), 0};

} // namespace

// Most of them find nothing, on another thread than the one they began to wait on, whose `errno` is
// somebody else's.
BOOST_AUTO_TEST_CASE(many_accept_at_once_and_see_only_their_own_errors)
{
    test::under_every_policy([] {
        constexpr int connections = 200;
        tcp_listener listener(any_port);
        event_loop& loop = get_running_loop();
        std::atomic<bool> over = false;
        std::atomic<int> accepted = 0;
        std::vector<task<>> noise;
        for (int i = 0; i != 3; ++i)
            noise.push_back(spawn(loop, [&] {
                while (!over)
                {
                    errno = ENOENT;
                    this_fiber::yield();
                }
            }));
        std::vector<task<error_code>> accepting;
        for (int i = 0; i != 8; ++i)
            accepting.push_back(spawn(loop, [&] {
                error_code ec;
                for (;;)
                {
                    tcp_stream const s = listener.accept(ec);
                    if (ec)
                        return ec;
                    ++accepted;
                }
            }));
        for (int i = 0; i != connections; ++i)
        {
            tcp_stream s;
            s.connect(listener.local_endpoint());
        }
        while (accepted != connections)
            this_fiber::yield();
        listener.close();
        for (auto& a : accepting)
        {
            error_code const ec = a.join();
            BOOST_TEST((ec == asio::error::operation_aborted ||
                        ec == asio::error::bad_descriptor)); // it did not wait just then
        }
        over = true;
        for (auto& n : noise)
            n.join();
    });
}
