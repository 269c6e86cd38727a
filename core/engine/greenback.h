/* engine/greenback.h - greenback's portals, beside our drivers.
 *
 * A task with a portal of greenback runs in a greenlet of its own, a child of
 * the one in which its first step ran: the portal.  At each step greenback
 * asks the portal for its contextvars context, taking it for the greenlet in
 * which the step runs.  Here that may be another driver.  So before a step of
 * such a task its portal, which is parked, is given the context of the step;
 * when the portal goes on, it takes its own one back (twr_switch_to()).
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
