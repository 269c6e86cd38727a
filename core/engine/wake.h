/* engine/wake.h - a parked call is called back, and not found by a driver.
 *
 * If its loop runs by itself, the native greenlet is inside that callback,
 * with no user frame above: there it parks, idle, and the call goes on.  Else
 * it was somebody else's callback, or a turn that somebody else takes above
 * us: the call is put into the queue, for a driver to find.  In another
 * thread, or in a forked child, it can never go on, which is said. */
#ifndef TWR_WAKE_H
#define TWR_WAKE_H

#include "engine/call.h"

/* call has been called by such a loop, or by somebody else's callback; None.
 * Switches. */
PyObject *twr_wake(Thread *th, Call *call);

#endif
