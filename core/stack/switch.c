/* stack/switch.c - the token: a switch that is meant for us, or is not.
 *
 *     A: target = B, switch      B wakes: target == B, clears the token
 *     library: switches to A     A wakes: target != A, hands on what came */
#include "stack/stacks.h"

#include "base/hard.h"
#include "base/libraries.h"
#include "stack/context.h"

void
twr_switch_set_active(TwrStacks *st, PyObject *greenlet)
{
    Py_XSETREF(st->active, Py_NewRef(greenlet));
}

/* Who is to have what came to me by mistake: who steps my portal, or the
 * active greenlet, or the thread's first; if that has ended, its parent, who
 * may be me.  NULL without error: nobody. */
static PyObject *
find_receiver(TwrStacks *st, PyObject *me)
{
    PyObject *to = twr_stack_jobs.stray(st, me);
    if (to == NULL || !twr_greenlet_is_active(to)) {
        Py_XSETREF(to, Py_XNewRef(st->active));
    }
    if (to == NULL) {
        to = twr_greenlet_first();
    }
    while (to != NULL && !twr_greenlet_is_active(to)) {
        Py_SETREF(to, twr_greenlet_parent(to));
    }
    return to;
}

/* Switch to greenlet with a value (stolen), or if that is NULL, throw the
 * pending exception there.  Returns as a switch does.  Switches. */
static PyObject *
hand_on(PyObject *greenlet, PyObject *value)
{
    PyObject *got = NULL;
    if (value != NULL) {
        PyObject *args = PyTuple_Pack(1, value);
        Py_DECREF(value);
        if (args != NULL) {
            got = twr_greenlet_switch(greenlet, args);
            Py_DECREF(args);
        }
    }
    else {
        PyObject *exc = twr_error_take();
        got = twr_greenlet_throw(greenlet, exc);
        Py_DECREF(exc);
    }
    return got;
}

/* Hand on what came to me by mistake, got (stolen); if to me, or to nobody,
 * got is returned and *nowhere set.  Returns as a switch does.  Switches. */
static PyObject *
redirect_switch(TwrStacks *st, PyObject *me, PyObject *got, bool *nowhere)
{
    PyObject *to = find_receiver(st, me);
    *nowhere = to == me || to == NULL;
    if (!*nowhere) {
        got = hand_on(to, got);
    }
    Py_XDECREF(to);
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
            /* target has not begun to run: the switch itself has failed. */
            if (got != NULL) {
                PyErr_SetString(PyExc_RuntimeError,
                                "the greenlet to switch to has ended");
                Py_CLEAR(got);
            }
            break;
        }
        got = redirect_switch(st, me, got, &nowhere);
    }
    Py_CLEAR(st->target);
    twr_context_restore(context);
    Py_XDECREF(got);
    PyObject *pending = twr_error_take();
    Py_DECREF(target);
    if (me != st->hub) {
        Py_CLEAR(st->relayed);
    }
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
    if (twr_greenlet_is_killed() ||
        (twr_libraries(state) & LIBRARY_sqlalchemy) != 0) {
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
    st->ending = greenlet; /* no call is made until then: await.c */
    if (me == NULL || twr_greenlet_set_parent(greenlet, me) < 0) {
        PyErr_Clear(); /* of another thread, or the interpreter ends */
    }
    else {
        Py_XSETREF(st->target, Py_NewRef(greenlet));
        Py_XDECREF(twr_greenlet_switch(greenlet, NULL));
        PyErr_Clear();
        Py_CLEAR(st->target);
    }
    Py_XDECREF(me);
    Py_DECREF(greenlet);
    st->ending = NULL;
}
