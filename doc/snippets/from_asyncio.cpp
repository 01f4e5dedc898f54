// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// What doc/from_asyncio.adoc shows; ends with 0 if all of it behaves as the page says.

#include <polyloop.hpp>

#include <boost/asio/read.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <mutex>
#include <queue>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <sys/socket.h>
#include <unistd.h>

using namespace std::chrono_literals;
namespace asio = boost::asio;

void expect(bool right, std::string_view what)
{
    if (right)
        return;
    std::cerr << "not so: " << what << '\n';
    std::exit(1);
}

int fetch()
{
    polyloop::this_fiber::sleep_for(1ms);
    return 42;
}

// -- runs ----------------------------------------------------------------------------------

void runs()
{
    // tag::run[]
    int const result = polyloop::run(fetch); // asyncio.run(fetch())

    polyloop::runner runner; // with asyncio.Runner() as runner:
    runner.run(fetch);
    runner.run(fetch);
    runner.close();
    // end::run[]
    expect(result == 42, "run gives the result");

    // tag::options[]
    polyloop::run_options options;
    options.debug = true;                // debug=True
    options.signals = {SIGINT, SIGTERM}; // asyncio handles SIGINT alone
    options.shutdown_timeout = 5s;       // asyncio waits for ever
    polyloop::run(fetch, options);
    // end::options[]

    // tag::factory[]
    // with asyncio.Runner(loop_factory=...) as runner:
    polyloop::run(fetch, {.loop_factory = [] {
        return std::make_shared<polyloop::event_loop>(
            polyloop::loop_options{.spin = 20us});
    }});
    // end::factory[]
}

void by_hand()
{
    // tag::loop[]
    auto const loop = polyloop::new_event_loop(); // asyncio.new_event_loop()
    polyloop::set_event_loop(loop);               // asyncio.set_event_loop(loop)
    polyloop::run_until_complete(*loop, fetch);   // loop.run_until_complete(fetch())
    loop->call_soon([&] { loop->stop(); });       // loop.call_soon(loop.stop)
    loop->run_forever();                          // loop.run_forever()
    polyloop::set_event_loop(nullptr);            // asyncio.set_event_loop(None)
    loop->close();                                // loop.close()
    // end::loop[]
    expect(loop->is_closed(), "a loop by hand");
}

void interrupted()
{
    // tag::interrupted[]
    try
    {
        polyloop::run([] {
            ::raise(SIGINT); // the user's Ctrl-C
            try
            {
                polyloop::this_fiber::sleep_for(1h);
            }
            catch (boost::system::system_error const&) // except asyncio.CancelledError:
            {
                // clean up; it may wait
                throw; // raise
            }
        });
    }
    catch (boost::system::system_error const& e) // except KeyboardInterrupt:
    {
        expect(e.code() == polyloop::error::interrupted, "SIGINT interrupts");
    }
    // end::interrupted[]
}

// -- tasks ---------------------------------------------------------------------------------

void tasks()
{
    polyloop::run([] {
        // tag::tasks[]
        auto task = polyloop::spawn(fetch, {.name = "fetcher", .key = {}}); // create_task
        int const got = task.join();                                        // await task
        // end::tasks[]
        expect(got == 42 && task.done() && task.name() == "fetcher", "a task");

        // tag::cancel[]
        auto sleeper = polyloop::spawn([] { polyloop::this_fiber::sleep_for(1h); });
        polyloop::this_fiber::yield(); // await asyncio.sleep(0)
        sleeper.cancel();              // sleeper.cancel()
        sleeper.join_for(1s);          // await asyncio.wait([sleeper], timeout=1)
        bool const cancelled = sleeper.cancelled();
        // end::cancel[]
        expect(cancelled, "a cancelled task");

        // tag::timeout[]
        try
        {
            // async with asyncio.timeout(0.001): await asyncio.sleep(3600)
            polyloop::timeout(1ms, [] { polyloop::this_fiber::sleep_for(1h); });
        }
        catch (boost::system::system_error const& e) // except TimeoutError:
        {
            expect(e.code() == asio::error::timed_out, "a timeout");
        }
        // end::timeout[]

        // tag::gather[]
        auto [a, b] = polyloop::gather(polyloop::spawn(fetch), polyloop::spawn(fetch));

        std::vector<polyloop::task<int>> all;
        for (int i = 0; i != 3; ++i)
            all.push_back(polyloop::spawn(fetch));
        auto [done, pending] =
            polyloop::wait(all, 1s, polyloop::return_when::first_completed);
        // end::gather[]
        expect(
            a + b == 84 && !done.empty() && done.size() + pending.size() == 3, "gather");

        // tag::group[]
        polyloop::with_task_group([](polyloop::task_group& group) {
            (void)group.spawn(fetch); // async with asyncio.TaskGroup() as group:
            (void)group.spawn(fetch); //     group.create_task(fetch())
        });
        // end::group[]

        // tag::shield[]
        int const kept = polyloop::shield(fetch); // await asyncio.shield(fetch())
        auto const me = polyloop::this_fiber::current_task(); // asyncio.current_task()
        // end::shield[]
        expect(kept == 42 && me.valid(), "shield");

        // tag::thread[]
        int const elsewhere = polyloop::to_thread([] { return 7; }).join();
        int const there = polyloop::get_running_loop().run_in_executor(
            [] { return 8; }, polyloop::use_fiber);
        // end::thread[]
        expect(elsewhere + there == 15, "threads");
    });
}

void futures()
{
    polyloop::run([] {
        auto& loop = polyloop::get_running_loop();
        // tag::future[]
        polyloop::channel<int> future(1);                    // loop.create_future()
        loop.call_later(1ms, [&] { future.try_send(42); });  // future.set_result(42)
        int const answer = future.receive();                 // await future
        // end::future[]
        expect(answer == 42, "a future");

        // tag::completed[]
        polyloop::channel<int> completed(3);
        polyloop::with_task_group([&](polyloop::task_group& group) {
            for (int i = 0; i != 3; ++i)
                (void)group.spawn([&, i] { completed.send(i); });
        });
        completed.close();
        std::vector<int> order;
        for (int const i : completed) // for i in asyncio.as_completed(...): await i
            order.push_back(i);
        // end::completed[]
        expect(order.size() == 3, "as they complete");
    });
}

void locals()
{
    // tag::locals[]
    polyloop::fiber_local<std::string> user(
        "nobody"); // ContextVar("user", default="nobody")
    polyloop::run([&] {
        auto token = user.set("ada"); // token = user.set("ada")
        auto seen = polyloop::spawn([&] { return user.get(); }); // inherited by copy
        expect(seen.join() == "ada", "context variables");
        user.reset(token); // user.reset(token)
    });
    // end::locals[]
}

asio::awaitable<int> coroutine_fetch()
{
    asio::steady_timer timer(co_await asio::this_coro::executor, 1ms);
    co_await timer.async_wait(asio::use_awaitable);
    co_return 42;
}

void coroutines()
{
    // tag::coroutine[]
    int const result = polyloop::run([]() -> asio::awaitable<int> {
        auto task = polyloop::spawn(coroutine_fetch);            // a task as any other
        co_return co_await task.async_join(asio::use_awaitable); // await task
    });
    // end::coroutine[]
    expect(result == 42, "coroutines");
}

// -- callbacks, signals, descriptors -------------------------------------------------------

void callbacks()
{
    polyloop::run([] {
        auto& loop = polyloop::get_running_loop();
        int calls = 0;
        // tag::callbacks[]
        loop.call_soon([&] { ++calls; });
        auto later = loop.call_later(1h, [&] { ++calls; });
        later.cancel();
        loop.call_at(loop.time() + 1ms, [&] { ++calls; });
        std::thread([&] { loop.call_soon_threadsafe([&] { ++calls; }); }).join();
        // end::callbacks[]
        while (calls != 3)
            polyloop::this_fiber::yield();
    });
}

void signals()
{
    polyloop::run([] {
        auto& loop = polyloop::get_running_loop();
        // tag::signals[]
        polyloop::event reload;
        loop.add_signal_handler(SIGHUP, [&] { reload.set(); });
        ::raise(SIGHUP);
        reload.wait();
        loop.remove_signal_handler(SIGHUP);
        // end::signals[]
    });
}

void descriptors()
{
    std::array<int, 2> ends;
    expect(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()) == 0, "socketpair");
    polyloop::run([&] {
        auto& loop = polyloop::get_running_loop();
        std::string text;
        // tag::descriptors[]
        polyloop::event done;
        loop.add_reader(ends[0], [&] {
            char data[64];
            auto const n = ::read(ends[0], data, sizeof(data));
            if (n > 0)
                text.append(data, static_cast<std::size_t>(n));
            if (text.ends_with('\n'))
                done.set();
        });
        // end::descriptors[]
        expect(::write(ends[1], "line\n", 5) == 5, "write");
        done.wait();
        loop.remove_reader(ends[0]);
        expect(text == "line\n", "a reader");
    });
    for (int const fd : ends)
        ::close(fd);
}

void errors()
{
    polyloop::run([] {
        auto& loop = polyloop::get_running_loop();
        std::string said;
        polyloop::event told;
        // tag::errors[]
        loop.set_exception_handler([&](polyloop::event_loop&,
                                       polyloop::exception_context const& c) {
            said = polyloop::describe(c); // or its parts: message, exception, task ...
            told.set();
        });
        (void)polyloop::spawn([] { throw std::runtime_error("never retrieved"); });
        // end::errors[]
        told.wait();
        expect(said.find("never retrieved") != said.npos, "an error nobody retrieved");
    });
}

// -- streams, synchronization --------------------------------------------------------------

void connect(asio::ip::tcp::endpoint const& where)
{
    std::string const port = std::to_string(where.port());
    // tag::connection[]
    polyloop::tcp_stream stream; // reader, writer = await asyncio.open_connection(...)
    stream.connect("127.0.0.1", port);
    asio::write(stream, asio::buffer("line\n", 5)); // writer.write(b"line\n")
    std::string line;
    asio::read_until(stream, asio::dynamic_buffer(line), '\n'); // await reader.readline()
    stream.close();                                             // writer.close()
    // end::connection[]
    expect(line == "line\n", "a connection");
}

void local_streams()
{
    std::string const path = "/tmp/polyloop-" + std::to_string(::getpid());
    ::unlink(path.c_str());
    polyloop::run([&] {
        // tag::unix[]
        polyloop::local_listener listener(path); // await asyncio.start_unix_server(...)
        auto serving = polyloop::spawn([&] {
            polyloop::local_stream peer = listener.accept();
            asio::write(peer, asio::buffer("hello", 5));
        });
        polyloop::local_stream stream; // await asyncio.open_unix_connection(path)
        stream.connect(path);
        std::array<char, 5> word;
        asio::read(stream, asio::buffer(word)); // await reader.readexactly(5)
        // end::unix[]
        serving.join();
        expect(std::string_view(word.data(), 5) == "hello", "a local stream");
    });
    ::unlink(path.c_str());
}

void datagrams()
{
    polyloop::run([] {
        // tag::datagram[]
        asio::ip::udp::endpoint const any(asio::ip::address_v4::loopback(), 0);
        polyloop::udp_socket here(any), there(any); // await loop.create_datagram_endpoint(...)
        here.send_to(asio::buffer("ping", 4), there.local_endpoint());
        std::array<char, 16> data;
        asio::ip::udp::endpoint from;
        auto const n = there.receive_from(asio::buffer(data), from);
        // end::datagram[]
        expect(n == 4 && from == here.local_endpoint(), "datagrams");
    });
}

void streams()
{
    polyloop::run([] {
        // tag::streams[]
        auto server = polyloop::start_server( // await asyncio.start_server(...)
            {asio::ip::address_v4::loopback(), 0}, [](polyloop::tcp_stream peer) {
                char data[64];
                while (auto n = peer.read_some(asio::buffer(data)))
                    asio::write(peer, asio::buffer(data, n));
            });
        // end::streams[]
        connect(server.endpoint());
        // tag::streams[]
        server.close();       // server.close()
        server.wait_closed(); // await server.wait_closed()
        // end::streams[]
    });
}

void synchronization()
{
    polyloop::run([] {
        // tag::sync[]
        polyloop::channel<int> queue(10); // asyncio.Queue(10)
        polyloop::semaphore permits(2);   // asyncio.Semaphore(2)
        polyloop::mutex lock;             // asyncio.Lock()
        auto producer = polyloop::spawn([&] {
            for (int i = 0; i != 3; ++i)
                queue.send(i); // await queue.put(i)
            queue.close();
        });
        int sum = 0;
        for (int const i : queue) // until it is closed and empty
        {
            permits.acquire();
            std::lock_guard const held(lock); // async with lock:
            sum += i;
            permits.release();
        }
        // end::sync[]
        producer.join();
        expect(sum == 3, "synchronization");
    });
}

void queues()
{
    polyloop::run([] {
        // tag::priority[]
        std::priority_queue<int> items; // asyncio.PriorityQueue()
        polyloop::mutex lock;
        polyloop::condition_variable changed;
        auto receiver = polyloop::spawn([&] {
            std::unique_lock held(lock);
            changed.wait(held, [&] { return items.size() == 2; });
            return items.top();
        });
        for (int const i : {7, 3})
        {
            std::lock_guard const held(lock);
            items.push(i);
            changed.notify_one();
        }
        // end::priority[]
        expect(receiver.join() == 7, "a priority queue");

        // tag::barrier[]
        polyloop::barrier start(2); // asyncio.Barrier(2)
        auto other = polyloop::spawn([&] { return start.wait(); });
        auto const place = start.wait(); // await start.wait()
        // end::barrier[]
        expect(place + other.join() == 1, "a barrier");
    });
}

// -- policies ------------------------------------------------------------------------------

// tag::policy[]
class my_policy : public polyloop::default_policy // asyncio.DefaultEventLoopPolicy
{
public:
    std::shared_ptr<polyloop::event_loop> new_event_loop() override
    {
        return std::make_shared<polyloop::event_loop>(
            polyloop::loop_options{.name = "mine"});
    }
};
// end::policy[]

void policies()
{
    // tag::set_policy[]
    polyloop::set_event_loop_policy(std::make_shared<my_policy>());
    auto const policy = polyloop::get_event_loop_policy();
    // end::set_policy[]
    expect(policy &&
            polyloop::run([] { return polyloop::get_running_loop().name(); }) == "mine",
        "a policy");
    polyloop::set_event_loop_policy(nullptr);
}

int main()
{
    runs();
    by_hand();
    interrupted();
    tasks();
    futures();
    locals();
    coroutines();
    callbacks();
    signals();
    descriptors();
    errors();
    streams();
    local_streams();
    datagrams();
    synchronization();
    queues();
    policies();
}
