/* face/special.c - the special methods of duals. */
#include "face/special.h"

#include "face/call.h"
#include "face/dual.h"
#include "face/generator.h"
#include "face/serve.h"

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *name; /* of the method of C */
    enum {
        CALLS,      /* as a method: it may ask for the running loop */
        DOES,       /* as a method, but called here */
        IS_ASYNC,   /* for async code: what it returns is handed on */
        NEXT,       /* as CALLS, but its end is that of a `for` */
        ITERATES,   /* a synchronous iterator over what it returns */
        CONSTRUCTS, /* of the class of the class: makes a dual */
    } kind;
} Special;

/* The method of the object's class, bound to it. */
static PyObject *
bound_method(Special *self, PyObject *raw)
{
    PyObject *found = PyObject_GetAttr((PyObject *)Py_TYPE(raw), self->name);
    PyObject *method = found == NULL ? NULL : PyMethod_New(found, raw);
    Py_XDECREF(found);
    return method;
}

/* self.name(*args) of the object, called here.  Switches. */
static PyObject *
call_here(Special *self, PyObject *f, const TwrArgs *args)
{
    PyObject *made = PyObject_Vectorcall(((Tworoutine *)f)->fn, args->args,
                                         args->nargsf, args->kwnames);
    if (made == NULL || self->kind == IS_ASYNC) {
        return made;
    }
    PyObject *result = twr_tworoutine_serve(f, made);
    Py_DECREF(made);
    return result;
}

/* self.name(*args) of the object that dual stands for.  Switches. */
static PyObject *
call_special(Special *self, Dual *dual, TwrArgs *args)
{
    PyObject *method = bound_method(self, dual->raw);
    PyObject *f = method == NULL
                      ? NULL
                      : twr_tworoutine_new_of((PyObject *)dual, method, false);
    Py_XDECREF(method);
    PyObject *result = NULL;
    if (f == NULL) {
        return NULL;
    }
    if (self->kind == ITERATES) {
        result = twr_generator_new(dual->state, dual->raw, f);
    }
    else if (self->kind == CALLS || self->kind == NEXT) {
        result =
            PyObject_Vectorcall(f, args->args, args->nargsf, args->kwnames);
    }
    else if (twr_dual_take_args(dual, args) == 0) {
        result = call_here(self, f, args);
        twr_dual_drop_args(args);
    }
    Py_DECREF(f);
    return result;
}

/* The dual that serves a class of duals. */
static PyObject *
dual_of_class(TwrState *state, PyObject *type)
{
    PyObject *dual = PyObject_GetAttrString(type, "__tworoutine_dual__");
    if (dual != NULL && twr_dual(state, dual) == NULL) {
        Py_DECREF(dual);
        return PyErr_Format(PyExc_TypeError, "%R is no class of duals", type);
    }
    return dual;
}

/* type(*args), a dual of an object that is made where a loop runs. */
static PyObject *
construct(TwrState *state, PyObject *type, TwrArgs *args)
{
    PyObject *dual = dual_of_class(state, type);
    PyObject *f =
        dual == NULL ? NULL
                     : twr_tworoutine_new_of(dual, ((Dual *)dual)->raw, false);
    Py_XDECREF(dual);
    PyObject *result =
        f == NULL
            ? NULL
            : PyObject_Vectorcall(f, args->args, args->nargsf, args->kwnames);
    Py_XDECREF(f);
    return result;
}

/* Called by Python with the dual, or class of duals, as the first argument.
 * Switches. */
static PyObject *
special_vectorcall(PyObject *op, PyObject *const *args, size_t nargsf,
                   PyObject *kwnames)
{
    Special *self = (Special *)op;
    Py_ssize_t n = PyVectorcall_NARGS(nargsf);
    TwrState *state = twr_state_of(op);
    Dual *dual = n < 1 ? NULL : twr_dual(state, args[0]);
    if (dual == NULL && (n < 1 || self->kind != CONSTRUCTS)) {
        return PyErr_Format(PyExc_TypeError,
                            "%U of a dual is to be called with one",
                            self->name);
    }
    TwrArgs rest = {args + 1, (size_t)(n - 1), kwnames, NULL, 0};
    if (self->kind == CONSTRUCTS) {
        return construct(state, args[0], &rest);
    }
    PyObject *object = Py_NewRef(args[0]);
    PyObject *result = call_special(self, dual, &rest);
    Py_DECREF(object);
    if (result == NULL && self->kind == NEXT &&
        PyErr_ExceptionMatches(PyExc_StopAsyncIteration)) {
        PyErr_SetNone(PyExc_StopIteration);
    }
    return result;
}

static PyObject *
special_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(kwargs))
{
    PyObject *name;
    int kind;
    if (!PyArg_ParseTuple(args, "Ui", &name, &kind)) {
        return NULL;
    }
    Special *self = (Special *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->vectorcall = special_vectorcall;
        self->name = Py_NewRef(name);
        self->kind = kind;
    }
    return (PyObject *)self;
}

static void
special_dealloc(PyObject *op)
{
    Py_XDECREF(((Special *)op)->name);
    twr_free(op);
}

static PyObject *
special_descr_get(PyObject *op, PyObject *obj, PyObject *Py_UNUSED(type))
{
    return obj == NULL ? Py_NewRef(op) : PyMethod_New(op, obj);
}

static PyMemberDef special_members[] = {
    {"__vectorcalloffset__", Py_T_PYSSIZET, offsetof(Special, vectorcall),
     Py_READONLY, NULL},
    {"__name__", Py_T_OBJECT_EX, offsetof(Special, name), Py_READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot special_slots[] = {
    {Py_tp_new, special_new},         {Py_tp_dealloc, special_dealloc},
    {Py_tp_call, PyVectorcall_Call},  {Py_tp_descr_get, special_descr_get},
    {Py_tp_members, special_members}, {0, NULL},
};

PyType_Spec twr_special_spec = {
    .name = "tworoutine._core.Special",
    .basicsize = sizeof(Special),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL |
             Py_TPFLAGS_METHOD_DESCRIPTOR | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = special_slots,
};
