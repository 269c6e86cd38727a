/* look.h - the calls that wait, of all threads: for who looks from outside.
 *
 * Every call that waits stands in a list of its thread's record: those that
 * are parked in a loop that we drive, those in portals, those that others
 * serve.  The lists are whole whenever Python code runs, so a signal handler,
 * or another thread, may walk them: the walk runs nobody's code. */
#ifndef TWR_LOOK_H
#define TWR_LOOK_H

#include "base/state.h"

/* A list with a tuple for each call, and each thread that has made one: see
 * tworoutine/_calls.py, Found. */
PyObject *twr_look(void);

#endif
