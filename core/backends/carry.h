/* backends/carry.h - a call made where there is no task carries one.
 *
 * A plain callback, or a thread without a running loop, has no current task,
 * and much of asyncio needs a task.  So the coroutine of such a call is made a
 * task, which the call carries: the handles of the task, when a driver comes
 * upon them, are run on the caller's stack, so that a traceback or a debugger
 * inside shows the caller, and a nested call parks this stack and no other.
 * The first step is run at once. */
#ifndef TWR_CARRY_H
#define TWR_CARRY_H

#include "engine/driven.h"

/* Run coro as a task of loop whose steps run on this stack.  own_run: the loop
 * is driven for this call alone, which ends the run; NULL: it runs anyway.
 * Switches. */
PyObject *twr_carry(Thread *th, PyObject *loop, Driven *own_run,
                    PyObject *coro, PyObject *callee);

#endif
