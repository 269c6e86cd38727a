/* asyncio/run_once.c - one turn of a loop, cut into handles. */
#include "asyncio/run_once.h"

#include "asyncio/facts.h"
#include "asyncio/timers.h"

/* Ask the selector, and let the loop queue what it found. */
static int
poll(TwrIteration *it)
{
    TwrState *state = it->state;
    PyObject *events = NULL, *none = NULL;
    PyObject *selector = PyObject_GetAttr(it->loop, state->names._selector);
    PyObject *timeout = selector == NULL ? NULL : twr_timers_timeout(it);
    if (timeout != NULL) {
        events =
            PyObject_CallMethodOneArg(selector, state->names.select, timeout);
    }
    if (events != NULL) {
        none = PyObject_CallMethodOneArg(it->loop,
                                         state->names._process_events, events);
    }
    Py_XDECREF(selector);
    Py_XDECREF(timeout);
    Py_XDECREF(events);
    Py_XDECREF(none);
    return none == NULL ? -1 : 0;
}

static int
begin_turn(TwrIteration *it)
{
    it->polling = true;
    int result = twr_timers_weed(it->state, it->loop);
    if (result == 0) {
        result = poll(it);
    }
    if (result == 0) {
        result = twr_timers_move(it);
    }
    it->polling = false;
    if (result == 0) {
        it->left = PyObject_Size(it->ready);
        result = it->left < 0 ? -1 : 0;
    }
    return result;
}

int
twr_run_once_ended(TwrState *state, PyObject *until)
{
    if (until == NULL) {
        return 0;
    }
    PyObject *future = PyObject_CallNoArgs(until);
    if (future == NULL || future == Py_None) {
        Py_XDECREF(future);
        return future == NULL ? -1 : 1;
    }
    PyObject *done = PyObject_CallMethodNoArgs(future, state->names.done);
    int ended = done == NULL ? -1 : PyObject_IsTrue(done);
    Py_XDECREF(done);
    Py_DECREF(future);
    return ended;
}

/* Whether the run of the loop ends with this turn; -1: error. */
static int
is_over(TwrIteration *it)
{
    it->polling = true; /* a signal handler may make a call */
    int over = it->stop_later ? 0 : twr_run_once_ended(it->state, it->until);
    it->polling = false;
    return over != 0 ? over : twr_flag(it->loop, it->state->names._stopping);
}

TwrNext
twr_run_once_next(TwrIteration *it, PyObject **handle)
{
    TwrState *state = it->state;
    for (;;) {
        while (it->left > 0 && PyObject_Size(it->ready) > 0) {
            it->left--;
            *handle =
                PyObject_CallMethodNoArgs(it->ready, state->names.popleft);
            if (*handle == NULL) {
                return NEXT_ERROR;
            }
            int skip = twr_flag(*handle, state->names._cancelled);
            if (skip == 0) {
                return NEXT_HANDLE;
            }
            Py_CLEAR(*handle);
            if (skip < 0) {
                return NEXT_ERROR;
            }
        }
        it->left = 0;
        int over = is_over(it);
        if (over != 0) {
            return over < 0 ? NEXT_ERROR : NEXT_STOP;
        }
        if (begin_turn(it) < 0) {
            return NEXT_ERROR;
        }
    }
}

int
twr_run_once_any(TwrIteration *it)
{
    TwrState *state = it->state;
    Py_ssize_t ready = PyObject_Size(it->ready);
    if (ready != 0) {
        return ready < 0 ? -1 : 1;
    }
    PyObject *timers = twr_timers_get(state, it->loop);
    if (timers == NULL) {
        return -1;
    }
    Py_ssize_t n_timers = PyList_GET_SIZE(timers);
    Py_DECREF(timers);
    if (n_timers > 0) {
        return 1;
    }
    PyObject *map = NULL;
    PyObject *selector = PyObject_GetAttr(it->loop, state->names._selector);
    if (selector != NULL) {
        map = PyObject_CallMethodNoArgs(selector, state->names.get_map);
    }
    Py_ssize_t watched = map == NULL ? -1 : PyObject_Size(map);
    Py_XDECREF(selector);
    Py_XDECREF(map);
    return watched < 0 ? -1 : watched > 1; /* one is the loop's own pipe */
}

int
twr_run_once_init(TwrState *state)
{
    static const char *const in_0[] = {
        "_ready",     "_stopping", "_selector", "select", "_process_events",
        "_cancelled", "append",    "popleft",   NULL};
    static const char *const in_1[] = {"self", "ntodo", "i", "handle", NULL};
    return twr_facts_require(
               state,
               (TwrFactsPlace){"BaseEventLoop", "_run_once", "co_names"},
               in_0) < 0 ||
                   twr_facts_require(state,
                                     (TwrFactsPlace){"BaseEventLoop",
                                                     "_run_once",
                                                     "co_varnames"},
                                     in_1) < 0
               ? -1
               : 0;
}
