/* engine/in_place.h - go on in place: a bare yield without leaving the stack.
 *
 * A coroutine that yields nothing, as asyncio.sleep(0) does, goes on in the
 * next turn, when all that was queued before has run.  If nothing was, the
 * caller can take that turn itself, where it stands: queue its call, poll, and
 * find the call to be the next handle.  Nobody else's code runs meanwhile, so
 * neither the task nor the contexts have to be left.
 *
 * If another handle is the next one, or the poll finds anything, the call is
 * parked as always: it stands in the queue, in its place.
 *
 * In the same way a call that carries its task, in a run of its own, runs the
 * handles of that task itself, as long as they are the next ones. */
#ifndef TWR_IN_PLACE_H
#define TWR_IN_PLACE_H

#include "engine/call.h"

/* Have call, which is about to wait for the next turn, wait for it in place.
 * 1: its turn has come; 0: it is queued, and has to be parked; -1: error.
 * *queued: whether it stands in the queue. */
int twr_in_place(Thread *th, Call *call, bool *queued);

/* What comes next for a call that carries a task, in a run of its own. */
typedef enum {
    IN_PLACE_ERROR = -1,
    IN_PLACE_PARK,   /* nothing that is for it: it has to be parked */
    IN_PLACE_HANDLE, /* a handle of its task (*handle), to be run here */
    IN_PLACE_DONE,   /* its task is done, and calls it back */
} TwrInPlace;

/* Take the next handle from the queue, if it is for call. */
TwrInPlace twr_in_place_next(Thread *th, Call *call, PyObject **handle);

#endif
