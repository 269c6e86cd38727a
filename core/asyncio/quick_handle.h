/* asyncio/quick_handle.h - a handle of asyncio's own: its slots, and how it
 * runs. */
#ifndef TWR_QUICK_HANDLE_H
#define TWR_QUICK_HANDLE_H

#include "asyncio/iteration.h"

/* Whether handle is one of asyncio's own, which can be run in the quick way.
 */
bool twr_quick_is_handle(TwrState *state, PyObject *handle);

/* What a slot of such a handle holds, which is so far from its beginning;
 * borrowed, may be NULL.  Quiet. */
static inline PyObject *
twr_quick_slot(PyObject *handle, Py_ssize_t at)
{
    return *(PyObject **)((char *)handle + at);
}

/* handle._callback and handle._cancelled of such a handle; borrowed.  Quiet.
 */
PyObject *twr_quick_callback(TwrState *state, PyObject *handle);

/* See twr_quick_callback().  Quiet. */
PyObject *twr_quick_cancelled(TwrState *state, PyObject *handle);

/* Whether handle, of the loop of it, can be run in the quick way, now. */
bool twr_quick_may_run(TwrIteration *it, PyObject *handle);

/* Run such a handle as Handle._run() does; on_footing: in a driver, where a
 * frame stands that looks like that of Handle._run().  Elsewhere, whatever its
 * callback raises is pending, and is not reported.  Switches. */
int twr_quick_run(TwrState *state, PyObject *handle, bool on_footing);

#endif
