/* base/clock.c - since when a call waits. */
#include "base/clock.h"

#ifdef _WIN32
#include <windows.h>

/* Quiet. */
static uint64_t
read_clock(void)
{
    return GetTickCount64();
}
#else
#include <time.h>

#ifdef CLOCK_MONOTONIC_COARSE
#define CLOCK CLOCK_MONOTONIC_COARSE
#else
#define CLOCK CLOCK_MONOTONIC
#endif

/* Quiet. */
static uint64_t
read_clock(void)
{
    struct timespec now = {0, 0};
    clock_gettime(CLOCK, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}
#endif

uint32_t
twr_clock_ms(void)
{
    uint32_t now = (uint32_t)read_clock();
    return now == 0 ? 1 : now;
}

double
twr_clock_age(uint32_t since)
{
    return (uint32_t)(twr_clock_ms() - since) / 1000.0;
}
