// What another project does with the library at the very least.
#include <polyloop.hpp>

#include <iostream>

int main()
{
    polyloop::backend_info const info = polyloop::describe_backend();
    std::cout << info.which << ": " << info.reason << '\n';
    if (!info.available)
        return 0; // linked, and no loop can be made here
    return polyloop::run([] { return 42; }) == 42 ? 0 : 1;
}
