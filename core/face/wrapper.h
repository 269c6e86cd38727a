/* face/wrapper.h - synchronous forms of what is asynchronous.
 *
 * Each step of the asynchronous object is one synchronous call of its own.
 * `async for`, `async with` and `await` are answered too, by an error that
 * names the function and its ~ form.  The types must not look asynchronous for
 * that: they have the slots, but not the names that go with them. */
#ifndef TWR_FACE_WRAPPER_H
#define TWR_FACE_WRAPPER_H

#include "base/state.h"

/* One layout for generators and managers. */
typedef struct {
    PyObject_HEAD
    PyObject *inner;  /* the async iterator, or async context manager */
    PyObject *callee; /* the tworoutine that made it, for messages */
    PyObject *late;   /* what its finalizer could not raise; or NULL */
    bool dropped;     /* the last reference went; not the collector's */
    bool asked;       /* for the next item, as an async iterator is */
} Wrapper;

/* A wrapper of that type around inner. */
PyObject *twr_wrapper_new(PyTypeObject *type, PyObject *inner,
                          PyObject *callee);

/* Take the names of asynchronous methods out of the types. */
int twr_wrapper_init(TwrState *state);

/* Wait for what inner.name(*args) returns; at most three args.  Switches. */
PyObject *twr_wrapper_wait(Wrapper *self, PyObject *name,
                           PyObject *const *args, Py_ssize_t n);

/* TypeError: the function's (...) is a synchronous <what> its (~...)(...). */
PyObject *twr_wrapper_refuse(PyObject *op, const char *what);

/* The slots that both types share. */
int twr_wrapper_traverse(PyObject *op, visitproc visit, void *arg);
/* See twr_wrapper_traverse(). */
int twr_wrapper_clear(PyObject *op);
/* See twr_wrapper_traverse(). */
void twr_wrapper_dealloc(PyObject *op);
/* See twr_wrapper_traverse(). */
PyObject *twr_wrapper_repr(PyObject *op);

#endif
