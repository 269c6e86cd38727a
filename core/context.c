/* context.c - leaving and entering contextvars contexts.
 *
 * A Context can be entered once at a time.  A parked call would keep its
 * Context entered, and every other callback that shares it could not run; so
 * it leaves all contexts that are entered in its greenlet, and enters them
 * again, outermost first, when it goes on. */
#include "twr.h"

PyObject *
twr_context_current(void)
{
    PyThreadState *tstate = PyThreadState_Get();
    if (tstate->context == NULL) {
        PyObject *copy = PyContext_CopyCurrent(); /* makes one */
        if (copy == NULL) {
            return NULL;
        }
        Py_DECREF(copy);
    }
    return Py_NewRef(tstate->context);
}

/* Leave the innermost context; NULL without error: none is entered. */
static PyObject *
leave_one(void)
{
    PyThreadState *tstate = PyThreadState_Get();
    if (tstate->context == NULL) {
        return NULL;
    }
    PyObject *context = Py_NewRef(tstate->context);
    if (PyContext_Exit(context) == 0) {
        return context;
    }
    /* It is the thread's own one, which nobody entered. */
    Py_DECREF(context);
    if (PyErr_ExceptionMatches(PyExc_RuntimeError)) {
        PyErr_Clear();
    }
    return NULL;
}

/* Usually one is entered: *left is then that Context; else a list. */
int
twr_context_leave(PyObject **left)
{
    *left = NULL;
    PyObject *context = leave_one();
    if (context == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    *left = context;
    context = leave_one();
    if (context == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    PyObject *list = PyList_New(0);
    int added = list == NULL ? -1 : PyList_Append(list, *left);
    while (added == 0 && context != NULL) {
        added = PyList_Append(list, context);
        Py_DECREF(context);
        context = added == 0 ? leave_one() : NULL;
    }
    Py_SETREF(*left, list);
    return added < 0 || PyErr_Occurred() ? -1 : 0;
}

int
twr_context_enter(PyObject *left)
{
    if (left == NULL) {
        return 0;
    }
    if (!PyList_CheckExact(left)) {
        return PyContext_Enter(left);
    }
    for (Py_ssize_t i = PyList_GET_SIZE(left) - 1; i >= 0; i--) {
        if (PyContext_Enter(PyList_GET_ITEM(left, i)) < 0) {
            return -1;
        }
    }
    return 0;
}
