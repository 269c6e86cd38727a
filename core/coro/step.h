/* coro/step.h - one step of a coroutine, from outside.
 *
 * A step begins with a value sent in, or an exception thrown in, and ends with
 * what was yielded (PYGEN_NEXT), returned (PYGEN_RETURN) or raised.
 * PyIter_Send() sends; what the C API lacks is here. */
#ifndef TWR_STEP_H
#define TWR_STEP_H

#include "base/state.h"

/* iterator.throw(*error), as a step.  *error is cleared; *value is set to what
 * was yielded or returned, or to NULL.  Switches. */
PySendResult twr_step_throw(TwrState *state, PyObject *iterator,
                            PyObject **error, PyObject **value);

/* What a method send() or throw() returns at the end of a step: result
 * (stolen) if that was yielded; if it was returned, StopIteration is raised.
 */
PyObject *twr_step_return(PySendResult how, PyObject *result);

/* The method send() of a type that has am_send.  Switches. */
PyObject *twr_step_send(PyObject *self, PyObject *value);

/* tp_iternext of such a type.  Switches. */
PyObject *twr_step_next(PyObject *self);

/* The exception that throw(*args) stands for: (type, value, traceback), the
 * latter two not always there. */
PyObject *twr_step_exception(PyObject *args);

#endif
