/* engine/driven.c - a loop that we drive, and where its native greenlet is. */
#include "engine/driven.h"

#include "asyncio/debug.h"
#include "asyncio/frames.h"
#include "asyncio/run_once.h"
#include "engine/sigint.h"

#include <assert.h>

static int
driven_traverse(PyObject *op, visitproc visit, void *arg)
{
    Driven *driven = (Driven *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(driven->it.loop);
    Py_VISIT(driven->it.ready);
    Py_VISIT(driven->it.until);
    Py_VISIT(driven->native);
    Py_VISIT(driven->native_error);
    Py_VISIT(driven->carriers);
    return 0;
}

static int
driven_clear(PyObject *op)
{
    Driven *driven = (Driven *)op;
    Py_CLEAR(driven->it.loop);
    Py_CLEAR(driven->it.ready);
    Py_CLEAR(driven->it.until);
    Py_CLEAR(driven->native);
    Py_CLEAR(driven->native_error);
    Py_CLEAR(driven->carriers);
    return 0;
}

static void
driven_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    driven_clear(op);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyType_Slot driven_slots[] = {
    {Py_tp_traverse, driven_traverse},
    {Py_tp_clear, driven_clear},
    {Py_tp_dealloc, driven_dealloc},
    {0, NULL},
};

PyType_Spec twr_driven_spec = {
    .name = "tworoutine._core.Loan",
    .basicsize = sizeof(Driven),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
             Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = driven_slots,
};

static Driven *
driven_new(Thread *th, PyObject *loop)
{
    TwrState *state = th->state;
    Driven *driven =
        (Driven *)state->types.driven->tp_alloc(state->types.driven, 0);
    if (driven == NULL) {
        return NULL;
    }
    driven->thread = th;
    driven->it.state = state;
    driven->it.loop = Py_NewRef(loop);
    driven->it.ready = twr_loop_ready(state, loop);
    driven->carriers = PyDict_New();
    if (driven->it.ready == NULL || driven->carriers == NULL) {
        Py_CLEAR(driven);
    }
    return driven;
}

/* What th->drives.kept has of loop; NULL without error: nothing. */
static Driven *
driven_in_list(Thread *th, PyObject *loop)
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(th->drives.kept); i++) {
        Driven *driven = (Driven *)PyList_GET_ITEM(th->drives.kept, i);
        if (driven->it.loop == loop) {
            return (Driven *)Py_NewRef((PyObject *)driven);
        }
    }
    return NULL;
}

Driven *
twr_driven_of(Thread *th, PyObject *loop)
{
    Driven *driven = driven_in_list(th, loop);
    if (driven != NULL) {
        return driven;
    }
    driven = driven_new(th, loop);
    /* As that was made, 3.11 may have run a finalizer that made a call. */
    Driven *other = driven == NULL ? NULL : driven_in_list(th, loop);
    if (other != NULL) {
        Py_DECREF(driven);
        return other;
    }
    if (driven != NULL &&
        PyList_Append(th->drives.kept, (PyObject *)driven) < 0) {
        Py_CLEAR(driven);
    }
    return driven;
}

/* twr_driven_release() where nothing is pending. */
static int
forget(Thread *th, Driven *driven)
{
    PyObject *kept = th->drives.kept;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(kept); i++) {
        if (PyList_GET_ITEM(kept, i) == (PyObject *)driven) {
            return PyList_SetSlice(kept, i, i + 1, NULL);
        }
    }
    return 0;
}

int
twr_driven_release(Thread *th, Driven *driven)
{
    if (driven->parked != NULL) {
        return 0;
    }
    PyObject *pending = twr_error_take();
    int result = forget(th, driven);
    twr_error_put(pending);
    return result;
}

/* --- the moves */

/* Whether all is as the place says; only asked by assert().  Quiet. */
static inline bool
is_ok(const Driven *driven)
{
    bool native = driven->native != NULL;
    switch (driven->place) {
    case PLACE_NONE:
    case PLACE_OURS:
        return !native && driven->pinned == NULL && driven->it.until == NULL;
    case PLACE_PINNED:
        return native;
    case PLACE_RETURNING:
    case PLACE_IDLE:
        return native && driven->pinned == NULL;
    case PLACE_ENDING:
        return driven->pinned == NULL;
    }
    return false;
}

static void
set_now(Thread *th, Driven *driven)
{
    Py_XSETREF(th->drives.now, (Driven *)Py_NewRef((PyObject *)driven));
}

void
twr_driven_run(Thread *th, Driven *driven)
{
    assert(driven->place == PLACE_NONE);
    driven->it.left = 0;
    driven->place = PLACE_OURS;
    set_now(th, driven);
    assert(is_ok(driven));
}

void
twr_driven_set_main_call(Driven *driven, Call *call)
{
    if (driven != NULL) {
        driven->main_call = call;
    }
}

void
twr_driven_end_run(Thread *th, Driven *driven)
{
    driven->place = PLACE_NONE;
    Py_CLEAR(th->drives.now);
    assert(is_ok(driven));
}

/* The loop is ours to drive from now on: native is in a _run_once that will
 * still pop so many handles. */
static void
begin(Thread *th, Driven *driven, PyObject *native, Py_ssize_t left)
{
    assert(driven->place == PLACE_NONE);
    Py_XSETREF(driven->native, Py_NewRef(native));
    Py_XSETREF(driven->it.until, twr_frames_until(th->state));
    driven->native_left = left;
    driven->it.left = left;
    driven->it.stop_later = false;
    set_now(th, driven);
}

void
twr_driven_take_over(Thread *th, Driven *driven, PyObject *native,
                     Py_ssize_t left)
{
    begin(th, driven, native, left);
    driven->place = PLACE_PINNED;
    twr_switch_set_active(&th->stacks, native);
    assert(is_ok(driven));
}

int
twr_driven_pin(Driven *driven, Call *call)
{
    if (driven->place == PLACE_RETURNING &&
        (twr_loop_unmark(&driven->it) < 0 ||
         twr_debug_unforgive(driven->it.state, driven->it.loop) < 0)) {
        return -1;
    }
    driven->place = PLACE_PINNED;
    driven->pinned = call;
    assert(is_ok(driven));
    return 0;
}

int
twr_driven_unpin(Driven *driven)
{
    driven->place = PLACE_RETURNING;
    driven->pinned = NULL;
    PyObject *pending = twr_error_take();
    int result = twr_debug_forgive(driven->it.state, driven->it.loop) < 0
                     ? -1
                     : twr_loop_mark(&driven->it);
    twr_error_put(pending);
    assert(is_ok(driven));
    return result;
}

/* Stop at the end of the turn, if that was put off.  The run that ends with
 * until, or NULL, does so by itself, and may have done. */
static int
stop_now(Driven *driven, PyObject *until)
{
    if (!driven->it.stop_later) {
        return 0;
    }
    driven->it.stop_later = false;
    int ended = twr_run_once_ended(driven->it.state, until);
    return ended == 0
               ? twr_loop_set_stopping(driven->it.state, driven->it.loop, true)
               : (ended < 0 ? -1 : 0);
}

/* RETURNING -> IDLE. */
static int
come_back(Thread *th, Driven *driven, PyObject *native, Py_ssize_t left)
{
    if (driven->native_left == 0 && driven->it.left == 0) {
        driven->it.left = left; /* its _run_once has just begun a turn */
    }
    Py_XSETREF(driven->native, Py_NewRef(native));
    PyObject *until = driven->it.until;
    driven->it.until = twr_frames_until(th->state);
    driven->native_left = left;
    driven->place = PLACE_IDLE;
    driven->pinned = NULL;
    twr_switch_set_active(&th->stacks, native);
    assert(is_ok(driven));
    int stopped = stop_now(driven, until);
    Py_XDECREF(until);
    return stopped;
}

int
twr_driven_idle(Thread *th, Driven *driven, PyObject *native, Py_ssize_t left)
{
    if (th->drives.now != NULL) {
        return come_back(th, driven, native, left);
    }
    begin(th, driven, native, left);
    driven->place = PLACE_IDLE;
    assert(is_ok(driven));
    return 0;
}

int
twr_driven_wait(Thread *th, Driven *driven, PyObject *greenlet)
{
    Py_INCREF(driven);
    int back = greenlet != NULL
                   ? twr_switch_to(&th->stacks, Py_NewRef(greenlet))
                   : twr_pool_park(&th->stacks);
    if (back < 0 && th->drives.now == driven) {
        twr_driven_drop(th, driven); /* there was nobody to switch to */
    }
    if (back == 0 && driven->native_error != NULL) {
        back = twr_raise(&driven->native_error);
    }
    Py_DECREF(driven);
    return back;
}

PyObject *
twr_driven_let_go(Thread *th, Driven *driven)
{
    PyObject *native = driven->native;
    driven->native = NULL;
    Py_CLEAR(driven->it.until);
    driven->place = PLACE_NONE;
    driven->pinned = NULL;
    twr_switch_set_active(&th->stacks, native);
    assert(is_ok(driven));
    Py_CLEAR(th->drives.now);
    return native;
}

void
twr_driven_drop(Thread *th, Driven *driven)
{
    driven->place = PLACE_NONE;
    driven->pinned = NULL;
    Py_CLEAR(driven->native);
    Py_CLEAR(driven->native_error);
    Py_CLEAR(driven->it.until);
    Py_CLEAR(th->drives.now);
}

void
twr_driven_set_error(Driven *driven, PyObject *exc)
{
    Py_XSETREF(driven->native_error, exc);
}

void
twr_driven_end_calls(Thread *th, Driven *driven, PyObject *me)
{
    assert(driven->place == PLACE_NONE);
    set_now(th, driven);
    Py_XSETREF(driven->native, Py_NewRef(me));
    driven->place = PLACE_ENDING;
    assert(is_ok(driven));
}

void
twr_driven_calls_ended(Thread *th, Driven *driven, Driven *before, bool stays)
{
    driven->place = stays ? PLACE_ENDING : PLACE_NONE;
    Py_CLEAR(driven->native);
    Py_XSETREF(th->drives.now, (Driven *)Py_XNewRef((PyObject *)before));
    assert(is_ok(driven));
}

int
twr_driven_settle(Thread *th, PyObject *running)
{
    Driven *driven = th->drives.now;
    if (driven == NULL || driven->place != PLACE_RETURNING ||
        driven->it.loop == running) {
        return 0;
    }
    if (twr_loop_unmark(&driven->it) < 0 ||
        twr_driven_release(th, driven) < 0) {
        return -1;
    }
    twr_driven_drop(th, driven);
    return twr_sigint_restore(th);
}

void
twr_driven_set_bounced(Driven *driven, Call *call)
{
    driven->bounced = call;
}

int
twr_driven_call_next(Driven *driven, PyObject *call)
{
    int pushed = twr_loop_call_next(&driven->it, call);
    if (pushed == 0 && driven->thread->drives.now == driven) {
        driven->it.left++; /* it belongs to this turn */
    }
    return pushed;
}
