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
await_iterator(TwrState *state, PyObject *op)
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

PyObject *
twr_subject_name(PyObject *subject)
{
    return subject != NULL ? PyObject_Repr(subject)
                           : PyUnicode_FromString("await_()");
}

int
twr_refuse(TwrState *state, PyObject *subject, PyObject *reason,
           const char *advice)
{
    PyObject *name = reason == NULL ? NULL : twr_subject_name(subject);
    if (name != NULL) {
        PyErr_Format(state->CannotSuspend, "%U cannot wait here: %U; %s", name,
                     reason, advice);
    }
    Py_XDECREF(name);
    Py_XDECREF(reason);
    return -1;
}

/* Whether an attribute of a coroutine or generator is `expected`. */
static bool
has(PyObject *coro, const char *attribute, PyObject *expected)
{
    PyObject *value = PyObject_GetAttrString(coro, attribute);
    bool result = value == expected;
    if (value == NULL) {
        PyErr_Clear();
    }
    Py_XDECREF(value);
    return result;
}

/* What has become of a coroutine, in words; NULL: nobody has begun it. */
static const char *
begun(PyObject *coro)
{
    bool native = PyCoro_CheckExact(coro);
    if (has(coro, native ? "cr_frame" : "gi_frame", Py_None)) {
        return "was already awaited";
    }
    if (has(coro, native ? "cr_suspended" : "gi_suspended", Py_True)) {
        return "is being awaited already";
    }
    if (has(coro, native ? "cr_running" : "gi_running", Py_True)) {
        return "is running";
    }
    return NULL;
}

/* iterator.close(), keeping a pending exception. */
static void
close_iterator(TwrState *state, PyObject *iterator)
{
    PyObject *pending = twr_error_take();
    PyObject *close;
    if (PyObject_GetOptionalAttr(iterator, state->names.close, &close) > 0) {
        PyObject *none = PyObject_CallNoArgs(close);
        Py_DECREF(close);
        Py_XDECREF(none);
    }
    if (PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_RecursionError)) {
        PyErr_Clear(); /* it ends when it is dropped, where there is room */
    }
    if (PyErr_Occurred()) {
        PyErr_WriteUnraisable(iterator);
    }
    twr_error_put(pending);
}

void
twr_close_awaitable(TwrState *state, PyObject *awaitable)
{
    PyObject *pending = twr_error_take();
    if (is_coroutine(awaitable) ? begun(awaitable) == NULL
                                : Py_IS_TYPE(awaitable, state->portal_type) &&
                                      !twr_portal_begun(awaitable)) {
        close_iterator(state, awaitable);
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
    bool interrupted = false;
    PyObject *iterator = await_iterator(th->state, awaitable);
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
        int waited = twr_handoff_wait(th, loop, task, yielded, subject, &error,
                                      &interrupted);
        Py_DECREF(yielded);
        if (waited < 0) {
            close_iterator(th->state, iterator);
            break;
        }
    }
    Py_XDECREF(error);
    Py_DECREF(iterator);
    return interrupted ? twr_sigint_result(th, task, value) : value;
}

/* The same in a portal, which passes on whatever is yielded and sent.
 * Switches. */
static PyObject *
step_in_portal(Thread *th, PyObject *awaitable)
{
    PyObject *value = NULL, *error = NULL;
    PyObject *sent = Py_NewRef(Py_None);
    PyObject *iterator = await_iterator(th->state, awaitable);
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
            close_iterator(th->state, iterator);
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
    const char *problem = begun(coro);
    if (problem == NULL) {
        return 0;
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

/* Twisted's asyncio reactor: coro may wait for Deferreds.  Steals coro. */
static PyObject *
adapt(TwrState *state, PyObject *coro, PyObject *loop)
{
    if (PyDict_GetItemWithError(PyImport_GetModuleDict(),
                                state->names.twisted) == NULL) {
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
    if (check(state, awaitable, loop, subject) < 0) {
        return NULL;
    }
    if (PyCoro_CheckExact(awaitable)) {
        return adapt(state, Py_NewRef(awaitable), loop);
    }
    PyObject *iterator = await_iterator(state, awaitable);
    PyObject *adapters = iterator == NULL ? NULL : twr_adapters(state);
    PyObject *coro = NULL;
    if (adapters != NULL) {
        /* A generator made by @types.coroutine is its own iterator. */
        coro = PyObject_CallMethod(
            adapters, iterator == awaitable ? "wait_for" : "exhaust", "O",
            iterator);
    }
    Py_XDECREF(iterator);
    return coro == NULL ? NULL : adapt(state, coro, loop);
}

/* Wait where a loop is running.  Switches. */
static PyObject *
await_in_loop(Thread *th, PyObject *loop, PyObject *awaitable,
              PyObject *subject)
{
    TwrState *state = th->state;
    PyObject *result = NULL, *coro = NULL, *task = NULL;
    if (twr_stack_in_sqlalchemy()) {
        return twr_stack_sqlalchemy(awaitable);
    }
    if (twr_handoff_check(th, loop, subject) == 0) {
        task = twr_task_current(state, loop);
    }
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
    coro = twr_as_coroutine(state, awaitable, loop, subject);
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

/* The name of a library that is not asyncio and runs tasks here, or None. */
static PyObject *
foreign_library(TwrState *state)
{
    PyObject *modules = PyImport_GetModuleDict();
    if (PyDict_GetItemWithError(modules, state->names.trio) == NULL &&
        PyDict_GetItemWithError(modules, state->names.curio) == NULL) {
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    }
    PyObject *adapters = twr_adapters(state);
    return adapters == NULL
               ? NULL
               : PyObject_CallMethod(adapters, "foreign_library", NULL);
}

int
twr_foreign_library(TwrState *state)
{
    PyObject *name = foreign_library(state);
    int foreign = name == NULL ? -1 : name != Py_None;
    Py_XDECREF(name);
    return foreign;
}

/* No call can wait below trio or curio but in a portal. */
static int
refuse_foreign(TwrState *state, PyObject *subject)
{
    PyObject *name = foreign_library(state);
    int result = name == NULL ? -1 : 0;
    if (name != NULL && name != Py_None) {
        result = twr_refuse(
            state, subject,
            PyUnicode_FromFormat("%S runs in this thread, and this task is "
                                 "not in a portal",
                                 name),
            subject != NULL ? "await its ~ form instead, or start with "
                              "tworoutine.portal(main)"
                            : "use await instead, or start with "
                              "tworoutine.portal(main)");
    }
    Py_XDECREF(name);
    return result;
}

/* 0 if a call can wait where a loop is running, in a task or not. */
static int
check_in_loop(Thread *th, PyObject *loop, PyObject *subject)
{
    if (twr_handoff_check(th, loop, subject) < 0) {
        return -1;
    }
    PyObject *task = twr_task_current(th->state, loop);
    if (task == NULL && PyErr_Occurred()) {
        return -1;
    }
    int result = task != NULL ? 0 : twr_handoff_check_host(th, loop, subject);
    Py_XDECREF(task);
    return result;
}

/* At the end of the interpreter, modules and greenlet are gone. */
static int
check_alive(TwrState *state, PyObject *subject)
{
    return !twr_is_finalizing()
               ? 0
               : twr_refuse(
                     state, subject,
                     PyUnicode_FromString("the interpreter is ending"),
                     "do it before, as in a function registered with atexit");
}

/* The same where neither a portal nor trio or curio is. */
static int
check_outside(Thread *th, PyObject *loop, PyObject *subject)
{
    PyObject *guest;
    if (twr_guest_find(th->state, loop, &guest) < 0) {
        return -1;
    }
    if (guest != NULL) {
        int result = twr_guest_check(th->state, guest, subject);
        Py_DECREF(guest);
        return result;
    }
    if (loop == Py_None) {
        return twr_run_check(th, subject);
    }
    return twr_stack_in_sqlalchemy() ? 0 : check_in_loop(th, loop, subject);
}

int
twr_await_check(TwrState *state, PyObject *subject)
{
    Thread *th = check_alive(state, subject) < 0 ? NULL : twr_thread(state);
    PyObject *loop =
        th == NULL ? NULL : PyObject_CallNoArgs(state->get_running_loop);
    int portal = loop == NULL ? -1 : twr_portal_here(th, loop);
    int result = portal < 0 ? -1 : 0;
    if (portal == 0) {
        result = refuse_foreign(state, subject);
    }
    if (portal == 0 && result == 0) {
        result = check_outside(th, loop, subject);
    }
    Py_XDECREF(loop);
    return result;
}

/* Wait where neither a portal nor trio or curio is.  Switches. */
static PyObject *
await_outside(Thread *th, PyObject *loop, PyObject *awaitable,
              PyObject *subject)
{
    PyObject *guest;
    if (twr_guest_find(th->state, loop, &guest) < 0) {
        twr_close_awaitable(th->state, awaitable);
        return NULL;
    }
    if (guest == NULL) {
        return loop == Py_None ? twr_run(th, awaitable, subject)
                               : await_in_loop(th, loop, awaitable, subject);
    }
    PyObject *result = twr_guest_wait(th, guest, awaitable, subject);
    Py_DECREF(guest);
    return result;
}

PyObject *
twr_await(TwrState *state, PyObject *awaitable, PyObject *subject)
{
    PyObject *result = NULL;
    Thread *th = check_alive(state, subject) < 0 ? NULL : twr_thread(state);
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
    else {
        result = await_outside(th, loop, awaitable, subject);
    }
    Py_LeaveRecursiveCall();
    Py_DECREF(loop);
    return result;
}
