// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/io/detail/resolve.hpp>

#include <polyloop/loop/event_loop.hpp>
#include <polyloop/task/use_fiber.hpp>

#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include <future>
#include <memory>
#include <string>
#include <utility>

namespace polyloop::detail {
namespace {

using boost::system::error_code;
using ip_tcp = asio::ip::tcp;

struct answer
{
    error_code ec;
    std::vector<ip_tcp::endpoint> all;
};

/// Blocks the thread where it has to ask somebody.
answer ask(std::string const& host, std::string const& service, ip_tcp::resolver::flags how)
{
    answer a;
    asio::io_context io(1); // never run: the blocking form has no use for more
    for (auto const& entry : ip_tcp::resolver(io).resolve(host, service, how, a.ec))
        a.all.push_back(entry.endpoint());
    return a;
}

auto asking(std::string host, std::string service)
{
    return [h = std::move(host), s = std::move(service)] {
        return ask(h, s, ip_tcp::resolver::address_configured);
    };
}

answer ask_in_fiber(std::string host, std::string service, deadline limit)
{
    event_loop& loop = get_running_loop();
    auto question = asking(std::move(host), std::move(service));
    return limit.never() ? loop.run_in_executor(std::move(question), use_fiber)
                         : loop.run_in_executor(std::move(question), use_fiber(limit.time()));
}

answer ask_in_thread(loop_core& core, std::string host, std::string service, deadline limit)
{
    if (limit.never())
        return asking(std::move(host), std::move(service))();
    auto question =
        std::make_shared<std::packaged_task<answer()>>(asking(std::move(host), std::move(service)));
    std::future<answer> future = question->get_future();
    asio::post(*core.default_executor(), [q = std::move(question)] { (*q)(); });
    if (future.wait_until(limit.time()) != std::future_status::ready)
        throw_error(asio::error::timed_out);
    try
    {
        return future.get();
    }
    catch (std::future_error const&) // the executor was ended before it came to this
    {
        throw_cancelled();
    }
}

answer answer_for(loop_core& core, std::string_view host, std::string_view service,
                  deadline limit)
{
    using how = ip_tcp::resolver::flags;
    if (core.is_closed())
        throw_error(error::loop_closed);
    std::string h(host), s(service);
    how const numbers = ip_tcp::resolver::numeric_host | ip_tcp::resolver::numeric_service;
    if (answer a = ask(h, s, numbers); !a.ec)
        return a;
    if (limit.passed())
        throw_error(asio::error::timed_out);
    if (try_current_fiber())
        return ask_in_fiber(std::move(h), std::move(s), limit);
    if (blocker b; b.bare())
        b.refuse();
    return ask_in_thread(core, std::move(h), std::move(s), limit);
}

char const* remedy(error_code const& ec)
{
    if (ec == asio::error::host_not_found || ec == asio::error::host_not_found_try_again ||
        ec == asio::error::no_data)
        return ": check the name, and that a name server can be reached";
    if (ec == asio::error::service_not_found)
        return ": give the port's number, or a service that this system knows";
    if (ec == asio::error::connection_refused)
        return ": check that a server listens there";
    if (ec == asio::error::timed_out)
        return " in time: check that the host can be reached, or allow it more by expires_after";
    if (ec == asio::error::network_unreachable || ec == asio::error::host_unreachable)
        return ": check the network";
    return "";
}

} // namespace

std::vector<ip_tcp::endpoint> resolve(loop_core& core, std::string_view host,
                                      std::string_view service, deadline limit, error_code& ec)
{
    try
    {
        answer a = answer_for(core, host, service, limit);
        ec = a.ec;
        return std::move(a.all);
    }
    catch (boost::system::system_error const& e)
    {
        ec = e.code();
        return {};
    }
}

void throw_not_connected(std::string_view host, std::string_view service, error_code const& ec)
{
    if (ec == asio::error::operation_aborted || ec.category() == error_category())
        throw_error(ec); // which is not the peer's
    throw boost::system::system_error(ec, "cannot connect to \"" + std::string(host) +
                                              "\", service \"" + std::string(service) + '"' +
                                              remedy(ec));
}

} // namespace polyloop::detail
