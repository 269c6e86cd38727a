/* engine/stop.h - a loop that we drive is to stop, or a handle has failed.
 *
 * Each of these says who has to run next: a greenlet to switch to, or NULL to
 * go on driving, with an exception if that is to be reported. */
#ifndef TWR_STOP_H
#define TWR_STOP_H

#include "engine/call.h"

/* The loop wants to stop: its native greenlet; NULL while that is pinned. */
PyObject *twr_stop_give_back(Thread *th, Driven *driven);

/* run.c's loop was stopped by somebody: the main call goes on if its task is
 * done, or fails. */
PyObject *twr_stop_main_call(Thread *th, Driven *driven);

/* The pending exception ends the run of the loop, as if it came out of
 * run_forever: who is to raise it.  in_handle: a handle has raised it, and not
 * the loop itself. */
PyObject *twr_stop_failed(Thread *th, Driven *driven, bool in_handle);

#endif
