/* asyncio/timers.c - the timers of a loop: call_later(), call_at(). */
#include "asyncio/timers.h"

#include "asyncio/facts.h"

/* When timer is due, in loop.time(). */
static int
get_when(TwrState *state, PyObject *timer, double *when)
{
    return twr_double(PyObject_GetAttr(timer, state->names._when), when);
}

int
twr_timers_now(TwrState *state, PyObject *loop, double *now)
{
    return twr_double(PyObject_CallMethodNoArgs(loop, state->names.time), now);
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

/* Take the first timer off the heap, as the timer then knows. */
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

/* loop._timer_cancelled_count: how many timers in the heap are cancelled. */
static int
get_cancelled(TwrState *state, PyObject *loop, Py_ssize_t *count)
{
    PyObject *number =
        PyObject_GetAttr(loop, state->names._timer_cancelled_count);
    *count = number == NULL ? -1 : PyLong_AsSsize_t(number);
    Py_XDECREF(number);
    return PyErr_Occurred() ? -1 : 0;
}

static int
set_cancelled(TwrState *state, PyObject *loop, Py_ssize_t count)
{
    PyObject *number = PyLong_FromSsize_t(count);
    int set = number == NULL
                  ? -1
                  : PyObject_SetAttr(loop, state->names._timer_cancelled_count,
                                     number);
    Py_XDECREF(number);
    return set;
}

/* Add timer to the list kept, unless that is cancelled: out of the heap from
 * now on. */
static int
keep_timer(TwrState *state, PyObject *kept, PyObject *timer)
{
    int cancelled = twr_flag(timer, state->names._cancelled);
    if (cancelled < 0) {
        return -1;
    }
    return cancelled
               ? PyObject_SetAttr(timer, state->names._scheduled, Py_False)
               : PyList_Append(kept, timer);
}

/* A new list of timers without the cancelled ones. */
static PyObject *
without_cancelled(TwrState *state, PyObject *timers)
{
    PyObject *kept = PyList_New(0);
    for (Py_ssize_t i = 0; kept != NULL && i < PyList_GET_SIZE(timers); i++) {
        PyObject *timer = Py_NewRef(PyList_GET_ITEM(timers, i));
        if (keep_timer(state, kept, timer) < 0) {
            Py_CLEAR(kept);
        }
        Py_DECREF(timer);
    }
    return kept;
}

/* Rebuild the heap without its cancelled timers. */
static int
weed_all(TwrState *state, PyObject *loop, PyObject *timers)
{
    PyObject *kept = without_cancelled(state, timers);
    int result = -1;
    if (kept != NULL &&
        twr_done(PyObject_CallOneArg(state->heapify, kept)) == 0 &&
        PyObject_SetAttr(loop, state->names._scheduled, kept) == 0) {
        result = set_cancelled(state, loop, 0);
    }
    Py_XDECREF(kept);
    return result;
}

/* Drop the first timer of the heap if that is cancelled: 1 if so. */
static int
weed_first(TwrState *state, PyObject *loop, PyObject *timers)
{
    Py_ssize_t count;
    PyObject *first = Py_NewRef(PyList_GET_ITEM(timers, 0));
    int drop = twr_flag(first, state->names._cancelled);
    Py_DECREF(first);
    if (drop <= 0) {
        return drop;
    }
    return twr_done(pop_timer(state, timers)) < 0 ||
                   get_cancelled(state, loop, &count) < 0 ||
                   set_cancelled(state, loop, count - 1) < 0
               ? -1
               : 1;
}

int
twr_timers_weed(TwrState *state, PyObject *loop)
{
    Py_ssize_t cancelled;
    PyObject *timers = twr_timers_get(state, loop);
    int result = timers == NULL ? -1 : get_cancelled(state, loop, &cancelled);
    if (result == 0) {
        Py_ssize_t size = PyList_GET_SIZE(timers);
        if (size > state->loop.min_timers &&
            (double)cancelled / (double)size > state->loop.max_cancelled) {
            result = weed_all(state, loop, timers);
        }
        else {
            do {
                result = PyList_GET_SIZE(timers) == 0
                             ? 0
                             : weed_first(state, loop, timers);
            } while (result > 0);
        }
    }
    Py_XDECREF(timers);
    return result;
}

/* How long the selector may wait for timer. */
static PyObject *
time_until(TwrIteration *it, PyObject *timer)
{
    TwrState *state = it->state;
    double when, now;
    if (get_when(state, timer, &when) < 0 ||
        twr_timers_now(state, it->loop, &now) < 0) {
        return NULL;
    }
    double wait = when - now, most = state->loop.max_select;
    return wait <= 0 ? PyLong_FromLong(0)
                     : PyFloat_FromDouble(wait > most ? most : wait);
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
        PyObject *first = Py_NewRef(PyList_GET_ITEM(timers, 0));
        timeout = time_until(it, first);
        Py_DECREF(first);
    }
    Py_DECREF(timers);
    return timeout;
}

/* Move the first timer to the ready queue if that is due before end: 1 if so.
 */
static int
move_first(TwrIteration *it, PyObject *timers, double end)
{
    TwrState *state = it->state;
    double when;
    PyObject *first = Py_NewRef(PyList_GET_ITEM(timers, 0));
    int known = get_when(state, first, &when);
    Py_DECREF(first);
    if (known < 0) {
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
                  twr_double(PyObject_GetAttr(
                                 it->loop, it->state->names._clock_resolution),
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
    static const TwrFact facts[] = {
        {"BaseEventLoop", "_run_once",
         "_scheduled _timer_cancelled_count _cancelled _when time append "
         "_clock_resolution heapq heapify heappop",
         NULL},
        {"TimerHandle", NULL, "_cancelled _scheduled _when", NULL},
        {NULL, NULL, NULL, NULL},
    };
    return twr_facts_require(state, facts);
}
