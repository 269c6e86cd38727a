/* engine/greenback.h - greenback's portals, beside our drivers.
 *
 * A task with a portal of greenback runs in a greenlet of its own, a child of
 * the portal, which is the greenlet in which the first step of the task ran.
 * At each step greenback asks the portal for a contextvars context, as if the
 * step ran there.  Here the step may run in another driver.  So before a step
 * of such a task the portal, which is parked, is given the context of the
 * step; when the portal goes on, its own context is back (twr_switch_to()).
 *
 * What the portal is sent by its child comes to us, and is forwarded like any
 * switch that was not meant for us. */
#ifndef TWR_GREENBACK_H
#define TWR_GREENBACK_H

#include "base/state.h"

/* Look whether greenback has been imported. */
void twr_greenback_look(TwrState *state);

/* 1 if there are portals at all.  Quiet. */
bool twr_greenback_has_portals(TwrState *state);

/* The open portal of task (stolen; NULL: there is none), if that is another
 * greenlet than the running one; or NULL.  Clears the pending exception. */
PyObject *twr_greenback_portal_of(TwrState *state, PyObject *task);

/* handle, which calls callback, is about to be run. */
void twr_greenback_step(TwrState *state, PyObject *handle, PyObject *callback);

#endif
