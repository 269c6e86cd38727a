/* asyncio/running.c - what run_forever does before and after its turns. */
#include "asyncio/running.h"

#include "asyncio/facts.h"

PyObject *
twr_running_hook(TwrState *state, PyObject *loop)
{
    PyObject *none = NULL;
    PyObject *hooks = PyObject_CallNoArgs(state->get_asyncgen_hooks);
    PyObject *first =
        PyObject_GetAttr(loop, state->names._asyncgen_firstiter_hook);
    PyObject *last =
        first == NULL
            ? NULL
            : PyObject_GetAttr(loop, state->names._asyncgen_finalizer_hook);
    if (hooks != NULL && last != NULL) {
        PyObject *args[] = {first, last};
        none = PyObject_Vectorcall(state->set_asyncgen_hooks, args, 0,
                                   state->kw.hooks);
    }
    Py_XDECREF(first);
    Py_XDECREF(last);
    if (none == NULL) {
        Py_CLEAR(hooks);
    }
    Py_XDECREF(none);
    return hooks;
}

int
twr_running_unhook(TwrState *state, PyObject *hooks)
{
    PyObject *pending = twr_error_take();
    int done = twr_done(PyObject_CallObject(state->set_asyncgen_hooks, hooks));
    twr_error_put(pending);
    return done;
}

int
twr_running_set(TwrState *state, PyObject *loop)
{
    PyObject *pending = twr_error_take();
    int done = twr_done(PyObject_CallOneArg(state->set_running_loop, loop));
    twr_error_put(pending);
    return done;
}

/* 3.11 and 3.12 do all this inside run_forever.  Returns the asyncgen hooks
 * to restore. */
static PyObject *
enter_by_hand(TwrState *state, PyObject *loop)
{
    PyObject *id = PyLong_FromUnsignedLong(PyThread_get_thread_ident());
    if (id == NULL ||
        PyObject_SetAttr(loop, state->names._thread_id, id) < 0) {
        Py_XDECREF(id);
        return NULL;
    }
    Py_DECREF(id);
    PyObject *hooks = twr_running_hook(state, loop);
    if (hooks != NULL && twr_running_set(state, loop) == 0) {
        return hooks;
    }
    /* It does not run after all, and can be run another time. */
    PyObject *pending = twr_error_take();
    if ((hooks != NULL && twr_running_unhook(state, hooks) < 0) ||
        PyObject_SetAttr(loop, state->names._thread_id, Py_None) < 0) {
        PyErr_Clear();
    }
    Py_XDECREF(hooks);
    twr_error_put(pending);
    return NULL;
}

static int
leave_by_hand(TwrState *state, PyObject *loop, PyObject *hooks)
{
    int result = -1;
    if (PyObject_SetAttr(loop, state->names._stopping, Py_False) == 0 &&
        PyObject_SetAttr(loop, state->names._thread_id, Py_None) == 0) {
        result = 0;
    }
    if (twr_running_set(state, Py_None) < 0 ||
        twr_running_unhook(state, hooks) < 0) {
        result = -1;
    }
    return result;
}

/* sys.set_coroutine_origin_tracking_depth as run_forever sets it. */
static int
track_origins(TwrState *state, PyObject *loop, PyObject *flag)
{
    return twr_done(PyObject_CallMethodOneArg(
        loop, state->names._set_coroutine_origin_tracking, flag));
}

static int
clean_up(TwrState *state, PyObject *loop)
{
    PyObject *none =
        PyObject_CallMethodNoArgs(loop, state->names._run_forever_cleanup);
    Py_XDECREF(none);
    return none == NULL ? -1 : 0;
}

/* Whether loop, which did not run, takes itself for running here. */
static bool
is_entered(TwrState *state, PyObject *loop)
{
    PyObject *id = PyObject_GetAttr(loop, state->names._thread_id);
    bool here = id != NULL && PyLong_Check(id) &&
                PyLong_AsUnsignedLong(id) == PyThread_get_thread_ident();
    PyErr_Clear();
    Py_XDECREF(id);
    return here;
}

int
twr_running_enter(TwrState *state, PyObject *loop, PyObject **undo)
{
    PyObject *setup;
    PyObject *name = state->names._run_forever_setup;
    *undo = NULL;
    if (PyObject_GetOptionalAttr(loop, name, &setup) < 0) {
        return -1;
    }
    if (setup != NULL) {
        *undo = PyObject_CallNoArgs(setup);
        Py_DECREF(setup);
        if (*undo == NULL) {
            PyObject *error = twr_error_take();
            if (is_entered(state, loop)) {
                clean_up(state, loop); /* a signal handler's, in the middle */
            }
            twr_error_put(error);
        }
        return *undo == NULL ? -1 : 0;
    }
    int debug = twr_flag(loop, state->names._debug);
    if (debug < 0 || (debug && track_origins(state, loop, Py_True) < 0)) {
        return -1;
    }
    *undo = enter_by_hand(state, loop);
    return *undo == NULL ? -1 : 0;
}

static int
leave_loop(TwrState *state, PyObject *loop, PyObject *undo)
{
    if (undo == Py_None) {
        return clean_up(state, loop);
    }
    return leave_by_hand(state, loop, undo) < 0 ||
                   track_origins(state, loop, Py_False) < 0
               ? -1
               : 0;
}

int
twr_running_leave(TwrState *state, PyObject *loop, PyObject *undo)
{
    PyObject *pending = twr_error_take();
    int result = leave_loop(state, loop, undo);
    if (result < 0) {
        /* A signal handler raised in the middle: leave it all the same. */
        PyObject *error = twr_error_take();
        leave_loop(state, loop, undo);
        twr_error_put(error);
    }
    if (pending != NULL) {
        twr_error_put(pending);
        return -1;
    }
    return result;
}

int
twr_running_init(TwrState *state)
{
    static const char *const used[] = {
        "_thread_id", "_asyncgen_firstiter_hook", "_asyncgen_finalizer_hook",
        "_set_coroutine_origin_tracking", NULL};
    const char *where = "run_forever";
    if (PyObject_HasAttrString(state->BaseEventLoop, "_run_forever_setup")) {
        where = "_run_forever_setup"; /* 3.13+ */
    }
    return twr_facts_require(
        state, (TwrFactsPlace){"BaseEventLoop", where, "co_names"}, used);
}
