/* backends/run.c - no loop in this thread: run the thread's own one. */
#include "backends/run.h"

#include "asyncio/likeness.h"
#include "asyncio/running.h"
#include "backends/backend.h"
#include "backends/carry.h"
#include "backends/own_loop.h"
#include "base/error.h"
#include "base/libraries.h"
#include "coro/awaitable.h"
#include "engine/call.h"
#include "engine/closed.h"
#include "engine/driven.h"
#include "engine/interrupt.h"
#include "engine/sigint.h"

/* The result (stolen) of a call, unless Ctrl-C came when it could end no step
 * of the call: KeyboardInterrupt then, after what the call may have raised. */
static PyObject *
end_interrupted(Thread *th, PyObject *result)
{
    if (!twr_interrupt_take_kept(th)) {
        return result;
    }
    PyObject *pending = result == NULL ? twr_error_take() : NULL;
    Py_XDECREF(result);
    if (pending != NULL &&
        PyErr_GivenExceptionMatches(pending, PyExc_KeyboardInterrupt)) {
        PyErr_SetRaisedException(pending);
        return NULL;
    }
    PyErr_SetNone(PyExc_KeyboardInterrupt);
    if (pending != NULL) {
        PyObject *interrupt = twr_error_take();
        PyException_SetContext(interrupt, pending);
        PyErr_SetRaisedException(interrupt);
    }
    return NULL;
}

/* Carry coro in loop, which counts as running.  Switches. */
static PyObject *
run_entered(Thread *th, PyObject *loop, PyObject *coro, PyObject *callee)
{
    twr_likeness_of_run(&th->stacks, th->is_main);
    PyObject *me = twr_greenlet_running();
    Driven *driven = me == NULL ? NULL : twr_closed_before_drive(th, loop);
    if (driven == NULL) {
        twr_close_awaitable(th->state, coro);
        return NULL;
    }
    twr_driven_run(th, driven);
    twr_switch_set_active(&th->stacks, me);
    PyObject *result = NULL;
    if (twr_loop_unmark(&driven->it) < 0) {
        twr_close_awaitable(th->state, coro);
    }
    else {
        result = twr_carry(th, loop, driven, coro, callee);
    }
    if (twr_driven_end_run(th, driven) < 0) {
        Py_CLEAR(result);
    }
    Py_DECREF(driven);
    return result;
}

/* Run coro in a loop whose turns we drive.  Python's own handler of SIGINT is
 * out of its place from beginning to end: the exception that it raises would
 * get lost in a finalizer, or tear a task that is being made.  Switches. */
static PyObject *
run_driven(Thread *th, PyObject *loop, PyObject *coro, PyObject *callee)
{
    PyObject *result = NULL, *undo = NULL;
    bool outer = th->run.in_run; /* a signal handler may make a call here */
    th->run.in_run = true;
    if (twr_sigint_set(th) == 0) {
        undo = twr_running_enter(th->state, loop);
    }
    if (undo == NULL) {
        twr_close_awaitable(th->state, coro);
    }
    else {
        result = run_entered(th, loop, coro, callee);
        if (twr_running_leave(th->state, loop, undo) < 0) {
            Py_CLEAR(result);
        }
    }
    Py_XDECREF(undo);
    if (twr_sigint_restore(th) < 0) {
        Py_CLEAR(result);
    }
    th->run.in_run = outer;
    return end_interrupted(th, result);
}

/* Somebody may have set that no loop runs, in the middle of one that does. */
int
twr_run_check(Thread *th, PyObject *callee)
{
    if (twr_driven_settle(th, NULL) < 0) {
        return -1;
    }
    return th->drives.now == NULL
               ? 0
               : twr_refuse_here(
                     th->state, callee,
                     PyUnicode_FromString("the loop that runs in this thread "
                                          "is hidden"));
}

PyObject *
twr_run_in(Thread *th, PyObject *loop, PyObject *coro, PyObject *callee)
{
    int driven =
        twr_run_check(th, callee) < 0 ? -1 : twr_thread_can_drive(th, loop);
    if (driven == 0) {
        driven = twr_loop_is_patched(th->state, loop);
    }
    if (driven < 0) {
        twr_close_awaitable(th->state, coro);
        return NULL;
    }
    if (driven) {
        return run_driven(th, loop, coro, callee);
    }
    Call *left = twr_call_leave(th, callee, coro);
    PyObject *result = PyObject_CallMethodOneArg(
        loop, th->state->names.run_until_complete, coro);
    twr_call_return(left);
    return result;
}

/* Where asgiref has been imported: have what its sync_to_async is given run in
 * this thread while loop runs.  A function that undoes it, or None. */
static PyObject *
enter_asgiref(TwrState *state, PyObject *loop)
{
    return twr_libraries(state) & LIBRARY_asgiref
               ? twr_cold(state, COLD_for_asgiref, "(O)", loop)
               : Py_NewRef(Py_None);
}

/* twr_run_in(), with enter_asgiref() around it.  Switches. */
static PyObject *
run_beside_asgiref(Thread *th, PyObject *loop, PyObject *coro,
                   PyObject *callee)
{
    PyObject *undo = enter_asgiref(th->state, loop);
    if (undo == NULL) {
        twr_close_awaitable(th->state, coro);
        return NULL;
    }
    PyObject *result = twr_run_in(th, loop, coro, callee);
    twr_backend_undo(undo);
    return result;
}

/* --- the backends */

/* What runs the loop: place->who, or NULL, we. */
static int
find_run(TwrPlace *place)
{
    if (twr_run_check(place->th, place->callee) < 0) {
        return -1;
    }
    place->who = twr_own_loop_runner(place->th);
    return place->who == NULL && PyErr_Occurred() ? -1 : 1;
}

/* NULL without error: IPython's runner, which alone knows its loop, serves. */
static PyObject *
find_own_loop(TwrPlace *place)
{
    return place->who != NULL ? NULL : twr_own_loop(place->th, place->callee);
}

/* Switches. */
static PyObject *
wait_in_run(TwrPlace *place, PyObject *loop, PyObject *coro)
{
    Thread *th = place->th;
    if (loop == NULL) {
        Call *left = twr_call_leave(th, place->callee, coro);
        PyObject *result = PyObject_CallOneArg(place->who, coro);
        twr_call_return(left);
        return result;
    }
    bool ours = loop == th->run.own_loop;
    PyObject *result = run_beside_asgiref(th, loop, coro, place->callee);
    if (th->forked && ours) {
        twr_thread_cold(th, COLD_discard_loop, loop);
    }
    twr_thread_register(th);
    return result;
}

const TwrBackend twr_run_backend = {
    .name = "run",
    .where = WHERE_no_loop,
    .takes = TAKES_COROUTINE,
    .find = find_run,
    .loop = find_own_loop,
    .wait = wait_in_run,
    .is_own_loop = true,
};

/* Whether the call is made by a GUI whose events IPython's prompt handles
 * while it waits for input, in a loop that runs for that alone. */
static int
in_input_hook(Thread *th, PyObject *loop)
{
    if (!th->is_main || th->drives.now != NULL) {
        return 0;
    }
    PyObject *known = twr_cold(th->state, COLD_in_input_hook, "(O)", loop);
    Py_XDECREF(known); /* only compared */
    return known == NULL ? -1 : known == Py_True;
}

static int
find_input_hook(TwrPlace *place)
{
    int hook = in_input_hook(place->th, place->loop);
    return hook <= 0 ? hook : find_run(place);
}

/* The own loop is found as where no loop runs: IPython would take the one that
 * does for that of its prompt. */
static PyObject *
own_loop_in_input_hook(TwrPlace *place)
{
    TwrState *state = place->th->state;
    if (twr_running_set(state, Py_None) < 0) {
        return NULL;
    }
    PyObject *loop = find_own_loop(place);
    if (twr_running_set(state, place->loop) < 0) {
        Py_CLEAR(loop);
    }
    return loop;
}

/* Wait as if the loop that runs did not: it is in the middle of a poll.
 * Switches. */
static PyObject *
wait_in_input_hook(TwrPlace *place, PyObject *loop, PyObject *coro)
{
    TwrState *state = place->th->state;
    if (twr_running_set(state, Py_None) < 0) {
        twr_close_awaitable(state, coro);
        return NULL;
    }
    PyObject *result = wait_in_run(place, loop, coro);
    if (twr_running_set(state, place->loop) < 0) {
        Py_CLEAR(result);
    }
    return result;
}

const TwrBackend twr_input_hook_backend = {
    .name = "input hook",
    .where = LIBRARY_prompt_toolkit,
    .takes = TAKES_COROUTINE,
    .find = find_input_hook,
    .loop = own_loop_in_input_hook,
    .wait = wait_in_input_hook,
    .is_own_loop = true,
};
