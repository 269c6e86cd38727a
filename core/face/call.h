/* face/call.h - the decorator's objects, and what calling one does.
 */
#ifndef TWR_FACE_CALL_H
#define TWR_FACE_CALL_H

#include "face/object.h"

/* A tworoutine over fn; origin: see above, may be NULL. */
PyObject *twr_tworoutine_new(TwrState *state, PyObject *fn, PyObject *origin);

/* A tworoutine over fn, which has its calls run at home; the cold module has
 * made both. */
PyObject *twr_tworoutine_new_at(TwrState *state, PyObject *fn, PyObject *home);

/* f, a tworoutine, bound to obj, as types.MethodType(f, obj). */
PyObject *twr_tworoutine_bind(PyObject *f, PyObject *obj);

/* A tworoutine over fn, a method of the object of dual, or, unbound, of its
 * class. */
PyObject *twr_tworoutine_new_of(PyObject *dual, PyObject *fn, bool unbound);

/* Whether op is known for a callable that makes a coroutine or an async
 * generator; -1: error. */
int twr_tworoutine_is_async(TwrState *state, PyObject *op);

/* What fn of op returns, called with these arguments. */
PyObject *twr_tworoutine_make(PyObject *op, PyObject *args, PyObject *kwargs);

/* Whether callee is a tworoutine whose fn makes a new coroutine in each call,
 * for certain.  Quiet. */
bool twr_tworoutine_makes_anew(TwrState *state, PyObject *callee);

/* The home of callee; borrowed, NULL without error: none.  Quiet. */
PyObject *twr_tworoutine_home(TwrState *state, PyObject *callee);

/* The home to which calls of callee are to be brought, since its function does
 * not; borrowed, NULL without error: none.  Quiet. */
PyObject *twr_tworoutine_sent(TwrState *state, PyObject *callee);

#endif
