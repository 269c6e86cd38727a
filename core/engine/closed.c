/* engine/closed.c - calls that still wait when their loop has been closed. */
#include "engine/closed.h"

#include "asyncio/running.h"
#include "asyncio/task.h"
#include "base/error.h"
#include "engine/interrupt.h"
#include "engine/sigint.h"
#include "stack/context.h"

/* The pending exception came while calls were ended: Ctrl-C is kept, all else
 * is reported. */
static void
note_failure(Thread *th, PyObject *where)
{
    if (th->is_main && PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
        PyErr_Clear();
        twr_interrupt_keep(th);
    }
    else {
        PyErr_WriteUnraisable(where);
    }
}

/* Call a cold function; NULL: it has failed, which has been reported.  Keeps a
 * pending exception. */
static PyObject *
ask_cold(Thread *th, TwrCold which, PyObject *task)
{
    PyObject *pending = twr_error_take();
    PyObject *result = twr_cold(th->state, which, "(O)", task);
    if (result == NULL) {
        note_failure(th, task);
    }
    twr_error_put(pending);
    return result;
}

static bool
is_closed(Thread *th, Driven *driven)
{
    int closed = twr_ask(driven->it.loop, th->state->names.is_closed);
    if (closed < 0) {
        note_failure(th, driven->it.loop);
    }
    return closed > 0;
}

/* Whether calls wait in driven, and nothing runs its loop.  Quiet. */
static bool
is_at_rest(Thread *th, Driven *driven)
{
    return driven->parked != NULL && driven->place == PLACE_NONE &&
           driven->it.loop != NULL && driven != th->drives.now;
}

/* The first Driven with calls that can never go on, as its loop is closed, or
 * (at_end) its thread ends; NULL: none. */
static Driven *
find_closed(Thread *th, bool at_end)
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(th->drives.kept); i++) {
        Driven *driven =
            (Driven *)Py_NewRef(PyList_GET_ITEM(th->drives.kept, i));
        /* Asked again: a loop may be so bold as to run in is_closed(). */
        if (is_at_rest(th, driven) && (at_end || is_closed(th, driven)) &&
            is_at_rest(th, driven)) {
            return driven;
        }
        Py_DECREF(driven);
    }
    return NULL;
}

/* Tell of a task that has been let go of; left (stolen) is what `destroying`
 * has returned, or NULL. */
static void
tell_lost(Thread *th, PyObject *left)
{
    if (left != NULL &&
        twr_done(PyObject_CallMethod(left, "tell", NULL)) < 0) {
        note_failure(th, left);
    }
    Py_XDECREF(left);
}

/* Go to greenlet, in the step of call.  Switches. */
static int
switch_to_step(Thread *th, Call *call, PyObject *greenlet)
{
    TwrState *state = th->state;
    if (!TWR_STEPS_NEED_THEIR_LOOP) {
        return twr_switch_to(&th->stacks, Py_NewRef(greenlet));
    }
    PyObject *running = twr_running_loop(state);
    if (running == NULL) {
        return -1;
    }
    PyObject *loop = Py_NewRef(call->driven->it.loop);
    PyObject *task = Py_NewRef(call->task);
    int back = twr_running_set(state, loop) < 0
                   ? -1
                   : twr_switch_to(&th->stacks, Py_NewRef(greenlet));
    PyObject *pending = twr_error_take();
    PyObject *current = twr_task_current(state, loop);
    if ((current == task && twr_task_leave(state, loop, task) < 0) ||
        twr_running_set(state, running) < 0) {
        note_failure(th, task);
    }
    twr_error_put(pending);
    Py_XDECREF(current);
    Py_DECREF(task);
    Py_DECREF(loop);
    Py_DECREF(running);
    return back;
}

/* Have call raise GeneratorExit, and come back when its step has ended.
 * Switches. */
static int
end_call(Thread *th, Call *call)
{
    if (!call->parked) {
        return 0; /* an exception handler that runs loops */
    }
    PyErr_SetNone(PyExc_GeneratorExit);
    PyObject *next = twr_call_fail(th, call);
    int back = next == NULL ? 0 : switch_to_step(th, call, next);
    Py_XDECREF(next);
    if (!call->carries) {
        Py_XDECREF(ask_cold(th, COLD_destroyed, call->task));
    }
    return back;
}

/* End call and let go of its task; false: it stays.  Switches. */
static bool
end_and_tell(Thread *th, Call *call, bool quietly)
{
    Py_INCREF(call);
    PyObject *task = Py_NewRef(call->task);
    /* A carried task is not on the stack: it is collected, and tells. */
    PyObject *left =
        call->carries || quietly ? NULL : ask_cold(th, COLD_destroying, task);
    if (end_call(th, call) < 0) {
        note_failure(th, task);
    }
    bool stays = call->parked;
    Py_DECREF(call);
    Py_DECREF(task);
    tell_lost(th, left);
    return !stays;
}

/* End the calls that wait in driven; me is the running greenlet.  Switches. */
static void
end_calls(Thread *th, Driven *driven, PyObject *me, bool quietly)
{
    Driven *before = (Driven *)Py_XNewRef((PyObject *)th->drives.now);
    twr_driven_end_calls(th, driven, me);
    while (driven->parked != NULL &&
           end_and_tell(th, driven->parked, quietly)) {
    }
    twr_driven_calls_ended(th, driven, before, driven->parked != NULL);
    Py_XDECREF(before);
    twr_report(twr_driven_release(th, driven), driven->it.loop);
}

int
twr_closed_end(Thread *th, bool at_end)
{
    if (PyList_GET_SIZE(th->drives.kept) == 0) {
        return 0;
    }
    PyObject *me = twr_greenlet_current();
    PyObject *active = Py_XNewRef(th->stacks.active);
    bool ours = th->sigint.ours;
    Driven *driven;
    while (me != NULL && (driven = find_closed(th, at_end)) != NULL) {
        bool quietly = th->is_main && !is_closed(th, driven);
        end_calls(th, driven, me, quietly);
        Py_DECREF(driven);
    }
    twr_switch_set_active(&th->stacks, active);
    Py_XDECREF(active);
    if (ours && twr_sigint_set(th) < 0) {
        note_failure(th, NULL);
    }
    Py_XDECREF(me);
    PyErr_Clear();
    return twr_interrupt_deliver(th);
}

int
twr_closed_is_below(Thread *th)
{
    Driven *driven = th->drives.now;
    if (!twr_driven_is_ending(driven)) {
        return 0;
    }
    PyObject *me = twr_greenlet_running();
    return me == NULL ? -1 : me != driven->native;
}

/* Code that goes on calling whatever is raised, as below a bare except, would
 * do so for ever. */
enum { REFUSALS_MAX = 100 };

/* Leave the running greenlet alone for ever.  Switches. */
static int
leave_greenlet_alone(Thread *th, Driven *driven, PyObject *callee)
{
    PyObject *me = twr_greenlet_current();
    if (me == NULL) {
        return -1;
    }
    driven->refusals = 0;
    PyErr_SetString(PyExc_RuntimeError, "coroutine ignored GeneratorExit");
    PyErr_WriteUnraisable(callee);
    /* The reference to me keeps this greenlet from being killed, which it
     * would not mind either. */
    twr_switch_set_active(&th->stacks, driven->native);
    return twr_switch_to(&th->stacks, Py_NewRef(driven->native));
}

int
twr_closed_refuse(Thread *th, PyObject *callee)
{
    Driven *driven = th->drives.now;
    int below = twr_closed_is_below(th);
    if (below <= 0) {
        return below;
    }
    return ++driven->refusals <= REFUSALS_MAX
               ? twr_refuse_closed(th->state, callee)
               : leave_greenlet_alone(th, driven, callee);
}

/* end_closed(): the callback by which a loop ends them.  Switches. */
static PyObject *
end_closed(PyObject *module, PyObject *Py_UNUSED(unused))
{
    TwrState *state = twr_state(module);
    Thread *th = twr_thread(state);
    PyObject *contexts = NULL;
    if (th == NULL || twr_context_leave(state, &contexts) < 0) {
        return NULL;
    }
    int ended = twr_closed_end(th, false);
    if (twr_context_enter(contexts) < 0) {
        ended = -1;
    }
    Py_XDECREF(contexts);
    return ended < 0 ? NULL : Py_NewRef(Py_None);
}

PyMethodDef twr_closed_def = {"end_closed", end_closed, METH_NOARGS,
                              "End the calls whose loops were closed."};

/* If calls of this thread still wait in loops that are closed, have them ended
 * by a callback of loop. */
static int
queue_end(Thread *th, PyObject *loop)
{
    TwrState *state = th->state;
    Driven *driven =
        PyList_GET_SIZE(th->drives.kept) > 1 ? find_closed(th, false) : NULL;
    int asked = driven == NULL
                    ? 0
                    : twr_loop_call_soon(state, loop, state->end_closed);
    Py_XDECREF(driven);
    return asked < 0 ? -1 : twr_interrupt_deliver(th);
}

Driven *
twr_closed_before_drive(Thread *th, PyObject *loop)
{
    Driven *driven = twr_driven_of(th, loop);
    if (driven != NULL && queue_end(th, loop) < 0) {
        twr_driven_release(th, driven);
        Py_CLEAR(driven);
    }
    return driven;
}

PyObject *
twr_closed_back(Thread *th, Driven *driven)
{
    if (PyErr_Occurred()) {
        note_failure(th, driven->it.loop);
    }
    twr_switch_set_active(&th->stacks, driven->native);
    return Py_NewRef(driven->native);
}
