/* stack/greenlet.h - the only door to greenlet: other C stacks for a thread.
 *
 * A greenlet is a C stack that shares its thread with others, of which one
 * runs.  To switch copies the slices of the C stack that overlap to the heap
 * and back, and takes the thread's Python frames, contextvars context and
 * handled exceptions along.  Where a greenlet has ended, its parent goes on.
 *
 * To everybody else a greenlet is a PyObject. */
#ifndef TWR_GREENLET_H
#define TWR_GREENLET_H

#include "base/state.h"

/* Import greenlet's C interface. */
int twr_greenlet_init(void);

/* The greenlet that runs now. */
PyObject *twr_greenlet_current(void);

/* The greenlet that runs now; borrowed: alive because it runs. */
static inline PyObject *
twr_greenlet_running(void)
{
    PyObject *me = twr_greenlet_current();
    Py_XDECREF(me);
    return me;
}

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

/* Switch to greenlet with args (a tuple; NULL: none).  When the running
 * greenlet goes on, returns what somebody has switched to it with, or NULL and
 * what was thrown.  Switches. */
PyObject *twr_greenlet_switch(PyObject *greenlet, PyObject *args);

/* Switch to greenlet and raise exc there; returns as twr_greenlet_switch().
 * Switches. */
PyObject *twr_greenlet_throw(PyObject *greenlet, PyObject *exc);

/* Raise GreenletExit, which greenlet takes for an ordinary end. */
void twr_greenlet_exit(void);

/* Whether the code that runs cleans up in a greenlet that is being killed: by
 * whoever has dropped that greenlet perhaps, and so in the middle of anything.
 */
bool twr_greenlet_is_killed(void);

/* Whether greenlet is of the type greenlet.greenlet, and of none derived. */
bool twr_greenlet_is_plain(PyObject *greenlet);

#endif
