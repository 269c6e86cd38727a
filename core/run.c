/* run.c - no loop in this thread: run the thread's own one.
 *
 * At a prompt of IPython, the loop in which that runs what is awaited there is
 * used; else the one that is set for this thread, if it is open and idle; else
 * one that we make and keep, so that what one call opens the next can use.
 * The call hosts a task (handoff.c), and a driver turns the loop while the
 * caller is parked: the caller's stack carries the steps of its own task and
 * nothing else, so that it can return as soon as that task is done, whatever
 * other calls are then waiting. */
#include "twr.h"

/* Whether loop can be run now. */
static int
usable(TwrState *state, PyObject *loop)
{
    PyObject *const methods[] = {state->names.is_closed,
                                 state->names.is_running};
    for (int i = 0; i < 2; i++) {
        PyObject *flag = PyObject_CallMethodNoArgs(loop, methods[i]);
        if (flag == NULL) {
            return -1;
        }
        int truth = PyObject_IsTrue(flag);
        Py_DECREF(flag);
        if (truth != 0) {
            return truth < 0 ? -1 : 0;
        }
    }
    return 1;
}

/* The loop set for this thread.  Asking asyncio for it would make one, or
 * warn.  NULL without error: none, or none that can be used. */
static PyObject *
set_loop(TwrState *state)
{
    PyObject *policy, *local = NULL, *loop = NULL;
    if (PyObject_GetOptionalAttr(
            state->events, state->names._event_loop_policy, &policy) < 0) {
        return NULL;
    }
    if (policy != NULL && policy != Py_None &&
        PyObject_GetOptionalAttr(policy, state->names._local, &local) >= 0 &&
        local != NULL &&
        PyObject_GetOptionalAttr(local, state->names._loop, &loop) >= 0 &&
        loop != NULL && (loop == Py_None || usable(state, loop) <= 0)) {
        Py_CLEAR(loop);
    }
    Py_XDECREF(policy);
    Py_XDECREF(local);
    return loop;
}

/* The loop of the IPython prompt at which the call was made; NULL without
 * error: it was made elsewhere. */
static PyObject *
prompt_loop(Thread *th)
{
    TwrState *state = th->state;
    PyObject *modules = PyImport_GetModuleDict();
    if (!th->is_main ||
        PyDict_GetItemWithError(modules, state->names.IPython) == NULL) {
        return NULL;
    }
    PyObject *adapters = twr_adapters(state);
    PyObject *loop = adapters == NULL
                         ? NULL
                         : PyObject_CallMethod(adapters, "prompt_loop", NULL);
    if (loop != NULL && (loop == Py_None || usable(state, loop) <= 0)) {
        Py_CLEAR(loop);
    }
    return loop;
}

PyObject *
twr_run_loop(Thread *th)
{
    TwrState *state = th->state;
    PyObject *loop = prompt_loop(th);
    if (loop == NULL && !PyErr_Occurred()) {
        loop = set_loop(state);
    }
    if (loop != NULL || PyErr_Occurred()) {
        return loop;
    }
    if (th->own_loop != NULL) {
        int good = usable(state, th->own_loop);
        if (good != 0) {
            return good < 0 ? NULL : Py_NewRef(th->own_loop);
        }
        Py_CLEAR(th->own_loop);
    }
    th->own_loop = PyObject_CallNoArgs(state->new_event_loop);
    return Py_XNewRef(th->own_loop);
}

/* Run coro in a loop whose turns we drive.  Switches. */
static PyObject *
run_driven(Thread *th, PyObject *loop, PyObject *coro, PyObject *subject)
{
    PyObject *result = NULL, *undo = NULL;
    PyObject *me = twr_stack_current();
    Loan *loan = me == NULL ? NULL : twr_loan_of(th, loop);
    if (loan == NULL || twr_loop_enter(th->state, loop, &undo) < 0) {
        twr_close_awaitable(th->state, coro);
        goto done;
    }
    loan->batch = 0;
    Py_XSETREF(th->loan, (Loan *)Py_NewRef((PyObject *)loan));
    twr_stack_set_active(th, me);
    result = twr_host(th, loop, loan, coro, subject);
    Py_CLEAR(th->loan);
    PyObject *pending = twr_error_take();
    if (twr_sigint_restore(th) < 0 || twr_loan_release(th, loan) < 0) {
        Py_CLEAR(result);
    }
    if (pending != NULL) {
        PyErr_Clear();
        twr_error_put(pending);
    }
    if (twr_loop_leave(th->state, loop, undo) < 0) {
        Py_CLEAR(result);
    }
done:
    Py_XDECREF(undo);
    Py_XDECREF(loan);
    Py_XDECREF(me);
    return result;
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
        PyUnicode_FromString("the loop that runs in this thread is hidden"));
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
    if (driven < 0) {
        twr_close_awaitable(th->state, awaitable);
        return NULL;
    }
    coro = twr_as_coroutine(th->state, awaitable, loop, subject);
    if (coro != NULL) {
        result = driven ? run_driven(th, loop, coro, subject)
                        : PyObject_CallMethodOneArg(
                              loop, th->state->names.run_until_complete, coro);
    }
    Py_XDECREF(coro);
    return result;
}

PyObject *
twr_run(Thread *th, PyObject *awaitable, PyObject *subject)
{
    PyObject *loop = twr_run_check(th, subject) < 0 ? NULL : twr_run_loop(th);
    if (loop == NULL) {
        twr_close_awaitable(th->state, awaitable);
        return NULL;
    }
    PyObject *result = twr_run_in(th, loop, awaitable, subject);
    Py_DECREF(loop);
    return result;
}
