/* coro/awaiting_type.c - what can be seen of an Awaiting from outside.
 *
 * The methods of coroutines, and the attributes by which asyncio and inspect
 * look at those: they tell of the coroutine or generator inside. */
#include "coro/awaiting.h"

#include "coro/step.h"

static int
awaiting_traverse(PyObject *op, visitproc visit, void *arg)
{
    Awaiting *self = (Awaiting *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->awaitable);
    Py_VISIT(self->callee);
    Py_VISIT(self->args);
    Py_VISIT(self->kwargs);
    Py_VISIT(self->iterator);
    return 0;
}

/* What self waits for, or makes that; borrowed, NULL: self is over. */
static PyObject *
find_inner(Awaiting *self)
{
    return self->awaitable != NULL ? self->awaitable : self->callee;
}

static PyObject *
awaiting_repr(PyObject *op)
{
    PyObject *inner = find_inner((Awaiting *)op);
    return inner == NULL
               ? PyUnicode_FromString("<coroutine of tworoutine, over>")
               : PyUnicode_FromFormat("<coroutine of tworoutine for %R>",
                                      inner);
}

/* The name of what runs inside, for those who show tasks. */
static PyObject *
awaiting_name(PyObject *op, void *attribute)
{
    Awaiting *self = (Awaiting *)op;
    PyObject *const named[] = {self->iterator, find_inner(self)};
    for (int i = 0; i < 2; i++) {
        PyObject *name = named[i] == NULL
                             ? NULL
                             : PyObject_GetAttrString(named[i], attribute);
        if (name != NULL) {
            return name;
        }
        PyErr_Clear();
    }
    PyTypeObject *type = Py_TYPE(named[1] != NULL ? named[1] : op);
    return PyUnicode_FromString(type->tp_name);
}

/* An attribute of the coroutine or generator inside: cr_<name>, gi_<name>;
 * NULL without error: there is none. */
static PyObject *
get_inside(Awaiting *self, const char *name)
{
    const char *const formats[] = {"cr_%s", "gi_%s"};
    PyObject *value = NULL;
    for (int i = 0; i < 2 && self->iterator != NULL && value == NULL; i++) {
        PyObject *full = PyUnicode_FromFormat(formats[i], name);
        if (full == NULL) {
            return NULL;
        }
        int found = PyObject_GetOptionalAttr(self->iterator, full, &value);
        Py_DECREF(full);
        if (found < 0) {
            return NULL;
        }
    }
    return value;
}

/* value (stolen), or None if that is NULL without error. */
static PyObject *
or_none(PyObject *value)
{
    return value != NULL || PyErr_Occurred() ? value : Py_NewRef(Py_None);
}

static PyObject *
awaiting_inside(PyObject *op, void *name)
{
    return or_none(get_inside((Awaiting *)op, name));
}

/* An AttributeError where there is no frame to show beside what is awaited. */
static PyObject *
awaiting_get_await(PyObject *op, void *Py_UNUSED(unused))
{
    Awaiting *self = (Awaiting *)op;
    PyObject *frame = get_inside(self, "frame");
    Py_XDECREF(frame);
    if (frame == NULL || frame == Py_None) {
        return PyErr_Occurred()
                   ? NULL
                   : PyErr_Format(PyExc_AttributeError, "cr_await");
    }
    PyObject *value = get_inside(self, "await");
    if (value == NULL && !PyErr_Occurred()) {
        value = get_inside(self, "yieldfrom");
    }
    return or_none(value);
}

static PyObject *
awaiting_running(PyObject *op, void *Py_UNUSED(unused))
{
    return PyBool_FromLong(((Awaiting *)op)->running);
}

static PyObject *
awaiting_suspended(PyObject *op, void *Py_UNUSED(unused))
{
    Awaiting *self = (Awaiting *)op;
    return PyBool_FromLong(self->begun && !self->running && !self->over);
}

static PyObject *
awaiting_state(PyObject *op, void *Py_UNUSED(unused))
{
    Awaiting *self = (Awaiting *)op;
    return PyUnicode_FromString(self->running ? "CORO_RUNNING"
                                : self->over  ? "CORO_CLOSED"
                                : self->begun ? "CORO_SUSPENDED"
                                              : "CORO_CREATED");
}

static PyObject *
awaiting_tp_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", NULL};
    PyObject *awaitable;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O:Awaiting", names,
                                     &awaitable)) {
        return NULL;
    }
    return twr_awaiting_new(PyType_GetModuleState(type), awaitable);
}

static PyMethodDef awaiting_methods[] = {
    {"send", twr_step_send, METH_O, "Step it."},
    {"throw", twr_awaiting_throw, METH_VARARGS, "Raise an exception inside."},
    {"close", twr_awaiting_close, METH_NOARGS, "Raise GeneratorExit inside."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef awaiting_getset[] = {
    {"__name__", awaiting_name, NULL, NULL, "__name__"},
    {"__qualname__", awaiting_name, NULL, NULL, "__qualname__"},
    {"cr_code", awaiting_inside, NULL, NULL, "code"},
    {"cr_frame", awaiting_inside, NULL, NULL, "frame"},
    {"cr_origin", awaiting_inside, NULL, NULL, "origin"},
    {"cr_await", awaiting_get_await, NULL, NULL, NULL},
    {"cr_running", awaiting_running, NULL, NULL, NULL},
    {"cr_suspended", awaiting_suspended, NULL, NULL, NULL},
    {"cr_state", awaiting_state, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef awaiting_members[] = {
    {"__weaklistoffset__", Py_T_PYSSIZET, offsetof(Awaiting, weakrefs),
     Py_READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot awaiting_slots[] = {
    {Py_tp_doc, "Awaiting(awaitable, /)\n--\n\n"
                "A coroutine that awaits another object, and has no frame."},
    {Py_tp_new, awaiting_tp_new},
    {Py_tp_traverse, awaiting_traverse},
    {Py_tp_clear, twr_awaiting_clear},
    {Py_tp_dealloc, twr_dealloc},
    {Py_tp_repr, awaiting_repr},
    {Py_tp_iternext, twr_step_next},
    {Py_am_await, PyObject_SelfIter},
    {Py_am_send, twr_awaiting_step},
    {Py_tp_methods, awaiting_methods},
    {Py_tp_getset, awaiting_getset},
    {Py_tp_members, awaiting_members},
    {0, NULL},
};

PyType_Spec twr_awaiting_spec = {
    .name = "tworoutine._core.Awaiting",
    .basicsize = sizeof(Awaiting),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = awaiting_slots,
};
