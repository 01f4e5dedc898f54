// Compiled once per public header: it must stand alone, and bear being included twice.
#define POLYLOOP_QUOTE_(x) #x
#define POLYLOOP_QUOTE(x) POLYLOOP_QUOTE_(x)
#include POLYLOOP_QUOTE(POLYLOOP_HEADER)
#include POLYLOOP_QUOTE(POLYLOOP_HEADER)
