/* face/object.h - the layout of a tworoutine.
 *
 * Functions and bound methods are served alike: binding f to an object gives a
 * tworoutine over the bound method, which knows f as its origin.  So ~f is
 * always simply fn.
 *
 * Only a tworoutine over a function is a method descriptor, as the function
 * is: obj.f(x) then calls it with obj and x, and nothing is bound.  All others
 * are of a type derived from that. */
#ifndef TWR_FACE_OBJECT_H
#define TWR_FACE_OBJECT_H

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
    PyObject *dual; /* a Dual, of whose object fn is a method; or NULL */
    bool named;     /* fn's __qualname__ has been looked at: attrs.c */
    bool unbound;   /* fn is a method found on the class of dual */
    int use;        /* TwrUse, of a dual's method */
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

#endif
