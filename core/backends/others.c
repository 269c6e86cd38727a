/* backends/others.c - other libraries that run tasks, or greenlets, here.
 *
 * greenback: a call made in a task with a portal of it, below that, is one
 * that greenback can serve, under any loop for which it has portals.
 *
 * trio and curio: no call can wait but in a portal of ours.
 *
 * gevent switches between greenlets of its own, each of which may make calls
 * at any time, whatever asyncio's running loop is doing in another of them;
 * Twisted's reactors run no loop of asyncio's.  Who imports neither pays for
 * two look-ups; else _hosts.py is asked, which answers with
 *
 *     None       the call waits as everywhere else
 *     a string   it cannot wait, and why
 *     (loop,)    it waits as where no loop runs, but in that one
 *     a backend  an object with a loop, and wait(coro, context), which runs
 *                coro as a task of it, and returns when that is done the task
 *                and an exception to raise instead, or None
 *
 * SQLAlchemy: below its greenlet_spawn, what is waited for goes to the parent,
 * in its own way, which other greenlets of it rely on. */
#include "backends/backend.h"

#include "asyncio/future.h"
#include "backends/run.h"
#include "base/error.h"
#include "base/libraries.h"
#include "coro/awaitable.h"
#include "engine/call.h"
#include "engine/closed.h"
#include "engine/greenback.h"
#include "stack/context.h"

/* --- greenback */

static int
find_greenback(TwrPlace *place)
{
    TwrState *state = place->th->state;
    twr_greenback_look(state);
    PyObject *module =
        twr_greenback_has_portals(state)
            ? PyImport_GetModule(state->libraries.names[INDEX_greenback])
            : NULL;
    if (module == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    PyObject *task = PyObject_CallMethod(module, "current_task", NULL);
    Py_DECREF(module);
    if (task == NULL && !PyErr_ExceptionMatches(PyExc_RuntimeError)) {
        return -1; /* not that there is none: a signal handler's */
    }
    PyObject *portal = twr_greenback_portal_of(state, task);
    Py_XDECREF(portal);
    return portal != NULL;
}

/* Switches. */
static PyObject *
wait_in_greenback(TwrPlace *place, PyObject *Py_UNUSED(loop),
                  PyObject *awaitable)
{
    PyObject *module =
        PyImport_GetModule(place->th->state->libraries.names[INDEX_greenback]);
    Call *left = twr_call_leave(place->th, place->callee, awaitable);
    PyObject *result =
        module == NULL ? NULL
                       : PyObject_CallMethod(module, "await_", "O", awaitable);
    twr_call_return(left);
    Py_XDECREF(module);
    return result;
}

const TwrBackend twr_greenback_backend = {
    .name = "greenback",
    .where = LIBRARY_greenback,
    .takes = TAKES_ANY,
    .find = find_greenback,
    .wait = wait_in_greenback,
};

/* --- trio, curio */

static int
find_foreign(TwrPlace *place)
{
    TwrState *state = place->th->state;
    PyObject *name = twr_thread_library(state);
    int result = name == NULL ? -1 : 0;
    if (name != NULL && name != Py_None) {
        result = twr_refuse(
            state, place->callee,
            PyUnicode_FromFormat("%S runs in this thread, and this task is "
                                 "not in a portal",
                                 name),
            TWR_AWAIT_OR(place->callee, "start with tworoutine.portal(main)"));
    }
    Py_XDECREF(name);
    return result;
}

const TwrBackend twr_foreign_backend = {
    .name = "foreign",
    .where = LIBRARY_trio | LIBRARY_curio,
    .find = find_foreign,
};

/* --- gevent, Twisted */

static int
find_host(TwrPlace *place)
{
    TwrState *state = place->th->state;
    unsigned any = twr_libraries(state);
    if (!(any & LIBRARY_gevent) &&
        !(any & LIBRARY_twisted && place->loop == Py_None)) {
        return 0;
    }
    place->who = twr_cold(state, COLD_find_backend, "(O)", place->loop);
    if (place->who == Py_None) {
        Py_CLEAR(place->who);
        return 0;
    }
    if (place->who == NULL) {
        return -1;
    }
    return PyUnicode_Check(place->who)
               ? twr_refuse_here(state, place->callee, Py_NewRef(place->who))
               : 1;
}

static PyObject *
loop_of_host(TwrPlace *place)
{
    return PyTuple_CheckExact(place->who)
               ? Py_NewRef(PyTuple_GET_ITEM(place->who, 0))
               : PyObject_GetAttr(place->who, place->th->state->names.loop);
}

/* The result of the task of a pair (task, exception or None), or the exception
 * in its place. */
static PyObject *
result_of_host(TwrState *state, PyObject *pair)
{
    PyObject *task, *thrown;
    if (!PyArg_ParseTuple(pair, "OO", &task, &thrown)) {
        return NULL;
    }
    if (thrown == Py_None) {
        return twr_future_result(state, task);
    }
    PyErr_SetRaisedException(Py_NewRef(thrown));
    return NULL;
}

/* Have place->who, an object in Python, wait.  Switches. */
static PyObject *
let_host_wait(TwrPlace *place, PyObject *coro)
{
    TwrState *state = place->th->state;
    PyObject *backend = place->who;
    PyObject *pair = NULL, *contexts = NULL;
    PyObject *context = twr_context_current();
    if (context != NULL && twr_context_leave(state, &contexts) == 0) {
        Call *left = twr_call_leave(place->th, place->callee, coro);
        pair = PyObject_CallMethod(backend, "wait", "OO", coro, context);
        twr_call_return(left);
        if (twr_context_enter(contexts) < 0) {
            Py_CLEAR(pair);
        }
    }
    if (pair == NULL) {
        twr_close_awaitable(state, coro); /* Ctrl-C came before it began */
    }
    PyObject *result = pair == NULL ? NULL : result_of_host(state, pair);
    Py_XDECREF(pair);
    Py_XDECREF(contexts);
    Py_XDECREF(context);
    return result;
}

/* Switches. */
static PyObject *
wait_in_host(TwrPlace *place, PyObject *loop, PyObject *coro)
{
    return PyTuple_CheckExact(place->who)
               ? twr_run_in(place->th, loop, coro, place->callee)
               : let_host_wait(place, coro);
}

const TwrBackend twr_host_backend = {
    .name = "host",
    .where = LIBRARY_gevent | LIBRARY_twisted,
    .takes = TAKES_COROUTINE,
    .find = find_host,
    .loop = loop_of_host,
    .wait = wait_in_host,
};

/* --- the cleanup of a call that is being ended */

/* Switches. */
static int
find_closed(TwrPlace *place)
{
    return twr_closed_refuse(place->th, place->callee);
}

const TwrBackend twr_closed_backend = {
    .name = "closed",
    .where = WHERE_ending,
    .find = find_closed,
};

/* --- SQLAlchemy */

static int
find_sqlalchemy(TwrPlace *place)
{
    PyObject *provider, *me = twr_greenlet_running();
    if (me == NULL) {
        return -1;
    }
    if (twr_greenlet_is_plain(me)) {
        return 0;
    }
    TwrState *state = place->th->state;
    int found = PyObject_GetOptionalAttr(
        me, state->names.__sqlalchemy_greenlet_provider__, &provider);
    Py_XDECREF(provider);
    return found;
}

/* Switches. */
static PyObject *
wait_in_sqlalchemy(TwrPlace *place, PyObject *Py_UNUSED(loop),
                   PyObject *awaitable)
{
    PyObject *result = NULL;
    PyObject *me = twr_greenlet_running();
    PyObject *parent = me == NULL ? NULL : twr_greenlet_parent(me);
    PyObject *args = PyTuple_Pack(1, awaitable);
    if (parent != NULL && args != NULL) {
        Call *left = twr_call_leave(place->th, place->callee, awaitable);
        result = twr_greenlet_switch(parent, args);
        twr_call_return(left);
    }
    Py_XDECREF(parent);
    Py_XDECREF(args);
    return result;
}

const TwrBackend twr_sqlalchemy_backend = {
    .name = "SQLAlchemy",
    .where = LIBRARY_sqlalchemy,
    .takes = TAKES_ANY,
    .find = find_sqlalchemy,
    .wait = wait_in_sqlalchemy,
};
