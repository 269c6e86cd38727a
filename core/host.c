/* host.c - a call made where there is no task.
 *
 * A plain callback, or a thread without a running loop, has no current task,
 * and much of asyncio needs one.  So the coroutine of such a call is made a
 * task, hosted by the call: its handles, when a driver comes upon them, are
 * run on the caller's stack, so that a traceback or a debugger inside shows
 * the caller, and a nested call parks this stack and no other.  The first step
 * is run at once. */
#include "handoff.h"

/* asyncio.Task(coro, loop=loop, context=context) */
static PyObject *
new_task(TwrState *state, PyObject *coro, PyObject *loop, PyObject *context)
{
    PyObject *args[] = {coro, loop, context};
    return PyObject_Vectorcall(state->Task, args, 1, state->kw_task);
}

/* Take the handle of task's first step, the last in the queue, out of it;
 * NULL without error if it is not there. */
static PyObject *
take_first_step(TwrState *state, PyObject *loop, PyObject *task)
{
    PyObject *callback = NULL, *self = NULL, *handle = NULL;
    PyObject *ready = PyObject_GetAttr(loop, state->names._ready);
    if (ready == NULL) {
        return NULL;
    }
    if (PyObject_Size(ready) <= 0) {
        goto done;
    }
    handle = PyObject_CallMethodNoArgs(ready, state->names.pop);
    if (handle == NULL ||
        PyObject_GetOptionalAttr(handle, state->names._callback, &callback) <
            0 ||
        (callback != NULL &&
         PyObject_GetOptionalAttr(callback, state->names.__self__, &self) <
             0)) {
        Py_CLEAR(handle);
        goto done;
    }
    if (self != task) {
        PyObject *none =
            PyObject_CallMethodOneArg(ready, state->names.append, handle);
        Py_XDECREF(none);
        Py_CLEAR(handle);
    }
done:
    Py_XDECREF(ready);
    Py_XDECREF(callback);
    Py_XDECREF(self);
    return handle;
}

/* Take the frame of Handle._run() out of the traceback: it is not the user's.
 * Clear it too, for frames above it hold it: by its handle the exception would
 * hold the task that has it. */
static void
drop_handle_frame(TwrState *state, PyObject *exc)
{
    PyTracebackObject *first =
        (PyTracebackObject *)PyException_GetTraceback(exc);
    if (first == NULL) {
        return;
    }
    PyObject *code = (PyObject *)PyFrame_GetCode(first->tb_frame);
    PyObject *rest =
        first->tb_next == NULL ? Py_None : (PyObject *)first->tb_next;
    if (PySequence_Contains(state->loop.handle_run_codes, code) == 1) {
        PyException_SetTraceback(exc, rest);
        PyObject *none =
            PyObject_CallMethod((PyObject *)first->tb_frame, "clear", NULL);
        Py_XDECREF(none);
    }
    PyErr_Clear();
    Py_DECREF(code);
    Py_DECREF(first);
}

/* Run a handle of the hosted task on this stack.  Switches. */
static int
host_step(Thread *th, Call *call, PyObject *handle)
{
    TwrState *state = th->state;
    PyObject *none = PyObject_CallMethodNoArgs(handle, state->names._run);
    Py_DECREF(handle);
    Py_XDECREF(none);
    if (none != NULL) {
        return th->forked ? twr_call_ended_child(state, call->task) : 0;
    }
    /* KeyboardInterrupt or SystemExit: the task has it too, and would
     * complain that nobody asked for it. */
    PyObject *pending = twr_error_take();
    drop_handle_frame(state, pending);
    if (twr_call_future_done(state, call->task)) {
        PyObject *exc =
            PyObject_CallMethodNoArgs(call->task, state->names.exception);
        Py_XDECREF(exc);
        PyErr_Clear();
    }
    twr_error_put(pending);
    return -1;
}

static int
host_register(Loan *loan, Call *call, bool present)
{
    PyObject *key = PyLong_FromVoidPtr(call->task);
    if (key == NULL) {
        return -1;
    }
    int result = present ? PyDict_SetItem(loan->hosts, key, (PyObject *)call)
                         : PyDict_DelItem(loan->hosts, key);
    Py_DECREF(key);
    return result;
}

/* Have call woken up when its task is done, wherever that happens. */
static int
host_listen(TwrState *state, Call *call)
{
    PyObject *args[] = {call->task, (PyObject *)call, state->neutral};
    PyObject *none = PyObject_VectorcallMethod(state->names.add_done_callback,
                                               args, 2, state->kw_context);
    Py_XDECREF(none);
    return none == NULL ? -1 : 0;
}

/* Cancel the task for Ctrl-C; false if it cannot be, since it is done. */
static bool
host_cancel(Thread *th, Call *call)
{
    int taken = twr_call_cancel_task(th->state, call->task);
    call->interrupted = taken > 0;
    if (taken > 0) {
        Py_XSETREF(th->sigint_task, Py_NewRef(call->task));
    }
    else if (taken < 0) {
        PyErr_Clear();
    }
    return call->interrupted;
}

bool
twr_host_throw(Thread *th, Call *call)
{
    if (call->interrupted) {
        return false;
    }
    PyObject *exc = twr_error_take();
    if (!host_cancel(th, call)) {
        twr_error_put(exc);
        return false;
    }
    Py_XSETREF(call->thrown, exc);
    return true;
}

/* What a signal handler had to raise here, and not in the task, cancels that,
 * as Ctrl-C does while it waits.  Whether it has. */
static bool
host_interrupted(Thread *th, Call *call)
{
    return !th->forked && !PyErr_ExceptionMatches(PyExc_GeneratorExit) &&
           twr_host_throw(th, call);
}

/* Park, running the task's handles whenever one is due, until the task is
 * done; in a run of our own, until its done callbacks have run, which in a
 * forked child nobody runs.  Switches. */
static int
host_park(Thread *th, Call *call, bool own_run)
{
    bool called_back = false, flushed = false;
    while (!called_back && ((own_run && !th->forked) ||
                            !twr_call_future_done(th->state, call->task))) {
        if (twr_call_park(th, call) < 0) {
            if (own_run && host_interrupted(th, call)) {
                continue;
            }
            return -1;
        }
        PyObject *handle = call->handle;
        call->handle = NULL;
        if (handle != NULL) {
            if (host_step(th, call, handle) < 0) {
                return -1;
            }
        }
        else if (call->error != NULL) {
            return twr_raise(&call->error);
        }
        else if (own_run && !flushed && PyObject_Size(call->loan->ready) > 0) {
            /* Let the callbacks run that were queued together with ours. */
            flushed = true;
            if (twr_loop_call_soon(th->state, call->loan->loop,
                                   (PyObject *)call) < 0) {
                return -1;
            }
        }
        else {
            called_back = true;
        }
    }
    return 0;
}

static int
host_wait(Thread *th, PyObject *loop, Call *call, bool own_run)
{
    if (twr_call_take_over(th, loop, call) < 0 ||
        host_listen(th->state, call) < 0 ||
        host_register(call->loan, call, true) < 0) {
        twr_call_give_up(call);
        return -1;
    }
    int result = host_park(th, call, own_run);
    PyObject *pending = twr_error_take();
    if (host_register(call->loan, call, false) < 0) {
        PyErr_Clear();
    }
    Py_CLEAR(call->handle);
    twr_error_put(pending);
    if (result < 0) {
        twr_call_give_up(call);
    }
    return result;
}

static PyObject *
host_result(Thread *th, Call *call)
{
    if (call->error != NULL) {
        twr_raise(&call->error); /* Ctrl-C came when the task was done */
        return NULL;
    }
    PyObject *result = twr_task_result(th->state, call->task);
    return call->interrupted
               ? twr_sigint_result(th, call->task, call->thrown, result)
               : result;
}

/* Whether anything is going to run the next step of call's task, which is not
 * running: what it waits for, or a handle that it has just queued. */
static bool
host_goes_on(TwrState *state, PyObject *loop, Call *call)
{
    PyObject *waiter = PyObject_GetAttr(call->task, state->names._fut_waiter);
    bool waits = waiter != NULL && waiter != Py_None;
    Py_XDECREF(waiter);
    PyObject *step = waits ? NULL : take_first_step(state, loop, call->task);
    if (step != NULL) {
        PyObject *ready = PyObject_GetAttr(loop, state->names._ready);
        PyObject *none =
            ready == NULL
                ? NULL
                : PyObject_CallMethodOneArg(ready, state->names.append, step);
        waits = none != NULL;
        Py_XDECREF(none);
        Py_XDECREF(ready);
        Py_DECREF(step);
    }
    return waits;
}

/* The first step has failed, but not the coroutine: before that began, as at
 * the end of the stack, or after it.  If nobody is going to run it again, it
 * ends here, and the task is not to be missed.  Whether somebody is. */
static bool
host_abandon(TwrState *state, PyObject *loop, Call *call)
{
    PyObject *pending = twr_error_take();
    bool goes_on = false;
    if (!twr_call_future_done(state, call->task)) {
        goes_on = host_goes_on(state, loop, call);
        if (!goes_on) {
            PyErr_Clear();
            PyObject *coro = PyObject_CallMethod(call->task, "get_coro", NULL);
            if (coro != NULL) {
                twr_close_awaitable(state, coro);
            }
            Py_XDECREF(coro);
            PyObject_SetAttrString(call->task, "_log_destroy_pending",
                                   Py_False);
        }
    }
    PyErr_Clear();
    twr_error_put(pending);
    return goes_on;
}

/* The call has been ended together with its loop (orphan.c): what it called
 * ends before it, and not when the task is collected. */
static void
host_close(TwrState *state, Call *call)
{
    if (call->loan == NULL || call->loan->place != OWNER_ENDS_CALLS) {
        return;
    }
    PyObject *pending = twr_error_take();
    if (!twr_call_future_done(state, call->task)) {
        PyObject *coro = PyObject_CallMethod(call->task, "get_coro", NULL);
        if (coro == NULL) {
            PyErr_WriteUnraisable(call->task);
        }
        else {
            twr_close_iterator(state, coro);
            Py_DECREF(coro);
        }
    }
    twr_error_put(pending);
}

/* The first step is run at once, wherever the loop stands; most calls at a
 * prompt need no more. */
static PyObject *
host_run(Thread *th, PyObject *loop, Loan *loan, Call *call)
{
    TwrState *state = th->state;
    PyObject *step = take_first_step(state, loop, call->task);
    if (step == NULL && PyErr_Occurred()) {
        return NULL;
    }
    if (loan != NULL && th->sigint_missed && host_cancel(th, call)) {
        th->sigint_missed = false;
    }
    if (step != NULL && host_step(th, call, step) < 0) {
        bool goes_on = host_abandon(state, loop, call);
        if (!goes_on || loan == NULL || !host_interrupted(th, call)) {
            return NULL;
        }
    }
    int wait = !twr_call_future_done(state, call->task);
    if (!wait && loan != NULL && !th->forked) {
        wait = twr_turn_any(loan);
    }
    if (wait > 0 && host_wait(th, loop, call, loan != NULL) < 0) {
        host_close(state, call);
        wait = -1;
    }
    if (wait < 0) {
        return NULL;
    }
    return host_result(th, call);
}

PyObject *
twr_host(Thread *th, PyObject *loop, Loan *loan, PyObject *coro,
         PyObject *subject)
{
    TwrState *state = th->state;
    PyObject *result = NULL, *contexts = NULL, *task = NULL;
    Call *call = NULL;
    PyObject *context = twr_context_current();
    if (context == NULL || twr_context_leave(th->state, &contexts) < 0) {
        goto done;
    }
    task = new_task(state, coro, loop, context);
    if (task == NULL) {
        twr_close_awaitable(state, coro);
    }
    call = task == NULL ? NULL : twr_call_new(state, task, subject);
    if (call != NULL) {
        call->hosts = true;
        if (loan != NULL) {
            loan->home = call;
            call->loan = (Loan *)Py_NewRef((PyObject *)loan);
            call->greenlet = Py_NewRef(th->active);
            call->root = Py_NewRef(th->active);
        }
        result = host_run(th, loop, loan, call);
        if (loan != NULL) {
            loan->home = NULL;
        }
    }
    PyObject *pending = twr_error_take();
    if (th->sigint_task == task) {
        Py_CLEAR(th->sigint_task);
    }
    if (twr_context_enter(contexts) < 0) {
        Py_CLEAR(result);
    }
    twr_error_put(pending);
done:
    Py_XDECREF(call);
    Py_XDECREF(task);
    Py_XDECREF(contexts);
    Py_XDECREF(context);
    return result;
}
