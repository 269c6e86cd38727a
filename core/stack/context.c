/* stack/context.c - leaving and entering contextvars contexts.
 *
 * Below the contexts that somebody entered is one that nobody did, the
 * thread's own.  Leaving that is an error, which is cheap to ignore but dear
 * to make; so the flag that tells the two apart is looked for at import.
 * Where it cannot be found, the error is made. */
#include "stack/context.h"

/* Which ints of context are 0: one bit for each. */
static unsigned int
zero_ints(PyObject *context)
{
    unsigned int zeros = 0;
    Py_ssize_t size = Py_TYPE(context)->tp_basicsize / (Py_ssize_t)sizeof(int);
    for (Py_ssize_t i = 0; i < size && i < 32; i++) {
        zeros |= (((int *)context)[i] == 0 ? 1u : 0u) << i;
    }
    return zeros;
}

/* The index of the int that entering context, which is entered now, has set to
 * 1; before: zero_ints() then.  0: there is none.  Entering sets a pointer,
 * too, but no half of one is 1. */
static int
find_flag(PyObject *context, unsigned int before)
{
    int found = 0;
    for (int i = 0; i < 32; i++) {
        if ((before >> i & 1u) != 0 && ((int *)context)[i] == 1) {
            found = i;
        }
    }
    return found;
}

int
twr_context_init(TwrState *state)
{
    state->entered_at = 0;
    PyObject *context = PyContext_New();
    if (context == NULL) {
        return -1;
    }
    unsigned int before = zero_ints(context);
    int result = PyContext_Enter(context);
    if (result == 0) {
        int flag = find_flag(context, before);
        result = PyContext_Exit(context);
        /* What entering has set, leaving resets. */
        state->entered_at = zero_ints(context) == before ? flag : 0;
    }
    Py_DECREF(context);
    return result;
}

/* Whether context may be entered now, and so cannot be left. */
static bool
is_free(TwrState *state, PyObject *context)
{
    return state->entered_at > 0 && ((int *)context)[state->entered_at] == 0;
}

PyObject *
twr_context_current(void)
{
    PyThreadState *tstate = PyThreadState_Get();
    if (tstate->context == NULL) {
        PyObject *copy = PyContext_CopyCurrent(); /* makes one */
        if (copy == NULL) {
            return NULL;
        }
        Py_DECREF(copy);
    }
    return Py_NewRef(tstate->context);
}

PyObject *
twr_context_save(void)
{
    return Py_XNewRef(PyThreadState_Get()->context);
}

void
twr_context_restore(PyObject *saved)
{
    PyThreadState *tstate = PyThreadState_Get();
    if (tstate->context == saved) {
        Py_XDECREF(saved);
        return;
    }
    tstate->context_ver++;
    Py_XSETREF(tstate->context, saved);
}

/* Leave the innermost context; NULL without error: none is entered. */
static PyObject *
leave_one(TwrState *state)
{
    PyThreadState *tstate = PyThreadState_Get();
    if (tstate->context == NULL || is_free(state, tstate->context)) {
        return NULL;
    }
    PyObject *context = Py_NewRef(tstate->context);
    if (PyContext_Exit(context) == 0) {
        return context;
    }
    /* context is the thread's own one, which nobody has entered. */
    Py_DECREF(context);
    if (PyErr_ExceptionMatches(PyExc_RuntimeError)) {
        PyErr_Clear();
    }
    return NULL;
}

/* Add context to *left, which is what was left: usually a single Context. */
static int
add_left(PyObject **left, PyObject *context)
{
    if (*left == NULL) {
        *left = Py_NewRef(context);
        return 0;
    }
    if (!PyList_CheckExact(*left)) {
        PyObject *list = PyList_New(1);
        if (list == NULL) {
            return -1;
        }
        PyList_SET_ITEM(list, 0, *left);
        *left = list;
    }
    return PyList_Append(*left, context);
}

/* twr_context_enter() where nothing is pending. */
static int
enter_all(PyObject *left)
{
    if (!PyList_CheckExact(left)) {
        return PyContext_Enter(left);
    }
    for (Py_ssize_t i = PyList_GET_SIZE(left) - 1; i >= 0; i--) {
        if (PyContext_Enter(PyList_GET_ITEM(left, i)) < 0) {
            return -1;
        }
    }
    return 0;
}

int
twr_context_enter(PyObject *left)
{
    if (left == NULL) {
        return 0;
    }
    PyObject *pending = twr_error_take();
    int result = enter_all(left);
    twr_error_put(pending);
    return result;
}

/* What was left, as a new list. */
static PyObject *
as_list(PyObject *left)
{
    if (left != NULL && PyList_CheckExact(left)) {
        return PyList_GetSlice(left, 0, PyList_GET_SIZE(left));
    }
    PyObject *list = PyList_New(left == NULL ? 0 : 1);
    if (list != NULL && left != NULL) {
        PyList_SET_ITEM(list, 0, Py_NewRef(left));
    }
    return list;
}

/* Whether the last items of list are those of last. */
static bool
ends_with(PyObject *list, PyObject *last)
{
    Py_ssize_t more = PyList_GET_SIZE(list) - PyList_GET_SIZE(last);
    bool same = more >= 0;
    for (Py_ssize_t i = 0; same && i < PyList_GET_SIZE(last); i++) {
        same = PyList_GET_ITEM(list, more + i) == PyList_GET_ITEM(last, i);
    }
    return same;
}

int
twr_context_rebase(PyObject **left, PyObject *before, PyObject *now)
{
    if (before == now || now == NULL) {
        return 0;
    }
    PyObject *list = as_list(*left);
    PyObject *old = as_list(before);
    PyObject *lowest = as_list(now);
    int result = list == NULL || old == NULL || lowest == NULL ? -1 : 0;
    if (result == 0 && ends_with(list, old)) {
        Py_ssize_t size = PyList_GET_SIZE(list);
        result =
            PyList_SetSlice(list, size - PyList_GET_SIZE(old), size, lowest);
        if (result == 0) {
            Py_XSETREF(*left, Py_NewRef(list));
        }
    }
    Py_XDECREF(list);
    Py_XDECREF(old);
    Py_XDECREF(lowest);
    return result;
}

/* Enter again what was left, and clear *left; a failure is only reported.
 * Keeps the pending exception. */
static void
enter_anyway(PyObject **left)
{
    PyObject *pending = twr_error_take();
    if (*left != NULL && enter_all(*left) < 0) {
        PyErr_WriteUnraisable(*left);
    }
    Py_CLEAR(*left);
    twr_error_put(pending);
}

int
twr_context_leave(TwrState *state, PyObject **left)
{
    *left = NULL;
    PyObject *context;
    while ((context = leave_one(state)) != NULL) {
        if (add_left(left, context) < 0) {
            enter_anyway(&context);
            break;
        }
        Py_DECREF(context);
    }
    if (PyErr_Occurred()) {
        enter_anyway(left);
        return -1;
    }
    return 0;
}

/* Have own (may be NULL) be the context of a greenlet that does not run. Keeps
 * a pending exception. */
static int
set_context_of(PyObject *greenlet, PyObject *own)
{
    PyObject *pending = twr_error_take();
    int set = PyObject_SetAttrString(greenlet, "gr_context",
                                     own == NULL ? Py_None : own);
    twr_error_put(pending);
    return set;
}

/* Leave what is entered in a greenlet that does not run (*left is set), or
 * enter there what was left (left is NULL): as if that greenlet ran.  Keeps a
 * pending exception. */
static int
in_greenlet(TwrState *state, PyObject *greenlet, PyObject **left,
            PyObject *is_entered)
{
    PyObject *pending = twr_error_take();
    PyObject *own = PyObject_GetAttrString(greenlet, "gr_context");
    int result = -1;
    if (own != NULL) {
        PyObject *saved = twr_context_save();
        twr_context_restore(own == Py_None ? NULL : Py_NewRef(own));
        result = left != NULL ? twr_context_leave(state, left)
                              : twr_context_enter(is_entered);
        Py_SETREF(own, twr_context_save());
        if (set_context_of(greenlet, own) < 0) {
            result = -1;
            if (left != NULL) {
                enter_anyway(left); /* as the greenlet has them */
            }
        }
        twr_context_restore(saved);
    }
    Py_XDECREF(own);
    twr_error_put(pending);
    return result;
}

int
twr_context_enter_below(PyObject *left)
{
    int result = 0;
    for (Py_ssize_t i = left == NULL ? 0 : PyList_GET_SIZE(left); i > 0; i--) {
        PyObject *pair = PyList_GET_ITEM(left, i - 1);
        if (in_greenlet(NULL, PyTuple_GET_ITEM(pair, 0), NULL,
                        PyTuple_GET_ITEM(pair, 1)) < 0) {
            result = -1;
        }
    }
    return result;
}

/* Leave what is entered in greenlet, and add the pair to the list left. */
static int
add_left_of(TwrState *state, PyObject *greenlet, PyObject *left)
{
    PyObject *contexts;
    if (in_greenlet(state, greenlet, &contexts, NULL) < 0) {
        return -1;
    }
    if (contexts == NULL) {
        return 0;
    }
    PyObject *pair = PyTuple_Pack(2, greenlet, contexts);
    int added = pair == NULL ? -1 : PyList_Append(left, pair);
    Py_XDECREF(pair);
    if (added < 0) {
        in_greenlet(state, greenlet, NULL, contexts);
    }
    Py_DECREF(contexts);
    return added;
}

int
twr_context_leave_below(TwrState *state, PyObject *root, PyObject **left)
{
    PyObject *list = PyList_New(0);
    PyObject *greenlet = list == NULL ? NULL : twr_greenlet_current();
    int result = greenlet == NULL ? -1 : 0;
    while (result == 0 && greenlet != NULL && greenlet != root) {
        Py_SETREF(greenlet, twr_greenlet_parent(greenlet));
        result = greenlet != NULL   ? add_left_of(state, greenlet, list)
                 : PyErr_Occurred() ? -1
                                    : 0;
    }
    Py_XDECREF(greenlet);
    if (result < 0) {
        twr_context_enter_below(list);
        Py_CLEAR(list);
    }
    *left = list;
    return result;
}
