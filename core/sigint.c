/* sigint.c - Ctrl-C while calls wait.
 *
 * Python's own handler raises KeyboardInterrupt in whatever code happens to
 * run: in a driver, or in a task that has nothing to do with the call that the
 * user is looking at.  While calls wait, and only if that handler is the one
 * in place, ours takes its place.  It cancels the call in the foreground, as
 * asyncio.Runner does its main task: when what was called has ended, the call
 * raises KeyboardInterrupt.
 *
 *     no loop was running     the call that runs the loop is the one; before
 *                             its task's first step and after its last, the
 *                             signal is kept for the call to raise (run.c)
 *     a loop was running      the one that somebody at a keyboard waits for:
 *                             1. code of a notebook cell
 *                             2. what handles another message of the notebook
 *                             3. code at the top level, as at a prompt; or
 *                                the task that run_until_complete waits for
 *                             the latest, if there are more of a kind
 *     calls of a closed loop  who runs now, when they have ended (orphan.c)
 *     are being ended
 *     none of these           KeyboardInterrupt, in the code that runs now
 *     asked a second time     the call raises KeyboardInterrupt, at once
 *     asked a third time      KeyboardInterrupt, in the code that runs now: it
 *                             does not let the loop come round
 *
 * That is told by the frames below a call, down to the loop's (_prompts.py
 * looks at them, when the signal has come).  It cannot be told by the order of
 * calls: a background task may have made the first and the latest.  Nor by the
 * handler: ipykernel puts Python's own one in place while it handles a message
 * and at no other time, but python -m asyncio leaves it there.  If the code
 * that runs now is as much in the foreground as any call, it is interrupted.
 *
 * asyncio.run sets a handler of its own, which cancels its main task, and so
 * does ipykernel while a cell awaits; they are left alone. */
#include "handoff.h"

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

/* (call, its greenlet, its task) for each call that waits, latest first. */
static PyObject *
waiting(Loan *loan)
{
    /* 3.11 may collect as a list or tuple is made, and a finalizer make a call
     * that lets these end. */
    int collects = PyGC_Disable();
    PyObject *calls = PyList_New(0);
    Call *call = loan->parked;
    while (calls != NULL && call != NULL) {
        PyObject *item =
            PyTuple_Pack(3, (PyObject *)call, call->greenlet, call->task);
        if (item == NULL || PyList_Append(calls, item) < 0) {
            Py_CLEAR(calls);
        }
        Py_XDECREF(item);
        call = call->older;
    }
    if (collects) {
        PyGC_Enable();
    }
    return calls;
}

/* Ask _prompts.py.  frame: of the code that runs now, or None. */
static PyObject *
ask(TwrState *state, Loan *loan, PyObject *frame)
{
    PyObject *chosen = NULL;
    PyObject *adapters = twr_adapters(state);
    PyObject *calls = adapters == NULL ? NULL : waiting(loan);
    PyObject *task =
        calls == NULL ? NULL : twr_task_current(state, loan->loop);
    if (calls != NULL && !PyErr_Occurred()) {
        chosen = PyObject_CallMethod(adapters, "foreground", "OOO", frame,
                                     task == NULL ? Py_None : task, calls);
    }
    Py_XDECREF(task);
    Py_XDECREF(calls);
    return chosen;
}

int
twr_sigint_foreground(Thread *th, PyObject *frame, Call **call)
{
    Loan *loan = th->loan;
    *call = NULL;
    if (loan == NULL) {
        return 0;
    }
    Call *home = loan->home;
    if (home != NULL) {
        /* If its stack is the active one, its own code is what runs. */
        bool runs = th->active == home->greenlet && is_running(home);
        *call = runs ? NULL : home;
    }
    else if (loan->parked != NULL && loan->place != OWNER_ENDS_CALLS) {
        PyObject *chosen = ask(th->state, loan, frame);
        if (chosen == NULL) {
            return -1;
        }
        if (Py_IS_TYPE(chosen, th->state->call_type) &&
            ((Call *)chosen)->parked) {
            *call = (Call *)chosen; /* its stack owns it */
        }
        Py_DECREF(chosen);
    }
    return 0;
}

/* Whether what was called has ended as it was told to. */
static bool
is_ended(TwrState *state, PyObject *thrown, PyObject *error)
{
    return error == NULL
               ? thrown != NULL
               : PyErr_GivenExceptionMatches(error, state->CancelledError);
}

PyObject *
twr_sigint_result(Thread *th, PyObject *task, PyObject *thrown,
                  PyObject *result)
{
    TwrState *state = th->state;
    PyObject *error = result == NULL ? twr_error_take() : NULL;
    if (th->sigint_task == task) {
        Py_CLEAR(th->sigint_task);
    }
    PyObject *left = PyObject_CallMethodNoArgs(task, state->names.uncancel);
    long count = left == NULL ? -1 : PyLong_AsLong(left);
    Py_XDECREF(left);
    if (PyErr_Occurred()) {
        PyErr_WriteUnraisable(task);
    }
    if (count == 0 && is_ended(state, thrown, error)) {
        Py_XDECREF(error);
        Py_XDECREF(result);
        th->signal_raised = true;
        if (thrown != NULL) {
            PyErr_SetRaisedException(Py_NewRef(thrown));
        }
        else {
            PyErr_SetNone(PyExc_KeyboardInterrupt);
        }
        return NULL;
    }
    twr_error_put(error);
    return result;
}

bool
twr_sigint_ends(Thread *th, PyObject *exc)
{
    return th->is_main &&
           (th->signal_raised ||
            PyErr_GivenExceptionMatches(exc, PyExc_KeyboardInterrupt) ||
            PyErr_GivenExceptionMatches(exc, PyExc_SystemExit));
}

static int
raise_it(void *exc)
{
    PyErr_SetRaisedException(exc);
    return -1;
}

void
twr_sigint_raise_soon(PyObject *exc)
{
    if (Py_AddPendingCall(raise_it, exc) < 0) {
        PyObject *pending = twr_error_take();
        PyErr_SetRaisedException(exc);
        PyErr_WriteUnraisable(NULL);
        twr_error_put(pending);
    }
}

/* Whether a signal comes when it can end no call, and is kept. */
static bool
comes_amiss(Thread *th)
{
    Loan *loan = th->loan;
    if (loan != NULL && loan->place == OWNER_ENDS_CALLS) {
        return true;
    }
    Call *home = loan == NULL ? NULL : loan->home;
    return th->in_run &&
           (home == NULL ||
            (!home->parked && twr_call_future_done(th->state, home->task)));
}

int
twr_sigint_pass_on(Thread *th)
{
    Call *home = th->loan == NULL ? NULL : th->loan->home;
    if (!th->sigint_missed || (th->in_run && home == NULL)) {
        return 0;
    }
    th->sigint_missed = false;
    if (home == NULL) {
        PyErr_SetNone(PyExc_KeyboardInterrupt);
        return -1;
    }
    Py_INCREF(home);
    bool again = home->task == th->sigint_task;
    Py_XSETREF(th->sigint_task, Py_NewRef(home->task));
    int done = twr_call_interrupt(th->state, home, again);
    Py_DECREF(home);
    return done;
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
    if (!th->sigint_missed && comes_amiss(th)) {
        th->sigint_missed = true;
        Py_RETURN_NONE;
    }
    Call *call;
    PyObject *frame =
        PyTuple_GET_SIZE(args) > 1 ? PyTuple_GET_ITEM(args, 1) : Py_None;
    if (twr_sigint_foreground(th, frame, &call) < 0) {
        return NULL;
    }
    bool again = call != NULL && call->task == th->sigint_task;
    if (again && call->hosts) {
        call = twr_call_uppermost(call->loan, call);
    }
    if (call == NULL || (again && call->error != NULL)) {
        return PyObject_CallObject(state->default_int_handler, args);
    }
    Py_INCREF(call); /* it may end meanwhile */
    int done = twr_call_interrupt(state, call, again);
    if (done == 0 && !again) {
        Py_XSETREF(th->sigint_task, Py_NewRef(call->task));
    }
    Py_DECREF(call);
    return done < 0 ? NULL : Py_NewRef(Py_None);
}

PyMethodDef twr_sigint_def = {
    "on_sigint", on_sigint, METH_VARARGS,
    "Give Ctrl-C to the synchronous call that waits."};

/* The handler in place for SIGINT; borrowed, and only to be compared. */
static PyObject *
in_place(TwrState *state)
{
    PyObject *number = PyLong_FromLong(SIGINT);
    PyObject *now =
        number == NULL ? NULL : PyObject_CallOneArg(state->getsignal, number);
    Py_XDECREF(number);
    Py_XDECREF(now);
    return now;
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
    if (!th->is_main) {
        return 0;
    }
    /* Others may have put theirs in place, or ours back, at any time. */
    PyObject *now = in_place(th->state);
    th->sigint_ours = now == th->state->interrupted;
    if (now != th->state->default_int_handler) {
        return now == NULL ? -1 : 0;
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
    PyObject *now = in_place(th->state);
    if (now != th->state->interrupted) {
        return now == NULL ? -1 : 0;
    }
    int put = put_in_place(th->state, th->state->default_int_handler);
    if (put < 0 && PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
        /* signal() looks for signals first, and has found one. */
        PyObject *interrupt = twr_error_take();
        put_in_place(th->state, th->state->default_int_handler);
        twr_error_put(interrupt);
    }
    return put;
}
