/* engine/park.c - to park a call: leave the stack as it is. */
#include "engine/park.h"

#include "asyncio/frames.h"
#include "asyncio/likeness.h"
#include "asyncio/task.h"
#include "base/error.h"
#include "engine/closed.h"
#include "engine/sigint.h"
#include "stack/context.h"

/* Drive loop, which runs by itself, from now on, if the frames below call are
 * those of a run_forever of that loop. */
static int
take_over_loop(Thread *th, PyObject *loop, Call *call)
{
    PyObject *native;
    Py_ssize_t left = twr_frames_native(th->state, loop, &native);
    if (native == NULL) {
        TwrCaller caller =
            left == -1 ? twr_frames_caller(th->state) : CALLER_ERROR;
        return caller == CALLER_ERROR ? -1
               : caller == CALLER_OTHER
                   ? twr_refuse_caller(th->state, call->callee)
                   : twr_refuse_greenlet(th->state, call->callee);
    }
    twr_likeness_of_native(&th->stacks);
    Driven *driven = twr_closed_before_drive(th, loop);
    /* Other code may have made a call meanwhile. */
    if (driven != NULL && th->drives.now != driven) {
        twr_driven_take_over(th, driven, native, left);
    }
    Py_DECREF(native);
    Py_XDECREF(driven);
    return driven == NULL ? -1 : 0;
}

int
twr_park_take_over(Thread *th, PyObject *loop, Call *call)
{
    if (th->drives.now == NULL && take_over_loop(th, loop, call) < 0) {
        return -1;
    }
    if (th->drives.now->place == PLACE_ENDING) {
        PyErr_SetString(PyExc_RuntimeError, "coroutine ignored GeneratorExit");
        return -1;
    }
    Py_XSETREF(call->driven, (Driven *)Py_NewRef((PyObject *)th->drives.now));
    return 0;
}

int
twr_park_leave(TwrState *state, PyObject *callee, PyObject *me, PyObject *root,
               TwrLeft *left)
{
    if (twr_context_leave(state, &left->own) < 0) {
        return -1;
    }
    if (me == root ||
        twr_context_leave_below(state, root, &left->below) == 0) {
        return 0;
    }
    if (PyErr_ExceptionMatches(PyExc_ValueError)) {
        PyErr_Clear(); /* one without a frame does not tell its context */
        twr_refuse_greenlet(state, callee);
    }
    twr_park_enter(left);
    return -1;
}

int
twr_park_enter(TwrLeft *left)
{
    /* Each keeps what is pending: the first error, too. */
    int failed = twr_context_enter_below(left->below);
    failed |= twr_context_enter(left->own);
    Py_CLEAR(left->own);
    Py_CLEAR(left->below);
    return failed;
}

/* Note which greenlet waits, and in whose step. */
static int
note_greenlets(Thread *th, Call *call)
{
    if (call->greenlet == NULL) {
        call->greenlet = twr_greenlet_current();
        if (call->greenlet == NULL) {
            return -1;
        }
        call->step_greenlet = Py_NewRef(th->stacks.active);
    }
    return 0;
}

/* Before call parks: leave the contexts, which must not stay entered, and pin
 * the native greenlet, which must not be popped.  Signals are handled here,
 * and 3.11 may collect: calls may be made, which pin and unpin; so this pins
 * last of all. */
static int
leave_step(Thread *th, Call *call, TwrLeft *left)
{
    Driven *driven = call->driven;
    if (twr_sigint_set(th) < 0 ||
        (driven->native == call->step_greenlet && driven->it.stop_later &&
         twr_call_end(th->state, call) < 0) ||
        twr_park_leave(th->state, call->callee, call->greenlet,
                       call->step_greenlet, left) < 0) {
        return -1;
    }
    return driven->native == call->step_greenlet ? twr_driven_pin(driven, call)
                                                 : 0;
}

/* Whether our handler of SIGINT has nothing to do any more.  Quiet. */
static bool
is_last(Thread *th, Driven *driven)
{
    return driven->parked == NULL && !th->run.in_run;
}

/* Whether call is above a native greenlet that is still pinned.  Quiet. */
static bool
holds_native(Driven *driven, Call *call)
{
    return driven->native == call->step_greenlet &&
           driven->place == PLACE_PINNED;
}

/* Undo leave_step(), after call has been parked or could not be: all of that,
 * whatever fails.  Keeps a pending exception; -1: something has failed, and
 * the first error is pending. */
static int
enter_step(Thread *th, Call *call, TwrLeft *left)
{
    Driven *driven = call->driven;
    int failed = twr_park_enter(left);
    failed |= is_last(th, driven) ? twr_sigint_restore(th) : 0;
    failed |= holds_native(driven, call) ? twr_driven_unpin(driven) : 0;
    return failed;
}

int
twr_park(Thread *th, Call *call)
{
    if (twr_call_check_fork(th, call->callee) < 0 ||
        note_greenlets(th, call) < 0) {
        return -1;
    }
    TwrLeft left = {NULL, NULL};
    int result = leave_step(th, call, &left);
    if (result == 0 && call->woken) {
        call->woken = false;
        twr_call_collect(th->state, call);
    }
    else if (result == 0) {
        twr_call_link(call);
        result = twr_pool_park(&th->stacks);
        twr_call_unlink(call);
    }
    return enter_step(th, call, &left) < 0 ? -1 : result;
}

int
twr_park_in_task(Thread *th, PyObject *task, Call *call)
{
    TwrState *state = th->state;
    PyObject *loop = call->driven->it.loop;
    if (task == NULL) {
        return twr_park(th, call);
    }
    if (twr_task_leave(state, loop, task) < 0) {
        return -1;
    }
    int result = twr_park(th, call);
    return twr_task_enter(state, loop, task) < 0 ? -1 : result;
}

int
twr_park_bounce(Thread *th, Call *call)
{
    Driven *driven = call->driven;
    if (driven->bounced != NULL) {
        return 0; /* a finalizer makes it, perhaps, as another call parks */
    }
    twr_driven_set_bounced(driven, call);
    int result = twr_park(th, call);
    twr_driven_set_bounced(driven, NULL);
    return result;
}

void
twr_park_give_up(Call *call)
{
    Driven *driven = call->driven;
    if (driven == NULL || driven->place != PLACE_PINNED ||
        (driven->pinned != NULL && driven->pinned != call)) {
        return;
    }
    PyObject *pending = twr_error_take();
    twr_report(twr_driven_unpin(driven), (PyObject *)call);
    twr_error_put(pending);
}
