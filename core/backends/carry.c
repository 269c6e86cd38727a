/* backends/carry.c - a call carries its task: the steps run on its stack. */
#include "backends/carry.h"

#include "backends/carry_step.h"
#include "asyncio/future.h"
#include "asyncio/handle.h"
#include "asyncio/run_once.h"
#include "asyncio/task.h"
#include "base/hard.h"
#include "coro/awaitable.h"
#include "engine/call.h"
#include "engine/in_place.h"
#include "engine/interrupt.h"
#include "engine/park.h"
#include "stack/context.h"

/* Have drivers find call for its task, or find it no more. */
static int
carry_register(Call *call, bool present)
{
    PyObject *carriers = call->driven->carriers;
    PyObject *key = PyLong_FromVoidPtr(call->task);
    if (key == NULL) {
        return -1;
    }
    int result = present ? PyDict_SetItem(carriers, key, (PyObject *)call)
                         : PyDict_DelItem(carriers, key);
    Py_DECREF(key);
    return result;
}

/* Whether call is to wait on: until its task is done; in a run of our own,
 * until the task's done callbacks have run, too, which in a forked child
 * nobody runs. */
static bool
has_to_wait(Thread *th, Call *call, bool own_run)
{
    return (own_run && !th->forked) ||
           !twr_future_is_done(th->state, call->task);
}

/* Let the loop go on until there is something for call: a handle of its task
 * (call->handle), or the end of that.  Switches. */
static int
wait_for_handle(Thread *th, Call *call, bool own_run)
{
    if (!own_run || call->error != NULL || TWR_IS_HARD) {
        return twr_park(th, call);
    }
    PyObject *handle;
    switch (twr_in_place_next(th, call, &handle)) {
    case IN_PLACE_ERROR:
        return -1;
    case IN_PLACE_HANDLE:
        Py_XSETREF(call->handle, handle);
        return 0;
    case IN_PLACE_DONE:
        return 0;
    case IN_PLACE_PARK:
        break;
    }
    return twr_park(th, call);
}

/* Take the handle that a driver has handed over, or NULL.  Quiet. */
static PyObject *
carry_take(Call *call)
{
    PyObject *handle = call->handle;
    call->handle = NULL;
    return handle;
}

/* call does not come to run the handle that it was handed, if any: the loop
 * does.  Keeps the pending exception. */
static void
carry_put_back(Call *call)
{
    PyObject *handle = carry_take(call);
    if (handle == NULL) {
        return;
    }
    PyObject *pending = twr_error_take();
    twr_report(twr_driven_put_back(call->driven, handle), call->task);
    Py_DECREF(handle);
    twr_error_put(pending);
}

/* Park, running each handle of the task when it is due.  Switches. */
static int
carry_park(Thread *th, PyObject *loop, Call *call, bool own_run)
{
    bool called_back = false, flushed = false;
    while (!called_back && has_to_wait(th, call, own_run)) {
        if (wait_for_handle(th, call, own_run) < 0) {
            carry_put_back(call);
            if (own_run && twr_carry_interrupted(th, call)) {
                continue;
            }
            return -1;
        }
        PyObject *handle = carry_take(call);
        if (handle != NULL) {
            if (twr_carry_step(th, loop, call, handle) < 0) {
                return -1;
            }
        }
        else if (call->error != NULL) {
            return twr_raise(&call->error);
        }
        else if (own_run && !flushed &&
                 PyObject_Size(call->driven->it.ready) > 0) {
            /* Let the callbacks run that were queued together with ours. */
            flushed = true;
            if (twr_loop_call_soon(th->state, call->driven->it.loop,
                                   (PyObject *)call) < 0) {
                return -1;
            }
        }
        else {
            called_back = true;
        }
    }
    return 0;
}

/* Wait for the task after its first step.  Switches. */
static int
carry_wait(Thread *th, PyObject *loop, Call *call, bool own_run)
{
    call->since = twr_clock_ms();
    if (twr_park_take_over(th, loop, call) < 0 ||
        twr_future_listen(th->state, call->task, (PyObject *)call) < 0 ||
        carry_register(call, true) < 0) {
        twr_park_give_up(call);
        return -1;
    }
    int result = carry_park(th, loop, call, own_run);
    PyObject *pending = twr_error_take();
    if (carry_register(call, false) < 0) {
        PyErr_Clear();
    }
    twr_error_put(pending);
    if (result < 0) {
        twr_park_give_up(call);
    }
    return result;
}

static PyObject *
carry_result(Thread *th, Call *call)
{
    if (call->error != NULL) {
        twr_raise(&call->error); /* Ctrl-C came when the task was done */
        return NULL;
    }
    PyObject *result = twr_future_result(th->state, call->task);
    return call->interrupted
               ? twr_interrupt_result(th, call->task, call->thrown, result)
               : result;
}

/* What is to be carried, before it has begun. */
typedef struct {
    PyObject *coro;
    PyObject *context; /* in which its task runs */
    bool eagerly;      /* its first step is run as the task is made */
} Carried;

/* Take the first step of the task out of the queue, and run it.  Switches. */
static int
run_first_step(Thread *th, PyObject *loop, Driven *own_run, Call *call)
{
    PyObject *step = twr_handle_take_first(th->state, loop, call->task);
    if (step == NULL && PyErr_Occurred()) {
        return -1;
    }
    if (own_run != NULL) {
        twr_report(twr_interrupt_deliver(th), call->task);
    }
    return step == NULL ? 0 : twr_carry_step(th, loop, call, step);
}

/* CPython 3.13 goes on when the first step has failed, and raises in place of
 * the pending exception one that has that as its cause. */
static void
raise_cause(void)
{
    PyObject *error = twr_error_take();
    PyObject *cause = PyErr_GivenExceptionMatches(error, PyExc_SystemError)
                          ? PyException_GetCause(error)
                          : NULL;
    PyErr_SetRaisedException(cause == NULL ? Py_NewRef(error) : cause);
    Py_DECREF(error);
}

/* The first step of the task has failed as the next was to be queued, and no
 * other is going to be: another task has the rest of the coroutine, to be
 * cancelled.  Keeps the pending exception. */
static void
replace_task(TwrState *state, PyObject *loop, Call *call, const Carried *what)
{
    PyObject *pending = twr_error_take();
    if (twr_has(what->coro, "cr_suspended", Py_True) &&
        !twr_handle_is_due(state, loop, call->task)) {
        PyObject *rest = twr_task_new(state, what->coro, loop, what->context);
        if (rest != NULL) {
            twr_task_hush(call->task);
            Py_SETREF(call->task, rest);
        }
    }
    PyErr_Clear();
    twr_error_put(pending);
}

/* Make the task, which runs its first step.  Switches. */
static int
start_eagerly(Thread *th, PyObject *loop, Call *call, const Carried *what)
{
    TwrState *state = th->state;
    int ran =
        twr_task_start(state, call->task, what->coro, loop, what->context);
    if (ran < 0) {
        raise_cause();
        twr_close_awaitable(state, what->coro); /* if it has not begun */
        replace_task(state, loop, call, what);
    }
    return twr_carry_stepped(th, loop, call, NULL, ran);
}

/* The first step is run at once, wherever the loop stands; most calls at a
 * prompt need no more.  Whether to wait, then; -1: it has failed.
 * Switches. */
static int
carry_first_step(Thread *th, PyObject *loop, Driven *own_run, Call *call,
                 const Carried *what)
{
    TwrState *state = th->state;
    int ran = what->eagerly ? start_eagerly(th, loop, call, what)
                            : run_first_step(th, loop, own_run, call);
    if (ran < 0) {
        return -1;
    }
    if (!twr_future_is_done(state, call->task)) {
        return 1;
    }
    if (own_run == NULL || th->forked) {
        return 0;
    }
    return TWR_IS_HARD ? 1 : twr_run_once_any(&own_run->it);
}

/* Switches. */
static PyObject *
carry_run(Thread *th, PyObject *loop, Driven *own_run, Call *call,
          const Carried *what)
{
    twr_call_note(th, call);
    int wait = carry_first_step(th, loop, own_run, call, what);
    twr_call_unnote(call);
    if (wait > 0 && carry_wait(th, loop, call, own_run != NULL) < 0) {
        twr_carry_close(th->state, call);
        wait = -1;
    }
    return wait < 0 ? NULL : carry_result(th, call);
}

/* A call that carries task; in a run of our own, the main call. */
static Call *
carrier_new(Thread *th, Driven *own_run, PyObject *task, PyObject *callee)
{
    Call *call = twr_call_new(th->state, task, callee);
    if (call == NULL) {
        return NULL;
    }
    call->carries = true;
    if (own_run != NULL) {
        call->driven = (Driven *)Py_NewRef((PyObject *)own_run);
        call->greenlet = Py_NewRef(th->stacks.active);
        call->step_greenlet = Py_NewRef(th->stacks.active);
    }
    return call;
}

/* twr_carry() in no context of the caller's.  Switches. */
static PyObject *
carry_outside(Thread *th, PyObject *loop, Driven *own_run, const Carried *what,
              PyObject *callee)
{
    TwrState *state = th->state;
    PyObject *task =
        what->eagerly ? twr_task_alloc(state)
                      : twr_task_new(state, what->coro, loop, what->context);
    if (task == NULL) {
        twr_close_awaitable(state, what->coro);
        return NULL;
    }
    PyObject *result = NULL;
    Call *call = carrier_new(th, own_run, task, callee);
    if (call != NULL) {
        twr_driven_set_main_call(own_run, call);
        result = carry_run(th, loop, own_run, call, what);
        twr_driven_set_main_call(own_run, NULL);
    }
    else {
        twr_close_awaitable(state, what->coro);
    }
    twr_interrupt_forget(th, call == NULL ? task : call->task);
    PyObject *pending = twr_error_take();
    Py_XDECREF(call);
    Py_DECREF(task);
    twr_error_put(pending);
    return result;
}

PyObject *
twr_carry(Thread *th, PyObject *loop, Driven *own_run, PyObject *coro,
          PyObject *callee)
{
    PyObject *result = NULL, *contexts = NULL;
    PyObject *context = twr_context_current();
    if (context != NULL && twr_context_leave(th->state, &contexts) == 0) {
        Carried what = {coro, context,
                        TWR_EAGER_TASKS && own_run != NULL &&
                            !th->sigint.kept};
        result = carry_outside(th, loop, own_run, &what, callee);
        if (twr_context_enter(contexts) < 0) {
            Py_CLEAR(result);
        }
    }
    Py_XDECREF(contexts);
    Py_XDECREF(context);
    return result;
}
