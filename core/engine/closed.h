/* engine/closed.h - calls that still wait when their loop has been closed.
 *
 * Such calls never go on: nothing runs their loop again.  Nor does the
 * collector find them, since the stack on which a call waits owns the Call.  A
 * task that awaits in such a loop is collected: asyncio says that it "was
 * destroyed but it is pending", and its coroutine is closed.  A task that
 * waits in a call is ended likewise when the thread runs another loop next, or
 * ends: the call raises GeneratorExit, and asyncio's sentence is said when the
 * task is dropped, which whoever holds the task may never do.  At the end of
 * the interpreter nothing is said of what is left in open loops.
 *
 * Ctrl-C meanwhile is not for the calls that end but for who runs now, and is
 * kept until they have ended. */
#ifndef TWR_CLOSED_H
#define TWR_CLOSED_H

#include "engine/call.h"

/* end_closed() of the module, which twr_closed_before_drive() queues. */
extern PyMethodDef twr_closed_def;

/* loop is about to be driven: its Driven, as twr_driven_of() gives.  If calls
 * of this thread still wait in loops that are closed, a callback of loop is
 * going to end them. */
Driven *twr_closed_before_drive(Thread *th, PyObject *loop);

/* End the calls in closed loops now; at_end: in all loops, since the thread
 * ends.  No exception may be pending; -1: Ctrl-C came meanwhile.  Switches. */
int twr_closed_end(Thread *th, bool at_end);

/* 1 if the running code is below a call that is being ended. */
int twr_closed_is_below(Thread *th);

/* Refuse a call that is made below one that is being ended, -1; 0 elsewhere.
 * After too many of these the running greenlet is left alone for ever.
 * Switches. */
int twr_closed_refuse(Thread *th, PyObject *callee);

/* Where a step goes that has ended, in which a call was ended; the pending
 * exception, if any, is reported. */
PyObject *twr_closed_back(Thread *th, Driven *driven);

#endif
