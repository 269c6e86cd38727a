/* asyncio/future.c - futures, as a task's step treats those that it gets. */
#include "asyncio/future.h"

#include "asyncio/facts.h"
#include "asyncio/loop.h"

int
twr_future_check(TwrState *state, PyObject *op)
{
    PyObject *blocking;
    int found = PyObject_GetOptionalAttr(
        op, state->names._asyncio_future_blocking, &blocking);
    Py_XDECREF(blocking);
    return found;
}

PyObject *
twr_future_loop(TwrState *state, PyObject *future)
{
    PyObject *get;
    if (PyObject_GetOptionalAttr(future, state->names.get_loop, &get) < 0) {
        return NULL;
    }
    if (get == NULL) {
        return PyObject_GetAttr(future, state->names._loop);
    }
    PyObject *loop = PyObject_CallNoArgs(get);
    Py_DECREF(get);
    return loop;
}

bool
twr_future_is_done(TwrState *state, PyObject *future)
{
    int done = twr_ask(future, state->names.done);
    if (done < 0) {
        PyErr_Clear();
    }
    return done > 0;
}

PyObject *
twr_future_result(TwrState *state, PyObject *future)
{
    int cancelled = twr_ask(future, state->names.cancelled);
    if (cancelled < 0) {
        return NULL;
    }
    /* result() would raise with a new __context__: take the exception. */
    PyObject *exc = PyObject_CallMethodNoArgs(
        future, cancelled ? state->names._make_cancelled_error
                          : state->names.exception);
    if (exc == Py_None) {
        Py_DECREF(exc);
        return PyObject_CallMethodNoArgs(future, state->names.result);
    }
    twr_error_put(exc);
    return NULL;
}

int
twr_future_listen(TwrState *state, PyObject *future, PyObject *callback)
{
    PyObject *args[] = {future, callback, state->neutral};
    return twr_done(PyObject_VectorcallMethod(state->names.add_done_callback,
                                              args, 2, state->kw.context));
}

/* Have the callback of waiter called in the next turn; the coroutine is to
 * raise the pending exception, if any. */
static int
wake_soon(TwrState *state, TwrWaiter *waiter)
{
    waiter->error = twr_error_take();
    return twr_loop_call_soon(state, waiter->loop, waiter->callback);
}

/* Listen to future, which the __await__ of a future has yielded. */
static int
wait_for_future(TwrState *state, TwrWaiter *waiter, PyObject *future)
{
    PyObject *other = twr_future_loop(state, future);
    if (other == NULL) {
        return -1;
    }
    Py_DECREF(other); /* only compared */
    if (other != waiter->loop) {
        PyErr_Format(PyExc_RuntimeError,
                     "Task %R got Future %R attached to a different loop, in "
                     "%R",
                     waiter->task, future, waiter->callback);
        return wake_soon(state, waiter);
    }
    if (future == waiter->task) {
        PyErr_Format(PyExc_RuntimeError, "Task cannot await on itself: %R",
                     future);
        return wake_soon(state, waiter);
    }
    if (PyObject_SetAttr(future, state->names._asyncio_future_blocking,
                         Py_False) < 0 ||
        twr_future_listen(state, future, waiter->callback) < 0) {
        return -1;
    }
    waiter->awaited = Py_NewRef(future);
    return 0;
}

/* The coroutine has yielded what no `await` yields: tell it so. */
static int
refuse_yielded(TwrState *state, TwrWaiter *waiter, PyObject *yielded,
               bool is_future)
{
    const char *format =
        is_future ? "yield was used instead of yield from in task %R with %R"
        : PyGen_Check(yielded)
            ? "yield was used instead of yield from for generator in task %R "
              "with %R"
            : NULL;
    if (format != NULL) {
        PyErr_Format(PyExc_RuntimeError, format, waiter->task, yielded);
    }
    else {
        PyErr_Format(PyExc_RuntimeError, "Task got bad yield: %R", yielded);
    }
    return wake_soon(state, waiter);
}

int
twr_future_subscribe(TwrState *state, TwrWaiter *waiter, PyObject *yielded)
{
    if (yielded == Py_None) {
        return wake_soon(state, waiter);
    }
    PyObject *blocking;
    if (PyObject_GetOptionalAttr(
            yielded, state->names._asyncio_future_blocking, &blocking) < 0) {
        return -1;
    }
    bool is_future = blocking != NULL && blocking != Py_None;
    int truth = is_future ? PyObject_IsTrue(blocking) : 0;
    Py_XDECREF(blocking);
    if (truth < 0) {
        return -1;
    }
    return truth ? wait_for_future(state, waiter, yielded)
                 : refuse_yielded(state, waiter, yielded, is_future);
}

int
twr_future_init(TwrState *state)
{
    static const TwrFact facts[] = {
        {"Future", NULL,
         "_asyncio_future_blocking get_loop _make_cancelled_error done "
         "cancelled exception result add_done_callback",
         NULL},
        {NULL, NULL, NULL, NULL},
    };
    return twr_facts_require(state, facts);
}
