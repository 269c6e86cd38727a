/* guest.c - a thread that gevent or Twisted runs.
 *
 * gevent switches between greenlets of its own, each of which may make calls
 * at any time, whatever asyncio's running loop is doing in another of them;
 * Twisted's reactors run no loop of asyncio's.  Who imports neither pays for
 * two look-ups; else _hosts.py is asked, which answers with
 *
 *     None       the call waits as everywhere else
 *     a string   it cannot wait, and why
 *     (loop,)    it waits as where no loop runs, but in that one
 *     a guest    an object with a loop, and wait(coro, context), which runs
 *                coro as a task of it, and returns when that is done the task
 *                and an exception to raise instead, or None */
#include "handoff.h"

int
twr_guest_find(TwrState *state, PyObject *loop, PyObject **guest)
{
    *guest = NULL;
    PyObject *modules = PyImport_GetModuleDict();
    bool ask =
        PyDict_GetItemWithError(modules, state->names.gevent) != NULL ||
        (loop == Py_None && !PyErr_Occurred() &&
         PyDict_GetItemWithError(modules, state->names.twisted) != NULL);
    if (!ask) {
        return PyErr_Occurred() ? -1 : 0;
    }
    PyObject *adapters = twr_adapters(state);
    if (adapters != NULL) {
        *guest = PyObject_CallMethod(adapters, "find_guest", "O", loop);
    }
    if (*guest == Py_None) {
        Py_CLEAR(*guest);
        return 0;
    }
    return *guest == NULL ? -1 : 0;
}

/* The result of a task, or the exception in its place. */
static PyObject *
outcome(TwrState *state, PyObject *pair)
{
    PyObject *task, *thrown;
    if (!PyArg_ParseTuple(pair, "OO", &task, &thrown)) {
        return NULL;
    }
    if (thrown == Py_None) {
        return twr_task_result(state, task);
    }
    PyErr_SetRaisedException(Py_NewRef(thrown));
    return NULL;
}

/* Wait in the loop of a guest.  Switches. */
static PyObject *
wait_in(Thread *th, PyObject *guest, PyObject *awaitable, PyObject *subject)
{
    TwrState *state = th->state;
    PyObject *pair = NULL, *context = NULL, *contexts = NULL;
    PyObject *loop = PyObject_GetAttr(guest, state->names.loop);
    PyObject *coro = loop == NULL
                         ? NULL
                         : twr_as_coroutine(state, awaitable, loop, subject);
    Py_XDECREF(loop);
    if (coro == NULL) {
        return NULL;
    }
    context = twr_context_current();
    if (context != NULL && twr_context_leave(state, &contexts) == 0) {
        pair = PyObject_CallMethod(guest, "wait", "OO", coro, context);
        PyObject *pending = twr_error_take();
        if (twr_context_enter(contexts) < 0) {
            Py_CLEAR(pair);
        }
        twr_error_put(pending);
    }
    if (pair == NULL) {
        twr_close_awaitable(state, coro); /* Ctrl-C came before it began */
    }
    PyObject *result = pair == NULL ? NULL : outcome(state, pair);
    Py_XDECREF(pair);
    Py_XDECREF(contexts);
    Py_XDECREF(context);
    Py_DECREF(coro);
    return result;
}

int
twr_guest_check(TwrState *state, PyObject *guest, PyObject *subject)
{
    return !PyUnicode_Check(guest)
               ? 0
               : twr_handoff_refuse(state, subject, Py_NewRef(guest));
}

PyObject *
twr_guest_wait(Thread *th, PyObject *guest, PyObject *awaitable,
               PyObject *subject)
{
    if (!PyTuple_CheckExact(guest)) {
        return wait_in(th, guest, awaitable, subject);
    }
    return twr_run_in(th, PyTuple_GET_ITEM(guest, 0), awaitable, subject);
}

PyObject *
twr_guest_loop(Thread *th)
{
    PyObject *guest, *loop;
    if (twr_guest_find(th->state, Py_None, &guest) < 0) {
        return NULL;
    }
    if (guest == NULL || PyUnicode_Check(guest)) {
        loop = twr_run_loop(th, NULL);
    }
    else if (PyTuple_CheckExact(guest)) {
        loop = Py_NewRef(PyTuple_GET_ITEM(guest, 0));
    }
    else {
        loop = PyObject_GetAttr(guest, th->state->names.loop);
    }
    Py_XDECREF(guest);
    return loop;
}
