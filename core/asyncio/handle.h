/* asyncio/handle.h - handles: what stands in the ready queue for a callback.
 *
 *     loop._ready: [handle] [handle] ...   handle._run() calls its _callback,
 *                                          in its _context
 *
 * A step of a task is a handle, too: the callback is a method of the task. */
#ifndef TWR_HANDLE_H
#define TWR_HANDLE_H

#include "base/state.h"

/* handle._callback; *callback NULL without error: there is none, as in markers
 * and other libraries' stand-ins, or a property has failed: handle._run() may
 * do without, or fails as well. */
int twr_handle_callback(TwrState *state, PyObject *handle,
                        PyObject **callback);

/* The contextvars context in which handle runs its callback. */
PyObject *twr_handle_context(PyObject *handle);

/* Run handle in a step of its own.  Switches. */
int twr_handle_run(TwrState *state, PyObject *handle);

/* Take the handle of task's first step, the last handle in the queue of loop,
 * out of that; NULL without error: the last handle is another one. */
PyObject *twr_handle_take_first(TwrState *state, PyObject *loop,
                                PyObject *task);

/* Whether anything is going to run the next step of task, which is not
 * running: what it waits for, or a handle in the queue. */
bool twr_handle_is_due(TwrState *state, PyObject *loop, PyObject *task);

/* Put handle in the last place of the queue of loop. */
int twr_handle_queue(TwrState *state, PyObject *loop, PyObject *handle);

/* Take the frame of Handle._run() out of the traceback of exc, and clear it.
 */
void twr_handle_drop_frame(TwrState *state, PyObject *exc);

/* In a forked child, handle was run: -1 if that was a step which is to end the
 * process, whose exception is then pending. */
int twr_handle_check_child(TwrState *state, PyObject *handle);

/* What a type bears whose objects stand in the queue as handles: its method
 * run() is called in their turn ... */
#define TWR_HANDLE_METHODS(run)                                               \
    {                                                                         \
        "_run", run, METH_NOARGS, NULL                                        \
    }

/* ... unless its getter cancelled() returns true; debug mode shows the object
 * itself. */
#define TWR_HANDLE_GETSET(cancelled)                                          \
    {"_cancelled", cancelled, NULL, NULL, NULL},                              \
    {                                                                         \
        "_callback", twr_handle_self, NULL, NULL, NULL                        \
    }

/* A getter: op itself. */
PyObject *twr_handle_self(PyObject *op, void *closure);

/* Look for the names that this file relies on. */
int twr_handle_init(TwrState *state);

#endif
