/* coro/awaiting.h - what a task is made of that waits for no coroutine.
 *
 * A task needs a coroutine.  Where a call carries a task
 * (backends/carry.c), and what was called is an object with __await__, a
 * future, or a function that has to be called where a loop runs, an Awaiting
 * is that coroutine:
 *
 *     the first step       calls the function, then __await__, in the task, as
 *                          an `await` there would:
 *                            callee(args, kwargs) -> awaitable -> iterator
 *     this and all others  are handed on to the iterator
 *     the last step        drops all of these (over)
 *
 * An Awaiting is written in C, and so has no frame that could get into a
 * traceback.
 *
 * awaiting.c has the steps; awaiting_type.c what can be seen from outside. */
#ifndef TWR_AWAITING_H
#define TWR_AWAITING_H

#include "coro/awaitable.h"

typedef struct {
    PyObject_HEAD
    bool begun;          /* has been stepped, or closed: TwrSteppable */
    bool running;        /* a step is under way */
    bool over;           /* it has returned or raised, or was closed */
    PyObject *awaitable; /* what to wait for; NULL: not made yet, or over */
    PyObject *callee;    /* the tworoutine whose function makes it; or NULL */
    PyObject *args;      /* ... with these arguments; or NULL */
    PyObject *kwargs;    /* ... and these by name; or NULL */
    PyObject *iterator;  /* of awaitable, once begun; or NULL */
    PyObject *weakrefs;
} Awaiting;

extern PyType_Spec twr_awaiting_spec;

/* A coroutine that awaits awaitable. */
PyObject *twr_awaiting_new(TwrState *state, PyObject *awaitable);

/* A coroutine that calls callee's function and awaits what that returns;
 * kwargs may be NULL. */
PyObject *twr_awaiting_call(TwrState *state, PyObject *callee, PyObject *args,
                            PyObject *kwargs);

/* A coroutine, of which a task of loop can be made, for any awaitable that may
 * be waited for there. */
PyObject *twr_as_coroutine(TwrState *state, PyObject *awaitable,
                           PyObject *loop, PyObject *callee);

/* Drop what self holds, as after the last step; the slot tp_clear. */
int twr_awaiting_clear(PyObject *self);

/* Step with a value sent in; the slot am_send.  Switches. */
PySendResult twr_awaiting_step(PyObject *self, PyObject *value,
                               PyObject **result);

/* Step with an exception thrown in; the method throw().  Switches. */
PyObject *twr_awaiting_throw(PyObject *self, PyObject *args);

/* End the wait without a step; the method close(). */
PyObject *twr_awaiting_close(PyObject *self, PyObject *unused);

#endif
