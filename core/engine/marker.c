/* engine/marker.c - what stands in the ready queue for us. */
#include "engine/marker.h"

#include "asyncio/frames.h"
#include "asyncio/handle.h"
#include "asyncio/likeness.h"
#include "asyncio/running.h"
#include "engine/closed.h"

typedef struct {
    PyObject_HEAD
    bool is_padding; /* to be skipped */
} Marker;

static PyObject *
marker_new(TwrState *state, bool is_padding)
{
    Marker *self = PyObject_New(Marker, state->types.marker);
    if (self != NULL) {
        self->is_padding = is_padding;
    }
    return (PyObject *)self;
}

int
twr_marker_init(TwrState *state)
{
    state->pad = marker_new(state, true);
    state->marker = marker_new(state, false);
    return state->pad == NULL || state->marker == NULL ? -1 : 0;
}

void
twr_marker_fail(TwrState *state, PyObject *exc)
{
    Py_XSETREF(state->child_error, exc);
}

/* Whether the native greenlet, in which the marker's turn has come, is to park
 * here, in a _run_once that will still pop *left handles. */
static int
may_park_native(Thread *th, PyObject *loop, Py_ssize_t *left)
{
    Driven *driven = th->drives.now;
    if (loop == Py_None ||
        (driven != NULL &&
         (driven->it.loop != loop || driven->place != PLACE_RETURNING))) {
        return 0;
    }
    *left = twr_frames_native_left(th->state, loop, true);
    return *left == -2 ? -1 : *left >= 0;
}

/* Park the native greenlet until the loop stops: nothing of the user's is
 * above it.  Switches. */
static int
park_native(Thread *th, PyObject *loop, Py_ssize_t left)
{
    Driven *driven = (Driven *)Py_XNewRef((PyObject *)th->drives.now);
    if (driven == NULL) {
        twr_likeness_of_native(&th->stacks);
        driven = twr_closed_before_drive(th, loop);
    }
    int back = driven == NULL ? -1 : twr_driven_idle(th, driven, left);
    if (back == 0) {
        back = twr_driven_wait(th, driven, NULL);
    }
    Py_XDECREF(driven);
    return back;
}

/* Called by _run_once, as a handle.  Switches. */
static PyObject *
marker_run(PyObject *op, PyObject *Py_UNUSED(unused))
{
    TwrState *state = twr_state_of(op);
    Thread *th = twr_thread(state);
    if (th != NULL && th->drives.now == NULL && state->child_error != NULL) {
        twr_raise(&state->child_error);
        return NULL;
    }
    PyObject *loop = th == NULL ? NULL : twr_running_loop(state);
    Py_ssize_t left;
    int back = loop == NULL ? -1 : may_park_native(th, loop, &left);
    if (back > 0) {
        back = park_native(th, loop, left);
    }
    Py_XDECREF(loop);
    return back < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
marker_cancelled(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((Marker *)op)->is_padding);
}

static PyMethodDef marker_methods[] = {
    TWR_HANDLE_METHODS(marker_run),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef marker_getset[] = {
    TWR_HANDLE_GETSET(marker_cancelled),
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot marker_slots[] = {
    {Py_tp_methods, marker_methods},
    {Py_tp_getset, marker_getset},
    {0, NULL},
};

PyType_Spec twr_marker_spec = {
    .name = "tworoutine._core.Marker",
    .basicsize = sizeof(Marker),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = marker_slots,
};
