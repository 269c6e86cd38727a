/* face/dual.c - objects of somebody's asynchronous class, in both idioms. */
#include "face/dual.h"

#include "coro/awaitable.h"

Dual *
twr_dual(TwrState *state, PyObject *op)
{
    return PyObject_TypeCheck(op, state->types.dual) ? (Dual *)op : NULL;
}

/* The first of n objects that is a dual; n: none is. */
static Py_ssize_t
find_dual(TwrState *state, PyObject *const *items, Py_ssize_t n)
{
    Py_ssize_t i = 0;
    while (i < n && twr_dual(state, items[i]) == NULL) {
        i++;
    }
    return i;
}

/* What op stands for, as an argument. */
static PyObject *
raw_of(TwrState *state, PyObject *op)
{
    Dual *dual = twr_dual(state, op);
    return Py_NewRef(dual == NULL ? op : dual->raw);
}

/* A list, or tuple, with what duals in it stand for. */
static PyObject *
raw_of_items(TwrState *state, PyObject *op)
{
    Py_ssize_t n = PySequence_Fast_GET_SIZE(op);
    if (find_dual(state, PySequence_Fast_ITEMS(op), n) == n) {
        return Py_NewRef(op);
    }
    /* 3.11 may collect as one is made, and a finalizer change op. */
    PyObject *items = PyList_New(0);
    for (Py_ssize_t i = 0; items != NULL && i < PySequence_Fast_GET_SIZE(op);
         i++) {
        PyObject *item = raw_of(state, PySequence_Fast_GET_ITEM(op, i));
        if (PyList_Append(items, item) < 0) {
            Py_CLEAR(items);
        }
        Py_DECREF(item);
    }
    if (items != NULL && PyTuple_CheckExact(op)) {
        Py_SETREF(items, PyList_AsTuple(items));
    }
    return items;
}

static PyObject *
raw_of_argument(Dual *self, PyObject *op)
{
    return self->is_deep && (PyList_CheckExact(op) || PyTuple_CheckExact(op))
               ? raw_of_items(self->state, op)
               : raw_of(self->state, op);
}

/* Whether any of n arguments may have to give way to another. */
static bool
has_dual(Dual *self, PyObject *const *args, Py_ssize_t n)
{
    if (find_dual(self->state, args, n) < n) {
        return true;
    }
    for (Py_ssize_t i = 0; self->is_deep && i < n; i++) {
        if (PyList_CheckExact(args[i]) || PyTuple_CheckExact(args[i])) {
            return true;
        }
    }
    return false;
}

int
twr_dual_take_args(Dual *self, TwrArgs *args)
{
    Py_ssize_t n =
        PyVectorcall_NARGS(args->nargsf) +
        (args->kwnames == NULL ? 0 : PyTuple_GET_SIZE(args->kwnames));
    args->own = NULL;
    args->n = 0;
    if (!has_dual(self, args->args, n)) {
        return 0;
    }
    args->own = PyMem_New(PyObject *, n);
    if (args->own == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (; args->n < n; args->n++) {
        args->own[args->n] = raw_of_argument(self, args->args[args->n]);
        if (args->own[args->n] == NULL) {
            twr_dual_drop_args(args);
            return -1;
        }
    }
    args->args = args->own;
    args->nargsf = (size_t)PyVectorcall_NARGS(args->nargsf);
    return 0;
}

void
twr_dual_drop_args(TwrArgs *args)
{
    if (args->own == NULL) {
        return;
    }
    PyObject *pending = twr_error_take();
    for (Py_ssize_t i = 0; i < args->n; i++) {
        Py_DECREF(args->own[i]);
    }
    PyMem_Free(args->own);
    args->own = NULL;
    twr_error_put(pending);
}

/* Whether the type of op has both methods of a pair. */
static int
has_both(PyObject *op, PyObject *one, PyObject *other)
{
    PyObject *type = (PyObject *)Py_TYPE(op), *found;
    int has = PyObject_GetOptionalAttr(type, one, &found);
    Py_XDECREF(found);
    if (has > 0) {
        has = PyObject_GetOptionalAttr(type, other, &found);
        Py_XDECREF(found);
    }
    return has;
}

static int
can_be_entered(TwrState *state, PyObject *op)
{
    return has_both(op, state->names.__aenter__, state->names.__aexit__);
}

static bool
can_be_iterated(PyObject *op)
{
    PyAsyncMethods *async = Py_TYPE(op)->tp_as_async;
    return async != NULL &&
           (async->am_aiter != NULL || async->am_anext != NULL);
}

int
twr_dual_look(TwrState *state)
{
    PyObject *use = twr_cold(state, COLD_how_used, NULL);
    long number = use == NULL ? -1 : PyLong_AsLong(use);
    Py_XDECREF(use);
    return (int)number;
}

/* Whether made, which can be awaited, is for the `with` or `for` in which the
 * call stands. */
static int
is_used_as_made(TwrState *state, PyObject *made, int use)
{
    int enters = can_be_entered(state, made);
    if (enters < 0) {
        return -1;
    }
    bool iterates = can_be_iterated(made);
    if (use == USE_UNKNOWN && (enters || iterates)) {
        use = twr_dual_look(state);
    }
    return use < 0
               ? -1
               : (enters && use == USE_WITH) || (iterates && use == USE_FOR);
}

int
twr_dual_waits_for(Dual *self, PyObject *made, TwrUse use)
{
    if (made == self->raw || !twr_is_awaitable(made)) {
        return 0;
    }
    if (PyCoro_CheckExact(made)) {
        return 1;
    }
    int other = self->is_class ? PyObject_IsInstance(made, self->raw) : 0;
    if (other == 0) {
        other = is_used_as_made(self->state, made, use);
    }
    return other < 0 ? -1 : !other;
}

int
twr_dual_is_for_more(TwrState *state, PyObject *op)
{
    return can_be_iterated(op) ? 1 : can_be_entered(state, op);
}

/* Whether value is what never becomes a dual, as most results are. */
static bool
is_plain(PyObject *value)
{
    return value == Py_None || PyBool_Check(value) ||
           PyLong_CheckExact(value) || PyFloat_CheckExact(value) ||
           PyUnicode_CheckExact(value) || PyBytes_CheckExact(value);
}

PyObject *
twr_dual_show(Dual *self, PyObject *value)
{
    if (value == NULL || is_plain(value) ||
        (!self->is_deep && !self->is_class)) {
        if (value == self->raw) {
            Py_SETREF(value, Py_NewRef((PyObject *)self));
        }
        return value;
    }
    PyObject *shown =
        twr_cold(self->state, COLD_dual_show, "(OO)", (PyObject *)self, value);
    Py_DECREF(value);
    return shown;
}

PyObject *
twr_dual_show_made(Dual *self, PyObject *made)
{
    bool is_dual = made == self->raw || twr_dual(self->state, made) != NULL;
    int is_for_more = is_dual ? 0 : twr_dual_is_for_more(self->state, made);
    if (is_for_more < 0) {
        return NULL;
    }
    return is_for_more ? twr_cold(self->state, COLD_dual_made, "(OO)",
                                  (PyObject *)self, made)
                       : twr_dual_show(self, Py_NewRef(made));
}
