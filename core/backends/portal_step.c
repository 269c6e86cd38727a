/* backends/portal_step.c - the asker's side of a portal's step. */
#include "backends/portal.h"

#include "asyncio/frames.h"
#include "asyncio/running.h"
#include "asyncio/task.h"
#include "backends/backend.h"
#include "base/hard.h"
#include "coro/awaitable.h"
#include "coro/step.h"
#include "stack/context.h"

/* Whether everything is to be passed on: a task of a loop that we can drive
 * steps self.  Twisted's asyncio reactor steps the coroutine of a Deferred in
 * plain callbacks, and what it waits for is a Deferred. */
static int
is_direct(Thread *th, Portal *self)
{
    int foreign = twr_thread_is_foreign(th->state);
    if (foreign != 0 || self->task == NULL) {
        return foreign < 0 ? -1 : 0;
    }
    int direct = twr_thread_can_drive(th, self->loop);
    return direct > 0 ? twr_frames_steps_task(th->state, self->task) : direct;
}

/* Call the hook, once. */
static int
call_hook(Portal *self)
{
    PyObject *hook = self->hook;
    self->hook = NULL;
    if (hook == NULL) {
        return 0;
    }
    self->undo = PyObject_CallNoArgs(hook);
    Py_DECREF(hook);
    return self->undo == NULL ? -1 : 0;
}

/* Before the first step: where are we, and is a worker needed? */
static int
portal_begin(Thread *th, Portal *self)
{
    self->begun = true;
    self->loop = twr_running_loop(th->state);
    if (self->loop == NULL) {
        return -1;
    }
    if (self->loop != Py_None) {
        self->task = twr_task_current(th->state, self->loop);
        if (self->task == NULL && PyErr_Occurred()) {
            return -1;
        }
    }
    int direct = is_direct(th, self);
    if (direct < 0) {
        return -1;
    }
    self->direct = direct;
    if (direct) {
        Py_CLEAR(self->task); /* which keeps self */
    }
    return call_hook(self);
}

void
twr_portal_end(Portal *self)
{
    PyObject *undo = self->undo;
    self->undo = NULL;
    Py_CLEAR(self->task);
    twr_backend_undo(undo);
}

/* A step of self, on worker, begins. */
static void
portal_link(Thread *th, Portal *self, PyObject *worker)
{
    self->step.outer = th->portals.stepped;
    th->portals.stepped = self;
    self->step.active = th->stacks.active;
    th->stacks.active = Py_NewRef(worker);
    self->running = true;
}

/* The step of self has ended, perhaps before a later one, which then takes
 * over the active greenlet that the step of self found. */
static void
portal_unlink(Thread *th, Portal *self)
{
    Portal **link = &th->portals.stepped;
    PyObject **active = &th->stacks.active;
    while (*link != self) {
        active = &(*link)->step.active;
        link = &(*link)->step.outer;
    }
    *link = self->step.outer;
    self->step.outer = NULL;
    PyObject *found = self->step.active;
    self->step.active = NULL;
    self->running = false;
    Py_XSETREF(*active, found);
}

/* Let worker run, in the contexts of the running greenlet, until it leaves a
 * result.  Switches. */
static int
portal_switch(Thread *th, Portal *self, PyObject *worker)
{
    PyObject *left;
    if (twr_context_leave(th->state, &left) < 0) {
        return -1;
    }
    /* The thread's own context, which nobody entered, if none was left. */
    Py_XSETREF(self->step.contexts,
               left != NULL ? Py_NewRef(left) : twr_context_current());
    if (self->step.contexts == NULL) {
        return -1; /* out of memory, and none was left */
    }
    portal_link(th, self, worker);
    self->step.depth_left = twr_python_depth_left();
    int result = twr_pool_switch(
        &th->stacks, Py_NewRef(self->waits != NULL ? self->waits : worker));
    portal_unlink(th, self);
    if (twr_context_enter(left) < 0) {
        result = -1;
    }
    Py_XDECREF(left);
    Py_CLEAR(self->step.contexts);
    return result;
}

/* Pass a step on to the coroutine inside.  Switches. */
static PySendResult
step_directly(TwrState *state, Portal *self, PyObject *value, PyObject **error,
              PyObject **result)
{
    PySendResult how = *error != NULL
                           ? twr_step_throw(state, self->coro, error, result)
                           : PyIter_Send(self->coro, value, result);
    if (how != PYGEN_NEXT) {
        twr_portal_end(self);
    }
    return how;
}

/* Whether self, begun, can be stepped in this thread, and in which loop. */
static int
check_step(Thread *th, Portal *self)
{
    if (self->task == NULL) {
        /* Begun, perhaps, before that loop was started. */
        PyObject *loop = twr_running_loop(th->state);
        if (loop == NULL) {
            return -1;
        }
        Py_XSETREF(self->loop, loop);
    }
    if (self->inner != NULL && self->thread != th) {
        PyErr_Format(PyExc_RuntimeError,
                     "a synchronous call waits in %R, which was begun in "
                     "another thread",
                     (PyObject *)self);
        return -1;
    }
    return 0;
}

/* Have a worker make the step.  Switches. */
static PySendResult
step_on_worker(Thread *th, Portal *self, PyObject *value, PyObject **error,
               PyObject **result)
{
    PySendResult how = PYGEN_ERROR;
    if (self->worker == NULL) {
        self->worker = twr_pool_worker(&th->stacks);
    }
    PyObject *worker = Py_XNewRef(self->worker);
    PyObject *me = worker == NULL ? NULL : twr_greenlet_current();
    if (me != NULL) {
        Py_XSETREF(self->step.asker, me);
        Py_XSETREF(self->step.value, Py_NewRef(value));
        Py_XSETREF(self->step.error, *error);
        *error = NULL;
        self->step.result = PYGEN_ERROR;
        Py_INCREF(self);
        int switched = portal_switch(th, self, worker);
        while (TWR_IS_HARD && switched == 0 &&
               self->step.result == PYGEN_NEXT && self->step.value == NULL) {
            /* A call has only left the stack for the exercise. */
            self->step.value = Py_NewRef(Py_None);
            switched = portal_switch(th, self, worker);
        }
        if (switched == 0) {
            how = self->step.result;
            *result = self->step.value;
            self->step.value = NULL;
            if (how == PYGEN_ERROR) {
                twr_raise(&self->step.error);
            }
        }
        Py_DECREF(self);
    }
    Py_XDECREF(worker);
    return how;
}

/* Have a worker make the step, some levels deeper.  Switches. */
static PySendResult
step_deeper(Thread *th, Portal *self, PyObject *value, PyObject **error,
            PyObject **result)
{
    if (check_step(th, self) < 0 || Py_EnterRecursiveCall(" in a portal")) {
        return PYGEN_ERROR;
    }
    PySendResult how = step_on_worker(th, self, value, error, result);
    Py_LeaveRecursiveCall();
    if (how != PYGEN_NEXT) {
        twr_portal_end(self);
    }
    return how;
}

PySendResult
twr_portal_step(Portal *self, PyObject *value, PyObject **error,
                PyObject **result)
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
        twr_portal_end(self);
        twr_close_awaitable(state, self->coro);
        return PYGEN_ERROR;
    }
    return self->direct ? step_directly(state, self, value, error, result)
                        : step_deeper(th, self, value, error, result);
}

/* Raise GeneratorExit in the call that is parked.  Switches. */
static int
throw_exit(Portal *self)
{
    PyObject *result;
    PyObject *exc = PyObject_CallNoArgs(PyExc_GeneratorExit);
    if (exc == NULL) {
        return -1;
    }
    PySendResult how = twr_portal_step(self, Py_None, &exc, &result);
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

/* throw_exit() for a call in an eager task: that ends where it was made, in a
 * loop that may not run now.  Switches. */
static int
close_eager(TwrState *state, Portal *self, PyObject *loop)
{
    PyObject *running = twr_running_loop(state);
    if (running == NULL) {
        return -1;
    }
    PyObject *task = NULL;
    int result = twr_running_set(state, loop);
    if (result == 0) {
        task = twr_task_current(state, loop);
        result = task == NULL && PyErr_Occurred() ? -1 : throw_exit(self);
        if (twr_task_become(state, loop, task) < 0) {
            result = -1;
        }
        if (twr_running_set(state, running) < 0) {
            result = -1;
        }
    }
    Py_XDECREF(task);
    Py_DECREF(running);
    return result;
}

int
twr_portal_close_parked(Portal *self)
{
    if (!self->eager) {
        return throw_exit(self);
    }
    PyObject *loop = Py_NewRef(self->loop);
    int result = close_eager(twr_state_of((PyObject *)self), self, loop);
    Py_DECREF(loop);
    return result;
}

void
twr_portal_end_all(Thread *th)
{
    while (th->portals.parked != NULL) {
        Portal *self = (Portal *)Py_NewRef((PyObject *)th->portals.parked);
        twr_report(twr_portal_close_parked(self), (PyObject *)self);
        twr_portal_unpark(self); /* if it will not go */
        Py_DECREF(self);
    }
}
