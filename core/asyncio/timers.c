/* asyncio/timers.c - the timers of a loop: call_later(), call_at(). */
#include "asyncio/timers.h"

#include "asyncio/facts.h"

static int
get_double(PyObject *op, PyObject *name, double *value)
{
    PyObject *number = PyObject_GetAttr(op, name);
    if (number == NULL) {
        return -1;
    }
    *value = PyFloat_AsDouble(number);
    Py_DECREF(number);
    return *value == -1.0 && PyErr_Occurred() ? -1 : 0;
}

int
twr_timers_now(TwrState *state, PyObject *loop, double *now)
{
    PyObject *number = PyObject_CallMethodNoArgs(loop, state->names.time);
    if (number == NULL) {
        return -1;
    }
    *now = PyFloat_AsDouble(number);
    Py_DECREF(number);
    return *now == -1.0 && PyErr_Occurred() ? -1 : 0;
}

PyObject *
twr_timers_get(TwrState *state, PyObject *loop)
{
    PyObject *timers = PyObject_GetAttr(loop, state->names._scheduled);
    if (timers != NULL && !PyList_Check(timers)) {
        PyErr_SetString(PyExc_TypeError, "loop._scheduled is not a list");
        Py_CLEAR(timers);
    }
    return timers;
}

/* Take the first timer off the heap. */
static PyObject *
pop_timer(TwrState *state, PyObject *timers)
{
    PyObject *timer = PyObject_CallOneArg(state->heappop, timers);
    if (timer != NULL &&
        PyObject_SetAttr(timer, state->names._scheduled, Py_False) < 0) {
        Py_CLEAR(timer);
    }
    return timer;
}

static int
add_cancelled_count(TwrState *state, PyObject *loop, Py_ssize_t change,
                    Py_ssize_t *count)
{
    PyObject *name = state->names._timer_cancelled_count;
    PyObject *number = PyObject_GetAttr(loop, name);
    if (number == NULL) {
        return -1;
    }
    *count = PyLong_AsSsize_t(number) + change;
    Py_DECREF(number);
    if (PyErr_Occurred()) {
        return -1;
    }
    if (change == 0) {
        return 0;
    }
    number = PyLong_FromSsize_t(*count);
    if (number == NULL) {
        return -1;
    }
    int set = PyObject_SetAttr(loop, name, number);
    Py_DECREF(number);
    return set;
}

/* Rebuild the heap without its cancelled timers. */
static int
weed_all(TwrState *state, PyObject *loop, PyObject *timers)
{
    int result = -1;
    PyObject *none = NULL;
    PyObject *kept = PyList_New(0);
    if (kept == NULL) {
        return -1;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(timers); i++) {
        PyObject *timer = PyList_GET_ITEM(timers, i);
        int cancelled = twr_flag(timer, state->names._cancelled);
        if (cancelled < 0 ||
            (cancelled
                 ? PyObject_SetAttr(timer, state->names._scheduled, Py_False)
                 : PyList_Append(kept, timer)) < 0) {
            goto done;
        }
    }
    none = PyObject_CallOneArg(state->heapify, kept);
    if (none == NULL ||
        PyObject_SetAttr(loop, state->names._scheduled, kept) < 0) {
        goto done;
    }
    Py_ssize_t count;
    result = add_cancelled_count(state, loop, 0, &count);
    if (result == 0 && count != 0) {
        result = add_cancelled_count(state, loop, -count, &count);
    }
done:
    Py_XDECREF(none);
    Py_DECREF(kept);
    return result;
}

int
twr_timers_weed(TwrState *state, PyObject *loop)
{
    int result = -1;
    Py_ssize_t cancelled;
    PyObject *timers = twr_timers_get(state, loop);
    if (timers == NULL ||
        add_cancelled_count(state, loop, 0, &cancelled) < 0) {
        goto done;
    }
    Py_ssize_t size = PyList_GET_SIZE(timers);
    if (size > state->loop.min_timers &&
        (double)cancelled / (double)size > state->loop.max_cancelled) {
        result = weed_all(state, loop, timers);
        goto done;
    }
    while (PyList_GET_SIZE(timers) > 0) {
        int drop =
            twr_flag(PyList_GET_ITEM(timers, 0), state->names._cancelled);
        if (drop <= 0) {
            result = drop;
            goto done;
        }
        PyObject *timer = pop_timer(state, timers);
        if (timer == NULL) {
            goto done;
        }
        Py_DECREF(timer);
        if (add_cancelled_count(state, loop, -1, &cancelled) < 0) {
            goto done;
        }
    }
    result = 0;
done:
    Py_XDECREF(timers);
    return result;
}

PyObject *
twr_timers_timeout(TwrIteration *it)
{
    TwrState *state = it->state;
    int stopping = twr_flag(it->loop, state->names._stopping);
    if (stopping < 0) {
        return NULL;
    }
    if (stopping || PyObject_Size(it->ready) > 0) {
        return PyLong_FromLong(0);
    }
    PyObject *timers = twr_timers_get(state, it->loop);
    if (timers == NULL) {
        return NULL;
    }
    PyObject *timeout = NULL;
    if (PyList_GET_SIZE(timers) == 0) {
        timeout = Py_NewRef(Py_None);
    }
    else {
        double when, now;
        PyObject *first = Py_NewRef(PyList_GET_ITEM(timers, 0));
        if (get_double(first, state->names._when, &when) == 0 &&
            twr_timers_now(state, it->loop, &now) == 0) {
            double wait = when - now;
            wait =
                wait > state->loop.max_select ? state->loop.max_select : wait;
            timeout =
                wait <= 0 ? PyLong_FromLong(0) : PyFloat_FromDouble(wait);
        }
        Py_DECREF(first);
    }
    Py_DECREF(timers);
    return timeout;
}

/* Move the first timer to the ready queue if it is due before end; 1 if so. */
static int
move_first(TwrIteration *it, PyObject *timers, double end)
{
    TwrState *state = it->state;
    double when;
    if (get_double(PyList_GET_ITEM(timers, 0), state->names._when, &when) <
        0) {
        return -1;
    }
    if (when >= end) {
        return 0;
    }
    PyObject *timer = pop_timer(state, timers);
    if (timer == NULL) {
        return -1;
    }
    PyObject *none =
        PyObject_CallMethodOneArg(it->ready, state->names.append, timer);
    Py_DECREF(timer);
    return twr_done(none) < 0 ? -1 : 1;
}

int
twr_timers_move(TwrIteration *it)
{
    double now, resolution;
    PyObject *timers = twr_timers_get(it->state, it->loop);
    if (timers == NULL) {
        return -1;
    }
    int moved = PyList_GET_SIZE(timers) > 0;
    if (moved && (twr_timers_now(it->state, it->loop, &now) < 0 ||
                  get_double(it->loop, it->state->names._clock_resolution,
                             &resolution) < 0)) {
        moved = -1;
    }
    while (moved > 0 && PyList_GET_SIZE(timers) > 0) {
        moved = move_first(it, timers, now + resolution);
    }
    Py_DECREF(timers);
    return moved < 0 ? -1 : 0;
}

int
twr_timers_init(TwrState *state)
{
    static const char *const in_0[] = {
        "_scheduled", "_timer_cancelled_count", "_cancelled", "_when",
        "time",       "_clock_resolution",      NULL};
    return twr_facts_require(
               state,
               (TwrFactsPlace){"BaseEventLoop", "_run_once", "co_names"},
               in_0) < 0
               ? -1
               : 0;
}
