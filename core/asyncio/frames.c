/* asyncio/frames.c - what the frames below a call tell of the loop.
 *
 * Four walks: to any run of a loop; to the innermost _run_once; over what is
 * above the step or handle that runs; and over the methods of a task. */
#include "asyncio/frames.h"

#include "asyncio/facts.h"

/* Whether frame is that of a run_until_complete or run_forever of loop; -1:
 * error. */
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

/* Whether frame is one of asyncio's own code; -1: error. */
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

/* Whether an argument of the function that runs in frame is other; rest: the
 * argument is *args, and other one of these. */
static bool
argument_is(PyFrameObject *frame, PyObject *name, bool rest,
            PyFrameObject *other)
{
    const char *text = PyUnicode_AsUTF8(name);
    PyObject *value = text == NULL ? NULL : twr_frame_local(frame, text);
    bool found = value == (PyObject *)other;
    if (value == NULL) {
        PyErr_Clear(); /* somebody has deleted the variable */
    }
    else if (rest && PyTuple_Check(value)) { /* and not rebound */
        for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(value) && !found; i++) {
            found = PyTuple_GET_ITEM(value, i) == (PyObject *)other;
        }
    }
    Py_XDECREF(value);
    return found;
}

/* Whether frame is that of a signal handler that has interrupted caller, which
 * is then an argument; -1: error. */
static int
is_handler(PyFrameObject *frame, PyFrameObject *caller)
{
    PyCodeObject *code = (PyCodeObject *)twr_walk_code(frame);
    PyObject *names = PyCode_GetVarnames(code);
    if (names == NULL) {
        return -1;
    }
    bool found = false;
    for (int i = 0; i < code->co_argcount && !found; i++) {
        found = argument_is(frame, PyTuple_GET_ITEM(names, i), false, caller);
    }
    if (!found && (code->co_flags & CO_VARARGS) != 0) {
        int rest = code->co_argcount + code->co_kwonlyargcount;
        found =
            argument_is(frame, PyTuple_GET_ITEM(names, rest), true, caller);
    }
    Py_DECREF(names);
    return found;
}

/* Whether the code that runs begins with frame: a step of a coroutine, or the
 * run of a handle. */
static bool
is_bottom(TwrState *state, PyFrameObject *frame)
{
    PyCodeObject *code = (PyCodeObject *)twr_walk_code(frame);
    return (code->co_flags & TWR_STEPPED_FLAGS) != 0 ||
           twr_facts_runs_handle(state, (PyObject *)code);
}

/* What is asked of a frame and its caller (may be NULL); -1: error. */
typedef int (*Test)(TwrState *state, PyFrameObject *frame,
                    PyFrameObject *caller);

/* 1 if test is true of any frame of the code that runs, from the innermost on
 * down to where that begins; -1: error. */
static int
any_frame(TwrState *state, Test test)
{
    int found = 0;
    PyFrameObject *frame = twr_thread_frame();
    while (frame != NULL && found == 0 && !is_bottom(state, frame)) {
        PyFrameObject *caller = PyFrame_GetBack(frame);
        found = test(state, frame, caller);
        Py_SETREF(frame, caller);
    }
    Py_XDECREF(frame);
    return PyErr_Occurred() ? -1 : found;
}

/* Whether frame is that of a signal handler that has interrupted asyncio. */
static int
interrupts_asyncio(TwrState *state, PyFrameObject *frame,
                   PyFrameObject *caller)
{
    int inside = caller == NULL ? 0 : is_asyncio(state, caller);
    return inside > 0 ? is_handler(frame, caller) : inside;
}

int
twr_frames_look_interrupted(TwrState *state)
{
    return any_frame(state, interrupts_asyncio);
}

/* Whether frame is one of asyncio's own code, as a Test. */
static int
is_in_asyncio(TwrState *state, PyFrameObject *frame,
              PyFrameObject *Py_UNUSED(caller))
{
    return is_asyncio(state, frame);
}

int
twr_frames_in_asyncio(TwrState *state)
{
    return any_frame(state, is_in_asyncio);
}

int
twr_frames_own(TwrState *state, PyObject *frame)
{
    PyFrameObject *own = (PyFrameObject *)frame;
    int found = is_asyncio(state, own);
    return found > 0 ? !twr_facts_runs_handle(state, twr_walk_code(own))
                     : found;
}

/* Whether frame is that of a _run_once, asyncio's or nest_asyncio's. */
static bool
is_run_once(TwrState *state, PyFrameObject *frame)
{
    PyObject *code = twr_walk_code(frame);
    return code == state->loop.run_once_code ||
           code == state->loop.nest_once_code;
}

/* Walk to the frame of the innermost _run_once, or to the end.  *in_handle is
 * set to whether the frame above is that of a handle's _run(); it stays what
 * it was if there is none above. */
static void
walk_to_run_once(TwrState *state, TwrWalk *walk, bool *in_handle)
{
    twr_walk_begin(walk);
    while (walk->frame != NULL && !is_run_once(state, walk->frame)) {
        *in_handle = twr_facts_runs_handle(state, twr_walk_code(walk->frame));
        twr_walk_on(walk);
    }
}

/* Who has called the _run_once of which frame is.  *until (NULL: nobody asks)
 * is set to the future with which that caller ends: the run_until_complete of
 * nest_asyncio; or to NULL, with an exception perhaps. */
static TwrCaller
find_caller(TwrState *state, PyFrameObject *frame, PyObject **until)
{
    PyFrameObject *caller = PyFrame_GetBack(frame);
    if (until != NULL) {
        *until = NULL;
    }
    if (caller == NULL) {
        return PyErr_Occurred() ? CALLER_ERROR : CALLER_OTHER;
    }
    PyObject *code = twr_walk_code(caller);
    bool forever = code == state->loop.run_forever_code ||
                   code == state->loop.nest_forever_code;
    if (until != NULL && code == state->loop.nest_until_code) {
        *until = twr_frame_local(caller, "f");
    }
    Py_DECREF(caller);
    return forever ? CALLER_RUN_FOREVER : CALLER_OTHER;
}

TwrCaller
twr_frames_caller(TwrState *state)
{
    TwrCaller caller = CALLER_NONE;
    bool in_handle = false;
    TwrWalk walk;
    walk_to_run_once(state, &walk, &in_handle);
    if (walk.frame != NULL) {
        caller = find_caller(state, walk.frame, NULL);
    }
    twr_walk_end(&walk);
    return PyErr_Occurred() ? CALLER_ERROR : caller;
}

PyObject *
twr_frames_until(TwrState *state)
{
    PyObject *future = NULL, *until = NULL;
    if (state->loop.nest_until_code == NULL) {
        return NULL;
    }
    bool in_handle = false;
    TwrWalk walk;
    walk_to_run_once(state, &walk, &in_handle);
    if (walk.frame != NULL) {
        find_caller(state, walk.frame, &future);
    }
    if (future != NULL) {
        until = PyWeakref_NewRef(future, NULL);
        Py_DECREF(future);
    }
    twr_walk_end(&walk);
    PyErr_Clear(); /* twr_frames_native() has seen these frames */
    return until;
}

/* A local variable of the function that runs in frame, as a number; -1:
 * error, none of them is negative. */
static Py_ssize_t
local_number(PyFrameObject *frame, const char *name)
{
    PyObject *value = twr_frame_local(frame, name);
    Py_ssize_t number = value == NULL ? -1 : PyLong_AsSsize_t(value);
    Py_XDECREF(value);
    return number;
}

/* How many handles nest_asyncio's _run_once will still pop, which does not
 * mind if there are fewer: all that are ready, if a turn begins with us. */
static Py_ssize_t
nest_count_left(TwrState *state, PyFrameObject *frame, PyObject *loop,
                bool direct)
{
    PyObject *ready = NULL;
    if (direct && local_number(frame, "_") == 0) {
        ready = PyObject_GetAttr(loop, state->names._ready);
    }
    Py_ssize_t left = ready == NULL ? 0 : PyObject_Size(ready);
    PyErr_Clear();
    Py_XDECREF(ready);
    return left < 0 ? 0 : left;
}

/* How many handles the _run_once of loop, of which frame is, will still pop;
 * -1 without exception: it is another loop's; -2: error.  direct: it has
 * called us itself. */
static Py_ssize_t
count_left(TwrState *state, PyFrameObject *frame, PyObject *loop, bool direct)
{
    PyObject *self = twr_frame_local(frame, "self");
    Py_XDECREF(self); /* only compared */
    if (self != loop) {
        return self == NULL ? -2 : -1;
    }
    if (twr_walk_code(frame) == state->loop.nest_once_code) {
        return nest_count_left(state, frame, loop, direct);
    }
    Py_ssize_t ntodo = local_number(frame, "ntodo");
    Py_ssize_t i = ntodo < 0 ? -1 : local_number(frame, "i");
    return i < 0 ? -2 : ntodo - i - 1;
}

/* twr_frames_native_left(), and where that is: *native (NULL: nobody asks) is
 * set if a number is returned. */
static Py_ssize_t
find_native(TwrState *state, PyObject *loop, bool direct, PyObject **native)
{
    Py_ssize_t left = -1;
    bool in_handle = direct;
    TwrWalk walk;
    walk_to_run_once(state, &walk, &in_handle);
    if (walk.frame != NULL && in_handle) {
        PyObject *until;
        TwrCaller caller = find_caller(state, walk.frame, &until);
        if (caller == CALLER_RUN_FOREVER || until != NULL) {
            left = count_left(state, walk.frame, loop, direct);
        }
        Py_XDECREF(until);
    }
    if (left >= 0 && native != NULL) {
        *native = walk.greenlet != NULL ? Py_NewRef(walk.greenlet)
                                        : twr_greenlet_current();
    }
    twr_walk_end(&walk);
    return PyErr_Occurred() ? -2 : left;
}

Py_ssize_t
twr_frames_native_left(TwrState *state, PyObject *loop, bool direct)
{
    return find_native(state, loop, direct, NULL);
}

Py_ssize_t
twr_frames_native(TwrState *state, PyObject *loop, PyObject **native)
{
    *native = NULL;
    return find_native(state, loop, false, native);
}

/* The frame straight below the step of task that runs; NULL without error:
 * there is none.  A coroutine that only begins has nothing below it yet: then
 * the innermost frame of all is that. */
static PyFrameObject *
find_below_step(TwrState *state, PyObject *task)
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

/* Whether frame is that of a method of a task that is written in Python. */
static bool
is_of_tasks(TwrState *state, PyFrameObject *frame)
{
    PyCodeObject *code = (PyCodeObject *)twr_walk_code(frame);
    PyObject *file = state->loop.tasks_file;
    return file != NULL &&
           PyObject_RichCompareBool(code->co_filename, file, Py_EQ) > 0;
}

/* The task whose first step we have begun; borrowed, only compared. */
static _Thread_local PyObject *first_step;

PyObject *
twr_frames_first_step(PyObject *task)
{
    PyObject *before = first_step;
    first_step = task;
    return before;
}

int
twr_frames_steps_task(TwrState *state, PyObject *task)
{
    if (task == first_step) {
        return 1;
    }
    PyFrameObject *frame = find_below_step(state, task);
    while (frame != NULL && is_of_tasks(state, frame)) {
        Py_SETREF(frame, PyFrame_GetBack(frame));
    }
    if (frame == NULL) {
        return PyErr_Occurred() ? -1 : 1;
    }
    bool runs = twr_facts_runs_handle(state, twr_walk_code(frame));
    Py_DECREF(frame);
    return runs;
}
