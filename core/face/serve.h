/* face/serve.h - what a tworoutine does with what its function has returned.
 */
#ifndef TWR_FACE_SERVE_H
#define TWR_FACE_SERVE_H

#include "face/object.h"

/* Whether what fn of op has returned is waited for; -1: error. */
int twr_tworoutine_waits_for(PyObject *op, PyObject *made);

/* What a call or an iteration of callee shows of value (stolen; NULL: a
 * failure). */
PyObject *twr_tworoutine_show(TwrState *state, PyObject *callee,
                              PyObject *value);

/* Wait for what fn of op returned, or wrap it for iteration or with.
 * Switches. */
PyObject *twr_tworoutine_serve(PyObject *op, PyObject *made);

#endif
