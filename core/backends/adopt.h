/* backends/adopt.h - tasks that are made past the factory of a loop.
 *
 * Under a loop that cannot be driven, such as uvloop's, calls wait in tasks
 * whose coroutine is a Portal, which the loop's task factory sees to.  Who
 * calls asyncio.Task() himself, as aiohttp's server does, goes past it; but
 * each step of such a task, too, is given to the call_soon of its loop. */
#ifndef TWR_ADOPT_H
#define TWR_ADOPT_H

#include "base/state.h"

/* Have what task steps from now on be a Portal, if it is none.  It may have
 * begun: then the rest of it runs in the portal. */
int twr_adopt(TwrState *state, PyObject *task);

/* A function to take the place of call_soon, the method of a loop: has the
 * coroutines of tasks whose step is given to it in portals, first. */
PyObject *twr_adopt_in(PyObject *module, PyObject *call_soon);

#endif
