/* asyncio/task_current.h - the current task of a loop.
 *
 * From 3.14 on, tasks written in Python and those in C are current apart, each
 * kind in a place of its own; nest_asyncio runs the one below the other. */
#ifndef TWR_TASK_CURRENT_H
#define TWR_TASK_CURRENT_H

#include "base/state.h"

/* The current task of loop; NULL without error: none. */
PyObject *twr_task_current(TwrState *state, PyObject *loop);

/* Make task the current one of loop, which has none.  Keeps a pending
 * exception; -1: it has failed. */
int twr_task_enter(TwrState *state, PyObject *loop, PyObject *task);

/* Have loop have no current task; task is the current one.  Keeps a pending
 * exception; -1: it has failed. */
int twr_task_leave(TwrState *state, PyObject *loop, PyObject *task);

/* Have task, or none if it is NULL, be the current one of loop, in place of
 * whichever is.  Keeps a pending exception; -1: it has failed. */
int twr_task_become(TwrState *state, PyObject *loop, PyObject *task);

#endif
