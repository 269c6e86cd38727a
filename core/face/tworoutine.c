/* face/tworoutine.c - the decorator type: make one, bind it, turn it with ~.
 */
#include "face/tworoutine.h"

#include "coro/awaitable.h"
#include "face/attrs.h"
#include "face/call.h"
#include "face/methods.h"

/* fn itself, or, where fn is a bound method or a partial of a tworoutine,
 * the same made of what the tworoutine is made of. */
static PyObject *
make_from_callable(TwrState *state, PyObject *fn)
{
    if (twr_is_tworoutine(state, fn)) {
        return Py_NewRef(fn);
    }
    if (PyMethod_Check(fn) &&
        twr_is_tworoutine(state, PyMethod_GET_FUNCTION(fn))) {
        return twr_tworoutine_bind(PyMethod_GET_FUNCTION(fn),
                                   PyMethod_GET_SELF(fn));
    }
    if (PyObject_TypeCheck(fn, (PyTypeObject *)state->partial)) {
        fn = twr_cold(state, COLD_unwrap_partial, "(O)", fn);
        if (fn == NULL) {
            return NULL;
        }
    }
    else {
        Py_INCREF(fn);
    }
    PyObject *self = twr_tworoutine_new(state, fn, NULL);
    Py_DECREF(fn);
    return self;
}

/* What may be meant by something that cannot be called. */
static const char *
hint_at_mistake(PyObject *op)
{
    if (twr_is_awaitable(op) || PyAsyncGen_CheckExact(op)) {
        return "; pass the function, without calling it";
    }
    return PyObject_TypeCheck(op, &PyProperty_Type)
               ? "; put @property above @tworoutine"
               : "";
}

/* tworoutine(func, obj): with the arguments of types.MethodType, what stands
 * for that.  Registries of callbacks rebuild a method so from its parts. */
static PyObject *
new_bound(TwrState *state, PyObject *func, PyObject *obj)
{
    PyObject *fn =
        twr_is_tworoutine(state, func) ? ((Tworoutine *)func)->fn : func;
    if (!PyCallable_Check(fn)) {
        return PyErr_Format(PyExc_TypeError,
                            "tworoutine(f, obj) binds a function, not %R; a "
                            "classmethod is bound by its class",
                            func);
    }
    if (obj == Py_None) {
        return PyErr_Format(PyExc_TypeError,
                            "tworoutine(f, obj) cannot bind %R to None; "
                            "options are not taken either",
                            func);
    }
    if (twr_is_tworoutine(state, func)) {
        return twr_tworoutine_bind(func, obj);
    }
    PyObject *method = PyMethod_New(func, obj);
    PyObject *self =
        method == NULL ? NULL : twr_tworoutine_new(state, method, NULL);
    Py_XDECREF(method);
    return self;
}

/* tworoutine(fn, home=home): the cold module makes of fn what goes there. */
static PyObject *
make_at_home(TwrState *state, PyObject *fn, PyObject *home)
{
    PyObject *self = NULL;
    PyObject *made = twr_cold(state, COLD_at_home, "(OO)", fn, home);
    if (made != NULL && PyTuple_Check(made) && PyTuple_GET_SIZE(made) == 2) {
        self = twr_tworoutine_new_at(state, PyTuple_GET_ITEM(made, 0),
                                     PyTuple_GET_ITEM(made, 1));
    }
    else if (made != NULL) {
        return made; /* a bound one */
    }
    Py_XDECREF(made);
    return self;
}

static PyObject *
tworoutine_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    TwrState *state = (TwrState *)PyType_GetModuleState(type);
    bool named = kwargs != NULL && PyDict_GET_SIZE(kwargs) != 0;
    PyObject *home = NULL;
    if (named && PyDict_GET_SIZE(kwargs) == 1) {
        home = PyDict_GetItemWithError(kwargs, state->names.home);
        if (home == NULL && PyErr_Occurred()) {
            return NULL;
        }
        named = home == NULL;
    }
    if (home != NULL && PyTuple_GET_SIZE(args) == 0) {
        return twr_cold(state, COLD_decorator, "(O)", home);
    }
    if (PyTuple_GET_SIZE(args) == 2 && !named && home == NULL) {
        return new_bound(state, PyTuple_GET_ITEM(args, 0),
                         PyTuple_GET_ITEM(args, 1));
    }
    if (PyTuple_GET_SIZE(args) != 1 || named) {
        PyErr_SetString(PyExc_TypeError,
                        "tworoutine() takes one async function, by position, "
                        "and no option but home: write @tworoutine, without "
                        "parentheses");
        return NULL;
    }
    PyObject *fn = PyTuple_GET_ITEM(args, 0);
    if (!PyCallable_Check(fn) &&
        !PyObject_TypeCheck(fn, &PyClassMethod_Type) &&
        !PyObject_TypeCheck(fn, &PyStaticMethod_Type)) {
        PyErr_Format(PyExc_TypeError,
                     "tworoutine() takes an async function or another "
                     "callable that returns an awaitable, not %R%s",
                     fn, hint_at_mistake(fn));
        twr_close_awaitable(state, fn);
        return NULL;
    }
    return home == NULL ? make_from_callable(state, fn)
                        : make_at_home(state, fn, home);
}

static int
tworoutine_traverse(PyObject *op, visitproc visit, void *arg)
{
    Tworoutine *self = (Tworoutine *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->fn);
    Py_VISIT(self->origin);
    Py_VISIT(self->home);
    Py_VISIT(self->inner);
    Py_VISIT(self->dual);
    Py_VISIT(self->dict);
    return 0;
}

static int
tworoutine_clear(PyObject *op)
{
    Tworoutine *self = (Tworoutine *)op;
    Py_CLEAR(self->fn);
    Py_CLEAR(self->origin);
    Py_CLEAR(self->home);
    Py_CLEAR(self->inner);
    Py_CLEAR(self->dual);
    Py_CLEAR(self->dict);
    return 0;
}

static PyObject *
tworoutine_descr_get(PyObject *op, PyObject *obj, PyObject *type)
{
    Tworoutine *self = (Tworoutine *)op;
    descrgetfunc get = Py_TYPE(self->fn)->tp_descr_get;
    if (get == NULL) {
        return Py_NewRef(op);
    }
    PyObject *bound = get(self->fn, obj, type);
    if (bound == NULL || bound == self->fn) {
        Py_XDECREF(bound);
        return bound == NULL ? NULL : Py_NewRef(op);
    }
    PyObject *result = twr_tworoutine_new(twr_state_of(op), bound, op);
    Py_DECREF(bound);
    return result;
}

/* Whether two are the same function bound to the same: methods are by what
 * they are made of, static methods if they come from the same tworoutine. */
static bool
may_be_equal(Tworoutine *self, Tworoutine *other)
{
    return (self->origin != NULL && self->origin == other->origin) ||
           (PyMethod_Check(self->fn) && PyMethod_Check(other->fn));
}

/* Two bound accesses are equal as methods are; else only f equals f. */
static PyObject *
tworoutine_richcompare(PyObject *op, PyObject *other, int operation)
{
    if (operation != Py_EQ && operation != Py_NE) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    Tworoutine *self = (Tworoutine *)op;
    bool equal = op == other;
    if (!equal && Py_IS_TYPE(other, Py_TYPE(op)) &&
        may_be_equal(self, (Tworoutine *)other)) {
        int same = PyObject_RichCompareBool(self->fn,
                                            ((Tworoutine *)other)->fn, Py_EQ);
        if (same < 0) {
            return NULL;
        }
        equal = same;
    }
    return PyBool_FromLong(equal == (operation == Py_EQ));
}

static Py_hash_t
tworoutine_hash(PyObject *op)
{
    Tworoutine *self = (Tworoutine *)op;
    if (self->origin == NULL && !PyMethod_Check(self->fn)) {
        return PyBaseObject_Type.tp_hash(op);
    }
    return PyObject_Hash(self->fn);
}

static PyObject *
tworoutine_repr(PyObject *op)
{
    Tworoutine *self = (Tworoutine *)op;
    TwrState *state = twr_state_of(op);
    PyObject *name = NULL, *bound = NULL, *text = NULL;
    if (PyObject_GetOptionalAttr(op, state->names.__qualname__, &name) < 0) {
        return NULL;
    }
    if (name == NULL) {
        text = PyUnicode_FromFormat("<tworoutine over %R>", self->fn);
    }
    else if (!PyMethod_Check(self->fn)) {
        text = PyUnicode_FromFormat(
            "<tworoutine %S(...), async as (~%S)(...)>", name, name);
    }
    else {
        bound = PyMethod_GET_SELF(self->fn);
        text = PyUnicode_FromFormat("<tworoutine %S(...) of %R, async by ~>",
                                    name, bound);
    }
    Py_XDECREF(name);
    return text;
}

static PyMemberDef tworoutine_members[] = {
    {"__vectorcalloffset__", Py_T_PYSSIZET, offsetof(Tworoutine, vectorcall),
     Py_READONLY, NULL},
    {"__dictoffset__", Py_T_PYSSIZET, offsetof(Tworoutine, dict), Py_READONLY,
     NULL},
    {"__weaklistoffset__", Py_T_PYSSIZET, offsetof(Tworoutine, weakrefs),
     Py_READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot tworoutine_slots[] = {
    {Py_tp_doc, (void *)twr_tworoutine_doc},
    {Py_tp_new, tworoutine_new},
    {Py_tp_traverse, tworoutine_traverse},
    {Py_tp_clear, tworoutine_clear},
    {Py_tp_dealloc, twr_dealloc},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_descr_get, tworoutine_descr_get},
    {Py_nb_invert, twr_tworoutine_async},
    {Py_tp_richcompare, tworoutine_richcompare},
    {Py_tp_hash, tworoutine_hash},
    {Py_tp_repr, tworoutine_repr},
    {Py_tp_getattro, twr_tworoutine_getattro},
    {Py_tp_setattro, twr_tworoutine_setattro},
    {Py_tp_members, tworoutine_members},
    {Py_tp_getset, twr_tworoutine_getset},
    {Py_tp_methods, twr_tworoutine_methods},
    {0, NULL},
};

#define FLAGS                                                                 \
    (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |   \
     Py_TPFLAGS_IMMUTABLETYPE)

static PyType_Spec function_spec = {
    .name = "tworoutine.tworoutine",
    .basicsize = sizeof(Tworoutine),
    .flags = FLAGS | Py_TPFLAGS_METHOD_DESCRIPTOR | Py_TPFLAGS_BASETYPE,
    .slots = tworoutine_slots,
};

static PyType_Spec object_spec = {
    .name = "tworoutine._core.tworoutine_object",
    .basicsize = sizeof(Tworoutine),
    .flags = FLAGS,
    .slots = tworoutine_slots,
};

int
twr_tworoutine_init(PyObject *module, TwrState *state)
{
    PyTypeObject *base =
        (PyTypeObject *)PyType_FromModuleAndSpec(module, &function_spec, NULL);
    state->types.tworoutine = base;
    if (base == NULL) {
        return -1;
    }
    state->types.tworoutine_object = (PyTypeObject *)PyType_FromModuleAndSpec(
        module, &object_spec, (PyObject *)base);
    base->tp_flags &= ~Py_TPFLAGS_BASETYPE; /* that was the only one */
    if (state->types.tworoutine_object == NULL) {
        return -1;
    }
    /* Inherited together with the slot. */
    state->types.tworoutine_object->tp_flags &= ~Py_TPFLAGS_METHOD_DESCRIPTOR;
    return 0;
}
