/* turn.c - one turn of a loop, cut into handles.
 *
 * A turn of BaseEventLoop is: weed out cancelled timers, poll, move the timers
 * that are due to the ready queue, then run as many handles as the queue held
 * at that moment.  Cut into handles, a driver can stop after any of them, let
 * a parked call go on in its own place, and let another driver finish the
 * turn: loan->batch says how many are left.
 *
 * loop.c has made sure that this is what _run_once of this Python does. */
#include "twr.h"

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

static int
loop_time(TwrState *state, PyObject *loop, double *now)
{
    PyObject *number = PyObject_CallMethodNoArgs(loop, state->names.time);
    if (number == NULL) {
        return -1;
    }
    *now = PyFloat_AsDouble(number);
    Py_DECREF(number);
    return *now == -1.0 && PyErr_Occurred() ? -1 : 0;
}

/* The heap of timers: may be another list in each turn. */
static PyObject *
get_timers(TwrState *state, PyObject *loop)
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
        int cancelled = twr_loop_flag(timer, state->names._cancelled);
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

/* Drop cancelled timers: all if they are many, else those in front. */
static int
weed(TwrState *state, PyObject *loop)
{
    int result = -1;
    Py_ssize_t cancelled;
    PyObject *timers = get_timers(state, loop);
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
            twr_loop_flag(PyList_GET_ITEM(timers, 0), state->names._cancelled);
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

/* How long the selector may wait: None, or seconds. */
static PyObject *
poll_timeout(Loan *loan)
{
    TwrState *state = loan->thread->state;
    int stopping = twr_loop_flag(loan->loop, state->names._stopping);
    if (stopping < 0) {
        return NULL;
    }
    if (stopping || loan->stop_later || PyObject_Size(loan->ready) > 0) {
        return PyLong_FromLong(0);
    }
    PyObject *timers = get_timers(state, loan->loop);
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
            loop_time(state, loan->loop, &now) == 0) {
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

/* Ask the selector, and let the loop queue what it found. */
static int
poll(Loan *loan)
{
    TwrState *state = loan->thread->state;
    PyObject *events = NULL, *none = NULL;
    PyObject *selector = PyObject_GetAttr(loan->loop, state->names._selector);
    PyObject *timeout = selector == NULL ? NULL : poll_timeout(loan);
    if (timeout != NULL) {
        events =
            PyObject_CallMethodOneArg(selector, state->names.select, timeout);
    }
    if (events != NULL) {
        none = PyObject_CallMethodOneArg(loan->loop,
                                         state->names._process_events, events);
    }
    Py_XDECREF(selector);
    Py_XDECREF(timeout);
    Py_XDECREF(events);
    Py_XDECREF(none);
    return none == NULL ? -1 : 0;
}

/* Move the timers that are due to the ready queue. */
static int
move_timers(Loan *loan)
{
    TwrState *state = loan->thread->state;
    double end, resolution;
    int result = -1;
    PyObject *timers = get_timers(state, loan->loop);
    if (timers == NULL) {
        return -1;
    }
    if (PyList_GET_SIZE(timers) == 0) {
        result = 0;
        goto done;
    }
    if (loop_time(state, loan->loop, &end) < 0 ||
        get_double(loan->loop, state->names._clock_resolution, &resolution) <
            0) {
        goto done;
    }
    end += resolution;
    while (PyList_GET_SIZE(timers) > 0) {
        double when;
        if (get_double(PyList_GET_ITEM(timers, 0), state->names._when, &when) <
            0) {
            goto done;
        }
        if (when >= end) {
            break;
        }
        PyObject *timer = pop_timer(state, timers);
        if (timer == NULL) {
            goto done;
        }
        PyObject *none =
            PyObject_CallMethodOneArg(loan->ready, state->names.append, timer);
        Py_DECREF(timer);
        if (none == NULL) {
            goto done;
        }
        Py_DECREF(none);
    }
    result = 0;
done:
    Py_DECREF(timers);
    return result;
}

static int
begin_turn(Loan *loan)
{
    twr_greenback_find(loan->thread->state);
    loan->polling = true;
    int result = weed(loan->thread->state, loan->loop);
    if (result == 0) {
        result = poll(loan);
    }
    if (result == 0) {
        result = move_timers(loan);
    }
    loan->polling = false;
    if (result == 0) {
        loan->batch = PyObject_Size(loan->ready);
        result = loan->batch < 0 ? -1 : 0;
    }
    return result;
}

Turn
twr_turn_next(Loan *loan, PyObject **handle)
{
    TwrState *state = loan->thread->state;
    for (;;) {
        while (loan->batch > 0 && PyObject_Size(loan->ready) > 0) {
            loan->batch--;
            *handle =
                PyObject_CallMethodNoArgs(loan->ready, state->names.popleft);
            if (*handle == NULL) {
                return TURN_ERROR;
            }
            int skip = twr_loop_flag(*handle, state->names._cancelled);
            if (skip == 0) {
                return TURN_HANDLE;
            }
            Py_CLEAR(*handle);
            if (skip < 0) {
                return TURN_ERROR;
            }
        }
        loan->batch = 0;
        int stopping = twr_loop_flag(loan->loop, state->names._stopping);
        if (stopping != 0) {
            return stopping < 0 ? TURN_ERROR : TURN_STOP;
        }
        if (begin_turn(loan) < 0) {
            return TURN_ERROR;
        }
        if (loan->batch == 0) {
            stopping = twr_loop_flag(loan->loop, state->names._stopping);
            if (stopping != 0) {
                return stopping < 0 ? TURN_ERROR : TURN_STOP;
            }
        }
    }
}

/* Debug mode: complain about a handle that held the loop up. */
static int
report_slow(Loan *loan, PyObject *handle, double seconds)
{
    TwrState *state = loan->thread->state;
    PyObject *limit =
        PyObject_GetAttr(loan->loop, state->names.slow_callback_duration);
    PyObject *took = limit == NULL ? NULL : PyFloat_FromDouble(seconds);
    /* Compared as objects: the limit may be one of hush.c's. */
    int slow =
        took == NULL ? -1 : PyObject_RichCompareBool(took, limit, Py_GE);
    Py_XDECREF(limit);
    Py_XDECREF(took);
    if (slow <= 0) {
        return slow;
    }
    PyObject *text = PyObject_CallOneArg(state->format_handle, handle);
    if (text == NULL) {
        return -1;
    }
    /* As _run_once looks it up: tests put another one in its place. */
    PyObject *logger =
        PyObject_GetAttr(state->base_events, state->names.logger);
    PyObject *none =
        logger == NULL ? NULL
                       : PyObject_CallMethod(logger, "warning", "sOd",
                                             "Executing %s took %.3f seconds",
                                             text, seconds);
    Py_DECREF(text);
    Py_XDECREF(logger);
    Py_XDECREF(none);
    return none == NULL ? -1 : 0;
}

static int
run_handle(Loan *loan, PyObject *handle)
{
    PyObject *none =
        PyObject_CallMethodNoArgs(handle, loan->thread->state->names._run);
    Py_XDECREF(none);
    return none == NULL ? -1 : 0;
}

/* A handle in which a call was parked is not slow, however long it took:
 * loan->parks has then changed. */
static int
run_handle_debug(Loan *loan, PyObject *handle)
{
    TwrState *state = loan->thread->state;
    PyObject *current = state->names._current_handle;
    double before, after;
    size_t parks = loan->parks;
    if (PyObject_SetAttr(loan->loop, current, handle) < 0 ||
        loop_time(state, loan->loop, &before) < 0) {
        return -1;
    }
    int result = run_handle(loan, handle);
    PyObject *pending = twr_error_take();
    if (PyObject_SetAttr(loan->loop, current, Py_None) < 0) {
        PyErr_Clear();
    }
    twr_error_put(pending);
    if (result < 0 || parks != loan->parks) {
        return result;
    }
    if (loop_time(state, loan->loop, &after) < 0) {
        return -1;
    }
    return report_slow(loan, handle, after - before);
}

int
twr_turn_run(Loan *loan, PyObject *handle)
{
    int debug = twr_loop_flag(loan->loop, loan->thread->state->names._debug);
    if (debug < 0) {
        return -1;
    }
    return debug ? run_handle_debug(loan, handle) : run_handle(loan, handle);
}

int
twr_turn_any(Loan *loan)
{
    TwrState *state = loan->thread->state;
    Py_ssize_t ready = PyObject_Size(loan->ready);
    if (ready != 0) {
        return ready < 0 ? -1 : 1;
    }
    PyObject *timers = get_timers(state, loan->loop);
    if (timers == NULL) {
        return -1;
    }
    Py_ssize_t n_timers = PyList_GET_SIZE(timers);
    Py_DECREF(timers);
    if (n_timers > 0) {
        return 1;
    }
    PyObject *map = NULL;
    PyObject *selector = PyObject_GetAttr(loan->loop, state->names._selector);
    if (selector != NULL) {
        map = PyObject_CallMethodNoArgs(selector, state->names.get_map);
    }
    Py_ssize_t watched = map == NULL ? -1 : PyObject_Size(map);
    Py_XDECREF(selector);
    Py_XDECREF(map);
    return watched < 0 ? -1 : watched > 1; /* one is the loop's own pipe */
}
