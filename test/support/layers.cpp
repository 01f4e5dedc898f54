// The rooms stand in a line, each on the one before: a file includes only headers of its
// own room and of rooms above it, and another room's detail/ only where the table below
// says.
#define BOOST_TEST_MODULE support_layers

#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <ostream>
#include <regex>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace fs = std::filesystem;

namespace
{
struct room
{
    std::string_view name;
    int level;
};

// config.hpp, version.hpp, error.hpp and fwd.hpp lie in no room: level 0.
constexpr std::array rooms{
    room{"context", 1},
    room{"loop", 2},
    room{"policy", 3},
    room{"task", 4},
    room{"io", 5},
    room{"sync", 6},
    room{"runner", 7},
    room{"server", 8},
    room{"observe", 9},
    room{"testing", 9},
};

struct opening
{
    std::string_view from, to;
};

// Who may look into whose detail/, beside its own. The shorter, the better.
constexpr std::array detail_openings{
    opening{"loop", "context"},
    opening{"policy", "context"},
    opening{"policy", "loop"},
    opening{"task", "context"},
    opening{"runner", "context"},
    opening{"task", "loop"},
    opening{"runner", "loop"},
    opening{"runner", "task"},
    opening{"io", "context"},
    opening{"io", "loop"},
    opening{"io", "task"},
    opening{"sync", "task"},
    opening{"server", "task"},
};

constexpr int unknown = -1;

int level_of(std::string_view name)
{
    if (name.empty())
        return 0;
    auto const found = std::ranges::find(rooms, name, &room::name);
    return found == rooms.end() ? unknown : found->level;
}

// "loop" of "loop/detail/queue.hpp", nothing of "config.hpp".
std::string room_of(std::string_view path)
{
    auto const slash = path.find('/');
    return std::string(path.substr(0, slash == path.npos ? 0 : slash));
}

bool is_opened(std::string_view from, std::string_view to)
{
    return std::ranges::any_of(
        detail_openings, [&](opening const& o) { return o.from == from && o.to == to; });
}

// Why `path` (below include/polyloop or lib, where its room comes first) may not include
// <polyloop/`header`>; empty if it may.
std::string objection(std::string_view path, std::string_view header)
{
    auto const from = room_of(path), to = room_of(header);
    if (level_of(from) == unknown)
        return "lies in a room that is not in the list";
    if (level_of(to) == unknown)
        return "includes from a room that is not in the list";
    if (from == to)
        return {};
    if (level_of(to) >= level_of(from))
        return "includes from a room that does not stand above its own";
    if (header.substr(to.size()).starts_with("/detail/") && !is_opened(from, to))
        return "includes another room's detail/";
    return {};
}

// Whether the rule can be checked in a file of that name.
bool is_known_kind(std::string_view file)
{
    auto const extension = fs::path(file).extension();
    return extension == ".hpp" || extension == ".ipp" || extension == ".cpp" ||
        file == "lib/config.cmake.in" || file == "lib/polyloop.pc.in";
}

// Why an #include in `file` is none of ours to allow; empty if it is.
std::string objection_to_include(
    std::string_view file, std::string const& included, bool quoted)
{
    std::string_view path = file;
    for (std::string_view top : {"include/polyloop/", "lib/"})
        if (path.starts_with(top))
            path.remove_prefix(top.size());

    fs::path const normal = fs::path(included).lexically_normal();
    if (normal.string() != included || normal.is_absolute() || *normal.begin() == "..")
        return "does not name a header by its plain path";
    if (quoted && included.starts_with("polyloop"))
        return "reaches out of its directory in quotes";
    if (included == "boost/asio.hpp" && file.ends_with(".hpp"))
        return "is a header and includes the whole of Asio";
    if (file == "include/polyloop.hpp")
        return {}; // everything is its purpose
    if (included == "polyloop.hpp")
        return "includes everything";
    if (included.starts_with("polyloop/"))
        return objection(path, included.substr(std::string("polyloop/").size()));
    if (quoted)
        return objection(path, (fs::path(path).parent_path() / normal).generic_string());
    return {};
}

// Every breach of the rule in a file, whose name is relative to the top of the tree. An
// #include has a line to itself; one that is hidden in another way is a breach as well.
std::vector<std::string> breaches(std::string_view file, std::string const& text)
{
    std::vector<std::string> found;
    auto const report = [&](std::string const& what, std::string const& why)
    {
        if (!why.empty())
            found.push_back(std::string(file) + " " + why + ": " + what);
    };

    static std::regex const splice(R"(\\[ \t]*\r?\n)");
    static std::regex const comment(R"([ \t]*//.*)");
    static std::regex const plain(
        R"re([ \t]*#[ \t]*include[ \t]*([<"])([^<>"]+)[>"][ \t]*(//.*)?)re");
    static std::regex const other(
        R"((#|%:|\?\?=)[ \t]*(/\*|include|import)|^[ \t]*(export[ \t]+)?import\b)");
    std::istringstream lines(std::regex_replace(text, splice, ""));
    for (std::string line; std::getline(lines, line);)
    {
        std::smatch m;
        if (std::regex_match(line, m, plain))
            report(m[2], objection_to_include(file, m[2], m[1] == "\""));
        else if (!std::regex_match(line, comment) && std::regex_search(line, other))
            report(line, "has a directive that this test does not read");
    }
    return found;
}

std::string text_of(fs::path const& file)
{
    std::ifstream in(file, std::ios::binary);
    BOOST_TEST_REQUIRE(in.is_open(), file);
    return {std::istreambuf_iterator<char>(in), {}};
}

struct source
{
    std::string file, text;
};

std::ostream& operator<<(std::ostream& os, source const& s)
{
    return os << s.file << ": " << s.text;
}

std::vector<source> const refused{
    {"include/polyloop/loop/a.hpp", "#include <polyloop/task/spawn.hpp>"},
    {"include/polyloop/loop/a.hpp", "int x;\n  #  include <polyloop/policy/place.hpp>\n"},
    {"include/polyloop/error.hpp", "#include <polyloop/context/context.hpp>"},
    {"include/polyloop/observe/a.hpp", "#include <polyloop/testing/clock.hpp>"},
    {"include/polyloop/sync/a.hpp", "#include <polyloop/loop/detail/loop_core.hpp>"},
    {"include/polyloop/garage/a.hpp", "#include <polyloop/config.hpp>"},
    {"include/polyloop/task/a.hpp", "#include <polyloop/garage/car.hpp>"},
    {"include/polyloop/task/a.hpp", "#include <polyloop.hpp>"},
    {"include/polyloop/task/a.hpp", "#include \"polyloop/loop/event_loop.hpp\""},
    {"include/polyloop/task/a.hpp", "#include <boost/asio.hpp>"},
    {"include/polyloop.hpp", "#include <boost/asio.hpp>"},
    {"lib/task/a.cpp", "#include \"../loop/private.hpp\""},
    {"lib/task/a.cpp", "#include <polyloop/runner/run.hpp>"},
    {"lib/error.cpp", "#include <polyloop/loop/event_loop.hpp>"},
    {"lib/error.cpp", "#include \"task/private.hpp\""},
    {"include/polyloop/error.hpp", "#include \"task/spawn.hpp\""},
    {"include/polyloop/loop/a.hpp", "#include <../include/polyloop/task/spawn.hpp>"},
    {"include/polyloop/loop/a.hpp", "#include <polyloop/loop/../task/spawn.hpp>"},
    {"include/polyloop/loop/a.hpp", "#include <polyloop//task/spawn.hpp>"},
    {"include/polyloop/loop/a.hpp", "#include <./polyloop/task/spawn.hpp>"},
    {"include/polyloop/loop/a.hpp", "#include </usr/include/polyloop/task/spawn.hpp>"},
    {"include/polyloop/loop/a.hpp", "#include \\\n<polyloop/task/spawn.hpp>"},
    {"include/polyloop/loop/a.hpp", "#inc\\\nlude <polyloop/task/spawn.hpp>"},
    {"include/polyloop/loop/a.hpp", "# /**/ include <polyloop/task/spawn.hpp>"},
    {"include/polyloop/loop/a.hpp", "# /*\n*/ include <polyloop/task/spawn.hpp>"},
    {"include/polyloop/loop/a.hpp", "/*\n*/ #include <polyloop/task/spawn.hpp>"},
    {"include/polyloop/loop/a.hpp", "#include /**/ <polyloop/task/spawn.hpp>"},
    {"include/polyloop/loop/a.hpp", "#include <polyloop/task/spawn.hpp> /**/"},
    {"include/polyloop/loop/a.hpp", "#include HEADER"},
    {"include/polyloop/loop/a.hpp", "#include_next <polyloop/task/spawn.hpp>"},
    {"include/polyloop/loop/a.hpp", "%:include <polyloop/task/spawn.hpp>"},
    {"include/polyloop/loop/a.hpp", "import <polyloop/task/spawn.hpp>;"},
};

std::vector<source> const accepted{
    {"include/polyloop.hpp", "#include <polyloop/testing/clock.hpp>"},
    {"include/polyloop/error.hpp", "#include <polyloop/config.hpp>"},
    {"include/polyloop/task/a.hpp", "#include <polyloop/loop/event_loop.hpp>"},
    {"include/polyloop/task/a.hpp", "#include <polyloop/task/detail/frame.hpp>"},
    {"include/polyloop/task/detail/a.hpp", "#include <polyloop/loop/detail/queue.hpp>"},
    {"include/polyloop/task/a.hpp", "// #include <polyloop/server/server.hpp>"},
    {"include/polyloop/task/a.hpp", "  //  #include <polyloop/server/server.hpp>"},
    {"include/polyloop/task/a.hpp", "#include <polyloop/config.hpp> // for POLYLOOP_DECL"},
    {"include/polyloop/task/a.hpp", "#if __has_include(<valgrind/valgrind.h>)"},
    {"include/polyloop/task/a.hpp", "#define A \\\n    1"},
    {"lib/task/a.cpp", "#include \"private.hpp\"\n#include <boost/asio.hpp>"},
};
} // namespace

BOOST_AUTO_TEST_CASE(the_tree_keeps_the_rule)
{
    fs::path const top = POLYLOOP_SOURCE_DIR;
    int files = 0;
    for (auto const* part : {"include", "lib"})
        for (auto const& entry : fs::recursive_directory_iterator(top / part))
        {
            auto const name = entry.path().lexically_relative(top).generic_string();
            if (entry.is_directory())
                continue;
            BOOST_TEST(is_known_kind(name), name << " is of a kind that is not checked");
            ++files;
            for (auto const& breach : breaches(name, text_of(entry.path())))
                BOOST_ERROR(breach);
        }
    BOOST_TEST(files > 0);
}

BOOST_AUTO_TEST_CASE(a_file_that_is_not_checked_is_found)
{
    BOOST_TEST(is_known_kind("lib/task/a.cpp"));
    for (auto const* file : {"include/polyloop/task/a.h", "lib/task/a.inc", "lib/task/a"})
        BOOST_TEST(!is_known_kind(file));
}

BOOST_DATA_TEST_CASE(a_breach_is_found, refused)
{
    BOOST_TEST(breaches(sample.file, sample.text).size() == 1u);
}

BOOST_DATA_TEST_CASE(what_the_rule_allows_is_left_alone, accepted)
{
    BOOST_TEST(breaches(sample.file, sample.text) == std::vector<std::string>(),
        boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(an_opened_detail_belongs_to_a_room_above)
{
    for (auto const& o : detail_openings)
        BOOST_TEST(level_of(o.to) < level_of(o.from), o.from << " -> " << o.to);
}
