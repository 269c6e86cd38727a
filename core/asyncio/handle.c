/* asyncio/handle.c - handles: what stands in the ready queue for a callback.
 */
#include "asyncio/handle.h"

#include "asyncio/facts.h"
#include "asyncio/task.h"

int
twr_handle_callback(TwrState *state, PyObject *handle, PyObject **callback)
{
    return PyObject_GetOptionalAttr(handle, state->names._callback, callback) <
                   0
               ? -1
               : 0;
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

/* The object of which the handle's callback is a method; NULL without error:
 * it is none. */
static PyObject *
self_of(TwrState *state, PyObject *handle)
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

PyObject *
twr_handle_take_first(TwrState *state, PyObject *loop, PyObject *task)
{
    PyObject *handle = NULL, *self = NULL;
    PyObject *ready = PyObject_GetAttr(loop, state->names._ready);
    if (ready != NULL && PyObject_Size(ready) > 0) {
        handle = PyObject_CallMethodNoArgs(ready, state->names.pop);
    }
    if (handle != NULL) {
        self = self_of(state, handle);
    }
    if (handle != NULL && self != task && !PyErr_Occurred()) {
        twr_done(
            PyObject_CallMethodOneArg(ready, state->names.append, handle));
    }
    if (self != task) {
        Py_CLEAR(handle);
    }
    Py_XDECREF(ready);
    Py_XDECREF(self);
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
        PyObject *ready = PyObject_GetAttr(loop, state->names._ready);
        waits = ready != NULL && twr_done(PyObject_CallMethodOneArg(
                                     ready, state->names.append, step)) == 0;
        Py_XDECREF(ready);
        Py_DECREF(step);
    }
    return waits;
}

/* That frame is not the user's; frames above it hold it, and by its handle the
 * exception would hold the task that has it. */
void
twr_handle_drop_frame(TwrState *state, PyObject *exc)
{
    PyTracebackObject *first =
        (PyTracebackObject *)PyException_GetTraceback(exc);
    if (first == NULL) {
        return;
    }
    PyObject *code = (PyObject *)PyFrame_GetCode(first->tb_frame);
    PyObject *rest =
        first->tb_next == NULL ? Py_None : (PyObject *)first->tb_next;
    if (PySequence_Contains(state->loop.handle_run_codes, code) == 1) {
        PyException_SetTraceback(exc, rest);
        twr_done(
            PyObject_CallMethod((PyObject *)first->tb_frame, "clear", NULL));
    }
    PyErr_Clear();
    Py_DECREF(code);
    Py_DECREF(first);
}

int
twr_handle_check_child(TwrState *state, PyObject *handle)
{
    PyObject *task = self_of(state, handle);
    PyErr_Clear();
    int ended = task == NULL ? 0 : twr_task_ended_child(state, task);
    Py_XDECREF(task);
    return ended;
}

int
twr_handle_init(TwrState *state)
{
    static const char *const in_0[] = {"_callback", "_context", NULL};
    static const char *const in_1[] = {"append", NULL};
    return twr_facts_require(state,
                             (TwrFactsPlace){"Handle", "_run", "co_names"},
                             in_0) < 0 ||
                   twr_facts_require(state,
                                     (TwrFactsPlace){"BaseEventLoop",
                                                     "_call_soon", "co_names"},
                                     in_1) < 0
               ? -1
               : 0;
}
