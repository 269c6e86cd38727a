/* backends/drivable.h - whether calls can wait in the running loop, or why
 * not.
 *
 * What stands in the way is a loop that is not asyncio's own kind, a greenlet
 * that is not the loop's, a place between two handles (a poll, a signal
 * handler in asyncio's own code), or another loop run inside.  Each is refused
 * with its reason, before anything has begun. */
#ifndef TWR_DRIVABLE_H
#define TWR_DRIVABLE_H

#include "engine/driven.h"

/* 0 if calls can wait in loop, which runs; CannotSuspend if not. */
int twr_drivable_check(Thread *th, PyObject *loop, PyObject *callee);

/* 0 if a caller without a task, for whom twr_drivable_check() was 0, can wait
 * in loop; CannotSuspend if not: a signal handler or another library's
 * greenlet may look like a callback, and the first step of the task that is
 * going to be carried cannot be taken back. */
int twr_drivable_check_callback(Thread *th, PyObject *loop, PyObject *callee);

#endif
