/* coro/awaiting.c - what a task is made of that waits for no coroutine. */
#include "coro/awaiting.h"

#include "asyncio/running.h"
#include "base/libraries.h"
#include "coro/step.h"

_Static_assert(offsetof(Awaiting, begun) == offsetof(TwrSteppable, begun),
               "an Awaiting begins as a TwrSteppable does");

int
twr_awaiting_clear(PyObject *op)
{
    Awaiting *self = (Awaiting *)op;
    Py_CLEAR(self->awaitable);
    Py_CLEAR(self->callee);
    Py_CLEAR(self->args);
    Py_CLEAR(self->kwargs);
    Py_CLEAR(self->iterator);
    return 0;
}

PyObject *
twr_awaiting_new(TwrState *state, PyObject *awaitable)
{
    PyTypeObject *type = state->types.awaiting;
    Awaiting *self = (Awaiting *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->awaitable = Py_XNewRef(awaitable);
    }
    return (PyObject *)self;
}

PyObject *
twr_awaiting_call(TwrState *state, PyObject *callee, PyObject *args,
                  PyObject *kwargs)
{
    Awaiting *self = (Awaiting *)twr_awaiting_new(state, NULL);
    if (self != NULL) {
        self->callee = Py_NewRef(callee);
        self->args = Py_NewRef(args);
        self->kwargs = Py_XNewRef(kwargs);
    }
    return (PyObject *)self;
}

/* Call the callee's function for self->awaitable.  If there is nothing to wait
 * for, as with an async generator, *result is set to what the callee returns.
 * Switches. */
static int
make_awaitable(TwrState *state, Awaiting *self, PyObject **result)
{
    PyObject *made =
        twr_callee_jobs.make(self->callee, self->args, self->kwargs);
    Py_CLEAR(self->args);
    Py_CLEAR(self->kwargs);
    if (made == NULL) {
        return -1;
    }
    int waits = twr_callee_jobs.waits_for(self->callee, made);
    if (waits < 0) {
        Py_DECREF(made);
        return -1;
    }
    if (!waits) {
        *result = twr_callee_jobs.serve(self->callee, made);
        Py_DECREF(made);
        return *result == NULL ? -1 : 0;
    }
    PyObject *loop = twr_running_loop(state);
    int checked = loop == NULL
                      ? -1
                      : twr_check_awaitable(state, made, loop, self->callee);
    Py_XDECREF(loop);
    Py_XSETREF(self->awaitable, made);
    return checked;
}

/* Before the first step: make self->iterator, or set *result as
 * make_awaitable().  Switches. */
static int
begin_awaiting(TwrState *state, Awaiting *self, PyObject **result)
{
    self->begun = true;
    if (self->callee != NULL && make_awaitable(state, self, result) < 0) {
        return -1;
    }
    if (*result == NULL) {
        self->iterator = twr_await_iterator(state, self->awaitable);
    }
    return *result == NULL && self->iterator == NULL ? -1 : 0;
}

/* No coroutine raises StopIteration, which would look like a result: raise a
 * RuntimeError in place of a pending one. */
static void
hide_stop(void)
{
    if (!PyErr_ExceptionMatches(PyExc_StopIteration)) {
        return;
    }
    PyObject *stop = twr_error_take();
    PyErr_SetString(PyExc_RuntimeError, "coroutine raised StopIteration");
    PyObject *error = twr_error_take();
    PyException_SetCause(error, Py_NewRef(stop));
    PyException_SetContext(error, stop);
    PyErr_SetRaisedException(error);
}

/* 0 if no step is under way, and if wants_more, the last step has not been. */
static int
check_step(const Awaiting *self, bool wants_more)
{
    if (self->running) {
        PyErr_SetString(PyExc_ValueError, "coroutine already executing");
        return -1;
    }
    /* The latter: the collector has cleared self. */
    if (wants_more &&
        (self->over || (self->begun && self->iterator == NULL))) {
        PyErr_SetString(PyExc_RuntimeError,
                        "cannot reuse already awaited coroutine");
        return -1;
    }
    return 0;
}

/* A step has ended, in that way: was it the last?  Returns how.  Keeps a
 * pending exception. */
static PySendResult
end_step(Awaiting *self, PySendResult how)
{
    self->running = false;
    if (how != PYGEN_NEXT) {
        self->over = true;
        PyObject *pending = twr_error_take();
        twr_awaiting_clear((PyObject *)self);
        twr_error_put(pending);
    }
    return how;
}

PySendResult
twr_awaiting_step(PyObject *op, PyObject *value, PyObject **result)
{
    Awaiting *self = (Awaiting *)op;
    *result = NULL;
    if (check_step(self, true) < 0) {
        return PYGEN_ERROR;
    }
    if (!self->begun && value != Py_None) {
        PyErr_SetString(
            PyExc_TypeError,
            "can't send non-None value to a just-started coroutine");
        return PYGEN_ERROR;
    }
    PySendResult how = PYGEN_RETURN;
    self->running = true;
    Py_INCREF(op);
    if (!self->begun && begin_awaiting(twr_state_of(op), self, result) < 0) {
        hide_stop();
        how = PYGEN_ERROR;
    }
    else if (self->iterator != NULL) {
        PyObject *iterator = Py_NewRef(self->iterator);
        how = PyIter_Send(iterator, value, result);
        Py_DECREF(iterator);
    }
    how = end_step(self, how);
    Py_DECREF(op);
    return how;
}

PyObject *
twr_awaiting_throw(PyObject *op, PyObject *args)
{
    Awaiting *self = (Awaiting *)op;
    PyObject *result = NULL;
    PyObject *exc =
        check_step(self, true) < 0 ? NULL : twr_step_exception(args);
    if (exc == NULL) {
        return NULL;
    }
    PySendResult how = PYGEN_ERROR;
    self->running = true;
    Py_INCREF(op);
    if (self->begun) {
        PyObject *iterator = Py_NewRef(self->iterator);
        how = twr_step_throw(twr_state_of(op), iterator, &exc, &result);
        Py_DECREF(iterator);
    }
    else {
        self->begun = true;
        PyErr_SetRaisedException(exc);
        exc = NULL;
    }
    Py_XDECREF(exc);
    how = end_step(self, how);
    Py_DECREF(op);
    return twr_step_return(how, result);
}

PyObject *
twr_awaiting_close(PyObject *op, PyObject *Py_UNUSED(unused))
{
    Awaiting *self = (Awaiting *)op;
    TwrState *state = twr_state_of(op);
    if (check_step(self, false) < 0) {
        return NULL;
    }
    PyObject *close = NULL, *none = NULL;
    if (self->iterator == NULL) {
        if (self->awaitable != NULL) {
            twr_close_awaitable(state, self->awaitable);
        }
        self->begun = true;
        none = Py_NewRef(Py_None);
    }
    else if (PyObject_GetOptionalAttr(self->iterator, state->names.close,
                                      &close) >= 0) {
        self->running = true;
        none = close == NULL ? Py_NewRef(Py_None) : PyObject_CallNoArgs(close);
        Py_XDECREF(close);
    }
    end_step(self, PYGEN_RETURN);
    return none;
}

/* On Twisted's asyncio reactor, a coroutine that does what coro (stolen) does,
 * and may wait for Deferreds; elsewhere coro. */
static PyObject *
adapt_to_deferreds(TwrState *state, PyObject *coro, PyObject *loop)
{
    if (!(twr_libraries(state) & LIBRARY_twisted)) {
        return coro;
    }
    PyObject *adapted = twr_cold(state, COLD_adapt, "(OO)", coro, loop);
    Py_DECREF(coro);
    return adapted;
}

PyObject *
twr_as_coroutine(TwrState *state, PyObject *awaitable, PyObject *loop,
                 PyObject *callee)
{
    if (twr_check_awaitable(state, awaitable, loop, callee) < 0) {
        return NULL;
    }
    bool ready = PyCoro_CheckExact(awaitable) ||
                 Py_IS_TYPE(awaitable, state->types.awaiting);
    PyObject *coro =
        ready ? Py_NewRef(awaitable) : twr_awaiting_new(state, awaitable);
    return coro == NULL ? NULL : adapt_to_deferreds(state, coro, loop);
}
