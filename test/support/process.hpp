// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TEST_SUPPORT_PROCESS_HPP
#define POLYLOOP_TEST_SUPPORT_PROCESS_HPP

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;

namespace test
{

/// A child process whose output is read here. Waits are for events, with a limit after
/// which they throw with all that the child has said. The destructor kills the child.
class process
{
public:
    using arguments = std::vector<std::string>;
    using environment = std::map<std::string, std::string>;

    /// What stands in `more` takes precedence over this process's environment. `input`
    /// becomes the standard input, which else is empty.
    explicit process(std::string program, arguments args = {}, environment more = {},
        int input = -1)
    {
        // What the tests' own environment says of policies is not meant for the child.
        more.try_emplace("POLYLOOP_POLICY", "");
        std::vector<std::string> settings;
        for (char** e = environ; *e; ++e)
        {
            std::string const setting = *e;
            if (!more.contains(setting.substr(0, setting.find('='))))
                settings.push_back(setting);
        }
        for (auto const& [name, value] : more)
            settings.push_back(name + '=' + value);
        args.insert(args.begin(), program);
        start(program, pointers(args), pointers(settings), input);
    }

    ~process()
    {
        for (stream* s : {&out_, &err_})
            if (s->fd != -1)
                ::close(s->fd);
        if (pid_ == -1)
            return;
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
    }

    process(process const&) = delete;
    process& operator=(process const&) = delete;

    /// The first line of the standard output, whole, that contains `part`.
    std::string wait_for_line(
        std::string_view part, std::chrono::seconds limit = default_limit)
    {
        return line_of(out_, part, limit);
    }
    std::string wait_for_error_line(
        std::string_view part, std::chrono::seconds limit = default_limit)
    {
        return line_of(err_, part, limit);
    }

    /// Waits until nobody can write to its outputs any more, its own children neither,
    /// and it has ended. Gives its exit code, or the negated number of the signal that
    /// killed it.
    int wait(std::chrono::seconds limit = default_limit)
    {
        auto const deadline = clock::now() + limit;
        while (out_.fd != -1 || err_.fd != -1)
            read_some(deadline, "its end");
        int status = 0;
        while (::waitpid(pid_, &status, 0) == -1 && errno == EINTR)
            ;
        pid_ = -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    }

    void signal(int number) const { ::kill(pid_, number); }

    /// -1 after `wait`.
    pid_t pid() const { return pid_; }

    /// Waits for more output, of whatever kind.
    void wait_for_more(std::chrono::seconds limit = default_limit)
    {
        if (out_.fd == -1 && err_.fd == -1)
            fail("it ended without", "more output");
        read_some(clock::now() + limit, "more output");
    }

    /// As `wait`, without waiting: `still_running` where it has not ended.
    static constexpr int still_running = 1 << 20;
    int try_wait()
    {
        int status = 0;
        if (::waitpid(pid_, &status, WNOHANG) == 0)
            return still_running;
        pid_ = -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    }

    /// What was read so far; all of it after `wait`.
    std::string const& out() const { return out_.text; }
    std::string const& err() const { return err_.text; }

private:
    using clock = std::chrono::steady_clock;
    static constexpr std::chrono::seconds default_limit{60};

    struct stream
    {
        int fd = -1;
        std::string text = {};
    };

    static std::vector<char*> pointers(std::vector<std::string>& words)
    {
        std::vector<char*> all;
        for (std::string& w : words)
            all.push_back(w.data());
        all.push_back(nullptr);
        return all;
    }

    void start(std::string const& program, std::vector<char*> const& args,
        std::vector<char*> const& settings, int input)
    {
        int out[2], err[2];
        if (::pipe2(out, O_CLOEXEC) != 0 || ::pipe2(err, O_CLOEXEC) != 0)
            throw std::system_error(errno, std::generic_category(), "pipe2");
        posix_spawn_file_actions_t actions;
        ::posix_spawn_file_actions_init(&actions);
        if (input == -1)
            ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
        else
            ::posix_spawn_file_actions_adddup2(&actions, input, 0);
        ::posix_spawn_file_actions_adddup2(&actions, out[1], 1);
        ::posix_spawn_file_actions_adddup2(&actions, err[1], 2);
        int const error = ::posix_spawn(
            &pid_, program.c_str(), &actions, nullptr, args.data(), settings.data());
        ::posix_spawn_file_actions_destroy(&actions);
        ::close(out[1]);
        ::close(err[1]);
        out_.fd = out[0];
        err_.fd = err[0];
        if (error != 0)
        {
            pid_ = -1;
            ::close(out_.fd);
            ::close(err_.fd);
            throw std::system_error(error, std::generic_category(), program);
        }
    }

    std::string line_of(stream& s, std::string_view part, std::chrono::seconds limit)
    {
        auto const deadline = clock::now() + limit;
        for (std::size_t begin = 0;;)
        {
            std::size_t const end = s.text.find('\n', begin);
            if (end != s.text.npos)
            {
                std::string line = s.text.substr(begin, end - begin);
                if (line.find(part) != line.npos)
                    return line;
                begin = end + 1;
            }
            else if (s.fd == -1)
                fail("it ended without the line", part);
            else
                read_some(deadline, part);
        }
    }

    void read_some(clock::time_point deadline, std::string_view awaited)
    {
        pollfd ready[] = {{out_.fd, POLLIN, 0}, {err_.fd, POLLIN, 0}};
        auto const left =
            std::chrono::ceil<std::chrono::milliseconds>(deadline - clock::now());
        int const n =
            left.count() > 0 ? ::poll(ready, 2, static_cast<int>(left.count())) : 0;
        if (n == 0)
            fail("in vain waited for", awaited);
        for (auto const& [s, r] :
            {std::pair(&out_, ready[0]), std::pair(&err_, ready[1])})
            if (n > 0 && r.revents != 0)
                take(*s);
    }

    static void take(stream& s)
    {
        char part[4096];
        ssize_t const n = ::read(s.fd, part, sizeof part);
        if (n > 0)
            s.text.append(part, static_cast<std::size_t>(n));
        else if (n == 0 || errno != EINTR)
            ::close(std::exchange(s.fd, -1));
    }

    [[noreturn]] void fail(std::string const& what, std::string_view word) const
    {
        throw std::runtime_error(what + " \"" + std::string(word) + "\"; output:\n" +
            out_.text + "\nerrors:\n" + err_.text);
    }

    pid_t pid_ = -1;
    stream out_, err_;
};

} // namespace test

#endif
