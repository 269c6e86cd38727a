/* asyncio/run_once.h - one turn of a loop, cut into handles.
 *
 * A turn of BaseEventLoop._run_once:
 *
 *     weed | poll | move due timers | left = len(ready) | handle | handle ...
 *     `------- begin_turn() ----------------------------'  any driver of ours
 *
 * As the turn is cut into handles, a driver can stop after any of them, let a
 * parked call go on in its own place, and let another driver finish the turn:
 * `left` says how many handles that has still to run.
 *
 * asyncio/facts.c has made sure that this is what _run_once of this Python
 * does; asyncio/timers.c has the part about timers. */
#ifndef TWR_RUN_ONCE_H
#define TWR_RUN_ONCE_H

#include "asyncio/iteration.h"

/* What comes next. */
typedef enum {
    NEXT_ERROR = -1,
    NEXT_HANDLE, /* this handle is to be run */
    NEXT_STOP,   /* the loop wants to stop */
} TwrNext;

/* The next handle to run (*handle), in the order of _run_once; polls when a
 * turn begins. */
TwrNext twr_run_once_next(TwrIteration *it, PyObject **handle);

/* 1 if the future to which until, a weakref or NULL, refers is done or gone;
 * -1: error. */
int twr_run_once_ended(TwrState *state, PyObject *until);

/* 1 if a turn would find anything to do: a handle, a timer, a descriptor. */
int twr_run_once_any(TwrIteration *it);

/* Look which queue loop has now: it->ready. */
int twr_run_once_look(TwrIteration *it);

/* Look for the names that this file relies on. */
int twr_run_once_init(TwrState *state);

#endif
