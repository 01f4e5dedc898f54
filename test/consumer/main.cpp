// What another project does with the library at the very least.
#include <polyloop.hpp>

int main()
{
    return polyloop::run([] { return 42; }) == 42 ? 0 : 1;
}
