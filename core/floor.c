/* floor.c - what a driver stands on.
 *
 * Code looks down its stack: for the module at the bottom of it, for who has
 * called n levels below, for the line that a warning is about.  Below a step
 * that a loop runs by itself there is the loop, and below that the program:
 *
 *     <module> > run > run_until_complete > run_forever > _run_once > step
 *
 * A driver begins with nothing below.  So it stands on frames that look like
 * those of the loop's owner, of the same name, file, line and module: each of
 * a little function, made for the purpose, that calls the next one.  The last
 * calls the driver (stack.c).
 *
 * A floor is a tuple of such functions, outermost first.  It is made when a
 * loop comes to be driven, and serves until one is that has another owner.
 * The loop that calls run by themselves (run.c) has no owner: its floor looks
 * like one, and is always the same.  Workers (portal.c) stand on what is at
 * the bottom of the thread, whatever loop steps them. */
#include "twr.h"

/* Of deep stacks, so many innermost and outermost frames. */
enum { INNER = 48, OUTER = 16 };

/* def floor(calls): return calls()(calls) */
static PyObject *template(void)
{
    PyObject *function = NULL;
    PyObject *names = PyDict_New();
    PyObject *none =
        names == NULL
            ? NULL
            : PyRun_String("def floor(calls): return calls()(calls)\n",
                           Py_file_input, names, names);
    if (none != NULL) {
        function = PyDict_GetItemString(names, "floor");
    }
    PyObject *code =
        function == NULL ? NULL : Py_NewRef(PyFunction_GetCode(function));
    Py_XDECREF(none);
    Py_XDECREF(names);
    return code;
}

int
twr_floor_init(TwrState *state)
{
    state->floor_code = template();
    return state->floor_code == NULL ? -1 : 0;
}

/* The globals for a frame that looks like one with these: what a module tells
 * of itself.  Not the module's own, which all who stand on it would keep.  The
 * builtins are for what runs straight above it, such as a finalizer. */
static PyObject *
about_module(PyObject *globals)
{
    const char *const names[] = {
        "__name__", "__file__",   "__package__",
        "__spec__", "__loader__", "__warningregistry__",
    };
    PyObject *about =
        Py_BuildValue("{sO}", "__builtins__", PyEval_GetBuiltins());
    for (size_t i = 0; about != NULL && i < sizeof(names) / sizeof(names[0]);
         i++) {
        PyObject *value = PyDict_GetItemString(globals, names[i]);
        if (value != NULL &&
            PyDict_SetItemString(about, names[i], value) < 0) {
            Py_CLEAR(about);
        }
    }
    return about;
}

/* template with the looks of code; line: where it stands. */
static PyObject *
disguise(TwrState *state, PyObject *code, int line)
{
    PyCodeObject *co = (PyCodeObject *)code;
    PyObject *none = PyTuple_New(0);
    PyObject *replace =
        none == NULL ? NULL
                     : PyObject_GetAttrString(state->floor_code, "replace");
    PyObject *looks =
        replace == NULL
            ? NULL
            : Py_BuildValue("{sOsOsOsi}", "co_name", co->co_name,
                            "co_qualname", co->co_qualname, "co_filename",
                            co->co_filename, "co_firstlineno", line);
    PyObject *made =
        looks == NULL ? NULL : PyObject_Call(replace, none, looks);
    Py_XDECREF(looks);
    Py_XDECREF(replace);
    Py_XDECREF(none);
    return made;
}

/* A function whose frame looks like that of code at line. */
static PyObject *
imitate(TwrState *state, PyObject *code, int line, PyObject *globals)
{
    PyObject *kept = about_module(globals);
    PyObject *made = kept == NULL ? NULL : disguise(state, code, line);
    PyObject *function = made == NULL ? NULL : PyFunction_New(made, kept);
    Py_XDECREF(made);
    Py_XDECREF(kept);
    return function;
}

/* Whether function looks like code at line. */
static bool
looks_like(PyObject *function, PyObject *code, int line)
{
    PyCodeObject *has = (PyCodeObject *)PyFunction_GET_CODE(function);
    PyCodeObject *co = (PyCodeObject *)code;
    return has->co_name == co->co_name &&
           has->co_filename == co->co_filename && has->co_firstlineno == line;
}

/* Go on to the frame of the turn of the loop below this, if there is one. */
static void
walk_to_turn(TwrState *state, Walk *walk)
{
    while (walk->frame != NULL) {
        PyObject *code = (PyObject *)PyFrame_GetCode(walk->frame);
        Py_DECREF(code); /* only compared */
        if (code == state->loop.run_once_code) {
            break;
        }
        twr_walk_on(walk);
    }
}

/* The frames from here on, innermost first, but for those in the middle if
 * they are many; NULL: error. */
static PyObject *
frames_below(Walk *walk)
{
    PyObject *frames = PyList_New(0);
    while (frames != NULL && walk->frame != NULL) {
        int added = PyList_Append(frames, (PyObject *)walk->frame);
        twr_walk_on(walk);
        if (added == 0 && PyList_GET_SIZE(frames) > INNER + OUTER) {
            added = PyList_SetSlice(frames, INNER, INNER + 1, NULL);
        }
        if (added < 0 || PyErr_Occurred()) {
            Py_CLEAR(frames);
        }
    }
    return frames;
}

/* What frame looks like; old: a function that may do already, or NULL. */
static PyObject *
imitate_frame(TwrState *state, PyFrameObject *frame, PyObject *old)
{
    PyObject *code = (PyObject *)PyFrame_GetCode(frame);
    PyObject *globals = PyFrame_GetGlobals(frame);
    int line = PyFrame_GetLineNumber(frame);
    PyObject *function = old != NULL && looks_like(old, code, line)
                             ? Py_NewRef(old)
                             : imitate(state, code, line, globals);
    Py_DECREF(globals);
    Py_DECREF(code);
    return function;
}

/* The floor that looks like frames; old itself if that does. */
static PyObject *
imitate_all(TwrState *state, PyObject *frames, PyObject *old)
{
    Py_ssize_t n = PyList_GET_SIZE(frames);
    bool fits = old != NULL && PyTuple_GET_SIZE(old) == n, same = fits;
    PyObject *floor = PyTuple_New(n);
    for (Py_ssize_t i = 0; floor != NULL && i < n; i++) {
        PyFrameObject *frame =
            (PyFrameObject *)PyList_GET_ITEM(frames, n - 1 - i);
        PyObject *before = fits ? PyTuple_GET_ITEM(old, i) : NULL;
        PyObject *function = imitate_frame(state, frame, before);
        if (function == NULL) {
            Py_CLEAR(floor);
            break;
        }
        PyTuple_SET_ITEM(floor, i, function);
        same = same && function == before;
    }
    if (floor != NULL && same) {
        Py_SETREF(floor, Py_NewRef(old));
    }
    return floor;
}

/* Have drivers stand on floor (stolen) from now on; NULL: as before. */
static void
lay(Thread *th, PyObject *floor)
{
    if (floor == NULL) {
        PyErr_Clear(); /* out of memory: nobody needs it to go on */
        return;
    }
    Py_XSETREF(th->floor, floor);
}

void
twr_floor_of_owner(Thread *th)
{
    int collects = PyGC_Disable(); /* finalizers may make calls */
    Walk walk;
    twr_walk_begin(&walk);
    walk_to_turn(th->state, &walk);
    PyObject *frames = walk.frame == NULL ? NULL : frames_below(&walk);
    if (frames != NULL) {
        lay(th, imitate_all(th->state, frames, th->floor));
    }
    Py_XDECREF(frames);
    twr_walk_end(&walk);
    PyErr_Clear();
    if (collects) {
        PyGC_Enable();
    }
}

/* The code of a module, named as its file; what is at the bottom of a program
 * is __main__. */
static PyObject *
code_of_main(PyObject *globals)
{
    PyObject *file = PyDict_GetItemString(globals, "__file__");
    const char *name = file != NULL && PyUnicode_Check(file)
                           ? PyUnicode_AsUTF8(file)
                           : "<stdin>";
    return name == NULL ? NULL : Py_CompileString("", name, Py_file_input);
}

/* The code of what is at the bottom of this thread, and its globals. */
static PyObject *
bottom(Thread *th, PyObject **globals)
{
    PyObject *module =
        PyImport_ImportModule(th->is_main ? "__main__" : "threading");
    PyObject *code = NULL;
    *globals = NULL;
    if (module != NULL) {
        *globals = PyModule_GetDict(module);
        code = th->is_main
                   ? code_of_main(*globals)
                   : twr_loop_code_of(PyDict_GetItemString(*globals, "Thread"),
                                      "_bootstrap");
        Py_DECREF(module);
    }
    return code;
}

static PyObject *
imitate_run(Thread *th)
{
    TwrState *state = th->state;
    PyObject *globals, *main = bottom(th, &globals);
    PyObject *asyncio = PyModule_GetDict(state->base_events);
    PyObject *const codes[] = {main, state->loop.run_until_complete_code,
                               state->loop.run_forever_code,
                               state->loop.run_once_code};
    PyObject *floor = main == NULL ? NULL : PyTuple_New(4);
    for (int i = 0; floor != NULL && i < 4; i++) {
        PyObject *function = NULL;
        if (codes[i] != NULL) {
            function = imitate(state, codes[i],
                               ((PyCodeObject *)codes[i])->co_firstlineno,
                               i == 0 ? globals : asyncio);
        }
        if (function == NULL) {
            Py_CLEAR(floor);
            break;
        }
        PyTuple_SET_ITEM(floor, i, function);
    }
    Py_XDECREF(main);
    return floor;
}

void
twr_floor_of_run(Thread *th)
{
    int collects = PyGC_Disable();
    if (th->run_floor == NULL) {
        th->run_floor = imitate_run(th);
    }
    lay(th, Py_XNewRef(th->run_floor));
    if (collects) {
        PyGC_Enable();
    }
}

PyObject *
twr_floor_run(PyObject *floor, PyObject *live)
{
    PyObject *result = NULL, *next = NULL;
    PyObject *last = PyTuple_Pack(1, live);
    PyObject *all = last == NULL ? NULL : PySequence_Concat(floor, last);
    PyObject *iterator = all == NULL ? NULL : PyObject_GetIter(all);
    if (iterator != NULL) {
        next = PyObject_GetAttrString(iterator, "__next__");
    }
    Py_XDECREF(last);
    Py_XDECREF(all);
    Py_XDECREF(iterator);
    PyObject *first = next == NULL ? NULL : PyObject_CallNoArgs(next);
    if (first != NULL) {
        result = PyObject_CallOneArg(first, next);
    }
    Py_XDECREF(first);
    Py_XDECREF(next);
    return result;
}

PyTracebackObject *
twr_floor_leave(PyObject *floor, PyTracebackObject *tb)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(floor) && tb != NULL; i++) {
        PyObject *code = (PyObject *)PyFrame_GetCode(tb->tb_frame);
        Py_DECREF(code); /* only compared */
        if (code != PyFunction_GET_CODE(PyTuple_GET_ITEM(floor, i))) {
            break;
        }
        tb = tb->tb_next;
    }
    return tb;
}
