/* frames.c - what the Python frames below a call tell.
 *
 * They go on in other greenlets: below the frames of one that a step has
 * switched to are those of its parent, which waits for it.
 *
 * A signal handler may come in the middle of asyncio's own code, and make a
 * call there.  Two such places have to be known, since they look like others:
 * a loop that is about to run, or has just run, and does not count as running;
 * and a step of a task in which asyncio is at work on what others use, too. */
#include "twr.h"

/* The code of the function that runs in frame; borrowed, to be compared. */
static PyObject *
code_of(PyFrameObject *frame)
{
    PyObject *code = (PyObject *)PyFrame_GetCode(frame);
    Py_DECREF(code); /* the frame has it */
    return code;
}

/* The innermost frame of a greenlet that does not run; NULL without error: it
 * has none. */
static PyFrameObject *
frame_of(PyObject *greenlet)
{
    PyObject *frame = PyObject_GetAttrString(greenlet, "gr_frame");
    if (frame != NULL && !PyFrame_Check(frame)) {
        Py_CLEAR(frame);
    }
    return (PyFrameObject *)frame;
}

/* If there are no more frames in this greenlet, go on to the next that has. */
static void
go_below(Walk *walk)
{
    while (walk->frame == NULL && !PyErr_Occurred()) {
        PyObject *last = walk->greenlet != NULL ? Py_NewRef(walk->greenlet)
                                                : twr_stack_current();
        PyObject *parent =
            last == NULL ? NULL : PyObject_GetAttrString(last, "parent");
        Py_XDECREF(last);
        if (parent == NULL || parent == Py_None) {
            Py_XDECREF(parent);
            break;
        }
        Py_XSETREF(walk->greenlet, parent);
        walk->frame = frame_of(parent);
    }
}

void
twr_walk_begin(Walk *walk)
{
    walk->greenlet = NULL;
    walk->frame = twr_thread_frame();
    go_below(walk);
}

void
twr_walk_on(Walk *walk)
{
    PyFrameObject *frame = walk->frame;
    walk->frame = PyFrame_GetBack(frame);
    Py_DECREF(frame);
    go_below(walk);
}

void
twr_walk_end(Walk *walk)
{
    Py_CLEAR(walk->frame);
    Py_CLEAR(walk->greenlet);
}

/* Whether frame is one of run_until_complete or run_forever of loop. */
static int
is_run_of(TwrState *state, PyFrameObject *frame, PyObject *loop)
{
    PyObject *code = code_of(frame);
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
    Walk walk;
    twr_walk_begin(&walk);
    while (walk.frame != NULL && found == 0) {
        found = is_run_of(state, walk.frame, loop);
        twr_walk_on(&walk);
    }
    twr_walk_end(&walk);
    return PyErr_Occurred() ? -1 : found;
}

int
twr_frames_runs_handle(TwrState *state, PyFrameObject *frame)
{
    return PySequence_Contains(state->loop.handle_run_codes, code_of(frame));
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
    int flags = ((PyCodeObject *)code_of(frame))->co_flags;
    return (flags & (CO_COROUTINE | CO_ASYNC_GENERATOR)) != 0
               ? 1
               : twr_frames_runs_handle(state, frame);
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
twr_frames_own(TwrState *state, PyObject *frame)
{
    int own = is_asyncio(state, (PyFrameObject *)frame);
    return own <= 0
               ? own
               : twr_frames_runs_handle(state, (PyFrameObject *)frame) == 0;
}
