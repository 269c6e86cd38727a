/* face/attrs.c - what a tworoutine shows of its function. */
#include "face/attrs.h"

#include "face/call.h"

/* Added to the __qualname__ of a function whose plain name leads to its
 * tworoutine, so that ~f can be pickled by name too. */
#define SUFFIX ".aio"

static bool
is_metadata(TwrState *state, PyObject *name)
{
    PyObject *const names[] = {
        state->names.__doc__,         state->names.__module__,
        state->names.__name__,        state->names.__qualname__,
        state->names.__wrapped__,     state->names.__annotations__,
        state->names.__type_params__, state->names.__signature__,
        state->names.__annotate__,    state->names.__code__,
        state->names.__defaults__,    state->names.__kwdefaults__,
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (name == names[i]) {
            return true;
        }
    }
    return false;
}

static bool
is_dunder_func(PyObject *name)
{
    return PyUnicode_CompareWithASCIIString(name, "__func__") == 0;
}

/* Names that may be asked of fn if the tworoutine has none. */
static bool
is_passed_on(TwrState *state, PyObject *name)
{
    if (name == state->names.__self__ || is_dunder_func(name) ||
        name == state->names.__isabstractmethod__) {
        return true;
    }
    return PyUnicode_GET_LENGTH(name) > 0 &&
           PyUnicode_READ_CHAR(name, 0) != '_';
}

/* What has been assigned to this very object: 1, 0, -1. */
static int
get_assigned(Tworoutine *self, PyObject *name, PyObject **value)
{
    *value =
        self->dict == NULL ? NULL : PyDict_GetItemWithError(self->dict, name);
    Py_XINCREF(*value);
    return *value != NULL ? 1 : PyErr_Occurred() ? -1 : 0;
}

/* The function's __qualname__ without SUFFIX.  Steals it. */
static PyObject *
plain_qualname(PyObject *qualname)
{
    Py_ssize_t suffix = (Py_ssize_t)sizeof(SUFFIX) - 1;
    if (!PyUnicode_Check(qualname)) {
        return qualname;
    }
    Py_ssize_t length = PyUnicode_GET_LENGTH(qualname) - suffix;
    PyObject *tail =
        PyUnicode_Substring(qualname, length < 0 ? 0 : length, PY_SSIZE_T_MAX);
    if (tail == NULL) {
        Py_DECREF(qualname);
        return NULL;
    }
    bool cut = PyUnicode_CompareWithASCIIString(tail, SUFFIX) == 0;
    Py_DECREF(tail);
    if (cut) {
        Py_SETREF(qualname, PyUnicode_Substring(qualname, 0, length));
    }
    return qualname;
}

/* Whether aio is a function's own name, and no suffix; -1 on failure. */
static int
is_called_aio(TwrState *state, PyObject *fn)
{
    PyObject *name;
    if (PyObject_GetOptionalAttr(fn, state->names.__name__, &name) < 0) {
        return -1;
    }
    int result = name != NULL && PyUnicode_Check(name) &&
                 PyUnicode_CompareWithASCIIString(name, &SUFFIX[1]) == 0;
    Py_XDECREF(name);
    return result;
}

/* What fn itself has under that name, as a tworoutine shows it. */
static PyObject *
get_of_function(TwrState *state, PyObject *fn, PyObject *name)
{
    PyObject *value = PyObject_GetAttr(fn, name);
    if (value != NULL && name == state->names.__code__) {
        Py_SETREF(value, twr_cold(state, COLD_shown_code, "(OO)", fn, value));
        return value;
    }
    if (value == NULL || name != state->names.__qualname__) {
        return value;
    }
    int aio = is_called_aio(state, fn);
    if (aio < 0) {
        Py_CLEAR(value);
    }
    return aio == 0 ? plain_qualname(value) : value;
}

/* What has been assigned to op or its origin: 1, 0, -1. */
static int
get_assigned_to_any(PyObject *op, PyObject *name, PyObject **value)
{
    Tworoutine *self = (Tworoutine *)op;
    int found = get_assigned(self, name, value);
    if (found != 0 || self->origin == NULL) {
        return found;
    }
    found = get_assigned((Tworoutine *)self->origin, name, value);
    TwrState *state = twr_state_of(op);
    if (found > 0 && name == state->names.__signature__) {
        Py_SETREF(*value, twr_cold(state, COLD_bound_signature, "(OO)",
                                   self->origin, self->fn));
        return *value == NULL ? -1 : 1;
    }
    return found;
}

/* __annotations__ where __annotate__ alone has been assigned, as by
 * functools.wraps from 3.14 on: 1, 0, -1. */
static int
get_annotated(PyObject *op, PyObject **value)
{
    PyObject *annotate;
    int found = get_assigned_to_any(op, twr_state_of(op)->names.__annotate__,
                                    &annotate);
    if (found <= 0 || annotate == Py_None) {
        Py_XDECREF(annotate);
        return found < 0 ? -1 : 0;
    }
    *value = PyObject_CallFunction(annotate, "i", 1); /* Format.VALUE */
    Py_DECREF(annotate);
    return *value == NULL ? -1 : 1;
}

PyObject *
twr_tworoutine_metadata(PyObject *op, PyObject *name)
{
    Tworoutine *self = (Tworoutine *)op;
    TwrState *state = twr_state_of(op);
    PyObject *value;
    if (get_assigned_to_any(op, name, &value) != 0) {
        return value;
    }
    if (name == state->names.__annotations__ &&
        get_annotated(op, &value) != 0) {
        return value;
    }
    return name == state->names.__wrapped__
               ? Py_NewRef(self->fn)
               : get_of_function(state, self->fn, name);
}

/* The tworoutine that a bound one is made of: where it comes from, or, for a
 * classmethod, one over its function, which lives as long. */
static PyObject *
get_func(PyObject *op)
{
    Tworoutine *self = (Tworoutine *)op;
    TwrState *state = twr_state_of(op);
    PyObject *function = PyMethod_GET_FUNCTION(self->fn);
    Tworoutine *origin = (Tworoutine *)self->origin;
    if (twr_is_tworoutine(state, function)) {
        return Py_NewRef(function);
    }
    if (origin == NULL) {
        return twr_cold(state, COLD_unbound, "(O)", function);
    }
    if (origin->fn == function) {
        return Py_NewRef(self->origin);
    }
    if (origin->inner == NULL ||
        ((Tworoutine *)origin->inner)->fn != function) {
        PyObject *inner = twr_tworoutine_new(state, function, NULL);
        if (inner == NULL) {
            return NULL;
        }
        Py_XSETREF(origin->inner, inner);
    }
    return Py_NewRef(origin->inner);
}

static PyObject *
get_attribute(PyObject *op, PyObject *name)
{
    Tworoutine *self = (Tworoutine *)op;
    TwrState *state = twr_state_of(op);
    if (is_metadata(state, name)) {
        return twr_tworoutine_metadata(op, name);
    }
    if (self->origin != NULL && name == state->names.__dict__) {
        return PyObject_GetAttr(self->origin, name);
    }
    if (name == state->names.__call__) {
        return Py_NewRef(op);
    }
    PyObject *value = PyObject_GenericGetAttr(op, name);
    if (value != NULL || !PyUnicode_Check(name) ||
        !PyErr_ExceptionMatches(PyExc_AttributeError) ||
        !is_passed_on(state, name)) {
        return value;
    }
    PyObject *missing = twr_error_take();
    Tworoutine *origin = (Tworoutine *)self->origin;
    if (origin != NULL && get_assigned(origin, name, &value) != 0) {
        Py_DECREF(missing);
        return value;
    }
    if (PyMethod_Check(self->fn) && is_dunder_func(name)) {
        Py_DECREF(missing);
        return get_func(op);
    }
    if (PyObject_GetOptionalAttr(self->fn, name, &value) == 0) {
        twr_error_put(missing);
        return NULL;
    }
    Py_DECREF(missing);
    return value;
}

PyObject *
twr_tworoutine_getattro(PyObject *op, PyObject *name)
{
    if (!PyUnicode_Check(name)) {
        return PyObject_GenericGetAttr(op, name);
    }
    Py_INCREF(name);
    PyUnicode_InternInPlace(&name); /* names are told apart by identity */
    PyObject *value = get_attribute(op, name);
    Py_DECREF(name);
    return value;
}

/* As for functions: an __annotate__ that is assigned makes the __annotations__
 * anew, and these, assigned, have no __annotate__. */
static int
forget_annotations(PyObject *op, PyObject *name, PyObject *value)
{
    PyObject *dict = ((Tworoutine *)op)->dict;
    if (PyUnicode_CompareWithASCIIString(name, "__annotate__") == 0) {
        if (value != NULL && value != Py_None && !PyCallable_Check(value)) {
            PyErr_Format(PyExc_TypeError,
                         "__annotate__ of %R must be callable or None, not "
                         "%R",
                         op, value);
            return -1;
        }
        if (value != NULL && value != Py_None && dict != NULL &&
            PyDict_GetItemString(dict, "__annotations__") != NULL) {
            return PyDict_DelItemString(dict, "__annotations__");
        }
        return 0;
    }
    TwrState *state = twr_state_of(op);
    bool late =
        value != NULL &&
        PyUnicode_CompareWithASCIIString(name, "__annotations__") == 0 &&
        PyObject_HasAttr(((Tworoutine *)op)->fn, state->names.__annotate__);
    return late ? PyObject_GenericSetAttr(op, state->names.__annotate__,
                                          Py_None)
                : 0;
}

int
twr_tworoutine_setattro(PyObject *op, PyObject *name, PyObject *value)
{
    PyObject *origin = ((Tworoutine *)op)->origin;
    if (origin != NULL) {
        PyErr_Format(PyExc_AttributeError,
                     "cannot set %R on a bound tworoutine; set it on %R", name,
                     origin);
        return -1;
    }
    if (value != NULL && !PyUnicode_Check(value) && PyUnicode_Check(name) &&
        (PyUnicode_CompareWithASCIIString(name, "__name__") == 0 ||
         PyUnicode_CompareWithASCIIString(name, "__qualname__") == 0)) {
        PyErr_Format(PyExc_TypeError, "%U of %R must be a str, not %R", name,
                     op, value);
        return -1;
    }
    if (PyUnicode_Check(name) && forget_annotations(op, name, value) < 0) {
        return -1;
    }
    return PyObject_GenericSetAttr(op, name, value);
}
