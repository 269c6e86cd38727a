/* attrs.c - what people look at on a tworoutine.
 *
 * A name is looked up in what was assigned to the tworoutine, then in what
 * was assigned to the one that it was bound from, then in fn.  The names that
 * the type itself has for its own use (__doc__, __module__) are those of the
 * function all the same.
 *
 * Frameworks that want a function find one: __code__, __defaults__ and their
 * like are fn's, with the flags of what a call of the tworoutine returns,
 * since inspect.iscoroutinefunction must not take it for an async function. */
#include "twr.h"

#include <string.h>

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
is_func(PyObject *name)
{
    return PyUnicode_CompareWithASCIIString(name, "__func__") == 0;
}

/* Names that may be asked of fn if the tworoutine has none. */
static bool
is_passed_on(TwrState *state, PyObject *name)
{
    if (name == state->names.__self__ || is_func(name) ||
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

/* adapters.<function>(first, second), of which the latter may be NULL. */
static PyObject *
adapted(TwrState *state, const char *function, PyObject *first,
        PyObject *second)
{
    PyObject *adapters = twr_adapters(state);
    return adapters == NULL
               ? NULL
               : PyObject_CallMethod(adapters, function,
                                     second == NULL ? "(O)" : "OO", first,
                                     second);
}

/* What fn itself has under that name, as a tworoutine shows it. */
static PyObject *
get_of_function(TwrState *state, PyObject *fn, PyObject *name)
{
    PyObject *value = PyObject_GetAttr(fn, name);
    if (value != NULL && name == state->names.__code__) {
        Py_SETREF(value, adapted(state, "shown_code", fn, value));
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
        Py_SETREF(*value,
                  adapted(state, "bound_signature", self->origin, self->fn));
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

static PyObject *
get_metadata(PyObject *op, PyObject *name)
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
    if (Py_IS_TYPE(function, state->tworoutine_type)) {
        return Py_NewRef(function);
    }
    if (origin == NULL) {
        return adapted(state, "unbound", function, NULL);
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
        return get_metadata(op, name);
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
    if (PyMethod_Check(self->fn) && is_func(name)) {
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

/* functools.wraps over a tworoutine copies its __dict__: let it hold what the
 * function's holds, but for what makes a coroutine function of it. */
int
twr_tworoutine_adopt(PyObject *op)
{
    Tworoutine *self = (Tworoutine *)op;
    if (!PyFunction_Check(self->fn)) {
        return 0;
    }
    PyObject *dict = ((PyFunctionObject *)self->fn)->func_dict;
    if (dict == NULL || PyDict_GET_SIZE(dict) == 0) {
        return 0;
    }
    self->dict = PyDict_Copy(dict);
    if (self->dict == NULL) {
        return -1;
    }
    const char *const others[] = {"__wrapped__", "_is_coroutine",
                                  "_is_coroutine_mark", "__tworoutine__"};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (PyDict_DelItemString(self->dict, others[i]) < 0) {
            if (!PyErr_ExceptionMatches(PyExc_KeyError)) {
                return -1;
            }
            PyErr_Clear();
        }
    }
    return 0;
}

/* pydoc reads __doc__ past our getattro.  In the type's dictionary it finds
 * this: the type's text for the type, the function's for a tworoutine. */
static PyObject *
doc_descr_get(PyObject *op, PyObject *obj, PyObject *type)
{
    (void)type;
    TwrState *state = twr_state_of(op);
    if (obj != NULL) {
        return get_metadata(obj, state->names.__doc__);
    }
    const char *text = strstr(twr_tworoutine_doc, "--\n\n");
    return PyUnicode_FromString(text == NULL ? twr_tworoutine_doc : text + 4);
}

static void
doc_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyType_Slot doc_slots[] = {
    {Py_tp_dealloc, doc_dealloc},
    {Py_tp_descr_get, doc_descr_get},
    {0, NULL},
};

PyType_Spec twr_doc_spec = {
    .name = "tworoutine._core.Doc",
    .basicsize = sizeof(PyObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = doc_slots,
};

int
twr_tworoutine_set_doc(TwrState *state)
{
    PyObject *doc = PyObject_New(PyObject, state->doc_type);
    if (doc == NULL) {
        return -1;
    }
    PyTypeObject *type = state->tworoutine_type;
    int set = PyDict_SetItem(type->tp_dict, state->names.__doc__, doc);
    Py_DECREF(doc);
    PyType_Modified(type);
    return set;
}

/* Let a plain function be found by name, and so be pickled, as <f>.aio, if
 * what its name leads to is this very tworoutine. */
static int
name_async_form(PyObject *op)
{
    TwrState *state = twr_state_of(op);
    PyObject *adapters = twr_adapters(state);
    PyObject *none =
        adapters == NULL
            ? NULL
            : PyObject_CallMethod(adapters, "name_async_form", "OO", op,
                                  ((Tworoutine *)op)->fn);
    Py_XDECREF(none);
    return none == NULL ? -1 : 0;
}

PyObject *
twr_tworoutine_async(PyObject *op)
{
    Tworoutine *self = (Tworoutine *)op;
    if (!self->named && PyFunction_Check(self->fn)) {
        self->named = true;
        if (name_async_form(op) < 0) {
            return NULL;
        }
    }
    return Py_NewRef(self->fn);
}

static PyObject *
get_aio(PyObject *op, void *closure)
{
    (void)closure;
    return twr_tworoutine_async(op);
}

/* adapters.<closure>(f) */
static PyObject *
get_adapted(PyObject *op, void *closure)
{
    PyObject *adapters = twr_adapters(twr_state_of(op));
    return adapters == NULL
               ? NULL
               : PyObject_CallMethod(adapters, (const char *)closure, "O", op);
}

static PyObject *
tworoutine_reduce(PyObject *op, PyObject *unused)
{
    (void)unused;
    return get_adapted(op, "reduce");
}

/* What getattro finds: the names of the type, of f, and of fn if passed on. */
static PyObject *
tworoutine_dir(PyObject *op, PyObject *unused)
{
    (void)unused;
    PyObject *adapters = twr_adapters(twr_state_of(op));
    return adapters == NULL ? NULL
                            : PyObject_CallMethod(adapters, "names", "OO", op,
                                                  ((Tworoutine *)op)->fn);
}

/* As for functions, a copy is the same object. */
static PyObject *
tworoutine_copy(PyObject *op, PyObject *unused)
{
    (void)unused;
    return Py_NewRef(op);
}

/* As for methods, a deep copy of a bound one is bound to a deep copy. */
static PyObject *
tworoutine_deepcopy(PyObject *op, PyObject *memo)
{
    Tworoutine *self = (Tworoutine *)op;
    if (!PyMethod_Check(self->fn)) {
        return Py_NewRef(op);
    }
    PyObject *adapters = twr_adapters(twr_state_of(op));
    return adapters == NULL
               ? NULL
               : PyObject_CallMethod(
                     adapters, "deepcopy_bound", "OOO", op,
                     self->origin == NULL ? Py_None : self->origin, memo);
}

PyGetSetDef twr_tworoutine_getset[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {"aio", get_aio, NULL, "The asynchronous callable itself; the same as ~f.",
     NULL},
    {"map", get_adapted, NULL,
     "f.map(items, *, limit=None, progress=False, return_exceptions=False)\n\n"
     "Call f on each item at once, at most `limit` at a time, and wait for "
     "all.\nReturns the list of results in the order of items.  If some fail, "
     "all are\nstill run; then an ExceptionGroup is raised, each error noting "
     "its item, or,\nwith return_exceptions, the list holds the errors in "
     "their places.\nprogress: show a tqdm bar.  Async form: (~f.map)(items) "
     "or f.map.aio(items).",
     "fan_out_map"},
    {"as_completed", get_adapted, NULL,
     "f.as_completed(items, *, limit=None, return_exceptions=False)\n\n"
     "Call f on each item at once, at most `limit` at a time; iterate over "
     "(item,\nresult) in the order in which they finish.  An item's error is "
     "raised at its\nturn, or, with return_exceptions, yielded as its result. "
     " Leaving the loop\ncancels the rest and waits for it.  Async form: "
     "async "
     "for over\n(~f.as_completed)(items).",
     "fan_out_as_completed"},
    {NULL, NULL, NULL, NULL, NULL},
};

PyMethodDef twr_tworoutine_methods[] = {
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS,
     "tworoutine[[int], str]: for annotations."},
    {"__dir__", tworoutine_dir, METH_NOARGS, NULL},
    {"__reduce__", tworoutine_reduce, METH_NOARGS, NULL},
    {"__copy__", tworoutine_copy, METH_NOARGS, NULL},
    {"__deepcopy__", tworoutine_deepcopy, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};
