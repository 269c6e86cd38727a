/* engine/wake.c - a loop that runs by itself calls a parked call back. */
#include "engine/wake.h"

#include "asyncio/frames.h"
#include "asyncio/likeness.h"
#include "asyncio/task.h"
#include "engine/park.h"
#include "stack/context.h"

/* In a forked child, call waits on a stack of the parent's: its task is over.
 * NULL, with what there is to say. */
static PyObject *
lose_call(TwrState *state, Call *call)
{
    if (twr_done(twr_cold(state, COLD_lose, "(O)", call->task)) == 0) {
        PyErr_Format(PyExc_RuntimeError,
                     "%R waits in the parent of this process, and can never "
                     "go on in this one",
                     call);
    }
    return NULL;
}

/* A loop that we drive is turned by somebody else in one of its steps, as by
 * the nested run_until_complete of nest_asyncio, who has come upon call: let a
 * driver find call, and the turner go on in the next turn.  Switches. */
static int
make_way(Thread *th, Driven *driven, Call *call)
{
    TwrState *state = th->state;
    PyObject *loop = driven->it.loop;
    Call *turner = twr_call_new(state, call->task, NULL);
    if (turner == NULL) {
        return -1;
    }
    int result = -1;
    if (twr_park_take_over(th, loop, turner) == 0 &&
        twr_loop_call_soon(state, loop, (PyObject *)call) == 0 &&
        twr_loop_call_soon(state, loop, (PyObject *)turner) == 0) {
        PyObject *task = twr_task_current(state, loop);
        if (task != NULL || !PyErr_Occurred()) {
            result = twr_park_in_task(th, task, turner);
        }
        Py_XDECREF(task);
    }
    if (result < 0) {
        twr_park_give_up(turner);
    }
    Py_DECREF(turner);
    return result;
}

/* Park the native greenlet here, inside this callback, and let call go on.
 * left: handles that its _run_once will still pop.  Switches. */
static int
park_native(Thread *th, Call *call, Py_ssize_t left)
{
    twr_likeness_of_native(&th->stacks);
    PyObject *contexts;
    if (twr_context_leave(th->state, &contexts) < 0) {
        return -1;
    }
    Driven *driven = (Driven *)Py_NewRef((PyObject *)call->driven);
    int back = 0;
    if (call->parked && th->drives.now == NULL) {
        back = twr_driven_idle(th, driven, left);
        if (back == 0) {
            back = twr_driven_wait(th, driven, twr_call_resume(th, call));
        }
    }
    else if (call->parked) {
        /* What has run meanwhile, a finalizer perhaps, made calls. */
        back = twr_driven_call_next(driven, (PyObject *)call);
    }
    if (twr_context_enter(contexts) < 0) {
        back = -1;
    }
    Py_XDECREF(contexts);
    Py_DECREF(driven);
    return back;
}

/* call is due, and its loop is one of this thread.  Switches. */
static int
wake_due(Thread *th, Call *call)
{
    TwrState *state = th->state;
    Driven *driven = call->driven;
    twr_call_collect(state, call);
    if (!call->parked) {
        return 0; /* the future has let others run */
    }
    Py_ssize_t left =
        th->drives.now != NULL
            ? -1
            : twr_frames_native_left(state, driven->it.loop, false);
    if (left >= 0) {
        return park_native(th, call, left);
    }
    if (left == -1 && th->drives.now == driven &&
        twr_frames_caller(state) == CALLER_OTHER) {
        return make_way(th, driven, call);
    }
    return left == -1 ? twr_driven_call_next(driven, (PyObject *)call) : -1;
}

PyObject *
twr_wake(Thread *th, Call *call)
{
    if (!twr_call_take_turn(th->state, call)) {
        Py_RETURN_NONE;
    }
    Thread *other = call->driven->thread;
    if (other != NULL && other->forked) {
        return lose_call(th->state, call);
    }
    if (th != other) {
        PyErr_Format(PyExc_RuntimeError,
                     "%R waits in another thread than the one that runs its "
                     "loop now, and can never go on",
                     (PyObject *)call);
        return NULL;
    }
    return wake_due(th, call) < 0 ? NULL : Py_NewRef(Py_None);
}
