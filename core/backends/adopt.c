/* backends/adopt.c - tasks that are made past the factory of a loop. */
#include "backends/adopt.h"

#include "asyncio/task.h"
#include "asyncio/task_fields.h"

int
twr_adopt(TwrState *state, PyObject *task)
{
    if (twr_task_why_not(state, task) != NULL) {
        return 0;
    }
    PyObject *coro = twr_task_coro(state, task);
    if (coro == NULL || coro == Py_None || /* it is done */
        Py_IS_TYPE(coro, state->types.portal)) {
        Py_XDECREF(coro);
        return PyErr_Occurred() ? -1 : 0;
    }
    PyObject *portal =
        PyObject_CallOneArg((PyObject *)state->types.portal, coro);
    int result = portal == NULL ? -1 : twr_task_set_coro(state, task, portal);
    Py_XDECREF(portal);
    Py_DECREF(coro);
    return result;
}

/* bound: the module and the loop's own method, which is called as we are. */
static PyObject *
adopting_call_soon(PyObject *bound, PyObject *const *args, Py_ssize_t n,
                   PyObject *names)
{
    TwrState *state = twr_state(PyTuple_GET_ITEM(bound, 0));
    PyObject *task = n == 0 ? NULL : twr_task_of_callback(state, args[0]);
    if (task != NULL && twr_adopt(state, task) < 0) {
        return NULL;
    }
    return PyObject_Vectorcall(PyTuple_GET_ITEM(bound, 1), args, (size_t)n,
                               names);
}

static PyMethodDef adopting_def = {
    "call_soon", (PyCFunction)(void (*)(void))adopting_call_soon,
    METH_FASTCALL | METH_KEYWORDS,
    "As the loop's own, with tasks made past its factory in portals."};

PyObject *
twr_adopt_in(PyObject *module, PyObject *call_soon)
{
    PyObject *bound = PyTuple_Pack(2, module, call_soon);
    PyObject *function =
        bound == NULL ? NULL : PyCFunction_New(&adopting_def, bound);
    Py_XDECREF(bound);
    return function;
}
