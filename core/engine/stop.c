/* engine/stop.c - a loop that we drive is to stop, or a handle has failed. */
#include "engine/stop.h"

#include "asyncio/debug.h"
#include "asyncio/future.h"
#include "base/error.h"
#include "engine/interrupt.h"
#include "engine/marker.h"
#include "engine/sigint.h"

/* Take back the stop that was put off until the native greenlet could raise an
 * error: a run that ends with a future would leave the loop stopping. */
static int
clear_stop(Driven *driven)
{
    return driven->it.until == NULL || driven->native_error == NULL
               ? 0
               : twr_loop_set_stopping(driven->it.state, driven->it.loop,
                                       false);
}

/* result is that of one more step; error (stolen) of those before, or NULL:
 * the first error of all.  Any other is only reported. */
static PyObject *
first_error(Driven *driven, PyObject *error, int result)
{
    if (result == 0) {
        return error;
    }
    if (error == NULL) {
        return twr_error_take();
    }
    PyErr_WriteUnraisable(driven->it.loop);
    return error;
}

/* Prepare the loop to go on by itself; the first error, but all is done that
 * can be.  The marker stays behind the padding: the next run of this loop
 * begins with the marker, and no call of that run pins its native greenlet. */
static PyObject *
restore_queue(Thread *th, Driven *driven)
{
    PyObject *error = first_error(driven, NULL, clear_stop(driven));
    error = first_error(driven, error, twr_loop_mark(&driven->it));
    error = first_error(driven, error,
                        twr_loop_pad(&driven->it, driven->native_left));
    error = first_error(driven, error, twr_sigint_restore(th));
    error = first_error(driven, error,
                        twr_debug_forgive(th->state, driven->it.loop));
    return first_error(driven, error, twr_driven_release(th, driven));
}

/* Have run_forever raise exc (stolen), unless an earlier one is to be. */
static void
fail_run(Driven *driven, PyObject *exc)
{
    if (driven->native_error == NULL) {
        twr_driven_set_error(driven, exc);
        return;
    }
    PyErr_SetRaisedException(exc);
    PyErr_WriteUnraisable(driven->it.loop);
}

/* The loop stops, raising exc (stolen; NULL: nothing) or what fails here: its
 * native greenlet. */
static PyObject *
give_back(Thread *th, Driven *driven, PyObject *exc)
{
    twr_driven_set_polling(driven, true); /* a signal handler may call */
    PyObject *failed = restore_queue(th, driven);
    if (exc != NULL) {
        fail_run(driven, exc);
    }
    if (failed != NULL) {
        fail_run(driven, failed);
    }
    twr_driven_set_polling(driven, false);
    return twr_driven_let_go(th, driven);
}

/* The loop is to stop as soon as its native greenlet, which is below a call,
 * is free: cancel that call. */
static int
stop_later(Thread *th, Driven *driven)
{
    if (twr_driven_stop_later(driven) < 0) {
        return -1;
    }
    return driven->pinned == NULL ? 0
                                  : twr_call_end(th->state, driven->pinned);
}

/* Say that the call above the native greenlet is going to be cancelled: only
 * one made in the step of the first call in the life of a loop is, others live
 * on. */
static void
warn_pinned(Thread *th, Driven *driven)
{
    Call *call = driven->pinned;
    if (call == NULL || call->ending) {
        return;
    }
    Py_INCREF(call);
    twr_driven_set_polling(driven, true); /* whoever shows it may not call */
    PyObject *name = twr_callee_name(call->callee);
    if (name == NULL ||
        twr_done(twr_cold(th->state, COLD_warn_cancelled, "(OOO)", name,
                          call->task, call->greenlet)) < 0) {
        PyErr_WriteUnraisable(call->task);
    }
    twr_driven_set_polling(driven, false);
    Py_XDECREF(name);
    Py_DECREF(call);
}

PyObject *
twr_stop_give_back(Thread *th, Driven *driven)
{
    if (driven->place != PLACE_PINNED) {
        return give_back(th, driven, NULL);
    }
    warn_pinned(th, driven);
    stop_later(th, driven);
    return NULL;
}

PyObject *
twr_stop_main_call(Thread *th, Driven *driven)
{
    Call *main_call = driven->main_call;
    twr_driven_set_polling(driven, true); /* a task may call as it is asked */
    bool done = twr_future_is_done(th->state, main_call->task);
    twr_driven_set_polling(driven, false);
    /* If it is not parked, its stack waits in a call above it, made by a
     * finalizer perhaps. */
    if (main_call->parked && done) {
        return twr_call_resume(th, main_call);
    }
    PyErr_SetString(PyExc_RuntimeError,
                    "Event loop stopped before Future completed.");
    return twr_call_fail(th, twr_call_uppermost(driven, main_call));
}

/* The call in the foreground, or NULL.  Keeps the pending exception. */
static Call *
find_foreground(Thread *th, Driven *driven)
{
    Call *call = NULL;
    PyObject *pending = twr_error_take();
    twr_driven_set_polling(driven, true); /* whoever is asked may not call */
    twr_report(twr_interrupt_foreground(th, Py_None, &call), NULL);
    twr_driven_set_polling(driven, false);
    twr_error_put(pending);
    return call;
}

/* Raise the pending exception, perhaps one of a signal handler, in call: the
 * greenlet to switch to; NULL without error: go on until the task that call
 * carries, which has been cancelled, has ended. */
static PyObject *
fail_call(Thread *th, Call *call)
{
    Py_INCREF(call);
    /* What is cancelled may not call: the exception has to arrive first. */
    twr_driven_set_polling(call->driven, true);
    bool cancelled =
        call->carries && !th->forked && twr_interrupt_carrier_with(th, call);
    twr_driven_set_polling(call->driven, false);
    PyObject *next = cancelled ? NULL : twr_call_fail(th, call);
    Py_DECREF(call);
    return next;
}

/* Raise the pending exception in a forked child, where nothing runs the loop
 * until its native greenlet is free: what the call above that has to wait for
 * is refused. */
static PyObject *
fail_child(Thread *th, Driven *driven)
{
    twr_marker_fail(th->state, twr_error_take());
    PyErr_SetNone(th->state->CancelledError);
    return twr_call_fail(th, driven->pinned);
}

/* Whether the run ends with the task whose call is above the native greenlet,
 * so that nothing can be raised from it later. */
static bool
pinned_ends_run(Driven *driven)
{
    PyObject *future = driven->pinned == NULL || driven->it.until == NULL
                           ? NULL
                           : PyObject_CallNoArgs(driven->it.until);
    PyErr_Clear();
    Py_XDECREF(future); /* only compared */
    return future != NULL && future == driven->pinned->task;
}

PyObject *
twr_stop_failed(Thread *th, Driven *driven, bool in_handle)
{
    if (driven->place == PLACE_OURS) {
        return fail_call(th, twr_call_uppermost(driven, driven->main_call));
    }
    bool interrupt = PyErr_ExceptionMatches(PyExc_KeyboardInterrupt);
    Call *call = interrupt && !in_handle ? find_foreground(th, driven) : NULL;
    if (call != NULL) {
        PyObject *next = fail_call(th, call);
        Py_DECREF(call);
        return next;
    }
    if (driven->place == PLACE_PINNED && th->forked) {
        return fail_child(th, driven);
    }
    PyObject *exc = twr_error_take();
    if (pinned_ends_run(driven)) {
        twr_error_put(exc);
        return fail_call(th, driven->pinned);
    }
    if (driven->place != PLACE_PINNED) {
        return give_back(th, driven, exc);
    }
    fail_run(driven, exc);
    return twr_stop_give_back(th, driven);
}
