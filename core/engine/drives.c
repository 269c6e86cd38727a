/* engine/drives.c - the loops that a thread drives: a record of each. */
#include "engine/drives.h"

#include "asyncio/quick.h"

static int
driven_traverse(PyObject *op, visitproc visit, void *arg)
{
    Driven *driven = (Driven *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(driven->it.loop);
    Py_VISIT(driven->it.ready);
    Py_VISIT(driven->it.quick.dict);
    Py_VISIT(driven->it.quick.epoll);
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
    twr_quick_end(&driven->it);
    Py_CLEAR(driven->it.until);
    Py_CLEAR(driven->native);
    Py_CLEAR(driven->native_error);
    Py_CLEAR(driven->carriers);
    return 0;
}

static PyType_Slot driven_slots[] = {
    {Py_tp_traverse, driven_traverse},
    {Py_tp_clear, driven_clear},
    {Py_tp_dealloc, twr_dealloc},
    {0, NULL},
};

PyType_Spec twr_driven_spec = {
    .name = "tworoutine._core.Driven",
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

/* The Driven of loop in th->drives.kept; NULL without error: none. */
static Driven *
find_kept(Thread *th, PyObject *loop)
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
    Driven *driven = find_kept(th, loop);
    if (driven != NULL) {
        return driven;
    }
    driven = driven_new(th, loop);
    /* As that was made, 3.11 may have run a finalizer that made a call. */
    Driven *other = driven == NULL ? NULL : find_kept(th, loop);
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

/* Take driven out of th->drives.kept. */
static int
remove_kept(Thread *th, Driven *driven)
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
    if (driven->parked != NULL || driven->it.loop == th->run.own_loop) {
        return 0;
    }
    PyObject *pending = twr_error_take();
    int result = remove_kept(th, driven);
    twr_error_put(pending);
    return result;
}

void
twr_drives_drop(Thread *th)
{
    PyObject *kept = th->drives.kept;
    for (Py_ssize_t i = 0; kept != NULL && i < PyList_GET_SIZE(kept); i++) {
        ((Driven *)PyList_GET_ITEM(kept, i))->thread = NULL;
    }
    Py_CLEAR(th->drives.now);
    Py_CLEAR(th->drives.kept);
}

void
twr_driven_forget_loop(Thread *th, PyObject *loop)
{
    Driven *driven = find_kept(th, loop);
    if (driven != NULL && driven->parked == NULL &&
        remove_kept(th, driven) < 0) {
        PyErr_WriteUnraisable(loop);
    }
    Py_XDECREF(driven);
}
