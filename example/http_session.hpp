// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_EXAMPLE_HTTP_SESSION_HPP
#define POLYLOOP_EXAMPLE_HTTP_SESSION_HPP

// HTTP as http_server and https_server speak it: Beast's blocking calls, on fibers.

#include "server_program.hpp"

#include <polyloop/io/tcp_stream.hpp>
#include <polyloop/task/this_fiber.hpp>

#include <boost/asio/error.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http.hpp>
#include <boost/program_options.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <list>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;

/// What is served, by its target. All of it is read before the first request, so that no
/// request touches the file system.
class resources
{
public:
    struct resource
    {
        std::string type, content;
    };

    resources() { all_["/"] = {"text/plain", "This is an HTTP server on fibers.\n"}; }
    /// The files of a directory and those below it; no links, no hidden ones. An
    /// `index.html` also stands for its directory.
    explicit resources(std::filesystem::path const& root)
    {
        namespace fs = std::filesystem;
        std::size_t size = 0;
        for (fs::recursive_directory_iterator i(root), end; i != end; ++i)
        {
            std::string const name = i->path().filename().string();
            if (name.starts_with('.'))
                i.disable_recursion_pending();
            else if (i->symlink_status().type() == fs::file_type::regular)
            {
                std::ifstream in(i->path(), std::ios::binary);
                std::string content(std::istreambuf_iterator<char>(in), {});
                if (!in)
                    throw std::runtime_error("cannot read " + i->path().string());
                if ((size += content.size()) > most_bytes)
                    throw std::runtime_error(root.string() +
                        " has more than 256 MiB, and all of it is kept in memory: name a "
                        "smaller directory");
                std::string const target =
                    '/' + i->path().lexically_relative(root).string();
                resource r{type_of(i->path().extension().string()), std::move(content)};
                if (name == "index.html")
                    all_[target.substr(0, target.size() - name.size())] = r;
                all_[target] = std::move(r);
            }
        }
    }

    /// Null where there is none.
    resource const* find(std::string_view target) const
    {
        auto const found = all_.find(target.substr(0, target.find('?')));
        return found == all_.end() ? nullptr : &found->second;
    }

private:
    static constexpr std::size_t most_bytes = 256U << 20;

    static std::string type_of(std::string const& extension)
    {
        static std::map<std::string, std::string> const known{{".css", "text/css"},
            {".html", "text/html"}, {".jpg", "image/jpeg"}, {".js", "text/javascript"},
            {".json", "application/json"}, {".png", "image/png"},
            {".svg", "image/svg+xml"}, {".txt", "text/plain"}};
        auto const found = known.find(extension);
        return found == known.end() ? "application/octet-stream" : found->second;
    }

    std::map<std::string, resource, std::less<>> all_;
};

/// The connections, for the stop: those that wait for a request end at once, the others
/// with their answer.
class sessions
{
public:
    /// One of them, in its task.
    class session
    {
    public:
        explicit session(sessions& all)
            : all_(all)
            , task_(polyloop::this_fiber::current_task())
        {
            std::lock_guard const lock(all_.mutex_);
            place_ = all_.list_.insert(all_.list_.end(), this);
        }
        ~session()
        {
            std::lock_guard const lock(all_.mutex_);
            all_.list_.erase(place_);
        }
        session(session const&) = delete;
        session& operator=(session const&) = delete;

        /// Calls `wait`, which the stop cancels, and gives what it returns: whether a
        /// request has begun. False if the server has stopped before. What follows is not
        /// cancelled, even where the stop comes with the request's first byte.
        template <class Wait>
        bool idle(Wait wait)
        {
            {
                std::lock_guard const lock(mutex_);
                if (all_.stopping())
                    return false;
                idle_ = true;
            }
            bool const begun = wait();
            std::lock_guard const lock(mutex_);
            if (!idle_)
                task_.uncancel(); // by the stop, and for the wait alone
            idle_ = false;
            return begun;
        }

    private:
        friend class sessions;

        void stop()
        {
            std::lock_guard const lock(mutex_);
            if (std::exchange(idle_, false))
                task_.cancel();
        }

        sessions& all_;
        polyloop::task<> task_;
        std::list<session*>::iterator place_;
        std::mutex mutex_;
        bool idle_ = false; // under the mutex
    };

    bool stopping() const { return stopping_; }

    void stop()
    {
        stopping_ = true; // before it looks whether one is idle, who looks at it then
        std::lock_guard const lock(mutex_);
        for (session* const s : list_)
            s->stop();
    }

private:
    std::mutex mutex_;
    std::list<session*> list_;
    std::atomic<bool> stopping_ = false;
};

/// What all connections share.
struct http_service
{
    resources what;
    std::uint32_t header_limit = 0; // bytes
    std::uint64_t body_limit = 0;
    std::chrono::nanoseconds request_limit{}; // from its first byte to the answer's last
    std::chrono::nanoseconds idle_limit{};    // between requests
    sessions open = {};
};

using request = http::request<http::string_body>;
/// Of bytes that live elsewhere.
using answer = http::response<http::span_body<char const>>;

inline answer make_answer(
    http::status status, std::string_view type, std::string_view content)
{
    answer a(status, 11);
    a.set(http::field::server, "polyloop");
    a.set(http::field::content_type, {type.data(), type.size()});
    a.body() = {content.data(), content.size()};
    return a;
}

/// The status is all that the client is told.
inline answer make_answer(http::status status)
{
    auto const reason = http::obsolete_reason(status);
    return make_answer(status, "text/plain", {reason.data(), reason.size()});
}

// tag::respond[]
inline answer respond(http_service const& service, request const& asked)
{
    if (asked.version() == 11 && asked.count(http::field::host) != 1)
        return make_answer(http::status::bad_request);
    std::string_view const target(asked.target().data(), asked.target().size());
    bool const echo = target == "/echo";
    auto const* const found = service.what.find(target);
    if (!found && !echo)
        return make_answer(http::status::not_found);
    if (echo && asked.method() == http::verb::post)
        return make_answer(http::status::ok, "application/octet-stream", asked.body());
    if (found &&
        (asked.method() == http::verb::get || asked.method() == http::verb::head))
        return make_answer(http::status::ok, found->type, found->content);
    answer a = make_answer(http::status::method_not_allowed);
    a.set(http::field::allow, echo ? "POST" : "GET, HEAD");
    return a;
}
// end::respond[]

/// What a request that cannot be read is answered by; `unknown` where nobody listens.
inline http::status status_of(error_code const& ec, bool header_done)
{
    if (ec == http::error::header_limit ||
        (ec == http::error::buffer_overflow && !header_done))
        return http::status::request_header_fields_too_large;
    if (ec == http::error::body_limit)
        return http::status::payload_too_large;
    if (ec == boost::asio::error::timed_out)
        return http::status::request_timeout;
    if (ec == http::error::end_of_stream || ec == http::error::partial_message ||
        ec.category() != make_error_code(http::error::end_of_stream).category())
        return http::status::unknown;
    return http::status::bad_request;
}

// tag::session[]
/// Reads a request and writes its answer, until one of the two has had enough. True where
/// the last word was an answer, which the client shall be able to read. `below` is the
/// connection that carries the stream.
template <class Stream>
bool serve_requests(Stream& stream, polyloop::tcp_stream& below, http_service& service)
{
    sessions::session self(service.open);
    // Pipelined requests stay in it.
    beast::flat_buffer buffer(service.header_limit + 4096);
    for (bool more = true; more;)
    {
        error_code ec;
        below.expires_after(service.idle_limit);
        auto const wait = [&] {
            buffer.commit(stream.read_some(buffer.prepare(4096), ec));
            return !ec;
        };
        bool const begun = buffer.size() != 0 || self.idle(wait);
        below.expires_after(service.request_limit);
        // What had come before the stop is answered.
        error_code none;
        if (!begun &&
            (!service.open.stopping() || below.available(none) == 0 || !wait()))
        {
            return false;
        }
        http::request_parser<http::string_body> parser;
        parser.header_limit(service.header_limit);
        parser.body_limit(service.body_limit);
        http::read_header(stream, buffer, parser, ec);
        if (!ec && beast::iequals(parser.get()[http::field::expect], "100-continue"))
            http::write(stream,
                http::response<http::empty_body>(http::status::continue_, 11), ec);
        if (!ec)
            http::read(stream, buffer, parser, ec);

        answer to_send;
        if (!ec)
            to_send = respond(service, parser.get());
        else if (auto const s = status_of(ec, parser.is_header_done());
                 s != http::status::unknown)
            to_send = make_answer(s);
        else
            return false;
        if (ec == boost::asio::error::timed_out)
            below.expires_after(std::chrono::seconds(1)); // for the answer
        more = !ec && parser.get().keep_alive() && !service.open.stopping();
        to_send.version(parser.is_header_done() ? parser.get().version() : 11);
        to_send.keep_alive(more);
        to_send.prepare_payload();
        http::response_serializer<answer::body_type> serializer(to_send);
        if (parser.is_header_done() && parser.get().method() == http::verb::head)
            http::write_header(stream, serializer, ec);
        else
            http::write(stream, serializer, ec);
        if (ec)
            return false;
    }
    return true;
}
// end::session[]

/// Ends a connection so that the client has read the last answer before it learns that
/// the rest of what it sends is not wanted: a socket closed with bytes unread is reset.
inline void close_gently(polyloop::tcp_stream& connection)
{
    connection.expires_after(std::chrono::seconds(1));
    error_code ec;
    connection.shutdown(boost::asio::socket_base::shutdown_send, ec);
    char rest[4096];
    for (int i = 0; i != 256 && !ec; ++i)
        connection.read_some(boost::asio::buffer(rest), ec);
}

inline void add_http_options(boost::program_options::options_description& options)
{
    add_server_options(options);
    auto add = options.add_options();
    auto text = [](char const* by_default) {
        return boost::program_options::value<std::string>()->default_value(by_default);
    };
    add("root", boost::program_options::value<std::string>(),
        "a directory that is served, from memory, as it is at the start");
    add("limit-header", text("8192"), "bytes of a request's header");
    add("limit-body", text("1048576"), "bytes of its body");
    add("limit-request", text("10"),
        "seconds from its first byte to the end of the answer");
    add("limit-idle", text("60"),
        "seconds that a client may wait before its next request");
}

/// As the options say.
inline http_service make_http_service(boost::program_options::variables_map const& given)
{
    std::uint64_t const much = 1U << 30;
    return {
        .what = given.contains("root") ? resources(given["root"].as<std::string>())
                                       : resources(),
        .header_limit = number<std::uint32_t>(given, "limit-header", 64, 1U << 20),
        .body_limit = number<std::uint64_t>(given, "limit-body", 0, much),
        .request_limit = seconds(given, "limit-request"),
        .idle_limit = seconds(given, "limit-idle"),
    };
}

#endif
