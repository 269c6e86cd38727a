/* await.c - the engine: step in place, choose how to wait.
 *
 * The coroutine of a call is not made a task: it is stepped right where the
 * call was made, in the caller's task, context and stack, as await would.  If
 * it never suspends, nothing else happens.  What it yields is waited for in
 * handoff.c; a caller without a task hosts one there; a thread without a
 * running loop runs its own (run.c); in a portal, it is yielded (portal.c). */
#include "handoff.h"

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

/* What `await op` iterates over. */
static PyObject *
await_iterator(PyObject *op)
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
                     "__await__() of %R returned a '%.100s' that is not an "
                     "iterator",
                     op, Py_TYPE(iterator)->tp_name);
        Py_CLEAR(iterator);
    }
    return iterator;
}

void
twr_close_awaitable(TwrState *state, PyObject *awaitable)
{
    PyObject *pending = twr_error_take();
    PyObject *close;
    if (PyObject_GetOptionalAttr(awaitable, state->names.close, &close) > 0) {
        PyObject *none = PyObject_CallNoArgs(close);
        Py_DECREF(close);
        Py_XDECREF(none);
    }
    if (PyErr_Occurred()) {
        PyErr_WriteUnraisable(awaitable);
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

/* Run the coroutine here, in the step of task, waiting for all it yields.
 * Switches. */
static PyObject *
step_in_place(Thread *th, PyObject *loop, PyObject *task, PyObject *awaitable,
              PyObject *subject)
{
    PyObject *value = NULL, *error = NULL;
    PyObject *iterator = await_iterator(awaitable);
    if (iterator == NULL) {
        return NULL;
    }
    for (;;) {
        PySendResult how =
            error == NULL
                ? PyIter_Send(iterator, Py_None, &value)
                : twr_await_throw(th->state, iterator, &error, &value);
        if (how != PYGEN_NEXT) {
            break;
        }
        PyObject *yielded = value;
        value = NULL;
        int waited =
            twr_handoff_wait(th, loop, task, yielded, subject, &error);
        Py_DECREF(yielded);
        if (waited < 0) {
            twr_close_awaitable(th->state, iterator);
            break;
        }
    }
    Py_XDECREF(error);
    Py_DECREF(iterator);
    return value;
}

/* The same in a portal, which passes on whatever is yielded and sent.
 * Switches. */
static PyObject *
step_in_portal(Thread *th, PyObject *awaitable)
{
    PyObject *value = NULL, *error = NULL;
    PyObject *sent = Py_NewRef(Py_None);
    PyObject *iterator = await_iterator(awaitable);
    while (iterator != NULL) {
        PySendResult how = error == NULL ? PyIter_Send(iterator, sent, &value)
                                         : twr_await_throw(th->state, iterator,
                                                           &error, &value);
        if (how != PYGEN_NEXT) {
            break;
        }
        PyObject *yielded = value;
        value = NULL;
        Py_CLEAR(sent);
        int waited = twr_portal_wait(th, iterator, yielded, &sent, &error);
        Py_DECREF(yielded);
        if (waited < 0) {
            twr_close_awaitable(th->state, iterator);
            break;
        }
    }
    Py_XDECREF(sent);
    Py_XDECREF(error);
    Py_XDECREF(iterator);
    return value;
}

/* Refuse a coroutine that has begun: await does, but names nobody. */
static int
check_fresh(PyObject *coro, PyObject *subject)
{
    PyObject *frame = PyObject_GetAttrString(coro, "cr_frame");
    PyObject *suspended =
        frame == NULL ? NULL : PyObject_GetAttrString(coro, "cr_suspended");
    const char *problem = NULL;
    if (frame == Py_None) {
        problem = "was already awaited";
    }
    else if (suspended == Py_True) {
        problem = "is being awaited already";
    }
    Py_XDECREF(frame);
    Py_XDECREF(suspended);
    if (problem != NULL && subject != NULL) {
        PyErr_Format(PyExc_RuntimeError,
                     "%R returned %R, which %s; it has to return a new one in "
                     "each call",
                     subject, coro, problem);
    }
    else if (problem != NULL) {
        PyErr_Format(PyExc_RuntimeError, "cannot wait for %R: it %s", coro,
                     problem);
    }
    return PyErr_Occurred() ? -1 : 0;
}

/* Refuse a future of another loop than the one that is to wait for it. */
static int
check_loop(TwrState *state, PyObject *future, PyObject *loop,
           PyObject *subject)
{
    PyObject *blocking, *other;
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
        PyErr_Format(PyExc_RuntimeError,
                     "%R cannot wait for %R, which is attached to a different "
                     "loop",
                     subject == NULL ? Py_None : subject, future);
    }
    Py_DECREF(other);
    return PyErr_Occurred() ? -1 : 0;
}

/* 0 if awaitable may be waited for in loop. */
static int
check(TwrState *state, PyObject *awaitable, PyObject *loop, PyObject *subject)
{
    if (!PyCoro_CheckExact(awaitable)) {
        return check_loop(state, awaitable, loop, subject);
    }
    bool fresh = subject != NULL &&
                 Py_IS_TYPE(subject, state->tworoutine_type) &&
                 ((Tworoutine *)subject)->makes == MAKES_ONLY;
    return fresh ? 0 : check_fresh(awaitable, subject);
}

PyObject *
twr_as_coroutine(TwrState *state, PyObject *awaitable, PyObject *loop,
                 PyObject *subject)
{
    if (check(state, awaitable, loop, subject) < 0) {
        return NULL;
    }
    if (PyCoro_CheckExact(awaitable)) {
        return Py_NewRef(awaitable);
    }
    PyObject *iterator = await_iterator(awaitable);
    PyObject *adapters = iterator == NULL ? NULL : twr_adapters(state);
    PyObject *coro = NULL;
    if (adapters != NULL) {
        /* A generator made by @types.coroutine is its own iterator. */
        coro = PyObject_CallMethod(
            adapters, iterator == awaitable ? "wait_for" : "exhaust", "O",
            iterator);
    }
    Py_XDECREF(iterator);
    return coro;
}

/* Wait where a loop is running.  Switches. */
static PyObject *
await_in_loop(Thread *th, PyObject *loop, PyObject *awaitable,
              PyObject *subject)
{
    TwrState *state = th->state;
    PyObject *handled;
    PyObject *result = twr_stack_sqlalchemy(&handled, awaitable);
    if (handled != NULL) {
        return result;
    }
    if (twr_handoff_check(th, loop, subject) < 0) {
        twr_close_awaitable(state, awaitable);
        return NULL;
    }
    PyObject *task = twr_task_current(state, loop);
    if (task != NULL) {
        if (check(state, awaitable, loop, subject) == 0) {
            result = step_in_place(th, loop, task, awaitable, subject);
        }
        Py_DECREF(task);
        return result;
    }
    if (PyErr_Occurred() || twr_handoff_check_host(th, loop, subject) < 0) {
        twr_close_awaitable(state, awaitable);
        return NULL;
    }
    PyObject *coro = twr_as_coroutine(state, awaitable, loop, subject);
    if (coro != NULL) {
        result = twr_host(th, loop, NULL, coro, subject);
        Py_DECREF(coro);
    }
    return result;
}

/* Wait in a portal: what is yielded is for its loop to judge.  Switches. */
static PyObject *
await_in_portal(Thread *th, PyObject *awaitable, PyObject *subject)
{
    if (PyCoro_CheckExact(awaitable) && check_fresh(awaitable, subject) < 0) {
        return NULL;
    }
    return step_in_portal(th, awaitable);
}

int
twr_foreign_library(TwrState *state)
{
    PyObject *modules = PyImport_GetModuleDict();
    if (PyDict_GetItemWithError(modules, state->names.trio) == NULL &&
        PyDict_GetItemWithError(modules, state->names.curio) == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    PyObject *adapters = twr_adapters(state);
    PyObject *name =
        adapters == NULL
            ? NULL
            : PyObject_CallMethod(adapters, "foreign_library", NULL);
    int foreign = name == NULL ? -1 : name != Py_None;
    Py_XDECREF(name);
    return foreign;
}

/* No call can wait below trio or curio but in a portal. */
static int
refuse_foreign(TwrState *state, PyObject *subject)
{
    int foreign = twr_foreign_library(state);
    if (foreign <= 0) {
        return foreign;
    }
    return twr_handoff_refuse(
        state, subject,
        PyUnicode_FromString("trio or curio runs in this thread, and the "
                             "task is not in a portal: start it with "
                             "tworoutine.portal(main)"));
}

PyObject *
twr_await(TwrState *state, PyObject *awaitable, PyObject *subject)
{
    PyObject *result = NULL;
    Thread *th = twr_thread(state);
    PyObject *loop =
        th == NULL ? NULL : PyObject_CallNoArgs(state->get_running_loop);
    if (loop == NULL || Py_EnterRecursiveCall(" in a synchronous call")) {
        twr_close_awaitable(state, awaitable);
        Py_XDECREF(loop);
        return NULL;
    }
    int portal = twr_portal_here(th, loop);
    if (portal > 0) {
        result = await_in_portal(th, awaitable, subject);
    }
    else if (portal < 0 || refuse_foreign(state, subject) < 0) {
        twr_close_awaitable(state, awaitable);
    }
    else if (loop == Py_None) {
        result = twr_run(th, awaitable, subject);
    }
    else {
        result = await_in_loop(th, loop, awaitable, subject);
    }
    Py_LeaveRecursiveCall();
    Py_DECREF(loop);
    return result;
}
