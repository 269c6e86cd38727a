/* coro/step.c - one step of a coroutine, from outside. */
#include "coro/step.h"

PyObject *
twr_step_return(PySendResult how, PyObject *result)
{
    if (how == PYGEN_RETURN) {
        PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, result);
        Py_CLEAR(result);
        twr_error_put(stop);
    }
    return result;
}

PyObject *
twr_step_send(PyObject *self, PyObject *value)
{
    PyObject *result;
    PySendResult how = PyIter_Send(self, value, &result);
    return twr_step_return(how, result);
}

PyObject *
twr_step_next(PyObject *self)
{
    return twr_step_send(self, Py_None);
}

PyObject *
twr_step_exception(PyObject *args)
{
    PyObject *type, *value = NULL, *tb = NULL, *exc = NULL;
    if (!PyArg_UnpackTuple(args, "throw", 1, 3, &type, &value, &tb)) {
        return NULL;
    }
    if (PyExceptionInstance_Check(type)) {
        exc = Py_NewRef(type);
    }
    else if (!PyExceptionClass_Check(type)) {
        return PyErr_Format(PyExc_TypeError,
                            "throw() takes an exception, not %R", type);
    }
    else if (value != NULL && PyObject_IsInstance(value, type) > 0) {
        exc = Py_NewRef(value);
    }
    else if (value == NULL || value == Py_None) {
        exc = PyObject_CallNoArgs(type);
    }
    else {
        exc = PyObject_CallOneArg(type, value);
    }
    if (exc != NULL && !PyExceptionInstance_Check(exc)) {
        PyErr_Format(PyExc_TypeError,
                     "calling %R should have returned an instance of "
                     "BaseException, not %R",
                     type, exc);
        Py_CLEAR(exc);
    }
    if (exc != NULL && tb != NULL && tb != Py_None &&
        PyException_SetTraceback(exc, tb) < 0) {
        Py_CLEAR(exc);
    }
    return exc;
}

/* Turn a pending StopIteration into its value, as yield from does. */
static PySendResult
take_stop(PyObject **value)
{
    if (!PyErr_ExceptionMatches(PyExc_StopIteration)) {
        return PYGEN_ERROR;
    }
    PyObject *stop = twr_error_take();
    *value = Py_NewRef(((PyStopIterationObject *)stop)->value);
    Py_DECREF(stop);
    return PYGEN_RETURN;
}

PySendResult
twr_step_throw(TwrState *state, PyObject *iterator, PyObject **error,
               PyObject **value)
{
    *value = NULL;
    PyObject *throw;
    if (PyObject_GetOptionalAttr(iterator, state->names.throw, &throw) < 0) {
        return PYGEN_ERROR;
    }
    if (throw == NULL) {
        twr_raise(error);
        return PYGEN_ERROR;
    }
    PyObject *exc = *error;
    *error = NULL;
    *value = PyObject_CallOneArg(throw, exc);
    Py_DECREF(throw);
    Py_DECREF(exc);
    return *value != NULL ? PYGEN_NEXT : take_stop(value);
}
