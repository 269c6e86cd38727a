/* asyncio/loop.c - a loop: may we drive it, and its ready queue. */
#include "asyncio/loop.h"

#include "asyncio/facts.h"
#include "asyncio/frames.h"
#include "asyncio/run_once.h"

int
twr_loop_look(TwrState *state, TwrLoopType *known, PyObject *loop)
{
    PyTypeObject *type = Py_TYPE(loop);
    if (state->loop.why_not != NULL) {
        return 0;
    }
    int good = twr_is_method((PyObject *)type, state->names._run_once,
                             state->loop.run_once);
    if (good > 0) {
        good = twr_is_method((PyObject *)type, state->names.run_forever,
                             state->loop.run_forever);
    }
    if (good > 0) {
        Py_XSETREF(known->type, (PyTypeObject *)Py_NewRef(type));
        known->version = type->tp_version_tag;
    }
    return good;
}

int
twr_loop_is_patched(TwrState *state, PyObject *loop)
{
    PyObject *type = (PyObject *)Py_TYPE(loop);
    PyObject *module = NULL;
    if (state->loop.why_not != NULL ||
        !PyObject_HasAttrString(type, "_nest_patched")) {
        return 0;
    }
    PyObject *run_once = PyObject_GetAttr(type, state->names._run_once);
    int found = run_once == NULL
                    ? -1
                    : PyObject_GetOptionalAttr(
                          run_once, state->names.__module__, &module);
    Py_XDECREF(run_once);
    if (found > 0) { /* nest_asyncio, or nest_asyncio2 */
        found = PyUnicode_Check(module) &&
                PyUnicode_Tailmatch(module, state->names.nest_asyncio, 0,
                                    PY_SSIZE_T_MAX, -1) > 0;
    }
    Py_XDECREF(module);
    TwrLoopFacts *facts = &state->loop;
    if (found > 0 &&
        (twr_facts_keep_code(type, "_run_once", &facts->nest_once_code) < 0 ||
         twr_facts_keep_code(type, "run_forever", &facts->nest_forever_code) <
             0 ||
         twr_facts_keep_code(type, "run_until_complete",
                             &facts->nest_until_code) < 0)) {
        PyErr_Clear(); /* that is not nest_asyncio's work after all */
        found = 0;
    }
    return found;
}

/* loop.<method>(callback, context=neutral) */
static int
queue_by(TwrState *state, PyObject *loop, PyObject *method, PyObject *callback)
{
    PyObject *args[] = {loop, callback, state->neutral};
    return twr_done(
        PyObject_VectorcallMethod(method, args, 2, state->kw.context));
}

int
twr_loop_call_soon(TwrState *state, PyObject *loop, PyObject *call)
{
    return queue_by(state, loop, state->names.call_soon, call);
}

int
twr_loop_wake(TwrState *state, PyObject *loop, PyObject *callback)
{
    return queue_by(state, loop, state->names.call_soon_threadsafe,
                    callback == NULL ? state->get_running_loop : callback);
}

/* Put item in front of the queue ready. */
static int
push_left(TwrState *state, PyObject *ready, PyObject *item)
{
    return twr_done(
        PyObject_CallMethodOneArg(ready, state->names.appendleft, item));
}

int
twr_loop_put_back(TwrIteration *it, PyObject *handle)
{
    return twr_run_once_look(it) < 0 ? -1
                                     : push_left(it->state, it->ready, handle);
}

int
twr_loop_call_next(TwrIteration *it, PyObject *call)
{
    TwrState *state = it->state;
    PyObject *handle = PyObject_CallFunction(state->Handle, "O()OO", call,
                                             it->loop, state->neutral);
    int pushed = handle == NULL ? -1 : twr_loop_put_back(it, handle);
    Py_XDECREF(handle);
    return pushed;
}

int
twr_loop_pad(TwrIteration *it, Py_ssize_t count)
{
    int result = 0;
    while (count-- > 0 && result == 0) {
        result = twr_loop_put_back(it, it->state->pad);
    }
    return result;
}

int
twr_loop_mark(TwrIteration *it)
{
    return twr_loop_put_back(it, it->state->marker);
}

int
twr_loop_unmark(TwrIteration *it)
{
    if (twr_run_once_look(it) < 0) {
        return -1;
    }
    int done = twr_done(PyObject_CallMethodOneArg(
        it->ready, it->state->names.remove, it->state->marker));
    if (done < 0 && PyErr_ExceptionMatches(PyExc_ValueError)) {
        PyErr_Clear(); /* the marker has been taken already */
        done = 0;
    }
    return done;
}

int
twr_loop_prime(TwrState *state, PyObject *loop)
{
    PyObject *ready = twr_loop_ready(state, loop);
    int present =
        ready == NULL ? -1 : PySequence_Contains(ready, state->marker);
    if (present == 0) {
        present = push_left(state, ready, state->marker);
    }
    Py_XDECREF(ready);
    return present < 0 ? -1 : 0;
}

int
twr_loop_is_usable(TwrState *state, PyObject *loop)
{
    int bad = twr_ask(loop, state->names.is_closed);
    if (bad == 0) {
        bad = twr_ask(loop, state->names.is_running);
    }
    if (bad == 0) {
        /* A signal handler may come as loop is about to run, or has just
         * run: a stop() is then not for us. */
        bad = twr_frames_run(state, loop);
    }
    return bad < 0 ? -1 : !bad;
}

/* The loop set for this thread, or None: from where the event loop policy
 * keeps that, since asking asyncio would make a loop, or warn.  NULL without
 * error: there is no such place. */
static PyObject *
current_loop(TwrState *state)
{
    PyObject *policy, *local = NULL, *loop = NULL;
    if (PyObject_GetOptionalAttr(
            state->events, state->names._event_loop_policy, &policy) < 0) {
        return NULL;
    }
    if (policy == Py_None) {
        return policy;
    }
    if (policy != NULL &&
        PyObject_GetOptionalAttr(policy, state->names._local, &local) > 0 &&
        PyObject_GetOptionalAttr(local, state->names._loop, &loop) < 0) {
        loop = NULL;
    }
    Py_XDECREF(policy);
    Py_XDECREF(local);
    return loop;
}

PyObject *
twr_loop_set_for_thread(TwrState *state, PyObject *ours, bool *vacant)
{
    PyObject *loop = current_loop(state);
    *vacant = loop == Py_None;
    if (loop == NULL || *vacant) {
        Py_XDECREF(loop);
        return NULL;
    }
    int good = twr_loop_is_usable(state, loop);
    if (good == 0) {
        int closed = twr_ask(loop, state->names.is_closed);
        *vacant = closed > 0;
        good = closed < 0 ? -1 : 0;
    }
    if (good > 0 && loop != ours) {
        int inside = twr_frames_in_asyncio(state);
        good = inside < 0 ? -1 : !inside;
    }
    if (good <= 0) {
        Py_CLEAR(loop);
    }
    return loop;
}

int
twr_loop_says_patched(TwrState *state, PyObject *loop)
{
    PyObject *patched;
    int found =
        PyObject_GetOptionalAttr(loop, state->names._nest_patched, &patched);
    Py_XDECREF(patched);
    return found;
}

PyObject *
twr_loop_ready(TwrState *state, PyObject *loop)
{
    return PyObject_GetAttr(loop, state->names._ready);
}

int
twr_loop_set_stopping(TwrState *state, PyObject *loop, bool stopping)
{
    return PyObject_SetAttr(loop, state->names._stopping,
                            stopping ? Py_True : Py_False);
}

int
twr_loop_init(TwrState *state)
{
    static const TwrFact facts[] = {
        {"BaseEventLoop", "_call_soon", "_ready append", NULL},
        {"BaseEventLoop", "stop", "_stopping", NULL},
        {"BaseEventLoop", NULL,
         "call_soon call_soon_threadsafe is_closed is_running "
         "run_until_complete",
         NULL},
        {NULL, NULL, NULL, NULL},
    };
    return twr_facts_require(state, facts);
}
