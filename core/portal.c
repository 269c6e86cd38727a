/* portal.c - a coroutine whose code can make calls under any loop.
 *
 * uvloop, trio and curio cannot be driven from another stack.  What they all
 * do is to step coroutines: send a value in, look at what is yielded, come
 * back later.  A Portal is such a coroutine around another one, which it steps
 * on a greenlet of its own, a worker:
 *
 *     root:    loop > Task > Portal.send ----.           .----> yields to loop
 *     worker:                                step > main() > f(x)   parked
 *
 * A call made there steps its coroutine in place.  What that yields, the
 * worker leaves to the root as the result of the step, and stays parked; what
 * the loop then sends or throws in goes to the call.  So the loop sees one
 * coroutine that waits for what the call waits for: cancellation, timeouts and
 * whatever else it has are its own.
 *
 * On asyncio's own loops none of this is needed (handoff.c), and a Portal only
 * passes on what it is asked: unless it begins in the first step of an eager
 * task, which runs on the stack of the one that makes the task.  A call that
 * parked that stack would hold up both.
 *
 * The worker leaves all contexts that it entered before the root goes on, and
 * enters them again; but the lowest are those of the root in this very step,
 * which trio may change from one to the next.  It holds no reference to the
 * Portal: one that is dropped while a call is parked in it ends that call with
 * GeneratorExit. */
#include "twr.h"

struct Portal {
    PyObject_HEAD
    PyObject *coro;        /* the coroutine inside */
    PyObject *hook;        /* called when it begins; NULL if no more */
    PyObject *undo;        /* what the hook returned, called when it ends */
    PyObject *worker;      /* the greenlet of the step; NULL: none under way */
    PyObject *waits;       /* the greenlet of the parked call, if another */
    PyObject *root;        /* who asked for the step */
    PyObject *loop;        /* asyncio's running loop in this step; or None */
    PyObject *task;        /* the current task of that loop, or NULL */
    PyObject *inner;       /* what the parked call iterates over, or NULL */
    PyObject *contexts;    /* of the root, for the worker to enter; or NULL */
    PyObject *lowest;      /* what it has so entered; or NULL */
    PyObject *value;       /* sent in; yielded or returned */
    PyObject *error;       /* thrown in; raised */
    PySendResult result;   /* how the step ended */
    int depth_left;        /* of the root when the coroutine was stepped */
    Thread *thread;        /* in whose `parked` we are; borrowed, or NULL */
    Portal *newer, *older; /* neighbours there */
    Portal *outer;         /* stepped when our step began; borrowed */
    PyObject *active;      /* th->active then; or NULL */
    PyObject *weakrefs;
    bool begun;
    bool direct;  /* passes everything on */
    bool running; /* inside a step */
};

static int
portal_traverse(PyObject *op, visitproc visit, void *arg)
{
    Portal *self = (Portal *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->coro);
    Py_VISIT(self->hook);
    Py_VISIT(self->undo);
    Py_VISIT(self->worker);
    Py_VISIT(self->waits);
    Py_VISIT(self->root);
    Py_VISIT(self->loop);
    Py_VISIT(self->task);
    Py_VISIT(self->inner);
    Py_VISIT(self->contexts);
    Py_VISIT(self->lowest);
    Py_VISIT(self->value);
    Py_VISIT(self->error);
    return 0;
}

static int
portal_clear(PyObject *op)
{
    Portal *self = (Portal *)op;
    Py_CLEAR(self->coro);
    Py_CLEAR(self->hook);
    Py_CLEAR(self->undo);
    Py_CLEAR(self->root);
    Py_CLEAR(self->loop);
    Py_CLEAR(self->task);
    Py_CLEAR(self->contexts);
    Py_CLEAR(self->lowest);
    Py_CLEAR(self->value);
    Py_CLEAR(self->error);
    if (self->inner == NULL) {
        Py_CLEAR(self->worker);
        Py_CLEAR(self->waits);
    }
    /* Else a call is parked that cannot be ended, since its thread has ended
     * or it will not go: its stack is left alone for ever. */
    return 0;
}

bool
twr_portal_begun(PyObject *op)
{
    return ((Portal *)op)->begun;
}

/* --- the worker's side */

/* The portal being stepped of which greenlet is the worker; or NULL.  Usually
 * the latest; but who switches greenlets by hand in the middle of a step, or
 * has gevent do so, may begin and end steps in any order. */
static Portal *
find_portal(Thread *th, PyObject *greenlet)
{
    Portal *self = th->portal;
    while (self != NULL && self->worker != greenlet) {
        self = self->outer;
    }
    return self;
}

PyObject *
twr_portal_run(Thread *th, PyObject *worker)
{
    Portal *self = find_portal(th, worker);
    PyObject *contexts = self->contexts;
    self->contexts = NULL;
    Py_XSETREF(self->lowest, Py_XNewRef(contexts));
    /* Should this stack be left for ever, the coroutine on it must live. */
    PyObject *coro = Py_NewRef(self->coro);
    PyObject *value = self->value, *error = self->error;
    self->value = self->error = NULL;
    twr_set_python_depth_left(self->depth_left);
    if (twr_context_enter(contexts) < 0) {
        self->result = PYGEN_ERROR;
    }
    else if (error != NULL) {
        self->result = twr_await_throw(th->state, coro, &error, &self->value);
    }
    else {
        self->result = PyIter_Send(coro, value, &self->value);
    }
    if (self->result == PYGEN_ERROR) {
        self->error = twr_error_take();
    }
    Py_XDECREF(contexts);
    Py_XDECREF(value);
    Py_XDECREF(error);
    if (twr_context_leave(th->state, &contexts) < 0) {
        PyErr_WriteUnraisable(coro);
    }
    Py_XDECREF(contexts);
    Py_DECREF(coro);
    Py_CLEAR(self->worker);
    PyObject *root = self->root;
    self->root = NULL;
    return root;
}

static void
portal_park(Thread *th, Portal *self)
{
    self->thread = th;
    self->older = th->parked;
    if (th->parked != NULL) {
        th->parked->newer = self;
    }
    th->parked = self;
}

static void
portal_unpark(Portal *self)
{
    if (self->thread == NULL) {
        return;
    }
    if (self->newer != NULL) {
        self->newer->older = self->older;
    }
    else {
        self->thread->parked = self->older;
    }
    if (self->older != NULL) {
        self->older->newer = self->newer;
    }
    self->newer = self->older = NULL;
    self->thread = NULL;
}

/* The portal in a step of which this is, here on its worker or on another
 * greenlet that the step has switched to; NULL without error: in none. */
static Portal *
portal_of_step(Thread *th)
{
    PyObject *me = th->portal == NULL ? NULL : twr_stack_current();
    Portal *self = me == NULL ? NULL : find_portal(th, me);
    Py_XDECREF(me);
    if (me == NULL || self != NULL || th->active == NULL) {
        return self;
    }
    int above = twr_stack_is_above(th, th->active);
    if (above > 0) {
        above = twr_stack_may_leave(th->state, NULL);
    }
    return above > 0 ? find_portal(th, th->active) : NULL;
}

int
twr_portal_here(Thread *th, PyObject *loop)
{
    Portal *self = portal_of_step(th);
    if (self == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    bool here = self->loop == loop;
    if (!here || loop == Py_None) {
        return here;
    }
    /* Not so in an eager task that is not in a portal of its own. */
    PyObject *task = twr_task_current(th->state, loop);
    if (task == NULL && PyErr_Occurred()) {
        return -1;
    }
    here = task == self->task;
    Py_XDECREF(task);
    return here;
}

int
twr_portal_stepped(Thread *th)
{
    bool stepped = portal_of_step(th) != NULL;
    return PyErr_Occurred() ? -1 : stepped;
}

/* In below, of greenlets that wait for the one of the call, the worker being
 * the last: have its outermost context be that of the step that goes on. */
static int
rebase_below(Portal *self, PyObject *below, PyObject *now)
{
    Py_ssize_t last = PyList_GET_SIZE(below) - 1;
    PyObject *pair = last < 0 ? NULL : PyList_GET_ITEM(below, last);
    if (pair == NULL || PyTuple_GET_ITEM(pair, 0) != self->worker) {
        return 0;
    }
    PyObject *left = Py_NewRef(PyTuple_GET_ITEM(pair, 1));
    int result = twr_context_rebase(&left, self->lowest, now);
    PyObject *rebased =
        result < 0 ? NULL : PyTuple_Pack(2, self->worker, left);
    Py_XDECREF(left);
    return rebased == NULL ? -1 : PyList_SetItem(below, last, rebased);
}

/* What a call leaves in its greenlet, and in those below down to the worker,
 * while it waits. */
typedef struct {
    PyObject *contexts;
    PyObject *below; /* NULL: its greenlet is the worker */
} Left;

static int
leave_step(Thread *th, Portal *self, Left *left)
{
    *left = (Left){NULL, NULL};
    PyObject *me = twr_stack_current();
    int result =
        me == NULL ? -1 : twr_context_leave(th->state, &left->contexts);
    if (result == 0 && me != self->worker) {
        result =
            twr_context_leave_below(th->state, self->worker, &left->below);
        if (result == 0) {
            Py_XSETREF(self->waits, Py_NewRef(me));
        }
        else {
            PyObject *pending = twr_error_take();
            twr_context_enter(left->contexts);
            Py_CLEAR(left->contexts);
            twr_error_put(pending);
        }
    }
    Py_XDECREF(me);
    return result;
}

/* Enter all that again, in the step that goes on. */
static int
enter_step(Portal *self, Left *left)
{
    PyObject *pending = twr_error_take();
    PyObject *now = self->contexts;
    self->contexts = NULL;
    Py_CLEAR(self->waits);
    int result = 0;
    if (left->below != NULL) {
        result = rebase_below(self, left->below, now);
        result = twr_context_enter_below(left->below) < 0 ? -1 : result;
    }
    else {
        result = twr_context_rebase(&left->contexts, self->lowest, now);
    }
    if (result == 0) {
        result = twr_context_enter(left->contexts);
    }
    if (now != NULL) {
        Py_XSETREF(self->lowest, now);
    }
    Py_CLEAR(left->contexts);
    Py_CLEAR(left->below);
    twr_error_put(pending);
    return result;
}

int
twr_portal_wait(Thread *th, PyObject *iterator, PyObject *yielded,
                PyObject **sent, PyObject **error)
{
    Left left;
    Portal *self = portal_of_step(th);
    if (self == NULL) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_RuntimeError,
                            "the step of the portal in which this call was "
                            "made has ended without it");
        }
        return -1;
    }
    if (leave_step(th, self, &left) < 0) {
        return -1;
    }
    self->inner = Py_NewRef(iterator);
    portal_park(th, self);
    self->result = PYGEN_NEXT;
    self->value = Py_NewRef(yielded);
    int result = twr_stack_switch(th, self->root);
    portal_unpark(self);
    Py_CLEAR(self->inner);
    if (enter_step(self, &left) < 0) {
        result = -1;
    }
    if (result == 0) {
        *sent = self->value;
        *error = self->error;
        self->value = self->error = NULL;
    }
    return result;
}

/* --- the root's side */

/* Before the first step: where are we, and is a worker needed? */
static int
portal_begin(Thread *th, Portal *self)
{
    TwrState *state = th->state;
    self->begun = true;
    int foreign = twr_foreign_library(state);
    self->loop = PyObject_CallNoArgs(state->get_running_loop);
    if (foreign < 0 || self->loop == NULL) {
        return -1;
    }
    if (self->loop != Py_None) {
        self->task = twr_task_current(state, self->loop);
        if (self->task == NULL && PyErr_Occurred()) {
            return -1;
        }
    }
    /* Where a task steps us.  Twisted's asyncio reactor steps the coroutine
     * of a Deferred in plain callbacks, and what it waits for is a Deferred.
     */
    if (!foreign && self->task != NULL) {
        int direct = twr_loop_drivable(th, self->loop);
        if (direct > 0) {
            direct = twr_loop_steps_task(state, self->task);
        }
        if (direct < 0) {
            return -1;
        }
        self->direct = direct;
    }
    if (self->direct) {
        Py_CLEAR(self->task); /* which keeps us */
    }
    PyObject *hook = self->hook;
    self->hook = NULL;
    if (hook != NULL) {
        self->undo = PyObject_CallNoArgs(hook);
        if (self->undo == NULL) {
            Py_DECREF(hook);
            return -1;
        }
    }
    Py_XDECREF(hook);
    return 0;
}

/* The coroutine inside has ended; a pending exception is kept. */
static void
portal_end(Portal *self)
{
    PyObject *undo = self->undo;
    self->undo = NULL;
    Py_CLEAR(self->task);
    if (undo == NULL || undo == Py_None) {
        Py_XDECREF(undo);
        return;
    }
    PyObject *pending = twr_error_take();
    PyObject *none = PyObject_CallNoArgs(undo);
    if (none == NULL) {
        PyErr_WriteUnraisable(undo);
    }
    Py_XDECREF(none);
    Py_DECREF(undo);
    twr_error_put(pending);
}

static void
portal_link(Thread *th, Portal *self, PyObject *worker)
{
    self->outer = th->portal;
    th->portal = self;
    self->active = th->active;
    th->active = Py_NewRef(worker);
    self->running = true;
}

/* The step of self has ended, perhaps before a later one, which then takes
 * over what it found. */
static void
portal_unlink(Thread *th, Portal *self)
{
    Portal **link = &th->portal;
    PyObject **active = &th->active;
    while (*link != self) {
        active = &(*link)->active;
        link = &(*link)->outer;
    }
    *link = self->outer;
    self->outer = NULL;
    PyObject *found = self->active;
    self->active = NULL;
    self->running = false;
    Py_XSETREF(*active, found);
}

/* Let the worker run, in our contexts, until it leaves a result.  Switches. */
static int
portal_switch(Thread *th, Portal *self, PyObject *worker)
{
    PyObject *left;
    if (twr_context_leave(th->state, &left) < 0) {
        return -1;
    }
    /* The thread's own context, which nobody entered, if none was left. */
    Py_XSETREF(self->contexts,
               left != NULL ? Py_NewRef(left) : twr_context_current());
    if (self->contexts == NULL) {
        return -1; /* out of memory, and none was left */
    }
    portal_link(th, self, worker);
    self->depth_left = twr_python_depth_left();
    PyObject *to = Py_NewRef(self->waits != NULL ? self->waits : worker);
    int result = twr_stack_work(th, to);
    Py_DECREF(to);
    portal_unlink(th, self);
    PyObject *pending = twr_error_take();
    if (twr_context_enter(left) < 0) {
        result = -1;
    }
    twr_error_put(pending);
    Py_XDECREF(left);
    Py_CLEAR(self->contexts);
    return result;
}

/* One step: value is sent in, or *error thrown, which is taken.  Switches. */
static PySendResult
portal_step(Portal *self, PyObject *value, PyObject **error, PyObject **result)
{
    TwrState *state = twr_state_of((PyObject *)self);
    *result = NULL;
    Thread *th = twr_thread(state);
    if (th == NULL) {
        return PYGEN_ERROR;
    }
    if (self->running) {
        PyErr_SetString(PyExc_ValueError, "coroutine already executing");
        return PYGEN_ERROR;
    }
    if (!self->begun && *error == NULL && value != Py_None &&
        twr_is_new_coroutine(self->coro)) {
        return PyIter_Send(self->coro, value, result); /* which refuses it */
    }
    if (!self->begun && portal_begin(th, self) < 0) {
        portal_end(self);
        twr_close_awaitable(state, self->coro);
        return PYGEN_ERROR;
    }
    PySendResult how = PYGEN_ERROR;
    if (self->direct) {
        how = *error != NULL
                  ? twr_await_throw(state, self->coro, error, result)
                  : PyIter_Send(self->coro, value, result);
        if (how != PYGEN_NEXT) {
            portal_end(self);
        }
        return how;
    }
    if (self->task == NULL) {
        /* Begun, perhaps, before that loop was started. */
        PyObject *loop = PyObject_CallNoArgs(state->get_running_loop);
        if (loop == NULL) {
            return PYGEN_ERROR;
        }
        Py_XSETREF(self->loop, loop);
    }
    if (self->inner != NULL && self->thread != th) {
        PyErr_Format(PyExc_RuntimeError,
                     "a synchronous call waits in %R, which was begun in "
                     "another thread",
                     (PyObject *)self);
        return PYGEN_ERROR;
    }
    if (Py_EnterRecursiveCall(" in a portal")) {
        return PYGEN_ERROR;
    }
    if (self->worker == NULL) {
        self->worker = twr_stack_worker(th);
    }
    PyObject *worker = Py_XNewRef(self->worker);
    PyObject *me = worker == NULL ? NULL : twr_stack_current();
    if (me != NULL) {
        Py_XSETREF(self->root, me);
        Py_XSETREF(self->value, Py_NewRef(value));
        Py_XSETREF(self->error, *error);
        *error = NULL;
        self->result = PYGEN_ERROR;
        Py_INCREF(self);
        if (portal_switch(th, self, worker) == 0) {
            how = self->result;
            *result = self->value;
            self->value = NULL;
            if (how == PYGEN_ERROR) {
                twr_raise(&self->error);
            }
        }
        Py_DECREF(self);
    }
    Py_XDECREF(worker);
    Py_LeaveRecursiveCall();
    if (how != PYGEN_NEXT) {
        portal_end(self);
    }
    return how;
}

static PySendResult
portal_am_send(PyObject *op, PyObject *value, PyObject **result)
{
    PyObject *none = NULL;
    return portal_step((Portal *)op, value, &none, result);
}

PyObject *
twr_return_from_step(PySendResult how, PyObject *result)
{
    if (how == PYGEN_RETURN) {
        PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, result);
        Py_CLEAR(result);
        if (stop != NULL) {
            PyErr_SetRaisedException(stop);
        }
    }
    return result;
}

static PyObject *
portal_send(PyObject *op, PyObject *value)
{
    PyObject *result;
    PySendResult how = portal_am_send(op, value, &result);
    return twr_return_from_step(how, result);
}

static PyObject *
portal_next(PyObject *op)
{
    return portal_send(op, Py_None);
}

PyObject *
twr_make_exception(PyObject *type, PyObject *value, PyObject *tb)
{
    PyObject *exc = NULL;
    if (PyExceptionInstance_Check(type)) {
        exc = Py_NewRef(type);
    }
    else if (!PyExceptionClass_Check(type)) {
        return PyErr_Format(PyExc_TypeError,
                            "throw() takes an exception, not %R", type);
    }
    else if (value != NULL && PyObject_IsInstance(value, type) > 0) {
        exc = Py_NewRef(value);
    }
    else if (value == NULL || value == Py_None) {
        exc = PyObject_CallNoArgs(type);
    }
    else {
        exc = PyObject_CallOneArg(type, value);
    }
    if (exc != NULL && !PyExceptionInstance_Check(exc)) {
        PyErr_Format(PyExc_TypeError,
                     "calling %R should have returned an instance of "
                     "BaseException, not %R",
                     type, exc);
        Py_CLEAR(exc);
    }
    if (exc != NULL && tb != NULL && tb != Py_None &&
        PyException_SetTraceback(exc, tb) < 0) {
        Py_CLEAR(exc);
    }
    return exc;
}

static PyObject *
portal_throw(PyObject *op, PyObject *args)
{
    PyObject *type, *value = NULL, *tb = NULL;
    if (!PyArg_UnpackTuple(args, "throw", 1, 3, &type, &value, &tb)) {
        return NULL;
    }
    PyObject *exc = twr_make_exception(type, value, tb);
    if (exc == NULL) {
        return NULL;
    }
    PyObject *result;
    PySendResult how = portal_step((Portal *)op, Py_None, &exc, &result);
    Py_XDECREF(exc);
    return twr_return_from_step(how, result);
}

/* End the call that is parked, which then ends the coroutine. */
static int
portal_close_parked(Portal *self)
{
    PyObject *result;
    PyObject *exc = PyObject_CallNoArgs(PyExc_GeneratorExit);
    if (exc == NULL) {
        return -1;
    }
    PySendResult how = portal_step(self, Py_None, &exc, &result);
    Py_XDECREF(exc);
    Py_XDECREF(result);
    if (how == PYGEN_NEXT) {
        PyErr_SetString(PyExc_RuntimeError, "coroutine ignored GeneratorExit");
    }
    else if (how == PYGEN_ERROR &&
             PyErr_ExceptionMatches(PyExc_GeneratorExit)) {
        PyErr_Clear();
    }
    return PyErr_Occurred() ? -1 : 0;
}

static PyObject *
portal_close(PyObject *op, PyObject *unused)
{
    (void)unused;
    Portal *self = (Portal *)op;
    if (self->running) {
        PyErr_SetString(PyExc_ValueError, "coroutine already executing");
        return NULL;
    }
    if (self->inner != NULL) {
        return portal_close_parked(self) < 0 ? NULL : Py_NewRef(Py_None);
    }
    PyObject *none =
        PyObject_CallMethodNoArgs(self->coro, twr_state_of(op)->names.close);
    portal_end(self);
    return none;
}

static void
portal_finalize(PyObject *op)
{
    Portal *self = (Portal *)op;
    PyObject *pending = twr_error_take();
    if (self->inner != NULL && portal_close_parked(self) < 0) {
        PyErr_WriteUnraisable(op);
    }
    portal_end(self);
    twr_error_put(pending);
}

static void
portal_dealloc(PyObject *op)
{
    if (PyObject_CallFinalizerFromDealloc(op) < 0) {
        return;
    }
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    if (((Portal *)op)->weakrefs != NULL) {
        PyObject_ClearWeakRefs(op);
    }
    portal_unpark((Portal *)op);
    portal_clear(op);
    type->tp_free(op);
    Py_DECREF(type);
}

void
twr_portal_end_all(Thread *th)
{
    while (th->parked != NULL) {
        Portal *self = (Portal *)Py_NewRef((PyObject *)th->parked);
        if (portal_close_parked(self) < 0) {
            PyErr_WriteUnraisable((PyObject *)self);
        }
        portal_unpark(self); /* if it will not go */
        Py_DECREF(self);
    }
}

void
twr_portal_forget_all(Thread *th)
{
    while (th->parked != NULL) {
        portal_unpark(th->parked);
    }
}

/* Where no step is under way, an exception that another library throws into a
 * parked worker, a gevent.Timeout perhaps, is for who steps its portal, since
 * to that library the coroutine is a part of it. */
PyObject *
twr_portal_stepper(Thread *th, PyObject *worker)
{
    Portal *self = th->portal == NULL ? th->parked : NULL;
    while (self != NULL && self->worker != worker && self->waits != worker) {
        self = self->older;
    }
    return self == NULL ? NULL : Py_XNewRef(self->root);
}

/* --- looking at it */

static PyObject *
portal_await(PyObject *op)
{
    return Py_NewRef(op);
}

static PyObject *
portal_repr(PyObject *op)
{
    return PyUnicode_FromFormat("<portal of %R>", ((Portal *)op)->coro);
}

static bool
parked(Portal *self)
{
    return self->inner != NULL && !self->running;
}

/* While a call is parked, the coroutine inside thinks that it runs. */
static PyObject *
portal_get_running(PyObject *op, void *closure)
{
    (void)closure;
    return parked((Portal *)op)
               ? Py_NewRef(Py_False)
               : PyObject_GetAttrString(((Portal *)op)->coro, "cr_running");
}

static PyObject *
portal_get_suspended(PyObject *op, void *closure)
{
    (void)closure;
    return parked((Portal *)op)
               ? Py_NewRef(Py_True)
               : PyObject_GetAttrString(((Portal *)op)->coro, "cr_suspended");
}

/* 3.15+; before, a coroutine has none, and so neither have we. */
static PyObject *
portal_get_state(PyObject *op, void *closure)
{
    (void)closure;
    PyObject *state = PyObject_GetAttrString(((Portal *)op)->coro, "cr_state");
    if (state != NULL && parked((Portal *)op)) {
        Py_SETREF(state, PyUnicode_FromString("CORO_SUSPENDED"));
    }
    return state;
}

static PyObject *
portal_get_await(PyObject *op, void *closure)
{
    (void)closure;
    return parked((Portal *)op)
               ? Py_NewRef(((Portal *)op)->inner)
               : PyObject_GetAttrString(((Portal *)op)->coro, "cr_await");
}

/* Everything else is asked of the coroutine inside. */
static PyObject *
portal_getattro(PyObject *op, PyObject *name)
{
    PyObject *value = PyObject_GenericGetAttr(op, name);
    if (value == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        value = PyObject_GetAttr(((Portal *)op)->coro, name);
    }
    return value;
}

static PyObject *
portal_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "hook", NULL};
    PyObject *coro, *hook = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:Portal", names, &coro,
                                     &hook)) {
        return NULL;
    }
    Portal *self = (Portal *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->coro = Py_NewRef(coro);
        self->hook = hook == Py_None ? NULL : Py_XNewRef(hook);
    }
    return (PyObject *)self;
}

static PyMethodDef portal_methods[] = {
    {"send", portal_send, METH_O, "Step the coroutine."},
    {"throw", portal_throw, METH_VARARGS, "Raise an exception inside."},
    {"close", portal_close, METH_NOARGS, "Raise GeneratorExit inside."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef portal_getset[] = {
    {"cr_running", portal_get_running, NULL, NULL, NULL},
    {"cr_suspended", portal_get_suspended, NULL, NULL, NULL},
    {"cr_state", portal_get_state, NULL, NULL, NULL},
    {"cr_await", portal_get_await, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef portal_members[] = {
    {"__weaklistoffset__", Py_T_PYSSIZET, offsetof(Portal, weakrefs),
     Py_READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot portal_slots[] = {
    {Py_tp_doc, "Portal(coro, hook=None)\n--\n\n"
                "A coroutine around another one, in which synchronous calls "
                "can wait under any loop."},
    {Py_tp_new, portal_new},
    {Py_tp_traverse, portal_traverse},
    {Py_tp_clear, portal_clear},
    {Py_tp_finalize, portal_finalize},
    {Py_tp_dealloc, portal_dealloc},
    {Py_tp_repr, portal_repr},
    {Py_tp_getattro, portal_getattro},
    {Py_tp_iternext, portal_next},
    {Py_am_await, portal_await},
    {Py_am_send, portal_am_send},
    {Py_tp_methods, portal_methods},
    {Py_tp_getset, portal_getset},
    {Py_tp_members, portal_members},
    {0, NULL},
};

PyType_Spec twr_portal_spec = {
    .name = "tworoutine._core.Portal",
    .basicsize = sizeof(Portal),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = portal_slots,
};
