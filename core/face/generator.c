/* face/generator.c - a synchronous iterator over an async iterator. */
#include "face/generator.h"

#include "asyncio/running.h"
#include "asyncio/task.h"
#include "await.h"
#include "coro/awaitable.h"
#include "engine/interrupt.h"
#include "engine/thread.h"

/* The end of the async iterator is the end of this one. */
static PyObject *
end_iteration(PyObject *result)
{
    if (result == NULL && PyErr_ExceptionMatches(PyExc_StopAsyncIteration)) {
        PyErr_Clear();
    }
    return result;
}

/* Switches. */
static PyObject *
generator_next(PyObject *op)
{
    TwrState *state = twr_state_of(op);
    PyObject *item =
        twr_wrapper_wait((Wrapper *)op, state->names.__anext__, NULL, 0);
    return end_iteration(
        twr_callee_jobs.show(state, ((Wrapper *)op)->callee, item));
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

/* Switches. */
static PyObject *
generator_send(PyObject *op, PyObject *value)
{
    return end_method(twr_wrapper_wait(
        (Wrapper *)op, twr_state_of(op)->names.asend, &value, 1));
}

/* Switches. */
static PyObject *
generator_throw(PyObject *op, PyObject *const *args, Py_ssize_t n)
{
    if (n < 1 || n > 3) {
        return PyErr_Format(PyExc_TypeError,
                            "throw() takes 1 to 3 arguments, not %zd", n);
    }
    return end_method(twr_wrapper_wait(
        (Wrapper *)op, twr_state_of(op)->names.athrow, args, n));
}

/* Switches. */
static PyObject *
generator_close(PyObject *op, PyObject *Py_UNUSED(unused))
{
    PyObject *name = twr_state_of(op)->names.aclose;
    PyObject *aclose;
    if (PyObject_GetOptionalAttr(((Wrapper *)op)->inner, name, &aclose) < 0) {
        return NULL;
    }
    if (aclose == NULL) {
        Py_RETURN_NONE; /* an async iterator that is not a generator */
    }
    Py_DECREF(aclose);
    return twr_wrapper_wait((Wrapper *)op, name, NULL, 0);
}

/* Have the current task get the cancel exc again when it next waits; 0: that
 * cannot be done.  Where there is no task, as in a callback, what was
 * cancelled is the task of the closing alone, of which asyncio would tell
 * nobody. */
static int
cancel_again(TwrState *state, PyObject *exc)
{
    PyObject *loop = twr_running_loop(state);
    PyObject *task =
        loop == NULL || loop == Py_None ? NULL : twr_task_current(state, loop);
    int done = task == NULL ? 1 : twr_task_cancel_again(state, task, exc);
    Py_XDECREF(task);
    Py_XDECREF(loop);
    return PyErr_Occurred() ? -1 : done;
}

/* Whether exc comes again by itself, as the cancels of trio do. */
static int
comes_again(TwrState *state, PyObject *exc)
{
    PyObject *again = twr_cold(state, COLD_comes_again, "(O)", exc);
    Py_XDECREF(again); /* a bool */
    return again == NULL ? -1 : again == Py_True;
}

/* The pending exception cannot be raised by a finalizer: the task or the code
 * that the exception is for gets it later, if that can be told; else it is
 * reported. */
static void
hand_on_error(Thread *th, PyObject *op)
{
    TwrState *state = th->state;
    PyObject *exc = twr_error_take();
    if (twr_interrupt_ends(th, exc)) {
        Py_XSETREF(((Wrapper *)op)->late, exc);
        return;
    }
    int done = PyErr_GivenExceptionMatches(exc, state->CancelledError)
                   ? cancel_again(state, exc)
                   : comes_again(state, exc);
    twr_report(done, op);
    if (done <= 0) {
        PyErr_SetRaisedException(Py_NewRef(exc));
        PyErr_WriteUnraisable(op);
    }
    Py_DECREF(exc);
}

/* Whether agen is in the middle.  Not so if it has ended, when it has no frame
 * any more, nor while an item of it is still asked for: before 3.13, an item
 * waited for in a loop that has been closed is, for ever, and nothing can end
 * agen then. */
static bool
is_in_the_middle(PyObject *agen)
{
    return !twr_has(agen, "ag_frame", Py_None) &&
           !twr_has(agen, "ag_running", Py_True);
}

/* Dropped in the middle: run the finally of the async generator.  Switches. */
static void
generator_finalize(PyObject *op)
{
    Wrapper *self = (Wrapper *)op;
    PyObject *pending = twr_error_take();
    if (self->inner != NULL && PyAsyncGen_CheckExact(self->inner) &&
        !twr_is_finalizing() && is_in_the_middle(self->inner) &&
        twr_await_may_finalize(twr_state_of(op), self->dropped)) {
        Thread *th = twr_thread(twr_state_of(op)); /* is there */
        twr_interrupt_begin(th);
        if (twr_done(generator_close(op, NULL)) < 0) {
            hand_on_error(th, op);
        }
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

static PyObject *
generator_aiter(PyObject *op)
{
    return twr_wrapper_refuse(op, "iterator: write async for ... in");
}

/* An error here would crash anext(op, default), at least up to 3.13: the await
 * that follows raises instead. */
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
               ? twr_wrapper_refuse(
                     op, "iterator: put @tworoutine above "
                         "@asynccontextmanager, or write await anext() of")
               : twr_wrapper_refuse(
                     op, "iterator, which cannot be awaited: write for, or "
                         "async for ... in");
}

static PyType_Slot generator_slots[] = {
    {Py_tp_doc, "A synchronous iterator over an async generator."},
    {Py_am_aiter, generator_aiter},
    {Py_am_anext, generator_anext},
    {Py_am_await, generator_await},
    {Py_tp_traverse, twr_wrapper_traverse},
    {Py_tp_clear, twr_wrapper_clear},
    {Py_tp_finalize, generator_finalize},
    {Py_tp_dealloc, twr_wrapper_dealloc},
    {Py_tp_repr, twr_wrapper_repr},
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
twr_generator_new(TwrState *state, PyObject *agen, PyObject *callee)
{
    PyObject *inner = PyObject_CallMethodNoArgs(agen, state->names.__aiter__);
    if (inner == NULL) {
        return NULL;
    }
    PyObject *self = twr_wrapper_new(state->types.generator, inner, callee);
    Py_DECREF(inner);
    return self;
}
