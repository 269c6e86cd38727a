/* hush.c - in debug mode, a handle that waited is not a slow one.
 *
 * In debug mode _run_once times each handle, and complains about slow ones.
 * Handles that a driver runs are timed by us; but the one below which the
 * owner was parked is timed by the _run_once of the owner itself.  Just before
 * the owner goes on, the limit that its clock is compared with next is
 * therefore replaced by an object for which nothing is slow, and which puts
 * the limit back as soon as it is compared. */
#include "twr.h"

typedef struct {
    PyObject_HEAD
    PyObject *loop;
    PyObject *limit; /* loop.slow_callback_duration as it was */
} Hush;

/* Put the limit back, unless somebody has set another one. */
static int
put_back(TwrState *state, Hush *self)
{
    PyObject *name = state->names.slow_callback_duration;
    PyObject *now = PyObject_GetAttr(self->loop, name);
    if (now == NULL) {
        return -1;
    }
    Py_DECREF(now); /* only compared */
    return now == (PyObject *)self
               ? PyObject_SetAttr(self->loop, name, self->limit)
               : 0;
}

static PyObject *
hush_richcompare(PyObject *op, PyObject *other, int operation)
{
    (void)other;
    (void)operation;
    if (put_back(twr_state_of(op), (Hush *)op) < 0) {
        return NULL;
    }
    Py_RETURN_FALSE;
}

static void
hush_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    Py_DECREF(((Hush *)op)->loop);
    Py_DECREF(((Hush *)op)->limit);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyType_Slot hush_slots[] = {
    {Py_tp_dealloc, hush_dealloc},
    {Py_tp_richcompare, hush_richcompare},
    {Py_tp_hash, PyObject_HashNotImplemented},
    {0, NULL},
};

PyType_Spec twr_hush_spec = {
    .name = "tworoutine._core.Hush",
    .basicsize = sizeof(Hush),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = hush_slots,
};

int
twr_hush(TwrState *state, PyObject *loop)
{
    PyObject *name = state->names.slow_callback_duration;
    int debug = twr_loop_flag(loop, state->names._debug);
    if (debug <= 0) {
        return debug;
    }
    PyObject *limit = PyObject_GetAttr(loop, name);
    if (limit == NULL || Py_IS_TYPE(limit, state->hush_type)) {
        Py_XDECREF(limit);
        return limit == NULL ? -1 : 0;
    }
    Hush *self = PyObject_New(Hush, state->hush_type);
    if (self == NULL) {
        Py_DECREF(limit);
        return -1;
    }
    self->loop = Py_NewRef(loop);
    self->limit = limit;
    int set = PyObject_SetAttr(loop, name, (PyObject *)self);
    Py_DECREF(self);
    return set;
}

int
twr_unhush(TwrState *state, PyObject *loop)
{
    int debug = twr_loop_flag(loop, state->names._debug);
    if (debug <= 0) {
        return debug;
    }
    PyObject *limit =
        PyObject_GetAttr(loop, state->names.slow_callback_duration);
    int result = limit == NULL ? -1 : 0;
    if (limit != NULL && Py_IS_TYPE(limit, state->hush_type)) {
        result = put_back(state, (Hush *)limit);
    }
    Py_XDECREF(limit);
    return result;
}
