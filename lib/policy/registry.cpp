// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/policy/registry.hpp>

#include <polyloop/context/detail/fork.hpp>
#include <polyloop/policy/default_policy.hpp>
#include <polyloop/policy/pool_policy.hpp>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <mutex>
#include <utility>

namespace polyloop {
namespace {

constexpr std::string_view blanks = " \t";
constexpr unsigned most_loops = 1024;

[[noreturn]] void bad(std::string const& what)
{
    detail::throw_error(error::bad_config, what);
}

template <class Range>
std::string listed(Range const& words)
{
    std::string out;
    for (auto const& w : words)
        out += (out.empty() ? "" : ", ") + std::string(w);
    return out;
}

std::vector<std::string_view> split(std::string_view text)
{
    std::vector<std::string_view> words;
    for (std::size_t at = 0; (at = text.find_first_not_of(blanks, at)) != text.npos;)
    {
        std::size_t const end = std::min(text.find_first_of(blanks, at), text.size());
        words.push_back(text.substr(at, end - at));
        at = end;
    }
    return words;
}

struct named_strategy
{
    std::string_view name;
    placement::strategy (*make)();
};

constexpr named_strategy strategies[] = {
    {"round_robin", [] { return placement::strategy(placement::round_robin()); }},
    {"least_tasks", [] { return placement::strategy(placement::least_tasks()); }},
    {"two_choices", [] { return placement::strategy(placement::two_choices()); }},
    {"by_key", [] { return placement::strategy(placement::by_key()); }},
    {"same_loop", [] { return placement::strategy(placement::same_loop()); }},
};

placement::strategy strategy(policy_words& words)
{
    std::string const name = words.word("placement", "round_robin");
    std::vector<std::string_view> known;
    for (auto const& s : strategies)
    {
        if (s.name == name)
            return s.make();
        known.push_back(s.name);
    }
    bad("\"placement=" + name + "\": no such placement; known are " + listed(known));
}

pool_options pool(policy_words& words)
{
    pool_options o;
    o.loops = words.number("loops", 0, 1, most_loops);
    o.pin = words.flag("pin", false);
    return o;
}

struct known
{
    std::mutex mutex;
    std::map<std::string, policy_factory, std::less<>> factories{
        {"default", [](policy_words&) { return std::make_shared<default_policy>(); }},
        {"selector", [](policy_words&) { return std::make_shared<selector_policy>(); }},
        {"proactor", [](policy_words&) { return std::make_shared<proactor_policy>(); }},
        {"strand",
         [](policy_words& w) {
             pool_options o = pool(w);
             return std::make_shared<strand_policy>(std::move(o), strategy(w));
         }},
        {"fiber",
         [](policy_words& w) {
             pool_options o = pool(w);
             return std::make_shared<fiber_policy>(std::move(o), strategy(w));
         }},
        {"shared", [](policy_words& w) { return std::make_shared<shared_policy>(pool(w)); }},
    };
    // A child finds it unlocked and whole.
    detail::fork_listener forks{&mutex,
                                {[](void* m) noexcept { static_cast<std::mutex*>(m)->lock(); },
                                 [](void* m) noexcept { static_cast<std::mutex*>(m)->unlock(); },
                                 nullptr}};
};

known& all()
{
    static known* const k = new known; // static destructors may still make policies
    return *k;
}

} // namespace

policy_words::policy_words(std::string name, map values)
    : name_(std::move(name)), values_(std::move(values))
{
}

std::string const* policy_words::find(std::string_view key)
{
    asked_.emplace_back(key);
    auto const found = values_.find(key);
    return found == values_.end() ? nullptr : &found->second;
}

void policy_words::refuse(std::string_view key, std::string const& value,
                          std::string const& what) const
{
    bad("\"" + std::string(key) + '=' + value + "\" in policy \"" + name_ + "\": " + what);
}

unsigned policy_words::number(std::string_view key, unsigned otherwise, unsigned least,
                              unsigned most)
{
    std::string const* const v = find(key);
    if (!v)
        return otherwise;
    unsigned n = 0;
    auto const [end, ec] = std::from_chars(v->data(), v->data() + v->size(), n);
    if (ec != std::errc() || end != v->data() + v->size() || n < least || n > most)
        refuse(key, *v,
               "must be a whole number from " + std::to_string(least) + " to " +
                   std::to_string(most));
    return n;
}

bool policy_words::flag(std::string_view key, bool otherwise)
{
    std::string const* const v = find(key);
    if (!v)
        return otherwise;
    if (*v == "on" || *v == "true" || *v == "1")
        return true;
    if (*v == "off" || *v == "false" || *v == "0")
        return false;
    refuse(key, *v, "must be on or off");
}

std::string policy_words::word(std::string_view key, std::string otherwise)
{
    std::string const* const v = find(key);
    return v ? *v : std::move(otherwise);
}

void policy_words::finish() const
{
    for (auto const& [key, value] : values_)
        if (std::find(asked_.begin(), asked_.end(), key) == asked_.end())
            refuse(key, value,
                   asked_.empty() ? "it takes no options"
                                  : "no such option; known are " + listed(asked_));
}

std::shared_ptr<event_loop_policy> make_policy(std::string_view text)
{
    std::vector<std::string_view> const words = split(text);
    if (words.empty())
        bad("the policy's text is empty; known are " + listed(known_policies()));
    std::string const name(words.front());
    policy_factory factory;
    {
        std::lock_guard const lock(all().mutex);
        if (auto const found = all().factories.find(name); found != all().factories.end())
            factory = found->second;
    }
    if (!factory)
        bad("\"" + name + "\": no such policy; known are " + listed(known_policies()));
    policy_words::map values;
    for (std::string_view const w : std::span(words).subspan(1))
    {
        std::size_t const equals = w.find('=');
        if (equals == 0 || equals == w.npos || equals + 1 == w.size())
            bad("\"" + std::string(w) + "\" in policy \"" + name +
                "\": options have the form key=value");
        if (!values.emplace(w.substr(0, equals), w.substr(equals + 1)).second)
            bad("\"" + std::string(w) + "\" in policy \"" + name + "\": the key is given twice");
    }
    policy_words given(name, std::move(values));
    std::shared_ptr<event_loop_policy> policy = factory(given);
    given.finish();
    if (!policy)
        bad("the factory of policy \"" + name + "\" gave null");
    return policy;
}

void register_policy(std::string name, policy_factory factory)
{
    constexpr std::string_view letters = "abcdefghijklmnopqrstuvwxyz0123456789_-";
    if (name.empty() || name.find_first_not_of(letters) != name.npos)
        bad("\"" + name + "\": a policy's name has lower case letters, digits, _ and -");
    if (!factory)
        bad("the factory of policy \"" + name + "\" is empty");
    std::lock_guard const lock(all().mutex);
    if (!all().factories.try_emplace(name, std::move(factory)).second)
        bad("\"" + name + "\": a policy of that name is known already");
}

std::vector<std::string> known_policies()
{
    std::vector<std::string> names;
    std::lock_guard const lock(all().mutex);
    for (auto const& [name, factory] : all().factories)
        names.push_back(name);
    return names;
}

std::shared_ptr<event_loop_policy> policy_from_environment()
{
    char const* const text = std::getenv("POLYLOOP_POLICY");
    if (!text || split(text).empty())
        return std::make_shared<default_policy>();
    try
    {
        return make_policy(text);
    }
    catch (boost::system::system_error const& e)
    {
        // The message with the variable that it came from, and the original code.
        std::string what = e.what();
        std::string const suffix = ": " + e.code().what();
        if (what.ends_with(suffix))
            what.resize(what.size() - suffix.size());
        throw boost::system::system_error(e.code(), "POLYLOOP_POLICY: " + what);
    }
}

} // namespace polyloop
