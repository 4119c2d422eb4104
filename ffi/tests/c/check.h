/* Checks of programs that end at the first thing that is wrong, with its line. */
#ifndef UDPX_TESTS_CHECK_H
#define UDPX_TESTS_CHECK_H

#include <stdio.h>
#include <stdlib.h>

#include <udpx.h>

#define OK(call) expect((call), UDPX_STATUS_OK, #call, __LINE__)
#define EXPECT(status, call) expect((call), (status), #call, __LINE__)
#define CHECK(condition) check((condition), #condition, __LINE__)

static void check(int condition, const char *what, int line)
{
    if (!condition) {
        fprintf(stderr, "line %d: %s\n", line, what);
        exit(1);
    }
}

static void expect(int status, int wanted, const char *what, int line)
{
    udpx_error error;
    error.size = sizeof error;
    if (status != wanted) {
        udpx_last_error(&error);
        fprintf(stderr, "line %d: %s is %d, not %d: %s. %s\n", line, what, status, wanted, error.text, error.remedy);
        exit(1);
    }
}

#endif
