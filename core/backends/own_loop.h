/* backends/own_loop.h - which loop runs where none is running.
 *
 * At a prompt of IPython, the one in which that runs what is awaited there;
 * else the one that is set for this thread, if it is open and idle; else one
 * that we make, set and keep, so that what one call opens the next can use. */
#ifndef TWR_OWN_LOOP_H
#define TWR_OWN_LOOP_H

#include "engine/thread.h"

/* The loop that a call would run. */
PyObject *twr_own_loop(Thread *th, PyObject *callee);

/* What runs what is awaited at IPython's prompt, in a loop that only IPython
 * knows; NULL without error: the call was made elsewhere. */
PyObject *twr_own_loop_runner(Thread *th);

/* Have it look as if no loop ran to the synchronous code that a callback of
 * loop, which runs, is about to run.  Calls made by that code find the loop.
 */
int twr_own_loop_hide(Thread *th, PyObject *loop);

/* Undo twr_own_loop_hide(). */
int twr_own_loop_show(Thread *th);

/* Keep no loop any longer. */
void twr_own_loop_drop(Thread *th);

#endif
