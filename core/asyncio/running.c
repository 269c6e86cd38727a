/* asyncio/running.c - what run_forever does before and after its turns. */
#include "asyncio/running.h"

#include "asyncio/facts.h"

/* As sys.set_asyncgen_hooks() does, at a tenth of the cost. */
static int
set_hooks(PyObject *firstiter, PyObject *finalizer)
{
    if (PySys_Audit("sys.set_asyncgen_hook_finalizer", NULL) < 0 ||
        PySys_Audit("sys.set_asyncgen_hook_firstiter", NULL) < 0) {
        return -1;
    }
    PyObject *none = Py_None;
    Py_XSETREF(*twr_hook_finalizer(),
               finalizer == none ? NULL : Py_NewRef(finalizer));
    Py_XSETREF(*twr_hook_firstiter(),
               firstiter == none ? NULL : Py_NewRef(firstiter));
    return 0;
}

PyObject *
twr_running_hook(TwrState *state, PyObject *loop)
{
    PyObject *first = *twr_hook_firstiter(), *last = *twr_hook_finalizer();
    PyObject *old = PyTuple_Pack(2, first == NULL ? Py_None : first,
                                 last == NULL ? Py_None : last);
    first = PyObject_GetAttr(loop, state->names._asyncgen_firstiter_hook);
    last = first == NULL
               ? NULL
               : PyObject_GetAttr(loop, state->names._asyncgen_finalizer_hook);
    if (old != NULL && (last == NULL || set_hooks(first, last) < 0)) {
        Py_CLEAR(old);
    }
    Py_XDECREF(first);
    Py_XDECREF(last);
    return old;
}

int
twr_running_unhook(PyObject *hooks)
{
    PyObject *pending = twr_error_take();
    int done =
        set_hooks(PyTuple_GET_ITEM(hooks, 0), PyTuple_GET_ITEM(hooks, 1));
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

/* Whether op is a method of loop's, of that function. */
static bool
is_method_of(PyObject *op, PyObject *loop, PyObject *function)
{
    return op != NULL && function != NULL && PyMethod_Check(op) &&
           PyMethod_GET_SELF(op) == loop &&
           PyMethod_GET_FUNCTION(op) == function;
}

/* 3.13+: whether the loop's own setup and cleanup are asyncio's, and do no
 * more than is done here by hand, at a tenth of the cost. */
static bool
is_plain(TwrState *state, PyObject *loop, PyObject *setup)
{
    PyObject *cleanup;
    PyObject *name = state->names._run_forever_cleanup;
    if (twr_flag(loop, state->names._debug) != 0 ||
        !is_method_of(setup, loop, state->quick.setup) ||
        PyObject_GetOptionalAttr(loop, name, &cleanup) < 0) {
        PyErr_Clear();
        return false;
    }
    bool plain = is_method_of(cleanup, loop, state->quick.cleanup);
    Py_XDECREF(cleanup);
    return plain;
}

/* Until 3.12 this is done inside run_forever.  Returns the asyncgen hooks to
 * restore. */
static PyObject *
enter_by_hand(TwrState *state, PyObject *loop)
{
    PyObject *id = PyLong_FromUnsignedLong(PyThread_get_thread_ident());
    int set =
        id == NULL ? -1 : PyObject_SetAttr(loop, state->names._thread_id, id);
    Py_XDECREF(id);
    if (set < 0) {
        return NULL;
    }
    PyObject *hooks = twr_running_hook(state, loop);
    if (hooks != NULL && twr_running_set(state, loop) == 0) {
        return hooks;
    }
    /* The loop does not run after all, and can be run another time. */
    PyObject *pending = twr_error_take();
    if ((hooks != NULL && twr_running_unhook(hooks) < 0) ||
        PyObject_SetAttr(loop, state->names._thread_id, Py_None) < 0) {
        PyErr_Clear();
    }
    Py_XDECREF(hooks);
    twr_error_put(pending);
    return NULL;
}

/* Undo enter_by_hand(), as far as that can be done. */
static int
leave_by_hand(TwrState *state, PyObject *loop, PyObject *hooks)
{
    int result = -1;
    if (PyObject_SetAttr(loop, state->names._stopping, Py_False) == 0 &&
        PyObject_SetAttr(loop, state->names._thread_id, Py_None) == 0) {
        result = 0;
    }
    if (twr_running_set(state, Py_None) < 0 || twr_running_unhook(hooks) < 0) {
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

/* 3.13+: what run_forever calls after its turns. */
static int
clean_up(TwrState *state, PyObject *loop)
{
    return twr_done(
        PyObject_CallMethodNoArgs(loop, state->names._run_forever_cleanup));
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

/* 3.13+: call setup, what run_forever calls before its turns.  Returns None.
 */
static PyObject *
enter_by_setup(TwrState *state, PyObject *loop, PyObject *setup)
{
    PyObject *none = PyObject_CallNoArgs(setup);
    if (none == NULL) {
        PyObject *error = twr_error_take();
        if (is_entered(state, loop)) {
            clean_up(state, loop); /* a signal handler raised in the middle */
        }
        twr_error_put(error);
    }
    return none;
}

PyObject *
twr_running_enter(TwrState *state, PyObject *loop)
{
    PyObject *setup;
    PyObject *name = state->names._run_forever_setup;
    if (PyObject_GetOptionalAttr(loop, name, &setup) < 0) {
        return NULL;
    }
    if (setup == NULL) {
        int debug = twr_flag(loop, state->names._debug);
        if (debug < 0 || (debug && track_origins(state, loop, Py_True) < 0)) {
            return NULL;
        }
    }
    PyObject *undo = setup == NULL || is_plain(state, loop, setup)
                         ? enter_by_hand(state, loop)
                         : enter_by_setup(state, loop, setup);
    Py_XDECREF(setup);
    return undo;
}

/* Undo twr_running_enter(). */
static int
leave_loop(TwrState *state, PyObject *loop, PyObject *undo)
{
    if (undo == Py_None) {
        return clean_up(state, loop);
    }
    /* Debug mode may have been switched on or off meanwhile. */
    int tracks =
        twr_flag(loop, state->names._coroutine_origin_tracking_enabled);
    return leave_by_hand(state, loop, undo) < 0 || tracks < 0 ||
                   (tracks && track_origins(state, loop, Py_False) < 0)
               ? -1
               : 0;
}

int
twr_running_leave(TwrState *state, PyObject *loop, PyObject *undo)
{
    PyObject *pending = twr_error_take();
    int result = leave_loop(state, loop, undo);
    if (result < 0) {
        /* A signal handler raised in the middle: once more, to the end. */
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

#define SETS                                                                  \
    "_debug _set_coroutine_origin_tracking _thread_id "                       \
    "_asyncgen_firstiter_hook _asyncgen_finalizer_hook"

int
twr_running_init(TwrState *state)
{
    static const TwrFact whole[] = {
        {"BaseEventLoop", "run_forever", SETS " _stopping", NULL},
        {NULL, NULL, NULL, NULL},
    };
    static const TwrFact parts[] = {
        {"BaseEventLoop", "run_forever",
         "_run_forever_setup _run_forever_cleanup", NULL},
        {"BaseEventLoop", "_run_forever_setup", SETS, NULL},
        {"BaseEventLoop", "_run_forever_cleanup", "_stopping _thread_id",
         NULL},
        {NULL, NULL, NULL, NULL},
    };
    twr_direct_set(&state->running, state->get_running_loop, METH_NOARGS);
    bool has_parts =
        PyObject_HasAttrString(state->BaseEventLoop, "_run_forever_setup");
    return twr_facts_require(state, has_parts ? parts : whole);
}
