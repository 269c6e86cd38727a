/* engine/call.c - one call that waits. */
#include "engine/call.h"

#include "asyncio/future.h"
#include "asyncio/handle.h"
#include "asyncio/task.h"
#include "base/error.h"
#include "base/list.h"

#include <assert.h>

/* What a Call owns. */
#define OWNED(X)                                                              \
    X(driven)                                                                 \
    X(callee)                                                                 \
    X(greenlet)                                                               \
    X(step_greenlet)                                                          \
    X(task)                                                                   \
    X(awaited)                                                                \
    X(error)                                                                  \
    X(thrown)                                                                 \
    X(handle)                                                                 \
    X(frame)

static int
call_traverse(PyObject *op, visitproc visit, void *arg)
{
    Call *call = (Call *)op;
    Py_VISIT(Py_TYPE(op));
#define X(field) Py_VISIT(call->field);
    OWNED(X)
#undef X
    return 0;
}

static int
call_clear(PyObject *op)
{
    Call *call = (Call *)op;
#define X(field) Py_CLEAR(call->field);
    OWNED(X)
#undef X
    return 0;
}

static PyObject *
call_repr(PyObject *op)
{
    Call *call = (Call *)op;
    if (call->callee == NULL) {
        return PyUnicode_FromString("<a synchronous call of tworoutine>");
    }
    return PyUnicode_FromFormat("<a synchronous call of %R>", call->callee);
}

Call *
twr_call_new(TwrState *state, PyObject *task, PyObject *callee)
{
    Call *call = (Call *)state->types.call->tp_alloc(state->types.call, 0);
    if (call != NULL) {
        call->task = Py_XNewRef(task);
        call->callee = Py_XNewRef(callee);
    }
    return call;
}

/* Put call in front of list.  Quiet. */
static void
link_in(Call **list, Call *call)
{
    assert(!call->parked);
    TWR_LIST_ADD(list, call);
    call->parked = true;
}

void
twr_call_link(Call *call)
{
    link_in(&call->driven->parked, call);
    call->driven->it.parks++;
}

void
twr_call_unlink(Call *call)
{
    assert(call->parked);
    TWR_LIST_REMOVE(call);
    call->parked = false;
}

Call *
twr_call_leave(Thread *th, PyObject *callee, PyObject *what)
{
    Call *call = twr_call_new(th->state, NULL, callee);
    if (call != NULL) {
        call->greenlet = twr_greenlet_current();
    }
    if (call == NULL || call->greenlet == NULL) {
        PyErr_Clear();
        Py_XDECREF(call);
        return NULL;
    }
    call->iterator = what;
    call->frame = (PyObject *)twr_thread_frame();
    call->since = twr_clock_ms();
    link_in(&th->drives.apart, call);
    return call;
}

void
twr_call_note(Thread *th, Call *call)
{
    if (call->driven == NULL) {
        link_in(&th->drives.apart, call);
    }
}

void
twr_call_unnote(Call *call)
{
    if (call->parked) { /* and the thread has not ended */
        twr_call_unlink(call);
    }
}

void
twr_call_return(Call *call)
{
    if (call == NULL) {
        return;
    }
    twr_call_unnote(call);
    PyObject *pending = twr_error_take();
    Py_DECREF(call);
    twr_error_put(pending);
}

void
twr_call_forget(Thread *th)
{
    while (th->drives.apart != NULL) {
        twr_call_unlink(th->drives.apart);
    }
}

int
twr_call_detach(TwrState *state, Call *call)
{
    if (call->awaited == NULL) {
        return 0;
    }
    PyObject *pending = twr_error_take();
    int detached = twr_done(PyObject_CallMethodOneArg(
        call->awaited, state->names.remove_done_callback, (PyObject *)call));
    twr_error_put(pending);
    return detached;
}

void
twr_call_collect(TwrState *state, Call *call)
{
    if (call->error != NULL || call->awaited == NULL) {
        return;
    }
    if (twr_done(PyObject_CallMethodNoArgs(call->awaited,
                                           state->names.result)) == 0) {
        return;
    }
    if (call->error == NULL) {
        call->error = twr_error_take();
    }
    else {
        PyErr_Clear(); /* Ctrl-C came meanwhile */
    }
}

PyObject *
twr_call_resume(Thread *th, Call *call)
{
    twr_switch_set_active(&th->stacks, call->step_greenlet);
    return Py_NewRef(call->greenlet);
}

PyObject *
twr_call_fail(Thread *th, Call *call)
{
    Py_INCREF(call);
    Py_XSETREF(call->error, twr_error_take());
    if (twr_call_detach(th->state, call) < 0) {
        PyErr_Clear();
    }
    /* The future may be so bold as to let others run meanwhile. */
    PyObject *next = call->parked ? twr_call_resume(th, call) : NULL;
    Py_DECREF(call);
    return next;
}

/* Whether the code that runs is cleaning up after a cancel: a CancelledError
 * is the exception handled, or among its contexts, which may form a circle. */
static bool
is_cleaning_up(TwrState *state)
{
    bool result = false;
    PyObject *exc = PyErr_GetHandledException();
    for (int depth = 0; exc != NULL && !result && depth < 100; depth++) {
        result = PyErr_GivenExceptionMatches(exc, state->CancelledError);
        Py_SETREF(exc, PyException_GetContext(exc));
    }
    Py_XDECREF(exc);
    return result;
}

int
twr_call_end(TwrState *state, Call *call)
{
    if (call->ending || is_cleaning_up(state)) {
        return 0;
    }
    call->ending = true;
    return twr_task_cancel(state, call->task) < 0 ? -1 : 0;
}

int
twr_call_check_fork(Thread *th, PyObject *callee)
{
    if (!th->forked) {
        return 0;
    }
    return twr_refuse(th->state, callee,
                      PyUnicode_FromString("the process was forked in the "
                                           "middle of this call"),
                      "let the child call anew");
}

int
twr_call_interrupt(TwrState *state, Call *call, bool at_once)
{
    PyObject *loop = call->driven->it.loop;
    if (!at_once) {
        int taken = twr_task_cancel(state, call->task);
        if (taken != 0) {
            call->interrupted = taken > 0;
            return taken < 0 ? -1 : twr_loop_wake(state, loop, NULL);
        }
    }
    if (twr_call_detach(state, call) < 0) {
        return -1;
    }
    if (call->error == NULL) {
        call->error = PyObject_CallNoArgs(PyExc_KeyboardInterrupt);
    }
    return call->error == NULL ? -1
                               : twr_loop_wake(state, loop, (PyObject *)call);
}

bool
twr_call_take_turn(TwrState *state, Call *call)
{
    bool due = !call->carries || call->error != NULL ||
               twr_future_is_done(state, call->task);
    if (due && !call->parked) {
        call->woken = true; /* other code ran while it was about to park */
    }
    return due && call->parked;
}

/* The future that it waits for calls it, or a handle does.  Switches. */
static PyObject *
call_call(PyObject *op, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    Thread *th = twr_thread(twr_state_of(op));
    return th == NULL ? NULL : twr_call_jobs.wake(th, (Call *)op);
}

/* A Call may stand in the ready queue itself: it looks like a handle.
 * Switches. */
static PyObject *
call_run(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return call_call(op, NULL, NULL);
}

static PyObject *
call_get_cancelled(PyObject *Py_UNUSED(op), void *Py_UNUSED(closure))
{
    Py_RETURN_FALSE;
}

static PyMethodDef call_methods[] = {
    TWR_HANDLE_METHODS(call_run),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef call_getset[] = {
    TWR_HANDLE_GETSET(call_get_cancelled),
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot call_slots[] = {
    {Py_tp_traverse, call_traverse}, {Py_tp_clear, call_clear},
    {Py_tp_dealloc, twr_dealloc},    {Py_tp_repr, call_repr},
    {Py_tp_call, call_call},         {Py_tp_methods, call_methods},
    {Py_tp_getset, call_getset},     {0, NULL},
};

PyType_Spec twr_call_spec = {
    .name = "tworoutine._core.Call",
    .basicsize = sizeof(Call),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
             Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = call_slots,
};

Call *
twr_call_uppermost(Driven *driven, Call *call)
{
    Call *above = driven->parked;
    while (above != NULL && above->step_greenlet != call->step_greenlet) {
        above = above->older;
    }
    return above == NULL ? call : above;
}
