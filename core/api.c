/* api.c - the functions of the module. */
#include "api.h"

#include "asyncio/loop.h"
#include "asyncio/running.h"
#include "asyncio/task_fields.h"
#include "await.h"
#include "backends/adopt.h"
#include "backends/own_loop.h"
#include "backends/portal.h"
#include "backends/run.h"
#include "coro/awaitable.h"
#include "coro/awaiting.h"
#include "end.h"
#include "engine/driven.h"
#include "engine/input_hook.h"
#include "engine/thread.h"
#include "face/call.h"
#include "face/dual_type.h"
#include "look.h"

PyDoc_STRVAR(await_doc,
             "await_(awaitable, /)\n--\n\n"
             "Wait for awaitable synchronously, and return its result.\n"
             "\n"
             "The same as `await awaitable`, anywhere.\n"
             "\n"
             "Args:\n"
             "    awaitable: a coroutine, a Future, a Task, any object with "
             "__await__.\n"
             "\n"
             "Returns:\n"
             "    Its result.\n"
             "\n"
             "Raises:\n"
             "    TypeError: awaitable cannot be awaited.\n"
             "    CannotSuspend: a call cannot wait here.\n"
             "    BaseException: what awaitable raises.");

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
    if (twr_is_tworoutine(state, op)) {
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
        if (!twr_is_awaitable(args[0])) {
            return refuse_await(state, args[0]);
        }
        /* Who has called, as a partial, may drop it meanwhile. */
        PyObject *awaitable = Py_NewRef(args[0]);
        PyObject *result = twr_await(state, awaitable, NULL);
        Py_DECREF(awaitable);
        return result;
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
    if (Py_TYPE(f) != Py_TYPE(g)) {
        /* Code that has called f as a method goes on to do so. */
        return PyErr_Format(PyExc_TypeError,
                            "only one of %R and %R is over a function", f, g);
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

/* input_hook(function, is_editor): see engine/input_hook.h.  Whether a hook
 * was in place before. */
static PyObject *
core_input_hook(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *function;
    int is_editor;
    if (!PyArg_ParseTuple(args, "Op", &function, &is_editor)) {
        return NULL;
    }
    twr_input_hook_set(function == Py_None ? NULL : function, is_editor);
    return PyBool_FromLong(twr_input_hook_has_below());
}

/* call_hook_below(): have that one do what is due; whether it could. */
static PyObject *
core_call_hook_below(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    int called = twr_input_hook_call_below();
    return PyErr_Occurred() ? NULL : PyBool_FromLong(called == 0);
}

/* Close this thread's loop and end its greenlets now.  Switches. */
static PyObject *
core_end_thread(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    return return_none(twr_end_thread());
}

/* The next call has atexit call end_thread again. */
static PyObject *
core_unregistered(PyObject *module, PyObject *Py_UNUSED(unused))
{
    twr_state(module)->unregistered = true;
    Py_RETURN_NONE;
}

/* In a forked child: nothing that its parent's thread had can be used.
 * Returns the loop that is to be thrown away, or None. */
static PyObject *
core_after_fork(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    PyObject *loop = twr_thread_after_fork();
    return loop == NULL ? Py_NewRef(Py_None) : loop;
}

/* Whether a call made here would wait in a portal. */
static PyObject *
core_in_portal(PyObject *module, PyObject *Py_UNUSED(unused))
{
    TwrState *state = twr_state(module);
    Thread *th = twr_thread(state);
    PyObject *loop = th == NULL ? NULL : twr_running_loop(state);
    PyObject *eager = NULL;
    int here = loop == NULL ? -1 : twr_portal_here(th, loop, &eager);
    Py_XDECREF(loop);
    Py_XDECREF(eager);
    return here < 0 ? NULL : PyBool_FromLong(here);
}

/* adopting(call_soon): see backends/adopt.h. */
static PyObject *
core_adopting(PyObject *module, PyObject *call_soon)
{
    return twr_adopt_in(module, call_soon);
}

/* adopt(task): see backends/adopt.h. */
static PyObject *
core_adopt(PyObject *module, PyObject *task)
{
    TwrState *state = twr_state(module);
    if (!twr_task_is(state, task)) {
        return PyErr_Format(PyExc_TypeError, "not one of asyncio's tasks: %R",
                            task);
    }
    return return_none(twr_adopt(state, task));
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
core_thread_loop(PyObject *module, PyObject *Py_UNUSED(unused))
{
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
core_hidden(PyObject *module, PyObject *Py_UNUSED(unused))
{
    Thread *th = twr_thread(twr_state(module));
    if (th == NULL) {
        return NULL;
    }
    return Py_NewRef(th->run.hidden == NULL ? Py_None : th->run.hidden);
}

static PyObject *
core_show(PyObject *module, PyObject *Py_UNUSED(unused))
{
    Thread *th = twr_thread(twr_state(module));
    return return_none(th == NULL ? -1 : twr_own_loop_show(th));
}

static PyObject *
core_look(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    return twr_look();
}

/* home_of(f): the home of a tworoutine, or None. */
static PyObject *
core_home_of(PyObject *module, PyObject *f)
{
    PyObject *home = twr_tworoutine_home(twr_state(module), f);
    return Py_NewRef(home == NULL ? Py_None : home);
}

static PyObject *
core_dual_new(PyObject *module, PyObject *args)
{
    return twr_dual_new(twr_state(module), args);
}

/* dual_method(dual, fn, unbound): a tworoutine over fn, a method of the object
 * of dual, or, unbound, of its class. */
static PyObject *
core_dual_method(PyObject *module, PyObject *args)
{
    PyObject *dual, *fn;
    int unbound;
    if (!PyArg_ParseTuple(args, "O!Op", twr_state(module)->types.dual, &dual,
                          &fn, &unbound)) {
        return NULL;
    }
    return twr_tworoutine_new_of(dual, fn, unbound);
}

/* dual_of(f): the dual of which a tworoutine is a method, or None. */
static PyObject *
core_dual_of(PyObject *module, PyObject *f)
{
    PyObject *dual = twr_is_tworoutine(twr_state(module), f)
                         ? ((Tworoutine *)f)->dual
                         : NULL;
    return Py_NewRef(dual == NULL ? Py_None : dual);
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
    {"adopt", core_adopt, METH_O,
     "Have the rest of one of asyncio's tasks run in a portal."},
    {"adopting", core_adopting, METH_O,
     "A loop's call_soon that has the tasks it steps in portals."},
    {"dual_new", core_dual_new, METH_VARARGS,
     "A dual of an object, or the one that serves a class of duals."},
    {"dual_method", core_dual_method, METH_VARARGS,
     "A tworoutine over a method of the object of a dual."},
    {"dual_of", core_dual_of, METH_O,
     "The dual of which a tworoutine is a method, or None."},
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
    {"input_hook", core_input_hook, METH_VARARGS,
     "Have Python's prompt call a function while it waits for a key, or None "
     "no more."},
    {"call_hook_below", core_call_hook_below, METH_NOARGS,
     "Have the hook before that one handle its events."},
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
