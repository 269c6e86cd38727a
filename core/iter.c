/* iter.c - async generators and context managers, made synchronous.
 *
 * Each step of the asynchronous object is one synchronous call of its own.
 *
 * `async for`, `async with` and `await` are answered too, by an error that
 * names the function and its ~ form.  The type must not look asynchronous for
 * that: it has the slots, but not the names that go with them. */
#include "twr.h"

/* One layout for both. */
typedef struct {
    PyObject_HEAD
    PyObject *inner;   /* the async iterator, or async context manager */
    PyObject *subject; /* the tworoutine that made it, for messages */
    PyObject *late;    /* what its finalizer could not raise; or NULL */
    bool dropped;      /* the last reference went; not the collector's */
    bool asked;        /* for the next item, as an async iterator is */
} Wrapper;

static int
wrapper_traverse(PyObject *op, visitproc visit, void *arg)
{
    Wrapper *self = (Wrapper *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->inner);
    Py_VISIT(self->subject);
    Py_VISIT(self->late);
    return 0;
}

static int
wrapper_clear(PyObject *op)
{
    Wrapper *self = (Wrapper *)op;
    Py_CLEAR(self->inner);
    Py_CLEAR(self->subject);
    return 0;
}

static void
wrapper_dealloc(PyObject *op)
{
    ((Wrapper *)op)->dropped = true;
    if (PyObject_CallFinalizerFromDealloc(op) < 0) {
        ((Wrapper *)op)->dropped = false;
        return;
    }
    PyTypeObject *type = Py_TYPE(op);
    PyObject *late = ((Wrapper *)op)->late;
    PyObject_GC_UnTrack(op);
    wrapper_clear(op);
    type->tp_free(op);
    Py_DECREF(type);
    if (late != NULL) {
        twr_sigint_raise_soon(late); /* and not in what runs as it goes */
    }
}

static PyObject *
wrapper_repr(PyObject *op)
{
    return PyUnicode_FromFormat("<synchronous form of %R>",
                                ((Wrapper *)op)->inner);
}

static PyObject *
wrapper_new(PyTypeObject *type, PyObject *inner, PyObject *subject)
{
    Wrapper *self = (Wrapper *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->inner = Py_NewRef(inner);
        self->subject = Py_XNewRef(subject);
    }
    return (PyObject *)self;
}

/* inner.name(*args), if that can be waited for.  An async generator takes note
 * of the asyncgen hooks when it is first asked for an item: where no loop
 * runs, they have to be those of the loop that is going to.  In a portal they
 * are there already, if the library that runs has any. */
static PyObject *
begin(TwrState *state, PyObject *subject, PyObject *name,
      PyObject *const *args, size_t n)
{
    PyObject *hooks = NULL;
    Thread *th =
        twr_await_check(state, subject) < 0 ? NULL : twr_thread(state);
    PyObject *loop =
        th == NULL ? NULL : PyObject_CallNoArgs(state->get_running_loop);
    int portal = loop == NULL ? -1 : twr_portal_here(th, loop);
    if (portal < 0) {
        Py_XDECREF(loop);
        return NULL;
    }
    if (loop == Py_None && !portal && PyAsyncGen_CheckExact(args[0])) {
        Py_SETREF(loop, twr_guest_loop(th));
        hooks = loop == NULL ? NULL : twr_loop_hook(state, loop);
        if (hooks == NULL) {
            Py_XDECREF(loop);
            return NULL;
        }
    }
    Py_DECREF(loop);
    PyObject *awaitable = PyObject_VectorcallMethod(name, args, n, NULL);
    if (hooks != NULL) {
        PyObject *pending = twr_error_take();
        if (twr_loop_unhook(state, hooks) < 0) {
            PyErr_WriteUnraisable(hooks);
        }
        Py_DECREF(hooks);
        twr_error_put(pending);
    }
    return awaitable;
}

/* Wait for what inner.name(*args) returns.  Switches. */
static PyObject *
wait_for(Wrapper *self, PyObject *name, PyObject *const *args, Py_ssize_t n)
{
    PyObject *all[4] = {self->inner};
    for (Py_ssize_t i = 0; i < n; i++) {
        all[i + 1] = args[i];
    }
    TwrState *state = twr_state_of((PyObject *)self);
    PyObject *awaitable =
        begin(state, self->subject, name, all, (size_t)(n + 1));
    if (awaitable == NULL) {
        return NULL;
    }
    PyObject *result = twr_await(state, awaitable, self->subject);
    if (result == NULL && PyErr_ExceptionMatches(PyExc_MemoryError)) {
        /* It may not have begun; if it has, it has ended. */
        twr_close_iterator(state, awaitable);
    }
    Py_DECREF(awaitable);
    return result;
}

/* The end of the async iterator is the end of this one. */
static PyObject *
end_iteration(PyObject *result)
{
    if (result == NULL && PyErr_ExceptionMatches(PyExc_StopAsyncIteration)) {
        PyErr_Clear();
    }
    return result;
}

static PyObject *
generator_next(PyObject *op)
{
    return end_iteration(
        wait_for((Wrapper *)op, twr_state_of(op)->names.__anext__, NULL, 0));
}

/* send() and throw() are methods: they have to raise StopIteration. */
static PyObject *
end_method(PyObject *result)
{
    result = end_iteration(result);
    if (result == NULL && !PyErr_Occurred()) {
        PyErr_SetNone(PyExc_StopIteration);
    }
    return result;
}

static PyObject *
generator_send(PyObject *op, PyObject *value)
{
    return end_method(
        wait_for((Wrapper *)op, twr_state_of(op)->names.asend, &value, 1));
}

static PyObject *
generator_throw(PyObject *op, PyObject *const *args, Py_ssize_t n)
{
    if (n < 1 || n > 3) {
        return PyErr_Format(PyExc_TypeError,
                            "throw() takes 1 to 3 arguments, not %zd", n);
    }
    return end_method(
        wait_for((Wrapper *)op, twr_state_of(op)->names.athrow, args, n));
}

static PyObject *
generator_close(PyObject *op, PyObject *unused)
{
    (void)unused;
    PyObject *name = twr_state_of(op)->names.aclose;
    PyObject *aclose;
    if (PyObject_GetOptionalAttr(((Wrapper *)op)->inner, name, &aclose) < 0) {
        return NULL;
    }
    if (aclose == NULL) {
        Py_RETURN_NONE; /* an async iterator that is not a generator */
    }
    Py_DECREF(aclose);
    return wait_for((Wrapper *)op, name, NULL, 0);
}

/* Whether the finalizer may wait.  In a running loop the collector's must
 * not: asyncio ends the generator by itself, as for `async for`. */
static bool
may_wait(TwrState *state, Wrapper *self)
{
    Thread *th = twr_thread(state);
    PyObject *loop =
        th == NULL ? NULL : PyObject_CallNoArgs(state->get_running_loop);
    /* Nor where the call is ended in whose code this is: orphan.c. */
    bool may = (loop == Py_None || (loop != NULL && self->dropped)) &&
               twr_orphans_below(th) == 0 && twr_await_check(state, NULL) == 0;
    PyErr_Clear();
    Py_XDECREF(loop);
    return may;
}

/* Have the current task get a cancel again when it next waits; 0: it cannot.
 * Where there is none, as in a callback, what was cancelled is the task of the
 * closing alone, of which asyncio would tell nobody. */
static int
cancel_again(TwrState *state, PyObject *exc)
{
    PyObject *loop = PyObject_CallNoArgs(state->get_running_loop);
    PyObject *task =
        loop == NULL || loop == Py_None ? NULL : twr_task_current(state, loop);
    int done = task == NULL ? 1 : twr_task_cancel_again(state, task, exc);
    Py_XDECREF(task);
    Py_XDECREF(loop);
    return PyErr_Occurred() ? -1 : done;
}

/* The adapter of that name says whether exc comes again by itself. */
static int
comes_again(TwrState *state, PyObject *exc)
{
    PyObject *adapters = twr_adapters(state);
    PyObject *again =
        adapters == NULL
            ? NULL
            : PyObject_CallMethod(adapters, "comes_again", "O", exc);
    int result = again == NULL ? -1 : again == Py_True;
    Py_XDECREF(again);
    return result;
}

/* The pending exception cannot be raised by a finalizer: whom it is for gets
 * it later, if that can be told; else it is reported. */
static void
hand_on(Thread *th, PyObject *op)
{
    TwrState *state = th->state;
    PyObject *exc = twr_error_take();
    if (twr_sigint_ends(th, exc)) {
        Py_XSETREF(((Wrapper *)op)->late, exc);
        return;
    }
    int done = PyErr_GivenExceptionMatches(exc, state->CancelledError)
                   ? cancel_again(state, exc)
                   : comes_again(state, exc);
    if (done < 0) {
        PyErr_WriteUnraisable(op);
    }
    if (done <= 0) {
        PyErr_SetRaisedException(Py_NewRef(exc));
        PyErr_WriteUnraisable(op);
    }
    Py_DECREF(exc);
}

/* Whether an item of agen is still asked for: before 3.13, one that was waited
 * for in a loop that has been closed is, for ever.  Then nothing can end it.
 */
static bool
is_asked(PyObject *agen)
{
    PyObject *running = PyObject_GetAttrString(agen, "ag_running");
    if (running == NULL) {
        PyErr_Clear();
    }
    Py_XDECREF(running);
    return running == Py_True;
}

/* Dropped in the middle: run its finally. */
static void
generator_finalize(PyObject *op)
{
    Wrapper *self = (Wrapper *)op;
    PyObject *pending = twr_error_take();
    if (self->inner != NULL && PyAsyncGen_CheckExact(self->inner) &&
        !twr_is_finalizing() && !is_asked(self->inner) &&
        may_wait(twr_state_of(op), self)) {
        Thread *th = twr_thread(twr_state_of(op)); /* is there: may_wait */
        th->signal_raised = false;
        PyObject *none = generator_close(op, NULL);
        if (none == NULL) {
            hand_on(th, op);
        }
        Py_XDECREF(none);
    }
    twr_error_put(pending);
}

static PyMethodDef generator_methods[] = {
    {"send", generator_send, METH_O,
     "send(value)\n--\n\nGo on with value; wait for the next item."},
    {"throw", (PyCFunction)(void (*)(void))generator_throw, METH_FASTCALL,
     "throw(exc)\n--\n\nRaise exc inside; wait for the next item."},
    {"close", generator_close, METH_NOARGS,
     "close()\n--\n\nEnd it, and wait until its finally blocks have run."},
    {NULL, NULL, 0, NULL},
};

/* TypeError: the function's (...) is a synchronous <what> its (~...)(...). */
static PyObject *
refuse(PyObject *op, const char *what)
{
    PyObject *name = NULL;
    PyObject *subject = ((Wrapper *)op)->subject;
    if (PyObject_GetOptionalAttr(subject, twr_state_of(op)->names.__qualname__,
                                 &name) == 0) {
        name = PyObject_Repr(subject);
    }
    if (name != NULL) {
        PyErr_Format(PyExc_TypeError, "%S(...) is a synchronous %s (~%S)(...)",
                     name, what, name);
        Py_DECREF(name);
    }
    return NULL;
}

static PyObject *
generator_aiter(PyObject *op)
{
    return refuse(op, "iterator: write async for ... in");
}

/* An error here would crash anext(op, default), at least up to 3.13: what is
 * awaited next raises it. */
static PyObject *
generator_anext(PyObject *op)
{
    ((Wrapper *)op)->asked = true;
    return Py_NewRef(op);
}

static PyObject *
generator_await(PyObject *op)
{
    return ((Wrapper *)op)->asked
               ? refuse(op, "iterator: put @tworoutine above "
                            "@asynccontextmanager, or write await anext() of")
               : refuse(op, "iterator, which cannot be awaited: write for, or "
                            "async for ... in");
}

static PyType_Slot generator_slots[] = {
    {Py_tp_doc, "A synchronous iterator over an async generator."},
    {Py_am_aiter, generator_aiter},
    {Py_am_anext, generator_anext},
    {Py_am_await, generator_await},
    {Py_tp_traverse, wrapper_traverse},
    {Py_tp_clear, wrapper_clear},
    {Py_tp_finalize, generator_finalize},
    {Py_tp_dealloc, wrapper_dealloc},
    {Py_tp_repr, wrapper_repr},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, generator_next},
    {Py_tp_methods, generator_methods},
    {0, NULL},
};

PyType_Spec twr_generator_spec = {
    .name = "tworoutine._core.SyncGenerator",
    .basicsize = sizeof(Wrapper),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
             Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = generator_slots,
};

PyObject *
twr_generator_new(TwrState *state, PyObject *agen, PyObject *subject)
{
    PyObject *inner = PyObject_CallMethodNoArgs(agen, state->names.__aiter__);
    if (inner == NULL) {
        return NULL;
    }
    PyObject *self = wrapper_new(state->generator_type, inner, subject);
    Py_DECREF(inner);
    return self;
}

static PyObject *
manager_enter(PyObject *op, PyObject *unused)
{
    (void)unused;
    return wait_for((Wrapper *)op, twr_state_of(op)->names.__aenter__, NULL,
                    0);
}

static PyObject *
manager_exit(PyObject *op, PyObject *const *args, Py_ssize_t n)
{
    if (n != 3) {
        return PyErr_Format(PyExc_TypeError,
                            "__exit__() takes 3 arguments, not %zd", n);
    }
    return wait_for((Wrapper *)op, twr_state_of(op)->names.__aexit__, args, n);
}

static PyMethodDef manager_methods[] = {
    {"__enter__", manager_enter, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)(void (*)(void))manager_exit, METH_FASTCALL,
     NULL},
    {NULL, NULL, 0, NULL},
};

/* `async with` looks for one of these in the type, past the getattro. */
static PyObject *
manager_async_with(PyObject *op, void *closure)
{
    (void)closure;
    return refuse(op, "context manager: write async with");
}

static PyObject *
manager_await(PyObject *op)
{
    return refuse(op, "context manager, which cannot be awaited: write with, "
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
    {Py_tp_traverse, wrapper_traverse},
    {Py_tp_clear, wrapper_clear},
    {Py_tp_dealloc, wrapper_dealloc},
    {Py_tp_repr, wrapper_repr},
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
twr_manager_new(TwrState *state, PyObject *manager, PyObject *subject)
{
    return wrapper_new(state->manager_type, manager, subject);
}

static int
hide(PyTypeObject *type, const char *name)
{
    int hidden = PyDict_DelItemString(type->tp_dict, name);
    PyType_Modified(type);
    return hidden;
}

int
twr_iter_init(TwrState *state)
{
    return hide(state->generator_type, "__aiter__") < 0 ||
                   hide(state->generator_type, "__anext__") < 0 ||
                   hide(state->generator_type, "__await__") < 0 ||
                   hide(state->manager_type, "__await__") < 0
               ? -1
               : 0;
}
