/* coro/awaitable.c - what can be waited for: coroutines, futures and others.
 */
#include "coro/awaitable.h"

#include "asyncio/future.h"
#include "base/error.h"

/* Whether op is a coroutine, or a generator made one by @types.coroutine. */
static bool
is_coroutine(PyObject *op)
{
    if (!PyGen_CheckExact(op)) {
        return PyCoro_CheckExact(op);
    }
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
has_attribute(PyObject *coro, const char *attribute, PyObject *expected)
{
    PyObject *value = PyObject_GetAttrString(coro, attribute);
    Py_XDECREF(value); /* only compared */
    return value == expected;
}

/* Why coro cannot be begun, in words; NULL: nobody has begun coro, or with an
 * exception, that cannot be told. */
static const char *
why_begun(PyObject *coro)
{
    bool native = PyCoro_CheckExact(coro);
    if (has_attribute(coro, native ? "cr_suspended" : "gi_suspended",
                      Py_True)) {
        return "is being awaited already";
    }
    if (!PyErr_Occurred() &&
        has_attribute(coro, native ? "cr_running" : "gi_running", Py_True)) {
        return "is running";
    }
    if (!PyErr_Occurred() &&
        has_attribute(coro, native ? "cr_frame" : "gi_frame", Py_None)) {
        return "was already awaited";
    }
    return NULL;
}

void
twr_close_iterator(TwrState *state, PyObject *iterator)
{
    PyObject *pending = twr_error_take();
    PyObject *close = NULL, *none = NULL;
    if (is_coroutine(iterator)) { /* a bound method might find no memory */
        none = PyObject_CallMethodNoArgs(iterator, state->names.close);
    }
    else if (PyObject_GetOptionalAttr(iterator, state->names.close, &close) >
             0) {
        none = PyObject_CallNoArgs(close);
        Py_DECREF(close);
    }
    Py_XDECREF(none);
    if (PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_RecursionError)) {
        PyErr_Clear(); /* who drops the iterator closes it, and has room */
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
    const char *problem = why_begun(op);
    if (problem == NULL && PyErr_Occurred()) {
        PyErr_Clear(); /* no memory for the frame object */
    }
    return problem == NULL;
}

void
twr_close_awaitable(TwrState *state, PyObject *awaitable)
{
    PyObject *pending = twr_error_take();
    bool steppable = Py_IS_TYPE(awaitable, state->types.portal) ||
                     Py_IS_TYPE(awaitable, state->types.awaiting);
    if (steppable ? !((TwrSteppable *)awaitable)->begun
                  : twr_is_new_coroutine(awaitable)) {
        twr_give_room(8); /* this runs nobody's code */
        twr_close_iterator(state, awaitable);
        twr_give_room(-8);
    }
    twr_error_put(pending);
}

/* Nothing is known of who has made coro. */
static int
check_fresh(PyObject *coro, PyObject *callee)
{
    const char *problem = why_begun(coro);
    if (problem == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    if (callee != NULL) {
        PyErr_Format(PyExc_RuntimeError,
                     "%R returned %R, which %s; it has to return a new one in "
                     "each call",
                     callee, coro, problem);
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

int
twr_check_new(TwrState *state, PyObject *coro, PyObject *callee)
{
    return callee != NULL && twr_callee_jobs.makes_anew(state, callee)
               ? 0
               : check_fresh(coro, callee);
}

/* Say that future is of another loop, other.  Always -1. */
static int
refuse_future(TwrState *state, PyObject *future, PyObject *other,
              PyObject *callee)
{
    int closed = twr_ask(other, state->names.is_closed);
    PyErr_Clear();
    PyObject *name = twr_callee_name(callee);
    if (name != NULL) {
        PyErr_Format(PyExc_RuntimeError,
                     "%U cannot wait for %R, which is attached to a "
                     "different loop%s",
                     name, future,
                     closed > 0 ? ", and that is closed; make a new one"
                                : "; await it where that loop runs");
        Py_DECREF(name);
    }
    return -1;
}

/* Refuse a future of another loop than the one that is to wait for it. */
static int
check_loop(TwrState *state, PyObject *op, PyObject *loop, PyObject *callee)
{
    int is_future = twr_future_check(state, op);
    if (is_future <= 0) {
        return is_future;
    }
    PyObject *other = twr_future_loop(state, op);
    if (other == NULL) {
        return -1;
    }
    int result = other == loop ? 0 : refuse_future(state, op, other, callee);
    Py_DECREF(other);
    return result;
}

int
twr_check_awaitable(TwrState *state, PyObject *awaitable, PyObject *loop,
                    PyObject *callee)
{
    if (!PyCoro_CheckExact(awaitable)) {
        return check_loop(state, awaitable, loop, callee);
    }
    return twr_check_new(state, awaitable, callee);
}
