/* stack/switch.c - the token: a switch that is meant for us, or is not. */
#include "stack/stacks.h"

#include "base/hard.h"
#include "base/libraries.h"
#include "stack/context.h"

void
twr_switch_set_active(TwrStacks *st, PyObject *greenlet)
{
    Py_XSETREF(st->active, Py_NewRef(greenlet));
}

/* Give a value or the pending exception that came to the wrong greenlet, me,
 * to the one that steps its portal, or to the active one, or to the thread's
 * first.  Steals got.  Returns as a switch does.  Switches. */
static PyObject *
forward(TwrStacks *st, PyObject *me, PyObject *got, bool *nowhere)
{
    PyObject *to = twr_stack_jobs.stray(st, me);
    if (to == NULL || !twr_greenlet_is_active(to)) {
        Py_XSETREF(to, Py_XNewRef(st->active));
    }
    if (to == NULL) {
        to = twr_greenlet_first();
    }
    /* What is switched to once it has ended goes to its parent: to us? */
    while (to != NULL && !twr_greenlet_is_active(to)) {
        Py_SETREF(to, twr_greenlet_parent(to));
    }
    *nowhere = to == me;
    if (*nowhere) {
        Py_DECREF(to);
        return got;
    }
    PyObject *exc = got == NULL ? twr_error_take() : NULL;
    PyObject *args = got == NULL ? NULL : PyTuple_Pack(1, got);
    Py_XDECREF(got);
    got = NULL;
    if (to != NULL && exc != NULL) {
        got = twr_greenlet_throw(to, exc);
    }
    else if (to != NULL && args != NULL) {
        got = twr_greenlet_switch(to, args);
    }
    Py_XDECREF(to);
    Py_XDECREF(exc);
    Py_XDECREF(args);
    return got;
}

int
twr_switch_to(TwrStacks *st, PyObject *target)
{
    PyObject *me = twr_greenlet_running();
    if (me == NULL) {
        Py_DECREF(target);
        return -1;
    }
    Py_XSETREF(st->target, Py_NewRef(target));
    PyObject *context = twr_context_save();
    twr_hard_spoil();
    PyObject *got = twr_greenlet_switch(target, NULL);
    twr_hard_spoil();
    bool nowhere = false;
    while (st->target != me) {
        if (st->target != NULL || st->active == me || nowhere) {
            /* Nobody has taken it up: the switch itself has failed. */
            if (got != NULL) {
                PyErr_SetString(PyExc_RuntimeError,
                                "the greenlet to switch to has ended");
                Py_CLEAR(got);
            }
            break;
        }
        got = forward(st, me, got, &nowhere);
    }
    Py_CLEAR(st->target);
    twr_context_restore(context);
    Py_XDECREF(got);
    PyObject *pending = twr_error_take();
    Py_DECREF(target);
    twr_error_put(pending);
    return got == NULL ? -1 : 0;
}

int
twr_switch_is_above(TwrStacks *st, PyObject *root)
{
    PyObject *greenlet = twr_greenlet_current();
    if (greenlet == NULL) {
        return -1;
    }
    PyObject *const hub = st->hub;
    while (greenlet != NULL && greenlet != root && greenlet != hub) {
        Py_SETREF(greenlet, twr_greenlet_parent(greenlet));
    }
    int above = greenlet == root;
    Py_XDECREF(greenlet);
    return above;
}

int
twr_switch_may_leave(TwrState *state, PyObject *native)
{
    if (twr_greenlet_is_killed()) {
        return 0;
    }
    if (twr_libraries(state) & LIBRARY_sqlalchemy) {
        return 0;
    }
    PyObject *parent = native == NULL ? NULL : twr_greenlet_parent(native);
    Py_XDECREF(parent);
    return parent == NULL;
}

void
twr_switch_end(TwrStacks *st, PyObject *greenlet)
{
    PyObject *me = twr_greenlet_current();
    if (me == NULL || twr_greenlet_set_parent(greenlet, me) < 0) {
        PyErr_Clear(); /* another thread's, or the interpreter is ending */
    }
    else {
        Py_XSETREF(st->target, Py_NewRef(greenlet));
        Py_XDECREF(twr_greenlet_switch(greenlet, NULL));
        PyErr_Clear();
        Py_CLEAR(st->target);
    }
    Py_XDECREF(me);
    Py_DECREF(greenlet);
}
