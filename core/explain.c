/* explain.c - whose the two loops are, where a call has met another one. */
#include "explain.h"

#include "base/error.h"

/* The first exception of this very type among error and its contexts; NULL
 * without error: there is none. */
static PyObject *
find_error(PyObject *error, PyObject *type)
{
    PyObject *exc = Py_NewRef(error);
    for (int depth = 0; exc != NULL && depth < 10; depth++) {
        if (Py_IS_TYPE(exc, (PyTypeObject *)type)) {
            return exc;
        }
        Py_SETREF(exc, PyException_GetContext(exc));
    }
    Py_XDECREF(exc);
    return NULL;
}

void
twr_explain(const TwrPlace *place)
{
    TwrState *state = place->th->state;
    const TwrBackend *backend = place->backend;
    if (!backend->is_own_loop && !backend->is_running_loop) {
        return;
    }
    PyObject *own = NULL;
    PyObject *pending = twr_error_take();
    PyObject *error = find_error(pending, PyExc_RuntimeError);
    if (error == NULL && backend->is_running_loop &&
        place->th->run.own_loop != NULL) {
        error = find_error(pending, PyExc_TimeoutError);
        own = error == NULL ? NULL : Py_NewRef(place->th->run.own_loop);
    }
    PyObject *name = error == NULL ? NULL : twr_callee_name(place->callee);
    if (name != NULL) {
        twr_done(twr_cold(state, COLD_explain, "(OOOO)",
                          own == NULL ? error : pending, name,
                          !backend->is_running_loop ? Py_False
                          : state->has_own_loops    ? Py_True
                                                    : Py_None,
                          own == NULL ? Py_None : own));
    }
    PyErr_Clear();
    Py_XDECREF(name);
    Py_XDECREF(error);
    Py_XDECREF(own);
    twr_error_put(pending);
}
