/* backends/portal_type.c - what can be seen of a Portal. */
#include "backends/portal.h"

#include "coro/step.h"

/* What a Portal owns at any time. */
#define OWNED(X)                                                              \
    X(coro)                                                                   \
    X(hook)                                                                   \
    X(undo)                                                                   \
    X(step.asker)                                                             \
    X(loop)                                                                   \
    X(task)                                                                   \
    X(step.contexts)                                                          \
    X(lowest)                                                                 \
    X(step.value)                                                             \
    X(step.error)

static int
portal_traverse(PyObject *op, visitproc visit, void *arg)
{
    Portal *self = (Portal *)op;
    Py_VISIT(Py_TYPE(op));
#define X(field) Py_VISIT(self->field);
    OWNED(X)
#undef X
    Py_VISIT(self->worker);
    Py_VISIT(self->waits);
    Py_VISIT(self->inner);
    return 0;
}

/* If a call is parked that cannot be ended, since its thread has ended or it
 * will not go, its stack is left alone for ever. */
static int
portal_clear(PyObject *op)
{
    Portal *self = (Portal *)op;
#define X(field) Py_CLEAR(self->field);
    OWNED(X)
#undef X
    if (self->inner == NULL) {
        Py_CLEAR(self->worker);
        Py_CLEAR(self->waits);
    }
    return 0;
}

/* --- stepping it */

/* Switches. */
static PySendResult
portal_am_send(PyObject *op, PyObject *value, PyObject **result)
{
    PyObject *none = NULL;
    return twr_portal_step((Portal *)op, value, &none, result);
}

/* Switches. */
static PyObject *
portal_throw(PyObject *op, PyObject *args)
{
    PyObject *exc = twr_step_exception(args);
    if (exc == NULL) {
        return NULL;
    }
    PyObject *result;
    PySendResult how = twr_portal_step((Portal *)op, Py_None, &exc, &result);
    Py_XDECREF(exc);
    return twr_step_return(how, result);
}

/* Switches. */
static PyObject *
portal_close(PyObject *op, PyObject *Py_UNUSED(unused))
{
    Portal *self = (Portal *)op;
    if (self->running) {
        PyErr_SetString(PyExc_ValueError, "coroutine already executing");
        return NULL;
    }
    if (self->inner != NULL) {
        return twr_portal_close_parked(self) < 0 ? NULL : Py_NewRef(Py_None);
    }
    PyObject *none =
        PyObject_CallMethodNoArgs(self->coro, twr_state_of(op)->names.close);
    twr_portal_end(self);
    return none;
}

/* Switches. */
static void
portal_finalize(PyObject *op)
{
    Portal *self = (Portal *)op;
    PyObject *pending = twr_error_take();
    if (self->inner != NULL && twr_portal_close_parked(self) < 0) {
        PyErr_WriteUnraisable(op);
    }
    twr_portal_end(self);
    twr_error_put(pending);
}

static void
portal_dealloc(PyObject *op)
{
    if (PyObject_CallFinalizerFromDealloc(op) < 0) {
        return;
    }
    twr_portal_unpark((Portal *)op);
    twr_dealloc(op);
}

/* --- looking at it */

static PyObject *
portal_repr(PyObject *op)
{
    return PyUnicode_FromFormat("<portal of %R>", ((Portal *)op)->coro);
}

/* Whether a call is parked: the coroutine inside thinks then that it runs. */
static bool
is_parked(PyObject *op)
{
    return ((Portal *)op)->inner != NULL && !((Portal *)op)->running;
}

/* value while a call is parked, else what the coroutine inside has. */
static PyObject *
get_unless_parked(PyObject *op, const char *name, PyObject *value)
{
    return is_parked(op) ? Py_NewRef(value)
                         : PyObject_GetAttrString(((Portal *)op)->coro, name);
}

static PyObject *
portal_get_running(PyObject *op, void *Py_UNUSED(closure))
{
    return get_unless_parked(op, "cr_running", Py_False);
}

static PyObject *
portal_get_suspended(PyObject *op, void *Py_UNUSED(closure))
{
    return get_unless_parked(op, "cr_suspended", Py_True);
}

static PyObject *
portal_get_await(PyObject *op, void *Py_UNUSED(closure))
{
    return get_unless_parked(op, "cr_await", ((Portal *)op)->inner);
}

/* 3.15+; before, a coroutine has none, and so neither has a portal. */
static PyObject *
portal_get_state(PyObject *op, void *Py_UNUSED(closure))
{
    PyObject *state = PyObject_GetAttrString(((Portal *)op)->coro, "cr_state");
    if (state != NULL && is_parked(op)) {
        Py_SETREF(state, PyUnicode_FromString("CORO_SUSPENDED"));
    }
    return state;
}

/* Everything else is asked of the coroutine inside. */
static PyObject *
portal_getattro(PyObject *op, PyObject *name)
{
    PyObject *value = PyObject_GenericGetAttr(op, name);
    if (value == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        value = PyObject_GetAttr(((Portal *)op)->coro, name);
    }
    return value;
}

static PyObject *
portal_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "hook", NULL};
    PyObject *coro, *hook = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:Portal", names, &coro,
                                     &hook)) {
        return NULL;
    }
    Portal *self = (Portal *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->coro = Py_NewRef(coro);
        self->hook = hook == Py_None ? NULL : Py_XNewRef(hook);
    }
    return (PyObject *)self;
}

static PyMethodDef portal_methods[] = {
    {"send", twr_step_send, METH_O, "Step the coroutine."},
    {"throw", portal_throw, METH_VARARGS, "Raise an exception inside."},
    {"close", portal_close, METH_NOARGS, "Raise GeneratorExit inside."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef portal_getset[] = {
    {"cr_running", portal_get_running, NULL, NULL, NULL},
    {"cr_suspended", portal_get_suspended, NULL, NULL, NULL},
    {"cr_state", portal_get_state, NULL, NULL, NULL},
    {"cr_await", portal_get_await, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef portal_members[] = {
    {"__weaklistoffset__", Py_T_PYSSIZET, offsetof(Portal, weakrefs),
     Py_READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot portal_slots[] = {
    {Py_tp_doc, "Portal(coro, hook=None)\n--\n\n"
                "A coroutine around another one, in which synchronous calls "
                "can wait under any loop."},
    {Py_tp_new, portal_new},
    {Py_tp_traverse, portal_traverse},
    {Py_tp_clear, portal_clear},
    {Py_tp_finalize, portal_finalize},
    {Py_tp_dealloc, portal_dealloc},
    {Py_tp_repr, portal_repr},
    {Py_tp_getattro, portal_getattro},
    {Py_tp_iternext, twr_step_next},
    {Py_am_await, PyObject_SelfIter},
    {Py_am_send, portal_am_send},
    {Py_tp_methods, portal_methods},
    {Py_tp_getset, portal_getset},
    {Py_tp_members, portal_members},
    {0, NULL},
};

PyType_Spec twr_portal_spec = {
    .name = "tworoutine._core.Portal",
    .basicsize = sizeof(Portal),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = portal_slots,
};
