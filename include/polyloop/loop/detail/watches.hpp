// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_LOOP_DETAIL_WATCHES_HPP
#define POLYLOOP_LOOP_DETAIL_WATCHES_HPP

#include <polyloop/loop/detail/callable.hpp>
#include <polyloop/loop/detail/loop_core.hpp>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <source_location>
#include <type_traits>
#include <utility>

namespace polyloop::detail {

class signal_watch;

/// A callable that is called again and again, with the values of who registered it (S44).
class repeated
{
  public:
    template <class F>
    static std::shared_ptr<repeated> make(F&& f, std::source_location where)
    {
        refuse_empty(f);
        auto r = std::make_shared<repeated>();
        if constexpr (std::is_copy_constructible_v<std::decay_t<F>>)
            r->f_ = std::forward<F>(f);
        else
            r->f_ = [g = std::make_shared<std::decay_t<F>>(std::forward<F>(f))] { (*g)(); };
        r->where_ = where;
        return r;
    }

    void operator()()
    {
        locals_scope const scope(locals_);
        f_();
    }
    std::source_location where() const noexcept
    {
        return where_;
    }

  private:
    std::function<void()> f_;
    locals_ptr locals_ = share_locals();
    std::source_location where_;
};

/// What a loop calls its callbacks for besides time: descriptors that are ready, and signals. They
/// are handlers of the `io_context`, and the callbacks callbacks.
class watches final : public loop_attachment
{
  public:
    enum class direction
    {
        read,
        write
    };

    /// Throws `error::loop_closed`.
    POLYLOOP_DECL static watches& of(loop_core& core);

    explicit watches(loop_core& core);
    ~watches() override;

    POLYLOOP_DECL void add(int handle, direction d, std::shared_ptr<repeated> f);
    POLYLOOP_DECL bool remove(int handle, direction d) noexcept;
    POLYLOOP_DECL void add_signal(int number, std::shared_ptr<repeated> f);
    POLYLOOP_DECL bool remove_signal(int number) noexcept;

    void closing() noexcept override;

  private:
    struct descriptor_watch;

    void on_signal(int number);
    void stop_idle(std::shared_ptr<signal_watch>& idle) noexcept;

    loop_core& core_;
    std::mutex mutex_;
    std::map<std::pair<int, direction>, std::shared_ptr<descriptor_watch>> descriptors_;
    std::map<int, std::shared_ptr<repeated>> handlers_;
    std::shared_ptr<signal_watch> signals_; // made at first need
};

} // namespace polyloop::detail

#endif
