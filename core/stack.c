/* stack.c - the only door to greenlet: other C stacks for this thread.
 *
 * Four kinds of greenlets are ours:
 *
 *     hub       one a thread.  It starts drivers and workers, so that their
 *               stacks begin at its shallow depth and not at that of the call
 *               that parks or of the portal that is stepped.
 *     drivers   a pool.  Each runs driver_main: drive the loop until somebody
 *               else has to run, switch there, wait until needed again.
 *     workers   another pool.  Each runs worker_main: one step of a portal
 *               at a time (portal.c).
 *     callers   whoever made a call: they belong to the user, and are left in
 *               the middle of a step while a driver runs on.
 *
 *     thread's stack:   | user ... run_forever | hub | driver or caller ... |
 *                                                      one of many, the
 * others' slices are on the heap
 *
 * The token.  Other libraries switch greenlets on this thread too, and some
 * (SQLAlchemy) switch to the parent of theirs, which may by then be a parked
 * greenlet of ours.  So a greenlet of ours that wakes up asks whether the
 * switch was meant for it (thread->target); if not, it hands what it got on
 * to the greenlet in which the loop's step runs (thread->active), where the
 * other library is waiting for it.
 *
 * A driver that idles holds no reference but to the frames of little Python
 * functions, on which it stands (floor.c).  There has to be one, for greenlet
 * takes a greenlet without any frame for one that runs in another thread, and
 * refuses to tell its context. */
#include "twr.h"

#include <greenlet.h>
#ifndef _WIN32
#include <unistd.h>
#endif

/* This thread's record: twr_thread() keeps it in the thread's dictionary,
 * which owns it. */
static _Thread_local Thread *this_thread;

int
twr_stack_init(TwrState *state)
{
    (void)state;
    PyGreenlet_Import();
    return _PyGreenlet_API == NULL ? -1 : 0;
}

PyObject *
twr_stack_current(void)
{
    return (PyObject *)PyGreenlet_GetCurrent();
}

/* The running greenlet, borrowed: it is alive because it runs. */
static PyObject *
running(void)
{
    PyObject *me = twr_stack_current();
    Py_XDECREF(me);
    return me;
}

/* Beware: greenlet (3.5) takes a reference to what waits in the trashcan of
 * the thread, which has none left, and so frees it twice. */
static PyObject *
bare_switch(PyGreenlet *to, PyObject *args)
{
    PyObject *trash = twr_trash_take();
    PyObject *got = PyGreenlet_Switch(to, args, NULL);
    twr_trash_put(trash);
    return got;
}

static PyObject *
bare_throw(PyGreenlet *to, PyObject *exc)
{
    PyObject *trash = twr_trash_take();
    PyObject *got = PyGreenlet_Throw(to, (PyObject *)Py_TYPE(exc), exc, NULL);
    twr_trash_put(trash);
    return got;
}

void
twr_stack_set_active(Thread *th, PyObject *greenlet)
{
    Py_XSETREF(th->active, Py_NewRef(greenlet));
}

/* The greenlet that the thread began with: a hub below another one would keep
 * that alive. */
static PyGreenlet *
root_greenlet(void)
{
    PyGreenlet *greenlet = PyGreenlet_GetCurrent();
    while (greenlet != NULL) {
        PyGreenlet *parent = PyGreenlet_GetParent(greenlet);
        if (parent == NULL) {
            break;
        }
        Py_DECREF(greenlet);
        greenlet = parent;
    }
    return greenlet;
}

/* Give a value or the pending exception that came to the wrong greenlet, me,
 * to the one that steps its portal, or to the active one, or to the thread's
 * first.  Steals got.  Returns as a switch does.  Switches. */
static PyObject *
forward(Thread *th, PyObject *me, PyObject *got, bool *nowhere)
{
    PyGreenlet *to = (PyGreenlet *)twr_portal_stepper(th, me);
    if (to == NULL || !PyGreenlet_ACTIVE(to)) {
        Py_XSETREF(to, (PyGreenlet *)Py_XNewRef(th->active));
    }
    if (to == NULL) {
        to = root_greenlet();
    }
    /* What is switched to once it has ended goes to its parent: to us? */
    while (to != NULL && !PyGreenlet_ACTIVE(to)) {
        Py_SETREF(to, PyGreenlet_GetParent(to));
    }
    *nowhere = (PyObject *)to == me;
    if (*nowhere) {
        Py_DECREF(to);
        return got;
    }
    PyObject *exc = got == NULL ? twr_error_take() : NULL;
    PyObject *args = got == NULL ? NULL : PyTuple_Pack(1, got);
    Py_XDECREF(got);
    got = NULL;
    if (to != NULL && exc != NULL) {
        got = bare_throw(to, exc);
    }
    else if (to != NULL && args != NULL) {
        got = bare_switch(to, args);
    }
    Py_XDECREF(to);
    Py_XDECREF(exc);
    Py_XDECREF(args);
    return got;
}

/* Until 3.14, a daemon thread that asks for the GIL of an interpreter that is
 * ending is ended by pthread_exit(), which unwinds its stack.  At the bottom
 * of our greenlets are greenlet's own frames, and their destructors drop
 * references without the GIL.  So the thread hangs here, as 3.14 lets it. */
#if defined(__GNUC__) && !defined(_WIN32)
static void
hang(const bool *inside)
{
    while (*inside) {
        pause();
    }
}

#define TWR_NO_UNWINDING(inside)                                              \
    __attribute__((cleanup(hang))) bool inside = true
#else
#define TWR_NO_UNWINDING(inside) bool inside = true
#endif

/* Wait in a switch until one is meant for us.  Steals target, which is held
 * all the while: greenlet may look at it when it comes back.  Switches. */
static int
switch_to(Thread *th, PyObject *target)
{
    PyObject *me = running();
    if (me == NULL) {
        Py_DECREF(target);
        return -1;
    }
    Py_XSETREF(th->target, Py_NewRef(target));
    PyObject *context = twr_context_save();
    PyObject *got = bare_switch((PyGreenlet *)target, NULL);
    bool nowhere = false;
    while (th->target != me) {
        if (th->target != NULL || th->active == me || nowhere) {
            /* Nobody has taken it up: the switch itself has failed. */
            if (got != NULL) {
                PyErr_SetString(PyExc_RuntimeError,
                                "the greenlet to switch to has ended");
                Py_CLEAR(got);
            }
            break;
        }
        got = forward(th, me, got, &nowhere);
    }
    Py_CLEAR(th->target);
    twr_context_restore(context);
    Py_XDECREF(got);
    PyObject *pending = twr_error_take();
    Py_DECREF(target);
    twr_error_put(pending);
    return got == NULL ? -1 : 0;
}

/* A driver's life.  Between two drives it is idle, or it is gone. */
static int
driver_life(Thread *th, PyObject *floor)
{
    PyObject *me = running();
    Py_CLEAR(th->target);
    Py_CLEAR(th->requester);
    while (!th->closing && th->retiring != me) {
        twr_stack_set_active(th, me);
        PyObject *next = twr_drive(th);
        if (next == NULL) {
            return -1;
        }
        if (th->n_idle == TWR_IDLE_MAX || floor != th->floor) {
            th->relay = next; /* our parent, the hub, goes on there */
            Py_XSETREF(th->target, Py_NewRef(th->hub));
            return 0;
        }
        th->idle_floor[th->n_idle] = floor;
        th->idle[th->n_idle++] = Py_NewRef(me);
        if (switch_to(th, next) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Called by the innermost frame of a driver's floor; there is nothing to trace
 * in those.  It ends by an exception, which greenlet takes for an ordinary
 * end: after a call that returns, signals are handled, and what a handler
 * raises would get to the hub. */
static PyObject *
live(PyObject *floor, PyObject *args)
{
    (void)args;
    PyThreadState_LeaveTracing(PyThreadState_Get());
    int ended = driver_life(this_thread, floor);
    PyThreadState_EnterTracing(PyThreadState_Get());
    if (ended == 0) {
        PyErr_SetNone(PyExc_GreenletExit);
    }
    return NULL;
}

static PyMethodDef live_def = {"live", live, METH_VARARGS, NULL};

/* Signals are handled, too, as its frames begin: if a handler raises an
 * exception, it never lives. */
static PyObject *
driver_main(PyObject *floor, PyObject *args)
{
    (void)args;
    TWR_NO_UNWINDING(inside);
    PyThreadState_EnterTracing(PyThreadState_Get());
    PyObject *call = PyCFunction_New(&live_def, floor);
    PyObject *result = call == NULL ? NULL : twr_floor_run(floor, call);
    Py_XDECREF(call);
    PyThreadState_LeaveTracing(PyThreadState_Get());
    inside = false;
    return result;
}

static PyMethodDef driver_def = {"driver", driver_main, METH_VARARGS, NULL};

/* Switches. */
static int
start_driver(Thread *th)
{
    if (th->floor == NULL) {
        twr_floor_of_run(th); /* there was no memory for that of the owner */
    }
    PyObject *run = th->floor == NULL
                        ? PyErr_NoMemory()
                        : PyCFunction_New(&driver_def, th->floor);
    PyObject *driver =
        run == NULL ? NULL : (PyObject *)PyGreenlet_New(run, NULL);
    Py_XDECREF(run);
    return driver == NULL ? -1 : switch_to(th, driver);
}

/* There is no driver: whoever asked for one raises the pending exception,
 * which shows no frame of ours.  Switches. */
static int
refuse_driver(Thread *th)
{
    PyObject *exc = twr_error_take();
    PyTracebackObject *first =
        (PyTracebackObject *)PyException_GetTraceback(exc);
    PyTracebackObject *rest = twr_floor_leave(th->floor, first);
    if (rest != NULL) {
        PyException_SetTraceback(exc, (PyObject *)rest);
    }
    Py_XDECREF(first);
    if (th->requester == NULL) {
        PyErr_SetRaisedException(exc); /* one that lived has failed */
        return -1;
    }
    Py_XSETREF(th->no_driver, exc);
    PyObject *requester = th->requester;
    th->requester = NULL;
    return switch_to(th, requester);
}

/* The hub's life: start a driver or a worker, or see off a driver that
 * retires. */
static PyObject *
hub_life(Thread *th)
{
    Py_CLEAR(th->target);
    twr_reset_python_depth();
    while (!th->closing) {
        PyObject *next = th->relay;
        th->relay = NULL;
        int back = next != NULL ? switch_to(th, next) : start_driver(th);
        if (back < 0 && next == NULL) {
            back = refuse_driver(th);
        }
        if (back < 0) {
            return NULL;
        }
    }
    Py_RETURN_NONE;
}

static PyObject *
hub_main(PyObject *module, PyObject *args)
{
    (void)module;
    (void)args;
    TWR_NO_UNWINDING(inside);
    Thread *th = this_thread;
    PyObject *result = hub_life(th);
    if (result == NULL && !th->closing) {
        Py_CLEAR(th->hub); /* it has failed: the next is another one */
    }
    inside = false;
    return result;
}

static PyMethodDef hub_def = {"hub", hub_main, METH_VARARGS, NULL};

static int
ensure_hub(Thread *th)
{
    if (th->hub != NULL) {
        return 0;
    }
    /* 3.11 may collect as it is made, and a finalizer make a call. */
    int collects = PyGC_Disable();
    PyObject *run = PyCFunction_New(&hub_def, NULL);
    PyGreenlet *root = run == NULL ? NULL : root_greenlet();
    if (root != NULL) {
        th->hub = (PyObject *)PyGreenlet_New(run, root);
    }
    Py_XDECREF(root);
    Py_XDECREF(run);
    if (collects) {
        PyGC_Enable();
    }
    return th->hub == NULL ? -1 : 0;
}

/* A worker's life.  Between two steps it is idle, or it is gone. */
static PyObject *
worker_life(Thread *th)
{
    PyObject *me = running();
    Py_CLEAR(th->target);
    while (!th->closing) {
        PyObject *root = twr_portal_run(th, me);
        if (th->n_workers == TWR_IDLE_MAX) {
            int set =
                PyGreenlet_SetParent((PyGreenlet *)me, (PyGreenlet *)root);
            Py_XSETREF(th->target, root);
            return set < 0 ? NULL : Py_NewRef(Py_None);
        }
        th->workers[th->n_workers++] = Py_NewRef(me);
        if (switch_to(th, root) < 0) {
            return NULL;
        }
    }
    Py_RETURN_NONE;
}

static PyObject *
worker_main(PyObject *module, PyObject *args)
{
    (void)module;
    (void)args;
    TWR_NO_UNWINDING(inside);
    PyObject *result = worker_life(this_thread);
    inside = false;
    return result;
}

static PyMethodDef worker_def = {"worker", worker_main, METH_VARARGS, NULL};

PyObject *
twr_stack_worker(Thread *th)
{
    if (th->n_workers > 0) {
        return th->workers[--th->n_workers];
    }
    PyObject *run = PyCFunction_New(&worker_def, NULL);
    PyGreenlet *root = run == NULL ? NULL : root_greenlet();
    PyObject *worker =
        root == NULL ? NULL : (PyObject *)PyGreenlet_New(run, root);
    Py_XDECREF(run);
    Py_XDECREF(root);
    return worker;
}

int
twr_stack_work(Thread *th, PyObject *worker)
{
    if (PyGreenlet_STARTED((PyGreenlet *)worker)) {
        return switch_to(th, Py_NewRef(worker));
    }
    if (ensure_hub(th) < 0) {
        return -1;
    }
    Py_XSETREF(th->relay, Py_NewRef(worker));
    int result = switch_to(th, Py_NewRef(th->hub));
    Py_CLEAR(th->relay); /* if the switch has failed */
    return result;
}

int
twr_stack_is_above(Thread *th, PyObject *root)
{
    PyGreenlet *greenlet = PyGreenlet_GetCurrent();
    if (greenlet == NULL) {
        return -1;
    }
    PyObject *const hub = th->hub;
    while (greenlet != NULL && (PyObject *)greenlet != root &&
           (PyObject *)greenlet != hub) {
        Py_SETREF(greenlet, PyGreenlet_GetParent(greenlet));
    }
    int above = (PyObject *)greenlet == root;
    Py_XDECREF(greenlet);
    return above;
}

/* Whether the code that runs cleans up in a greenlet that is being killed, by
 * whoever drops it perhaps, and so in the middle of anything. */
static bool
is_killed(void)
{
    PyObject *exc = PyErr_GetHandledException();
    bool killed =
        exc != NULL && PyErr_GivenExceptionMatches(exc, PyExc_GreenletExit);
    Py_XDECREF(exc);
    return killed;
}

int
twr_stack_may_leave(TwrState *state, PyObject *owner)
{
    if (is_killed()) {
        return 0;
    }
    PyObject *sqlalchemy = PyDict_GetItemWithError(PyImport_GetModuleDict(),
                                                   state->sqlalchemy_asyncio);
    if (sqlalchemy != NULL || PyErr_Occurred()) {
        return PyErr_Occurred() ? -1 : 0;
    }
    PyGreenlet *parent =
        owner == NULL ? NULL : PyGreenlet_GetParent((PyGreenlet *)owner);
    Py_XDECREF(parent);
    return parent == NULL;
}

int
twr_stack_in_sqlalchemy(TwrState *state)
{
    PyObject *provider, *me = running();
    if (me == NULL) {
        return -1;
    }
    if (Py_IS_TYPE(me, &PyGreenlet_Type)) {
        return 0;
    }
    int found = PyObject_GetOptionalAttr(
        me, state->names.__sqlalchemy_greenlet_provider__, &provider);
    Py_XDECREF(provider);
    return found;
}

PyObject *
twr_stack_sqlalchemy(PyObject *awaitable)
{
    PyObject *result = NULL;
    PyGreenlet *me = PyGreenlet_GetCurrent();
    PyGreenlet *parent = me == NULL ? NULL : PyGreenlet_GetParent(me);
    PyObject *args = PyTuple_Pack(1, awaitable);
    if (parent != NULL && args != NULL) {
        result = bare_switch(parent, args);
    }
    Py_XDECREF(me);
    Py_XDECREF(parent);
    Py_XDECREF(args);
    return result;
}

int
twr_stack_in_step(Thread *th)
{
    PyGreenlet *me = PyGreenlet_GetCurrent();
    if (me == NULL) {
        return -1;
    }
    int here = (PyObject *)me == th->active;
    if (th->loan == NULL) {
        PyGreenlet *parent = PyGreenlet_GetParent(me);
        here = parent == NULL;
        Py_XDECREF(parent);
    }
    Py_DECREF(me);
    return here;
}

int
twr_stack_switch(Thread *th, PyObject *greenlet)
{
    return switch_to(th, Py_NewRef(greenlet));
}

/* End a greenlet of ours that waits in switch_to.  Steals it. */
static void
end_greenlet(Thread *th, PyObject *greenlet)
{
    PyGreenlet *me = PyGreenlet_GetCurrent();
    if (me == NULL || PyGreenlet_SetParent((PyGreenlet *)greenlet, me) < 0) {
        PyErr_Clear(); /* another thread's, or the interpreter is ending */
    }
    else {
        Py_XSETREF(th->target, Py_NewRef(greenlet));
        Py_XDECREF(bare_switch((PyGreenlet *)greenlet, NULL));
        PyErr_Clear();
        Py_CLEAR(th->target);
    }
    Py_XDECREF(me);
    Py_DECREF(greenlet);
}

/* A driver that idles and stands on the floor of now; NULL: none. */
static PyObject *
take_idle(Thread *th)
{
    while (th->n_idle > 0) {
        PyObject *driver = th->idle[--th->n_idle];
        if (th->idle_floor[th->n_idle] == th->floor) {
            return driver;
        }
        th->retiring = driver; /* until then, no call is made: await.c */
        end_greenlet(th, driver);
        th->retiring = NULL;
    }
    return NULL;
}

int
twr_stack_park(Thread *th)
{
    PyObject *driver = take_idle(th);
    if (driver != NULL) {
        return switch_to(th, driver);
    }
    if (ensure_hub(th) < 0) {
        return -1;
    }
    Py_XSETREF(th->requester, Py_XNewRef(running()));
    int back = switch_to(th, Py_NewRef(th->hub));
    if (back == 0 && th->no_driver != NULL) {
        return twr_raise(&th->no_driver);
    }
    return back;
}

static void
end_pool(Thread *th)
{
    th->closing = true;
    while (th->n_workers > 0) {
        end_greenlet(th, th->workers[--th->n_workers]);
    }
    while (th->n_idle > 0) {
        end_greenlet(th, th->idle[--th->n_idle]);
    }
    if (th->hub != NULL) {
        PyObject *hub = th->hub;
        th->hub = NULL;
        end_greenlet(th, hub);
    }
    th->closing = false;
}

static int
thread_traverse(PyObject *op, visitproc visit, void *arg)
{
    Thread *th = (Thread *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(th->own_loop);
    Py_VISIT(th->hidden);
    Py_VISIT(th->loan);
    Py_VISIT(th->loans);
    return 0;
}

/* Call that adapter; -1: it has failed, which has been reported. */
static int
adapter(Thread *th, const char *name, PyObject *arg)
{
    PyObject *adapters = twr_adapters(th->state);
    PyObject *done = adapters == NULL
                         ? NULL
                         : PyObject_CallMethod(adapters, name,
                                               arg == NULL ? NULL : "O", arg);
    if (done == NULL) {
        PyErr_WriteUnraisable(arg);
        return -1;
    }
    Py_DECREF(done);
    return 0;
}

/* Close the kept loop the way asyncio.Runner does, and end the calls parked in
 * portals; runs in its thread.  Whatever the code does that runs meanwhile,
 * the record can be used afterwards; th->ending stays set. */
static void
wind_up(Thread *th)
{
    th->ending = true;
    PyObject *loop = Py_XNewRef(th->own_loop);
    if (loop != NULL) {
        adapter(th, "close_loop", loop);
        if (th->own_loop == loop) {
            Py_CLEAR(th->own_loop);
            Py_CLEAR(th->hidden);
        }
        Py_DECREF(loop);
    }
    if (twr_loan_settle(th, NULL) < 0) {
        PyErr_WriteUnraisable(NULL);
    }
    if (twr_orphans_end(th, true) < 0) {
        PyErr_WriteUnraisable(NULL);
    }
    twr_portal_end_all(th);
}

static void
thread_finalize(PyObject *op)
{
    Thread *th = (Thread *)op;
    PyObject *pending = twr_error_take();
    if (this_thread == th && !th->forked) {
        wind_up(th);
        if (!th->is_main) {
            adapter(th, "forget_thread", NULL);
        }
    }
    twr_error_put(pending);
}

static int
thread_clear(PyObject *op)
{
    Thread *th = (Thread *)op;
    Py_CLEAR(th->own_loop);
    Py_CLEAR(th->hidden);
    for (Py_ssize_t i = 0; th->loans && i < PyList_GET_SIZE(th->loans); i++) {
        /* Calls that are still parked keep it. */
        ((Loan *)PyList_GET_ITEM(th->loans, i))->thread = NULL;
    }
    Py_CLEAR(th->loan);
    Py_CLEAR(th->loans);
    Py_CLEAR(th->active);
    Py_CLEAR(th->target);
    Py_CLEAR(th->good_type);
    Py_CLEAR(th->sigint_task);
    Py_CLEAR(th->no_driver);
    Py_CLEAR(th->requester);
    Py_CLEAR(th->floor);
    Py_CLEAR(th->run_floor);
    return 0;
}

static void
thread_dealloc(PyObject *op)
{
    Thread *th = (Thread *)op;
    PyThreadState *tstate = PyThreadState_Get();
    bool ends = tstate->dict == NULL;
    if (PyObject_CallFinalizerFromDealloc(op) < 0) {
        return;
    }
    /* Its thread is not here to end: another process has it, or it hangs at
     * the end of this one.  The loop is left alone, since to close it would
     * unregister the other process's descriptors. */
    bool is_orphan = this_thread != th && th->own_loop != NULL;
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    if (this_thread == th) {
        if (!th->forked) {
            end_pool(th);
        }
        this_thread = NULL;
    }
    twr_portal_forget_all(th);
    if (!is_orphan) {
        thread_clear(op);
    }
    type->tp_free(op);
    Py_DECREF(type);
    if (ends) {
        /* Who asked for the dictionary of a thread that has lost its own, as
         * asyncio did for the running loop, was given one that nobody frees.
         */
        Py_CLEAR(tstate->dict);
    }
}

static PyType_Slot thread_slots[] = {
    {Py_tp_traverse, thread_traverse},
    {Py_tp_clear, thread_clear},
    {Py_tp_finalize, thread_finalize},
    {Py_tp_dealloc, thread_dealloc},
    {0, NULL},
};

PyType_Spec twr_thread_spec = {
    .name = "tworoutine._core.Thread",
    .basicsize = sizeof(Thread),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
             Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = thread_slots,
};

/* Signals are handled in the main thread alone. */
static int
find_main(Thread *th)
{
    PyObject *ident = NULL;
    PyObject *main = PyObject_CallNoArgs(th->state->main_thread);
    if (main != NULL) {
        ident = PyObject_GetAttr(main, th->state->names.ident);
        Py_DECREF(main);
    }
    if (ident == NULL) {
        return -1;
    }
    th->is_main = PyLong_AsUnsignedLong(ident) == PyThread_get_thread_ident();
    Py_DECREF(ident);
    return PyErr_Occurred() ? -1 : 0;
}

Thread *
twr_thread(TwrState *state)
{
    if (this_thread != NULL && !this_thread->forked) {
        return this_thread;
    }
    PyObject *dict = PyThreadState_GetDict();
    if (dict == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "this thread is ending");
        return NULL;
    }
    Thread *th = (Thread *)state->thread_type->tp_alloc(state->thread_type, 0);
    if (th == NULL) {
        return NULL;
    }
    th->state = state;
    int known = find_main(th);
    th->loans = PyList_New(0);
    if (this_thread != NULL && !this_thread->forked) {
        /* Other code ran meanwhile, a finalizer perhaps, and made one. */
        PyErr_Clear();
        Py_DECREF(th);
        return this_thread;
    }
    if (known < 0) {
        Py_DECREF(th);
        return NULL;
    }
    if (th->loans == NULL ||
        PyDict_SetItemString(dict, "tworoutine", (PyObject *)th) < 0) {
        Py_DECREF(th);
        return NULL;
    }
    this_thread = th;
    Py_DECREF(th); /* the dictionary owns it */
    return th;
}

/* Whether the loop that we drive has been hidden by somebody above a step of
 * it.  gevent's adapter hides it, too, while it polls in another greenlet. */
static int
is_hidden(Thread *th)
{
    if (th->loan == NULL) {
        return 0;
    }
    int above = th->loan->polling ? twr_stack_in_step(th) : 1;
    if (above <= 0) {
        return above;
    }
    PyObject *loop = Py_NewRef(th->loan->loop);
    PyObject *runs =
        PyObject_CallMethodNoArgs(loop, th->state->names.is_running);
    int hidden = runs == NULL ? -1 : PyObject_IsTrue(runs);
    Py_XDECREF(runs);
    Py_DECREF(loop);
    return hidden;
}

/* Whether calls may be below this one on the stack; -1 on failure. */
static int
is_in_use(Thread *th)
{
    if (th->portal != NULL || (th->in_run && th->loan == NULL)) {
        return 1; /* the latter: a call enters its loop, or leaves it */
    }
    PyObject *loop = PyObject_CallNoArgs(th->state->get_running_loop);
    int runs = loop == NULL ? -1 : loop != Py_None;
    Py_XDECREF(loop);
    if (runs == 0) {
        runs = twr_foreign_library(th->state);
    }
    return runs == 0 ? is_hidden(th) : runs;
}

/* Have the next call make a new record; frames may go on using this one, which
 * is never freed. */
static int
abandon(Thread *th)
{
    Py_INCREF(th);
    this_thread = NULL;
    PyObject *dict = PyThreadState_GetDict();
    return dict == NULL ? 0 : PyDict_DelItemString(dict, "tworoutine");
}

int
twr_thread_end(void)
{
    Thread *th = this_thread;
    if (th == NULL || th->forked || th->ending) {
        return 0;
    }
    int in_use = is_in_use(th);
    if (in_use < 0) {
        return -1;
    }
    if (in_use > 0) {
        if (th->is_main) {
            Py_INCREF(th); /* the interpreter may end above those calls */
        }
        return 0;
    }
    wind_up(th);
    if (th->forked) {
        return 0; /* meanwhile, and this is the child */
    }
    end_pool(th);
    th->ending = false;
    /* A guest that is gone has left it so: gevent's hub was destroyed. */
    return th->loan == NULL ? 0 : abandon(th);
}

void
twr_thread_register(Thread *th)
{
    if (!th->state->unregistered) {
        return;
    }
    th->state->unregistered = false;
    PyObject *pending = twr_error_take();
    if (adapter(th, "register", NULL) < 0) {
        th->state->unregistered = true;
    }
    twr_error_put(pending);
}

void
twr_thread_discard(Thread *th, PyObject *loop)
{
    PyObject *pending = twr_error_take();
    adapter(th, "discard_loop", loop);
    twr_error_put(pending);
}

PyObject *
twr_thread_after_fork(void)
{
    if (this_thread == NULL) {
        return NULL;
    }
    this_thread->forked = true;
    /* Frames on this stack may still use it: it is never freed. */
    Py_INCREF(this_thread);
    PyObject *loop = this_thread->own_loop;
    this_thread->own_loop = NULL;
    return loop;
}
