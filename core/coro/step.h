/* coro/step.h - one step of a coroutine, from outside: throw, and how it
 * ended.
 *
 * PyIter_Send() sends; what the C API lacks is here. */
#ifndef TWR_STEP_H
#define TWR_STEP_H

#include "base/state.h"

/* iterator.throw(*error), as a step; *error is taken, *value is set to what
 * was yielded or returned.  Switches. */
PySendResult twr_step_throw(TwrState *state, PyObject *iterator,
                            PyObject **error, PyObject **value);

/* What a method send() or throw() returns at the end of a step: result
 * (stolen), or StopIteration with it is raised. */
PyObject *twr_step_return(PySendResult how, PyObject *result);

/* The exception that throw(type, value, traceback) stands for; value and tb
 * may be NULL. */
PyObject *twr_step_exception(PyObject *type, PyObject *value, PyObject *tb);

#endif
