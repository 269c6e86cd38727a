/* engine/in_place.c - go on in place: a bare yield without leaving the stack.
 */
#include "engine/in_place.h"

#include "asyncio/quick.h"
#include "asyncio/quick_handle.h"
#include "asyncio/task_fields.h"
#include "engine/greenback.h"

/* Whether the loop is one whose turn can be taken here: driven by us, in the
 * quick way, and not to stop.  The first call in the life of a loop pins the
 * native greenlet, and is parked. */
static bool
may_try(Thread *th, Driven *driven)
{
    return driven == th->drives.now && driven->it.quick.dict != NULL &&
           !driven->it.polling && !driven->it.stop_later &&
           driven->it.until == NULL && !th->forked &&
           (driven->place != PLACE_PINNED ||
            driven->native != th->stacks.active) &&
           driven->place != PLACE_ENDING && twr_quick_may_turn(&driven->it);
}

/* Begin a turn if the last one is over; 1: there are handles left in it, 0: a
 * driver has to begin the next. */
static int
continue_turn(TwrIteration *it)
{
    if (it->left > 0) {
        return 1;
    }
    if (twr_quick_is_stopping(it) != 0) {
        return 0;
    }
    int events = twr_quick_poll(it, false);
    if (events == 0) {
        it->left = twr_quick_ready(it);
    }
    return events < 0 ? -1 : it->left > 0;
}

/* Take the next handle of the turn out of the queue: 1; 0: there is none. */
static int
next_handle(TwrIteration *it, PyObject **handle)
{
    int any = continue_turn(it);
    if (any <= 0 || twr_quick_ready(it) == 0) {
        return any < 0 ? -1 : 0;
    }
    *handle = twr_quick_pop(it);
    return *handle == NULL ? -1 : 1;
}

/* Take call from the queue, if it is the next handle: 1; 0: it is not. */
static int
take_call(TwrIteration *it, Call *call)
{
    PyObject *handle;
    int any = next_handle(it, &handle);
    if (any <= 0) {
        return any;
    }
    int result = 1;
    if (handle == (PyObject *)call) {
        it->left--;
    }
    else {
        result = twr_quick_append_left(it, handle);
    }
    Py_DECREF(handle);
    return result;
}

/* While the native greenlet returns, the marker stands in front of the queue:
 * take it away.  1: done, 0: it is not there. */
static int
take_marker(TwrIteration *it)
{
    PyObject *first = twr_quick_ready(it) > 0 ? twr_quick_pop(it) : NULL;
    if (first == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    int taken = first == it->state->marker;
    if (!taken && twr_quick_append_left(it, first) < 0) {
        taken = -1;
    }
    Py_DECREF(first);
    return taken;
}

int
twr_in_place(Thread *th, Call *call, bool *queued)
{
    Driven *driven = call->driven;
    TwrIteration *it = &driven->it;
    *queued = false;
    if (!may_try(th, driven)) {
        return 0;
    }
    bool returns = driven->place == PLACE_RETURNING;
    int marker = returns ? take_marker(it) : 0;
    if (marker < 0 || returns != (marker > 0)) {
        return marker < 0 ? -1 : 0;
    }
    int result = twr_quick_append(it, (PyObject *)call);
    *queued = result == 0;
    if (result == 0) {
        result = take_call(it, call);
    }
    if (marker > 0 && twr_quick_append_left(it, it->state->marker) < 0) {
        result = -1;
    }
    return result;
}

/* What handle, taken from the queue, is to call. */
static TwrInPlace
whose_handle(TwrState *state, Call *call, PyObject *handle)
{
    if (!twr_quick_is_handle(state, handle) ||
        twr_quick_cancelled(state, handle) != Py_False) {
        return IN_PLACE_PARK;
    }
    PyObject *callback = twr_quick_callback(state, handle);
    if (callback == NULL) {
        return IN_PLACE_PARK;
    }
    return callback == (PyObject *)call ? IN_PLACE_DONE
           : twr_task_of_callback(state, callback) == call->task
               ? IN_PLACE_HANDLE
               : IN_PLACE_PARK;
}

TwrInPlace
twr_in_place_next(Thread *th, Call *call, PyObject **handle)
{
    Driven *driven = call->driven;
    TwrIteration *it = &driven->it;
    *handle = NULL;
    if (driven->place != PLACE_OURS || !may_try(th, driven) ||
        th->stacks.active != call->step_greenlet ||
        twr_greenback_has_portals(th->state)) {
        return IN_PLACE_PARK;
    }
    PyObject *next;
    int any = next_handle(it, &next);
    if (any <= 0) {
        return any < 0 ? IN_PLACE_ERROR : IN_PLACE_PARK;
    }
    TwrInPlace what = whose_handle(th->state, call, next);
    if (what == IN_PLACE_HANDLE) {
        *handle = Py_NewRef(next);
    }
    if (what == IN_PLACE_PARK) {
        what = twr_quick_append_left(it, next) < 0 ? IN_PLACE_ERROR : what;
    }
    else {
        it->left--;
    }
    Py_DECREF(next);
    return what;
}
