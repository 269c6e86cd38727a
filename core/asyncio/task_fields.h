/* asyncio/task_fields.h - three fields of a task that asyncio keeps private.
 *
 *     _coro         what the task steps
 *     _fut_waiter   what the task waits for: cancel() cancels this
 *     _must_cancel  a cancel to deliver at the next step
 *
 * Python tasks let anybody write these fields; C tasks only show them.  Where
 * the fields lie in a C task is found at import, in a probe: a task made for
 * the purpose, in which is looked for the pointer to what it waits for, and
 * for the bit that cancel() sets, as checked against the public getters. Where
 * that fails, no C task is ever parked, and calls say why. */
#ifndef TWR_TASK_FIELDS_H
#define TWR_TASK_FIELDS_H

#include "base/state.h"

/* Fill in state->task; its why_not, if the fields cannot be found. */
int twr_task_fields_init(TwrState *state);

/* Whether op is a task of asyncio's own types, or derived from these.
 * Quiet. */
bool twr_task_is(TwrState *state, PyObject *op);

/* The task of which callback is a step, or the beginning of one, or another
 * bound method, as a loop's call_soon is given it; borrowed.  NULL: of none.
 * Only what is known to be such a thing is looked into.  Quiet. */
PyObject *twr_task_of_callback(TwrState *state, PyObject *callback);

/* What task is going to step. */
PyObject *twr_task_coro(TwrState *state, PyObject *task);

/* Have task step coro from now on.  It may be in the middle of a step. */
int twr_task_set_coro(TwrState *state, PyObject *task, PyObject *coro);

/* Whether task is of asyncio's C type, or of a type derived from that.  Quiet.
 */
static inline bool
twr_task_is_c(const TwrState *state, PyObject *task)
{
    return PyObject_TypeCheck(task, (PyTypeObject *)state->CTask);
}

/* Write _fut_waiter; future may be NULL. */
int twr_task_set_waiter(TwrState *state, PyObject *task, PyObject *future);

/* Read _must_cancel; -1: error. */
int twr_task_must_cancel(TwrState *state, PyObject *task);

/* Write _must_cancel. */
int twr_task_set_must_cancel(TwrState *state, PyObject *task, bool must);

#endif
