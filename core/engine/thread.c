/* engine/thread.c - what belongs to one thread of the operating system. */
#include "engine/thread.h"

#include "base/libraries.h"
#include "base/list.h"

_Thread_local TwrHere twr_here;

/* All records of the process, the latest first. */
static Thread *all_threads;

/* Whether this is the main thread, which alone handles signals. */
static int
find_main(Thread *th)
{
    PyObject *ident = NULL;
    PyObject *main = PyObject_CallNoArgs(th->state->main_thread);
    if (main != NULL) {
        ident = PyObject_GetAttr(main, th->state->names.ident);
        Py_DECREF(main);
    }
    if (ident == NULL) {
        return -1;
    }
    th->is_main = PyLong_AsUnsignedLong(ident) == PyThread_get_thread_ident();
    Py_DECREF(ident);
    return PyErr_Occurred() ? -1 : 0;
}

Thread *
twr_thread_list(void)
{
    return all_threads;
}

void
twr_thread_unlist(Thread *th)
{
    TWR_LIST_REMOVE(th);
}

/* Have greenlet take note of this thread.  3.11 may collect as it does, and a
 * finalizer make a call: greenlet would then know two threads here, and switch
 * to no greenlet of that call. */
static void
meet_greenlet(void)
{
    int collects = PyGC_Disable();
    PyObject *me = twr_greenlet_current();
    if (me == NULL) {
        PyErr_Clear(); /* whoever parks is told */
    }
    Py_XDECREF(me);
    if (collects) {
        PyGC_Enable();
    }
}

Thread *
twr_thread_make(TwrState *state)
{
    PyObject *dict = PyThreadState_GetDict();
    if (dict == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "this thread is ending");
        return NULL;
    }
    meet_greenlet();
    Thread *th =
        (Thread *)state->types.thread->tp_alloc(state->types.thread, 0);
    if (th == NULL) {
        return NULL;
    }
    th->state = th->stacks.state = state;
    th->ident = PyThread_get_thread_ident();
    int known = find_main(th);
    th->drives.kept = PyList_New(0);
    Thread *other = twr_thread_if_any();
    if (other != NULL) {
        /* Other code, a finalizer perhaps, has made a record meanwhile. */
        PyErr_Clear();
        Py_DECREF(th);
        return other;
    }
    if (known < 0 || th->drives.kept == NULL ||
        PyDict_SetItemString(dict, "tworoutine", (PyObject *)th) < 0) {
        Py_DECREF(th);
        return NULL;
    }
    twr_here = (TwrHere){th, PyThreadState_Get()->id};
    TWR_LIST_ADD(&all_threads, th);
    Py_DECREF(th); /* the dictionary owns it */
    return th;
}

bool
twr_thread_is_here(const Thread *th)
{
    return twr_thread_here() == th;
}

void
twr_thread_forget(Thread *th)
{
    if (twr_here.th == th) {
        twr_here.th = NULL;
    }
}

int
twr_thread_abandon(Thread *th)
{
    Py_INCREF(th);
    twr_here.th = NULL;
    PyObject *dict = PyThreadState_GetDict();
    return dict == NULL ? 0 : PyDict_DelItemString(dict, "tworoutine");
}

int
twr_thread_cold(Thread *th, TwrCold which, PyObject *arg)
{
    PyObject *pending = twr_error_take();
    int done =
        twr_done(twr_cold(th->state, which, arg == NULL ? NULL : "(O)", arg));
    twr_report(done, arg);
    twr_error_put(pending);
    return done;
}

void
twr_thread_register(Thread *th)
{
    if (th->state->unregistered) {
        th->state->unregistered = false;
        th->state->unregistered = twr_thread_cold(th, COLD_register, NULL) < 0;
    }
}

PyObject *
twr_thread_after_fork(void)
{
    while (all_threads != NULL) {
        twr_thread_unlist(all_threads); /* the threads are the parent's */
    }
    Thread *th = twr_thread_here();
    if (th == NULL) {
        return NULL;
    }
    th->forked = true;
    /* Frames on this stack may still use it: it is never freed. */
    Py_INCREF(th);
    PyObject *loop = th->run.own_loop;
    th->run.own_loop = NULL;
    return loop;
}

int
twr_thread_look_in_step(Thread *th)
{
    PyObject *me = twr_greenlet_running();
    if (me == NULL) {
        return -1;
    }
    if (th->drives.now != NULL) {
        return me == th->stacks.active;
    }
    if (me != th->first) {
        PyObject *parent = twr_greenlet_parent(me);
        Py_XDECREF(parent);
        if (parent != NULL) {
            return 0;
        }
        th->first = me;
    }
    th->first_stack = twr_thread_data_stack();
    return 1;
}

PyObject *
twr_thread_library(TwrState *state)
{
    return twr_libraries(state) & (LIBRARY_trio | LIBRARY_curio)
               ? twr_cold(state, COLD_foreign_library, NULL)
               : Py_NewRef(Py_None);
}

int
twr_thread_is_foreign(TwrState *state)
{
    PyObject *name = twr_thread_library(state);
    int foreign = name == NULL ? -1 : name != Py_None;
    Py_XDECREF(name);
    return foreign;
}
