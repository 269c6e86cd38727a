/* sigint.c - Ctrl-C while calls wait.
 *
 * Python's own handler raises KeyboardInterrupt in whatever code happens to
 * run: in a driver, or in a task that has nothing to do with the call that the
 * user is looking at.  While calls wait, and only if that handler is the one
 * in place, ours takes its place:
 *
 *     no loop was running     the task of the call is cancelled, and the call
 *                             raises KeyboardInterrupt when it has ended
 *     a loop was running      the latest parked call raises KeyboardInterrupt
 *     asked a second time     KeyboardInterrupt is raised at once
 *
 * asyncio.run sets a handler of its own, which cancels its main task; it is
 * left alone. */
#include "twr.h"

#include <signal.h>

/* Whether the coroutine of a hosted task runs.  An exception raised elsewhere
 * in its step, as where the loop queues the next one, would lose the step. */
static bool
is_running(Call *home)
{
    PyObject *coro = PyObject_CallMethod(home->task, "get_coro", NULL);
    PyObject *running =
        coro == NULL ? NULL : PyObject_GetAttrString(coro, "cr_running");
    bool truth = running != Py_False;
    PyErr_Clear();
    Py_XDECREF(running);
    Py_XDECREF(coro);
    return truth;
}

/* The call that Ctrl-C is for; NULL: the code that runs now. */
static Call *
foreground(Thread *th)
{
    Loan *loan = th->loan;
    if (loan == NULL) {
        return NULL;
    }
    Call *home = loan->home;
    if (home == NULL) {
        return loan->parked;
    }
    /* If its stack is the active one, its own code is what runs. */
    return th->active == home->greenlet && is_running(home) ? NULL : home;
}

static PyObject *
on_sigint(PyObject *module, PyObject *args)
{
    TwrState *state = twr_state(module);
    Thread *th = twr_thread(state);
    if (th == NULL) {
        return NULL;
    }
    PyObject *running = PyObject_CallNoArgs(state->get_running_loop);
    if (running == NULL || twr_loan_settle(th, running) < 0) {
        Py_XDECREF(running);
        return NULL;
    }
    Py_DECREF(running); /* only compared */
    Call *call = th->sigint_call != NULL ? NULL : foreground(th);
    if (call == NULL) {
        return PyObject_CallObject(state->default_int_handler, args);
    }
    th->sigint_call = call;
    return twr_call_interrupt(state, call) < 0 ? NULL : Py_NewRef(Py_None);
}

PyMethodDef twr_sigint_def = {
    "on_sigint", on_sigint, METH_VARARGS,
    "Give Ctrl-C to the synchronous call that waits."};

/* 1 if handler is in place for SIGINT. */
static int
in_place(TwrState *state, PyObject *handler)
{
    PyObject *number = PyLong_FromLong(SIGINT);
    PyObject *now =
        number == NULL ? NULL : PyObject_CallOneArg(state->getsignal, number);
    Py_XDECREF(number);
    Py_XDECREF(now);
    return now == NULL ? -1 : now == handler;
}

static int
put_in_place(TwrState *state, PyObject *handler)
{
    PyObject *old =
        PyObject_CallFunction(state->signal, "iO", SIGINT, handler);
    Py_XDECREF(old);
    return old == NULL ? -1 : 0;
}

int
twr_sigint_set(Thread *th)
{
    if (!th->is_main || th->sigint_ours) {
        return 0;
    }
    int now = in_place(th->state, th->state->default_int_handler);
    if (now <= 0) {
        return now;
    }
    th->sigint_ours = true;
    return put_in_place(th->state, th->state->interrupted);
}

int
twr_sigint_restore(Thread *th)
{
    if (!th->sigint_ours) {
        return 0;
    }
    th->sigint_ours = false;
    int now = in_place(th->state, th->state->interrupted);
    if (now <= 0) {
        return now;
    }
    int put = put_in_place(th->state, th->state->default_int_handler);
    if (put < 0 && PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
        /* signal() looks for signals first, and has found one. */
        PyObject *interrupt = twr_error_take();
        put_in_place(th->state, th->state->default_int_handler);
        PyErr_Clear();
        twr_error_put(interrupt);
    }
    return put;
}
