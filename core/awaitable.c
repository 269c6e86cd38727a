/* awaitable.c - what can be waited for: coroutines, futures and the others.
 *
 * Whether it can be waited for here, what `await` iterates over, how that is
 * thrown into and closed, and a coroutine of which a task can be made.  That
 * of a tworoutine over a plain `async def` has just been made, and is taken as
 * it is; all else is looked at, so that an error names the user's function. */
#include "twr.h"

static bool
is_coroutine(PyObject *op)
{
    if (PyCoro_CheckExact(op)) {
        return true;
    }
    if (!PyGen_CheckExact(op)) {
        return false;
    }
    /* One made by @types.coroutine. */
    PyCodeObject *code = PyGen_GetCode((PyGenObject *)op);
    bool iterable = (code->co_flags & CO_ITERABLE_COROUTINE) != 0;
    Py_DECREF(code);
    return iterable;
}

bool
twr_is_awaitable(PyObject *op)
{
    PyAsyncMethods *async = Py_TYPE(op)->tp_as_async;
    return (async != NULL && async->am_await != NULL) || is_coroutine(op);
}

PyObject *
twr_await_iterator(TwrState *state, PyObject *op)
{
    if (is_coroutine(op)) {
        return Py_NewRef(op);
    }
    PyAsyncMethods *async = Py_TYPE(op)->tp_as_async;
    if (async == NULL || async->am_await == NULL) {
        return PyErr_Format(PyExc_TypeError, "%R is not an awaitable", op);
    }
    PyObject *iterator = async->am_await(op);
    if (iterator != NULL && !PyIter_Check(iterator)) {
        PyErr_Format(PyExc_TypeError,
                     "%R cannot be awaited: its __await__() returned %R, "
                     "which is not an iterator",
                     op, iterator);
        twr_close_awaitable(state, iterator);
        Py_CLEAR(iterator);
    }
    return iterator;
}

/* Whether an attribute of a coroutine or generator is `expected`; false with
 * an exception: it cannot be told. */
static bool
has(PyObject *coro, const char *attribute, PyObject *expected)
{
    PyObject *value = PyObject_GetAttrString(coro, attribute);
    Py_XDECREF(value); /* only compared */
    return value == expected;
}

/* Why a coroutine cannot be begun, in words; NULL: nobody has begun it, or
 * with an exception, it cannot be told. */
static const char *
begun(PyObject *coro)
{
    bool native = PyCoro_CheckExact(coro);
    if (has(coro, native ? "cr_suspended" : "gi_suspended", Py_True)) {
        return "is being awaited already";
    }
    if (!PyErr_Occurred() &&
        has(coro, native ? "cr_running" : "gi_running", Py_True)) {
        return "is running";
    }
    if (!PyErr_Occurred() &&
        has(coro, native ? "cr_frame" : "gi_frame", Py_None)) {
        return "was already awaited";
    }
    return NULL;
}

void
twr_close_iterator(TwrState *state, PyObject *iterator)
{
    PyObject *pending = twr_error_take();
    PyObject *close = NULL, *none = NULL;
    if (is_coroutine(iterator)) { /* without a bound method: no memory */
        none = PyObject_CallMethodNoArgs(iterator, state->names.close);
    }
    else if (PyObject_GetOptionalAttr(iterator, state->names.close, &close) >
             0) {
        none = PyObject_CallNoArgs(close);
        Py_DECREF(close);
    }
    Py_XDECREF(none);
    if (PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_RecursionError)) {
        PyErr_Clear(); /* it ends when it is dropped, where there is room */
    }
    if (PyErr_Occurred()) {
        PyErr_WriteUnraisable(iterator);
    }
    twr_error_put(pending);
}

bool
twr_is_new_coroutine(PyObject *op)
{
    if (!is_coroutine(op)) {
        return false;
    }
    const char *problem = begun(op);
    if (problem == NULL && PyErr_Occurred()) {
        PyErr_Clear(); /* no memory for its frame: it has one, or has ended */
    }
    return problem == NULL;
}

void
twr_close_awaitable(TwrState *state, PyObject *awaitable)
{
    PyObject *pending = twr_error_take();
    if (twr_is_new_coroutine(awaitable) ||
        (Py_IS_TYPE(awaitable, state->portal_type) &&
         !twr_portal_begun(awaitable)) ||
        (Py_IS_TYPE(awaitable, state->awaiting_type) &&
         !twr_awaiting_begun(awaitable))) {
        twr_give_room(8); /* it runs nobody's code */
        twr_close_iterator(state, awaitable);
        twr_give_room(-8);
    }
    twr_error_put(pending);
}

/* Turn a StopIteration into its value, as yield from does. */
static PySendResult
take_stop(PyObject **value)
{
    if (!PyErr_ExceptionMatches(PyExc_StopIteration)) {
        return PYGEN_ERROR;
    }
    PyObject *stop = twr_error_take();
    *value = Py_NewRef(((PyStopIterationObject *)stop)->value);
    Py_DECREF(stop);
    return PYGEN_RETURN;
}

PySendResult
twr_await_throw(TwrState *state, PyObject *iterator, PyObject **error,
                PyObject **value)
{
    *value = NULL;
    PyObject *throw;
    if (PyObject_GetOptionalAttr(iterator, state->names.throw, &throw) < 0) {
        return PYGEN_ERROR;
    }
    if (throw == NULL) {
        twr_raise(error);
        return PYGEN_ERROR;
    }
    PyObject *exc = *error;
    *error = NULL;
    *value = PyObject_CallOneArg(throw, exc);
    Py_DECREF(throw);
    Py_DECREF(exc);
    return *value != NULL ? PYGEN_NEXT : take_stop(value);
}

int
twr_check_fresh(PyObject *coro, PyObject *subject)
{
    const char *problem = begun(coro);
    if (problem == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    if (subject != NULL) {
        PyErr_Format(PyExc_RuntimeError,
                     "%R returned %R, which %s; it has to return a new one in "
                     "each call",
                     subject, coro, problem);
    }
    else {
        PyErr_Format(PyExc_RuntimeError,
                     "await_() cannot wait for %R, which %s; call its "
                     "function for a new one, or make it a task, which many "
                     "can await",
                     coro, problem);
    }
    return -1;
}

/* Refuse a future of another loop than the one that is to wait for it. */
static int
check_loop(TwrState *state, PyObject *future, PyObject *loop,
           PyObject *subject)
{
    PyObject *blocking, *other, *closed = NULL;
    if (PyObject_GetOptionalAttr(future, state->names._asyncio_future_blocking,
                                 &blocking) <= 0) {
        return PyErr_Occurred() ? -1 : 0;
    }
    Py_DECREF(blocking);
    other = twr_future_loop(state, future);
    if (other == NULL) {
        return -1;
    }
    if (other != loop) {
        closed = PyObject_CallMethodNoArgs(other, state->names.is_closed);
        PyErr_Clear();
        PyObject *name = twr_subject_name(subject);
        if (name != NULL) {
            PyErr_Format(PyExc_RuntimeError,
                         "%U cannot wait for %R, which is attached to a "
                         "different loop%s",
                         name, future,
                         closed == Py_True
                             ? ", and that is closed; make a new one"
                             : "; await it where that loop runs");
        }
        Py_XDECREF(name);
    }
    Py_XDECREF(closed);
    Py_DECREF(other);
    return PyErr_Occurred() ? -1 : 0;
}

int
twr_check_awaitable(TwrState *state, PyObject *awaitable, PyObject *loop,
                    PyObject *subject)
{
    if (!PyCoro_CheckExact(awaitable)) {
        return check_loop(state, awaitable, loop, subject);
    }
    bool fresh = subject != NULL &&
                 Py_IS_TYPE(subject, state->tworoutine_type) &&
                 ((Tworoutine *)subject)->makes == MAKES_ONLY;
    return fresh ? 0 : twr_check_fresh(awaitable, subject);
}

/* Twisted's asyncio reactor: coro may wait for Deferreds.  Steals coro. */
static PyObject *
adapt(TwrState *state, PyObject *coro, PyObject *loop)
{
    if (PyDict_GetItemWithError(PyImport_GetModuleDict(),
                                state->names.twisted) == NULL) {
        if (PyErr_Occurred()) {
            twr_close_awaitable(state, coro);
            Py_CLEAR(coro);
        }
        return coro;
    }
    PyObject *adapters = twr_adapters(state);
    PyObject *adapted =
        adapters == NULL
            ? NULL
            : PyObject_CallMethod(adapters, "adapt", "OO", coro, loop);
    Py_DECREF(coro);
    return adapted;
}

PyObject *
twr_as_coroutine(TwrState *state, PyObject *awaitable, PyObject *loop,
                 PyObject *subject)
{
    if (twr_check_awaitable(state, awaitable, loop, subject) < 0) {
        return NULL;
    }
    bool ready = PyCoro_CheckExact(awaitable) ||
                 Py_IS_TYPE(awaitable, state->awaiting_type);
    PyObject *coro =
        ready ? Py_NewRef(awaitable) : twr_awaiting_new(state, awaitable);
    return coro == NULL ? NULL : adapt(state, coro, loop);
}
