// The example http_server, as it is.

#include "http.hpp"

#include "http_session.hpp"

#include <polyloop.hpp>

#include <boost/asio/ip/address_v4.hpp>
#include <boost/asio/ip/tcp.hpp>

namespace
{

void serve()
{
    http_service service{
        .what = resources(),
        .header_limit = bench_http::header_limit,
        .body_limit = bench_http::body_limit,
        .request_limit = bench_http::limit,
        .idle_limit = bench_http::limit,
    };
    polyloop::run([&] {
        auto server = polyloop::start_server({boost::asio::ip::address_v4::loopback(), 0},
            [&](polyloop::tcp_stream connection) {
                connection.set_option(boost::asio::ip::tcp::no_delay(true));
                if (serve_requests(connection, connection, service))
                    close_gently(connection);
            });
        bench_http::print_port(server.endpoint().port());
        server.serve_forever();
    });
}

} // namespace

bench_http::server const bench_http::polyloop_streams{"polyloop_streams", serve};
