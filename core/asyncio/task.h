/* asyncio/task.h - a task: current or not, suspended or not, cancelled.
 *
 * A task whose coroutine made a synchronous call is, for asyncio, still in the
 * middle of its step.  While the call waits, the task must nevertheless not be
 * the current one, and has to read as if it were suspended, or task.cancel()
 * is lost or arrives twice:
 *
 *     the call        task is     _fut_waiter       _must_cancel
 *     begins          current     None              asked for earlier
 *     waits           not         what it waits for passed on to that
 *     goes on         current     None              a cancel to deliver
 *
 * (twr_task_suspend and twr_task_leave; twr_task_enter and twr_task_resume,
 * then twr_task_take_cancel.) */
#ifndef TWR_TASK_H
#define TWR_TASK_H

#include "asyncio/task_current.h"
#include "asyncio/task_fields.h"

/* asyncio.Task(coro, loop=loop, context=context) */
PyObject *twr_task_new(TwrState *state, PyObject *coro, PyObject *loop,
                       PyObject *context);

/* A task that is going to be made by twr_task_start(). */
PyObject *twr_task_alloc(TwrState *state);

/* 3.12+: asyncio.Task.__init__(task, coro, loop=loop, context=context,
 * eager_start=True): its first step is run here, where loop runs, and counts
 * as one that a handle of the loop has begun.  -1: coro has not begun, or the
 * step was ended by KeyboardInterrupt or SystemExit.  Switches. */
int twr_task_start(TwrState *state, PyObject *task, PyObject *coro,
                   PyObject *loop, PyObject *context);

/* Why a call must not wait in task; borrowed, NULL: it may.  Quiet. */
static inline PyObject *
twr_task_why_not(TwrState *state, PyObject *task)
{
    return twr_task_is_c(state, task) ? state->task.why_not : NULL;
}

/* Make task look suspended on future (NULL: on nothing).  A cancel asked for
 * earlier is passed on to future. */
int twr_task_suspend(TwrState *state, PyObject *task, PyObject *future);

/* Undo twr_task_suspend().  Keeps a pending exception. */
void twr_task_resume(TwrState *state, PyObject *task, PyObject *future);

/* task.cancel(): 1 if the task took the cancel, 0 if it is already done. */
int twr_task_cancel(TwrState *state, PyObject *task);

/* Take a cancel that was asked for but not delivered: *error is set to the
 * CancelledError to throw, in place of what it was. */
int twr_task_take_cancel(TwrState *state, PyObject *task, PyObject **error);

/* error, a CancelledError that was delivered, could not be raised: have task
 * get a new one when it next waits.  1; 0: that cannot be done; -1: error. */
int twr_task_cancel_again(TwrState *state, PyObject *task, PyObject *error);

/* A call is to wait in the first step of an eager task, on the stack of tasks
 * that are held up by that: who cancels one of these is to cancel task, too.
 * Returns what twr_task_release() is to get: None if nobody is held up. */
PyObject *twr_task_hold(TwrState *state, PyObject *task);

/* Undo twr_task_hold(); held is stolen.  Keeps a pending exception. */
void twr_task_release(TwrState *state, PyObject *held);

/* In a forked child, a step of task has ended: -1 if by SystemExit or
 * KeyboardInterrupt, which is raised. */
int twr_task_ended_child(TwrState *state, PyObject *task);

/* Have task, which is dropped before its end, not complain of that. */
void twr_task_hush(PyObject *task);

/* Look for the names that this file relies on. */
int twr_task_init(TwrState *state);

#endif
