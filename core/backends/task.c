/* backends/task.c - a call in a task of a running loop of asyncio's.
 *
 * The coroutine of the call is stepped in place, in the caller's task, and
 * what it yields is waited for by parking the caller's stack. */
#include "backends/backend.h"

#include "asyncio/future.h"
#include "asyncio/task.h"
#include "backends/drivable.h"
#include "engine/call.h"
#include "engine/driven.h"
#include "engine/in_place.h"
#include "engine/park.h"

static int
find_task(TwrPlace *place)
{
    Thread *th = place->th;
    if (twr_drivable_check(th, place->loop, place->callee) < 0) {
        return -1;
    }
    place->who = twr_task_current(th->state, place->loop);
    if (place->who == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    return twr_place_check_task(place) < 0 ? -1 : 1;
}

/* Park call until it is resumed; if task is eager and holds others up, have
 * them cancel it, too.  Switches. */
static int
park_held(Thread *th, PyObject *task, Call *call)
{
    TwrState *state = th->state;
    PyObject *held = twr_task_hold(state, task);
    if (held == NULL) {
        return -1;
    }
    int result = twr_park_in_task(th, task, call);
    twr_task_release(state, held);
    return result;
}

/* Have call called when the wait for yielded is over. */
static int
listen_to(TwrState *state, Call *call, PyObject *yielded)
{
    TwrWaiter waiter = {.loop = call->driven->it.loop,
                        .task = call->task,
                        .callback = (PyObject *)call};
    int result = twr_future_subscribe(state, &waiter, yielded);
    call->awaited = waiter.awaited;
    call->error = waiter.error;
    return result;
}

/* Let call wait for what it listens to; *error is set to what is to be thrown
 * into its coroutine, or NULL.  Switches. */
static int
wait_suspended(TwrPlace *place, Call *call, PyObject **error)
{
    TwrState *state = place->th->state;
    PyObject *task = place->who;
    int result = -1;
    call->since = twr_place_since(place);
    if (twr_task_suspend(state, task, call->awaited) == 0) {
        result = park_held(place->th, task, call);
    }
    twr_task_resume(state, task, call->awaited);
    place->interrupted |= call->interrupted;
    place->ending |= call->ending;
    if (result == 0) {
        *error = call->error;
        call->error = NULL;
        result = twr_task_take_cancel(state, task, error);
    }
    if (result < 0) {
        twr_call_detach(state, call);
    }
    return result;
}

/* Switches. */
static int
hold_task(TwrPlace *place, PyObject *iterator, PyObject *yielded,
          PyObject **sent, PyObject **error)
{
    Thread *th = place->th;
    if (twr_call_check_fork(th, place->callee) < 0) {
        return -1;
    }
    Call *call = twr_call_new(th->state, place->who, place->callee);
    if (call == NULL) {
        return -1;
    }
    call->ending = place->ending;
    call->iterator = iterator;
    bool queued = false;
    int result = twr_park_take_over(th, place->loop, call);
    if (result == 0 && yielded == Py_None) {
        result = twr_in_place(th, call, &queued);
    }
    if (result > 0) {
        result = twr_task_take_cancel(th->state, place->who, error);
    }
    else if (result == 0 &&
             (queued || (result = listen_to(th->state, call, yielded)) == 0)) {
        result = wait_suspended(place, call, error);
    }
    if (result < 0) {
        twr_park_give_up(call);
    }
    call->iterator = NULL;
    Py_DECREF(call);
    *sent = Py_NewRef(Py_None);
    return result;
}

/* Switches. */
static int
bounce_task(TwrPlace *place)
{
    Thread *th = place->th;
    Call *call =
        th->forked ? NULL : twr_call_new(th->state, place->who, place->callee);
    if (call == NULL) {
        return th->forked ? 0 : -1;
    }
    int result = twr_park_take_over(th, place->loop, call);
    if (result < 0 && PyErr_ExceptionMatches(th->state->CannotSuspend)) {
        PyErr_Clear(); /* it need not wait, after all */
        Py_DECREF(call);
        return 0;
    }
    if (result == 0 && call->driven->bounced == NULL) {
        result = twr_task_leave(th->state, place->loop, place->who);
        if (result == 0) {
            result = twr_park_bounce(th, call);
            if (twr_task_enter(th->state, place->loop, place->who) < 0) {
                result = -1;
            }
        }
    }
    if (result < 0) {
        twr_park_give_up(call);
    }
    Py_DECREF(call);
    return result;
}

const TwrBackend twr_task_backend = {
    .name = "task",
    .takes = TAKES_ITERATOR,
    .find = find_task,
    .hold = hold_task,
    .bounce = bounce_task,
    .is_running_loop = true,
};
