/* face/serve.c - what a tworoutine does with what its function has returned.
 */
#include "face/serve.h"

#include "await.h"
#include "coro/awaitable.h"
#include "face/dual.h"
#include "face/generator.h"
#include "face/manager.h"

/* What fn returned is no coroutine: an async generator, a context manager, or
 * a mistake; of a dual, it may be anything. */
static PyObject *
serve_other(PyObject *op, PyObject *made)
{
    TwrState *state = twr_state_of(op);
    Dual *dual = (Dual *)((Tworoutine *)op)->dual;
    PyAsyncMethods *async = Py_TYPE(made)->tp_as_async;
    if (dual == NULL ? async != NULL && async->am_anext != NULL
                     : PyAsyncGen_CheckExact(made)) {
        return twr_generator_new(state, made, op);
    }
    if (dual != NULL) {
        return twr_dual_show_made(dual, made);
    }
    PyObject *enter, *leave = NULL;
    if (PyObject_GetOptionalAttr(made, state->names.__aenter__, &enter) < 0 ||
        PyObject_GetOptionalAttr(made, state->names.__aexit__, &leave) < 0) {
        Py_XDECREF(enter);
        return NULL;
    }
    Py_XDECREF(enter);
    Py_XDECREF(leave);
    if (enter != NULL && leave != NULL) {
        return twr_manager_new(state, made, op);
    }
    return PyErr_Format(
        PyExc_TypeError,
        enter != NULL
            ? "%R returned %R, which has __aenter__ but no __aexit__"
            : "%R returned %R, which cannot be awaited; write it with async "
              "def, or return an awaitable",
        op, made);
}

int
twr_tworoutine_waits_for(PyObject *op, PyObject *made)
{
    Tworoutine *self = (Tworoutine *)op;
    return self->dual == NULL
               ? twr_is_awaitable(made)
               : twr_dual_waits_for((Dual *)self->dual, made, self->use);
}

PyObject *
twr_tworoutine_show(TwrState *state, PyObject *callee, PyObject *value)
{
    if (!twr_is_tworoutine(state, callee) ||
        ((Tworoutine *)callee)->dual == NULL) {
        return value;
    }
    return twr_dual_show((Dual *)((Tworoutine *)callee)->dual, value);
}

PyObject *
twr_tworoutine_serve(PyObject *op, PyObject *made)
{
    TwrState *state = twr_state_of(op);
    int waits = twr_tworoutine_waits_for(op, made);
    if (waits < 0) {
        return NULL;
    }
    return waits ? twr_tworoutine_show(state, op, twr_await(state, made, op))
                 : serve_other(op, made);
}
