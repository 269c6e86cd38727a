/* asyncio/running.h - what run_forever does before and after its turns.
 *
 *     the thread    has a running loop, and asyncgen hooks, those of the loop
 *     the loop      has the id of its thread, and no stop left over
 *     in debug mode the origins of coroutines are tracked
 *
 * From 3.13 on the loop has methods for all that; before, run_forever does it
 * itself, and so do we. */
#ifndef TWR_RUNNING_H
#define TWR_RUNNING_H

#include "base/direct.h"
#include "base/state.h"

/* The loop that runs in this thread; None: none does. */
static inline PyObject *
twr_running_loop(TwrState *state)
{
    return twr_direct_call(&state->running);
}

/* Have loop, or None, be the one that runs in this thread.  Keeps a pending
 * exception; -1: it has failed. */
int twr_running_set(TwrState *state, PyObject *loop);

/* Set the asyncgen hooks of loop; returns the old ones. */
PyObject *twr_running_hook(TwrState *state, PyObject *loop);

/* Set the asyncgen hooks to the old ones.  Keeps a pending exception; -1: it
 * has failed. */
int twr_running_unhook(PyObject *hooks);

/* Have loop run here; returns what twr_running_leave() is to get. */
PyObject *twr_running_enter(TwrState *state, PyObject *loop);

/* Have loop run no more.  Keeps a pending exception, and is then -1. */
int twr_running_leave(TwrState *state, PyObject *loop, PyObject *undo);

/* Look for the names that this file relies on. */
int twr_running_init(TwrState *state);

#endif
