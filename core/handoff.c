/* handoff.c - lend the running asyncio loop to another greenlet.
 *
 * A synchronous call sits in the middle of a step of its task:
 *
 *     run_forever > _run_once > Handle._run > task step > main() > f(x)
 *
 * and what f waits for can only happen if the loop goes on.  So the call parks
 * this stack as it is, and a driver (stack.c), which is another stack, runs
 * the turns of the loop from there on (loop.c):
 *
 *     owner:   run_forever > _run_once > ... > main() > f(x)  parked
 *     driver:  twr_drive > Handle._run > other task > g(x)    parked
 *     driver:  twr_drive > Handle._run > ...                  runs
 *
 * When what f waits for is done, its future queues the Call as its callback.
 * A driver that comes upon it, in the very place of the queue where the task
 * would have been woken up, switches to the parked stack and goes idle.  That
 * stack finishes its step and is, below it, a driver again: it goes on with
 * the turn where the other left it.  At most one runs; none waits for another.
 *
 * The owner is the greenlet inside run_forever.  It must not stay pinned below
 * somebody's call, or asyncio.run could not return; so when its call is over,
 * a marker in front of the queue makes its _run_once call us (marker_run),
 * and it parks there, with nothing of the user's above it, until the loop
 * stops.  Its _run_once will then still pop the handles that it counted when
 * its turn began: padding is put in front for them (give_back).
 *
 *     pinned -> returning -> idle -> none
 *        ^----------'
 *
 * The one call that can still pin it is the first in the life of a loop: when
 * the loop stops, the marker is left in its queue, and a later run begins with
 * it.  If the loop stops while that first call waits, the call is cancelled.
 *
 * A parked call leaves its task (asyncio knows one current task a loop) and
 * its contexts, and makes its task look suspended (task.c), so that it can be
 * cancelled.  A caller without a task, such as a plain callback, hosts one: a
 * task is made, and its steps, when a driver comes upon them, are run on the
 * caller's stack. */
#include "twr.h"

static void loan_begin(Thread *th, Loan *loan, PyObject *owner,
                       OwnerPlace place, Py_ssize_t pops);

/* --- markers -------------------------------------------------------------- */

/* What stands in the ready queue for us.  Looks like a Handle to _run_once. */
typedef struct {
    PyObject_HEAD
    PyObject *cancelled; /* True: padding, to be skipped */
} Marker;

static PyObject *
marker_new(TwrState *state, bool padding)
{
    Marker *self = PyObject_New(Marker, state->marker_type);
    if (self != NULL) {
        self->cancelled = Py_NewRef(padding ? Py_True : Py_False);
    }
    return (PyObject *)self;
}

int
twr_handoff_init(TwrState *state)
{
    state->pad = marker_new(state, true);
    state->marker = marker_new(state, false);
    return state->pad == NULL || state->marker == NULL ? -1 : 0;
}

/* Stop at the end of the turn, if that was put off. */
static int
stop_now(TwrState *state, Loan *loan)
{
    if (!loan->stop_later) {
        return 0;
    }
    loan->stop_later = false;
    return PyObject_SetAttr(loan->loop, state->names._stopping, Py_True);
}

/* The marker's turn has come, in a _run_once that will pop so many handles
 * more: the loan of its loop with the owner idle. */
static int
owner_idles(Thread *th, PyObject *loop, Py_ssize_t pops)
{
    Loan *loan = th->loan;
    if (loan != NULL) {
        if (loan->owner_pops == 0 && loan->batch == 0) {
            loan->batch = pops; /* this _run_once has just begun a turn */
        }
        loan->owner_pops = pops;
        loan->place = OWNER_IDLE;
        loan->pinned = NULL;
        return stop_now(th->state, loan);
    }
    PyObject *me = twr_stack_current();
    loan = me == NULL ? NULL : twr_loan_of(th, loop);
    if (loan != NULL) {
        loan_begin(th, loan, me, OWNER_IDLE, pops);
        Py_DECREF(loan);
    }
    Py_XDECREF(me);
    return loan == NULL ? -1 : 0;
}

/* The owner has nothing of the user's above it: park it here until the loop
 * stops.  Switches. */
static PyObject *
marker_run(PyObject *op, PyObject *unused)
{
    (void)unused;
    TwrState *state = twr_state_of(op);
    Thread *th = twr_thread(state);
    PyObject *loop =
        th == NULL ? NULL : PyObject_CallNoArgs(state->get_running_loop);
    if (loop == NULL) {
        return NULL;
    }
    int back = 0;
    Loan *loan = th->loan;
    Py_ssize_t pops = -1;
    if (loop != Py_None &&
        (loan == NULL ||
         (loan->loop == loop && loan->place == OWNER_RETURNING))) {
        pops = twr_loop_native_pops(state, loop, true);
    }
    if (pops == -2 || (pops >= 0 && owner_idles(th, loop, pops) < 0)) {
        back = -1;
    }
    else if (pops >= 0) {
        loan = (Loan *)Py_NewRef((PyObject *)th->loan);
        back = twr_stack_park(th);
        if (back == 0 && loan->owner_error != NULL) {
            back = twr_raise(&loan->owner_error);
        }
        Py_DECREF(loan);
    }
    Py_DECREF(loop);
    return back < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
marker_cancelled(PyObject *op, void *closure)
{
    (void)closure;
    return Py_NewRef(((Marker *)op)->cancelled);
}

/* Debug mode formats handles by their callback. */
static PyObject *
marker_callback(PyObject *op, void *closure)
{
    (void)closure;
    return Py_NewRef(op);
}

static void
marker_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    Py_DECREF(((Marker *)op)->cancelled);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyMethodDef marker_methods[] = {
    {"_run", marker_run, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef marker_getset[] = {
    {"_cancelled", marker_cancelled, NULL, NULL, NULL},
    {"_callback", marker_callback, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot marker_slots[] = {
    {Py_tp_dealloc, marker_dealloc},
    {Py_tp_methods, marker_methods},
    {Py_tp_getset, marker_getset},
    {0, NULL},
};

PyType_Spec twr_marker_spec = {
    .name = "tworoutine._core.Marker",
    .basicsize = sizeof(Marker),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = marker_slots,
};

/* --- loans ----------------------------------------------------------------- */

static int
loan_traverse(PyObject *op, visitproc visit, void *arg)
{
    Loan *loan = (Loan *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(loan->loop);
    Py_VISIT(loan->ready);
    Py_VISIT(loan->owner);
    Py_VISIT(loan->owner_error);
    Py_VISIT(loan->hosts);
    return 0;
}

static int
loan_clear(PyObject *op)
{
    Loan *loan = (Loan *)op;
    Py_CLEAR(loan->loop);
    Py_CLEAR(loan->ready);
    Py_CLEAR(loan->owner);
    Py_CLEAR(loan->owner_error);
    Py_CLEAR(loan->hosts);
    return 0;
}

static void
loan_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    loan_clear(op);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyType_Slot loan_slots[] = {
    {Py_tp_traverse, loan_traverse},
    {Py_tp_clear, loan_clear},
    {Py_tp_dealloc, loan_dealloc},
    {0, NULL},
};

PyType_Spec twr_loan_spec = {
    .name = "tworoutine._core.Loan",
    .basicsize = sizeof(Loan),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
             Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = loan_slots,
};

static Loan *
loan_new(Thread *th, PyObject *loop)
{
    TwrState *state = th->state;
    Loan *loan = (Loan *)state->loan_type->tp_alloc(state->loan_type, 0);
    if (loan == NULL) {
        return NULL;
    }
    loan->thread = th;
    loan->loop = Py_NewRef(loop);
    loan->ready = PyObject_GetAttr(loop, state->names._ready);
    loan->hosts = PyDict_New();
    if (loan->ready == NULL || loan->hosts == NULL) {
        Py_CLEAR(loan);
    }
    return loan;
}

/* The loan of a loop that runs by itself: an old one if calls are still
 * parked in it.  Kept in th->loans. */
Loan *
twr_loan_of(Thread *th, PyObject *loop)
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(th->loans); i++) {
        Loan *loan = (Loan *)PyList_GET_ITEM(th->loans, i);
        if (loan->loop == loop) {
            return (Loan *)Py_NewRef((PyObject *)loan);
        }
    }
    Loan *loan = loan_new(th, loop);
    if (loan != NULL && PyList_Append(th->loans, (PyObject *)loan) < 0) {
        Py_CLEAR(loan);
    }
    return loan;
}

/* Forget a loan in which no call is parked. */
int
twr_loan_release(Thread *th, Loan *loan)
{
    if (loan->parked != NULL) {
        return 0;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(th->loans); i++) {
        if (PyList_GET_ITEM(th->loans, i) == (PyObject *)loan) {
            return PyList_SetSlice(th->loans, i, i + 1, NULL);
        }
    }
    return 0;
}

/* The loop of loan is ours to drive, its owner stands at place. */
static void
loan_begin(Thread *th, Loan *loan, PyObject *owner, OwnerPlace place,
           Py_ssize_t pops)
{
    Py_XSETREF(loan->owner, Py_NewRef(owner));
    loan->place = place;
    loan->owner_pops = pops;
    loan->batch = pops;
    loan->stop_later = false;
    Py_XSETREF(th->loan, (Loan *)Py_NewRef((PyObject *)loan));
}

int
twr_loan_settle(Thread *th, PyObject *running)
{
    Loan *loan = th->loan;
    if (loan == NULL || loan->place != OWNER_RETURNING ||
        loan->loop == running) {
        return 0;
    }
    if (twr_loop_unmark(loan) < 0 || twr_loan_release(th, loan) < 0 ||
        twr_sigint_restore(th) < 0) {
        return -1;
    }
    Py_CLEAR(loan->owner);
    loan->place = OWNER_NONE;
    Py_CLEAR(th->loan);
    return 0;
}

/* --- refusing -------------------------------------------------------------- */

static int
refuse(TwrState *state, PyObject *subject, PyObject *reason)
{
    if (reason == NULL) {
        return -1;
    }
    if (subject != NULL) {
        PyErr_Format(state->CannotSuspend,
                     "%R cannot wait here: %U; await its ~ form instead",
                     subject, reason);
    }
    else {
        PyErr_Format(state->CannotSuspend,
                     "await_() cannot wait here: %U; use await instead",
                     reason);
    }
    Py_DECREF(reason);
    return -1;
}

int
twr_handoff_check(Thread *th, PyObject *loop, PyObject *subject)
{
    TwrState *state = th->state;
    int drivable = twr_loop_drivable(th, loop);
    if (drivable < 0) {
        return -1;
    }
    if (!drivable) {
        PyObject *why = state->loop.why_not;
        return refuse(
            state, subject,
            why != NULL
                ? Py_NewRef(why)
                : PyUnicode_FromFormat("the running loop, a %s, does not take "
                                       "its turns the way asyncio's own "
                                       "loops do",
                                       Py_TYPE(loop)->tp_name));
    }
    if (th->loan == NULL) {
        return 0;
    }
    if (twr_loan_settle(th, loop) < 0) {
        return -1;
    }
    if (th->loan == NULL) {
        return 0;
    }
    if (th->loan->loop != loop) {
        return refuse(state, subject,
                      PyUnicode_FromString(
                          "another loop runs inside the running one"));
    }
    if (th->loan->polling) {
        return refuse(state, subject,
                      PyUnicode_FromString(
                          "the loop is between two callbacks, as in a signal "
                          "handler or a finalizer"));
    }
    return 0;
}

/* --- calls ----------------------------------------------------------------- */

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
    Py_VISIT(call->handle);
    Py_VISIT(call->contexts);
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
    Py_CLEAR(call->handle);
    Py_CLEAR(call->contexts);
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

static Call *
call_new(TwrState *state, PyObject *task, PyObject *subject)
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
static int
call_detach(TwrState *state, Call *call)
{
    if (call->awaited == NULL) {
        return 0;
    }
    PyObject *removed =
        PyObject_CallMethodOneArg(call->awaited,
                                  state->names.remove_done_callback,
                                  (PyObject *)call);
    Py_XDECREF(removed);
    return removed == NULL ? -1 : 0;
}

/* Ask the future that call waits for how it ended.  Done here, in a driver,
 * since a caller may be handling an exception, which would become the
 * context of this one. */
static void
call_collect(TwrState *state, Call *call)
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
static PyObject *
call_resume(Thread *th, Call *call)
{
    twr_stack_set_active(th, call->root);
    return Py_NewRef(call->greenlet);
}

/* The same, raising the pending exception in it. */
static PyObject *
call_fail(Thread *th, Call *call)
{
    PyObject *exc = twr_error_take();
    if (call_detach(th->state, call) < 0) {
        PyErr_Clear();
    }
    Py_XSETREF(call->error, exc);
    return call_resume(th, call);
}

/* Make sure that we drive loop, of which call is about to wait. */
static int
call_take_over(Thread *th, PyObject *loop, Call *call)
{
    if (th->loan == NULL) {
        PyObject *me = twr_stack_current();
        if (me == NULL) {
            return -1;
        }
        Py_ssize_t pops = twr_loop_native_pops(th->state, loop, false);
        Loan *loan = pops < 0 ? NULL : twr_loan_of(th, loop);
        if (loan != NULL) {
            loan_begin(th, loan, me, OWNER_PINNED, pops);
            twr_stack_set_active(th, me);
            Py_DECREF(loan);
        }
        Py_DECREF(me);
        if (pops == -1) {
            return refuse(th->state, call->subject,
                          PyUnicode_FromString(
                              "this greenlet is not one in which the running "
                              "loop runs its callbacks"));
        }
        if (loan == NULL) {
            return -1;
        }
    }
    Py_XSETREF(call->loan, (Loan *)Py_NewRef((PyObject *)th->loan));
    return 0;
}

/* The pinned owner's call is about to wait, or waits no more. */
static int
owner_pinned(Loan *loan, Call *call)
{
    if (loan->place == OWNER_RETURNING &&
        (twr_loop_unmark(loan) < 0 ||
         twr_unhush(loan->thread->state, loan->loop) < 0)) {
        return -1;
    }
    loan->place = OWNER_PINNED;
    loan->pinned = call;
    return 0;
}

static int
owner_returning(Loan *loan)
{
    loan->place = OWNER_RETURNING;
    loan->pinned = NULL;
    return twr_hush(loan->thread->state, loan->loop) < 0 ? -1
                                                         : twr_loop_mark(loan);
}

/* 1 if the task took it, 0 if it is already done. */
static int
cancel_task(TwrState *state, PyObject *task)
{
    PyObject *taken = PyObject_CallMethodNoArgs(task, state->names.cancel);
    if (taken == NULL) {
        return -1;
    }
    int truth = PyObject_IsTrue(taken);
    Py_DECREF(taken);
    return truth;
}

/* Park the calling greenlet until call is resumed.  Switches. */
static int
call_park(Thread *th, Call *call)
{
    Loan *loan = call->loan;
    if (call->greenlet == NULL) {
        call->greenlet = twr_stack_current();
        if (call->greenlet == NULL) {
            return -1;
        }
        call->root = Py_NewRef(th->active);
    }
    bool owners = loan->owner == call->root;
    if (owners && owner_pinned(loan, call) < 0) {
        return -1;
    }
    if (owners && loan->stop_later &&
        cancel_task(th->state, call->task) < 0) {
        return -1;
    }
    if (twr_sigint_set(th) < 0) {
        return -1;
    }
    int result = twr_context_leave(th->state, &call->contexts);
    if (result == 0) {
        call_link(loan, call);
        loan->parks++;
        result = twr_stack_park(th);
        call_unlink(loan, call);
    }
    PyObject *pending = twr_error_take();
    if (th->sigint_call == call && !call->hosts) {
        th->sigint_call = NULL;
    }
    if (twr_context_enter(call->contexts) < 0 ||
        (loan->parked == NULL && loan->home == NULL &&
         twr_sigint_restore(th) < 0) ||
        (loan->owner == call->root && loan->place == OWNER_PINNED &&
         owner_returning(loan) < 0)) {
        result = -1;
    }
    Py_CLEAR(call->contexts);
    if (pending != NULL) {
        PyErr_Clear();
        twr_error_put(pending);
    }
    return result;
}

int
twr_call_interrupt(TwrState *state, Call *call)
{
    int taken = 0;
    if (call->hosts) {
        taken = cancel_task(state, call->task);
        call->interrupted = taken > 0;
    }
    else {
        taken = call_detach(state, call);
    }
    if (taken == 0 && call->error == NULL) {
        call->error = PyObject_CallNoArgs(PyExc_KeyboardInterrupt);
    }
    if (taken < 0 || (taken == 0 && call->error == NULL)) {
        return -1;
    }
    PyObject *args[] = {call->loan->loop, (PyObject *)call, state->neutral};
    PyObject *handle = PyObject_VectorcallMethod(
        state->names.call_soon_threadsafe, args, 2, state->kw_context);
    Py_XDECREF(handle);
    return handle == NULL ? -1 : 0;
}

static bool
future_done(TwrState *state, PyObject *future)
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
static bool
call_due(TwrState *state, Call *call)
{
    return call->parked && (!call->hosts || call->error != NULL ||
                            future_done(state, call->task));
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
    if (!call_due(state, call)) {
        Py_RETURN_NONE;
    }
    Loan *loan = call->loan;
    if (th != loan->thread) {
        PyErr_Format(PyExc_RuntimeError,
                     "%R is parked in another thread than the one that runs "
                     "its loop now",
                     op);
        return NULL;
    }
    if (th->loan != NULL) {
        /* Called by something else than the queue: go by the queue. */
        return twr_loop_call_soon(state, loan->loop, op) < 0
                   ? NULL
                   : Py_NewRef(Py_None);
    }
    Py_ssize_t pops = twr_loop_native_pops(state, loan->loop, false);
    PyObject *me = pops < -1 ? NULL : twr_stack_current();
    if (me == NULL) {
        return NULL;
    }
    PyObject *contexts;
    if (twr_context_leave(th->state, &contexts) < 0) {
        Py_DECREF(me);
        return NULL;
    }
    Py_INCREF(loan);
    loan_begin(th, loan, me, OWNER_IDLE, pops < 0 ? 0 : pops);
    Py_DECREF(me);
    call_collect(state, call);
    PyObject *next = call_resume(th, call);
    int back = twr_stack_switch(th, next);
    Py_DECREF(next);
    PyObject *pending = twr_error_take();
    if (twr_context_enter(contexts) < 0) {
        back = -1;
    }
    Py_XDECREF(contexts);
    if (pending != NULL) {
        PyErr_Clear();
        twr_error_put(pending);
    }
    else if (back == 0 && loan->owner_error != NULL) {
        back = twr_raise(&loan->owner_error);
    }
    Py_DECREF(loan);
    return back < 0 ? NULL : Py_NewRef(Py_None);
}

static PyType_Slot call_slots[] = {
    {Py_tp_traverse, call_traverse},
    {Py_tp_clear, call_clear},
    {Py_tp_dealloc, call_dealloc},
    {Py_tp_repr, call_repr},
    {Py_tp_call, call_callback},
    {0, NULL},
};

PyType_Spec twr_call_spec = {
    .name = "tworoutine._core.Call",
    .basicsize = sizeof(Call),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
             Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = call_slots,
};

/* --- driving --------------------------------------------------------------- */

/* The loop wants to stop: the greenlet to switch to, or NULL without error
 * to go on until the pinned owner is free. */
static PyObject *
give_back(Thread *th, Loan *loan)
{
    TwrState *state = th->state;
    if (loan->place == OWNER_PINNED) {
        loan->stop_later = true;
        if (PyObject_SetAttr(loan->loop, state->names._stopping, Py_False) <
            0) {
            return NULL;
        }
        if (loan->pinned != NULL) {
            cancel_task(state, loan->pinned->task);
        }
        return NULL;
    }
    /* The marker stays behind the padding: the next run of this loop begins
     * with it, and no call of that run pins its owner. */
    if (twr_loop_mark(loan) < 0 || twr_loop_pad(loan, loan->owner_pops) < 0) {
        return NULL;
    }
    if (twr_sigint_restore(th) < 0 || twr_hush(state, loan->loop) < 0) {
        return NULL;
    }
    PyObject *owner = loan->owner;
    loan->owner = NULL;
    loan->place = OWNER_NONE;
    twr_stack_set_active(th, owner);
    if (twr_loan_release(th, loan) < 0) {
        Py_DECREF(owner);
        return NULL;
    }
    Py_CLEAR(th->loan);
    return owner;
}

/* The call that is parked uppermost on greenlet; NULL: none. */
static Call *
parked_on(Loan *loan, PyObject *greenlet)
{
    Call *call = loan->parked;
    while (call != NULL && call->greenlet != greenlet) {
        call = call->older;
    }
    return call;
}

/* run.c's loop was stopped by somebody. */
static PyObject *
stop_home(Thread *th, Loan *loan)
{
    PyErr_SetString(PyExc_RuntimeError,
                    "Event loop stopped before Future completed.");
    return call_fail(th, parked_on(loan, loan->home->greenlet));
}

/* The pending exception ends the run of the loop, as one would that comes out
 * of run_forever: the greenlet in which to raise it. */
static PyObject *
fail(Thread *th, Loan *loan, bool in_handle)
{
    if (loan->place == OWNER_NONE) {
        return call_fail(th, parked_on(loan, loan->home->greenlet));
    }
    bool interrupt = PyErr_ExceptionMatches(PyExc_KeyboardInterrupt);
    if (interrupt && !in_handle && loan->parked != NULL) {
        return call_fail(th, loan->parked);
    }
    if (loan->place == OWNER_PINNED) {
        return call_fail(th, loan->pinned);
    }
    PyObject *exc = twr_error_take();
    PyObject *owner = give_back(th, loan);
    if (owner == NULL) {
        Py_DECREF(exc);
        return NULL;
    }
    Py_XSETREF(loan->owner_error, exc);
    return owner;
}

/* The call that hosts the task of which callback is a method; or NULL. */
static Call *
host_of(TwrState *state, Loan *loan, PyObject *callback)
{
    PyObject *task, *key;
    if (PyDict_GET_SIZE(loan->hosts) == 0) {
        return NULL;
    }
    if (PyObject_GetOptionalAttr(callback, state->names.__self__, &task) <=
        0) {
        PyErr_Clear();
        return NULL;
    }
    key = PyLong_FromVoidPtr(task);
    Py_DECREF(task);
    Call *call =
        key == NULL ? NULL : (Call *)PyDict_GetItem(loan->hosts, key);
    Py_XDECREF(key);
    return call != NULL && call->parked ? call : NULL;
}

/* Run one handle, or say which greenlet has to (*next).  Switches. */
static int
drive_handle(Thread *th, Loan *loan, PyObject *handle, PyObject **next)
{
    TwrState *state = th->state;
    int result = 0;
    Call *call = NULL;
    PyObject *callback;
    /* Markers and foreign stand-ins have no _callback. */
    if (PyObject_GetOptionalAttr(handle, state->names._callback, &callback) <
        0) {
        return -1;
    }
    if (callback != NULL && Py_IS_TYPE(callback, state->call_type)) {
        call = (Call *)callback;
        if (call->loan == loan && call_due(state, call)) {
            call_collect(state, call);
            *next = call_resume(th, call);
        }
        goto done;
    }
    call = callback == NULL ? NULL : host_of(state, loan, callback);
    if (call != NULL) {
        Py_XSETREF(call->handle, Py_NewRef(handle));
        *next = call_resume(th, call);
        goto done;
    }
    Py_CLEAR(callback); /* hold nothing of it while it runs */
    result = twr_loop_run_handle(loan, handle);
done:
    Py_XDECREF(callback);
    return result;
}

PyObject *
twr_drive(Thread *th)
{
    for (;;) {
        Loan *loan = th->loan;
        PyObject *handle = NULL, *next = NULL;
        Turn turn = twr_loop_next(loan, &handle);
        if (turn == TURN_HANDLE) {
            int ran = drive_handle(th, loan, handle, &next);
            Py_DECREF(handle);
            if (ran < 0) {
                next = fail(th, th->loan, true);
            }
        }
        else if (turn == TURN_STOP) {
            next = loan->place == OWNER_NONE ? stop_home(th, loan)
                                             : give_back(th, loan);
            if (next == NULL && PyErr_Occurred()) {
                next = fail(th, loan, false);
            }
        }
        else {
            next = fail(th, loan, false);
        }
        if (next != NULL) {
            return next;
        }
        if (PyErr_Occurred()) {
            PyErr_WriteUnraisable(loan->loop);
        }
    }
}

/* --- waiting in a task ------------------------------------------------------ */

/* Have call woken up in the next turn, with the pending exception if any. */
static int
wake_soon(TwrState *state, PyObject *loop, Call *call)
{
    call->error = twr_error_take();
    return twr_loop_call_soon(state, loop, (PyObject *)call);
}

PyObject *
twr_future_loop(TwrState *state, PyObject *future)
{
    PyObject *get;
    if (PyObject_GetOptionalAttr(future, state->names.get_loop, &get) < 0) {
        return NULL;
    }
    if (get == NULL) {
        return PyObject_GetAttr(future, state->names._loop);
    }
    PyObject *loop = PyObject_CallNoArgs(get);
    Py_DECREF(get);
    return loop;
}

/* Listen to a future that was yielded by a Future's __await__. */
static int
wait_future(TwrState *state, PyObject *loop, Call *call, PyObject *future)
{
    PyObject *other = twr_future_loop(state, future);
    if (other == NULL) {
        return -1;
    }
    Py_DECREF(other); /* only compared */
    if (other != loop) {
        PyErr_Format(PyExc_RuntimeError,
                     "Task %R got Future %R attached to a different loop, in "
                     "%R",
                     call->task, future, (PyObject *)call);
        return wake_soon(state, loop, call);
    }
    if (future == call->task) {
        PyErr_Format(PyExc_RuntimeError, "Task cannot await on itself: %R",
                     future);
        return wake_soon(state, loop, call);
    }
    if (PyObject_SetAttr(future, state->names._asyncio_future_blocking,
                         Py_False) < 0) {
        return -1;
    }
    PyObject *args[] = {future, (PyObject *)call, state->neutral};
    PyObject *none = PyObject_VectorcallMethod(
        state->names.add_done_callback, args, 2, state->kw_context);
    Py_XDECREF(none);
    if (none == NULL) {
        return -1;
    }
    call->awaited = Py_NewRef(future);
    return 0;
}

/* Arrange for call to be woken up, as a task's step does with what its
 * coroutine yields. */
static int
subscribe(TwrState *state, PyObject *loop, Call *call, PyObject *yielded)
{
    if (yielded == Py_None) {
        return wake_soon(state, loop, call);
    }
    PyObject *blocking;
    if (PyObject_GetOptionalAttr(yielded,
                                 state->names._asyncio_future_blocking,
                                 &blocking) < 0) {
        return -1;
    }
    if (blocking != NULL && blocking != Py_None) {
        int truth = PyObject_IsTrue(blocking);
        Py_DECREF(blocking);
        if (truth != 0) {
            return truth < 0 ? -1
                             : wait_future(state, loop, call, yielded);
        }
        PyErr_Format(PyExc_RuntimeError,
                     "yield was used instead of yield from in task %R with "
                     "%R",
                     call->task, yielded);
        return wake_soon(state, loop, call);
    }
    Py_XDECREF(blocking);
    if (PyGen_Check(yielded)) {
        PyErr_Format(PyExc_RuntimeError,
                     "yield was used instead of yield from for generator in "
                     "task %R with %R",
                     call->task, yielded);
    }
    else {
        PyErr_Format(PyExc_RuntimeError, "Task got bad yield: %R", yielded);
    }
    return wake_soon(state, loop, call);
}

int
twr_handoff_wait(Thread *th, PyObject *loop, PyObject *task,
                 PyObject *yielded, PyObject *subject, PyObject **error)
{
    TwrState *state = th->state;
    int result = -1;
    Call *call = call_new(state, task, subject);
    if (call == NULL) {
        return -1;
    }
    if (call_take_over(th, loop, call) < 0 ||
        subscribe(state, loop, call, yielded) < 0) {
        goto done;
    }
    if (twr_task_suspend(state, task, call->awaited) < 0) {
        goto detach;
    }
    if (twr_task_leave(state, loop, task) == 0) {
        result = call_park(th, call);
        PyObject *pending = twr_error_take();
        if (twr_task_enter(state, loop, task) < 0) {
            result = -1;
        }
        if (pending != NULL) {
            PyErr_Clear();
            twr_error_put(pending);
        }
    }
    twr_task_resume(state, task, call->awaited);
    if (result == 0) {
        *error = call->error;
        call->error = NULL;
        result = twr_task_take_cancel(state, task, error);
    }
detach:
    if (result < 0) {
        PyObject *pending = twr_error_take();
        if (call_detach(state, call) < 0) {
            PyErr_Clear();
        }
        twr_error_put(pending);
    }
done:
    Py_DECREF(call);
    return result;
}

/* --- hosting a task ---------------------------------------------------------- */

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
        PyObject *none = PyObject_CallMethodOneArg(
            ready, state->names.append, handle);
        Py_XDECREF(none);
        Py_CLEAR(handle);
    }
done:
    Py_XDECREF(ready);
    Py_XDECREF(callback);
    Py_XDECREF(self);
    return handle;
}

/* Run a handle of the hosted task on this stack.  Switches. */
static int
host_step(TwrState *state, Call *call, PyObject *handle)
{
    PyObject *none = PyObject_CallMethodNoArgs(handle, state->names._run);
    Py_DECREF(handle);
    Py_XDECREF(none);
    if (none != NULL) {
        return 0;
    }
    /* KeyboardInterrupt or SystemExit: the task has it too, and would
     * complain that nobody asked for it. */
    PyObject *pending = twr_error_take();
    if (future_done(state, call->task)) {
        PyObject *exc = PyObject_CallMethodNoArgs(call->task,
                                                  state->names.exception);
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
    int result =
        present ? PyDict_SetItem(loan->hosts, key, (PyObject *)call)
                : PyDict_DelItem(loan->hosts, key);
    Py_DECREF(key);
    return result;
}

/* Have call woken up when its task is done, wherever that happens. */
static int
host_listen(TwrState *state, Call *call)
{
    PyObject *args[] = {call->task, (PyObject *)call, state->neutral};
    PyObject *none = PyObject_VectorcallMethod(
        state->names.add_done_callback, args, 2, state->kw_context);
    Py_XDECREF(none);
    return none == NULL ? -1 : 0;
}

/* Park, running the task's handles whenever one is due, until the task is
 * done; in a run of our own, until its done callbacks have run.  Switches. */
static int
host_park(Thread *th, Call *call, bool own_run)
{
    bool called_back = false, flushed = false;
    while (!called_back &&
           (own_run || !future_done(th->state, call->task))) {
        if (call_park(th, call) < 0) {
            return -1;
        }
        PyObject *handle = call->handle;
        call->handle = NULL;
        if (handle != NULL) {
            if (host_step(th->state, call, handle) < 0) {
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
    if (call_take_over(th, loop, call) < 0 ||
        host_listen(th->state, call) < 0 ||
        host_register(call->loan, call, true) < 0) {
        return -1;
    }
    int result = host_park(th, call, own_run);
    PyObject *pending = twr_error_take();
    if (host_register(call->loan, call, false) < 0) {
        PyErr_Clear();
    }
    Py_CLEAR(call->handle);
    twr_error_put(pending);
    return result;
}

/* Ctrl-C has cancelled the task, and nobody else did: what asyncio.Runner
 * makes of that. */
static PyObject *
host_result(TwrState *state, Call *call)
{
    if (call->error != NULL) {
        twr_raise(&call->error); /* Ctrl-C came when the task was done */
        return NULL;
    }
    PyObject *result = twr_task_result(state, call->task);
    if (result != NULL || !call->interrupted ||
        !PyErr_ExceptionMatches(state->CancelledError)) {
        return result;
    }
    PyObject *cancelled = twr_error_take();
    PyObject *left =
        PyObject_CallMethodNoArgs(call->task, state->names.uncancel);
    long count = left == NULL ? -1 : PyLong_AsLong(left);
    Py_XDECREF(left);
    if (count == 0) {
        Py_DECREF(cancelled);
        PyErr_SetNone(PyExc_KeyboardInterrupt);
    }
    else {
        PyErr_Clear();
        PyErr_SetRaisedException(cancelled);
    }
    return NULL;
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
    if (step != NULL && host_step(state, call, step) < 0) {
        return NULL;
    }
    int wait = !future_done(state, call->task);
    if (!wait && loan != NULL) {
        wait = twr_loop_busy(loan);
    }
    if (wait < 0 ||
        (wait && host_wait(th, loop, call, loan != NULL) < 0)) {
        return NULL;
    }
    return host_result(state, call);
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
    call = task == NULL ? NULL : call_new(state, task, subject);
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
    if (th->sigint_call == call) {
        th->sigint_call = NULL;
    }
    if (twr_context_enter(contexts) < 0) {
        Py_CLEAR(result);
    }
    if (pending != NULL) {
        PyErr_Clear();
        twr_error_put(pending);
    }
done:
    Py_XDECREF(call);
    Py_XDECREF(task);
    Py_XDECREF(contexts);
    Py_XDECREF(context);
    return result;
}
