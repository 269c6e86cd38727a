/* backends/home.h - calls that run at home: in another loop, whoever makes
 * them.
 *
 * What crosses the threads is in Python, tworoutine/_homes.py: a bridge, a
 * coroutine that has something run at home and waits for its end.  Where a
 * loop runs, a bridge waits as every coroutine does; where none runs, its one
 * step blocks the thread.  Nothing of this is asked before _homes.py is
 * imported, which the first home does. */
#ifndef TWR_HOME_H
#define TWR_HOME_H

#include "backends/backend.h"

/* Whether what the call waits for is to be awaited at home, by a bridge.
 * Quiet. */
static inline bool
twr_home_awaits(const TwrPlace *place)
{
    return place->home != NULL && !place->goes_home;
}

/* The bridge for awaitable to the home of place. */
PyObject *twr_home_bridge(TwrPlace *place, PyObject *awaitable);

/* The pending exception comes from home: its traceback is to show nothing of
 * the way. */
void twr_home_hide_frames(const TwrPlace *place);

/* Whether calls of callee made in this context, where loop runs, run in
 * another one; -1: error. */
int twr_home_is_away(TwrState *state, PyObject *callee, PyObject *loop);

#endif
