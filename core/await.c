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
    Fate fate = {false, false};
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
        int waited =
            twr_handoff_wait(th, loop, task, yielded, subject, &error, &fate);
        Py_DECREF(yielded);
        if (waited < 0) {
            twr_close_iterator(th->state, iterator);
            break;
        }
    }
    Py_XDECREF(error);
    Py_DECREF(iterator);
    return fate.interrupted ? twr_sigint_result(th, task, NULL, value) : value;
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

/* What runs as our greenlets end, a weakref's callback perhaps. */
static int
check_pool(Thread *th, PyObject *subject)
{
    return !th->closing && th->retiring == NULL
               ? 0
               : twr_refuse(th->state, subject,
                            PyUnicode_FromString("greenlets of this thread "
                                                 "are being ended"),
                            "make the call later");
}

/* Where a call waits. */
typedef struct {
    enum {
        IN_PORTAL,
        IN_GREENBACK,
        IN_GUEST,
        IN_RUN,
        IN_INPUT_HOOK,
        IN_SQLALCHEMY,
        IN_TASK,
        IN_HOST
    } kind;
    Thread *th;
    PyObject *loop; /* that runs, or None; NULL if nothing is known */
    PyObject *who;  /* the guest, the task; or NULL */
    bool hidden;    /* the loop was, and has to be again */
} Place;

/* Whether the call is made by a GUI whose events IPython's prompt handles
 * while it waits for input, in a loop that runs for that alone. */
static int
in_input_hook(Thread *th, PyObject *loop)
{
    PyObject *modules = PyImport_GetModuleDict();
    if (!th->is_main || th->loan != NULL ||
        PyDict_GetItemWithError(modules, th->state->names.prompt_toolkit) ==
            NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    PyObject *adapters = twr_adapters(th->state);
    PyObject *known =
        adapters == NULL
            ? NULL
            : PyObject_CallMethod(adapters, "in_input_hook", "O", loop);
    Py_XDECREF(known); /* only compared */
    return known == NULL ? -1 : known == Py_True;
}

/* The same where neither a portal nor trio or curio is. */
static int
find_place_outside(TwrState *state, PyObject *subject, Place *place)
{
    if (twr_guest_find(state, place->loop, &place->who) < 0) {
        return -1;
    }
    if (place->who != NULL) {
        place->kind = IN_GUEST;
        return twr_guest_check(state, place->who, subject);
    }
    if (place->loop == Py_None) {
        place->kind = IN_RUN;
        return twr_run_check(place->th, subject);
    }
    int hook = in_input_hook(place->th, place->loop);
    if (hook != 0) {
        place->kind = IN_INPUT_HOOK;
        return hook < 0 ? -1 : twr_run_check(place->th, subject);
    }
    int sqlalchemy = twr_stack_in_sqlalchemy(state);
    if (sqlalchemy != 0) {
        place->kind = IN_SQLALCHEMY;
        return sqlalchemy < 0 ? -1 : 0;
    }
    if (twr_handoff_check(place->th, place->loop, subject) < 0) {
        return -1;
    }
    place->who = twr_task_current(state, place->loop);
    if (place->who != NULL) {
        PyObject *why = twr_task_why_not(state, place->who);
        place->kind = IN_TASK;
        return why == NULL
                   ? 0
                   : twr_handoff_refuse(state, subject, Py_NewRef(why));
    }
    place->kind = IN_HOST;
    return PyErr_Occurred()
               ? -1
               : twr_handoff_check_host(place->th, place->loop, subject);
}

/* Have a running loop seen that we hide from who makes the call. */
static int
find_hidden(Place *place)
{
    Thread *th = place->th;
    if (place->loop != Py_None || th->hidden == NULL) {
        return 0;
    }
    Py_XSETREF(place->loop, Py_NewRef(th->hidden));
    place->hidden = true;
    return twr_run_show(th);
}

/* Where a call made here waits; CannotSuspend if it cannot.  The place has to
 * be dropped in any case. */
static int
find_place(TwrState *state, PyObject *subject, Place *place)
{
    *place = (Place){.kind = IN_PORTAL};
    place->th = check_alive(state, subject) < 0 ? NULL : twr_thread(state);
    if (place->th != NULL && check_pool(place->th, subject) == 0 &&
        twr_orphans_refuse(place->th, subject) == 0) {
        place->loop = PyObject_CallNoArgs(state->get_running_loop);
    }
    if (place->loop == NULL || find_hidden(place) < 0) {
        return -1;
    }
    int portal = twr_portal_here(place->th, place->loop);
    if (portal != 0) {
        return portal < 0 ? -1 : 0;
    }
    int greenback = twr_greenback_here(state);
    if (greenback != 0) {
        place->kind = IN_GREENBACK;
        return greenback < 0 ? -1 : 0;
    }
    return refuse_foreign(state, subject) < 0
               ? -1
               : find_place_outside(state, subject, place);
}

static void
drop_place(Place *place)
{
    if (place->hidden) {
        PyObject *pending = twr_error_take();
        if (twr_run_hide(place->th, place->loop) < 0) {
            PyErr_WriteUnraisable(place->loop);
        }
        twr_error_put(pending);
    }
    Py_XDECREF(place->loop);
    Py_XDECREF(place->who);
}

int
twr_await_check(TwrState *state, PyObject *subject)
{
    Place place;
    int result = find_place(state, subject, &place);
    drop_place(&place);
    return result;
}

/* Wait in a portal, ours or one of greenback: what is yielded is for its loop
 * to judge.  Switches. */
static PyObject *
await_in_portal(const Place *place, PyObject *awaitable, PyObject *subject)
{
    if (PyCoro_CheckExact(awaitable) &&
        twr_check_fresh(awaitable, subject) < 0) {
        twr_close_awaitable(place->th->state, awaitable);
        return NULL;
    }
    return place->kind == IN_PORTAL
               ? step_in_portal(place->th, awaitable)
               : twr_greenback_wait(place->th->state, awaitable);
}

/* Wait in a task of the running loop.  Switches. */
static PyObject *
await_in_task(Thread *th, PyObject *loop, PyObject *task, PyObject *awaitable,
              PyObject *subject)
{
    if (twr_check_awaitable(th->state, awaitable, loop, subject) < 0) {
        twr_close_awaitable(th->state, awaitable);
        return NULL;
    }
    return step_in_place(th, loop, task, awaitable, subject);
}

/* Wait in the running loop, but in no task of it.  Switches. */
static PyObject *
await_in_host(Thread *th, PyObject *loop, PyObject *awaitable,
              PyObject *subject)
{
    PyObject *coro = twr_as_coroutine(th->state, awaitable, loop, subject);
    if (coro == NULL) {
        twr_close_awaitable(th->state, awaitable);
        return NULL;
    }
    PyObject *result = twr_host(th, loop, NULL, coro, subject);
    Py_DECREF(coro);
    return result;
}

/* Wait as if the loop that runs did not: it is in the middle of a poll.
 * Switches. */
static PyObject *
await_in_input_hook(Thread *th, PyObject *loop, PyObject *awaitable,
                    PyObject *subject)
{
    if (twr_loop_set_running(th->state, Py_None) < 0) {
        twr_close_awaitable(th->state, awaitable);
        return NULL;
    }
    PyObject *result = twr_run(th, awaitable, subject);
    PyObject *pending = twr_error_take();
    if (twr_loop_set_running(th->state, loop) < 0) {
        Py_CLEAR(result);
    }
    twr_error_put(pending);
    return result;
}

/* Switches. */
static PyObject *
await_at(const Place *place, PyObject *awaitable, PyObject *subject)
{
    Thread *th = place->th;
    switch (place->kind) {
    case IN_PORTAL:
    case IN_GREENBACK:
        return await_in_portal(place, awaitable, subject);
    case IN_GUEST:
        return twr_guest_wait(th, place->who, awaitable, subject);
    case IN_RUN:
        return twr_run(th, awaitable, subject);
    case IN_INPUT_HOOK:
        return await_in_input_hook(th, place->loop, awaitable, subject);
    case IN_SQLALCHEMY:
        return twr_stack_sqlalchemy(awaitable);
    case IN_TASK:
        return await_in_task(th, place->loop, place->who, awaitable, subject);
    case IN_HOST:
        return await_in_host(th, place->loop, awaitable, subject);
    }
    Py_UNREACHABLE();
}

/* The first plain RuntimeError, which asyncio raises, among error and what it
 * came of; NULL without error: there is none. */
static PyObject *
runtime_error(PyObject *error)
{
    PyObject *exc = Py_NewRef(error);
    for (int depth = 0; exc != NULL && depth < 10; depth++) {
        if (Py_IS_TYPE(exc, (PyTypeObject *)PyExc_RuntimeError)) {
            return exc;
        }
        Py_SETREF(exc, PyException_GetContext(exc));
    }
    Py_XDECREF(exc);
    return NULL;
}

/* A call has failed, and one of our own loops was there: if it has waited for
 * what belongs to another loop, say in a note whose the two are. */
static void
explain(const Place *place, PyObject *subject)
{
    bool ours = place->kind == IN_RUN || place->kind == IN_INPUT_HOOK ||
                ((place->kind == IN_TASK || place->kind == IN_HOST) &&
                 place->th->state->has_own_loops);
    if (!ours) {
        return;
    }
    PyObject *pending = twr_error_take();
    PyObject *error = runtime_error(pending);
    PyObject *name = error == NULL ? NULL : twr_subject_name(subject);
    PyObject *adapters = name == NULL ? NULL : twr_adapters(place->th->state);
    if (adapters != NULL) {
        PyObject *none = PyObject_CallMethod(
            adapters, "explain", "OOO", error, name,
            place->kind == IN_TASK || place->kind == IN_HOST ? Py_True
                                                             : Py_False);
        Py_XDECREF(none);
    }
    PyErr_Clear();
    Py_XDECREF(name);
    Py_XDECREF(error);
    twr_error_put(pending);
}

PyObject *
twr_await(TwrState *state, PyObject *awaitable, PyObject *subject)
{
    PyObject *result = NULL;
    Place place;
    if (Py_EnterRecursiveCall(" in a synchronous call")) {
        twr_close_awaitable(state, awaitable);
        return NULL;
    }
    if (find_place(state, subject, &place) == 0) {
        result = await_at(&place, awaitable, subject);
        if (result == NULL) {
            explain(&place, subject);
        }
    }
    else {
        twr_close_awaitable(state, awaitable);
    }
    drop_place(&place);
    Py_LeaveRecursiveCall();
    return result;
}
