/* asyncio/quick.h - a turn in C, where everything is asyncio's own.
 *
 * What run_once.c and debug.c do by calling the loop's own Python, asked anew
 * each time, can be done by less where nobody has put anything of their own in
 * its place: the loop's type, its selector and its handles are asyncio's, they
 * have not been changed, no instance hides what its class has, and neither
 * debug mode nor a trace function looks on.  That is found out at import
 * (which types, and where their slots are), when a loop comes to be driven
 * (its selector), and at each use (whether it is still so).  What does not fit
 * takes the slow way, for that turn or that handle.
 *
 * Polls, signals, and threads that want the GIL are served as by the slow way.
 * What a selector finds is left to the loop's own Python. */
#ifndef TWR_QUICK_H
#define TWR_QUICK_H

#include "asyncio/quick_timers.h"

/* A loop comes to be driven: look at it. */
void twr_quick_begin(TwrIteration *it);

/* Forget what was seen of it. */
void twr_quick_end(TwrIteration *it);

/* Whether the ready queue of such a loop is still the one that we know. */
bool twr_quick_has_ready(TwrIteration *it);

/* Whether a turn can be taken in the quick way, now. */
bool twr_quick_may_turn(TwrIteration *it);

/* loop._stopping of such a loop; -1: it is not a bool. */
int twr_quick_is_stopping(TwrIteration *it);

/* How many descriptors the loop's selector watches; -1: not known. */
Py_ssize_t twr_quick_watched(TwrIteration *it);

/* Poll; block: until something comes or a timer is due.  1: there are events,
 * or timers that are due; 0: there are none, -1: error.  Signals are handled
 * if it blocks. */
int twr_quick_poll(TwrIteration *it, bool block);

/* The next handle in the ready queue, which has one. */
PyObject *twr_quick_pop(TwrIteration *it);

/* Put handle at the end of the ready queue. */
int twr_quick_append(TwrIteration *it, PyObject *handle);

/* Put handle in front of the ready queue. */
int twr_quick_append_left(TwrIteration *it, PyObject *handle);

/* How many handles are ready.  Quiet. */
static inline Py_ssize_t
twr_quick_ready(const TwrIteration *it)
{
    return Py_SIZE(it->ready);
}

#endif
