/* awaiting.c - what a task is made of that is to wait for no coroutine.
 *
 * A task needs a coroutine.  Where a call hosts one (host.c), and what was
 * called is an object with __await__, a future, or a function that has to be
 * called where a loop runs, an Awaiting stands for it: asked for the first
 * step, it calls the function, and then __await__, in the task, as an `await`
 * there would; from then on it passes on what it is asked.  It is written in
 * C, so it has no frame that could get into a traceback. */
#include "twr.h"

typedef struct {
    PyObject_HEAD
    PyObject *awaitable; /* what to wait for; NULL: not made yet, or over */
    PyObject *f;         /* the tworoutine whose function makes it; or NULL */
    PyObject *args, *kwargs; /* ... with these arguments; or NULL */
    PyObject *iterator;      /* what it iterates over, once begun; or NULL */
    PyObject *weakrefs;
    bool begun, running, over;
} Awaiting;

static int
awaiting_traverse(PyObject *op, visitproc visit, void *arg)
{
    Awaiting *self = (Awaiting *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->awaitable);
    Py_VISIT(self->f);
    Py_VISIT(self->args);
    Py_VISIT(self->kwargs);
    Py_VISIT(self->iterator);
    return 0;
}

static int
awaiting_clear(PyObject *op)
{
    Awaiting *self = (Awaiting *)op;
    Py_CLEAR(self->awaitable);
    Py_CLEAR(self->f);
    Py_CLEAR(self->args);
    Py_CLEAR(self->kwargs);
    Py_CLEAR(self->iterator);
    return 0;
}

static void
awaiting_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    if (((Awaiting *)op)->weakrefs != NULL) {
        PyObject_ClearWeakRefs(op);
    }
    awaiting_clear(op);
    type->tp_free(op);
    Py_DECREF(type);
}

static Awaiting *
new_awaiting(TwrState *state)
{
    PyTypeObject *type = state->awaiting_type;
    return (Awaiting *)type->tp_alloc(type, 0);
}

PyObject *
twr_awaiting_new(TwrState *state, PyObject *awaitable)
{
    Awaiting *self = new_awaiting(state);
    if (self != NULL) {
        self->awaitable = Py_NewRef(awaitable);
    }
    return (PyObject *)self;
}

PyObject *
twr_awaiting_call(TwrState *state, PyObject *f, PyObject *args,
                  PyObject *kwargs)
{
    Awaiting *self = new_awaiting(state);
    if (self != NULL) {
        self->f = Py_NewRef(f);
        self->args = Py_NewRef(args);
        self->kwargs = Py_XNewRef(kwargs);
    }
    return (PyObject *)self;
}

bool
twr_awaiting_begun(PyObject *op)
{
    return ((Awaiting *)op)->begun;
}

/* Call the function; *result is what the call returns if there is nothing to
 * wait for, as for an async generator. */
static int
make(TwrState *state, Awaiting *self, PyObject **result)
{
    PyObject *made = twr_tworoutine_make(self->f, self->args, self->kwargs);
    Py_CLEAR(self->args);
    Py_CLEAR(self->kwargs);
    if (made == NULL) {
        return -1;
    }
    if (!twr_is_awaitable(made)) {
        *result = twr_tworoutine_serve(self->f, made);
        Py_DECREF(made);
        return *result == NULL ? -1 : 0;
    }
    PyObject *loop = PyObject_CallNoArgs(state->get_running_loop);
    int bad =
        loop == NULL ? -1 : twr_check_awaitable(state, made, loop, self->f);
    Py_XDECREF(loop);
    Py_XSETREF(self->awaitable, made);
    return bad;
}

/* Before the first step.  *result as above. */
static int
begin(TwrState *state, Awaiting *self, PyObject **result)
{
    self->begun = true;
    if (self->f != NULL && make(state, self, result) < 0) {
        return -1;
    }
    if (*result == NULL) {
        self->iterator = twr_await_iterator(state, self->awaitable);
    }
    return *result == NULL && self->iterator == NULL ? -1 : 0;
}

/* No coroutine raises StopIteration: it would look like a result. */
static void
hide_stop(void)
{
    if (!PyErr_ExceptionMatches(PyExc_StopIteration)) {
        return;
    }
    PyObject *stop = twr_error_take();
    PyErr_SetString(PyExc_RuntimeError, "coroutine raised StopIteration");
    PyObject *error = twr_error_take();
    PyException_SetCause(error, Py_NewRef(stop));
    PyException_SetContext(error, stop);
    PyErr_SetRaisedException(error);
}

/* Whether a step may be made; ended: of one that is over already. */
static int
check(const Awaiting *self, bool ended)
{
    if (self->running) {
        PyErr_SetString(PyExc_ValueError, "coroutine already executing");
        return -1;
    }
    /* The latter: the collector has cleared it. */
    if (ended && (self->over || (self->begun && self->iterator == NULL))) {
        PyErr_SetString(PyExc_RuntimeError,
                        "cannot reuse already awaited coroutine");
        return -1;
    }
    return 0;
}

/* A step has ended. */
static PySendResult
end_step(Awaiting *self, PySendResult how)
{
    self->running = false;
    if (how != PYGEN_NEXT) {
        self->over = true;
        PyObject *pending = twr_error_take();
        awaiting_clear((PyObject *)self);
        twr_error_put(pending);
    }
    return how;
}

static PySendResult
awaiting_am_send(PyObject *op, PyObject *value, PyObject **result)
{
    Awaiting *self = (Awaiting *)op;
    *result = NULL;
    if (check(self, true) < 0) {
        return PYGEN_ERROR;
    }
    if (!self->begun && value != Py_None) {
        PyErr_SetString(
            PyExc_TypeError,
            "can't send non-None value to a just-started coroutine");
        return PYGEN_ERROR;
    }
    PySendResult how = PYGEN_RETURN;
    self->running = true;
    Py_INCREF(op);
    if (!self->begun && begin(twr_state_of(op), self, result) < 0) {
        hide_stop();
        how = PYGEN_ERROR;
    }
    else if (self->iterator != NULL) {
        PyObject *iterator = Py_NewRef(self->iterator);
        how = PyIter_Send(iterator, value, result);
        Py_DECREF(iterator);
    }
    how = end_step(self, how);
    Py_DECREF(op);
    return how;
}

static PyObject *
awaiting_send(PyObject *op, PyObject *value)
{
    PyObject *result;
    PySendResult how = awaiting_am_send(op, value, &result);
    return twr_return_from_step(how, result);
}

static PyObject *
awaiting_next(PyObject *op)
{
    return awaiting_send(op, Py_None);
}

static PyObject *
awaiting_throw(PyObject *op, PyObject *args)
{
    Awaiting *self = (Awaiting *)op;
    PyObject *type, *value = NULL, *tb = NULL, *result = NULL;
    if (!PyArg_UnpackTuple(args, "throw", 1, 3, &type, &value, &tb) ||
        check(self, true) < 0) {
        return NULL;
    }
    PyObject *exc = twr_make_exception(type, value, tb);
    if (exc == NULL) {
        return NULL;
    }
    PySendResult how = PYGEN_ERROR;
    self->running = true;
    Py_INCREF(op);
    if (self->begun) {
        PyObject *iterator = Py_NewRef(self->iterator);
        how = twr_await_throw(twr_state_of(op), iterator, &exc, &result);
        Py_DECREF(iterator);
    }
    else {
        self->begun = true;
        PyErr_SetRaisedException(exc);
        exc = NULL;
    }
    Py_XDECREF(exc);
    how = end_step(self, how);
    Py_DECREF(op);
    return twr_return_from_step(how, result);
}

static PyObject *
awaiting_close(PyObject *op, PyObject *unused)
{
    (void)unused;
    Awaiting *self = (Awaiting *)op;
    TwrState *state = twr_state_of(op);
    if (check(self, false) < 0) {
        return NULL;
    }
    PyObject *close = NULL, *none = NULL;
    if (self->iterator == NULL) {
        if (self->awaitable != NULL) {
            twr_close_awaitable(state, self->awaitable);
        }
        self->begun = true;
        none = Py_NewRef(Py_None);
    }
    else if (PyObject_GetOptionalAttr(self->iterator, state->names.close,
                                      &close) >= 0) {
        self->running = true;
        none = close == NULL ? Py_NewRef(Py_None) : PyObject_CallNoArgs(close);
        Py_XDECREF(close);
    }
    end_step(self, PYGEN_RETURN);
    return none;
}

/* --- looking at it */

static PyObject *
awaiting_await(PyObject *op)
{
    return Py_NewRef(op);
}

/* What it stands for; borrowed, or NULL. */
static PyObject *
inner(Awaiting *self)
{
    return self->awaitable != NULL ? self->awaitable : self->f;
}

static PyObject *
awaiting_repr(PyObject *op)
{
    PyObject *inside = inner((Awaiting *)op);
    return inside == NULL
               ? PyUnicode_FromString("<coroutine of tworoutine, over>")
               : PyUnicode_FromFormat("<coroutine of tworoutine for %R>",
                                      inside);
}

/* The name of what runs inside, for those who show tasks. */
static PyObject *
awaiting_name(PyObject *op, void *attribute)
{
    Awaiting *self = (Awaiting *)op;
    PyObject *const named[] = {self->iterator, inner(self)};
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
inside(Awaiting *self, const char *name)
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

static PyObject *
awaiting_inside(PyObject *op, void *name)
{
    PyObject *value = inside((Awaiting *)op, name);
    return value != NULL || PyErr_Occurred() ? value : Py_NewRef(Py_None);
}

/* Not there where there is no frame to show with it. */
static PyObject *
awaiting_get_await(PyObject *op, void *unused)
{
    (void)unused;
    Awaiting *self = (Awaiting *)op;
    PyObject *frame = inside(self, "frame");
    Py_XDECREF(frame);
    if (frame == NULL || frame == Py_None) {
        return PyErr_Occurred()
                   ? NULL
                   : PyErr_Format(PyExc_AttributeError, "cr_await");
    }
    PyObject *value = inside(self, "await");
    if (value == NULL && !PyErr_Occurred()) {
        value = inside(self, "yieldfrom");
    }
    return value != NULL || PyErr_Occurred() ? value : Py_NewRef(Py_None);
}

static PyObject *
awaiting_running(PyObject *op, void *unused)
{
    (void)unused;
    return PyBool_FromLong(((Awaiting *)op)->running);
}

static PyObject *
awaiting_suspended(PyObject *op, void *unused)
{
    (void)unused;
    Awaiting *self = (Awaiting *)op;
    return PyBool_FromLong(self->begun && !self->running && !self->over);
}

static PyObject *
awaiting_state(PyObject *op, void *unused)
{
    (void)unused;
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
    Awaiting *self = (Awaiting *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->awaitable = Py_NewRef(awaitable);
    }
    return (PyObject *)self;
}

static PyMethodDef awaiting_methods[] = {
    {"send", awaiting_send, METH_O, "Step it."},
    {"throw", awaiting_throw, METH_VARARGS, "Raise an exception inside."},
    {"close", awaiting_close, METH_NOARGS, "Raise GeneratorExit inside."},
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
    {Py_tp_clear, awaiting_clear},
    {Py_tp_dealloc, awaiting_dealloc},
    {Py_tp_repr, awaiting_repr},
    {Py_tp_iternext, awaiting_next},
    {Py_am_await, awaiting_await},
    {Py_am_send, awaiting_am_send},
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
