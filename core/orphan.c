/* orphan.c - calls that still wait when their loop has been closed.
 *
 * They never go on: nothing runs their loop again.  Nor does the collector
 * find them, since the stack on which a call waits owns it.  A task that waits
 * by itself in such a loop is collected: asyncio says that it "was destroyed
 * but it is pending", and its coroutine is closed.  Here the same is done for
 * a task that waits in a call, when the thread runs another loop next or ends:
 * the call raises GeneratorExit, and the same is said when the task is
 * dropped, which whoever holds it may never do.  At the end of the interpreter
 * nothing is said of what is left in open loops.
 *
 * Ctrl-C meanwhile is not for the calls that end but for who runs now, and is
 * kept until they have ended. */
#include "handoff.h"

void
twr_orphans_failed(Thread *th, PyObject *where)
{
    if (th->is_main && PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
        PyErr_Clear();
        th->sigint_missed = true;
    }
    else {
        PyErr_WriteUnraisable(where);
    }
}

static bool
closed(Thread *th, Loan *loan)
{
    PyObject *flag =
        PyObject_CallMethodNoArgs(loan->loop, th->state->names.is_closed);
    if (flag == NULL) {
        twr_orphans_failed(th, loan->loop);
    }
    Py_XDECREF(flag);
    return flag == Py_True;
}

/* Whether calls wait in loan, and nothing runs its loop. */
static bool
rests(Thread *th, Loan *loan)
{
    return loan->parked != NULL && loan->place == OWNER_NONE &&
           loan->loop != NULL && loan != th->loan;
}

/* The first loan with calls that can never go on, as its loop is closed, or
 * (at_end) its thread ends; NULL: none. */
static Loan *
find(Thread *th, bool at_end)
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(th->loans); i++) {
        Loan *loan = (Loan *)Py_NewRef(PyList_GET_ITEM(th->loans, i));
        /* Once more, for a loop may be so bold as to run in is_closed(). */
        if (rests(th, loan) && (at_end || closed(th, loan)) &&
            rests(th, loan)) {
            return loan;
        }
        Py_DECREF(loan);
    }
    return NULL;
}

/* Call that adapter; NULL: it has failed, which has been reported.  A pending
 * exception is kept. */
static PyObject *
adapter(Thread *th, const char *name, PyObject *task)
{
    PyObject *pending = twr_error_take();
    PyObject *adapters = twr_adapters(th->state);
    PyObject *result = adapters == NULL
                           ? NULL
                           : PyObject_CallMethod(adapters, name, "O", task);
    if (result == NULL) {
        twr_orphans_failed(th, task);
    }
    twr_error_put(pending);
    return result;
}

/* Tell of a task that has been let go of, as `destroying` has returned; takes
 * it, and it may be NULL. */
static void
tell(Thread *th, PyObject *left)
{
    PyObject *none =
        left == NULL ? NULL : PyObject_CallMethod(left, "tell", NULL);
    if (none == NULL && left != NULL) {
        twr_orphans_failed(th, left);
    }
    Py_XDECREF(none);
    Py_XDECREF(left);
}

/* Go to greenlet, in the step of call.  Switches. */
static int
switch_to_step(Thread *th, Call *call, PyObject *greenlet)
{
    TwrState *state = th->state;
    if (!TWR_STEPS_NEED_THEIR_LOOP) {
        return twr_stack_switch(th, greenlet);
    }
    PyObject *running = PyObject_CallNoArgs(state->get_running_loop);
    if (running == NULL) {
        return -1;
    }
    PyObject *loop = Py_NewRef(call->loan->loop);
    PyObject *task = Py_NewRef(call->task);
    int back = twr_loop_set_running(state, loop) < 0
                   ? -1
                   : twr_stack_switch(th, greenlet);
    PyObject *pending = twr_error_take();
    PyObject *current = twr_task_current(state, loop);
    if ((current == task && twr_task_leave(state, loop, task) < 0) ||
        twr_loop_set_running(state, running) < 0) {
        twr_orphans_failed(th, task);
    }
    twr_error_put(pending);
    Py_XDECREF(current);
    Py_DECREF(task);
    Py_DECREF(loop);
    Py_DECREF(running);
    return back;
}

/* Have call raise GeneratorExit, and come back when its step has ended.
 * Switches. */
static int
end_call(Thread *th, Call *call)
{
    if (!call->parked) {
        return 0; /* an exception handler that runs loops */
    }
    PyErr_SetNone(PyExc_GeneratorExit);
    PyObject *next = twr_call_fail(th, call);
    int back = next == NULL ? 0 : switch_to_step(th, call, next);
    Py_XDECREF(next);
    if (!call->hosts) {
        Py_XDECREF(adapter(th, "destroyed", call->task));
    }
    return back;
}

/* End call and let go of its task; false: it stays.  Switches. */
static bool
end_and_tell(Thread *th, Call *call, bool quietly)
{
    Py_INCREF(call);
    PyObject *task = Py_NewRef(call->task);
    /* A hosted task is not on the stack: it is collected, and tells. */
    PyObject *left =
        call->hosts || quietly ? NULL : adapter(th, "destroying", task);
    if (end_call(th, call) < 0) {
        twr_orphans_failed(th, task);
    }
    bool stays = call->parked;
    Py_DECREF(call);
    Py_DECREF(task);
    tell(th, left);
    return !stays;
}

/* Switches. */
static void
end_calls(Thread *th, Loan *loan, PyObject *me, bool quietly)
{
    Py_XSETREF(th->loan, (Loan *)Py_NewRef((PyObject *)loan));
    Py_XSETREF(loan->owner, Py_NewRef(me));
    loan->place = OWNER_ENDS_CALLS;
    while (loan->parked != NULL && end_and_tell(th, loan->parked, quietly)) {
    }
    loan->place = OWNER_NONE;
    Py_CLEAR(loan->owner);
}

int
twr_orphans_end(Thread *th, bool at_end)
{
    if (PyList_GET_SIZE(th->loans) == 0) {
        return 0;
    }
    PyObject *me = twr_stack_current();
    PyObject *active = Py_XNewRef(th->active);
    Loan *before = (Loan *)Py_XNewRef((PyObject *)th->loan);
    bool ours = th->sigint_ours;
    Loan *loan;
    while (me != NULL && (loan = find(th, at_end)) != NULL) {
        bool quietly = th->is_main && !closed(th, loan);
        end_calls(th, loan, me, quietly);
        Py_XSETREF(th->loan, (Loan *)Py_XNewRef((PyObject *)before));
        bool stays = loan->parked != NULL;
        if (stays) {
            loan->place = OWNER_ENDS_CALLS; /* and is not found again */
        }
        else if (twr_loan_release(th, loan) < 0) {
            PyErr_WriteUnraisable(loan->loop);
        }
        Py_DECREF(loan);
    }
    Py_XDECREF(before);
    Py_XSETREF(th->active, active);
    if (ours && twr_sigint_set(th) < 0) {
        twr_orphans_failed(th, NULL);
    }
    Py_XDECREF(me);
    PyErr_Clear();
    return twr_sigint_pass_on(th);
}

int
twr_orphans_below(Thread *th)
{
    Loan *loan = th->loan;
    if (loan == NULL || loan->place != OWNER_ENDS_CALLS) {
        return 0;
    }
    PyObject *me = twr_stack_current();
    int below = me == NULL ? -1 : me != loan->owner;
    Py_XDECREF(me);
    return below;
}

/* Code that goes on calling whatever is raised, as below a bare except, would
 * do so for ever. */
enum { REFUSALS_MAX = 100 };

int
twr_orphans_refuse(Thread *th, PyObject *subject)
{
    Loan *loan = th->loan;
    int below = twr_orphans_below(th);
    if (below <= 0 || ++loan->refusals <= REFUSALS_MAX) {
        return below < 0 ? -1 : 0;
    }
    PyObject *me = twr_stack_current();
    if (me == NULL) {
        return -1;
    }
    loan->refusals = 0;
    PyErr_SetString(PyExc_RuntimeError, "coroutine ignored GeneratorExit");
    PyErr_WriteUnraisable(subject);
    /* This greenlet is left alone for ever: `me` keeps it from being killed,
     * which it would not mind either. */
    twr_stack_set_active(th, loan->owner);
    return twr_stack_switch(th, loan->owner);
}

static PyObject *
end_orphans(PyObject *module, PyObject *unused)
{
    (void)unused;
    TwrState *state = twr_state(module);
    Thread *th = twr_thread(state);
    PyObject *contexts = NULL;
    if (th == NULL || twr_context_leave(state, &contexts) < 0) {
        return NULL;
    }
    int ended = twr_orphans_end(th, false);
    PyObject *pending = twr_error_take();
    if (twr_context_enter(contexts) < 0) {
        ended = -1;
    }
    Py_XDECREF(contexts);
    twr_error_put(pending);
    return ended < 0 ? NULL : Py_NewRef(Py_None);
}

PyMethodDef twr_orphans_def = {"end_orphans", end_orphans, METH_NOARGS,
                               "End the calls whose loops were closed."};

int
twr_orphans_look(Thread *th, PyObject *loop)
{
    TwrState *state = th->state;
    Loan *loan = PyList_GET_SIZE(th->loans) > 1 ? find(th, false) : NULL;
    int asked =
        loan == NULL ? 0 : twr_loop_call_soon(state, loop, state->end_orphans);
    Py_XDECREF(loan);
    return asked < 0 ? -1 : twr_sigint_pass_on(th);
}
