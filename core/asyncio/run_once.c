/* asyncio/run_once.c - one turn of a loop, cut into handles. */
#include "asyncio/run_once.h"

#include "asyncio/facts.h"
#include "asyncio/quick.h"
#include "asyncio/quick_handle.h"
#include "asyncio/timers.h"

int
twr_run_once_look(TwrIteration *it)
{
    if (twr_quick_has_ready(it)) {
        return 0;
    }
    twr_quick_end(it);
    PyObject *ready = PyObject_GetAttr(it->loop, it->state->names._ready);
    if (ready == NULL) {
        return -1;
    }
    Py_XSETREF(it->ready, ready);
    return 0;
}

/* Whether the loop has asyncio's own kind of ready queue.  Quiet. */
static inline bool
has_deque(const TwrIteration *it)
{
    return it->quick.dict != NULL;
}

/* How many handles the queue holds; -1: error. */
static Py_ssize_t
count_ready(TwrIteration *it)
{
    return twr_run_once_look(it) < 0 ? -1
           : has_deque(it)           ? twr_quick_ready(it)
                                     : PyObject_Size(it->ready);
}

/* Ask the selector, and let the loop queue what it found. */
static int
poll_selector(TwrIteration *it)
{
    TwrState *state = it->state;
    PyObject *events = NULL;
    int result = -1;
    PyObject *selector = PyObject_GetAttr(it->loop, state->names._selector);
    PyObject *timeout = selector == NULL ? NULL : twr_timers_timeout(it);
    if (timeout != NULL) {
        events =
            PyObject_CallMethodOneArg(selector, state->names.select, timeout);
    }
    if (events != NULL) {
        result = twr_done(PyObject_CallMethodOneArg(
            it->loop, state->names._process_events, events));
    }
    Py_XDECREF(selector);
    Py_XDECREF(timeout);
    Py_XDECREF(events);
    return result;
}

/* A turn begins: poll in the quick way.  1: there are events, or timers that
 * are due; 0: there are none, -1: error. */
static int
poll_quickly(TwrIteration *it)
{
    int stopping = twr_quick_is_stopping(it);
    it->polling = true;
    int events =
        stopping < 0
            ? 1
            : twr_quick_poll(it, !stopping && twr_quick_ready(it) == 0);
    it->polling = false;
    if (events == 0) {
        it->left = twr_quick_ready(it);
    }
    return events;
}

/* What _run_once does before it runs handles. */
static int
begin_turn(TwrIteration *it)
{
    if (twr_quick_may_turn(it)) {
        int events = poll_quickly(it);
        if (events <= 0) {
            return events;
        }
    }
    it->polling = true;
    bool done = twr_timers_weed(it->state, it->loop) == 0 &&
                twr_run_once_look(it) == 0 && poll_selector(it) == 0 &&
                twr_run_once_look(it) == 0 && twr_timers_move(it) == 0;
    it->polling = false;
    if (!done) {
        return -1;
    }
    it->left = count_ready(it);
    return it->left < 0 ? -1 : 0;
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
    int ended = twr_ask(future, state->names.done);
    Py_DECREF(future);
    return ended;
}

/* 1 if the run of the loop ends with this turn; -1: error. */
static int
is_over(TwrIteration *it)
{
    it->polling = true; /* a signal handler may make a call */
    int over = it->stop_later ? 0 : twr_run_once_ended(it->state, it->until);
    it->polling = false;
    return over != 0 ? over : twr_flag(it->loop, it->state->names._stopping);
}

static PyObject *
pop_handle(TwrIteration *it)
{
    return has_deque(it) ? twr_quick_pop(it)
                         : PyObject_CallMethodNoArgs(it->ready,
                                                     it->state->names.popleft);
}

/* handle._cancelled */
static int
is_cancelled(TwrState *state, PyObject *handle)
{
    PyObject *flag = twr_quick_is_handle(state, handle)
                         ? twr_quick_cancelled(state, handle)
                         : NULL;
    return flag == Py_False  ? 0
           : flag == Py_True ? 1
                             : twr_flag(handle, state->names._cancelled);
}

TwrNext
twr_run_once_next(TwrIteration *it, PyObject **handle)
{
    for (;;) {
        while (it->left > 0) {
            Py_ssize_t ready = count_ready(it);
            if (ready < 0) {
                return NEXT_ERROR;
            }
            if (ready == 0) {
                break;
            }
            it->left--;
            *handle = pop_handle(it);
            if (*handle == NULL) {
                return NEXT_ERROR;
            }
            int skip = is_cancelled(it->state, *handle);
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

/* How many descriptors the loop watches, with its own pipe; -1: error. */
static Py_ssize_t
count_watched(TwrIteration *it)
{
    TwrState *state = it->state;
    PyObject *selector = PyObject_GetAttr(it->loop, state->names._selector);
    PyObject *map =
        selector == NULL
            ? NULL
            : PyObject_CallMethodNoArgs(selector, state->names.get_map);
    Py_ssize_t watched = map == NULL ? -1 : PyObject_Size(map);
    Py_XDECREF(selector);
    Py_XDECREF(map);
    return watched;
}

int
twr_run_once_any(TwrIteration *it)
{
    Py_ssize_t ready = count_ready(it);
    if (ready != 0) {
        return ready < 0 ? -1 : 1;
    }
    PyObject *timers = twr_timers_get(it->state, it->loop);
    if (timers == NULL) {
        return -1;
    }
    bool any = PyList_GET_SIZE(timers) > 0;
    Py_DECREF(timers);
    Py_ssize_t watched = any ? 0 : twr_quick_watched(it);
    if (watched < 0) {
        watched = count_watched(it);
    }
    return watched < 0 ? -1 : any || watched > 1;
}

int
twr_run_once_init(TwrState *state)
{
    static const TwrFact facts[] = {
        {"BaseEventLoop", "_run_once",
         "_ready _stopping _selector select _process_events popleft "
         "_cancelled",
         "self ntodo i handle"},
        {"Handle", NULL, "_cancelled", NULL},
        {NULL, NULL, NULL, NULL},
    };
    return twr_facts_require(state, facts);
}
