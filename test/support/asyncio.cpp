// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// The table of doc/asyncio.adoc is whole: each number has a line, and each line a test that exists
// and bears the number, or a reason. And doc/from_asyncio.adoc has all of asyncio's names.
#define BOOST_TEST_MODULE support_asyncio

#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <ostream>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace fs = std::filesystem;

namespace {

fs::path const top = POLYLOOP_SOURCE_DIR;
constexpr int numbers = 83;

using names = std::set<std::string>;
using objections = std::vector<std::string>;

std::string text_of(fs::path const& file)
{
    std::ifstream in(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

/// "S53" and "S68" of "S53_S68_a_run_inside".
names numbers_of(std::string const& test)
{
    static std::regex const number("(S[0-9]+)_");
    names found;
    auto at = test.cbegin();
    std::smatch m;
    while (std::regex_search(at, test.cend(), m, number,
                             std::regex_constants::match_continuous))
    {
        found.insert(m[1]);
        at = m[0].second;
    }
    return found;
}

/// The test cases of a source.
names tests_in(std::string const& source)
{
    static std::regex const test(R"(BOOST_(AUTO|FIXTURE|DATA)_TEST_CASE(?:_TEMPLATE)?\(\s*(\w+))");
    names found;
    for (std::sregex_iterator i(source.begin(), source.end(), test), end; i != end; ++i)
        found.insert((*i)[2]);
    return found;
}

names all_tests()
{
    names all;
    for (auto const& entry : fs::recursive_directory_iterator(top / "test"))
        if (entry.path().extension() == ".cpp")
            all.merge(tests_in(text_of(entry.path())));
    return all;
}

std::vector<std::string> cells_of(std::string const& row)
{
    static std::regex const bar(R"((^|\n)\| )");
    std::vector<std::string> cells;
    for (std::sregex_token_iterator i(row.begin(), row.end(), bar, -1), end; i != end; ++i)
        if (i->length() != 0)
            cells.push_back(*i);
    return cells;
}

objections objections_to_tests(std::string const& number, std::string const& cell,
                               names const& existing)
{
    std::string const none = "none: ";
    if (cell.starts_with(none))
        return cell.size() < none.size() + 10 ? objections{number + " has no reason"}
                                              : objections{};
    static std::regex const quoted("`([^`]*)`");
    objections found;
    int n = 0;
    for (std::sregex_iterator i(cell.begin(), cell.end(), quoted), end; i != end; ++i, ++n)
    {
        std::string const test = (*i)[1];
        if (!existing.contains(test))
            found.push_back(number + ": there is no test " + test);
        else if (!numbers_of(test).contains(number))
            found.push_back(number + " is not in the name of " + test);
    }
    if (n == 0)
        found.push_back(number + " has neither a test nor a reason");
    return found;
}

objections objections_to_table(std::string const& page, names const& existing)
{
    static std::regex const row(R"(\n(\| (S[0-9]+)\n(.+\n)+))");
    objections found;
    names seen;
    for (std::sregex_iterator i(page.begin(), page.end(), row), end; i != end; ++i)
    {
        std::string const number = (*i)[2];
        if (!seen.insert(number).second)
            found.push_back(number + " has two lines");
        std::string text = (*i)[1];
        text.erase(text.find("\n|===") == text.npos ? text.size() : text.find("\n|==="));
        auto const cells = cells_of(text);
        if (cells.size() != 4)
            found.push_back(number + " has " + std::to_string(cells.size()) + " cells");
        else
            for (auto& o : objections_to_tests(number, cells[3], existing))
                found.push_back(std::move(o));
    }
    for (int i = 1; i <= numbers; ++i)
        if (!seen.erase('S' + std::to_string(i)))
            found.push_back('S' + std::to_string(i) + " has no line");
    for (std::string const& other : seen)
        found.push_back(other + " is no number");
    return found;
}

// What asyncio of Python 3.14 makes public, and what its loops, tasks, streams and so on can do.
char const* const names_of_asyncio = R"(
    ALL_COMPLETED AbstractEventLoop AbstractEventLoopPolicy AbstractServer Barrier BaseEventLoop
    BaseProtocol BaseTransport BoundedSemaphore BrokenBarrierError BufferedProtocol CancelledError
    Condition DatagramProtocol DatagramTransport DefaultEventLoopPolicy Event EventLoop
    FIRST_COMPLETED FIRST_EXCEPTION FrameCallGraphEntry Future FutureCallGraph Handle
    IncompleteReadError InvalidStateError LifoQueue LimitOverrunError Lock PriorityQueue Protocol
    ProactorEventLoop Queue QueueEmpty QueueFull QueueShutDown ReadTransport Runner
    SelectorEventLoop Semaphore SendfileNotAvailableError Server StreamReader StreamReaderProtocol
    StreamWriter SubprocessProtocol SubprocessTransport Task TaskGroup Timeout TimeoutError
    TimerHandle Transport WindowsProactorEventLoopPolicy WindowsSelectorEventLoopPolicy
    WriteTransport _get_running_loop _set_running_loop all_tasks as_completed capture_call_graph
    create_eager_task_factory create_subprocess_exec create_subprocess_shell create_task
    current_task eager_task_factory ensure_future format_call_graph future_add_to_awaited_by
    future_discard_from_awaited_by gather get_event_loop get_event_loop_policy get_running_loop
    iscoroutine iscoroutinefunction isfuture new_event_loop open_connection open_unix_connection
    print_call_graph run run_coroutine_threadsafe set_event_loop set_event_loop_policy shield sleep
    start_server start_unix_server timeout timeout_at to_thread wait wait_for wrap_future

    add_reader add_signal_handler add_writer call_at call_exception_handler call_later call_soon
    call_soon_threadsafe close connect_accepted_socket connect_read_pipe connect_write_pipe
    create_connection create_datagram_endpoint create_future create_server create_unix_connection
    create_unix_server default_exception_handler get_debug get_exception_handler get_task_factory
    getaddrinfo getnameinfo is_closed is_running remove_reader remove_signal_handler remove_writer
    run_forever run_in_executor run_until_complete sendfile set_debug set_default_executor
    set_exception_handler set_task_factory shutdown_asyncgens shutdown_default_executor
    slow_callback_duration sock_accept sock_connect sock_recv sock_recv_into sock_recvfrom
    sock_recvfrom_into sock_sendall sock_sendfile sock_sendto start_tls stop subprocess_exec
    subprocess_shell time

    add_done_callback cancel cancelled cancelling done exception get_context get_coro get_loop
    get_name get_stack print_stack remove_done_callback result set_exception set_name set_result
    uncancel reschedule expired when abort_clients close_clients is_serving serve_forever sockets
    start_serving wait_closed at_eof feed_eof read readexactly readline readuntil can_write_eof
    drain get_extra_info is_closing write write_eof writelines acquire locked release notify
    notify_all maxsize empty full get get_nowait join put put_nowait qsize shutdown task_done set
    clear is_set parties n_waiting broken reset abort communicate send_signal terminate kill
    connection_made connection_lost data_received eof_received datagram_received error_received
    get_buffer buffer_updated pause_writing resume_writing pause_reading resume_reading is_reading
    get_protocol set_protocol set_write_buffer_limits get_write_buffer_size
    get_write_buffer_limits sendto feed_data set_transport)";

/// What stands between backticks, in words.
names words_quoted_in(std::string const& page)
{
    static std::regex const quoted("`([^`]*)`"), word("[A-Za-z_]+");
    names found;
    for (std::sregex_iterator i(page.begin(), page.end(), quoted), end; i != end; ++i)
    {
        std::string const text = (*i)[1];
        for (std::sregex_iterator w(text.begin(), text.end(), word); w != end; ++w)
            found.insert(w->str());
    }
    return found;
}

/// A page with a right table but for one line.
std::string page_with(std::string const& line_of_7)
{
    std::string page = "text\n|===\n";
    for (int i = 1; i <= numbers; ++i)
    {
        std::string const n = std::to_string(i);
        page += i == 7 ? line_of_7
                       : "\n| S" + n + "\n| says\n| is\n| `S" + n + "_has_a_test`\n";
    }
    return page + "|===\n";
}

names sample_tests()
{
    names all{"S7_S8_of_two", "S70_of_another", "of_none"};
    for (int i = 1; i <= numbers; ++i)
        all.insert('S' + std::to_string(i) + "_has_a_test");
    return all;
}

std::vector<std::string> const right{
    "\n| S7\n| says\n| is\n| `S7_has_a_test`\n",
    "\n| S7\n| says\n| is\n| `S7_has_a_test` +\n`S7_S8_of_two`\n",
    "\n| S7\n| says `this`\n| is\n| none: it cannot be seen from outside\n",
};

std::vector<std::string> const wrong{
    "",
    "\n| S7\n| says\n| is\n",
    "\n| S7\n| says\n| is\n| \n",
    "\n| S7\n| says\n| is\n| none: \n",
    "\n| S7\n| says\n| is\n| S7_has_a_test\n",
    "\n| S7\n| says\n| is\n| `S7_that_is_not_there`\n",
    "\n| S7\n| says\n| is\n| `S70_of_another`\n",
    "\n| S7\n| says\n| is\n| `of_none`\n",
    "\n| S7\n| says\n| is\n| `S7_has_a_test` +\n`S7_that_is_not_there`\n",
    "\n| S7\n| says\n| is\n| more\n| `S7_has_a_test`\n",
    "\n| S7\n| a\n| b\n| `S7_has_a_test`\n\n| S7\n| a\n| b\n| `S7_has_a_test`\n",
    "\n| S7\n| a\n| b\n| `S7_has_a_test`\n\n| S" "84\n| a\n| b\n| none: not of asyncio\n",
};

} // namespace

BOOST_AUTO_TEST_CASE(the_table_is_whole_and_its_tests_exist)
{
    for (std::string const& o : objections_to_table(text_of(top / "doc/asyncio.adoc"), all_tests()))
        BOOST_ERROR(o);
}

BOOST_AUTO_TEST_CASE(the_guide_has_each_name_of_asyncio)
{
    names const there = words_quoted_in(text_of(top / "doc/from_asyncio.adoc"));
    std::istringstream all(names_of_asyncio);
    for (std::string name; all >> name;)
        BOOST_TEST(there.contains(name), name << " is not in the guide");
    BOOST_TEST((words_quoted_in("| `A.b`, `c` | d `e_f(g)`") == names{"A", "b", "c", "e_f", "g"}));
}

BOOST_DATA_TEST_CASE(a_right_line_is_left_alone, right)
{
    for (std::string const& o : objections_to_table(page_with(sample), sample_tests()))
        BOOST_ERROR(o);
}

BOOST_DATA_TEST_CASE(a_wrong_line_is_found, wrong)
{
    BOOST_TEST(!objections_to_table(page_with(sample), sample_tests()).empty());
}

BOOST_AUTO_TEST_CASE(tests_are_found_by_their_names)
{
    names const found = tests_in("BOOST_AUTO_TEST_CASE(one)\nBOOST_FIXTURE_TEST_CASE(\n    two, f)\n"
                                 "BOOST_DATA_TEST_CASE(three, d) // BOOST_CHECK(four)\n"
                                 "BOOST_AUTO_TEST_CASE_TEMPLATE(five, T, all)\n");
    BOOST_TEST((found == names{"one", "two", "three", "five"}));
    BOOST_TEST((numbers_of("S53_S68_a_run_S7_x") == names{"S53", "S68"}));
    BOOST_TEST(numbers_of("without_S7_at_its_head").empty());
}
