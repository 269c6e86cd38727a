/* engine/interrupt.c - Ctrl-C while calls wait: whom it is for. */
#include "engine/interrupt.h"

#include "asyncio/future.h"
#include "asyncio/running.h"
#include "asyncio/task.h"

/* Whether the coroutine of the task that main_call carries runs.  An exception
 * raised elsewhere in a step, as where the loop queues the next one, would
 * lose the step. */
static bool
is_task_running(Call *main_call)
{
    PyObject *coro = PyObject_CallMethod(main_call->task, "get_coro", NULL);
    bool rests = coro != NULL && twr_has(coro, "cr_running", Py_False);
    PyErr_Clear();
    Py_XDECREF(coro);
    return !rests;
}

/* (call, its greenlet, its task) for each call that waits, latest first. */
static PyObject *
waiting_calls(Driven *driven)
{
    /* 3.11 may collect as a list or tuple is made, and a finalizer make a call
     * that lets these end. */
    int collects = PyGC_Disable();
    PyObject *calls = PyList_New(0);
    Call *call = driven->parked;
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

/* Ask _prompts.py for the call in the foreground, or what is no call: none.
 * frame: of the code that runs now, or None. */
static PyObject *
ask_foreground(TwrState *state, Driven *driven, PyObject *frame)
{
    PyObject *chosen = NULL;
    PyObject *calls = waiting_calls(driven);
    PyObject *task =
        calls == NULL ? NULL : twr_task_current(state, driven->it.loop);
    if (calls != NULL && !PyErr_Occurred()) {
        chosen = twr_cold(state, COLD_foreground, "(OOO)", frame,
                          task == NULL ? Py_None : task, calls);
    }
    Py_XDECREF(task);
    Py_XDECREF(calls);
    return chosen;
}

int
twr_interrupt_foreground(Thread *th, PyObject *frame, Call **call)
{
    Driven *driven = th->drives.now;
    *call = NULL;
    if (driven == NULL) {
        return 0;
    }
    Call *main_call = driven->main_call;
    if (main_call != NULL) {
        Py_INCREF(main_call);
        /* If its greenlet is the active one, its own code is what runs. */
        bool runs = th->stacks.active == main_call->greenlet &&
                    is_task_running(main_call);
        /* The task may have let others run as it was asked. */
        bool waits = !runs && main_call->driven->main_call == main_call;
        *call = waits ? (Call *)Py_NewRef((PyObject *)main_call) : NULL;
        Py_DECREF(main_call);
    }
    else if (driven->parked != NULL && driven->place != PLACE_ENDING) {
        PyObject *chosen = ask_foreground(th->state, driven, frame);
        if (chosen == NULL) {
            return -1;
        }
        if (Py_IS_TYPE(chosen, th->state->types.call) &&
            ((Call *)chosen)->parked) {
            *call = (Call *)Py_NewRef(chosen);
        }
        Py_DECREF(chosen);
    }
    return 0;
}

/* Whether what was called has ended as a cancel tells: with CancelledError, or
 * in any way without error, if a signal handler has raised. */
static bool
has_obeyed(TwrState *state, PyObject *thrown, PyObject *error)
{
    return error == NULL
               ? thrown != NULL
               : PyErr_GivenExceptionMatches(error, state->CancelledError);
}

/* Have the pending exception, if that has no notes, have those of error, which
 * comes in its place.  A failure is of no consequence. */
static void
pass_on_notes(Thread *th, PyObject *error)
{
    PyObject *pending = twr_error_take();
    PyObject *notes = NULL, *own = NULL;
    PyObject *name = th->state->names.__notes__;
    if (error != NULL && PyObject_GetOptionalAttr(error, name, &notes) > 0 &&
        PyObject_GetOptionalAttr(pending, name, &own) == 0) {
        (void)PyObject_SetAttr(pending, name, notes);
    }
    PyErr_Clear();
    Py_XDECREF(notes);
    Py_XDECREF(own);
    twr_error_put(pending);
}

PyObject *
twr_interrupt_result(Thread *th, PyObject *task, PyObject *thrown,
                     PyObject *result)
{
    TwrState *state = th->state;
    PyObject *error = result == NULL ? twr_error_take() : NULL;
    twr_interrupt_forget(th, task);
    PyObject *left = PyObject_CallMethodNoArgs(task, state->names.uncancel);
    long count = left == NULL ? -1 : PyLong_AsLong(left);
    Py_XDECREF(left);
    if (PyErr_Occurred()) {
        PyErr_WriteUnraisable(task);
    }
    if (count == 0 && has_obeyed(state, thrown, error)) {
        Py_XDECREF(result);
        th->sigint.raised = true;
        if (thrown != NULL) {
            PyErr_SetRaisedException(Py_NewRef(thrown));
        }
        else {
            PyErr_SetNone(PyExc_KeyboardInterrupt);
        }
        pass_on_notes(th, error);
        Py_XDECREF(error);
        return NULL;
    }
    twr_error_put(error);
    return result;
}

void
twr_interrupt_begin(Thread *th)
{
    th->sigint.raised = false;
}

bool
twr_interrupt_ends(Thread *th, PyObject *exc)
{
    return th->is_main &&
           (th->sigint.raised ||
            PyErr_GivenExceptionMatches(exc, PyExc_KeyboardInterrupt) ||
            PyErr_GivenExceptionMatches(exc, PyExc_SystemExit));
}

static int
raise_later(void *exc)
{
    PyErr_SetRaisedException(exc);
    return -1;
}

void
twr_interrupt_raise_soon(PyObject *exc)
{
    if (Py_AddPendingCall(raise_later, exc) < 0) {
        PyObject *pending = twr_error_take();
        PyErr_SetRaisedException(exc);
        PyErr_WriteUnraisable(NULL);
        twr_error_put(pending);
    }
}

/* Whether Ctrl-C, as it comes now, can end no call, and is to be kept. */
static bool
has_to_keep(Thread *th)
{
    Driven *driven = th->drives.now;
    if (driven != NULL && driven->place == PLACE_ENDING) {
        return true;
    }
    Call *main_call = driven == NULL ? NULL : driven->main_call;
    return th->run.in_run &&
           (main_call == NULL ||
            (!main_call->parked &&
             twr_future_is_done(th->state, main_call->task)));
}

int
twr_interrupt_deliver(Thread *th)
{
    if (!th->sigint.kept || has_to_keep(th)) {
        return 0;
    }
    th->sigint.kept = false;
    Call *main_call =
        th->drives.now == NULL ? NULL : th->drives.now->main_call;
    if (main_call == NULL) {
        PyErr_SetNone(PyExc_KeyboardInterrupt);
        return -1;
    }
    Py_INCREF(main_call);
    bool again = main_call->task == th->sigint.task;
    Py_XSETREF(th->sigint.task, Py_NewRef(main_call->task));
    int done = twr_call_interrupt(th->state, main_call, again);
    th->sigint.kept |= done < 0;
    Py_DECREF(main_call);
    return done;
}

/* on_sigint(number, frame): the handler. */
static PyObject *
on_sigint(PyObject *module, PyObject *args)
{
    TwrState *state = twr_state(module);
    Thread *th = twr_thread(state);
    if (th == NULL) {
        return NULL;
    }
    PyObject *running = twr_running_loop(state);
    if (running == NULL || twr_driven_settle(th, running) < 0) {
        Py_XDECREF(running);
        return NULL;
    }
    Py_DECREF(running); /* only compared */
    if (!th->sigint.kept && has_to_keep(th)) {
        th->sigint.kept = true;
        Py_RETURN_NONE;
    }
    Call *call;
    PyObject *frame =
        PyTuple_GET_SIZE(args) > 1 ? PyTuple_GET_ITEM(args, 1) : Py_None;
    if (twr_interrupt_foreground(th, frame, &call) < 0) {
        return NULL;
    }
    bool again = call != NULL && call->task == th->sigint.task;
    if (again && call->carries) {
        Call *above = twr_call_uppermost(call->driven, call);
        Py_SETREF(call, (Call *)Py_NewRef((PyObject *)above));
    }
    if (call == NULL || (again && call->error != NULL)) {
        Py_XDECREF(call);
        return PyObject_CallObject(state->default_int_handler, args);
    }
    int done = twr_call_interrupt(state, call, again);
    if (done == 0 && !again) {
        Py_XSETREF(th->sigint.task, Py_NewRef(call->task));
    }
    Py_DECREF(call);
    return done < 0 ? NULL : Py_NewRef(Py_None);
}

PyMethodDef twr_interrupt_def = {
    "on_sigint", on_sigint, METH_VARARGS,
    "Give Ctrl-C to the synchronous call that waits."};

bool
twr_interrupt_carrier_with(Thread *th, Call *call)
{
    if (call->interrupted) {
        return false;
    }
    PyObject *exc = twr_error_take();
    call->interrupted = twr_task_cancel(th->state, call->task) > 0;
    if (!call->interrupted) {
        PyErr_Clear();
        twr_error_put(exc);
        return false;
    }
    Py_XSETREF(th->sigint.task, Py_NewRef(call->task));
    Py_XSETREF(call->thrown, exc);
    return true;
}

void
twr_interrupt_keep(Thread *th)
{
    th->sigint.kept = true;
}

bool
twr_interrupt_take_kept(Thread *th)
{
    bool kept = th->sigint.kept;
    th->sigint.kept = false;
    return kept;
}

void
twr_interrupt_forget(Thread *th, PyObject *task)
{
    if (th->sigint.task == task) {
        Py_CLEAR(th->sigint.task);
    }
}
