// Beast as its documentation advises: one thread, and told so; executors not type-erased;
// `basic_stream` with its deadline, set before each read. Without the limits in time the
// same on a bare socket.

#include "http.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

#include <cstddef>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace
{

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;
using tcp = asio::ip::tcp;

using executor = asio::io_context::executor_type;
using tcp_socket = asio::basic_stream_socket<tcp, executor>;
using limited_stream = beast::basic_stream<tcp, executor>;
using acceptor = asio::basic_socket_acceptor<tcp, executor>;

using parser = http::request_parser<http::string_body>;
using answer = http::response<http::span_body<char const>>;

void expect(tcp_socket&) { }
void expect(limited_stream& s)
{
    s.expires_after(bench_http::limit);
}
void prepare(std::optional<parser>& p)
{
    p.emplace();
    p->header_limit(bench_http::header_limit);
    p->body_limit(bench_http::body_limit);
}

answer respond(http::request<http::string_body> const& asked)
{
    bool const known = asked.method() == http::verb::get && asked.target() == "/";
    answer a(known ? http::status::ok : http::status::not_found, asked.version());
    a.set(http::field::server, "polyloop");
    a.set(http::field::content_type, "text/plain");
    if (known)
        a.body() = {bench_http::page.data(), bench_http::page.size()};
    a.keep_alive(asked.keep_alive());
    a.prepare_payload();
    return a;
}

// -- callbacks

template <class Stream>
class session
{
public:
    explicit session(tcp_socket s)
        : stream_(std::move(s)), buffer_(bench_http::header_limit + 4096)
    {
    }

    void read()
    {
        prepare(parser_);
        expect(stream_);
        http::async_read(stream_, buffer_, *parser_,
            [this](error_code ec, std::size_t)
            {
                if (ec)
                    delete this;
                else
                    write();
            });
    }

private:
    void write()
    {
        answer_.emplace(respond(parser_->get()));
        serializer_.emplace(*answer_);
        http::async_write(stream_, *serializer_,
            [this](error_code ec, std::size_t)
            {
                if (ec || !answer_->keep_alive())
                    delete this;
                else
                    read();
            });
    }

    Stream stream_;
    beast::flat_buffer buffer_;
    std::optional<parser> parser_;
    std::optional<answer> answer_;
    std::optional<http::response_serializer<answer::body_type>> serializer_;
};

template <class Start>
void accept(acceptor& a, Start start)
{
    a.async_accept(
        [&a, start](error_code ec, tcp_socket s)
        {
            if (!ec)
            {
                s.set_option(tcp::no_delay(true));
                start(std::move(s));
            }
            accept(a, start);
        });
}

template <class Start>
void serve(Start start)
{
    asio::io_context io(1);
    acceptor a(io.get_executor(), tcp::endpoint(asio::ip::address_v4::loopback(), 0));
    bench_http::print_port(a.local_endpoint().port());
    accept(a, start);
    io.run();
}

template <class Stream>
void serve_callbacks()
{
    serve([](tcp_socket s) { (new session<Stream>(std::move(s)))->read(); });
}

// -- coroutines

constexpr auto await = asio::as_tuple(asio::use_awaitable_t<executor>());

asio::awaitable<void, executor> converse(limited_stream stream)
{
    beast::flat_buffer buffer(bench_http::header_limit + 4096);
    for (bool more = true; more;)
    {
        std::optional<parser> p;
        prepare(p);
        expect(stream);
        if (auto [ec, n] = co_await http::async_read(stream, buffer, *p, await); ec)
            break;
        answer a = respond(p->get());
        http::response_serializer<answer::body_type> serializer(a);
        if (auto [ec, n] = co_await http::async_write(stream, serializer, await); ec)
            break;
        more = a.keep_alive();
    }
}

void serve_coroutines()
{
    serve(
        [](tcp_socket s)
        {
            auto const ex = s.get_executor();
            asio::co_spawn(ex, converse(limited_stream(std::move(s))), asio::detached);
        });
}

} // namespace

bench_http::server const bench_http::beast_callbacks{
    "beast_callbacks", serve_callbacks<limited_stream>};
bench_http::server const bench_http::beast_callbacks_without_limits{
    "beast_callbacks_without_limits", serve_callbacks<tcp_socket>};
bench_http::server const bench_http::beast_coroutines{"beast_coroutines", serve_coroutines};
