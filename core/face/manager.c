/* face/manager.c - a synchronous context manager over an asynchronous one. */
#include "face/manager.h"

/* Switches. */
static PyObject *
manager_enter(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return twr_wrapper_wait((Wrapper *)op, twr_state_of(op)->names.__aenter__,
                            NULL, 0);
}

/* Switches. */
static PyObject *
manager_exit(PyObject *op, PyObject *const *args, Py_ssize_t n)
{
    if (n != 3) {
        return PyErr_Format(PyExc_TypeError,
                            "__exit__() takes 3 arguments, not %zd", n);
    }
    return twr_wrapper_wait((Wrapper *)op, twr_state_of(op)->names.__aexit__,
                            args, n);
}

static PyMethodDef manager_methods[] = {
    {"__enter__", manager_enter, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)(void (*)(void))manager_exit, METH_FASTCALL,
     NULL},
    {NULL, NULL, 0, NULL},
};

/* `async with` looks for one of these in the type, past the getattro. */
static PyObject *
manager_async_with(PyObject *op, void *Py_UNUSED(closure))
{
    return twr_wrapper_refuse(op, "context manager: write async with");
}

static PyObject *
manager_await(PyObject *op)
{
    return twr_wrapper_refuse(
        op, "context manager, which cannot be awaited: write with, "
            "or async with");
}

static PyObject *
manager_getattro(PyObject *op, PyObject *name)
{
    if (PyUnicode_Check(name) &&
        PyUnicode_CompareWithASCIIString(name, TWR_ASYNC_WITH_ASKS) == 0) {
        return PyErr_Format(PyExc_AttributeError, "%R has no attribute %R", op,
                            name);
    }
    return PyObject_GenericGetAttr(op, name);
}

static PyGetSetDef manager_getset[] = {
    {TWR_ASYNC_WITH_ASKS, manager_async_with, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot manager_slots[] = {
    {Py_tp_doc, "A synchronous context manager over an asynchronous one."},
    {Py_tp_getattro, manager_getattro},
    {Py_tp_getset, manager_getset},
    {Py_am_await, manager_await},
    {Py_tp_traverse, twr_wrapper_traverse},
    {Py_tp_clear, twr_wrapper_clear},
    {Py_tp_dealloc, twr_wrapper_dealloc},
    {Py_tp_repr, twr_wrapper_repr},
    {Py_tp_methods, manager_methods},
    {0, NULL},
};

PyType_Spec twr_manager_spec = {
    .name = "tworoutine._core.SyncManager",
    .basicsize = sizeof(Wrapper),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
             Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = manager_slots,
};

PyObject *
twr_manager_new(TwrState *state, PyObject *manager, PyObject *callee)
{
    return twr_wrapper_new(state->types.manager, manager, callee);
}
