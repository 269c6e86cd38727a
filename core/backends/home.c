/* backends/home.c - calls that run at home: in another loop, whoever makes
 * them. */
#include "backends/backend.h"

#include "backends/home.h"
#include "base/libraries.h"
#include "coro/awaitable.h"

/* The home that is set in this context; NULL without error: none. */
static PyObject *
home_of_context(TwrState *state)
{
    PyObject *home;
    return PyContextVar_Get(state->home, NULL, &home) < 0 ? NULL : home;
}

/* The home to which a call of callee (may be NULL) is brought: of its dual, or
 * set in this context; NULL without error: none. */
static PyObject *
home_to_go_to(TwrState *state, PyObject *callee)
{
    PyObject *home =
        callee == NULL ? NULL : twr_callee_jobs.sent(state, callee);
    return home != NULL ? Py_NewRef(home) : home_of_context(state);
}

/* The loop of home, if that is another one than loop, which runs here; None:
 * a call with that home is an ordinary one. */
static PyObject *
away(TwrState *state, PyObject *home, PyObject *loop)
{
    return twr_cold(state, COLD_away, "(OO)", home, loop);
}

/* Never serves the call: whoever does, serves the bridge. */
static int
find_home(TwrPlace *place)
{
    TwrState *state = place->th->state;
    PyObject *home = NULL;
    if (place->callee != NULL) {
        home = Py_XNewRef(twr_callee_jobs.home(state, place->callee));
    }
    place->goes_home = home != NULL;
    if (home == NULL) {
        home = home_to_go_to(state, place->callee);
    }
    if (home == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    PyObject *loop = away(state, home, place->loop);
    Py_DECREF(home);
    if (loop == Py_None) {
        Py_CLEAR(loop);
        return 0;
    }
    place->home = loop;
    return loop == NULL ? -1 : 0;
}

const TwrBackend twr_home_backend = {
    .name = "home",
    .where = LIBRARY_homes,
    .find = find_home,
};

PyObject *
twr_home_bridge(TwrPlace *place, PyObject *awaitable)
{
    return twr_cold(place->th->state, COLD_bridge, "(OO)", place->home,
                    awaitable);
}

void
twr_home_hide_frames(const TwrPlace *place)
{
    if (place->home != NULL || place->goes_home) {
        PyObject *pending = twr_error_take();
        twr_report(twr_done(twr_cold(place->th->state, COLD_hide_bridge, "(O)",
                                     pending)),
                   place->callee);
        twr_error_put(pending);
    }
}

int
twr_home_is_away(TwrState *state, PyObject *callee, PyObject *loop)
{
    if (!(twr_libraries(state) & LIBRARY_homes)) {
        return 0;
    }
    PyObject *home = home_to_go_to(state, callee);
    if (home == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    PyObject *other = away(state, home, loop);
    Py_DECREF(home);
    Py_XDECREF(other); /* only compared */
    return other == NULL ? -1 : other != Py_None;
}

/* Whether this thread has no loop to go on with meanwhile. */
static int
find_blocked(TwrPlace *place)
{
    return place->home != NULL && place->loop == Py_None;
}

/* A bridge yields nothing where no loop runs. */
static int
hold_blocked(TwrPlace *Py_UNUSED(place), PyObject *Py_UNUSED(iterator),
             PyObject *yielded, PyObject **Py_UNUSED(sent),
             PyObject **Py_UNUSED(error))
{
    PyErr_Format(PyExc_RuntimeError,
                 "%R was yielded on the way home, where no loop runs",
                 yielded);
    return -1;
}

const TwrBackend twr_blocked_backend = {
    .name = "blocked",
    .where = LIBRARY_homes,
    .takes = TAKES_ITERATOR,
    .find = find_blocked,
    .hold = hold_blocked,
};
