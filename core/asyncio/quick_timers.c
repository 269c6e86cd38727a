/* asyncio/quick_timers.c - when the first timer is due. */
#include "asyncio/quick_timers.h"

PyObject *
twr_quick_look_timers(TwrIteration *it)
{
    PyObject *timers =
        PyDict_GetItemWithError(it->quick.dict, it->state->names._scheduled);
    return timers != NULL && PyList_CheckExact(timers) ? timers : NULL;
}

/* The list of timers; borrowed.  NULL without error: it is none. */
static PyObject *
timers_of(TwrIteration *it)
{
    return twr_watch_is_unchanged(&it->quick.watch)
               ? it->quick.timers
               : twr_quick_look_timers(it);
}

/* timer._when, in seconds of loop.time(); negative: it cannot be told. */
static double
when_due(TwrState *state, PyObject *timer)
{
    PyObject *when = twr_quick_slot(timer, state->quick.when_at);
    return when != NULL && PyFloat_CheckExact(when) ? PyFloat_AS_DOUBLE(when)
                                                    : -1;
}

bool
twr_quick_knows_timers(TwrIteration *it)
{
    TwrState *state = it->state;
    PyObject *timers = timers_of(it);
    if (timers == NULL || PyList_GET_SIZE(timers) > state->loop.min_timers) {
        return false;
    }
    if (PyList_GET_SIZE(timers) == 0) {
        return true;
    }
    PyObject *first = PyList_GET_ITEM(timers, 0);
    return Py_IS_TYPE(first, state->quick.timer) &&
           twr_quick_is_handle(state, first) &&
           twr_quick_cancelled(state, first) == Py_False &&
           when_due(state, first) >= 0 &&
           PyDict_GetItemWithError(state->quick.time_dict,
                                   state->names.monotonic) ==
               state->quick.monotonic;
}

/* loop._clock_resolution, in seconds. */
static double
resolution_of(TwrIteration *it)
{
    PyObject *number = PyDict_GetItemWithError(
        it->quick.dict, it->state->names._clock_resolution);
    return number != NULL && PyFloat_CheckExact(number)
               ? PyFloat_AS_DOUBLE(number)
               : 0;
}

int
twr_quick_wait(TwrIteration *it, double *seconds)
{
    TwrState *state = it->state;
    PyObject *timers = timers_of(it);
    if (timers == NULL || PyList_GET_SIZE(timers) == 0) {
        return 0;
    }
    double when = when_due(state, PyList_GET_ITEM(timers, 0));
    PyObject *now = PyObject_CallNoArgs(state->quick.monotonic);
    if (now == NULL) {
        return -1;
    }
    /* As _run_once has it: due is what is less than a tick of the clock off.
     */
    double left = when - PyFloat_AsDouble(now);
    Py_DECREF(now);
    *seconds = left < resolution_of(it) ? -1 : left;
    return 1;
}
