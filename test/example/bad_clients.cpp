// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// example/http_server and clients that mean it no good. After each of them it serves, and holds no
// more descriptors and hardly more memory than before.
#define BOOST_TEST_MODULE example_bad_clients

#include "support/clients.hpp"
#include "support/process.hpp"
#include "support/sanitizers.hpp"
#include "support/seeds.hpp"

#include <polyloop/loop/backend.hpp>

#include <boost/asio/error.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <fstream>
#include <functional>
#include <iterator>
#include <list>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace asio = boost::asio;
namespace data = boost::unit_test::data;
using namespace std::chrono_literals;
using test::contains;
using test::process;
using test::raw_client;

namespace {

std::string const policies[] = {"default", "fiber loops=2", "shared loops=2"};
std::string const get = "GET / HTTP/1.1\r\nHost: here\r\n\r\n";

#if defined(POLYLOOP_TEST_ASAN)
// The checks of vptr that come along with it look at memory through a pipe. Where there is no
// descriptor for that they take good objects for bad ones.
constexpr bool descriptors_run_out = false;
#else
constexpr bool descriptors_run_out = true;
#endif

/// What /proc tells of a process.
long status_field(process const& p, std::string const& field)
{
    std::ifstream in("/proc/" + std::to_string(p.pid()) + "/status");
    for (std::string word; in >> word;)
        if (word == field + ':')
        {
            long n = 0;
            in >> n;
            return n;
        }
    throw std::runtime_error("the process is gone");
}
long resident_kib(process const& p)
{
    return status_field(p, "VmRSS");
}
std::chrono::duration<double> processor_time(process const& p)
{
    std::ifstream in("/proc/" + std::to_string(p.pid()) + "/stat");
    std::string const text(std::istreambuf_iterator<char>(in), {});
    std::istringstream rest(text.substr(text.rfind(')') + 2));
    std::vector<std::string> const words(std::istream_iterator<std::string>(rest), {});
    double const ticks = std::stod(words.at(11)) + std::stod(words.at(12));
    return std::chrono::duration<double>(ticks / static_cast<double>(::sysconf(_SC_CLK_TCK)));
}

/// A server that may have `descriptors`, with what it says of errors in a file, as that may be more
/// than a pipe takes.
class server
{
  public:
    explicit server(process::arguments args, unsigned descriptors = 4096)
        : program_("/bin/sh", with_limit(std::move(args), descriptors)),
          where_(test::listening(program_))
    {
        for (int i = 0; i != 32; ++i) // what a loop needs once each has now
            BOOST_TEST(serves());
        BOOST_TEST(test::eventually([&] { return test::open_descriptors(program_) < 100; }));
        // All connections are over where the server says so; here it is asked by its descriptors.
        settled_ = settled_descriptors();
    }

    /// Whether a client of its own has its answer.
    bool serves() const
    {
        raw_client client(where_);
        client.send("GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
        return contains(client.read_all(), "on fibers.\n");
    }

    void check_unharmed()
    {
        BOOST_TEST(serves());
        BOOST_TEST(test::eventually([&] { return test::open_descriptors(program_) <= settled_; }));
    }
    void stop()
    {
        check_unharmed();
        program_.signal(SIGTERM);
        BOOST_TEST(program_.wait() == 0);
        BOOST_TEST(contains(program_.out(), "stopped\n"));
    }

    std::string errors() const
    {
        std::ifstream in(files_ / "err");
        return std::string(std::istreambuf_iterator<char>(in), {});
    }

    /// Waits for it.
    bool complains(std::string const& what) const
    {
        return test::eventually([&] { return contains(errors(), what); });
    }

    process& program()
    {
        return program_;
    }
    asio::ip::tcp::endpoint const& where() const
    {
        return where_;
    }

  private:
    process::arguments with_limit(process::arguments args, unsigned descriptors)
    {
        args.insert(args.begin(),
                    {"-c", "ulimit -n \"$1\" && exec 2> \"$2\" && shift 2 && exec \"$0\" \"$@\"",
                     test::example("http_server"), std::to_string(descriptors), files_ / "err"});
        return args;
    }
    /// The least it has been seen with, once it stays there.
    std::size_t settled_descriptors() const
    {
        std::size_t least = test::open_descriptors(program_);
        for (int same = 0; same != 20; ++same)
        {
            std::this_thread::sleep_for(5ms);
            std::size_t const now = test::open_descriptors(program_);
            if (now < least)
                same = 0;
            least = std::min(least, now);
        }
        return least;
    }

    test::temporary_directory const files_;
    process program_;
    asio::ip::tcp::endpoint where_;
    std::size_t settled_ = 0;
};

/// Whether the connection has ended, without waiting; what came is thrown away.
bool ended(raw_client& c)
{
    char rest[1024];
    for (;;)
    {
        auto const n = ::recv(c.socket().native_handle(), rest, sizeof rest, MSG_DONTWAIT);
        if (n <= 0)
            return n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
    }
}

void send_garbage(server& s, test::engine& random)
{
    std::list<raw_client> clients;
    for (int i = 0; i != 300; ++i)
    {
        raw_client& c = clients.emplace_back(s.where());
        std::string bytes(1 + random() % 20000, '\0');
        for (char& b : bytes)
            b = static_cast<char>(random());
        if (i % 3 == 0) // the beginning makes sense
            bytes.insert(0, get, 0, random() % get.size());
        c.send(bytes);
        if (i % 50 == 0)
            BOOST_TEST(s.serves());
    }
    for (raw_client& c : clients)
        c.read_all();
}

} // namespace

BOOST_DATA_TEST_CASE(garbage, data::make(policies), policy)
{
    server s({"--policy", policy, "--limit-request", "0.3"});
    test::for_seeds(1, std::bind_front(send_garbage, std::ref(s)));
    s.stop();
    BOOST_TEST(s.errors() == "");
}

BOOST_DATA_TEST_CASE(headers_without_end, data::make(policies), policy)
{
    server s({"--policy", policy, "--limit-header", "2000"});
    for (std::string const line : {"X: y\r\n", "X", "\r\n"})
    {
        std::vector<std::unique_ptr<raw_client>> clients;
        for (int i = 0; i != 20; ++i)
            clients.push_back(std::make_unique<raw_client>(s.where()));
        for (auto& c : clients)
            c->send("GET / HTTP/1.1\r\n");
        std::string many;
        while (many.size() < 500)
            many += line;
        for (auto& c : clients)
            while (c->send(many) && !ended(*c))
                ;
        BOOST_TEST(s.serves());
    }
    s.stop();
    BOOST_TEST(s.errors() == "");
}

BOOST_DATA_TEST_CASE(a_byte_now_and_then, data::make(policies), policy)
{
    server s({"--policy", policy, "--limit-request", "0.3"});
    std::string const slow = "GET / HTTP/1.1\r\nX: " + std::string(100000, 'x');
    std::list<raw_client> clients;
    for (int i = 0; i != 100; ++i)
        clients.emplace_back(s.where());
    for (std::size_t at = 0; !clients.empty(); ++at)
    {
        BOOST_TEST_REQUIRE(at < 1000u); // some twenty seconds
        for (auto c = clients.begin(); c != clients.end();)
            c = ended(*c) || !c->send(slow.substr(at, 1)) ? clients.erase(c) : std::next(c);
        BOOST_TEST(s.serves());
        std::this_thread::sleep_for(20ms);
    }
    s.stop();
    BOOST_TEST(s.errors() == "");
}

BOOST_DATA_TEST_CASE(an_answer_that_nobody_reads, data::make(policies), policy)
{
    server s({"--policy", policy, "--limit-request", "0.3", "--limit-body", "100000000"});
    std::size_t const size = 30000000; // more than the system keeps for a connection
    std::string const asked =
        "POST /echo HTTP/1.1\r\nHost: here\r\nContent-Length: " + std::to_string(size) +
        "\r\n\r\n" + std::string(size, 'x');
    raw_client c(s.where(), 4096);
    c.send(asked);
    // The end cannot be seen without reading: it is seen by the server's descriptors.
    s.check_unharmed();
    BOOST_TEST(c.read_all().size() < size);
    s.stop();
    BOOST_TEST(s.errors() == "");
}

BOOST_DATA_TEST_CASE(resets_at_every_moment, data::make(policies), policy)
{
    server s({"--policy", policy, "--limit-request", "1"});
    std::string const whole = get +
                              "POST /echo HTTP/1.1\r\nHost: here\r\nContent-Length: 3\r\n"
                              "Expect: 100-continue\r\n\r\nabc" +
                              get;
    for (std::size_t n = 0; n <= whole.size(); ++n)
    {
        raw_client at_once(s.where()), after_an_answer(s.where()), in_two(s.where());
        at_once.send(whole.substr(0, n));
        at_once.reset();
        if (n >= get.size())
        {
            after_an_answer.send(whole.substr(0, n));
            after_an_answer.read(1);
            after_an_answer.reset();
            in_two.send(get);
            in_two.read(1);
            in_two.send(whole.substr(get.size(), n - get.size()));
            in_two.reset();
        }
    }
    BOOST_TEST(s.serves());
    // While a long answer is on its way.
    std::string const asked =
        "POST /echo HTTP/1.1\r\nHost: here\r\nContent-Length: 1000000\r\n\r\n" +
        std::string(1000000, 'x');
    for (std::size_t n = 1; n < 1000000; n += 50000)
    {
        raw_client c(s.where(), 4096);
        c.send(asked);
        c.read(n);
        c.reset();
    }
    s.stop();
    BOOST_TEST(s.errors() == "");
}

BOOST_DATA_TEST_CASE(half_open_connections, data::make(policies), policy)
{
    server s({"--policy", policy, "--limit-request", "0.3", "--limit-idle", "0.3"});
    std::string const whole =
        get + "POST /echo HTTP/1.1\r\nHost: here\r\nContent-Length: 3\r\n\r\nabc";
    // Those that end their side only, at every moment.
    for (std::size_t n = 0; n <= whole.size(); ++n)
    {
        raw_client c(s.where());
        c.send(whole.substr(0, n));
        c.shutdown_send();
        auto const answers = test::count(c.read_all(), "HTTP/1.1 200 OK");
        BOOST_TEST(answers == (n == whole.size() ? 2u : n >= get.size() ? 1u : 0u));
        BOOST_TEST(c.end() == asio::error::eof);
    }
    // Those of which nothing is heard again.
    std::list<raw_client> silent;
    for (int i = 0; i != 200; ++i)
        silent.emplace_back(s.where()).send(whole.substr(0, static_cast<std::size_t>(i) % 60));
    BOOST_TEST(s.serves());
    s.check_unharmed();
    s.stop();
    BOOST_TEST(s.errors() == "");
}

BOOST_DATA_TEST_CASE(without_descriptors_it_waits_and_goes_on, data::make(policies), policy)
{
    if (!descriptors_run_out)
        return;
    server s({"--policy", policy}, 256);
    std::list<raw_client> clients;
    for (int i = 0; i != 300; ++i) // those beyond the limit wait in the system
        clients.emplace_back(s.where());
    BOOST_TEST(s.complains("cannot accept connections, and goes on trying"));

    // It has nothing to do now, and that is what it does.
    auto const begin = processor_time(s.program());
    std::this_thread::sleep_for(500ms);
    BOOST_TEST((processor_time(s.program()) - begin).count() < 0.1);

    // Those that are in are served.
    for (int i = 0; i != 3; ++i)
    {
        clients.front().send(get);
        BOOST_TEST(contains(clients.front().read_to("on fibers.\n"), "200 OK"));
    }
    // One that goes makes room for one that waits.
    clients.pop_front();
    clients.back().send(get);
    while (clients.size() > 46)
        clients.pop_front();
    BOOST_TEST(contains(clients.back().read_to("on fibers.\n"), "200 OK"));
    BOOST_TEST(contains(s.errors(), "accepts connections again"));
    clients.clear();
    s.stop();
}

namespace {

/// Processes of their own, which open connections and say nothing on them.
class flood
{
  public:
    flood(asio::ip::tcp::endpoint const& to, unsigned processes, unsigned connections)
    {
        int reports[2], ends[2];
        BOOST_TEST_REQUIRE(::pipe2(reports, O_CLOEXEC) == 0);
        BOOST_TEST_REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
        for (unsigned i = 0; i != processes; ++i)
        {
            pid_t const pid = ::fork();
            BOOST_TEST_REQUIRE(pid != -1);
            if (pid == 0)
            {
                ::close(ends[1]);
                unsigned const n = connect(to.port(), i, connections);
                if (::write(reports[1], &n, sizeof n) == sizeof n)
                    while (::read(ends[0], &reports, 1) > 0)
                        ;
                ::_exit(0); // and all its connections end
            }
            children_.push_back(pid);
        }
        ::close(reports[1]);
        ::close(ends[0]);
        reports_ = reports[0];
        end_ = ends[1];
    }
    ~flood()
    {
        ::close(end_);
        for (pid_t const pid : children_)
            ::waitpid(pid, nullptr, 0);
        ::close(reports_);
    }
    flood(flood const&) = delete;
    flood& operator=(flood const&) = delete;

    /// How many were connected in the end; 0 as long as not all processes are at theirs.
    unsigned connected()
    {
        pollfd ready{reports_, POLLIN, 0};
        unsigned n = 0;
        while (finished_ != children_.size() && ::poll(&ready, 1, 0) > 0)
        {
            // At the end of all: one of them has died.
            if (::read(reports_, &n, sizeof n) != static_cast<ssize_t>(sizeof n))
                throw std::runtime_error("the flood has not come to its end");
            all_ += n;
            ++finished_;
        }
        return finished_ == children_.size() ? all_ : 0;
    }

  private:
    /// In a child, which has an address of its own, and so all ports.
    static unsigned connect(unsigned short port, unsigned child, unsigned wanted)
    {
        rlimit limit;
        ::getrlimit(RLIMIT_NOFILE, &limit);
        limit.rlim_cur = limit.rlim_max;
        ::setrlimit(RLIMIT_NOFILE, &limit);
        auto address = [](unsigned host, unsigned short number) {
            sockaddr_in a{};
            a.sin_family = AF_INET;
            a.sin_addr.s_addr = htonl(INADDR_LOOPBACK + host);
            a.sin_port = htons(number);
            return a;
        };
        sockaddr_in const from = address(1 + child, 0), to = address(0, port);
        for (unsigned n = 0; n != wanted; ++n)
        {
            int const s = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
            if (s == -1 || ::bind(s, reinterpret_cast<sockaddr const*>(&from), sizeof from) != 0 ||
                ::connect(s, reinterpret_cast<sockaddr const*>(&to), sizeof to) != 0)
            {
                return n;
            }
        }
        return wanted;
    }

    int reports_, end_;
    std::vector<pid_t> children_;
    std::size_t finished_ = 0;
    unsigned all_ = 0;
};

#if defined(POLYLOOP_TEST_ASAN) || defined(POLYLOOP_TEST_TSAN)
// A sanitizer's server is slow, and keeps what was freed for a while.
constexpr unsigned per_process = 1250;
constexpr bool at_full_speed = false;
#else
constexpr unsigned per_process = 5000;
constexpr bool at_full_speed = true;
#endif

} // namespace

BOOST_DATA_TEST_CASE(a_flood_of_connections, data::make(policies), policy)
{
    // Many more wait to be accepted than there are descriptors until one is given up.
    server s({"--policy", policy, "--limit-idle", at_full_speed ? "0.08" : "0.5",
              "--limit-connections", descriptors_run_out ? "0" : "900"},
             1000);
    long const at_first = resident_kib(s.program());
    long after_a_part = 0;
    for (unsigned const part : {per_process / 8, per_process})
    {
        flood f(s.where(), 4, part);
        do // at least once, also where this process comes to it after the flood
            BOOST_TEST(s.serves());
        while (f.connected() == 0);
        BOOST_TEST(f.connected() == 4 * part);
        BOOST_TEST(s.serves());
        s.check_unharmed(); // although the clients are still there
        if (after_a_part == 0)
            after_a_part = resident_kib(s.program());
        // It had all that it can have. On select it does not come to that, being slower.
        if (at_full_speed && polyloop::current_backend() != polyloop::backend::select)
            BOOST_TEST(contains(s.errors(), "Too many open files"));
    }
    if (at_full_speed)
    {
        // A loop keeps what its connections took when they were most. The system spreads them as
        // chance will have it: each of two loops may once have had all, not only half of them.
        long const spread = policy == "fiber loops=2" ? after_a_part - at_first : 0;
        BOOST_TEST(resident_kib(s.program()) < after_a_part + spread + 8192);
    }
    BOOST_TEST(s.errors().size() < 100'000u);
    s.stop();
}
