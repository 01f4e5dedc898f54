// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE loop.backend
#define BOOST_TEST_NO_MAIN

#include <polyloop/loop/backend.hpp>

#include "support/child.hpp"
#include "support/error.hpp"
#include "support/loops.hpp"

#include <polyloop/loop/event_loop.hpp>

#include <boost/asio/detail/config.hpp>
#include <boost/test/unit_test.hpp>

#if defined(__linux__)
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <iterator>
#include <set>
#include <sstream>
#include <string>

using namespace polyloop;

BOOST_AUTO_TEST_CASE(the_backend_is_the_one_that_asio_was_compiled_for)
{
#if defined(BOOST_ASIO_HAS_IOCP)
    BOOST_TEST(current_backend() == backend::iocp);
#elif defined(BOOST_ASIO_HAS_IO_URING_AS_DEFAULT)
    BOOST_TEST(current_backend() == backend::io_uring);
#elif defined(BOOST_ASIO_HAS_EPOLL)
    BOOST_TEST(current_backend() == backend::epoll);
#elif defined(BOOST_ASIO_HAS_KQUEUE)
    BOOST_TEST(current_backend() == backend::kqueue);
#else
    BOOST_TEST(current_backend() == backend::select);
#endif
}

BOOST_AUTO_TEST_CASE(known_backends_are_all_of_them_and_each_has_a_name)
{
    std::set<std::string> names;
    for (backend const b : known_backends())
    {
        std::ostringstream out;
        out << b;
        BOOST_TEST(out.str() == to_string(b));
        names.insert(out.str());
    }
    std::set<std::string> const expected{"epoll", "select", "kqueue", "io_uring", "iocp"};
    BOOST_TEST(names == expected, boost::test_tools::per_element());
    auto const known = known_backends();
    BOOST_TEST(std::count(known.begin(), known.end(), current_backend()) == 1);
}

BOOST_AUTO_TEST_CASE(a_proactor_waits_for_completion)
{
    BOOST_TEST(is_proactor(backend::io_uring));
    BOOST_TEST(is_proactor(backend::iocp));
    BOOST_TEST(!is_proactor(backend::epoll));
    BOOST_TEST(!is_proactor(backend::select));
    BOOST_TEST(!is_proactor(backend::kqueue));
}

BOOST_AUTO_TEST_CASE(describe_backend_says_which_and_why)
{
    backend_info const info = describe_backend();
    BOOST_TEST(info.which == current_backend());
    BOOST_TEST(!info.reason.empty());
    BOOST_TEST(info.reason.find(to_string(info.which)) != std::string::npos);
}

BOOST_AUTO_TEST_CASE(what_is_available_makes_loops_and_the_kernel_is_asked_for_io_uring)
{
    backend_info const info = describe_backend();
    if (info.available)
    {
        event_loop loop;
        bool ran = false;
        loop.call_soon([&] { ran = true; });
        test::run_ready(loop);
        BOOST_TEST(ran);
        loop.close();
    }
    else
        BOOST_CHECK_EXCEPTION(event_loop(), boost::system::system_error,
                              test::fails_with(error::backend_unavailable, {info.reason}));
#if defined(__linux__)
    BOOST_TEST(info.reason.find("the kernel ") != std::string::npos, info.reason);
    BOOST_TEST(info.reason.find("io_uring") != std::string::npos, info.reason);
#endif
}

#if defined(__linux__)

namespace {

// A filter such as containers have; it lasts as long as its process.
test::child const filtered("filtered", [](test::child_arguments const&) {
    sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    sock_fprog const program{std::size(code), code};
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        return 1;
    test::say(describe_backend().reason);
    test::say(describe_backend().available ? "available" : "refused");
    auto const made = test::code_of([] { event_loop().close(); });
    test::say(made.message());
    return 0;
});

} // namespace

BOOST_AUTO_TEST_CASE(a_refusal_of_io_uring_by_a_filter_is_told)
{
    test::child_process p("filtered");
    BOOST_REQUIRE(p.wait() == 0);
    bool const sysctl = p.out().find("kernel.io_uring_disabled") != std::string::npos;
    BOOST_TEST((sysctl || p.out().find("seccomp") != std::string::npos), p.out());
    if (current_backend() == backend::io_uring)
    {
        BOOST_TEST(p.out().find("\nrefused\n") != std::string::npos, p.out());
        auto const message = make_error_code(error::backend_unavailable).message();
        BOOST_TEST(p.out().find(message) != std::string::npos, p.out());
    }
    else
        BOOST_TEST(p.out().find("\navailable\nSuccess\n") != std::string::npos, p.out());
}

#endif
