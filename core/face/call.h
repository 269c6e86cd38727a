/* face/call.h - the decorator's objects, and what calling one does.
 *
 * Functions and bound methods are served alike: binding f to an object gives a
 * tworoutine over the bound method, which knows f as its origin.  So ~f is
 * always simply fn.
 *
 * Only a tworoutine over a function is a method descriptor, as the function
 * is: obj.f(x) then calls it with obj and x, and nothing is bound.  All others
 * are of a type derived from that. */
#ifndef TWR_FACE_CALL_H
#define TWR_FACE_CALL_H

#include "base/state.h"

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *fn;     /* the asynchronous callable */
    PyObject *origin; /* the tworoutine that this one was bound from; NULL */
    PyObject *home; /* where fn has its calls run; NULL: where they are made */
    PyObject *inner; /* of a classmethod: a tworoutine over its function */
    PyObject *dict;
    PyObject *weakrefs;
    bool named; /* fn's __qualname__ has been looked at: attrs.c */
    enum {
        MAKES_UNKNOWN, /* not looked at yet */
        MAKES_ONLY,    /* calling fn makes a coroutine, and does no more */
        MAKES_MORE,    /* it may ask for the running loop */
    } makes;
} Tworoutine;

/* Whether op is a tworoutine.  Quiet. */
static inline bool
twr_is_tworoutine(TwrState *state, PyObject *op)
{
    return PyObject_TypeCheck(op, state->types.tworoutine);
}

/* A tworoutine over fn; origin: see above, may be NULL. */
PyObject *twr_tworoutine_new(TwrState *state, PyObject *fn, PyObject *origin);

/* A tworoutine over fn, which has its calls run at home; the cold module has
 * made both. */
PyObject *twr_tworoutine_new_at(TwrState *state, PyObject *fn, PyObject *home);

/* f, a tworoutine, bound to obj, as types.MethodType(f, obj). */
PyObject *twr_tworoutine_bind(PyObject *f, PyObject *obj);

/* What fn of op returns, called with these arguments. */
PyObject *twr_tworoutine_make(PyObject *op, PyObject *args, PyObject *kwargs);

/* Wait for what fn of op returned, or wrap it for iteration or with.
 * Switches. */
PyObject *twr_tworoutine_serve(PyObject *op, PyObject *made);

/* Whether callee is a tworoutine whose fn makes a new coroutine in each call,
 * for certain.  Quiet. */
bool twr_tworoutine_makes_anew(TwrState *state, PyObject *callee);

/* The home of callee; borrowed, NULL without error: none.  Quiet. */
PyObject *twr_tworoutine_home(TwrState *state, PyObject *callee);

#endif
