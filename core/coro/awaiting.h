/* coro/awaiting.h - what a task is made of that waits for no coroutine.
 *
 * A task needs a coroutine.  Where a call carries one (backends/callback.c),
 * and what was called is an object with __await__, a future, or a function
 * that has to be called where a loop runs, an Awaiting stands for it: asked
 * for the first step, it calls the function, and then __await__, in the task,
 * as an `await` there would; from then on it passes on what it is asked.  It
 * is written in C, so it has no frame that could get into a traceback.
 *
 * awaiting.c steps it; awaiting_type.c is what can be seen of it. */
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
    PyObject *iterator;  /* what it iterates over, once begun; or NULL */
    PyObject *weakrefs;
} Awaiting;

extern PyType_Spec twr_awaiting_spec;

/* A coroutine, without a frame, that awaits awaitable. */
PyObject *twr_awaiting_new(TwrState *state, PyObject *awaitable);

/* A coroutine that calls callee's function and awaits what that returns;
 * kwargs may be NULL. */
PyObject *twr_awaiting_call(TwrState *state, PyObject *callee, PyObject *args,
                            PyObject *kwargs);

/* A coroutine, of which a task of loop can be made, for any awaitable that may
 * be waited for there. */
PyObject *twr_as_coroutine(TwrState *state, PyObject *awaitable,
                           PyObject *loop, PyObject *callee);

/* Drop what self holds, as when a step was the last one. */
int twr_awaiting_clear(PyObject *self);

/* Step with a value sent in; the slot am_send.  Switches. */
PySendResult twr_awaiting_step(PyObject *self, PyObject *value,
                               PyObject **result);

/* Step with an exception thrown in; the method throw().  Switches. */
PyObject *twr_awaiting_throw(PyObject *self, PyObject *args);

/* End it without a step of its own; the method close(). */
PyObject *twr_awaiting_close(PyObject *self, PyObject *unused);

#endif
