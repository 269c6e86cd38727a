/* stack/pool.c - hub, drivers and workers: who starts them, where they idle.
 *
 *     wanted       from the pool            if none idles there
 *     a driver     idle[], on the footing   the hub starts one for requester
 *                  of now
 *     a worker     workers[]                the hub starts it, as relay
 *
 * A driver or worker whose work is done idles; if the pool is full, its
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

/* A driver's life.  Between two drives a driver idles, or its life is over.
 * Switches. */
static int
driver_life(TwrStacks *st, PyObject *footing)
{
    PyObject *me = twr_greenlet_running();
    Py_CLEAR(st->target);
    Py_CLEAR(st->requester);
    while (!st->closing && st->retiring != me) {
        twr_switch_set_active(st, me);
        PyObject *next = twr_stack_jobs.drive(st);
        if (next == NULL) {
            return -1;
        }
        if (st->n_idle == TWR_IDLE_MAX) {
            st->relay = next; /* our parent, the hub, goes on there */
            Py_XSETREF(st->target, Py_NewRef(st->hub));
            return 0;
        }
        st->idle_footing[st->n_idle] = footing;
        st->idle[st->n_idle++] = Py_NewRef(me);
        if (next != st->active && st->hub != NULL) {
            /* A greenlet of somebody else: the hub holds that, not we. */
            Py_XSETREF(st->relay, next);
            next = Py_NewRef(st->hub);
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
live_as_driver(PyObject *footing, PyObject *args)
{
    (void)args;
    PyThreadState_LeaveTracing(PyThreadState_Get());
    int ended = driver_life(these_stacks, footing);
    PyThreadState_EnterTracing(PyThreadState_Get());
    if (ended == 0) {
        twr_greenlet_exit();
    }
    return NULL;
}

static PyMethodDef live_as_driver_def = {"live", live_as_driver, METH_VARARGS,
                                         NULL};

/* What a driver's greenlet runs.  Signals are handled, too, as the frames of
 * the footing begin: if a handler raises an exception, the driver never lives.
 */
static PyObject *
driver_main(PyObject *footing, PyObject *args)
{
    (void)args;
    TWR_NO_UNWINDING(inside);
    TwrStacks *st = these_stacks;
    st->n_drivers++;
    twr_data_stack_begin(&st->chunks);
    PyThreadState_EnterTracing(PyThreadState_Get());
    PyObject *call = PyCFunction_New(&live_as_driver_def, footing);
    PyObject *result = call == NULL ? NULL : twr_footing_run(footing, call);
    Py_XDECREF(call);
    PyThreadState_LeaveTracing(PyThreadState_Get());
    twr_data_stack_end(&st->chunks);
    st->n_drivers--;
    inside = false;
    return result;
}

static PyMethodDef driver_def = {"driver", driver_main, METH_VARARGS, NULL};

/* Make a driver and switch to it.  Switches. */
static int
start_driver(TwrStacks *st)
{
    if (st->footings[0] == NULL) {
        twr_stack_jobs.stand(st); /* no memory to look like the native one */
    }
    PyObject *run = st->footings[0] == NULL
                        ? PyErr_NoMemory()
                        : PyCFunction_New(&driver_def, st->footings[0]);
    PyObject *driver = run == NULL ? NULL : twr_greenlet_new(run, NULL);
    Py_XDECREF(run);
    return driver == NULL ? -1 : twr_switch_to(st, driver);
}

/* There is no driver: whoever has asked for one raises the pending exception,
 * which shows no frame of a footing.  Switches. */
static int
refuse_driver(TwrStacks *st)
{
    PyObject *exc = twr_error_take();
    PyTracebackObject *first =
        (PyTracebackObject *)PyException_GetTraceback(exc);
    PyTracebackObject *rest = twr_footing_leave(st->footings[0], first);
    if (rest != NULL) {
        PyException_SetTraceback(exc, (PyObject *)rest);
    }
    Py_XDECREF(first);
    if (st->requester == NULL) {
        PyErr_SetRaisedException(exc); /* a driver that lived has failed */
        return -1;
    }
    Py_XSETREF(st->no_driver, exc);
    PyObject *requester = st->requester;
    st->requester = NULL;
    return twr_switch_to(st, requester);
}

/* The hub's life: start a worker, or go on for a driver that has ended (both
 * are relay), or start a driver.  Switches. */
static PyObject *
hub_life(TwrStacks *st)
{
    Py_CLEAR(st->target);
    twr_reset_python_depth();
    while (!st->closing) {
        PyObject *next = st->relay;
        st->relay = NULL;
        int back = next != NULL ? twr_switch_to(st, next) : start_driver(st);
        if (back < 0 && next == NULL) {
            back = refuse_driver(st);
        }
        if (back < 0) {
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
    if (result == NULL && !st->closing) {
        Py_CLEAR(st->hub); /* who needs one next makes another hub */
    }
    inside = false;
    return result;
}

static PyMethodDef hub_def = {"hub", hub_main, METH_VARARGS, NULL};

/* A greenlet that goes on in the thread's first one once it has ended. */
static PyObject *
new_above_first(PyMethodDef *run_def)
{
    PyObject *run = PyCFunction_New(run_def, NULL);
    PyObject *first = run == NULL ? NULL : twr_greenlet_first();
    PyObject *made = first == NULL ? NULL : twr_greenlet_new(run, first);
    Py_XDECREF(run);
    Py_XDECREF(first);
    return made;
}

/* Make the hub, if there is none. */
static int
ensure_hub(TwrStacks *st)
{
    these_stacks = st; /* for what begins in the hub from now on */
    if (st->hub != NULL) {
        return 0;
    }
    /* 3.11 may collect meanwhile, and a finalizer make a call. */
    int collects = PyGC_Disable();
    st->hub = new_above_first(&hub_def);
    if (collects) {
        PyGC_Enable();
    }
    return st->hub == NULL ? -1 : 0;
}

/* A worker's life.  Between two steps a worker idles, or its life is over.
 * Switches. */
static PyObject *
worker_life(TwrStacks *st)
{
    PyObject *me = twr_greenlet_running();
    Py_CLEAR(st->target);
    while (!st->closing) {
        PyObject *asker = twr_stack_jobs.work(st, me);
        if (st->n_workers == TWR_IDLE_MAX) {
            int set = twr_greenlet_set_parent(me, asker);
            Py_XSETREF(st->target, asker);
            return set < 0 ? NULL : Py_NewRef(Py_None);
        }
        st->workers[st->n_workers++] = Py_NewRef(me);
        if (twr_switch_to(st, asker) < 0) {
            return NULL;
        }
    }
    Py_RETURN_NONE;
}

/* What a worker's greenlet runs.  Switches. */
static PyObject *
worker_main(PyObject *module, PyObject *args)
{
    (void)module;
    (void)args;
    TWR_NO_UNWINDING(inside);
    TwrStacks *st = these_stacks;
    twr_data_stack_begin(&st->chunks);
    PyObject *result = worker_life(st);
    twr_data_stack_end(&st->chunks);
    inside = false;
    return result;
}

static PyMethodDef worker_def = {"worker", worker_main, METH_VARARGS, NULL};

PyObject *
twr_pool_worker(TwrStacks *st)
{
    return st->n_workers > 0 ? st->workers[--st->n_workers]
                             : new_above_first(&worker_def);
}

int
twr_pool_work(TwrStacks *st, PyObject *greenlet)
{
    if (twr_greenlet_is_started(greenlet)) {
        return twr_switch_to(st, Py_NewRef(greenlet));
    }
    if (ensure_hub(st) < 0) {
        return -1;
    }
    Py_XSETREF(st->relay, Py_NewRef(greenlet));
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

/* Take the idle driver with this number. */
static PyObject *
take_idle(TwrStacks *st, int i)
{
    PyObject *driver = st->idle[i];
    st->n_idle--;
    st->idle[i] = st->idle[st->n_idle];
    st->idle_footing[i] = st->idle_footing[st->n_idle];
    return driver;
}

/* A driver that has idled on the footing of now; NULL: none. */
static PyObject *
find_idle(TwrStacks *st)
{
    for (int i = st->n_idle - 1; i >= 0; i--) {
        if (st->idle_footing[i] == st->footings[0]) {
            return take_idle(st, i);
        }
    }
    return NULL;
}

/* End the idle driver with this number.  Switches. */
static void
end_idle(TwrStacks *st, int i)
{
    PyObject *driver = take_idle(st, i);
    st->retiring = driver; /* no call is made until then: await.c */
    twr_switch_end(st, driver);
    st->retiring = NULL;
}

/* Make room for a driver on the footing of now, on which none idles: end those
 * that stand on no recent footing, and one more if there are so many, busy
 * ones too, that not all could idle.  Switches. */
static void
make_room(TwrStacks *st)
{
    for (int i = st->n_idle - 1; i >= 0; i--) {
        if (i < st->n_idle && !is_recent(st, st->idle_footing[i])) {
            end_idle(st, i);
        }
    }
    if (st->n_idle > 0 && st->n_drivers >= TWR_IDLE_MAX) {
        end_idle(st, 0);
    }
}

int
twr_pool_park(TwrStacks *st)
{
    PyObject *driver = find_idle(st);
    twr_data_stack_trim(&st->chunks);
    if (driver != NULL) {
        return twr_switch_to(st, driver);
    }
    make_room(st);
    if (ensure_hub(st) < 0) {
        return -1;
    }
    Py_XSETREF(st->requester, Py_XNewRef(twr_greenlet_running()));
    int back = twr_switch_to(st, Py_NewRef(st->hub));
    if (back == 0 && st->no_driver != NULL) {
        return twr_raise(&st->no_driver);
    }
    return back;
}

void
twr_pool_end(TwrStacks *st)
{
    st->closing = true;
    while (st->n_workers > 0) {
        twr_switch_end(st, st->workers[--st->n_workers]);
    }
    while (st->n_idle > 0) {
        twr_switch_end(st, st->idle[--st->n_idle]);
    }
    if (st->hub != NULL) {
        PyObject *hub = st->hub;
        st->hub = NULL;
        twr_switch_end(st, hub);
    }
    st->closing = false;
}
