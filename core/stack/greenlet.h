/* stack/greenlet.h - the only door to greenlet: other C stacks for a thread.
 *
 * A greenlet is a C stack that shares its thread with others, of which one
 * runs.  To switch copies the slices of the C stack that overlap to the heap
 * and back, and takes the thread's Python frames, contextvars context and
 * handled exceptions along.  One that has ended goes on in its parent. */
#ifndef TWR_GREENLET_H
#define TWR_GREENLET_H

#include "base/state.h"

/* Import greenlet's C interface. */
int twr_greenlet_init(void);

/* The greenlet that runs now. */
PyObject *twr_greenlet_current(void);

/* The same, borrowed: it is alive because it runs. */
PyObject *twr_greenlet_running(void);

/* A greenlet that is going to call run(); parent NULL: the running one. */
PyObject *twr_greenlet_new(PyObject *run, PyObject *parent);

/* Where greenlet goes on once it has ended; NULL without error: it is the
 * thread's first one. */
PyObject *twr_greenlet_parent(PyObject *greenlet);

/* Have greenlet go on in parent once it has ended. */
int twr_greenlet_set_parent(PyObject *greenlet, PyObject *parent);

/* Whether greenlet has been switched to for the first time.  Quiet. */
bool twr_greenlet_is_started(PyObject *greenlet);

/* Whether greenlet has begun and has not ended.  Quiet. */
bool twr_greenlet_is_active(PyObject *greenlet);

/* The greenlet that the thread began with. */
PyObject *twr_greenlet_first(void);

/* Switch to greenlet with args (a tuple; NULL: none); returns what this one is
 * switched to with when it goes on, or NULL and what is thrown.  Switches. */
PyObject *twr_greenlet_switch(PyObject *to, PyObject *args);

/* Switch to greenlet and raise exc there.  Switches. */
PyObject *twr_greenlet_throw(PyObject *to, PyObject *exc);

/* Raise GreenletExit, which greenlet takes for an ordinary end. */
void twr_greenlet_exit(void);

/* Whether the code that runs cleans up in a greenlet that is being killed, by
 * whoever drops it perhaps, and so in the middle of anything. */
bool twr_greenlet_is_killed(void);

/* Whether greenlet is of greenlet's own type, and not of one derived. */
bool twr_greenlet_is_plain(PyObject *greenlet);

#endif
