/* asyncio/frames.c - what the frames below a call tell of the loop. */
#include "asyncio/frames.h"

/* Whether frame is one of run_until_complete or run_forever of loop. */
static int
is_run_of(TwrState *state, PyFrameObject *frame, PyObject *loop)
{
    PyObject *code = twr_walk_code(frame);
    if (code != state->loop.run_forever_code &&
        code != state->loop.run_until_complete_code) {
        return 0;
    }
    PyObject *self = twr_frame_local(frame, "self");
    Py_XDECREF(self); /* only compared */
    return self == NULL ? -1 : self == loop;
}

int
twr_frames_run(TwrState *state, PyObject *loop)
{
    int found = 0;
    TwrWalk walk;
    twr_walk_begin(&walk);
    while (walk.frame != NULL && found == 0) {
        found = is_run_of(state, walk.frame, loop);
        twr_walk_on(&walk);
    }
    twr_walk_end(&walk);
    return PyErr_Occurred() ? -1 : found;
}

/* 1 if frame is one that runs a handle, and so whatever was queued. */
static int
runs_handle(TwrState *state, PyFrameObject *frame)
{
    return PySequence_Contains(state->loop.handle_run_codes,
                               twr_walk_code(frame));
}

/* Whether frame is one of asyncio's own code. */
static int
is_asyncio(TwrState *state, PyFrameObject *frame)
{
    PyObject *globals = PyFrame_GetGlobals(frame);
    PyObject *name = PyDict_GetItemWithError(globals, state->names.__name__);
    int result = PyErr_Occurred() ? -1 : 0;
    if (name != NULL && PyUnicode_Check(name)) {
        result = (int)PyUnicode_Tailmatch(name, state->asyncio_dot, 0,
                                          PY_SSIZE_T_MAX, -1);
    }
    Py_DECREF(globals);
    return result;
}

/* Whether the argument of that index, or of the rest if it is *args, of the
 * function that runs in frame is other, or has it. */
static int
has_in(PyFrameObject *frame, PyObject *names, int index, bool rest,
       PyFrameObject *other)
{
    const char *name = PyUnicode_AsUTF8(PyTuple_GET_ITEM(names, index));
    PyObject *value = name == NULL ? NULL : twr_frame_local(frame, name);
    int found = value == (PyObject *)other;
    if (value == NULL) {
        PyErr_Clear(); /* it has been deleted */
    }
    else if (rest && PyTuple_Check(value)) { /* it may have been rebound */
        for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(value) && !found; i++) {
            found = PyTuple_GET_ITEM(value, i) == (PyObject *)other;
        }
    }
    Py_XDECREF(value);
    return found;
}

/* Whether frame is one of a signal handler that has interrupted its caller:
 * the frame of which is then an argument. */
static int
is_handler(PyFrameObject *frame, PyFrameObject *caller)
{
    int found = 0;
    PyCodeObject *code = PyFrame_GetCode(frame);
    PyObject *names = PyCode_GetVarnames(code);
    if (names == NULL) {
        found = -1;
    }
    for (int i = 0; i < code->co_argcount && found == 0; i++) {
        found = has_in(frame, names, i, false, caller);
    }
    if (found == 0 && (code->co_flags & CO_VARARGS) != 0) {
        found =
            has_in(frame, names, code->co_argcount + code->co_kwonlyargcount,
                   true, caller);
    }
    Py_XDECREF(names);
    Py_DECREF(code);
    return found;
}

/* Whether the code below which frame is ends here: a coroutine is stepped, a
 * handle is run. */
static int
is_bottom(TwrState *state, PyFrameObject *frame)
{
    int flags = ((PyCodeObject *)twr_walk_code(frame))->co_flags;
    return (flags & (CO_COROUTINE | CO_ASYNC_GENERATOR)) != 0
               ? 1
               : runs_handle(state, frame);
}

int
twr_frames_interrupted(TwrState *state)
{
    int found = 0, end = 0;
    PyFrameObject *frame = PyThreadState_GetFrame(PyThreadState_Get());
    while (frame != NULL && found == 0 &&
           (end = is_bottom(state, frame)) == 0) {
        PyFrameObject *caller = PyFrame_GetBack(frame);
        if (caller != NULL && is_asyncio(state, caller) > 0) {
            found = is_handler(frame, caller);
        }
        Py_DECREF(frame);
        frame = caller;
    }
    Py_XDECREF(frame);
    return end < 0 || PyErr_Occurred() ? -1 : found;
}

int
twr_frames_in_asyncio(TwrState *state)
{
    int found = 0, end = 0;
    PyFrameObject *frame = twr_thread_frame();
    while (frame != NULL && found == 0 &&
           (end = is_bottom(state, frame)) == 0) {
        found = is_asyncio(state, frame);
        Py_SETREF(frame, PyFrame_GetBack(frame));
    }
    Py_XDECREF(frame);
    return end < 0 || PyErr_Occurred() ? -1 : found;
}

int
twr_frames_own(TwrState *state, PyObject *frame)
{
    int own = is_asyncio(state, (PyFrameObject *)frame);
    return own <= 0 ? own : runs_handle(state, (PyFrameObject *)frame) == 0;
}

/* Whether code is that of a _run_once, asyncio's or nest_asyncio's. */
static bool
is_run_once(TwrState *state, PyObject *code)
{
    return code == state->loop.run_once_code ||
           code == state->loop.nest_once_code;
}

/* Whether run_forever has called a _run_once; frame is that of the latter.
 * -1 on failure. */
static int
in_run_forever(TwrState *state, PyFrameObject *frame)
{
    PyFrameObject *caller = PyFrame_GetBack(frame);
    if (caller == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    PyObject *code = (PyObject *)PyFrame_GetCode(caller);
    Py_DECREF(caller);
    Py_DECREF(code); /* only compared */
    return code == state->loop.run_forever_code ||
           code == state->loop.nest_forever_code;
}

/* The future of nest_asyncio's run_until_complete, if that has called a
 * _run_once; frame is that of the latter.  NULL without error: something else
 * has. */
static PyObject *
nest_until(TwrState *state, PyFrameObject *frame)
{
    PyFrameObject *caller = PyFrame_GetBack(frame);
    if (caller == NULL) {
        return NULL;
    }
    PyObject *future = twr_walk_code(caller) == state->loop.nest_until_code
                           ? twr_frame_local(caller, "f")
                           : NULL;
    Py_DECREF(caller);
    return future;
}

/* Whether the run that has called a _run_once, of which frame is, can be left
 * to us. */
static bool
in_native_run(TwrState *state, PyFrameObject *frame)
{
    int forever = in_run_forever(state, frame);
    PyObject *until = forever == 0 ? nest_until(state, frame) : NULL;
    Py_XDECREF(until); /* only whether there is one */
    return forever > 0 || until != NULL;
}

/* left_to_pop for nest_asyncio's _run_once, which does not mind if there are
 * fewer: all that are ready, if it begins its turn with us. */
static Py_ssize_t
nest_left_to_pop(TwrState *state, PyFrameObject *frame, PyObject *loop,
                 bool direct)
{
    PyObject *i = direct ? twr_frame_local(frame, "_") : NULL;
    PyObject *ready = NULL;
    if (i != NULL && PyLong_Check(i) && PyLong_AsSsize_t(i) == 0) {
        ready = PyObject_GetAttr(loop, state->names._ready);
    }
    Py_ssize_t left = ready == NULL ? 0 : PyObject_Size(ready);
    PyErr_Clear();
    Py_XDECREF(i);
    Py_XDECREF(ready);
    return left < 0 ? 0 : left;
}

/* ntodo - i - 1 of a _run_once frame; -1 if it is not that of loop.  direct:
 * it has called us itself. */
static Py_ssize_t
left_to_pop(TwrState *state, PyFrameObject *frame, PyObject *loop, bool direct)
{
    Py_ssize_t left = -2;
    PyObject *ntodo = NULL, *i = NULL;
    PyObject *self = twr_frame_local(frame, "self");
    if (self == NULL) {
        goto done;
    }
    if (self != loop) {
        left = -1;
        goto done;
    }
    if (twr_walk_code(frame) == state->loop.nest_once_code) {
        left = nest_left_to_pop(state, frame, loop, direct);
        goto done;
    }
    ntodo = twr_frame_local(frame, "ntodo");
    i = ntodo == NULL ? NULL : twr_frame_local(frame, "i");
    if (i == NULL) {
        goto done;
    }
    left = PyLong_AsSsize_t(ntodo) - PyLong_AsSsize_t(i) - 1;
    if (PyErr_Occurred()) {
        left = -2;
    }
done:
    Py_XDECREF(self);
    Py_XDECREF(ntodo);
    Py_XDECREF(i);
    return left;
}

/* twr_frames_native_left, and where; root may be NULL. */
static Py_ssize_t
native(TwrState *state, PyObject *loop, bool direct, PyObject **root)
{
    Py_ssize_t left = -1;
    int in_handle = direct;
    TwrWalk walk;
    twr_walk_begin(&walk);
    while (walk.frame != NULL) {
        PyObject *code = (PyObject *)PyFrame_GetCode(walk.frame);
        bool turn = is_run_once(state, code);
        if (turn && in_handle > 0 && in_native_run(state, walk.frame)) {
            left = left_to_pop(state, walk.frame, loop, direct);
        }
        in_handle = PySequence_Contains(state->loop.handle_run_codes, code);
        Py_DECREF(code);
        if (turn || PyErr_Occurred()) {
            break;
        }
        twr_walk_on(&walk);
    }
    if (left >= 0 && root != NULL) {
        *root = walk.greenlet != NULL ? Py_NewRef(walk.greenlet)
                                      : twr_greenlet_current();
    }
    twr_walk_end(&walk);
    return PyErr_Occurred() ? -2 : left;
}

Py_ssize_t
twr_frames_native_left(TwrState *state, PyObject *loop, bool direct)
{
    return native(state, loop, direct, NULL);
}

Py_ssize_t
twr_frames_native(TwrState *state, PyObject *loop, PyObject **root)
{
    *root = NULL;
    return native(state, loop, false, root);
}

PyObject *
twr_frames_until(TwrState *state)
{
    PyObject *until = NULL;
    bool found = state->loop.nest_until_code == NULL;
    TwrWalk walk;
    twr_walk_begin(&walk);
    while (walk.frame != NULL && !found) {
        found = is_run_once(state, twr_walk_code(walk.frame));
        if (found) {
            PyObject *future = nest_until(state, walk.frame);
            until = future == NULL ? NULL : PyWeakref_NewRef(future, NULL);
            Py_XDECREF(future);
        }
        twr_walk_on(&walk);
    }
    twr_walk_end(&walk);
    PyErr_Clear(); /* native() has seen these frames */
    return until;
}

TwrCaller
twr_frames_caller(TwrState *state)
{
    TwrCaller turner = CALLER_NONE;
    TwrWalk walk;
    twr_walk_begin(&walk);
    while (walk.frame != NULL && turner == CALLER_NONE) {
        PyObject *code = (PyObject *)PyFrame_GetCode(walk.frame);
        if (is_run_once(state, code)) {
            turner = in_run_forever(state, walk.frame) ? CALLER_RUN_FOREVER
                                                       : CALLER_OTHER;
        }
        Py_DECREF(code);
        twr_walk_on(&walk);
    }
    twr_walk_end(&walk);
    return PyErr_Occurred() ? CALLER_ERROR : turner;
}

/* The frame straight below the step of task that runs; NULL without error:
 * there is none.  A coroutine that only begins has nothing below it yet. */
static PyFrameObject *
below_step(TwrState *state, PyObject *task)
{
    PyObject *frame = NULL;
    PyObject *coro = PyObject_CallMethodNoArgs(task, state->names.get_coro);
    if (coro == NULL ||
        PyObject_GetOptionalAttr(coro, state->names.cr_frame, &frame) < 0) {
        Py_XDECREF(coro);
        return NULL;
    }
    Py_DECREF(coro);
    PyFrameObject *below = NULL;
    if (frame != NULL && PyFrame_Check(frame)) {
        below = PyFrame_GetBack((PyFrameObject *)frame);
    }
    Py_XDECREF(frame);
    return below != NULL ? below : PyThreadState_GetFrame(PyThreadState_Get());
}

/* Whether frame is one of the methods of a task that is written in Python. */
static bool
is_of_tasks(TwrState *state, PyFrameObject *frame)
{
    PyCodeObject *code = PyFrame_GetCode(frame);
    int same = PyObject_RichCompareBool(code->co_filename,
                                        state->loop.tasks_file, Py_EQ);
    Py_DECREF(code);
    return same > 0;
}

int
twr_frames_steps_task(TwrState *state, PyObject *task)
{
    PyFrameObject *frame = below_step(state, task);
    while (frame != NULL && is_of_tasks(state, frame)) {
        PyFrameObject *below = PyFrame_GetBack(frame);
        Py_DECREF(frame);
        frame = below;
    }
    if (frame == NULL) {
        return PyErr_Occurred() ? -1 : 1;
    }
    int runs = runs_handle(state, frame);
    Py_DECREF(frame);
    return runs;
}
