/* face/dual.h - objects of somebody's asynchronous class, in both idioms.
 *
 *     dual(x).method(1)    a tworoutine over x.method, which knows its dual:
 *                          what it is given and returns passes through here
 *     with, for, [], +     a special (face/special.c) in the dual's class
 *     dual(x).attribute    x.attribute (face/dual_type.c)
 *
 * Each class C has a class of duals of its own, made by tworoutine/_dual.py,
 * which has exactly the special methods that C has.  That class itself has a
 * dual over C, hidden in it, which serves what is called on the class. */
#ifndef TWR_FACE_DUAL_H
#define TWR_FACE_DUAL_H

#include "base/state.h"

typedef struct {
    PyObject_HEAD
    PyObject *raw;     /* the object; or a class, if is_class */
    PyObject *options; /* of tworoutine/_dual.py: how to make others */
    PyObject *home;    /* where its calls run; NULL: where they are made */
    PyObject *weakrefs;
    TwrState *state;
    bool is_deep;  /* what comes out of it may become a dual, too */
    bool is_class; /* it serves the class of duals */
} Dual;

/* The dual that op is; borrowed, NULL without error: none.  Quiet. */
Dual *twr_dual(TwrState *state, PyObject *op);

/* The arguments of a call. */
typedef struct {
    PyObject *const *args;
    size_t nargsf;
    PyObject *kwnames;
    PyObject **own; /* where they stand in place of the caller's; or NULL */
    Py_ssize_t n;   /* how many there are in own */
} TwrArgs;

/* Have what duals stand for take their places among the arguments of a call
 * of one of self's methods. */
int twr_dual_take_args(Dual *self, TwrArgs *args);

/* Let go of what twr_dual_take_args() has made.  Keeps a pending exception. */
void twr_dual_drop_args(TwrArgs *args);

/* What the code that makes a call does with what that returns. */
typedef enum {
    USE_UNKNOWN, /* it is to be looked at */
    USE_VALUE,
    USE_WITH, /* it stands in a `with` ... */
    USE_FOR,  /* ... or in a `for` */
} TwrUse;

/* Whether a call waits for made, which a method of self has returned; -1:
 * error. */
int twr_dual_waits_for(Dual *self, PyObject *made, TwrUse use);

/* Whether op is for `with` or for `for`, whether or not it can be awaited; -1:
 * error. */
int twr_dual_is_for_more(TwrState *state, PyObject *op);

/* What is shown of value (stolen; NULL: a failure), which self, an attribute
 * or an iteration of it has come to. */
PyObject *twr_dual_show(Dual *self, PyObject *value);

/* What is shown of made, which a method has returned, and for which nobody
 * waits: the dual of what is for `with` or `for` alone. */
PyObject *twr_dual_show_made(Dual *self, PyObject *made);

/* Look at the code that makes this call: a TwrUse but USE_UNKNOWN; -1: error.
 */
int twr_dual_look(TwrState *state);

#endif
