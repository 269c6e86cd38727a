/* tworoutine.c - the decorator type: call it, bind it, turn it over with ~.
 *
 * One type serves functions and bound methods alike: binding f to an object
 * gives a tworoutine over the bound method, which knows f as its origin.  So
 * ~f is always simply fn. */
#include "twr.h"

static PyObject *tworoutine_vectorcall(PyObject *op, PyObject *const *args,
                                       size_t nargsf, PyObject *kwnames);

PyObject *
twr_tworoutine_new(TwrState *state, PyObject *fn, PyObject *origin)
{
    PyTypeObject *type = state->tworoutine_type;
    Tworoutine *self = (Tworoutine *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->vectorcall = tworoutine_vectorcall;
        self->fn = Py_NewRef(fn);
        self->origin = Py_XNewRef(origin);
        if (origin == NULL && twr_tworoutine_adopt((PyObject *)self) < 0) {
            Py_CLEAR(self);
        }
    }
    return (PyObject *)self;
}

PyObject *
twr_tworoutine_bind(PyObject *f, PyObject *obj)
{
    PyObject *method = PyMethod_New(((Tworoutine *)f)->fn, obj);
    PyObject *self =
        method == NULL ? NULL : twr_tworoutine_new(twr_state_of(f), method, f);
    Py_XDECREF(method);
    return self;
}

/* fn itself, or, where fn is a bound method or a partial of a tworoutine,
 * the same made of what the tworoutine is made of. */
static PyObject *
from_callable(TwrState *state, PyObject *fn)
{
    if (Py_IS_TYPE(fn, state->tworoutine_type)) {
        return Py_NewRef(fn);
    }
    if (PyMethod_Check(fn) &&
        Py_IS_TYPE(PyMethod_GET_FUNCTION(fn), state->tworoutine_type)) {
        return twr_tworoutine_bind(PyMethod_GET_FUNCTION(fn),
                                   PyMethod_GET_SELF(fn));
    }
    if (PyObject_TypeCheck(fn, (PyTypeObject *)state->partial)) {
        PyObject *adapters = twr_adapters(state);
        fn = adapters == NULL
                 ? NULL
                 : PyObject_CallMethod(adapters, "unwrap_partial", "O", fn);
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
hint(PyObject *op)
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
    PyObject *fn = Py_IS_TYPE(func, state->tworoutine_type)
                       ? ((Tworoutine *)func)->fn
                       : func;
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
    if (Py_IS_TYPE(func, state->tworoutine_type)) {
        return twr_tworoutine_bind(func, obj);
    }
    PyObject *method = PyMethod_New(func, obj);
    PyObject *self =
        method == NULL ? NULL : twr_tworoutine_new(state, method, NULL);
    Py_XDECREF(method);
    return self;
}

static PyObject *
tworoutine_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    TwrState *state = (TwrState *)PyType_GetModuleState(type);
    bool named = kwargs != NULL && PyDict_GET_SIZE(kwargs) != 0;
    if (PyTuple_GET_SIZE(args) == 2 && !named) {
        return new_bound(state, PyTuple_GET_ITEM(args, 0),
                         PyTuple_GET_ITEM(args, 1));
    }
    if (PyTuple_GET_SIZE(args) != 1 || named) {
        PyErr_SetString(PyExc_TypeError,
                        "tworoutine() takes one async function, by position, "
                        "and no options: write @tworoutine, without "
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
                     fn, hint(fn));
        twr_close_awaitable(state, fn);
        return NULL;
    }
    return from_callable(state, fn);
}

static int
tworoutine_traverse(PyObject *op, visitproc visit, void *arg)
{
    Tworoutine *self = (Tworoutine *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->fn);
    Py_VISIT(self->origin);
    Py_VISIT(self->inner);
    Py_VISIT(self->dict);
    return 0;
}

static int
tworoutine_clear(PyObject *op)
{
    Tworoutine *self = (Tworoutine *)op;
    Py_CLEAR(self->fn);
    Py_CLEAR(self->origin);
    Py_CLEAR(self->inner);
    Py_CLEAR(self->dict);
    return 0;
}

static void
tworoutine_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    if (((Tworoutine *)op)->weakrefs != NULL) {
        PyObject_ClearWeakRefs(op);
    }
    tworoutine_clear(op);
    type->tp_free(op);
    Py_DECREF(type);
}

/* What fn returned is no coroutine: an async generator, a context manager, or
 * a mistake. */
static PyObject *
serve_other(PyObject *op, PyObject *made)
{
    TwrState *state = twr_state_of(op);
    PyAsyncMethods *async = Py_TYPE(made)->tp_as_async;
    if (async != NULL && async->am_anext != NULL) {
        return twr_generator_new(state, made, op);
    }
    PyObject *enter, *leave = NULL;
    if (PyObject_GetOptionalAttr(made, state->names.__aenter__, &enter) < 0 ||
        PyObject_GetOptionalAttr(made, state->names.__aexit__, &leave) < 0) {
        Py_XDECREF(enter);
        return NULL;
    }
    Py_XDECREF(enter);
    Py_XDECREF(leave);
    if (enter != NULL && leave != NULL) {
        return twr_manager_new(state, made, op);
    }
    return PyErr_Format(
        PyExc_TypeError,
        enter != NULL
            ? "%R returned %R, which has __aenter__ but no __aexit__"
            : "%R returned %R, which cannot be awaited; write it with async "
              "def, or return an awaitable",
        op, made);
}

PyObject *
twr_tworoutine_serve(PyObject *op, PyObject *made)
{
    return twr_is_awaitable(made) ? twr_await(twr_state_of(op), made, op)
                                  : serve_other(op, made);
}

/* Whether calling fn only makes a coroutine or an async generator. */
static bool
only_makes(TwrState *state, PyObject *fn)
{
    const int kinds = CO_COROUTINE | CO_ASYNC_GENERATOR;
    if (PyMethod_Check(fn)) {
        fn = PyMethod_GET_FUNCTION(fn);
    }
    if (PyFunction_Check(fn)) {
        return ((PyCodeObject *)PyFunction_GET_CODE(fn))->co_flags & kinds;
    }
    PyObject *inner = NULL;
    if (PyObject_TypeCheck(fn, (PyTypeObject *)state->partial)) {
        inner = PyObject_GetAttrString(fn, "func");
    }
    else {
        inner = PyObject_GetAttrString((PyObject *)Py_TYPE(fn), "__call__");
        if (inner != NULL && !PyFunction_Check(inner)) {
            Py_CLEAR(inner);
        }
    }
    bool result = inner != NULL && only_makes(state, inner);
    Py_XDECREF(inner);
    PyErr_Clear();
    return result;
}

/* 1 if fn has to be called where a loop runs, and none does here. */
static int
needs_loop(TwrState *state, Tworoutine *self)
{
    if (self->makes == MAKES_UNKNOWN) {
        self->makes = only_makes(state, self->fn) ? MAKES_ONLY : MAKES_MORE;
    }
    if (self->makes == MAKES_ONLY) {
        return 0;
    }
    PyObject *loop = PyObject_CallNoArgs(state->get_running_loop);
    Py_XDECREF(loop);
    return loop == NULL ? -1 : loop == Py_None;
}

/* fn has refused its arguments, perhaps by the name that it has as ~f. */
static void
name_plainly(PyObject *op)
{
    PyObject *exc = twr_error_take();
    PyObject *traceback = PyException_GetTraceback(exc);
    PyObject *adapters =
        traceback == NULL && PyErr_GivenExceptionMatches(exc, PyExc_TypeError)
            ? twr_adapters(twr_state_of(op))
            : NULL;
    if (adapters != NULL) {
        PyObject *none = PyObject_CallMethod(adapters, "name_plainly", "OO",
                                             ((Tworoutine *)op)->fn, exc);
        Py_XDECREF(none);
    }
    PyErr_Clear();
    Py_XDECREF(traceback);
    twr_error_put(exc);
}

PyObject *
twr_tworoutine_make(PyObject *op, PyObject *args, PyObject *kwargs)
{
    PyObject *made = PyObject_Call(((Tworoutine *)op)->fn, args, kwargs);
    if (made == NULL) {
        name_plainly(op);
    }
    return made;
}

/* Call fn inside a coroutine that the thread's own loop runs.  Switches. */
static PyObject *
call_in_loop(PyObject *op, PyObject *const *args, size_t nargsf,
             PyObject *kwnames)
{
    TwrState *state = twr_state_of(op);
    Py_ssize_t n = PyVectorcall_NARGS(nargsf);
    Py_ssize_t named = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    PyObject *result = NULL, *coro = NULL;
    PyObject *positional = PyTuple_New(n);
    PyObject *keywords = PyDict_New();
    if (positional == NULL || keywords == NULL) {
        goto done;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        PyTuple_SET_ITEM(positional, i, Py_NewRef(args[i]));
    }
    for (Py_ssize_t i = 0; i < named; i++) {
        if (PyDict_SetItem(keywords, PyTuple_GET_ITEM(kwnames, i),
                           args[n + i]) < 0) {
            goto done;
        }
    }
    coro = twr_awaiting_call(state, op, positional, keywords);
    if (coro != NULL) {
        result = twr_await(state, coro, op);
    }
done:
    Py_XDECREF(coro);
    Py_XDECREF(positional);
    Py_XDECREF(keywords);
    return result;
}

/* Whether f itself is a signal handler, and has interrupted asyncio. */
static int
interrupts(TwrState *state, PyObject *const *args, size_t nargsf)
{
    return PyVectorcall_NARGS(nargsf) == 2 && PyFrame_Check(args[1])
               ? twr_frames_own(state, args[1])
               : 0;
}

/* f(...): call fn, and wait for what it returned.  Switches. */
static PyObject *
tworoutine_vectorcall(PyObject *op, PyObject *const *args, size_t nargsf,
                      PyObject *kwnames)
{
    Tworoutine *self = (Tworoutine *)op;
    int interrupted = interrupts(twr_state_of(op), args, nargsf);
    if (interrupted != 0) {
        if (interrupted > 0) {
            twr_handoff_refuse_between(twr_state_of(op), op);
        }
        return NULL;
    }
    if (self->makes != MAKES_ONLY) {
        int needs = needs_loop(twr_state_of(op), self);
        if (needs != 0) {
            return needs < 0 ? NULL : call_in_loop(op, args, nargsf, kwnames);
        }
    }
    PyObject *fn = Py_NewRef(self->fn); /* it may be given another one */
    PyObject *made = PyObject_Vectorcall(fn, args, nargsf, kwnames);
    Py_DECREF(fn);
    if (made == NULL) {
        name_plainly(op);
        return NULL;
    }
    PyObject *result = twr_tworoutine_serve(op, made);
    Py_DECREF(made);
    return result;
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

const char twr_tworoutine_doc[] =
    PyDoc_STR("tworoutine(fn, /)\n--\n\n"
              "One async function, two ways to call it.\n\n"
              "f(x) waits for the result, wherever it is called: without a "
              "loop, or in the\nmiddle of a running one, which goes on "
              "meanwhile.  (~f)(x), or f.aio(x), is the\ncoroutine itself.  "
              "The rule: f(x) is `await (~f)(x)`.\n\n"
              "fn: an async function, an async generator function, a function "
              "made by\ncontextlib.asynccontextmanager, a classmethod or "
              "staticmethod of one, or any\ncallable that returns an "
              "awaitable.\n\n"
              "Raises TypeError if fn is not callable.  A call raises what fn "
              "raises, TypeError\nif what it returns cannot be awaited, and "
              "CannotSuspend where it cannot wait.");

static PyType_Slot tworoutine_slots[] = {
    {Py_tp_doc, (void *)twr_tworoutine_doc},
    {Py_tp_new, tworoutine_new},
    {Py_tp_traverse, tworoutine_traverse},
    {Py_tp_clear, tworoutine_clear},
    {Py_tp_dealloc, tworoutine_dealloc},
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

PyType_Spec twr_tworoutine_spec = {
    .name = "tworoutine.tworoutine",
    .basicsize = sizeof(Tworoutine),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
             Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = tworoutine_slots,
};
