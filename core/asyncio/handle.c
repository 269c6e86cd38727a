/* asyncio/handle.c - handles: what stands in the ready queue for a callback.
 */
#include "asyncio/handle.h"

#include "asyncio/facts.h"
#include "asyncio/loop.h"
#include "asyncio/quick_handle.h"
#include "asyncio/task.h"
#include "asyncio/task_fields.h"
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
    if (found < 0 && PyErr_ExceptionMatches(PyExc_Exception)) {
        PyErr_Clear();
        found = 0;
    }
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

/* The task of which handle is a step; NULL without error: of none. */
static PyObject *
find_task(TwrState *state, PyObject *handle)
{
    PyObject *callback;
    if (twr_handle_callback(state, handle, &callback) < 0 ||
        callback == NULL) {
        return NULL;
    }
    PyObject *task = Py_XNewRef(twr_task_of_callback(state, callback));
    Py_DECREF(callback);
    return task;
}

/* Put handle in the last place of the queue ready. */
static int
append(TwrState *state, PyObject *ready, PyObject *handle)
{
    return twr_done(
        PyObject_CallMethodOneArg(ready, state->names.append, handle));
}

int
twr_handle_queue(TwrState *state, PyObject *loop, PyObject *handle)
{
    PyObject *ready = twr_loop_ready(state, loop);
    int done = ready == NULL ? -1 : append(state, ready, handle);
    Py_XDECREF(ready);
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
        PyObject *stepped = find_task(state, handle);
        if (stepped != task) {
            PyObject *pending = twr_error_take();
            append(state, ready, handle);
            Py_CLEAR(handle);
            twr_error_put(pending);
        }
        Py_XDECREF(stepped);
    }
    Py_XDECREF(ready);
    return handle;
}

/* Whether a handle in the queue of loop is a step of task. */
static bool
is_queued(TwrState *state, PyObject *loop, PyObject *task)
{
    PyObject *ready = twr_loop_ready(state, loop);
    PyObject *handles = ready == NULL ? NULL : PySequence_Tuple(ready);
    Py_ssize_t count = handles == NULL ? 0 : PyTuple_GET_SIZE(handles);
    bool queued = false;
    for (Py_ssize_t i = 0; i < count && !queued; i++) {
        PyObject *stepped = find_task(state, PyTuple_GET_ITEM(handles, i));
        PyErr_Clear();
        queued = stepped == task;
        Py_XDECREF(stepped);
    }
    Py_XDECREF(handles);
    Py_XDECREF(ready);
    return queued;
}

bool
twr_handle_is_due(TwrState *state, PyObject *loop, PyObject *task)
{
    PyObject *waiter = PyObject_GetAttr(task, state->names._fut_waiter);
    /* What is done has queued the step, which may have been taken. */
    bool waits = waiter != NULL && waiter != Py_None &&
                 twr_ask(waiter, state->names.done) == 0;
    Py_XDECREF(waiter);
    PyErr_Clear();
    return waits || is_queued(state, loop, task);
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
    PyObject *task = find_task(state, handle);
    PyErr_Clear();
    int ended = task == NULL ? 0 : twr_task_ended_child(state, task);
    Py_XDECREF(task);
    return ended;
}

PyObject *
twr_handle_self(PyObject *op, void *Py_UNUSED(closure))
{
    return Py_NewRef(op);
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
