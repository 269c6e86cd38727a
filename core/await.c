/* await.c - the engine: step in place, choose how to wait.
 *
 * The coroutine of a call is not made a task: it is stepped right where the
 * call was made, in the caller's task, context and stack, as await would.  If
 * it never suspends, nothing else happens.  What it yields is waited for in
 * handoff.c; a caller without a task hosts one there; a thread without a
 * running loop runs its own (run.c); in a portal, it is yielded (portal.c). */
#include "handoff.h"

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

/* Run the coroutine here, in the step of task, waiting for all it yields.
 * Switches. */
static PyObject *
step_in_place(Thread *th, PyObject *loop, PyObject *task, PyObject *awaitable,
              PyObject *subject)
{
    PyObject *value = NULL, *error = NULL;
    bool interrupted = false;
    PyObject *iterator = twr_await_iterator(th->state, awaitable);
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
            twr_close_iterator(th->state, iterator);
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
    PyObject *iterator = twr_await_iterator(th->state, awaitable);
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
            twr_close_iterator(th->state, iterator);
            break;
        }
    }
    Py_XDECREF(sent);
    Py_XDECREF(error);
    Py_XDECREF(iterator);
    return value;
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
        if (twr_check_awaitable(state, awaitable, loop, subject) == 0) {
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
    if (PyCoro_CheckExact(awaitable) &&
        twr_check_fresh(awaitable, subject) < 0) {
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
