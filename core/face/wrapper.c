/* face/wrapper.c - synchronous forms of what is asynchronous. */
#include "face/wrapper.h"

#include "asyncio/running.h"
#include "await.h"
#include "coro/awaitable.h"
#include "engine/interrupt.h"
#include "face/object.h"

int
twr_wrapper_traverse(PyObject *op, visitproc visit, void *arg)
{
    Wrapper *self = (Wrapper *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->inner);
    Py_VISIT(self->callee);
    Py_VISIT(self->late);
    return 0;
}

int
twr_wrapper_clear(PyObject *op)
{
    Wrapper *self = (Wrapper *)op;
    Py_CLEAR(self->inner);
    Py_CLEAR(self->callee);
    return 0;
}

void
twr_wrapper_dealloc(PyObject *op)
{
    ((Wrapper *)op)->dropped = true;
    if (PyObject_CallFinalizerFromDealloc(op) < 0) {
        ((Wrapper *)op)->dropped = false;
        return;
    }
    PyObject *late = ((Wrapper *)op)->late;
    twr_dealloc(op);
    if (late != NULL) {
        twr_interrupt_raise_soon(late); /* and not in what runs as it goes */
    }
}

PyObject *
twr_wrapper_repr(PyObject *op)
{
    return PyUnicode_FromFormat("<synchronous form of %R>",
                                ((Wrapper *)op)->inner);
}

PyObject *
twr_wrapper_new(PyTypeObject *type, PyObject *inner, PyObject *callee)
{
    Wrapper *self = (Wrapper *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->inner = Py_NewRef(inner);
        self->callee = Py_XNewRef(callee);
    }
    return (PyObject *)self;
}

/* inner.name(*args), if that can be waited for; args[0] is inner.  An async
 * generator takes note of the asyncgen hooks when it is first asked for an
 * item: these have to be those of the loop in which the call is going to wait,
 * also if that does not run yet.  Under other libraries they are in place, if
 * the library has any.  Switches. */
static PyObject *
ask_inner(Wrapper *self, PyObject *name, PyObject *const *args, size_t n)
{
    TwrState *state = twr_state_of((PyObject *)self);
    bool hooks_matter = PyAsyncGen_CheckExact(args[0]);
    PyObject *loop = NULL, *hooks = NULL;
    if (twr_await_check(state, self->callee, hooks_matter ? &loop : NULL) <
        0) {
        return NULL;
    }
    if (loop != NULL) {
        hooks = twr_running_hook(state, loop);
        Py_DECREF(loop);
        if (hooks == NULL) {
            return NULL;
        }
    }
    PyObject *awaitable = PyObject_VectorcallMethod(name, args, n, NULL);
    if (hooks != NULL) {
        PyObject *pending = twr_error_take();
        twr_report(twr_running_unhook(hooks), hooks);
        Py_DECREF(hooks);
        twr_error_put(pending);
    }
    return awaitable;
}

PyObject *
twr_wrapper_wait(Wrapper *self, PyObject *name, PyObject *const *args,
                 Py_ssize_t n)
{
    PyObject *all[4] = {self->inner};
    for (Py_ssize_t i = 0; i < n; i++) {
        all[i + 1] = args[i];
    }
    TwrState *state = twr_state_of((PyObject *)self);
    PyObject *awaitable = ask_inner(self, name, all, (size_t)(n + 1));
    if (awaitable == NULL) {
        return NULL;
    }
    PyObject *result = twr_await(state, awaitable, self->callee);
    if (result == NULL && PyErr_ExceptionMatches(PyExc_MemoryError)) {
        /* awaitable may not have begun; or it has begun and ended. */
        twr_close_iterator(state, awaitable);
    }
    Py_DECREF(awaitable);
    return result;
}

/* What ~ is to be written before: name, that of callee; d.method of a dual d,
 * since the class that name begins with has no tworoutines. */
static PyObject *
inverted_name(TwrState *state, PyObject *callee, PyObject *name)
{
    Tworoutine *f = (Tworoutine *)callee;
    if (!twr_is_tworoutine(state, callee) || f->dual == NULL || f->unbound ||
        !PyUnicode_Check(name)) {
        return Py_NewRef(name);
    }
    Py_ssize_t end = PyUnicode_GET_LENGTH(name);
    Py_ssize_t dot = PyUnicode_FindChar(name, '.', 0, end, -1);
    PyObject *last = PyUnicode_Substring(name, dot + 1, end);
    PyObject *text = last ? PyUnicode_FromFormat("d.%U", last) : NULL;
    Py_XDECREF(last);
    return text;
}

PyObject *
twr_wrapper_refuse(PyObject *op, const char *what)
{
    PyObject *name = NULL;
    PyObject *callee = ((Wrapper *)op)->callee;
    TwrState *state = twr_state_of(op);
    if (PyObject_GetOptionalAttr(callee, state->names.__qualname__, &name) ==
        0) {
        name = PyObject_Repr(callee);
    }
    PyObject *inverted =
        name == NULL ? NULL : inverted_name(state, callee, name);
    if (inverted != NULL) {
        PyErr_Format(PyExc_TypeError, "%S(...) is a synchronous %s (~%S)(...)",
                     name, what, inverted);
        Py_DECREF(inverted);
    }
    Py_XDECREF(name);
    return NULL;
}

static int
hide_name(PyTypeObject *type, const char *name)
{
    int hidden = PyDict_DelItemString(type->tp_dict, name);
    PyType_Modified(type);
    return hidden;
}

int
twr_wrapper_init(TwrState *state)
{
    return hide_name(state->types.generator, "__aiter__") < 0 ||
                   hide_name(state->types.generator, "__anext__") < 0 ||
                   hide_name(state->types.generator, "__await__") < 0 ||
                   hide_name(state->types.manager, "__await__") < 0
               ? -1
               : 0;
}
