/* await.h - find who serves a call, and let it wait there.
 *
 * The coroutine of a call is not made a task: it is stepped right where the
 * call was made, in the caller's task, context and stack, as await would.  If
 * it never suspends, nothing else happens.  What it yields is waited for as
 * the backend says that serves calls there (backends/backend.h). */
#ifndef TWR_AWAIT_H
#define TWR_AWAIT_H

#include "base/state.h"

/* Wait for awaitable; callee (NULL: await_()) is named in errors.
 * Switches. */
PyObject *twr_await(TwrState *state, PyObject *awaitable, PyObject *callee);

/* 0 if a call can wait here; CannotSuspend if not.  *loop, unless NULL is
 * given for loop, is set to the loop in which the call is going to wait, or to
 * NULL if that is the running one.  Switches. */
int twr_await_check(TwrState *state, PyObject *callee, PyObject **loop);

/* Whether a finalizer may wait here.  In a running loop, only one that runs
 * since its object was dropped, and not the collector's; where none runs, none
 * in asyncio's own code; and none below a call that is being ended.  asyncio
 * then ends what there is to end, as for `async for`.  Switches. */
bool twr_await_may_finalize(TwrState *state, bool dropped);

#endif
