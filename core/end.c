/* end.c - a thread ends, or its loop: what is left in it. */
#include "end.h"

#include "asyncio/running.h"
#include "backends/own_loop.h"
#include "backends/portal.h"
#include "engine/call.h"
#include "engine/closed.h"
#include "engine/driven.h"
#include "engine/drives.h"

static int
thread_traverse(PyObject *op, visitproc visit, void *arg)
{
    Thread *th = (Thread *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(th->run.own_loop);
    Py_VISIT(th->run.hidden);
    Py_VISIT(th->drives.now);
    Py_VISIT(th->drives.kept);
    return 0;
}

/* Close the kept loop the way asyncio.Runner does, and end the calls that are
 * still parked; runs in th's own thread.  Whatever the code does that runs
 * meanwhile, the record can be used afterwards; th->ending stays set.
 * Switches. */
static void
end_calls(Thread *th)
{
    th->ending = true;
    PyObject *loop = Py_XNewRef(th->run.own_loop);
    if (loop != NULL) {
        twr_thread_cold(th, COLD_close_loop, loop);
        twr_driven_forget_loop(th, loop);
        if (th->run.own_loop == loop) {
            twr_own_loop_drop(th);
        }
        Py_DECREF(loop);
    }
    twr_report(twr_driven_settle(th, NULL), NULL);
    twr_report(twr_closed_end(th, true), NULL);
    twr_portal_end_all(th);
}

/* Switches. */
static void
thread_finalize(PyObject *op)
{
    Thread *th = (Thread *)op;
    PyObject *pending = twr_error_take();
    if (twr_thread_is_here(th) && !th->forked) {
        end_calls(th);
        if (!th->is_main) {
            twr_thread_cold(th, COLD_forget_thread, NULL);
        }
        twr_pool_end(&th->stacks);
        /* Greenlets that are held by what ends after this, a threading.local,
         * go on then, and use the record: it is not freed. */
        if ((th->drives.now != NULL || th->stacks.drivers.n_all > 0) &&
            twr_thread_abandon(th) < 0) {
            PyErr_Clear(); /* the dictionary of the thread is gone */
        }
    }
    twr_error_put(pending);
}

static int
thread_clear(PyObject *op)
{
    Thread *th = (Thread *)op;
    twr_own_loop_drop(th);
    twr_drives_drop(th);
    Py_CLEAR(th->stacks.active);
    Py_CLEAR(th->stacks.target);
    Py_CLEAR(th->known.type);
    Py_CLEAR(th->sigint.task);
    Py_CLEAR(th->stacks.no_driver);
    Py_CLEAR(th->stacks.requester);
    Py_CLEAR(th->stacks.relayed);
    for (int i = 0; i < TWR_FOOTINGS; i++) {
        Py_CLEAR(th->stacks.footings[i]);
    }
    Py_CLEAR(th->stacks.run_footing);
    return 0;
}

/* Switches. */
static void
thread_dealloc(PyObject *op)
{
    Thread *th = (Thread *)op;
    PyThreadState *tstate = PyThreadState_Get();
    bool ends = tstate->dict == NULL;
    if (PyObject_CallFinalizerFromDealloc(op) < 0) {
        return;
    }
    /* Its thread is not here to end: another process has it, or it hangs at
     * the end of this one, or has lost that state.  The loop is left alone,
     * since to close it would unregister the other process's descriptors. */
    bool is_elsewhere = !twr_thread_is_here(th) && th->run.own_loop != NULL;
    PyObject_GC_UnTrack(op);
    if (twr_thread_is_here(th)) {
        if (!th->forked) {
            twr_pool_end(&th->stacks); /* if it was finalized long ago */
        }
    }
    twr_thread_forget(th);
    twr_thread_unlist(th);
    twr_call_forget(th);
    twr_portal_forget_all(th);
    twr_data_stack_drop(&th->stacks.chunks);
    if (!is_elsewhere) {
        thread_clear(op);
    }
    twr_free(op);
    if (ends) {
        /* Who asked for the dictionary of a thread that has lost its own, as
         * asyncio did for the running loop, was given one that nobody frees.
         */
        Py_CLEAR(tstate->dict);
    }
}

static PyType_Slot thread_slots[] = {
    {Py_tp_traverse, thread_traverse},
    {Py_tp_clear, thread_clear},
    {Py_tp_finalize, thread_finalize},
    {Py_tp_dealloc, thread_dealloc},
    {0, NULL},
};

PyType_Spec twr_thread_spec = {
    .name = "tworoutine._core.Thread",
    .basicsize = sizeof(Thread),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
             Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = thread_slots,
};

/* Whether the loop that we drive has been hidden by somebody in one of its
 * steps.  gevent's adapter hides the loop, too, while that polls in another
 * greenlet. */
static int
is_loop_hidden(Thread *th)
{
    if (th->drives.now == NULL) {
        return 0;
    }
    int above = th->drives.now->it.polling ? twr_thread_in_step(th) : 1;
    if (above <= 0) {
        return above;
    }
    PyObject *loop = Py_NewRef(th->drives.now->it.loop);
    int hidden = twr_ask(loop, th->state->names.is_running);
    Py_DECREF(loop);
    return hidden;
}

/* Whether calls may be below this one on the stack; -1 on failure. */
static int
is_in_use(Thread *th)
{
    if (th->portals.stepped != NULL ||
        (th->run.in_run && th->drives.now == NULL)) {
        return 1; /* the latter: a call enters its loop, or leaves it */
    }
    PyObject *loop = twr_running_loop(th->state);
    int runs = loop == NULL ? -1 : loop != Py_None;
    Py_XDECREF(loop);
    if (runs == 0) {
        runs = twr_thread_is_foreign(th->state);
    }
    return runs == 0 ? is_loop_hidden(th) : runs;
}

int
twr_end_thread(void)
{
    Thread *th = twr_thread_if_any();
    if (th == NULL || th->ending) {
        return 0;
    }
    int in_use = is_in_use(th);
    if (in_use < 0) {
        return -1;
    }
    if (in_use > 0) {
        if (th->is_main) {
            Py_INCREF(th); /* the interpreter may end above those calls */
        }
        return 0;
    }
    end_calls(th);
    if (th->forked) {
        return 0; /* meanwhile, and this is the child */
    }
    twr_pool_end(&th->stacks);
    th->ending = false;
    /* A library that is gone has left it so: gevent's hub was destroyed. */
    return th->drives.now == NULL ? 0 : twr_thread_abandon(th);
}
