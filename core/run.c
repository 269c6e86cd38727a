/* run.c - no loop in this thread: run the thread's own one.
 *
 * At a prompt of IPython, the loop in which that runs what is awaited there is
 * used; else the one that is set for this thread, if it is open and idle; else
 * one that we make, set and keep, so that what one call opens the next can
 * use. The call hosts a task (handoff.c), and a driver turns the loop while
 * the caller is parked: the caller's stack carries the steps of its own task
 * and nothing else, so that it can return as soon as that task is done,
 * whatever other calls are then waiting. */
#include "twr.h"

/* A truth that loop tells of itself; -1: error. */
static int
asked(PyObject *loop, PyObject *method)
{
    PyObject *flag = PyObject_CallMethodNoArgs(loop, method);
    int truth = flag == NULL ? -1 : PyObject_IsTrue(flag);
    Py_XDECREF(flag);
    return truth;
}

/* Whether loop can be run now. */
static int
usable(TwrState *state, PyObject *loop)
{
    int bad = asked(loop, state->names.is_closed);
    if (bad == 0) {
        bad = asked(loop, state->names.is_running);
    }
    if (bad == 0) {
        /* A signal handler comes as that is about to run, or has just run:
         * its stop is not for us. */
        bad = twr_frames_run(state, loop);
    }
    return bad < 0 ? -1 : !bad;
}

/* The loop set for this thread, or None; asking asyncio for it would make one,
 * or warn.  NULL without error: that is not known. */
static PyObject *
current_loop(TwrState *state)
{
    PyObject *policy, *local = NULL, *loop = NULL;
    if (PyObject_GetOptionalAttr(
            state->events, state->names._event_loop_policy, &policy) < 0) {
        return NULL;
    }
    if (policy == Py_None) {
        return policy;
    }
    if (policy != NULL &&
        PyObject_GetOptionalAttr(policy, state->names._local, &local) > 0 &&
        PyObject_GetOptionalAttr(local, state->names._loop, &loop) < 0) {
        loop = NULL;
    }
    Py_XDECREF(policy);
    Py_XDECREF(local);
    return loop;
}

/* The loop set for this thread; NULL without error: none, or none that can be
 * used.  *vacant: whether another may be set in its place. */
static PyObject *
set_loop(TwrState *state, bool *vacant)
{
    PyObject *loop = current_loop(state);
    *vacant = loop == Py_None;
    if (loop == NULL || *vacant) {
        Py_XDECREF(loop);
        return NULL;
    }
    int good = usable(state, loop);
    if (good == 0) {
        int closed = asked(loop, state->names.is_closed);
        *vacant = closed > 0;
        good = closed < 0 ? -1 : 0;
    }
    if (good <= 0) {
        Py_CLEAR(loop);
    }
    return loop;
}

/* What that adapter knows of the IPython prompt at which the call was made;
 * NULL without error: nothing, or it was made elsewhere. */
static PyObject *
of_prompt(Thread *th, const char *adapter)
{
    TwrState *state = th->state;
    PyObject *modules = PyImport_GetModuleDict();
    if (!th->is_main ||
        PyDict_GetItemWithError(modules, state->names.IPython) == NULL) {
        return NULL;
    }
    PyObject *adapters = twr_adapters(state);
    PyObject *known =
        adapters == NULL ? NULL : PyObject_CallMethod(adapters, adapter, NULL);
    if (known == Py_None) {
        Py_CLEAR(known);
    }
    return known;
}

/* The loop of that prompt, likewise. */
static PyObject *
prompt_loop(Thread *th)
{
    TwrState *state = th->state;
    PyObject *loop = of_prompt(th, "prompt_loop");
    if (loop != NULL && usable(state, loop) <= 0) {
        Py_CLEAR(loop);
    }
    return loop;
}

/* The loop kept for this thread, made if there is none that can be used. */
static PyObject *
own_loop(Thread *th, PyObject *subject)
{
    PyObject *loop = Py_XNewRef(th->own_loop);
    int good = loop == NULL ? 0 : usable(th->state, loop);
    if (good > 0) {
        return loop;
    }
    int begun = 0;
    if (good == 0 && loop != NULL) {
        begun = twr_frames_run(th->state, loop);
    }
    Py_CLEAR(loop);
    if (begun > 0) {
        twr_handoff_refuse_between(th->state, subject);
    }
    else if (good == 0 && begun == 0) {
        loop = PyObject_CallNoArgs(th->state->new_event_loop);
    }
    if (loop != NULL) {
        Py_XSETREF(th->own_loop, Py_NewRef(loop));
        th->state->has_own_loops = true;
    }
    return loop;
}

/* Our own loop is set, too, if no other is: what libraries make outside of a
 * call, asking asyncio.get_event_loop(), is then of the loop of the calls. */
PyObject *
twr_run_loop(Thread *th, PyObject *subject)
{
    TwrState *state = th->state;
    bool vacant = false;
    PyObject *loop = prompt_loop(th);
    if (loop == NULL && !PyErr_Occurred()) {
        loop = set_loop(state, &vacant);
    }
    if (loop != NULL || PyErr_Occurred()) {
        return loop;
    }
    loop = own_loop(th, subject);
    if (loop != NULL && vacant) {
        PyObject *none = PyObject_CallOneArg(state->set_event_loop, loop);
        if (none == NULL) {
            Py_CLEAR(loop);
        }
        Py_XDECREF(none);
    }
    return loop;
}

/* Ctrl-C came when there was no step of the call's that it could end: now it
 * ends the call, after what the call itself may have raised. */
static PyObject *
interrupted(Thread *th, PyObject *result)
{
    if (!th->sigint_missed) {
        return result;
    }
    th->sigint_missed = false;
    PyObject *pending = result == NULL ? twr_error_take() : NULL;
    Py_XDECREF(result);
    if (pending != NULL &&
        PyErr_GivenExceptionMatches(pending, PyExc_KeyboardInterrupt)) {
        PyErr_SetRaisedException(pending);
        return NULL;
    }
    PyErr_SetNone(PyExc_KeyboardInterrupt);
    if (pending != NULL) {
        PyObject *interrupt = twr_error_take();
        PyException_SetContext(interrupt, pending);
        PyErr_SetRaisedException(interrupt);
    }
    return NULL;
}

/* Run coro in loop, which has been entered.  Switches. */
static PyObject *
host(Thread *th, PyObject *loop, PyObject *coro, PyObject *subject)
{
    twr_floor_of_run(th);
    PyObject *me = twr_stack_current();
    Loan *loan = me == NULL ? NULL : twr_loan_of(th, loop);
    if (loan == NULL) {
        Py_XDECREF(me);
        twr_close_awaitable(th->state, coro);
        return NULL;
    }
    loan->batch = 0;
    Py_XSETREF(th->loan, (Loan *)Py_NewRef((PyObject *)loan));
    twr_stack_set_active(th, me);
    PyObject *result = NULL;
    if (twr_loop_unmark(loan) < 0) {
        twr_close_awaitable(th->state, coro);
    }
    else {
        result = twr_host(th, loop, loan, coro, subject);
    }
    Py_CLEAR(th->loan);
    PyObject *pending = twr_error_take();
    /* Whoever runs this loop next begins with it: see handoff.c. */
    if (twr_loop_mark(loan) < 0 || twr_loan_release(th, loan) < 0) {
        Py_CLEAR(result);
    }
    twr_error_put(pending);
    Py_DECREF(loan);
    Py_DECREF(me);
    return result;
}

/* Run coro in a loop whose turns we drive.  Python's own handler of SIGINT is
 * out of its place from beginning to end: the exception that it raises would
 * get lost in a finalizer, or tear a task that is being made.  Switches. */
static PyObject *
run_driven(Thread *th, PyObject *loop, PyObject *coro, PyObject *subject)
{
    PyObject *result = NULL, *undo = NULL;
    bool outer = th->in_run; /* a signal handler may make a call here */
    th->in_run = true;
    if (twr_sigint_set(th) < 0 || twr_loop_enter(th->state, loop, &undo) < 0) {
        twr_close_awaitable(th->state, coro);
    }
    else {
        result = host(th, loop, coro, subject);
        if (twr_loop_leave(th->state, loop, undo) < 0) {
            Py_CLEAR(result);
        }
    }
    Py_XDECREF(undo);
    PyObject *pending = twr_error_take();
    if (twr_sigint_restore(th) < 0) {
        Py_CLEAR(result);
    }
    twr_error_put(pending);
    th->in_run = outer;
    return interrupted(th, result);
}

/* Somebody has set that no loop runs, in the middle of one that does. */
static int
check_hidden(Thread *th, PyObject *subject)
{
    if (th->loan == NULL) {
        return 0;
    }
    return twr_handoff_refuse(
        th->state, subject,
        PyUnicode_FromString(th->loan->place == OWNER_ENDS_CALLS
                                 ? "the loop has been closed meanwhile"
                                 : "the loop that runs in this thread is "
                                   "hidden"));
}

int
twr_run_hide(Thread *th, PyObject *loop)
{
    if (twr_loop_set_running(th->state, Py_None) < 0) {
        return -1;
    }
    Py_XSETREF(th->hidden, Py_NewRef(loop));
    return 0;
}

int
twr_run_show(Thread *th)
{
    PyObject *loop = th->hidden;
    th->hidden = NULL;
    int shown = loop == NULL ? 0 : twr_loop_set_running(th->state, loop);
    Py_XDECREF(loop);
    return shown;
}

int
twr_run_check(Thread *th, PyObject *subject)
{
    return twr_loan_settle(th, NULL) < 0 ? -1 : check_hidden(th, subject);
}

PyObject *
twr_run_in(Thread *th, PyObject *loop, PyObject *awaitable, PyObject *subject)
{
    PyObject *result = NULL, *coro = NULL;
    int driven =
        twr_run_check(th, subject) < 0 ? -1 : twr_loop_drivable(th, loop);
    if (driven == 0) {
        driven = twr_loop_patched(th->state, loop);
    }
    if (driven < 0) {
        twr_close_awaitable(th->state, awaitable);
        return NULL;
    }
    coro = twr_as_coroutine(th->state, awaitable, loop, subject);
    if (coro == NULL) {
        twr_close_awaitable(th->state, awaitable);
    }
    else {
        result = driven ? run_driven(th, loop, coro, subject)
                        : PyObject_CallMethodOneArg(
                              loop, th->state->names.run_until_complete, coro);
    }
    Py_XDECREF(coro);
    return result;
}

/* Where asgiref has been imported: have what its sync_to_async is given run in
 * this thread while loop runs.  A function that undoes it, or None. */
static PyObject *
for_asgiref(TwrState *state, PyObject *loop)
{
    PyObject *modules = PyImport_GetModuleDict();
    if (PyDict_GetItemWithError(modules, state->names.asgiref) == NULL) {
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    }
    PyObject *adapters = twr_adapters(state);
    return adapters == NULL
               ? NULL
               : PyObject_CallMethod(adapters, "for_asgiref", "O", loop);
}

/* twr_run_in, with that.  Switches. */
static PyObject *
run_beside_asgiref(Thread *th, PyObject *loop, PyObject *awaitable,
                   PyObject *subject)
{
    PyObject *undo = for_asgiref(th->state, loop);
    if (undo == NULL) {
        twr_close_awaitable(th->state, awaitable);
        return NULL;
    }
    PyObject *result = twr_run_in(th, loop, awaitable, subject);
    if (undo != Py_None) {
        PyObject *pending = twr_error_take();
        PyObject *none = PyObject_CallNoArgs(undo);
        if (none == NULL) {
            PyErr_WriteUnraisable(undo);
        }
        Py_XDECREF(none);
        twr_error_put(pending);
    }
    Py_DECREF(undo);
    return result;
}

/* Let runner, which runs what is awaited at IPython's prompt, run awaitable,
 * in a loop that it alone knows.  Switches. */
static PyObject *
run_by(Thread *th, PyObject *runner, PyObject *awaitable, PyObject *subject)
{
    PyObject *coro = NULL, *result = NULL;
    bool native = PyCoro_CheckExact(awaitable);
    if (twr_run_check(th, subject) < 0 ||
        (native && twr_check_fresh(awaitable, subject) < 0)) {
        twr_close_awaitable(th->state, awaitable);
        return NULL;
    }
    coro =
        native ? Py_NewRef(awaitable) : twr_awaiting_new(th->state, awaitable);
    if (coro != NULL) {
        result = PyObject_CallOneArg(runner, coro);
    }
    Py_XDECREF(coro);
    return result;
}

PyObject *
twr_run(Thread *th, PyObject *awaitable, PyObject *subject)
{
    PyObject *runner = of_prompt(th, "prompt_runner");
    if (runner != NULL) {
        PyObject *got = run_by(th, runner, awaitable, subject);
        Py_DECREF(runner);
        return got;
    }
    PyObject *loop = PyErr_Occurred() ? NULL : twr_run_loop(th, subject);
    if (loop == NULL) {
        twr_close_awaitable(th->state, awaitable);
        return NULL;
    }
    bool own = loop == th->own_loop;
    PyObject *result = run_beside_asgiref(th, loop, awaitable, subject);
    if (th->forked && own) {
        twr_thread_discard(th, loop);
    }
    Py_DECREF(loop);
    twr_thread_register(th);
    return result;
}
