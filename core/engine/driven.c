/* engine/driven.c - a loop that we drive, and where its native greenlet is. */
#include "engine/driven.h"

#include "asyncio/debug.h"
#include "asyncio/frames.h"
#include "asyncio/quick.h"
#include "asyncio/run_once.h"
#include "engine/sigint.h"

#include <assert.h>

/* Whether all is as the place says, and th->drives.now, too; only asked by
 * assert().  Quiet. */
static inline bool
is_ok(const Thread *th, const Driven *driven)
{
    bool now = th->drives.now == driven, native = driven->native != NULL;
    if ((driven->pinned != NULL && driven->place != PLACE_PINNED) ||
        (driven->main_call != NULL && driven->place != PLACE_OURS)) {
        return false;
    }
    switch (driven->place) {
    case PLACE_NONE:
        return !now && !native && driven->it.until == NULL;
    case PLACE_OURS:
        return now && !native && driven->it.until == NULL;
    case PLACE_PINNED:
    case PLACE_RETURNING:
    case PLACE_IDLE:
        return now && native;
    case PLACE_ENDING:
        return now == native && driven->it.until == NULL;
    }
    return false;
}

/* Whether the loop of driven can be run: nobody drives it.  Quiet. */
static inline bool
is_free(const Driven *driven)
{
    return driven->place == PLACE_NONE ||
           (driven->place == PLACE_ENDING && driven->native == NULL);
}

/* Drive the loop of driven from now on; NULL: none. */
static void
set_now(Thread *th, Driven *driven)
{
    Py_XSETREF(th->drives.now, (Driven *)Py_XNewRef((PyObject *)driven));
    if (driven != NULL) {
        twr_quick_begin(&driven->it);
    }
}

void
twr_driven_run(Thread *th, Driven *driven)
{
    assert(is_free(driven));
    driven->it.left = 0;
    driven->place = PLACE_OURS;
    set_now(th, driven);
    assert(is_ok(th, driven));
}

void
twr_driven_set_main_call(Driven *driven, Call *call)
{
    if (driven != NULL) {
        assert(driven->place == PLACE_OURS);
        driven->main_call = call;
    }
}

int
twr_driven_end_run(Thread *th, Driven *driven)
{
    assert(driven->place == PLACE_OURS);
    driven->place = PLACE_NONE;
    set_now(th, NULL);
    assert(is_ok(th, driven));
    PyObject *pending = twr_error_take();
    int marked = twr_loop_mark(&driven->it); /* see engine/drive.h */
    twr_error_put(pending);
    return marked < 0 ? -1 : twr_driven_release(th, driven);
}

/* Drive the loop, which runs by itself: native is in a _run_once that will
 * still pop so many handles. */
static void
begin_driving(Thread *th, Driven *driven, PyObject *native, Py_ssize_t left,
              NativePlace place)
{
    assert(is_free(driven) && th->drives.now == NULL);
    /* 3.11 may collect meanwhile, and a finalizer make a call. */
    int collects = PyGC_Disable();
    Py_XSETREF(driven->native, Py_NewRef(native));
    Py_XSETREF(driven->it.until, twr_frames_until(th->state));
    Py_CLEAR(driven->native_error);
    driven->native_left = left;
    driven->it.left = left;
    driven->it.stop_later = false;
    set_now(th, driven);
    driven->place = place;
    if (collects) {
        PyGC_Enable();
    }
}

void
twr_driven_take_over(Thread *th, Driven *driven, PyObject *native,
                     Py_ssize_t left)
{
    begin_driving(th, driven, native, left, PLACE_PINNED);
    twr_switch_set_active(&th->stacks, native);
    assert(is_ok(th, driven));
}

int
twr_driven_pin(Driven *driven, Call *call)
{
    assert(driven->place == PLACE_PINNED || driven->place == PLACE_RETURNING);
    if (driven->place == PLACE_RETURNING &&
        (twr_loop_unmark(&driven->it) < 0 ||
         twr_debug_unforgive(driven->it.state, driven->it.loop) < 0)) {
        return -1;
    }
    driven->place = PLACE_PINNED;
    driven->pinned = call;
    assert(is_ok(driven->thread, driven));
    return 0;
}

int
twr_driven_unpin(Driven *driven)
{
    assert(driven->place == PLACE_PINNED);
    driven->place = PLACE_RETURNING;
    driven->pinned = NULL;
    assert(is_ok(driven->thread, driven));
    PyObject *pending = twr_error_take();
    int result = twr_loop_mark(&driven->it);
    PyObject *failed = result < 0 ? twr_error_take() : NULL;
    result |= twr_debug_forgive(driven->it.state, driven->it.loop);
    twr_error_put(failed);
    twr_error_put(pending);
    return result < 0 ? -1 : 0;
}

int
twr_driven_stop_later(Driven *driven)
{
    assert(driven->place == PLACE_PINNED);
    driven->it.stop_later = true;
    return twr_loop_set_stopping(driven->it.state, driven->it.loop, false);
}

/* Stop at the end of the turn, if that was put off.  A run that ends with
 * until (NULL: with none) does so by itself, and may have done. */
static int
stop_if_put_off(Driven *driven, PyObject *until)
{
    if (!driven->it.stop_later) {
        return 0;
    }
    driven->it.stop_later = false;
    int ended = twr_run_once_ended(driven->it.state, until);
    return ended == 0
               ? twr_loop_set_stopping(driven->it.state, driven->it.loop, true)
               : (ended < 0 ? -1 : 0);
}

/* The moves to NONE of a loop that runs by itself from now on, or no more. */
static void
stop_driving(Thread *th, Driven *driven)
{
    Py_INCREF(driven); /* th->drives.now may be all that keeps it */
    driven->place = PLACE_NONE;
    driven->pinned = NULL;
    Py_CLEAR(driven->native);
    Py_CLEAR(driven->it.until);
    set_now(th, NULL);
    assert(is_ok(th, driven));
    Py_DECREF(driven);
}

/* Drive the loop no more, in whose native greenlet an exception is pending: an
 * error that was put off is raised in its place.  Always -1. */
static int
fail_driving(Thread *th, Driven *driven)
{
    if (driven->native_error != NULL) {
        PyErr_WriteUnraisable(driven->it.loop);
        twr_raise(&driven->native_error);
    }
    stop_driving(th, driven);
    twr_sigint_restore(th); /* a failure would give way to what is pending */
    twr_driven_release(th, driven);
    return -1;
}

/* RETURNING -> IDLE. */
static int
idle_after_call(Thread *th, Driven *driven, PyObject *native, Py_ssize_t left)
{
    assert(driven->place == PLACE_RETURNING);
    if (driven->native_left == 0 && driven->it.left == 0) {
        driven->it.left = left; /* its _run_once has just begun a turn */
    }
    Py_XSETREF(driven->native, Py_NewRef(native));
    PyObject *until = driven->it.until;
    driven->it.until = twr_frames_until(th->state);
    driven->native_left = left;
    driven->place = PLACE_IDLE;
    twr_switch_set_active(&th->stacks, native);
    assert(is_ok(th, driven));
    int stopped = stop_if_put_off(driven, until);
    Py_XDECREF(until);
    return stopped < 0 ? fail_driving(th, driven) : 0;
}

int
twr_driven_idle(Thread *th, Driven *driven, Py_ssize_t left)
{
    PyObject *native = twr_greenlet_running();
    if (native == NULL) {
        return -1;
    }
    if (th->drives.now != NULL) {
        return idle_after_call(th, driven, native, left);
    }
    begin_driving(th, driven, native, left, PLACE_IDLE);
    assert(is_ok(th, driven));
    return 0;
}

int
twr_driven_wait(Thread *th, Driven *driven, PyObject *greenlet)
{
    assert(driven->place == PLACE_IDLE);
    Py_INCREF(driven);
    int back = greenlet != NULL ? twr_switch_to(&th->stacks, greenlet)
                                : twr_pool_park(&th->stacks);
    if (back < 0 && th->drives.now == driven) {
        fail_driving(th, driven); /* there was nobody to switch to */
    }
    if (back == 0 && driven->native_error != NULL) {
        back = twr_raise(&driven->native_error);
    }
    Py_DECREF(driven);
    return back;
}

PyObject *
twr_driven_let_go(Thread *th, Driven *driven)
{
    assert(driven->place == PLACE_RETURNING || driven->place == PLACE_IDLE);
    PyObject *native = Py_NewRef(driven->native);
    stop_driving(th, driven);
    twr_switch_set_active(&th->stacks, native);
    return native;
}

void
twr_driven_set_error(Driven *driven, PyObject *exc)
{
    Py_XSETREF(driven->native_error, exc);
}

void
twr_driven_set_polling(Driven *driven, bool polling)
{
    driven->it.polling = polling;
}

void
twr_driven_end_calls(Thread *th, Driven *driven, PyObject *me)
{
    assert(driven->place == PLACE_NONE);
    set_now(th, driven);
    Py_XSETREF(driven->native, Py_NewRef(me));
    driven->place = PLACE_ENDING;
    assert(is_ok(th, driven));
}

void
twr_driven_calls_ended(Thread *th, Driven *driven, Driven *before, bool stays)
{
    assert(driven->place == PLACE_ENDING);
    driven->place = stays ? PLACE_ENDING : PLACE_NONE;
    Py_CLEAR(driven->native);
    set_now(th, before);
    assert(is_ok(th, driven));
}

int
twr_driven_stopped(Thread *th)
{
    Driven *driven = th->drives.now;
    if (twr_loop_unmark(&driven->it) < 0 ||
        twr_driven_release(th, driven) < 0) {
        return -1;
    }
    twr_driven_set_error(driven, NULL);
    stop_driving(th, driven);
    return twr_sigint_restore(th);
}

void
twr_driven_set_bounced(Driven *driven, Call *call)
{
    driven->bounced = call;
}

/* What has been put in front of the queue belongs to this turn.  Quiet. */
static void
note_next(Driven *driven)
{
    if (driven->thread->drives.now == driven) {
        driven->it.left++;
    }
}

int
twr_driven_call_next(Driven *driven, PyObject *call)
{
    int pushed = twr_loop_call_next(&driven->it, call);
    if (pushed == 0) {
        note_next(driven);
    }
    return pushed;
}

int
twr_driven_put_back(Driven *driven, PyObject *handle)
{
    PyObject *pending = twr_error_take();
    int pushed = twr_loop_put_back(&driven->it, handle);
    if (pushed == 0) {
        note_next(driven);
    }
    twr_error_put(pending);
    return pushed;
}
