// What the README and the pages quote is what the tree holds: the server's listing is the
// example, and each include:: in doc/ names a file and a tag that exist.
#define BOOST_TEST_MODULE support_readme

#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <ostream>
#include <regex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace fs = std::filesystem;

namespace
{
fs::path const top = POLYLOOP_SOURCE_DIR;

std::string const marker = "<!-- listing: example/minimal_server.cpp -->\n";
std::string const fence = "```";
constexpr int most_lines = 20; // the README calls it a server in twenty lines

std::optional<std::string> text_of(fs::path const& file)
{
    std::ifstream in(file, std::ios::binary);
    if (!in || fs::is_directory(file))
        return std::nullopt;
    return std::string(std::istreambuf_iterator<char>(in), {});
}

// The lines between the marks of a tag; nothing where one of them is missing.
std::optional<std::string> region(std::string const& text, std::string const& tag)
{
    auto const begin = text.find("tag::" + tag + "[]");
    auto const end = text.find("end::" + tag + "[]");
    if (begin == std::string::npos || end == std::string::npos || end < begin)
        return std::nullopt;
    auto const from = text.find('\n', begin) + 1;
    auto const to = text.rfind('\n', end) + 1;
    return text.substr(from, to - from);
}

// The fenced listing that follows the marker.
std::optional<std::string> listing(std::string const& readme)
{
    auto const at = readme.find(marker);
    if (at == std::string::npos)
        return std::nullopt;
    auto const open = at + marker.size();
    if (!std::string_view(readme).substr(open).starts_with(fence + "cpp\n"))
        return std::nullopt;
    auto const from = readme.find('\n', open) + 1;
    auto const to = readme.find('\n' + fence, from);
    if (to == std::string::npos)
        return std::nullopt;
    return readme.substr(from, to + 1 - from);
}

using objections = std::vector<std::string>;

objections objections_to_listing(std::string const& readme, std::string const& example)
{
    auto const shown = listing(readme);
    if (!shown)
        return {"the README has no C++ listing after its marker"};
    auto const real = region(example, "server");
    if (!real)
        return {"the example has no region \"server\""};
    objections found;
    if (*shown != *real)
        found.push_back("the README's listing is not the example's text");
    if (std::ranges::count(*shown, '\n') > most_lines)
        found.push_back("the README's server has more than twenty lines");
    return found;
}

objections objections_to_commands(std::string const& readme)
{
    objections found;
    for (std::string const command :
        {"example/run.sh", "test/run.sh", "test/run.sh --all"})
    {
        // At the start of a line or in backquotes, and without further options.
        std::regex const word("(^|\n|`)" + command + "($|\n|`| (?!-))");
        if (!std::regex_search(readme, word))
            found.push_back("the README does not name " + command);
        if (command.find(' ') == std::string::npos && !fs::exists(top / command))
            found.push_back("there is no " + command);
    }
    return found;
}

// Relative targets of [text](target), without the part behind '#'.
objections objections_to_links(std::string const& readme)
{
    objections found;
    static std::regex const link(R"(\]\(([^)#]+)(#[^)]*)?\))");
    for (std::sregex_iterator i(readme.begin(), readme.end(), link), end; i != end; ++i)
    {
        std::string const target = (*i)[1];
        if (target.find("://") == std::string::npos && !fs::exists(top / target))
            found.push_back("the README links to " + target + ", which is not there");
    }
    return found;
}

// Every include:: of a page, whose targets are relative to `directory`.
objections objections_to_page(std::string const& page, fs::path const& directory)
{
    objections found;
    static std::regex const line(R"((?:^|\n)include::([^\[\n]+)\[([^\]\n]*)\])");
    static std::regex const tags("(^|[ ,])tags?=\"?([^,\"]+)");
    for (std::sregex_iterator i(page.begin(), page.end(), line), end; i != end; ++i)
    {
        std::string const target = (*i)[1], attributes = (*i)[2];
        auto const text = text_of(directory / target);
        std::smatch m;
        if (!text)
            found.push_back(target + " is not there");
        else if (!std::regex_search(attributes, m, tags))
            found.push_back(target + " is included without a tag");
        else
        {
            static std::regex const separator("[;]");
            std::string const all = m[2];
            for (std::sregex_token_iterator t(all.begin(), all.end(), separator, -1),
                 last;
                 t != last; ++t)
                if (!region(*text, *t))
                    found.push_back(target + " has no region \"" + t->str() + '"');
        }
    }

    // A snippet that was typed in is compiled by nobody.
    static std::regex const typed(R"((?:^|\n)\[source,cpp[^\n]*\]\n----\n(?!include::))");
    if (std::regex_search(page, typed))
        found.push_back("a C++ listing does not come by include::");
    return found;
}

/// Behaviours of asyncio (S12, or S12_ in a test's name) that a text names.
std::set<std::string> numbers_in(std::string const& text)
{
    static std::regex const number("\\bS[0-9]+(?=\\b|_)");
    std::set<std::string> found;
    for (std::sregex_iterator i(text.begin(), text.end(), number), end; i != end; ++i)
        found.insert(i->str());
    return found;
}

void report(objections const& found, std::string const& where)
{
    for (auto const& o : found)
        BOOST_ERROR(where + ": " + o);
}

std::string the(char const* file)
{
    auto const text = text_of(top / file);
    BOOST_TEST_REQUIRE(text.has_value(), file << " can be read");
    return *text;
}

// -- bad inputs
// ---------------------------------------------------------------------------

std::string const program = "// tag::server[]\nint main()\n{\n}\n// end::server[]\n";
std::string const shown = marker + "```cpp\nint main()\n{\n}\n```\n";

struct bad_listing
{
    std::string readme, example;
};
std::ostream& operator<<(std::ostream& out, bad_listing const& b)
{
    return out << b.readme << " with " << b.example;
}
std::vector<bad_listing> const bad_listings{
    {"", program},
    {"```cpp\nint main()\n{\n}\n```\n", program},
    {marker + "```sh\nint main()\n{\n}\n```\n", program},
    {marker + "```cpp\nint main()\n{\n}\n", program},
    {marker + "\ntext\n```cpp\nint main()\n{\n}\n```\n", program},
    {marker + "```cpp\nint main()\n{}\n```\n", program},
    {marker + "```cpp\nint main()\n{\n}\n\n```\n", program},
    {marker + "```cpp\n int main()\n{\n}\n```\n", program},
    {shown, ""},
    {shown, "int main()\n{\n}\n"},
    {shown, "// tag::server[]\nint main()\n{\n}\n"},
    {shown, "// end::server[]\nint main()\n{\n}\n// tag::server[]\n"},
    {shown, "// tag::other[]\nint main()\n{\n}\n// end::other[]\n"},
    {marker + "```cpp\n" + std::string(21, '\n') + "```\n",
        "// tag::server[]\n" + std::string(21, '\n') + "// end::server[]\n"},
};

std::vector<std::string> const bad_commands{
    "",
    "`example/run.sh`",
    "`test/run.sh` and `test/run.sh --all`",
    "`example/run.sh` and `test/run.sh`",
    "`my_example/run.sh`, `test/run.sh` and `test/run.sh --all`",
    "`example/run.sh`, `test/run.shell` and `test/run.sh --all`",
};

std::vector<std::string> const bad_pages{
    "include::../example/no_such_server.cpp[tag=server]",
    "include::../example[tag=server]",
    "include::../example/minimal_server.cpp[tag=nothing]",
    "include::../example/minimal_server.cpp[tag=serv]",
    "include::../example/minimal_server.cpp[tags=server;nothing]",
    "include::../example/minimal_server.cpp[tags=nothing;server]",
    "include::../example/minimal_server.cpp[indent=0,tag=nothing]",
    "include::../example/minimal_server.cpp[]",
    "include::../example/minimal_server.cpp[indent=0]",
    "text\n----\ninclude::example/minimal_server.cpp[tag=server]\n----\n",
    "[source,cpp]\n----\nint i = 0;\n----\n",
    "text\n\n[source,cpp,indent=0]\n----\nint i = 0;\n----\n",
};

std::vector<std::string> const good_pages{
    "",
    "include::../example/minimal_server.cpp[tag=server]",
    "[source,cpp]\n----\ninclude::../example/"
    "minimal_server.cpp[tag=server,indent=0]\n----\n",
    "include::../example/minimal_server.cpp[tags=server]",
    "[source,sh]\n----\ntest/run.sh\n----\n",
    "Each comes by `include::` with a tag.",
};
} // namespace

BOOST_AUTO_TEST_CASE(the_listing_is_the_example)
{
    report(objections_to_listing(the("README.md"), the("example/minimal_server.cpp")),
        "listing");
}

BOOST_AUTO_TEST_CASE(the_readme_names_both_commands)
{
    report(objections_to_commands(the("README.md")), "commands");
}

BOOST_AUTO_TEST_CASE(the_links_of_the_readme_lead_somewhere)
{
    report(objections_to_links(the("README.md")), "links");
}

BOOST_AUTO_TEST_CASE(the_pages_include_what_is_there)
{
    int pages = 0;
    for (auto const& entry : fs::directory_iterator(top / "doc"))
        if (entry.path().extension() == ".adoc")
        {
            ++pages;
            auto const text = text_of(entry.path());
            BOOST_TEST_REQUIRE(text.has_value());
            report(
                objections_to_page(*text, top / "doc"), entry.path().filename().string());
        }
    BOOST_TEST(pages > 0);
}

BOOST_AUTO_TEST_CASE(every_behaviour_that_is_named_by_a_number_is_explained)
{
    auto const explained = numbers_in(the("doc/asyncio.adoc"));
    int files = 0;
    for (char const* const part : {"include", "lib", "test"})
        for (auto const& entry : fs::recursive_directory_iterator(top / part))
        {
            if (entry.path().extension() != ".hpp" && entry.path().extension() != ".cpp")
                continue;
            ++files;
            for (std::string const& number : numbers_in(*text_of(entry.path())))
                BOOST_TEST(explained.contains(number),
                    entry.path().lexically_relative(top) << " names " << number);
        }
    BOOST_TEST(files > 0);
}

BOOST_AUTO_TEST_CASE(a_right_listing_is_left_alone)
{
    report(objections_to_listing(shown, program), "listing");
}

BOOST_DATA_TEST_CASE(a_wrong_listing_is_found, bad_listings)
{
    BOOST_TEST(objections_to_listing(sample.readme, sample.example).size() == 1u);
}

BOOST_AUTO_TEST_CASE(right_commands_are_left_alone)
{
    report(
        objections_to_commands("`example/run.sh`, or\ntest/run.sh\n`test/run.sh --all`"),
        "commands");
}

BOOST_DATA_TEST_CASE(a_missing_command_is_found, bad_commands)
{
    BOOST_TEST(!objections_to_commands(sample).empty());
}

BOOST_AUTO_TEST_CASE(a_dead_link_is_found)
{
    BOOST_TEST(
        objections_to_links("[a](LICENSE), [b](#below) and [c](no/such)").size() == 1u);
    BOOST_TEST(
        objections_to_links("[a](LICENSE#top) and [b](doc/nothing.adoc#x)").size() == 1u);
}

BOOST_DATA_TEST_CASE(a_wrong_include_is_found, bad_pages)
{
    BOOST_TEST(objections_to_page(sample, top / "doc").size() == 1u);
}

BOOST_DATA_TEST_CASE(a_right_include_is_left_alone, good_pages)
{
    report(objections_to_page(sample, top / "doc"), sample);
}
