/* api.c - the functions of the module. */
#include "api.h"

#include "asyncio/loop.h"
#include "asyncio/running.h"
#include "await.h"
#include "backends/own_loop.h"
#include "backends/portal.h"
#include "backends/run.h"
#include "coro/awaitable.h"
#include "coro/awaiting.h"
#include "end.h"
#include "engine/driven.h"
#include "engine/thread.h"
#include "face/call.h"
#include "look.h"

PyDoc_STRVAR(await_doc,
             "await_(awaitable, /)\n--\n\n"
             "Wait for awaitable synchronously, and return its result.\n\n"
             "The same as `await awaitable`, anywhere: a coroutine, a Future, "
             "a Task, an object\nwith __await__.  Raises what it raises, "
             "TypeError if it cannot be awaited, and\nCannotSuspend where a "
             "call cannot wait.");

/* TypeError: await_(op) cannot be meant. */
static PyObject *
refuse_await(TwrState *state, PyObject *op)
{
    const char *advice = "";
    PyObject *enter;
    int manages =
        PyObject_GetOptionalAttr(op, state->names.__aenter__, &enter);
    Py_XDECREF(enter);
    if (manages < 0) {
        return NULL;
    }
    if (Py_IS_TYPE(op, state->types.tworoutine)) {
        advice = "; call it: that waits by itself";
    }
    else if (PyAsyncGen_CheckExact(op)) {
        advice = "; iterate over it with async for";
    }
    else if (manages && !PyType_Check(op)) {
        advice = "; enter it with async with";
    }
    else if (PyCallable_Check(op)) {
        advice = "; call it first";
    }
    return PyErr_Format(PyExc_TypeError,
                        "await_() takes an awaitable, as a coroutine or a "
                        "future, not %R%s",
                        op, advice);
}

/* Switches. */
static PyObject *
core_await(PyObject *module, PyObject *const *args, Py_ssize_t n,
           PyObject *kwnames)
{
    TwrState *state = twr_state(module);
    if (n == 1 && kwnames == NULL) {
        return twr_is_awaitable(args[0]) ? twr_await(state, args[0], NULL)
                                         : refuse_await(state, args[0]);
    }
    n += kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    for (Py_ssize_t i = 0; i < n; i++) {
        twr_close_awaitable(state, args[i]);
    }
    PyErr_SetString(PyExc_TypeError,
                    "await_() takes one awaitable, by position; "
                    "asyncio.gather() awaits several");
    return NULL;
}

/* What a function returns that has only done something; -1: it has failed. */
static PyObject *
return_none(int done)
{
    return done < 0 ? NULL : Py_NewRef(Py_None);
}

/* prime(loop): no call in its runs is to pin the native greenlet, if the loop
 * is ours to drive; see engine/drive.h. */
static PyObject *
core_prime(PyObject *module, PyObject *loop)
{
    TwrState *state = twr_state(module);
    Thread *th = twr_thread(state);
    int drivable = th == NULL ? -1 : twr_thread_can_drive(th, loop);
    return return_none(drivable > 0 ? twr_loop_prime(state, loop) : drivable);
}

/* refit(f, g): f has the function of g from now on, or, if g is f, the one
 * that it has has become another. */
static PyObject *
core_refit(PyObject *module, PyObject *args)
{
    PyTypeObject *type = twr_state(module)->types.tworoutine;
    Tworoutine *f, *g;
    if (!PyArg_ParseTuple(args, "O!O!", type, &f, type, &g)) {
        return NULL;
    }
    f->makes = MAKES_UNKNOWN;
    Py_SETREF(f->fn, Py_NewRef(g->fn));
    Py_RETURN_NONE;
}

/* run_in(loop, coro): run a loop that is not running until coro is done.
 * Switches. */
static PyObject *
core_run_in(PyObject *module, PyObject *args)
{
    PyObject *loop, *awaitable;
    if (!PyArg_ParseTuple(args, "OO", &loop, &awaitable)) {
        return NULL;
    }
    TwrState *state = twr_state(module);
    Thread *th = twr_thread(state);
    PyObject *coro = th == NULL || twr_run_check(th, NULL) < 0
                         ? NULL
                         : twr_as_coroutine(state, awaitable, loop, NULL);
    if (coro == NULL) {
        twr_close_awaitable(state, awaitable);
        return NULL;
    }
    PyObject *result = twr_run_in(th, loop, coro, NULL);
    Py_DECREF(coro);
    return result;
}

/* cold(module): what twr_cold() calls from now on.  Not imported when first
 * needed: that may be in the middle of anything. */
static PyObject *
core_cold(PyObject *module, PyObject *cold)
{
    return return_none(twr_cold_use(twr_state(module), cold));
}

/* Close this thread's loop and end its greenlets now.  Switches. */
static PyObject *
core_end_thread(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return return_none(twr_end_thread());
}

/* The next call has atexit call end_thread again. */
static PyObject *
core_unregistered(PyObject *module, PyObject *unused)
{
    (void)unused;
    twr_state(module)->unregistered = true;
    Py_RETURN_NONE;
}

/* In a forked child: nothing that its parent's thread had can be used.
 * Returns the loop that is to be thrown away, or None. */
static PyObject *
core_after_fork(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    PyObject *loop = twr_thread_after_fork();
    return loop == NULL ? Py_NewRef(Py_None) : loop;
}

/* Whether a call made here would wait in a portal. */
static PyObject *
core_in_portal(PyObject *module, PyObject *unused)
{
    (void)unused;
    TwrState *state = twr_state(module);
    Thread *th = twr_thread(state);
    PyObject *loop = th == NULL ? NULL : twr_running_loop(state);
    int here = loop == NULL ? -1 : twr_portal_here(th, loop);
    Py_XDECREF(loop);
    return here < 0 ? NULL : PyBool_FromLong(here);
}

/* drivable(loop): whether calls can wait in it without a portal. */
static PyObject *
core_drivable(PyObject *module, PyObject *loop)
{
    Thread *th = twr_thread(twr_state(module));
    int drivable = th == NULL ? -1 : twr_thread_can_drive(th, loop);
    return drivable < 0 ? NULL : PyBool_FromLong(drivable);
}

/* stepper(loop): the greenlet in which the steps of a loop run that we drive
 * in this thread; None if we do not. */
static PyObject *
core_stepper(PyObject *module, PyObject *loop)
{
    Thread *th = twr_thread(twr_state(module));
    if (th == NULL) {
        return NULL;
    }
    bool ours = th->drives.now != NULL && th->drives.now->it.loop == loop;
    return Py_NewRef(ours && th->stacks.active != NULL ? th->stacks.active
                                                       : Py_None);
}

/* thread_loop(): the loop that a call would run where none is running. */
static PyObject *
core_thread_loop(PyObject *module, PyObject *unused)
{
    (void)unused;
    Thread *th = twr_thread(twr_state(module));
    return th == NULL ? NULL : twr_own_loop(th, NULL);
}

static PyObject *
core_hide(PyObject *module, PyObject *loop)
{
    Thread *th = twr_thread(twr_state(module));
    return return_none(th == NULL ? -1 : twr_own_loop_hide(th, loop));
}

/* hidden(): the loop that runs here, and is hidden; or None. */
static PyObject *
core_hidden(PyObject *module, PyObject *unused)
{
    (void)unused;
    Thread *th = twr_thread(twr_state(module));
    if (th == NULL) {
        return NULL;
    }
    return Py_NewRef(th->run.hidden == NULL ? Py_None : th->run.hidden);
}

static PyObject *
core_show(PyObject *module, PyObject *unused)
{
    (void)unused;
    Thread *th = twr_thread(twr_state(module));
    return return_none(th == NULL ? -1 : twr_own_loop_show(th));
}

static PyObject *
core_look(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return twr_look();
}

/* home_of(f): the home of a tworoutine, or None. */
static PyObject *
core_home_of(PyObject *module, PyObject *f)
{
    PyObject *home = twr_tworoutine_home(twr_state(module), f);
    return Py_NewRef(home == NULL ? Py_None : home);
}

PyMethodDef twr_api_methods[] = {
    {"await_", (PyCFunction)(void (*)(void))core_await,
     METH_FASTCALL | METH_KEYWORDS, await_doc},
    {"hide", core_hide, METH_O,
     "Have it look as if the running loop, given, did not run."},
    {"show", core_show, METH_NOARGS, "Undo that."},
    {"hidden", core_hidden, METH_NOARGS,
     "The running loop that is hidden so; or None."},
    {"look", core_look, METH_NOARGS,
     "The calls that wait, of all threads: see _calls.py."},
    {"home_of", core_home_of, METH_O, "The home of a tworoutine, or None."},
    {"in_portal", core_in_portal, METH_NOARGS,
     "Whether a synchronous call made here would wait in a portal."},
    {"drivable", core_drivable, METH_O,
     "Whether synchronous calls can wait in a loop without a portal."},
    {"stepper", core_stepper, METH_O,
     "The greenlet in which the steps run of a loop that we drive; or None."},
    {"thread_loop", core_thread_loop, METH_NOARGS,
     "The loop that a synchronous call would run where none is running."},
    {"prime", core_prime, METH_O,
     "Have the next run of a loop begin with our marker."},
    {"refit", core_refit, METH_VARARGS,
     "Give a tworoutine the function of another one."},
    {"run_in", core_run_in, METH_VARARGS,
     "Run a loop until a coroutine is done."},
    {"cold", core_cold, METH_O,
     "Give the module of what the core leaves to Python."},
    {"end_thread", core_end_thread, METH_NOARGS,
     "Close this thread's own loop and end its greenlets."},
    {"unregistered", core_unregistered, METH_NOARGS,
     "Tell that atexit has let go of end_thread."},
    {"after_fork", core_after_fork, METH_NOARGS,
     "Drop what the parent process had; return its loop, or None."},
    {NULL, NULL, 0, NULL},
};
