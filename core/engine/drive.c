/* engine/drive.c - lend the running asyncio loop to another greenlet. */
#include "engine/drive.h"

#include "asyncio/debug.h"
#include "asyncio/handle.h"
#include "asyncio/run_once.h"
#include "asyncio/task_fields.h"
#include "engine/closed.h"
#include "engine/greenback.h"
#include "engine/stop.h"

/* The call that carries task, found without memory for a key. */
static Call *
find_carrier_slowly(Driven *driven, PyObject *task)
{
    Call *call = driven->parked;
    while (call != NULL && !(call->carries && call->task == task)) {
        call = call->older;
    }
    return call;
}

/* The call that carries the task of which callback is a step; or NULL. */
static Call *
find_carrier(TwrState *state, Driven *driven, PyObject *callback)
{
    if (PyDict_GET_SIZE(driven->carriers) == 0) {
        return NULL;
    }
    PyObject *task = twr_task_of_callback(state, callback);
    if (task == NULL) {
        return NULL;
    }
    PyObject *key = PyLong_FromVoidPtr(task);
    Call *call = key == NULL
                     ? NULL
                     : (Call *)PyDict_GetItemWithError(driven->carriers, key);
    Py_XDECREF(key);
    if (call == NULL && PyErr_Occurred()) {
        PyErr_Clear();
        call = find_carrier_slowly(driven, task);
    }
    return call != NULL && call->parked ? call : NULL;
}

/* A handle calls call, of this loop: the greenlet of call, if that is due;
 * NULL without error: it is not. */
static PyObject *
next_of_call(TwrState *state, Thread *th, Call *call)
{
    if (!twr_call_take_turn(state, call)) {
        return NULL;
    }
    twr_call_collect(state, call);
    /* The future may have let others run meanwhile. */
    return call->parked ? twr_call_resume(th, call) : NULL;
}

/* Run handle (stolen), which nobody carries.  Switches. */
static int
run_handle(Thread *th, Driven *driven, PyObject *handle)
{
    int result = twr_debug_run(&driven->it, handle);
    if (result == 0 && th->forked) {
        result = twr_handle_check_child(th->state, handle);
    }
    Py_DECREF(handle);
    return result;
}

/* Run handle (stolen), or set *next to the greenlet that has to.  The handle
 * is dropped before the decision, since that may run other code.  Switches. */
static int
drive_handle(Thread *th, Driven *driven, PyObject *handle, PyObject **next)
{
    TwrState *state = th->state;
    PyObject *callback;
    if (twr_handle_callback(state, handle, &callback) < 0) {
        Py_DECREF(handle);
        return -1;
    }
    if (callback == NULL) {
        return run_handle(th, driven, handle);
    }
    /* A call of another loop or thread is called, and knows what to do. */
    if (Py_IS_TYPE(callback, state->types.call) &&
        ((Call *)callback)->driven == driven) {
        Py_DECREF(handle);
        *next = next_of_call(state, th, (Call *)callback);
        Py_DECREF(callback);
        return 0;
    }
    Call *carrier = find_carrier(state, driven, callback);
    if (carrier == NULL) {
        twr_greenback_step(state, handle, callback);
    }
    Py_DECREF(callback);
    if (carrier == NULL) {
        return run_handle(th, driven, handle);
    }
    Py_XSETREF(carrier->handle, handle);
    *next = twr_call_resume(th, carrier);
    return 0;
}

/* Set *handle to the next handle; in a forked child there is none, ever. */
static TwrNext
next_handle(Thread *th, Driven *driven, PyObject **handle)
{
    if (th->forked) {
        PyErr_SetString(PyExc_RuntimeError,
                        "the process was forked while this loop ran; its "
                        "child cannot run it");
        return NEXT_ERROR;
    }
    if (driven->it.left == 0) {
        twr_greenback_look(th->state);
    }
    return twr_run_once_next(&driven->it, handle);
}

/* Go on with the turn: who has to run next, or NULL to go on driving, with an
 * exception if that is to be reported.  Switches. */
static PyObject *
drive_on(Thread *th, Driven *driven)
{
    PyObject *handle, *next = NULL;
    switch (next_handle(th, driven, &handle)) {
    case NEXT_HANDLE:
        if (drive_handle(th, driven, handle, &next) < 0 &&
            th->drives.now->place != PLACE_ENDING) {
            next = twr_stop_failed(th, th->drives.now, true);
        }
        return next;
    case NEXT_STOP:
        next = driven->place == PLACE_OURS ? twr_stop_main_call(th, driven)
                                           : twr_stop_give_back(th, driven);
        if (next != NULL || !PyErr_Occurred()) {
            return next;
        }
        break;
    case NEXT_ERROR:
        break;
    }
    return twr_stop_failed(th, driven, false);
}

PyObject *
twr_drive(Thread *th)
{
    for (;;) {
        Driven *driven = th->drives.now;
        if (driven->place == PLACE_ENDING) {
            return twr_closed_back(th, driven);
        }
        if (driven->bounced != NULL) {
            return twr_call_resume(th, driven->bounced);
        }
        Py_INCREF(driven); /* the run may end meanwhile */
        PyObject *next = drive_on(th, driven);
        if (next == NULL && PyErr_Occurred() &&
            th->drives.now->place != PLACE_ENDING) {
            PyErr_WriteUnraisable(driven->it.loop);
        }
        Py_DECREF(driven);
        if (next != NULL) {
            return next;
        }
    }
}
