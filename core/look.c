/* look.c - the calls that wait, of all threads. */
#include "look.h"

#include "backends/portal.h"
#include "engine/call.h"
#include "engine/drives.h"

/* What is told of a call; all borrowed, and NULL stands for None. */
typedef struct {
    const char *kind; /* the way in which it waits; or "thread" */
    const void *id;   /* the same for as long as the call lives */
    Thread *th;
    PyObject *callee, *task, *greenlet, *iterator, *awaited, *loop, *frame;
    uint32_t since;
} Seen;

static PyObject *
or_none(PyObject *op)
{
    return op == NULL ? Py_None : op;
}

/* Append the tuple of a call. */
static int
tell(PyObject *list, const Seen *seen)
{
    PyObject *age = seen->since == 0
                        ? Py_NewRef(Py_None)
                        : PyFloat_FromDouble(twr_clock_age(seen->since));
    PyObject *told =
        age == NULL
            ? NULL
            : Py_BuildValue("(sNkOOOOOOONI)", seen->kind,
                            PyLong_FromVoidPtr((void *)seen->id),
                            seen->th->ident, or_none(seen->callee),
                            or_none(seen->task), or_none(seen->greenlet),
                            or_none(seen->iterator), or_none(seen->awaited),
                            or_none(seen->loop), or_none(seen->frame), age,
                            seen->since);
    int result = told == NULL ? -1 : PyList_Append(list, told);
    Py_XDECREF(told);
    return result;
}

static int
tell_call(PyObject *list, Thread *th, Call *call, const char *kind)
{
    PyObject *loop = call->driven == NULL ? NULL : call->driven->it.loop;
    return tell(list, &(Seen){kind, call, th, call->callee, call->task,
                              call->greenlet, call->iterator, call->awaited,
                              loop, call->frame, call->since});
}

/* A call that carries its task, and is not parked: it runs a step of that, or
 * takes the turns of the loop itself. */
static int
tell_carrier(PyObject *list, Thread *th, Call *call, const char *kind)
{
    return call == NULL || call->parked ? 0 : tell_call(list, th, call, kind);
}

/* The calls of a loop that is driven in th. */
static int
tell_driven(PyObject *list, Thread *th, Driven *driven)
{
    int result = 0;
    Call *call = driven->parked;
    for (; call != NULL && result == 0; call = call->older) {
        const char *kind = call == driven->main_call ? "run"
                           : call->carries           ? "callback"
                                                     : "task";
        result = tell_call(list, th, call, kind);
    }
    PyObject *value;
    Py_ssize_t pos = 0;
    while (result == 0 && PyDict_Next(driven->carriers, &pos, NULL, &value)) {
        if ((Call *)value != driven->main_call) {
            result = tell_carrier(list, th, (Call *)value, "callback");
        }
    }
    return result < 0 ? -1 : tell_carrier(list, th, driven->main_call, "run");
}

static int
tell_portals(PyObject *list, Thread *th)
{
    int result = 0;
    Portal *portal = th->portals.parked;
    for (; portal != NULL && result == 0; portal = portal->older) {
        result = tell(
            list,
            &(Seen){"portal", portal, th, portal->callee, portal->task,
                    portal->waits != NULL ? portal->waits : portal->worker,
                    portal->inner, portal->yielded, portal->loop, NULL,
                    portal->since});
    }
    return result;
}

static int
tell_thread(PyObject *list, Thread *th)
{
    PyObject *kept = th->drives.kept;
    PyObject *loop = th->drives.now == NULL ? NULL : th->drives.now->it.loop;
    int result = tell(
        list, &(Seen){.kind = "thread", .id = th, .th = th, .loop = loop});
    for (Py_ssize_t i = 0;
         result == 0 && kept != NULL && i < PyList_GET_SIZE(kept); i++) {
        result = tell_driven(list, th, (Driven *)PyList_GET_ITEM(kept, i));
    }
    Call *call = th->drives.apart;
    for (; result == 0 && call != NULL; call = call->older) {
        result =
            tell_call(list, th, call, call->carries ? "callback" : "apart");
    }
    return result < 0 ? -1 : tell_portals(list, th);
}

/* While a list is being walked, nothing may be collected: 3.11 does so as
 * objects are made, and a finalizer may make a call, or end one. */
PyObject *
twr_look(void)
{
    int collects = PyGC_Disable();
    PyObject *list = PyList_New(0);
    Thread *th = twr_thread_list();
    for (; list != NULL && th != NULL; th = th->older) {
        if (tell_thread(list, th) < 0) {
            Py_CLEAR(list);
        }
    }
    if (collects) {
        PyGC_Enable();
    }
    return list;
}
