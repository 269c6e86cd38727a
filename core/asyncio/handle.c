/* asyncio/handle.c - handles: what stands in the ready queue for a callback.
 */
#include "asyncio/handle.h"

#include "asyncio/facts.h"
#include "asyncio/loop.h"
#include "asyncio/quick_handle.h"
#include "asyncio/task.h"
#include "stack/walk.h"

int
twr_handle_callback(TwrState *state, PyObject *handle, PyObject **callback)
{
    if (twr_quick_is_handle(state, handle)) {
        *callback = Py_XNewRef(twr_quick_callback(state, handle));
        return 0;
    }
    int found =
        PyObject_GetOptionalAttr(handle, state->names._callback, callback);
    return found < 0 ? -1 : 0;
}

PyObject *
twr_handle_context(PyObject *handle)
{
    return PyObject_GetAttrString(handle, "_context");
}

int
twr_handle_run(TwrState *state, PyObject *handle)
{
    return twr_done(PyObject_CallMethodNoArgs(handle, state->names._run));
}

/* The object of which handle's callback is a method; NULL without error: the
 * callback is no method. */
static PyObject *
find_self(TwrState *state, PyObject *handle)
{
    PyObject *callback, *self = NULL;
    if (twr_handle_callback(state, handle, &callback) < 0 ||
        callback == NULL) {
        return NULL;
    }
    PyObject_GetOptionalAttr(callback, state->names.__self__, &self);
    Py_DECREF(callback);
    return self;
}

/* Put handle (stolen), which was taken out of the queue ready, in its last
 * place again.  Keeps a pending exception. */
static int
put_last(TwrState *state, PyObject *ready, PyObject *handle)
{
    PyObject *pending = twr_error_take();
    int done = twr_done(
        PyObject_CallMethodOneArg(ready, state->names.append, handle));
    Py_DECREF(handle);
    twr_error_put(pending);
    return done;
}

PyObject *
twr_handle_take_first(TwrState *state, PyObject *loop, PyObject *task)
{
    PyObject *handle = NULL;
    PyObject *ready = twr_loop_ready(state, loop);
    if (ready != NULL && PyObject_Size(ready) > 0) {
        handle = PyObject_CallMethodNoArgs(ready, state->names.pop);
    }
    if (handle != NULL) {
        PyObject *self = find_self(state, handle);
        if (self != task) {
            put_last(state, ready, handle);
            handle = NULL;
        }
        Py_XDECREF(self);
    }
    Py_XDECREF(ready);
    return handle;
}

bool
twr_handle_is_due(TwrState *state, PyObject *loop, PyObject *task)
{
    PyObject *waiter = PyObject_GetAttr(task, state->names._fut_waiter);
    bool waits = waiter != NULL && waiter != Py_None;
    Py_XDECREF(waiter);
    PyObject *step = waits ? NULL : twr_handle_take_first(state, loop, task);
    if (step != NULL) {
        PyObject *ready = twr_loop_ready(state, loop);
        waits = ready != NULL && put_last(state, ready, step) == 0;
        Py_XDECREF(ready);
    }
    return waits;
}

/* That frame is not the user's.  The frames above hold it, and it holds
 * handle: the exception would so hold the task that has that exception. */
void
twr_handle_drop_frame(TwrState *state, PyObject *exc)
{
    PyTracebackObject *first =
        (PyTracebackObject *)PyException_GetTraceback(exc);
    if (first == NULL) {
        return;
    }
    PyObject *rest =
        first->tb_next == NULL ? Py_None : (PyObject *)first->tb_next;
    if (twr_facts_runs_handle(state, twr_walk_code(first->tb_frame))) {
        PyException_SetTraceback(exc, rest);
        twr_done(
            PyObject_CallMethod((PyObject *)first->tb_frame, "clear", NULL));
    }
    PyErr_Clear();
    Py_DECREF(first);
}

int
twr_handle_check_child(TwrState *state, PyObject *handle)
{
    PyObject *task = find_self(state, handle);
    PyErr_Clear();
    int ended = task == NULL ? 0 : twr_task_ended_child(state, task);
    Py_XDECREF(task);
    return ended;
}

int
twr_handle_init(TwrState *state)
{
    static const TwrFact facts[] = {
        {"Handle", "_run", "_callback _context", NULL},
        {"Handle", NULL, "_callback _context _run", NULL},
        {"BaseEventLoop", "_call_soon", "_ready append", NULL},
        {"Task", NULL, "_fut_waiter", NULL},
        {NULL, NULL, NULL, NULL},
    };
    return twr_facts_require(state, facts);
}
