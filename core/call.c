/* call.c - one parked call.
 *
 * A Call lives on the stack of the call that waits, which owns it.  It is the
 * done callback of what the call waits for, and stands in the ready queue when
 * that is done.  There it is usually found by a driver; called by a loop that
 * runs by itself, it makes that loop's greenlet the idle owner. */
#include "handoff.h"

static int
call_traverse(PyObject *op, visitproc visit, void *arg)
{
    Call *call = (Call *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(call->loan);
    Py_VISIT(call->subject);
    Py_VISIT(call->greenlet);
    Py_VISIT(call->root);
    Py_VISIT(call->task);
    Py_VISIT(call->awaited);
    Py_VISIT(call->error);
    Py_VISIT(call->thrown);
    Py_VISIT(call->handle);
    Py_VISIT(call->contexts);
    Py_VISIT(call->below);
    return 0;
}

static int
call_clear(PyObject *op)
{
    Call *call = (Call *)op;
    Py_CLEAR(call->loan);
    Py_CLEAR(call->subject);
    Py_CLEAR(call->greenlet);
    Py_CLEAR(call->root);
    Py_CLEAR(call->task);
    Py_CLEAR(call->awaited);
    Py_CLEAR(call->error);
    Py_CLEAR(call->thrown);
    Py_CLEAR(call->handle);
    Py_CLEAR(call->contexts);
    Py_CLEAR(call->below);
    return 0;
}

static void
call_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    call_clear(op);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyObject *
call_repr(PyObject *op)
{
    Call *call = (Call *)op;
    if (call->subject == NULL) {
        return PyUnicode_FromString("<a synchronous call of tworoutine>");
    }
    return PyUnicode_FromFormat("<a synchronous call of %R>", call->subject);
}

Call *
twr_call_new(TwrState *state, PyObject *task, PyObject *subject)
{
    Call *call = (Call *)state->call_type->tp_alloc(state->call_type, 0);
    if (call != NULL) {
        call->task = Py_XNewRef(task);
        call->subject = Py_XNewRef(subject);
    }
    return call;
}

static void
call_link(Loan *loan, Call *call)
{
    call->older = loan->parked;
    call->newer = NULL;
    if (loan->parked != NULL) {
        loan->parked->newer = call;
    }
    loan->parked = call;
    call->parked = true;
}

static void
call_unlink(Loan *loan, Call *call)
{
    if (call->newer != NULL) {
        call->newer->older = call->older;
    }
    else {
        loan->parked = call->older;
    }
    if (call->older != NULL) {
        call->older->newer = call->newer;
    }
    call->newer = call->older = NULL;
    call->parked = false;
}

/* Stop listening to what call waits for. */
int
twr_call_detach(TwrState *state, Call *call)
{
    if (call->awaited == NULL) {
        return 0;
    }
    PyObject *removed = PyObject_CallMethodOneArg(
        call->awaited, state->names.remove_done_callback, (PyObject *)call);
    Py_XDECREF(removed);
    return removed == NULL ? -1 : 0;
}

/* Ask the future that call waits for how it ended.  Done here, in a driver,
 * since a caller may be handling an exception, which would become the
 * context of this one. */
void
twr_call_collect(TwrState *state, Call *call)
{
    if (call->error != NULL || call->awaited == NULL) {
        return;
    }
    PyObject *result =
        PyObject_CallMethodNoArgs(call->awaited, state->names.result);
    if (result == NULL) {
        call->error = twr_error_take();
    }
    Py_XDECREF(result);
}

/* The greenlet to switch to so that call goes on. */
PyObject *
twr_call_resume(Thread *th, Call *call)
{
    twr_stack_set_active(th, call->root);
    return Py_NewRef(call->greenlet);
}

/* The same, raising the pending exception in it. */
PyObject *
twr_call_fail(Thread *th, Call *call)
{
    Py_INCREF(call);
    Py_XSETREF(call->error, twr_error_take());
    if (twr_call_detach(th->state, call) < 0) {
        PyErr_Clear();
    }
    /* What it waits for may be so bold as to let others run meanwhile. */
    PyObject *next = call->parked ? twr_call_resume(th, call) : NULL;
    Py_DECREF(call);
    return next;
}

/* Make sure that we drive loop, of which call is about to wait. */
int
twr_call_take_over(Thread *th, PyObject *loop, Call *call)
{
    if (th->loan == NULL) {
        PyObject *root;
        Py_ssize_t pops = twr_loop_native_root(th->state, loop, &root);
        if (root != NULL) {
            twr_floor_of_owner(th);
        }
        Loan *loan = root == NULL ? NULL : twr_loan_of(th, loop);
        /* Other code may have made a call meanwhile. */
        if (loan != NULL && th->loan != loan) {
            twr_loan_begin(th, loan, root, OWNER_PINNED, pops);
            twr_stack_set_active(th, root);
        }
        Py_XDECREF(loan);
        Py_XDECREF(root);
        Turner turner = pops == -1 ? twr_loop_turner(th->state) : TURNER_NONE;
        if (pops == -1 && turner != TURNER_ERROR) {
            return turner == TURNER_FOREIGN
                       ? twr_handoff_refuse_turner(th->state, call->subject)
                       : twr_handoff_refuse_greenlet(th->state, call->subject);
        }
        if (loan == NULL) {
            return -1;
        }
    }
    if (th->loan->place == OWNER_ENDS_CALLS) {
        PyErr_SetString(PyExc_RuntimeError, "coroutine ignored GeneratorExit");
        return -1;
    }
    Py_XSETREF(call->loan, (Loan *)Py_NewRef((PyObject *)th->loan));
    return 0;
}

/* 1 if the task took it, 0 if it is already done. */
int
twr_call_cancel_task(TwrState *state, PyObject *task)
{
    Py_INCREF(task); /* its call may end meanwhile */
    PyObject *taken = PyObject_CallMethodNoArgs(task, state->names.cancel);
    Py_DECREF(task);
    if (taken == NULL) {
        return -1;
    }
    int truth = PyObject_IsTrue(taken);
    Py_DECREF(taken);
    return truth;
}

/* Whether the code that runs is cleaning up after a cancel: that is the one
 * exception handled, or what the handled ones came of.  Chains may be circles.
 */
static bool
is_cleaning_up(TwrState *state)
{
    bool result = false;
    PyObject *exc = PyErr_GetHandledException();
    for (int depth = 0; exc != NULL && !result && depth < 100; depth++) {
        result = PyErr_GivenExceptionMatches(exc, state->CancelledError);
        Py_SETREF(exc, PyException_GetContext(exc));
    }
    Py_XDECREF(exc);
    return result;
}

int
twr_call_end(TwrState *state, Call *call)
{
    if (call->ending || is_cleaning_up(state)) {
        return 0;
    }
    call->ending = true;
    return twr_call_cancel_task(state, call->task) < 0 ? -1 : 0;
}

/* asyncio of 3.14+ loses what ends a step in a forked child: raise it, if it
 * ends the process. */
int
twr_call_ended_child(TwrState *state, PyObject *task)
{
    PyObject *exc =
        twr_call_future_done(state, task)
            ? PyObject_CallMethodNoArgs(task, state->names.exception)
            : NULL;
    PyErr_Clear(); /* if it was cancelled */
    bool ends = exc != NULL &&
                (PyErr_GivenExceptionMatches(exc, PyExc_SystemExit) ||
                 PyErr_GivenExceptionMatches(exc, PyExc_KeyboardInterrupt));
    if (!ends) {
        Py_XDECREF(exc);
        return 0;
    }
    PyErr_SetRaisedException(exc);
    return -1;
}

int
twr_call_check_fork(Thread *th, PyObject *subject)
{
    if (!th->forked) {
        return 0;
    }
    return twr_refuse(th->state, subject,
                      PyUnicode_FromString("the process was forked in the "
                                           "middle of this call"),
                      "let the child call anew");
}

/* Leave the contexts of the greenlets that wait for that of call.  One without
 * a frame, which runs a C function, does not tell its own. */
static int
leave_below(Thread *th, Call *call)
{
    int result = twr_context_leave_below(th->state, call->root, &call->below);
    if (result < 0 && PyErr_ExceptionMatches(PyExc_ValueError)) {
        PyErr_Clear();
        twr_handoff_refuse_greenlet(th->state, call->subject);
    }
    return result;
}

/* Park the calling greenlet until call is resumed.  Switches. */
int
twr_call_park(Thread *th, Call *call)
{
    Loan *loan = call->loan;
    if (twr_call_check_fork(th, call->subject) < 0) {
        return -1;
    }
    if (call->greenlet == NULL) {
        call->greenlet = twr_stack_current();
        if (call->greenlet == NULL) {
            return -1;
        }
        call->root = Py_NewRef(th->active);
    }
    /* Signals are handled here, and 3.11 may collect: calls may be made. */
    int result = twr_sigint_set(th);
    if (result == 0 && loan->owner == call->root && loan->stop_later &&
        twr_call_end(th->state, call) < 0) {
        result = -1;
    }
    if (result == 0) {
        result = twr_context_leave(th->state, &call->contexts);
    }
    if (result == 0 && call->greenlet != call->root) {
        result = leave_below(th, call);
    }
    /* At last, for any call made meanwhile has unpinned it. */
    if (result == 0 && loan->owner == call->root) {
        result = twr_loan_pin(loan, call);
    }
    if (result == 0 && call->woken) {
        call->woken = false;
        twr_call_collect(th->state, call);
    }
    else if (result == 0) {
        call_link(loan, call);
        loan->parks++;
        result = twr_stack_park(th);
        call_unlink(loan, call);
    }
    PyObject *pending = twr_error_take();
    if (twr_context_enter_below(call->below) < 0 ||
        twr_context_enter(call->contexts) < 0 ||
        (loan->parked == NULL && !th->in_run && twr_sigint_restore(th) < 0) ||
        (loan->owner == call->root && loan->place == OWNER_PINNED &&
         twr_loan_unpin(loan) < 0)) {
        result = -1;
    }
    Py_CLEAR(call->contexts);
    Py_CLEAR(call->below);
    twr_error_put(pending);
    return result;
}

void
twr_call_give_up(Call *call)
{
    Loan *loan = call->loan;
    if (loan == NULL || loan->place != OWNER_PINNED ||
        (loan->pinned != NULL && loan->pinned != call)) {
        return;
    }
    PyObject *pending = twr_error_take();
    if (twr_loan_unpin(loan) < 0) {
        PyErr_WriteUnraisable((PyObject *)call);
    }
    twr_error_put(pending);
}

/* Make loop come round: a signal may have come while it waits. */
static int
wake_loop(TwrState *state, PyObject *loop, PyObject *callback)
{
    PyObject *args[] = {loop, callback, state->neutral};
    PyObject *handle = PyObject_VectorcallMethod(
        state->names.call_soon_threadsafe, args, 2, state->kw_context);
    Py_XDECREF(handle);
    return handle == NULL ? -1 : 0;
}

int
twr_call_interrupt(TwrState *state, Call *call, bool at_once)
{
    PyObject *loop = call->loan->loop;
    if (!at_once) {
        int taken = twr_call_cancel_task(state, call->task);
        if (taken != 0) {
            call->interrupted = taken > 0;
            /* What is called does not matter. */
            return taken < 0 ? -1
                             : wake_loop(state, loop, state->get_running_loop);
        }
    }
    if (twr_call_detach(state, call) < 0) {
        return -1;
    }
    if (call->error == NULL) {
        call->error = PyObject_CallNoArgs(PyExc_KeyboardInterrupt);
    }
    return call->error == NULL ? -1 : wake_loop(state, loop, (PyObject *)call);
}

bool
twr_call_future_done(TwrState *state, PyObject *future)
{
    PyObject *done = PyObject_CallMethodNoArgs(future, state->names.done);
    bool truth = done == Py_True;
    if (done == NULL) {
        PyErr_Clear();
    }
    Py_XDECREF(done);
    return truth;
}

/* Whether call, whose turn has come in the queue, is to go on. */
bool
twr_call_due(TwrState *state, Call *call)
{
    bool due = !call->hosts || call->error != NULL ||
               twr_call_future_done(state, call->task);
    if (due && !call->parked) {
        call->woken = true; /* other code ran while it was about to park */
    }
    return due && call->parked;
}

/* In a forked child, a call that waits on a stack of the parent's: its task is
 * over.  NULL, with what there is to say. */
static PyObject *
lose(TwrState *state, Call *call)
{
    PyObject *adapters = twr_adapters(state);
    PyObject *none = adapters == NULL ? NULL
                                      : PyObject_CallMethod(adapters, "lose",
                                                            "O", call->task);
    if (none != NULL) {
        PyErr_Format(PyExc_RuntimeError,
                     "%R waits in the parent of this process, and can never "
                     "go on in this one",
                     call);
    }
    Py_XDECREF(none);
    return NULL;
}

/* A loop that we drive is turned by somebody else above us, as by the nested
 * run_until_complete of nest_asyncio, who has come upon call: let a driver run
 * it, and go on in the next turn.  Switches. */
static int
make_way(Thread *th, Loan *loan, Call *call)
{
    TwrState *state = th->state;
    Call *turner = twr_call_new(state, call->task, NULL);
    int result =
        turner == NULL ? -1 : twr_call_take_over(th, loan->loop, turner);
    if (result == 0 &&
        (twr_loop_call_soon(state, loan->loop, (PyObject *)call) < 0 ||
         twr_loop_call_soon(state, loan->loop, (PyObject *)turner) < 0)) {
        result = -1;
    }
    PyObject *task = result < 0 ? NULL : twr_task_current(state, loan->loop);
    if (result == 0 && task != NULL) {
        result = twr_task_leave(state, loan->loop, task);
    }
    if (result == 0) {
        result = PyErr_Occurred() ? -1 : twr_call_park(th, turner);
        PyObject *pending = twr_error_take();
        if (task != NULL && twr_task_enter(state, loan->loop, task) < 0) {
            result = -1;
        }
        twr_error_put(pending);
    }
    Py_XDECREF(task);
    Py_XDECREF(turner);
    return result;
}

/* The loop that runs by itself calls a parked call back: take it over here,
 * inside this callback, and let the call go on.  Switches. */
static PyObject *
call_callback(PyObject *op, PyObject *args, PyObject *kwargs)
{
    (void)args;
    (void)kwargs;
    Call *call = (Call *)op;
    TwrState *state = twr_state_of(op);
    Thread *th = twr_thread(state);
    if (th == NULL) {
        return NULL;
    }
    if (!twr_call_due(state, call)) {
        Py_RETURN_NONE;
    }
    Loan *loan = call->loan;
    if (loan->thread != NULL && loan->thread->forked) {
        return lose(state, call);
    }
    if (th != loan->thread) {
        PyErr_Format(PyExc_RuntimeError,
                     "%R waits in another thread than the one that runs its "
                     "loop now, and can never go on",
                     op);
        return NULL;
    }
    twr_call_collect(state, call);
    if (!call->parked) {
        Py_RETURN_NONE; /* what it waited for has let others run */
    }
    Py_ssize_t pops =
        th->loan != NULL ? -1 : twr_loop_native_pops(state, loan->loop, false);
    if (pops == -1 && th->loan == loan &&
        twr_loop_turner(state) == TURNER_FOREIGN) {
        return make_way(th, loan, call) < 0 ? NULL : Py_NewRef(Py_None);
    }
    if (pops == -1) {
        return twr_loop_call_next(loan, op) < 0 ? NULL : Py_NewRef(Py_None);
    }
    PyObject *me = pops < 0 ? NULL : twr_stack_current();
    if (me == NULL) {
        return NULL;
    }
    twr_floor_of_owner(th);
    PyObject *contexts;
    if (twr_context_leave(th->state, &contexts) < 0) {
        Py_DECREF(me);
        return NULL;
    }
    if (!call->parked || th->loan != NULL) {
        /* What has run meanwhile, a finalizer perhaps, made calls. */
        int entered = twr_context_enter(contexts);
        int next = call->parked ? twr_loop_call_next(loan, op) : 0;
        Py_XDECREF(contexts);
        Py_DECREF(me);
        return entered < 0 || next < 0 ? NULL : Py_NewRef(Py_None);
    }
    Py_INCREF(loan);
    twr_loan_begin(th, loan, me, OWNER_IDLE, pops);
    Py_DECREF(me);
    PyObject *next = twr_call_resume(th, call);
    int back = twr_stack_switch(th, next);
    if (back < 0 && th->loan == loan) {
        twr_loan_drop(th, loan); /* there was nobody to switch to */
    }
    Py_DECREF(next);
    PyObject *pending = twr_error_take();
    if (twr_context_enter(contexts) < 0) {
        back = -1;
    }
    Py_XDECREF(contexts);
    if (pending != NULL) {
        twr_error_put(pending);
    }
    else if (back == 0 && loan->owner_error != NULL) {
        back = twr_raise(&loan->owner_error);
    }
    Py_DECREF(loan);
    return back < 0 ? NULL : Py_NewRef(Py_None);
}

static PyType_Slot call_slots[] = {
    {Py_tp_traverse, call_traverse}, {Py_tp_clear, call_clear},
    {Py_tp_dealloc, call_dealloc},   {Py_tp_repr, call_repr},
    {Py_tp_call, call_callback},     {0, NULL},
};

PyType_Spec twr_call_spec = {
    .name = "tworoutine._core.Call",
    .basicsize = sizeof(Call),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
             Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = call_slots,
};
