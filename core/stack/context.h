/* stack/context.h - leaving and entering contextvars contexts.
 *
 * A Context can be entered once at a time.  A parked call would keep its
 * Context entered, and every other callback that shares it could not run; so
 * a call that parks leaves all contexts that are entered in its greenlet, and
 * enters them again, outermost first, when it goes on.
 *
 * "What was left" is NULL (nothing), one Context, or a list of several,
 * innermost first.  What enters again keeps a pending exception, and returns
 * -1 if it has failed, with an exception pending in any case. */
#ifndef TWR_CONTEXT_H
#define TWR_CONTEXT_H

#include "stack/greenlet.h"

/* Look where this Python's Context says whether it is entered. */
int twr_context_init(TwrState *state);

/* The Context in which the code runs: itself, and no copy. */
PyObject *twr_context_current(void);

/* What the running greenlet has for a context, to be put back by
 * twr_context_restore(); may be NULL without error. */
PyObject *twr_context_save(void);

/* Put back what the running greenlet had (stolen), whoever has changed it. */
void twr_context_restore(PyObject *saved);

/* Leave all contexts that are entered in the running greenlet; *left is set to
 * what was left, or NULL if that has failed: then all are entered again. */
int twr_context_leave(TwrState *state, PyObject **left);

/* Enter again what was left. */
int twr_context_enter(PyObject *left);

/* Leave all contexts that are entered in the greenlets which wait for the
 * running one, from its parent on down to root.  *left is set to a list of
 * pairs (greenlet, what was left there), or NULL if that has failed: then all
 * are entered again. */
int twr_context_leave_below(TwrState *state, PyObject *root, PyObject **left);

/* Enter again what twr_context_leave_below() left. */
int twr_context_enter_below(PyObject *left);

/* If the outermost contexts of *left are those of before, replace them by
 * those of now; each of the three is what was left. */
int twr_context_rebase(PyObject **left, PyObject *before, PyObject *now);

#endif
