/* backends/carry_step.c - one step of a task that a call carries. */
#include "backends/carry_step.h"

#include "asyncio/future.h"
#include "asyncio/handle.h"
#include "asyncio/quick_handle.h"
#include "asyncio/task.h"
#include "coro/awaitable.h"
#include "engine/interrupt.h"

bool
twr_carry_interrupted(Thread *th, Call *call)
{
    return !th->forked && !PyErr_ExceptionMatches(PyExc_GeneratorExit) &&
           twr_interrupt_carrier_with(th, call);
}

/* Close the coroutine of the task by close(); a failure is reported. */
static void
close_coro(TwrState *state, Call *call, void (*close)(TwrState *, PyObject *))
{
    PyObject *coro =
        PyObject_CallMethodNoArgs(call->task, state->names.get_coro);
    if (coro == NULL) {
        PyErr_WriteUnraisable(call->task);
        return;
    }
    close(state, coro);
    Py_DECREF(coro);
}

/* Whether the coroutine of the task has not begun. */
static bool
is_new(TwrState *state, Call *call)
{
    PyObject *coro =
        PyObject_CallMethodNoArgs(call->task, state->names.get_coro);
    bool is = coro != NULL && twr_is_new_coroutine(coro);
    Py_XDECREF(coro);
    PyErr_Clear();
    return is;
}

/* See to it that the task, which has not ended, goes on: the run of handle may
 * have failed before the step began, or when the next was to be queued.
 * Whether it does. */
static bool
go_on(TwrState *state, PyObject *loop, Call *call, PyObject *handle)
{
    bool goes_on = twr_handle_is_due(state, loop, call->task);
    if (!goes_on && handle != NULL && !is_new(state, call)) {
        goes_on = twr_handle_queue(state, loop, handle) == 0;
    }
    PyErr_Clear();
    return goes_on;
}

/* The task is done: who has its exception is this call.  If it is not, and
 * nobody is going to run its coroutine again, that ends here, and the task is
 * not to be missed.  Whether the task goes on.  Keeps the pending exception.
 */
static bool
settle(TwrState *state, PyObject *loop, Call *call, PyObject *handle)
{
    PyObject *pending = twr_error_take();
    twr_handle_drop_frame(state, pending);
    bool done = twr_future_is_done(state, call->task);
    bool goes_on = !done && go_on(state, loop, call, handle);
    if (done) {
        twr_done(
            PyObject_CallMethodNoArgs(call->task, state->names.exception));
        PyErr_Clear();
    }
    else if (!goes_on) {
        close_coro(state, call, twr_close_awaitable);
        twr_task_hush(call->task);
    }
    twr_error_put(pending);
    return goes_on;
}

int
twr_carry_stepped(Thread *th, PyObject *loop, Call *call, PyObject *handle,
                  int ran)
{
    if (th->forked) { /* from 3.14 on, no task runs in a child */
        PyObject *pending = twr_error_take();
        if (twr_future_is_done(th->state, call->task)) {
            Py_XDECREF(pending);
            return twr_task_ended_child(th->state, call->task);
        }
        twr_error_put(pending);
    }
    bool goes_on = ran == 0 || (settle(th->state, loop, call, handle) &&
                                twr_carry_interrupted(th, call));
    return goes_on ? 0 : -1;
}

int
twr_carry_step(Thread *th, PyObject *loop, Call *call, PyObject *handle)
{
    TwrState *state = th->state;
    int ran = twr_quick_is_handle(state, handle)
                  ? twr_quick_run(state, handle, false)
                  : twr_handle_run(state, handle);
    ran = twr_carry_stepped(th, loop, call, handle, ran);
    Py_DECREF(handle);
    return ran;
}

void
twr_carry_close(TwrState *state, Call *call)
{
    if (call->driven == NULL || call->driven->place != PLACE_ENDING) {
        return;
    }
    PyObject *pending = twr_error_take();
    if (!twr_future_is_done(state, call->task)) {
        close_coro(state, call, twr_close_iterator);
    }
    twr_error_put(pending);
}
