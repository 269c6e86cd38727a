/* engine/wake.h - a loop that runs by itself calls a parked call back.
 *
 * The native greenlet is then inside that callback, with no user frame above:
 * there it parks, idle, and the call goes on. */
#ifndef TWR_WAKE_H
#define TWR_WAKE_H

#include "engine/call.h"

/* call has been called by such a loop, or by somebody else's callback; None.
 * Switches. */
PyObject *twr_wake(Thread *th, Call *call);

#endif
