/* await.h - the engine: find who serves a call, and let it wait there.
 *
 * The coroutine of a call is not made a task: it is stepped right where the
 * call was made, in the caller's task, context and stack, as await would.  If
 * it never suspends, nothing else happens.  What it yields is waited for as
 * the backend says that serves calls there (backends/backend.h). */
#ifndef TWR_AWAIT_H
#define TWR_AWAIT_H

#include "base/state.h"

/* Wait for awaitable; callee (may be NULL) is named in errors.  Switches. */
PyObject *twr_await(TwrState *state, PyObject *awaitable, PyObject *callee);

/* 0 if a call can wait here; CannotSuspend if not.  *loop, unless NULL, is set
 * to the loop in which it is going to wait, if that is not the running one; or
 * to NULL.  Switches. */
int twr_await_check(TwrState *state, PyObject *callee, PyObject **loop);

#endif
