/* asyncio/quick_timers.h - when the first timer is due. */
#ifndef TWR_QUICK_TIMERS_H
#define TWR_QUICK_TIMERS_H

#include "asyncio/quick_handle.h"

/* The list of timers of such a loop, as its dictionary has it; borrowed.  NULL
 * without error: it is none. */
PyObject *twr_quick_look_timers(TwrIteration *it);

/* Whether the timers of such a loop are few, and the first is one of asyncio's
 * own that has not been cancelled: no more of them need be looked at. */
bool twr_quick_knows_timers(TwrIteration *it);

/* How long it takes until the first timer is due (*seconds; negative: it is
 * already).  1; 0: there is none, -1: error. */
int twr_quick_wait(TwrIteration *it, double *seconds);

#endif
