/* stack/pool.c - hub, drivers and workers: who starts them, where they idle.
 *
 *     wanted       from its pool               if none idles there
 *     a driver     one on the footing of now   a new one, above the hub
 *     a worker     any one                     a new one, above the first
 *
 * What is new begins in the hub: as relay, to which that switches.
 *
 * A driver or worker whose work is done idles; if its pool is full, its
 * greenlet ends: a driver's in the hub, which goes on to relay, a worker's in
 * who has asked for its last step. */
#include "stack/stacks.h"

#ifndef _WIN32
#include <unistd.h>
#endif

/* The stacks of the running thread, for what begins in a greenlet. */
static _Thread_local TwrStacks *these_stacks;

/* Until 3.14, a daemon thread that asks for the GIL of an interpreter that is
 * ending is ended by pthread_exit(), which unwinds its stack.  At the bottom
 * of our greenlets are greenlet's own frames, and their destructors drop
 * references without the GIL.  So the thread hangs here, as 3.14 lets it. */
#if defined(__GNUC__) && !defined(_WIN32)
static void
hang_while(const bool *inside)
{
    while (*inside) {
        pause();
    }
}

#define TWR_NO_UNWINDING(inside)                                              \
    __attribute__((cleanup(hang_while))) bool inside = true
#else
#define TWR_NO_UNWINDING(inside) bool inside = true
#endif

/* The pool of who stands on footing; NULL: of the workers.  Quiet. */
static TwrPool *
pool_of(TwrStacks *st, PyObject *footing)
{
    return footing != NULL ? &st->drivers : &st->workers;
}

/* A driver's life, or a worker's: one drive, or step, after the other.
 * Between two of them it idles, or its life is over.  Switches. */
static int
live(TwrStacks *st, PyObject *footing)
{
    PyObject *me = twr_greenlet_running();
    TwrPool *pool = pool_of(st, footing);
    Py_CLEAR(st->target);
    if (footing != NULL) {
        Py_CLEAR(st->requester);
    }
    Py_CLEAR(st->relayed);
    while (st->ending != me) {
        twr_switch_set_active(st, me);
        PyObject *next = footing != NULL ? twr_stack_jobs.drive(st)
                                         : twr_stack_jobs.work(st, me);
        if (next == NULL) {
            return -1;
        }
        bool full = pool->n_idle == TWR_IDLE_MAX;
        if (!full) {
            pool->idle[pool->n_idle].footing = footing;
            pool->idle[pool->n_idle++].greenlet = Py_NewRef(me);
        }
        if (footing != NULL && (full || next != st->active) &&
            st->hub != NULL) {
            /* A greenlet of somebody else: the hub holds that, not we. */
            Py_XSETREF(st->relay, next);
            next = Py_NewRef(st->hub);
        }
        if (full) {
            Py_XSETREF(st->target, next);
            return twr_greenlet_set_parent(me, next);
        }
        if (twr_switch_to(st, next) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Called by the innermost frame of a driver's footing, none of which is
 * traced. Ends by an exception, which greenlet takes for an ordinary end:
 * after a call that returns, signals are handled, and what a handler raises
 * would get to the hub.  Switches. */
static PyObject *
live_traced(PyObject *footing, PyObject *args)
{
    (void)args;
    PyThreadState_LeaveTracing(PyThreadState_Get());
    int ended = live(these_stacks, footing);
    PyThreadState_EnterTracing(PyThreadState_Get());
    if (ended == 0) {
        twr_greenlet_exit();
    }
    return NULL;
}

static PyMethodDef live_def = {"live", live_traced, METH_VARARGS, NULL};

/* What the greenlet of a driver or a worker runs.  Signals are handled, too,
 * as the frames of the footing begin: if a handler raises an exception, the
 * driver never lives.  Switches. */
static PyObject *
pool_main(PyObject *footing, PyObject *args)
{
    TWR_NO_UNWINDING(inside);
    TwrStacks *st = these_stacks;
    pool_of(st, footing)->n_all++;
    twr_data_stack_begin(&st->chunks);
    PyThreadState_EnterTracing(PyThreadState_Get());
    PyObject *call =
        footing == NULL ? NULL : PyCFunction_New(&live_def, footing);
    PyObject *result = footing == NULL ? live_traced(NULL, args)
                       : call == NULL  ? NULL
                                       : twr_footing_run(footing, call);
    Py_XDECREF(call);
    PyThreadState_LeaveTracing(PyThreadState_Get());
    twr_data_stack_end(&st->chunks);
    pool_of(st, footing)->n_all--;
    inside = false;
    return result;
}

static PyMethodDef pool_def = {"live", pool_main, METH_VARARGS, NULL};

/* There is no driver: whoever has asked for one is relay now, and raises the
 * pending exception, which shows no frame of a footing. */
static int
refuse_driver(TwrStacks *st)
{
    PyObject *exc = twr_error_take();
    PyTracebackObject *first =
        (PyTracebackObject *)PyException_GetTraceback(exc);
    PyTracebackObject *rest = st->footings[0] == NULL
                                  ? NULL
                                  : twr_footing_leave(st->footings[0], first);
    if (rest != NULL) {
        PyException_SetTraceback(exc, (PyObject *)rest);
    }
    Py_XDECREF(first);
    if (st->requester == NULL) {
        PyErr_SetRaisedException(exc); /* a driver that lived has failed */
        return -1;
    }
    Py_XSETREF(st->no_driver, exc);
    Py_XSETREF(st->relay, st->requester);
    st->requester = NULL;
    return 0;
}

/* The hub's life: one relay after the other.  Switches. */
static PyObject *
hub_life(TwrStacks *st)
{
    PyObject *me = twr_greenlet_running();
    Py_CLEAR(st->target);
    twr_reset_python_depth();
    while (st->ending != me) {
        PyObject *next = st->relay;
        st->relay = NULL;
        PyObject *held = Py_NewRef(next); /* its end may run code: not here */
        int back = twr_switch_to(st, next);
        Py_XSETREF(st->relayed, held);
        if (back < 0 && refuse_driver(st) < 0) {
            return NULL;
        }
    }
    Py_RETURN_NONE;
}

/* What the hub's greenlet runs.  Switches. */
static PyObject *
hub_main(PyObject *module, PyObject *args)
{
    (void)module;
    (void)args;
    TWR_NO_UNWINDING(inside);
    TwrStacks *st = these_stacks;
    PyObject *result = hub_life(st);
    if (result == NULL) {
        Py_CLEAR(st->hub); /* who needs one next makes another hub */
    }
    inside = false;
    return result;
}

static PyMethodDef hub_def = {"hub", hub_main, METH_VARARGS, NULL};

/* A greenlet that is to run this; once it has ended, a driver goes on in the
 * hub, and all others in the thread's first greenlet. */
static PyObject *
new_greenlet(TwrStacks *st, PyMethodDef *run_def, PyObject *footing)
{
    /* 3.11 may collect meanwhile, and a finalizer make a call. */
    int collects = PyGC_Disable();
    PyObject *run = PyCFunction_New(run_def, footing);
    PyObject *parent =
        footing != NULL ? Py_NewRef(st->hub) : twr_greenlet_first();
    PyObject *made =
        run == NULL || parent == NULL ? NULL : twr_greenlet_new(run, parent);
    Py_XDECREF(run);
    Py_XDECREF(parent);
    if (collects) {
        PyGC_Enable();
    }
    return made;
}

/* Make the hub, if there is none. */
static int
ensure_hub(TwrStacks *st)
{
    these_stacks = st; /* for what begins in the hub from now on */
    if (st->hub == NULL) {
        st->hub = new_greenlet(st, &hub_def, NULL);
    }
    return st->hub == NULL ? -1 : 0;
}

/* A driver for the footing of now. */
static PyObject *
new_driver(TwrStacks *st)
{
    if (st->footings[0] == NULL) {
        twr_stack_jobs.stand(st); /* no memory to look like the native one */
    }
    if (st->footings[0] == NULL) {
        return PyErr_NoMemory();
    }
    return ensure_hub(st) < 0 ? NULL
                              : new_greenlet(st, &pool_def, st->footings[0]);
}

/* Take the one with this number out of pool. */
static PyObject *
take(TwrPool *pool, int i)
{
    PyObject *greenlet = pool->idle[i].greenlet;
    pool->idle[i] = pool->idle[--pool->n_idle];
    return greenlet;
}

/* One that idles on footing; NULL: none does. */
static PyObject *
take_from(TwrPool *pool, PyObject *footing)
{
    for (int i = pool->n_idle - 1; i >= 0; i--) {
        if (pool->idle[i].footing == footing) {
            return take(pool, i);
        }
    }
    return NULL;
}

PyObject *
twr_pool_worker(TwrStacks *st)
{
    PyObject *worker = take_from(&st->workers, NULL);
    return worker != NULL ? worker : new_greenlet(st, &pool_def, NULL);
}

int
twr_pool_switch(TwrStacks *st, PyObject *greenlet)
{
    if (twr_greenlet_is_started(greenlet)) {
        return twr_switch_to(st, greenlet);
    }
    if (ensure_hub(st) < 0) {
        Py_DECREF(greenlet);
        return -1;
    }
    Py_XSETREF(st->relay, greenlet);
    int result = twr_switch_to(st, Py_NewRef(st->hub));
    Py_CLEAR(st->relay); /* if the switch has failed */
    return result;
}

void
twr_pool_stand_on(TwrStacks *st, PyObject *footing)
{
    int last = 0;
    while (last < TWR_FOOTINGS - 1 && st->footings[last] != NULL &&
           st->footings[last] != footing) {
        last++;
    }
    PyObject *gone = st->footings[last];
    memmove(st->footings + 1, st->footings, last * sizeof(*st->footings));
    st->footings[0] = footing;
    Py_XDECREF(gone);
}

/* Whether drivers have stood on footing of late. */
static bool
is_recent(TwrStacks *st, PyObject *footing)
{
    int i = 0;
    while (i < TWR_FOOTINGS && st->footings[i] != footing) {
        i++;
    }
    return i < TWR_FOOTINGS;
}

/* Make room for a driver on the footing of now, on which none idles: end those
 * that stand on no recent footing, and one more if there are so many, busy
 * ones too, that not all could idle.  Switches. */
static void
make_room(TwrStacks *st)
{
    TwrPool *pool = &st->drivers;
    for (int i = pool->n_idle - 1; i >= 0; i--) {
        if (i < pool->n_idle && !is_recent(st, pool->idle[i].footing)) {
            twr_switch_end(st, take(pool, i));
        }
    }
    if (pool->n_idle > 0 && pool->n_all >= TWR_IDLE_MAX) {
        twr_switch_end(st, take(pool, 0));
    }
}

int
twr_pool_park(TwrStacks *st)
{
    PyObject *driver = take_from(&st->drivers, st->footings[0]);
    twr_data_stack_trim(&st->chunks);
    if (driver != NULL) {
        return twr_switch_to(st, driver);
    }
    make_room(st);
    driver = new_driver(st);
    if (driver == NULL) {
        return -1;
    }
    Py_XSETREF(st->requester, Py_XNewRef(twr_greenlet_running()));
    int back = twr_pool_switch(st, driver);
    if (back == 0 && st->no_driver != NULL) {
        return twr_raise(&st->no_driver);
    }
    if (back < 0) { /* nobody waits any more */
        Py_CLEAR(st->requester);
        Py_CLEAR(st->no_driver);
    }
    return back;
}

void
twr_pool_end(TwrStacks *st)
{
    while (st->workers.n_idle > 0) {
        twr_switch_end(st, take(&st->workers, st->workers.n_idle - 1));
    }
    while (st->drivers.n_idle > 0) {
        twr_switch_end(st, take(&st->drivers, st->drivers.n_idle - 1));
    }
    if (st->hub != NULL) {
        PyObject *hub = st->hub;
        st->hub = NULL;
        twr_switch_end(st, hub);
    }
    Py_CLEAR(st->relayed);
}
