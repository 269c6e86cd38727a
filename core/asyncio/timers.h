/* asyncio/timers.h - the timers of a loop: call_later(), call_at().
 *
 *     loop._scheduled             a heap, the timer that is due next in front
 *     timer._scheduled            the timer is in the heap
 *     loop._timer_cancelled_count how many in the heap are cancelled
 *
 * A timer that is cancelled stays in the heap until it comes to the front, or
 * until so many are that all are weeded out. */
#ifndef TWR_TIMERS_H
#define TWR_TIMERS_H

#include "asyncio/iteration.h"

/* The heap of timers, a list; another list perhaps in each turn. */
PyObject *twr_timers_get(TwrState *state, PyObject *loop);

/* loop.time(), in seconds. */
int twr_timers_now(TwrState *state, PyObject *loop, double *now);

/* Drop cancelled timers: all if they are many, else those in front. */
int twr_timers_weed(TwrState *state, PyObject *loop);

/* How long the selector may wait: None (for ever), or seconds. */
PyObject *twr_timers_timeout(TwrIteration *it);

/* Move the timers that are due to the ready queue. */
int twr_timers_move(TwrIteration *it);

/* Look for the names that this file relies on. */
int twr_timers_init(TwrState *state);

#endif
