/* await.c - find who serves a call, and let it wait there. */
#include "await.h"

#include "asyncio/frames.h"
#include "asyncio/running.h"
#include "backends/backend.h"
#include "backends/home.h"
#include "backends/own_loop.h"
#include "base/error.h"
#include "base/hard.h"
#include "base/libraries.h"
#include "coro/awaitable.h"
#include "coro/awaiting.h"
#include "coro/step.h"
#include "engine/closed.h"
#include "engine/interrupt.h"
#include "engine/thread.h"
#include "explain.h"
#include "stack/stacks.h"

/* Who may serve a call, in the order in which they are asked. */
static const TwrBackend *const backends[] = {
    &twr_home_backend,       &twr_portal_backend, &twr_greenback_backend,
    &twr_foreign_backend,    &twr_host_backend,   &twr_closed_backend,
    &twr_blocked_backend,    &twr_run_backend,    &twr_input_hook_backend,
    &twr_sqlalchemy_backend, &twr_task_backend,   &twr_callback_backend,
};

/* Those that are asked where these LIBRARY_ and WHERE_ flags are set. */
static const TwrBackend *asked[Py_ARRAY_LENGTH(backends)];
static unsigned asked_here = ~0u;

static void
choose_backends(unsigned here)
{
    size_t n = 0;
    for (size_t i = 0; i < Py_ARRAY_LENGTH(backends); i++) {
        unsigned where = backends[i]->where;
        if (where == 0 || where & here) {
            asked[n++] = backends[i];
        }
    }
    asked_here = here;
}

/* The WHERE_ flags of the place where a call is made. */
static inline unsigned
look_around(const TwrPlace *place)
{
    const Thread *th = place->th;
    return (place->loop == Py_None ? WHERE_no_loop : 0u) |
           (th->portals.stepped != NULL ? WHERE_stepped : 0u) |
           (twr_driven_is_ending(th->drives.now) ? WHERE_ending : 0u);
}

/* At the end of the interpreter, modules and greenlet are gone. */
static int
check_alive(TwrState *state, PyObject *callee)
{
    return !twr_is_finalizing()
               ? 0
               : twr_refuse(
                     state, callee,
                     PyUnicode_FromString("the interpreter is ending"),
                     "do it before, as in a function registered with atexit");
}

/* A weakref's callback, perhaps, calls as our greenlets end. */
static int
check_pool(Thread *th, PyObject *callee)
{
    return !twr_pool_is_ending(&th->stacks)
               ? 0
               : twr_refuse(th->state, callee,
                            PyUnicode_FromString("greenlets of this thread "
                                                 "are being ended"),
                            "make the call later");
}

/* Show a running loop that we hide from the code that makes the call. */
static int
show_hidden(TwrPlace *place)
{
    Thread *th = place->th;
    if (place->loop != Py_None || th->run.hidden == NULL) {
        return 0;
    }
    Py_XSETREF(place->loop, Py_NewRef(th->run.hidden));
    place->hidden = true;
    return twr_own_loop_show(th);
}

/* The thread and the loop in which a call of callee made here runs.  The place
 * has to be dropped in any case. */
static inline int
begin_place(TwrState *state, PyObject *callee, TwrPlace *place)
{
    *place = (TwrPlace){.callee = callee};
    place->th = check_alive(state, callee) < 0 ? NULL : twr_thread(state);
    if (place->th != NULL && check_pool(place->th, callee) == 0) {
        place->loop = twr_running_loop(state);
    }
    return place->loop == NULL || show_hidden(place) < 0
               ? -1
               : twr_libraries_check(state);
}

/* Who serves the call.  Switches. */
static inline int
find_backend(TwrState *state, TwrPlace *place)
{
    const unsigned here = twr_libraries(state) | look_around(place);
    int found = 0;
    for (size_t i = 0; found == 0; i++) {
        if (here != asked_here) { /* also: by a call made meanwhile */
            choose_backends(here);
        }
        place->backend = asked[i];
        found = asked[i]->find(place);
    }
    return found < 0 ? -1 : 0;
}

/* Where a call of callee made here waits; CannotSuspend if it cannot.  The
 * place has to be dropped in any case.  Switches. */
static int
find_place(TwrState *state, PyObject *callee, TwrPlace *place)
{
    return begin_place(state, callee, place) < 0 ? -1
                                                 : find_backend(state, place);
}

/* Keeps a pending exception. */
static void
drop_place(TwrPlace *place)
{
    if (place->hidden) {
        PyObject *pending = twr_error_take();
        twr_report(twr_own_loop_hide(place->th, place->loop), place->loop);
        twr_error_put(pending);
    }
    Py_XDECREF(place->loop);
    Py_XDECREF(place->who);
    Py_XDECREF(place->home);
}

/* The loop in which the call is going to wait; NULL without error: none that
 * is known. */
static PyObject *
loop_of_place(TwrPlace *place)
{
    const TwrBackend *backend = place->backend;
    if (backend->is_running_loop) {
        return Py_NewRef(place->loop);
    }
    return backend->loop == NULL ? NULL : backend->loop(place);
}

int
twr_await_check(TwrState *state, PyObject *callee, PyObject **loop)
{
    TwrPlace place;
    int result = find_place(state, callee, &place);
    if (loop != NULL) {
        *loop = result < 0                ? NULL
                : twr_home_awaits(&place) ? Py_NewRef(place.home)
                                          : loop_of_place(&place);
        if (*loop == NULL && PyErr_Occurred()) {
            result = -1;
        }
        else if (*loop == place.loop) {
            Py_CLEAR(*loop);
        }
    }
    drop_place(&place);
    return result;
}

bool
twr_await_may_finalize(TwrState *state, bool dropped)
{
    TwrPlace place;
    bool may = begin_place(state, NULL, &place) == 0 &&
               (place.loop == Py_None ? twr_frames_in_asyncio(state) == 0
                                      : dropped) &&
               /* Before it is asked for: a refusal is counted. */
               twr_closed_is_below(place.th) == 0 &&
               find_backend(state, &place) == 0;
    PyErr_Clear();
    drop_place(&place);
    return may;
}

/* 0 if awaitable may be waited for in loop (NULL: in one that is not known).
 */
static int
check_awaitable(TwrState *state, PyObject *awaitable, PyObject *loop,
                PyObject *callee)
{
    if (loop != NULL) {
        return twr_check_awaitable(state, awaitable, loop, callee);
    }
    return PyCoro_CheckExact(awaitable)
               ? twr_check_new(state, awaitable, callee)
               : 0;
}

/* A coroutine, of which some loop that is not known can make a task. */
static PyObject *
coroutine_for_any_loop(TwrState *state, PyObject *awaitable, PyObject *callee)
{
    if (check_awaitable(state, awaitable, NULL, callee) < 0) {
        return NULL;
    }
    return PyCoro_CheckExact(awaitable) ? Py_NewRef(awaitable)
                                        : twr_awaiting_new(state, awaitable);
}

/* What the backend takes, made of awaitable. */
static PyObject *
make_waitable(TwrPlace *place, PyObject *loop, PyObject *awaitable)
{
    TwrState *state = place->th->state;
    PyObject *callee = place->callee;
    switch (place->backend->takes) {
    case TAKES_COROUTINE:
        return loop == NULL ? coroutine_for_any_loop(state, awaitable, callee)
                            : twr_as_coroutine(state, awaitable, loop, callee);
    case TAKES_ITERATOR:
        return check_awaitable(state, awaitable, loop, callee) < 0
                   ? NULL
                   : twr_await_iterator(state, awaitable);
    case TAKES_ANY:
        return check_awaitable(state, awaitable, loop, callee) < 0
                   ? NULL
                   : Py_NewRef(awaitable);
    }
    Py_UNREACHABLE();
}

/* In the hard build, park and go on.  Switches. */
static int
bounce_call(TwrPlace *place)
{
    const TwrBackend *backend = place->backend;
    return TWR_IS_HARD && backend->bounce != NULL ? backend->bounce(place) : 0;
}

/* Step iterator here, waiting for all that it yields.  Switches. */
static PyObject *
step_iterator(TwrPlace *place, PyObject *iterator)
{
    TwrState *state = place->th->state;
    PyObject *value = NULL, *error = NULL;
    PyObject *sent = Py_NewRef(Py_None);
    for (;;) {
        if (error == NULL && bounce_call(place) < 0) {
            twr_close_iterator(state, iterator);
            break;
        }
        PySendResult how =
            error == NULL ? PyIter_Send(iterator, sent, &value)
                          : twr_step_throw(state, iterator, &error, &value);
        Py_CLEAR(sent);
        if (how != PYGEN_NEXT) {
            break;
        }
        PyObject *yielded = value;
        value = NULL;
        int held =
            place->backend->hold(place, iterator, yielded, &sent, &error);
        Py_DECREF(yielded);
        if (held < 0) {
            twr_close_iterator(state, iterator);
            break;
        }
    }
    Py_XDECREF(sent);
    Py_XDECREF(error);
    return place->interrupted
               ? twr_interrupt_result(place->th, place->who, NULL, value)
               : value;
}

/* Wait for coro where place says, which is stepped.  Switches. */
static inline PyObject *
step_coroutine(TwrPlace *place, PyObject *coro)
{
    TwrState *state = place->th->state;
    if (twr_check_new(state, coro, place->callee) == 0) {
        return step_iterator(place, coro);
    }
    twr_close_awaitable(state, coro);
    return NULL;
}

/* Wait for awaitable where place says.  Switches. */
static PyObject *
wait_here(TwrPlace *place, PyObject *awaitable)
{
    if (place->backend->takes == TAKES_ITERATOR &&
        PyCoro_CheckExact(awaitable)) {
        return step_coroutine(place, awaitable); /* of no loop */
    }
    PyObject *result = NULL, *what = NULL;
    PyObject *loop = loop_of_place(place);
    if (loop != NULL || !PyErr_Occurred()) {
        what = make_waitable(place, loop, awaitable);
    }
    if (what == NULL) {
        twr_close_awaitable(place->th->state, awaitable);
    }
    else if (place->backend->takes == TAKES_ITERATOR) {
        result = step_iterator(place, what);
    }
    else {
        result = place->backend->wait(place, loop, what);
    }
    Py_XDECREF(what);
    Py_XDECREF(loop);
    return result;
}

/* Wait for awaitable at home, and here for that.  Switches. */
static PyObject *
wait_at_home(TwrPlace *place, PyObject *awaitable)
{
    PyObject *bridge = NULL;
    if (check_awaitable(place->th->state, awaitable, NULL, place->callee) ==
        0) {
        bridge = twr_home_bridge(place, awaitable);
    }
    PyObject *result = bridge == NULL ? NULL : wait_here(place, bridge);
    if (result == NULL) {
        twr_close_awaitable(place->th->state, awaitable);
    }
    Py_XDECREF(bridge);
    return result;
}

PyObject *
twr_await(TwrState *state, PyObject *awaitable, PyObject *callee)
{
    PyObject *result = NULL;
    TwrPlace place;
    if (Py_EnterRecursiveCall(" in a synchronous call")) {
        twr_close_awaitable(state, awaitable);
        return NULL;
    }
    if (find_place(state, callee, &place) == 0) {
        result = twr_home_awaits(&place) ? wait_at_home(&place, awaitable)
                                         : wait_here(&place, awaitable);
        if (result == NULL) {
            twr_explain(&place);
            twr_home_hide_frames(&place);
        }
    }
    else {
        twr_close_awaitable(state, awaitable);
    }
    drop_place(&place);
    Py_LeaveRecursiveCall();
    return result;
}
