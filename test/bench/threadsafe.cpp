// Another thread, on another core, queues callbacks as fast as it can, at most so many
// ahead of the loop, which runs them. One operation is one callback, in the time that
// passes on the clock. The counters: what the other thread calls the system for, and how
// often the loop looks for events, which is once for each batch of callbacks.

#include "bench.hpp"
#include "calls.hpp"

#include <polyloop/loop/event_loop.hpp>

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <uv.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace
{

namespace asio = boost::asio;

class load
{
public:
    static constexpr std::uint64_t ahead = 4096;
    static constexpr std::uint64_t round = 1024;

    explicit load(benchmark::State& state)
        : state_(state)
    {
    }

    /// The callback, on the loop's thread. Says once that it is enough.
    bool ran()
    {
        if (stop_.load(std::memory_order_relaxed))
            return false;
        if (count_ % round == 0 && !state_.KeepRunningBatch(round))
        {
            stop_.store(true, std::memory_order_relaxed);
            return true;
        }
        if (++count_ % 64 == 0)
            done_.store(count_, std::memory_order_release);
        return false;
    }

    bool stopped() const { return stop_.load(std::memory_order_relaxed); }

    /// Runs `loop()` here and calls `post()` from the other thread until it is enough.
    template <class Post, class Loop>
    void run(Post post, Loop loop)
    {
        bench::call_counts producer;
        std::thread other(
            [&]
            {
                bench::pin_to_core(bench::other_core());
                for (std::uint64_t sent = 0; !stopped(); ++sent)
                {
                    while (sent - done_.load(std::memory_order_acquire) >= ahead &&
                        !stopped())
                        __builtin_ia32_pause();
                    post();
                }
                producer = bench::calls;
            });
        bench::call_counts const before = bench::calls;
        loop();
        other.join();
        auto const batches = static_cast<double>(bench::calls.waits - before.waits);
        auto const per = static_cast<double>(count_);
        state_.counters["batches_per_callback"] = batches / per;
        state_.counters["producer_calls_per_callback"] =
            static_cast<double>(producer.wakes) / per;
        if (batches > 0)
            state_.counters["producer_calls_per_batch"] =
                static_cast<double>(producer.wakes) / batches;
    }

private:
    benchmark::State& state_;
    std::uint64_t count_ = 0; // the loop's
    alignas(64) std::atomic<std::uint64_t> done_ = 0;
    alignas(64) std::atomic<bool> stop_ = false;
};

// -- the limit, if not a strict one: a list that is taken as a whole, and a loop that
// never waits

struct node
{
    node* next;
};

void limit(benchmark::State& state)
{
    load l(state);
    std::atomic<node*> head = nullptr;
    l.run(
        [&]
        {
            auto* const n = new node{head.load(std::memory_order_relaxed)};
            while (!head.compare_exchange_weak(
                n->next, n, std::memory_order_release, std::memory_order_relaxed))
            {
            }
        },
        [&]
        {
            while (!l.stopped())
                for (node* n = head.exchange(nullptr, std::memory_order_acquire); n;)
                {
                    l.ran();
                    delete std::exchange(n, n->next);
                }
        });
    for (node* n = head; n;)
        delete std::exchange(n, n->next);
}
BENCHMARK(limit)->Name("threadsafe/limit")->UseRealTime();

void ours(benchmark::State& state)
{
    load l(state);
    polyloop::event_loop loop;
    l.run(
        [&]
        {
            loop.call_soon_threadsafe(
                [&]
                {
                    if (l.ran())
                        loop.stop();
                });
        },
        [&] { loop.run_forever(); });
}
BENCHMARK(ours)->Name("threadsafe/polyloop")->UseRealTime();

void asio_post(benchmark::State& state)
{
    load l(state);
    bench::asio_loop io;
    // A loop that looks for events too, as those do that are worth having: without a
    // timer or a socket an io_context makes no system call.
    asio::steady_timer timer(io, std::chrono::hours(1));
    timer.async_wait([](boost::system::error_code) {});
    l.run(
        [&]
        {
            asio::post(io,
                [&]
                {
                    if (l.ran())
                        io.stop();
                });
        },
        [&] { io.run(); });
}
BENCHMARK(asio_post)->Name("threadsafe/asio_post")->UseRealTime();

// As libuv's documentation has it: a queue of one's own, and uv_async_send, which may be
// told several times for one call.
void libuv(benchmark::State& state)
{
    struct shared
    {
        load l;
        std::mutex mutex = {};
        std::vector<int> queue = {}, taken = {};
    } s{load(state)};

    uv_loop_t loop;
    uv_async_t async;
    uv_loop_init(&loop);
    uv_async_init(&loop, &async,
        [](uv_async_t* a)
        {
            auto& it = *static_cast<shared*>(a->data);
            {
                std::lock_guard const lock(it.mutex);
                it.queue.swap(it.taken);
            }
            for (std::size_t i = 0; i != it.taken.size(); ++i)
                if (it.l.ran())
                    uv_stop(a->loop);
            it.taken.clear();
        });
    async.data = &s;
    s.l.run(
        [&]
        {
            {
                std::lock_guard const lock(s.mutex);
                s.queue.push_back(0);
            }
            uv_async_send(&async);
        },
        [&] { uv_run(&loop, UV_RUN_DEFAULT); });
    uv_close(reinterpret_cast<uv_handle_t*>(&async), nullptr);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
}
BENCHMARK(libuv)->Name("threadsafe/libuv")->UseRealTime();

} // namespace
