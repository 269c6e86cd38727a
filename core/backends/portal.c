/* backends/portal.c - the worker's side of a portal's step, and the backend.
 */
#include "backends/portal.h"

#include "asyncio/future.h"
#include "asyncio/task.h"
#include "backends/backend.h"
#include "base/list.h"
#include "coro/awaitable.h"
#include "coro/step.h"
#include "engine/park.h"
#include "stack/context.h"

_Static_assert(offsetof(Portal, begun) == offsetof(TwrSteppable, begun),
               "a Portal begins as a TwrSteppable does");

/* The portal being stepped of which greenlet is the worker; or NULL.  Usually
 * that is the latest; but who switches greenlets by hand in the middle of a
 * step, or has gevent do so, may begin and end steps in any order. */
static Portal *
find_portal(Thread *th, PyObject *greenlet)
{
    Portal *self = th->portals.stepped;
    while (self != NULL && self->worker != greenlet) {
        self = self->step.outer;
    }
    return self;
}

PyObject *
twr_portal_work(Thread *th, PyObject *worker)
{
    Portal *self = find_portal(th, worker);
    PyObject *contexts = self->step.contexts;
    self->step.contexts = NULL;
    Py_XSETREF(self->lowest, Py_XNewRef(contexts));
    /* Should this stack be left for ever, the coroutine on it must live. */
    PyObject *coro = Py_NewRef(self->coro);
    PyObject *value = self->step.value, *error = self->step.error;
    self->step.value = self->step.error = NULL;
    twr_set_python_depth_left(self->step.depth_left);
    if (twr_context_enter(contexts) < 0) {
        self->step.result = PYGEN_ERROR;
    }
    else if (error != NULL) {
        self->step.result =
            twr_step_throw(th->state, coro, &error, &self->step.value);
    }
    else {
        self->step.result = PyIter_Send(coro, value, &self->step.value);
    }
    if (self->step.result == PYGEN_ERROR) {
        self->step.error = twr_error_take();
    }
    Py_XDECREF(contexts);
    Py_XDECREF(value);
    Py_XDECREF(error);
    twr_report(twr_context_leave(th->state, &contexts), coro);
    Py_XDECREF(contexts);
    Py_DECREF(coro);
    Py_CLEAR(self->worker);
    PyObject *asker = self->step.asker;
    self->step.asker = NULL;
    return asker;
}

/* Put self in front of the list of those with a call parked, that of place:
 * iterator has yielded what it waits for. */
static void
portal_park(TwrPlace *place, Portal *self, PyObject *iterator,
            PyObject *yielded)
{
    Thread *th = place->th;
    self->inner = Py_NewRef(iterator);
    self->callee = place->callee;
    self->yielded = yielded;
    self->since = twr_place_since(place);
    self->thread = th;
    TWR_LIST_ADD(&th->portals.parked, self);
}

void
twr_portal_unpark(Portal *self)
{
    TWR_LIST_REMOVE(self);
    self->thread = NULL;
}

/* 1: *self is the portal in a step of which this code is, on the worker or on
 * another greenlet that the step has switched to; 0: in none; -1: error. */
static int
find_portal_of_step(Thread *th, Portal **self)
{
    if (th->portals.stepped == NULL) {
        return 0;
    }
    PyObject *me = twr_greenlet_running();
    *self = me == NULL ? NULL : find_portal(th, me);
    if (me == NULL || *self != NULL || th->stacks.active == NULL) {
        return me == NULL ? -1 : *self != NULL;
    }
    int above = twr_switch_is_above(&th->stacks, th->stacks.active);
    if (above > 0) {
        above = twr_switch_may_leave(th->state, NULL);
    }
    *self = above > 0 ? find_portal(th, th->stacks.active) : NULL;
    return above < 0 ? -1 : *self != NULL;
}

int
twr_portal_here(Thread *th, PyObject *loop, PyObject **eager)
{
    Portal *self;
    int found = find_portal_of_step(th, &self);
    if (found <= 0) {
        return found;
    }
    bool here = self->loop == loop;
    if (!here || loop == Py_None) {
        return here;
    }
    PyObject *task = twr_task_current(th->state, loop);
    if (task == NULL && PyErr_Occurred()) {
        return -1;
    }
    if (task == self->task) {
        Py_XDECREF(task);
        return 1;
    }
    if (task == NULL || self->task == NULL) {
        Py_XDECREF(task);
        return 0;
    }
    *eager = task;
    return 1;
}

int
twr_portal_look_stepped(Thread *th)
{
    Portal *self;
    return find_portal_of_step(th, &self);
}

/* below was left in greenlets that wait for the one of the call; if the last
 * of them is the worker, have its outermost context be now, that of the step
 * that goes on. */
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

/* Enter what was left again, in the step that goes on.  Keeps a pending
 * exception; -1: it has failed. */
static int
enter_step(Portal *self, TwrLeft *left)
{
    PyObject *pending = twr_error_take();
    PyObject *now = self->step.contexts;
    self->step.contexts = NULL;
    Py_CLEAR(self->waits);
    int result = left->below != NULL
                     ? rebase_below(self, left->below, now)
                     : twr_context_rebase(&left->own, self->lowest, now);
    if (twr_park_enter(left) < 0) {
        result = -1;
    }
    if (now != NULL) {
        Py_XSETREF(self->lowest, now);
    }
    twr_error_put(pending);
    return result;
}

PyObject *
twr_portal_stray(Thread *th, PyObject *greenlet)
{
    Portal *self = th->portals.stepped == NULL ? th->portals.parked : NULL;
    while (self != NULL && self->worker != greenlet &&
           self->waits != greenlet) {
        self = self->older;
    }
    return self == NULL ? NULL : Py_XNewRef(self->step.asker);
}

void
twr_portal_forget_all(Thread *th)
{
    while (th->portals.parked != NULL) {
        twr_portal_unpark(th->portals.parked);
    }
}

/* Leave a result in self, and wait for the next step.  Switches. */
static int
yield_in_step(TwrPlace *place, Portal *self, PyObject *iterator,
              PyObject *yielded)
{
    Thread *th = place->th;
    TwrLeft left = {NULL, NULL};
    PyObject *me = twr_greenlet_running();
    if (me == NULL || twr_park_leave(th->state, place->callee, me,
                                     self->worker, &left) < 0) {
        return -1;
    }
    if (me != self->worker) {
        Py_XSETREF(self->waits, Py_NewRef(me));
    }
    portal_park(place, self, iterator, yielded);
    self->step.result = PYGEN_NEXT;
    self->step.value = Py_XNewRef(yielded); /* NULL: bounced */
    int result = twr_switch_to(&th->stacks, Py_NewRef(self->step.asker));
    twr_portal_unpark(self);
    Py_CLEAR(self->inner);
    return enter_step(self, &left) < 0 ? -1 : result;
}

/* yield_in_step() for a call in the first step of an eager task, which looks
 * suspended meanwhile; who cancels that cancels what it waits for.
 * Switches. */
static int
yield_in_eager(TwrPlace *place, Portal *self, PyObject *iterator,
               PyObject *yielded)
{
    TwrState *state = place->th->state;
    PyObject *task = place->who;
    int is_future = yielded == NULL ? 0 : twr_future_check(state, yielded);
    PyObject *future = is_future > 0 ? Py_NewRef(yielded) : NULL;
    int result = is_future < 0 ? -1 : twr_task_suspend(state, task, future);
    if (result == 0) {
        result = twr_task_become(state, self->loop, self->task);
    }
    if (result == 0) {
        self->eager = true;
        result = yield_in_step(place, self, iterator, yielded);
        self->eager = false;
        if (twr_task_become(state, self->loop, task) < 0) {
            result = -1;
        }
    }
    twr_task_resume(state, task, future);
    Py_XDECREF(future);
    return result < 0 ? -1
                      : twr_task_take_cancel(state, task, &self->step.error);
}

/* Switches. */
static int
hold_portal(TwrPlace *place, PyObject *iterator, PyObject *yielded,
            PyObject **sent, PyObject **error)
{
    Thread *th = place->th;
    Portal *self;
    int found = find_portal_of_step(th, &self);
    if (found <= 0) {
        if (found == 0) {
            PyErr_SetString(PyExc_RuntimeError,
                            "the step of the portal in which this call was "
                            "made has ended without it");
        }
        return -1;
    }
    int result = place->who == NULL
                     ? yield_in_step(place, self, iterator, yielded)
                     : yield_in_eager(place, self, iterator, yielded);
    *sent = self->step.value;
    *error = self->step.error;
    self->step.value = self->step.error = NULL;
    return result;
}

static int
find_portal_here(TwrPlace *place)
{
    int here = twr_portal_here(place->th, place->loop, &place->who);
    return place->who != NULL && twr_place_check_task(place) < 0 ? -1 : here;
}

/* Switches. */
static int
bounce_portal(TwrPlace *place)
{
    PyObject *sent = NULL, *error = NULL;
    int result = hold_portal(place, Py_None, NULL, &sent, &error);
    Py_XDECREF(sent);
    Py_XDECREF(error);
    return result;
}

/* What is yielded is for the loop of the portal to judge. */
const TwrBackend twr_portal_backend = {
    .name = "portal",
    .where = WHERE_stepped,
    .takes = TAKES_ITERATOR,
    .find = find_portal_here,
    .hold = hold_portal,
    .bounce = bounce_portal,
};
