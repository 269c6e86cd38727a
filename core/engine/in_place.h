/* engine/in_place.h - go on in place: a bare yield without leaving the stack.
 *
 * A coroutine that yields nothing, as asyncio.sleep(0) does, goes on in the
 * next turn, when all that was queued before has run.  If nothing was, the
 * caller can take that turn itself, where it stands: queue its call, poll, and
 * find the call to be the next handle.  Nobody else's code runs meanwhile, so
 * neither the task nor the contexts have to be left.
 *
 * If another handle is the next one, or the poll finds anything, the call is
 * parked as always: it stands in the queue, in its place. */
#ifndef TWR_IN_PLACE_H
#define TWR_IN_PLACE_H

#include "engine/call.h"

/* Have call, which is about to wait for the next turn, wait for it in place.
 * 1: its turn has come; 0: it is queued, and has to be parked; -1: error.
 * *queued: whether it stands in the queue. */
int twr_in_place(Thread *th, Call *call, bool *queued);

#endif
