// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_POLICY_REGISTRY_HPP
#define POLYLOOP_POLICY_REGISTRY_HPP

#include <polyloop/policy/event_loop_policy.hpp>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace polyloop {

/// The words behind a policy's name, `key=value` each, in the form in which a factory takes them.
///
/// A factory reads the keys that it knows; what it left unread is an error that names
/// the word and the keys that were asked for.
class policy_words
{
  public:
    using map = std::map<std::string, std::string, std::less<>>;

    POLYLOOP_DECL policy_words(std::string name, map values);

    /// Each throws `error::bad_config` with the word and what would be right.
    POLYLOOP_DECL unsigned number(std::string_view key, unsigned otherwise, unsigned least,
                                  unsigned most);
    POLYLOOP_DECL bool flag(std::string_view key, bool otherwise);
    POLYLOOP_DECL std::string word(std::string_view key, std::string otherwise);

    /// Throws for the first word that nobody asked for.
    POLYLOOP_DECL void finish() const;

  private:
    std::string const* find(std::string_view key);
    [[noreturn]] void refuse(std::string_view key, std::string const& value,
                             std::string const& known) const;

    std::string name_;
    map values_;
    std::vector<std::string> asked_;
};

using policy_factory = std::function<std::shared_ptr<event_loop_policy>(policy_words&)>;

/// A policy from a text as `fiber loops=4 placement=least_tasks pin=on`: a name, then words in
/// any order.
///
/// Names: `default`, `selector`, `proactor` (no words); `strand` and `fiber` (`loops`,
/// `placement`, `pin`); `shared` (`loops`: its threads, `pin`); and what was registered.
/// Placements: `round_robin`, `least_tasks`, `two_choices`, `by_key`, `same_loop`.
///
/// Throws `error::bad_config` with the offending word and what is known.
POLYLOOP_DECL std::shared_ptr<event_loop_policy> make_policy(std::string_view text);

/// Makes a policy of one's own known by name. Lower case letters, digits, `_` and `-`; a name
/// that is taken is `error::bad_config`. Thread-safe.
POLYLOOP_DECL void register_policy(std::string name, policy_factory factory);

/// What `make_policy` knows, in alphabetic order.
POLYLOOP_DECL std::vector<std::string> known_policies();

/// The policy that `POLYLOOP_POLICY` describes; unset, empty or blank is `default`.
POLYLOOP_DECL std::shared_ptr<event_loop_policy> policy_from_environment();

} // namespace polyloop

#endif
