/* backends/run.h - no loop in this thread: run the thread's own one.
 *
 * The call carries a task (backends/carry.c), and a driver turns the loop
 * while the caller is parked: the caller's stack carries the steps of its own
 * task and nothing else, so that it can return as soon as that task is done,
 * whatever other calls are then waiting. */
#ifndef TWR_RUN_H
#define TWR_RUN_H

#include "engine/thread.h"

/* 0 if a loop can be run here; CannotSuspend if not. */
int twr_run_check(Thread *th, PyObject *callee);

/* Run loop, which does not run, until coro is done; its result.  Switches. */
PyObject *twr_run_in(Thread *th, PyObject *loop, PyObject *coro,
                     PyObject *callee);

#endif
