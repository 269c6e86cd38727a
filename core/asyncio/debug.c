/* asyncio/debug.c - running a handle, which debug mode times. */
#include "asyncio/debug.h"

#include "asyncio/facts.h"
#include "asyncio/handle.h"
#include "asyncio/quick_handle.h"
#include "asyncio/timers.h"

/* The limit for which nothing is slow. */
typedef struct {
    PyObject_HEAD
    PyObject *loop;
    PyObject *limit; /* loop.slow_callback_duration as it was */
} SlowLimit;

/* Put the limit back, unless somebody has set another one. */
static int
put_back(TwrState *state, SlowLimit *self)
{
    PyObject *name = state->names.slow_callback_duration;
    PyObject *now = PyObject_GetAttr(self->loop, name);
    if (now == NULL) {
        return -1;
    }
    Py_DECREF(now); /* only compared */
    return now == (PyObject *)self
               ? PyObject_SetAttr(self->loop, name, self->limit)
               : 0;
}

/* seconds >= limit asks the limit, which is no float: nothing is slow. */
static PyObject *
slow_limit_richcompare(PyObject *op, PyObject *Py_UNUSED(other),
                       int Py_UNUSED(operation))
{
    if (put_back(twr_state_of(op), (SlowLimit *)op) < 0) {
        return NULL;
    }
    Py_RETURN_FALSE;
}

static void
slow_limit_dealloc(PyObject *op)
{
    Py_DECREF(((SlowLimit *)op)->loop);
    Py_DECREF(((SlowLimit *)op)->limit);
    twr_free(op);
}

static PyType_Slot slow_limit_slots[] = {
    {Py_tp_dealloc, slow_limit_dealloc},
    {Py_tp_richcompare, slow_limit_richcompare},
    {Py_tp_hash, PyObject_HashNotImplemented},
    {0, NULL},
};

PyType_Spec twr_slow_limit_spec = {
    .name = "tworoutine._core.SlowLimit",
    .basicsize = sizeof(SlowLimit),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slow_limit_slots,
};

/* In debug mode 1, and *limit is set to the limit of loop; else 0, and to
 * NULL. */
static int
find_limit(TwrState *state, PyObject *loop, PyObject **limit)
{
    int debug = twr_flag(loop, state->names._debug);
    *limit = debug <= 0
                 ? NULL
                 : PyObject_GetAttr(loop, state->names.slow_callback_duration);
    return debug > 0 && *limit == NULL ? -1 : debug;
}

/* Replace limit by a SlowLimit. */
static int
replace_limit(TwrState *state, PyObject *loop, PyObject *limit)
{
    SlowLimit *self = PyObject_New(SlowLimit, state->types.slow_limit);
    if (self == NULL) {
        return -1;
    }
    self->loop = Py_NewRef(loop);
    self->limit = Py_NewRef(limit);
    int set = PyObject_SetAttr(loop, state->names.slow_callback_duration,
                               (PyObject *)self);
    Py_DECREF(self);
    return set;
}

int
twr_debug_forgive(TwrState *state, PyObject *loop)
{
    PyObject *limit;
    int result = find_limit(state, loop, &limit);
    if (result > 0) {
        result = Py_IS_TYPE(limit, state->types.slow_limit)
                     ? 0
                     : replace_limit(state, loop, limit);
    }
    Py_XDECREF(limit);
    return result;
}

int
twr_debug_unforgive(TwrState *state, PyObject *loop)
{
    PyObject *limit;
    int result = find_limit(state, loop, &limit);
    if (result > 0) {
        result = Py_IS_TYPE(limit, state->types.slow_limit)
                     ? put_back(state, (SlowLimit *)limit)
                     : 0;
    }
    Py_XDECREF(limit);
    return result;
}

/* 1 if a handle that has taken so many seconds was slow. */
static int
is_slow(TwrIteration *it, double seconds)
{
    PyObject *limit =
        PyObject_GetAttr(it->loop, it->state->names.slow_callback_duration);
    PyObject *took = limit == NULL ? NULL : PyFloat_FromDouble(seconds);
    /* Compared as objects: the limit may be a SlowLimit. */
    int slow =
        took == NULL ? -1 : PyObject_RichCompareBool(took, limit, Py_GE);
    Py_XDECREF(limit);
    Py_XDECREF(took);
    return slow;
}

/* Complain about a handle that was slow. */
static int
report_slow(TwrState *state, PyObject *handle, double seconds)
{
    PyObject *text = PyObject_CallOneArg(state->format_handle, handle);
    if (text == NULL) {
        return -1;
    }
    /* As _run_once looks it up: tests put another logger in its place. */
    PyObject *logger =
        PyObject_GetAttr(state->base_events, state->names.logger);
    int told = -1;
    if (logger != NULL) {
        told = twr_done(PyObject_CallMethod(logger, "warning", "sOd",
                                            "Executing %s took %.3f seconds",
                                            text, seconds));
        Py_DECREF(logger);
    }
    Py_DECREF(text);
    return told;
}

/* Run a handle in debug mode.  If it->parks has changed meanwhile, a call was
 * parked in the handle, which is then not slow.  Switches. */
static int
run_timed(TwrIteration *it, PyObject *handle)
{
    TwrState *state = it->state;
    PyObject *current = state->names._current_handle;
    double before, after;
    size_t parks = it->parks;
    if (PyObject_SetAttr(it->loop, current, handle) < 0 ||
        twr_timers_now(state, it->loop, &before) < 0) {
        return -1;
    }
    int result = twr_handle_run(it->state, handle);
    PyObject *pending = twr_error_take();
    if (PyObject_SetAttr(it->loop, current, Py_None) < 0) {
        PyErr_Clear();
    }
    twr_error_put(pending);
    if (result < 0 || parks != it->parks) {
        return result;
    }
    if (twr_timers_now(state, it->loop, &after) < 0) {
        return -1;
    }
    int slow = is_slow(it, after - before);
    return slow <= 0 ? slow : report_slow(state, handle, after - before);
}

int
twr_debug_run(TwrIteration *it, PyObject *handle)
{
    if (twr_quick_may_run(it, handle)) {
        return twr_quick_run(it->state, handle, true);
    }
    int debug = twr_flag(it->loop, it->state->names._debug);
    if (debug < 0) {
        return -1;
    }
    return debug ? run_timed(it, handle) : twr_handle_run(it->state, handle);
}

int
twr_debug_init(TwrState *state)
{
    static const TwrFact facts[] = {
        {"BaseEventLoop", "_run_once",
         "_debug _current_handle slow_callback_duration _run _format_handle "
         "logger warning time",
         NULL},
        {NULL, NULL, NULL, NULL},
    };
    return twr_facts_require(state, facts);
}
