/* asyncio/debug.h - running a handle, which debug mode times.
 *
 * In debug mode _run_once complains about slow handles.  Handles that a driver
 * runs are timed here, as _run_once does; a handle in which a call was parked
 * is not slow, however long it took.
 *
 * The handle in which the native greenlet was parked is timed by the _run_once
 * of that greenlet itself.  So just before the native greenlet goes on, the
 * limit to which _run_once is about to compare the time is replaced:
 *
 *     loop.slow_callback_duration   0.1  ->  a SlowLimit  ->  0.1
 *                                      forgive      compared, or unforgive
 *
 * For a SlowLimit nothing is slow, and it puts the limit back as soon as it is
 * compared. */
#ifndef TWR_DEBUG_H
#define TWR_DEBUG_H

#include "asyncio/iteration.h"

extern PyType_Spec twr_slow_limit_spec;

/* Run a handle as _run_once does.  Switches. */
int twr_debug_run(TwrIteration *it, PyObject *handle);

/* In debug mode: the handle in which the native greenlet is about to go on is
 * not slow. */
int twr_debug_forgive(TwrState *state, PyObject *loop);

/* Undo twr_debug_forgive(), since the handle does not end yet. */
int twr_debug_unforgive(TwrState *state, PyObject *loop);

/* Look for the names that this file relies on. */
int twr_debug_init(TwrState *state);

#endif
