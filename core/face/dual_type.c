/* face/dual_type.c - the type from which all classes of duals derive. */
#include "face/dual_type.h"

#include "await.h"
#include "coro/awaitable.h"
#include "face/call.h"

static int
dual_traverse(PyObject *op, visitproc visit, void *arg)
{
    Dual *self = (Dual *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->raw);
    Py_VISIT(self->options);
    Py_VISIT(self->home);
    return 0;
}

static int
dual_clear(PyObject *op)
{
    Dual *self = (Dual *)op;
    Py_CLEAR(self->options);
    Py_CLEAR(self->home);
    Py_SETREF(self->raw, Py_NewRef(Py_None));
    return 0;
}

static void
dual_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    if (((Dual *)op)->weakrefs != NULL) {
        PyObject_ClearWeakRefs(op);
    }
    dual_clear(op);
    Py_CLEAR(((Dual *)op)->raw);
    twr_free(op);
}

PyObject *
twr_dual_new(TwrState *state, PyObject *args)
{
    PyTypeObject *type;
    PyObject *raw, *options, *home;
    int is_deep, is_class;
    if (!PyArg_ParseTuple(args, "O!OOOpp", &PyType_Type, &type, &raw, &options,
                          &home, &is_deep, &is_class)) {
        return NULL;
    }
    if (!PyType_IsSubtype(type, state->types.dual)) {
        return PyErr_Format(PyExc_TypeError, "%R is no class of duals", type);
    }
    Dual *self = (Dual *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->raw = Py_NewRef(raw);
        self->options = Py_NewRef(options);
        self->home = home == Py_None ? NULL : Py_NewRef(home);
        self->state = state;
        self->is_deep = is_deep;
        self->is_class = is_class;
    }
    return (PyObject *)self;
}

/* __x__ */
static bool
is_special_name(PyObject *name)
{
    Py_ssize_t n = PyUnicode_GET_LENGTH(name);
    return n > 4 && PyUnicode_READ_CHAR(name, 0) == '_' &&
           PyUnicode_READ_CHAR(name, 1) == '_' &&
           PyUnicode_READ_CHAR(name, n - 1) == '_' &&
           PyUnicode_READ_CHAR(name, n - 2) == '_';
}

/* Whether a special name is one that the class of duals answers: as a special,
 * or since it is about the dual, as __reduce_ex__ is. */
static int
is_own(PyTypeObject *type, PyObject *name)
{
    PyObject *names = PyDict_GetItemString(type->tp_dict, "__own__");
    return names == NULL ? 0 : PySet_Contains(names, name);
}

/* Whether calling value, an attribute of raw, is a call of raw. */
static bool
is_method_of(PyObject *value, PyObject *raw)
{
    PyObject *owner = PyMethod_Check(value)      ? PyMethod_GET_SELF(value)
                      : PyCFunction_Check(value) ? PyCFunction_GET_SELF(value)
                                                 : NULL;
    return owner == raw || owner == (PyObject *)Py_TYPE(raw);
}

/* Whether raw's class makes the attribute each time, as a property does. */
static int
is_made(PyObject *raw, PyObject *name)
{
    PyObject *found;
    PyObject *type = (PyObject *)Py_TYPE(raw);
    if (PyObject_GetOptionalAttr(type, name, &found) < 0) {
        return -1;
    }
    bool is = found != NULL && Py_TYPE(found)->tp_descr_get != NULL &&
              !Py_IS_TYPE(found, &PyMemberDescr_Type);
    Py_XDECREF(found);
    return is;
}

/* Whether value, an attribute of raw that can be awaited, is for that alone.
 */
static int
is_for_await(Dual *self, PyObject *name, PyObject *value)
{
    if (PyCoro_CheckExact(value)) {
        return 1;
    }
    if (!twr_is_awaitable(value)) {
        return 0;
    }
    int made = is_made(self->raw, name);
    int other = made > 0 ? twr_dual_is_for_more(self->state, value) : 1;
    return made < 0 || other < 0 ? -1 : !other;
}

/* Whether value is a container, which is shown as it is: who changes that,
 * means the object's. */
static bool
is_container(PyObject *value)
{
    return PyList_CheckExact(value) || PyDict_CheckExact(value) ||
           PyAnySet_CheckExact(value);
}

/* A tworoutine that is a method of raw is one of the dual, too. */
static PyObject *
show_tworoutine(PyObject *op, PyObject *value)
{
    PyObject *fn = ((Tworoutine *)value)->fn;
    return is_method_of(fn, ((Dual *)op)->raw)
               ? twr_tworoutine_new_of(op, fn, false)
               : Py_NewRef(value);
}

/* What is shown of value, the attribute of raw.  Switches. */
static PyObject *
show_attribute(PyObject *op, PyObject *name, PyObject *value)
{
    Dual *self = (Dual *)op;
    if (twr_is_tworoutine(self->state, value)) {
        return show_tworoutine(op, value);
    }
    int is = is_method_of(value, self->raw)
                 ? 1
                 : twr_tworoutine_is_async(self->state, value);
    if (is != 0) {
        return is < 0 ? NULL : twr_tworoutine_new_of(op, value, false);
    }
    int waits = is_for_await(self, name, value);
    if (waits != 0) {
        return waits < 0
                   ? NULL
                   : twr_dual_show(self, twr_await(self->state, value, op));
    }
    return is_container(value) ? Py_NewRef(value)
                               : twr_dual_show(self, Py_NewRef(value));
}

/* Switches. */
static PyObject *
get_attribute(PyObject *op, PyObject *name)
{
    Dual *self = (Dual *)op;
    if (PyUnicode_Check(name) && is_special_name(name)) {
        int own = is_own(Py_TYPE(op), name);
        if (own != 0) {
            return own < 0 ? NULL : PyObject_GenericGetAttr(op, name);
        }
    }
    PyObject *value = PyObject_GetAttr(self->raw, name);
    PyObject *shown = value == NULL ? NULL : show_attribute(op, name, value);
    Py_XDECREF(value);
    return shown;
}

/* op.name, which may wait.  Switches. */
static PyObject *
dual_getattro(PyObject *op, PyObject *name)
{
    Py_INCREF(op);
    PyObject *value = get_attribute(op, name);
    Py_DECREF(op);
    return value;
}

static int
dual_setattro(PyObject *op, PyObject *name, PyObject *value)
{
    Dual *self = (Dual *)op;
    Dual *other = value == NULL ? NULL : twr_dual(self->state, value);
    return PyObject_SetAttr(self->raw, name,
                            other == NULL ? value : other->raw);
}

static PyObject *
dual_richcompare(PyObject *op, PyObject *other, int operation)
{
    Dual *dual = twr_dual(((Dual *)op)->state, other);
    return PyObject_RichCompare(((Dual *)op)->raw,
                                dual == NULL ? other : dual->raw, operation);
}

static Py_hash_t
dual_hash(PyObject *op)
{
    return PyObject_Hash(((Dual *)op)->raw);
}

static PyObject *
dual_repr(PyObject *op)
{
    return PyUnicode_FromFormat("dual(%R)", ((Dual *)op)->raw);
}

static PyObject *
dual_str(PyObject *op)
{
    return PyObject_Str(((Dual *)op)->raw);
}

static int
dual_bool(PyObject *op)
{
    return PyObject_IsTrue(((Dual *)op)->raw);
}

static PyObject *
dual_invert(PyObject *op)
{
    return Py_NewRef(((Dual *)op)->raw);
}

static PyMemberDef dual_members[] = {
    {"__weaklistoffset__", Py_T_PYSSIZET, offsetof(Dual, weakrefs),
     Py_READONLY, NULL},
    {"__options__", Py_T_OBJECT_EX, offsetof(Dual, options), Py_READONLY,
     NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot dual_slots[] = {
    {Py_tp_traverse, dual_traverse},
    {Py_tp_clear, dual_clear},
    {Py_tp_dealloc, dual_dealloc},
    {Py_tp_getattro, dual_getattro},
    {Py_tp_setattro, dual_setattro},
    {Py_tp_richcompare, dual_richcompare},
    {Py_tp_hash, dual_hash},
    {Py_tp_repr, dual_repr},
    {Py_tp_str, dual_str},
    {Py_nb_bool, dual_bool},
    {Py_nb_invert, dual_invert},
    {Py_tp_members, dual_members},
    {0, NULL},
};

PyType_Spec twr_dual_spec = {
    .name = "tworoutine._core.Dual",
    .basicsize = sizeof(Dual),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE |
             Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = dual_slots,
};
