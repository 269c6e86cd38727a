/* asyncio/quick_handle.c - a handle of asyncio's own, and how it runs. */
#include "asyncio/quick_handle.h"

bool
twr_quick_is_handle(TwrState *state, PyObject *handle)
{
    const TwrQuickFacts *facts = &state->quick;
    const PyTypeObject *type = Py_TYPE(handle);
    unsigned version = type == facts->handle  ? facts->handle_version
                       : type == facts->timer ? facts->timer_version
                                              : 0;
    return facts->is_known && version != 0 && type->tp_version_tag == version;
}

bool
twr_quick_may_run(TwrIteration *it, PyObject *handle)
{
    TwrState *state = it->state;
    return it->quick.dict != NULL && twr_quick_is_handle(state, handle) &&
           !twr_is_traced() &&
           (twr_watch_is_unchanged(&it->quick.watch) ||
            PyDict_GetItemWithError(it->quick.dict, state->names._debug) ==
                Py_False);
}

PyObject *
twr_quick_callback(TwrState *state, PyObject *handle)
{
    return twr_quick_slot(handle, state->quick.callback_at);
}

PyObject *
twr_quick_cancelled(TwrState *state, PyObject *handle)
{
    return twr_quick_slot(handle, state->quick.cancelled_at);
}

/* The callback of handle has failed: report that, as Handle._run() does; -1:
 * what is pending is to be raised. */
static int
report_failure(TwrState *state, PyObject *handle)
{
    if (PyErr_ExceptionMatches(PyExc_SystemExit) ||
        PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
        return -1;
    }
    PyObject *exc = twr_error_take();
    PyObject *handled = PyErr_GetHandledException();
    PyErr_SetHandledException(exc);
    int told =
        twr_done(twr_cold(state, COLD_handle_failed, "(OO)", handle, exc));
    PyErr_SetHandledException(handled);
    Py_XDECREF(handled);
    Py_DECREF(exc);
    return told;
}

/* Have the traceback of the pending exception begin where Handle._run would
 * stand: in the innermost frame of the driver's footing. */
static void
show_run(void)
{
    PyFrameObject *frame = twr_thread_frame();
    if (frame != NULL) {
        PyTraceBack_Here(frame);
    }
    Py_XDECREF(frame);
}

int
twr_quick_run(TwrState *state, PyObject *handle, bool on_footing)
{
    const TwrQuickFacts *facts = &state->quick;
    PyObject *callback = twr_quick_slot(handle, facts->callback_at);
    PyObject *args = twr_quick_slot(handle, facts->args_at);
    PyObject *context = twr_quick_slot(handle, facts->context_at);
    if (callback == NULL || context == NULL || args == NULL ||
        !PyTuple_CheckExact(args) || !PyContext_CheckExact(context)) {
        return twr_done(PyObject_CallMethodNoArgs(handle, state->names._run));
    }
    Py_INCREF(callback);
    Py_INCREF(args);
    Py_INCREF(context);
    PyObject *result = NULL;
    if (PyContext_Enter(context) == 0) {
        result =
            PyObject_Vectorcall(callback, ((PyTupleObject *)args)->ob_item,
                                (size_t)PyTuple_GET_SIZE(args), NULL);
        PyObject *pending = result == NULL ? twr_error_take() : NULL;
        if (PyContext_Exit(context) < 0) {
            Py_CLEAR(result);
        }
        twr_error_put(pending);
    }
    Py_DECREF(context);
    Py_DECREF(args);
    Py_DECREF(callback);
    if (result != NULL) {
        Py_DECREF(result);
        return PyErr_CheckSignals();
    }
    if (on_footing) {
        show_run();
        return report_failure(state, handle);
    }
    return -1;
}
