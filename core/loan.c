/* loan.c - a running loop that we drive, and where its owner stands.
 *
 * The owner is the greenlet inside run_forever.  handoff.c tells how it gets
 * from one place to the next; here are the moves themselves, and the marker
 * in the ready queue by which it comes to be idle. */
#include "handoff.h"

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
        PyObject *now = twr_stack_current();
        if (now == NULL) {
            return -1;
        }
        Py_XSETREF(loan->owner, now);
        twr_stack_set_active(th, now);
        loan->owner_pops = pops;
        loan->place = OWNER_IDLE;
        loan->pinned = NULL;
        return stop_now(th->state, loan);
    }
    twr_floor_of_owner(th);
    PyObject *me = twr_stack_current();
    loan = me == NULL ? NULL : twr_loan_of(th, loop);
    if (loan != NULL) {
        twr_loan_begin(th, loan, me, OWNER_IDLE, pops);
        Py_DECREF(loan);
    }
    Py_XDECREF(me);
    return loan == NULL ? -1 : 0;
}

void
twr_loan_drop(Thread *th, Loan *loan)
{
    Py_CLEAR(loan->owner);
    Py_CLEAR(loan->owner_error);
    loan->place = OWNER_NONE;
    loan->pinned = NULL;
    Py_CLEAR(th->loan);
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
    if (loan == NULL && state->child_error != NULL) {
        Py_DECREF(loop);
        twr_raise(&state->child_error);
        return NULL;
    }
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
        if (back < 0 && th->loan == loan) {
            twr_loan_drop(th, loan); /* there was no driver to be had */
        }
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

/* The loan that th->loans has of loop; NULL without error: none. */
static Loan *
known(Thread *th, PyObject *loop)
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(th->loans); i++) {
        Loan *loan = (Loan *)PyList_GET_ITEM(th->loans, i);
        if (loan->loop == loop) {
            return (Loan *)Py_NewRef((PyObject *)loan);
        }
    }
    return NULL;
}

/* The loan of a loop that runs by itself: an old one if calls are still
 * parked in it.  Kept in th->loans. */
Loan *
twr_loan_of(Thread *th, PyObject *loop)
{
    Loan *loan = known(th, loop);
    if (loan != NULL) {
        return loan;
    }
    loan = loan_new(th, loop);
    /* As that was made, 3.11 may have run a finalizer that made a call. */
    Loan *other = loan == NULL ? NULL : known(th, loop);
    if (other != NULL) {
        Py_DECREF(loan);
        return other;
    }
    if (loan != NULL && PyList_Append(th->loans, (PyObject *)loan) < 0) {
        Py_CLEAR(loan);
    }
    if (loan != NULL && twr_orphans_look(th, loop) < 0) {
        PyObject *pending = twr_error_take();
        if (twr_loan_release(th, loan) < 0) {
            PyErr_Clear();
        }
        twr_error_put(pending);
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
void
twr_loan_begin(Thread *th, Loan *loan, PyObject *owner, OwnerPlace place,
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
    if (twr_loop_unmark(loan) < 0 || twr_loan_release(th, loan) < 0) {
        return -1;
    }
    twr_loan_drop(th, loan);
    return twr_sigint_restore(th);
}

/* The pinned owner's call is about to wait, or waits no more. */
int
twr_loan_pin(Loan *loan, Call *call)
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

int
twr_loan_unpin(Loan *loan)
{
    loan->place = OWNER_RETURNING;
    loan->pinned = NULL;
    return twr_hush(loan->thread->state, loan->loop) < 0 ? -1
                                                         : twr_loop_mark(loan);
}
