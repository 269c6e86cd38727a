/* stack/footing.c - what a driver stands on. */
#include "stack/footing.h"

/* Of a deep stack are kept so many innermost and outermost frames. */
enum { INNER = 48, OUTER = 16 };

/* A table for code in which all is on the first line, at no column: what would
 * be underlined in a traceback is not there. */
static PyObject *
table_of_one_line(PyObject *code)
{
    PyObject *instructions = PyObject_GetAttrString(code, "co_code");
    Py_ssize_t left =
        instructions == NULL ? 0 : PyBytes_GET_SIZE(instructions) / 2;
    Py_ssize_t n = (left + 7) / 8;
    PyObject *table = PyBytes_FromStringAndSize(NULL, 2 * n);
    for (Py_ssize_t i = 0; table != NULL && i < n; i++, left -= 8) {
        /* An entry for up to 8 units: a line without columns; the same one. */
        char *entry = PyBytes_AS_STRING(table) + 2 * i;
        entry[0] = (char)(0x80 | 13 << 3 | ((left < 8 ? left : 8) - 1));
        entry[1] = 0;
    }
    if (instructions == NULL) {
        Py_CLEAR(table);
    }
    Py_XDECREF(instructions);
    return table;
}

int
twr_footing_init(TwrState *state)
{
    PyObject *names = PyDict_New();
    if (names != NULL) {
        state->footing_code =
            PyRun_String("(lambda calls: calls()(calls)).__code__",
                         Py_eval_input, names, names);
        Py_DECREF(names);
    }
    if (state->footing_code == NULL) {
        return -1;
    }
    state->footing_table = table_of_one_line(state->footing_code);
    return state->footing_table == NULL ? -1 : 0;
}

/* The globals for a frame that looks like one with these globals: what a
 * module tells of itself.  Not the module's own ones, which all drivers that
 * stand on such a frame would keep.  The builtins are for what runs straight
 * above, such as a finalizer. */
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

/* The code of a footing's functions, with the looks of code at line. */
static PyObject *
disguise_code(TwrState *state, PyObject *code, int line)
{
    PyCodeObject *co = (PyCodeObject *)code;
    PyObject *none = PyTuple_New(0);
    PyObject *replace =
        none == NULL ? NULL
                     : PyObject_GetAttrString(state->footing_code, "replace");
    PyObject *looks =
        replace == NULL
            ? NULL
            : Py_BuildValue("{sOsOsOsisO}", "co_name", co->co_name,
                            "co_qualname", co->co_qualname, "co_filename",
                            co->co_filename, "co_firstlineno", line,
                            "co_linetable", state->footing_table);
    PyObject *made =
        looks == NULL ? NULL : PyObject_Call(replace, none, looks);
    Py_XDECREF(looks);
    Py_XDECREF(replace);
    Py_XDECREF(none);
    return made;
}

PyObject *
twr_footing_imitate(TwrState *state, PyObject *code, int line,
                    PyObject *globals)
{
    PyObject *kept = about_module(globals);
    PyObject *made = kept == NULL ? NULL : disguise_code(state, code, line);
    PyObject *function = made == NULL ? NULL : PyFunction_New(made, kept);
    Py_XDECREF(made);
    Py_XDECREF(kept);
    return function;
}

/* Whether two dictionaries tell of the same module. */
static bool
tell_the_same(PyObject *about, PyObject *globals)
{
    const char *const names[] = {"__name__", "__file__", "__spec__"};
    bool same = true;
    for (size_t i = 0; same && i < sizeof(names) / sizeof(names[0]); i++) {
        same = PyDict_GetItemString(about, names[i]) ==
               PyDict_GetItemString(globals, names[i]);
    }
    return same;
}

/* Whether function looks like frame. */
static bool
looks_like(PyObject *function, PyFrameObject *frame)
{
    PyCodeObject *has = (PyCodeObject *)PyFunction_GET_CODE(function);
    PyCodeObject *code = PyFrame_GetCode(frame);
    bool same = has->co_name == code->co_name &&
                has->co_filename == code->co_filename &&
                has->co_firstlineno == PyFrame_GetLineNumber(frame);
    Py_DECREF(code);
    if (same) {
        PyObject *globals = PyFrame_GetGlobals(frame);
        same = tell_the_same(PyFunction_GET_GLOBALS(function), globals);
        Py_DECREF(globals);
    }
    return same;
}

PyObject *
twr_footing_frames(TwrWalk *walk)
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

/* The frame that the function with this number in a footing looks like. */
static PyFrameObject *
frame_below(PyObject *frames, Py_ssize_t i)
{
    Py_ssize_t n = PyList_GET_SIZE(frames);
    return (PyFrameObject *)PyList_GET_ITEM(frames, n - 1 - i);
}

bool
twr_footing_is_like(PyObject *footing, PyObject *frames, PyObject *top)
{
    Py_ssize_t n = PyList_GET_SIZE(frames);
    bool same = PyTuple_GET_SIZE(footing) == n + (top != NULL) &&
                (top == NULL || PyTuple_GET_ITEM(footing, n) == top);
    for (Py_ssize_t i = n - 1; same && i >= 0; i--) {
        same =
            looks_like(PyTuple_GET_ITEM(footing, i), frame_below(frames, i));
    }
    return same;
}

/* A function that looks like frame; old (may be NULL) if that does. */
static PyObject *
imitate_frame(TwrState *state, PyFrameObject *frame, PyObject *old)
{
    if (old != NULL && looks_like(old, frame)) {
        return Py_NewRef(old);
    }
    PyObject *code = (PyObject *)PyFrame_GetCode(frame);
    PyObject *globals = PyFrame_GetGlobals(frame);
    PyObject *function = twr_footing_imitate(
        state, code, PyFrame_GetLineNumber(frame), globals);
    Py_DECREF(globals);
    Py_DECREF(code);
    return function;
}

PyObject *
twr_footing_imitate_all(TwrState *state, PyObject *frames, PyObject *top,
                        PyObject *old)
{
    Py_ssize_t n = PyList_GET_SIZE(frames), all = n + (top != NULL);
    Py_ssize_t n_old = old == NULL ? 0 : PyTuple_GET_SIZE(old);
    PyObject *footing = PyTuple_New(all);
    for (Py_ssize_t i = 0; footing != NULL && i < all; i++) {
        PyObject *before = i < n_old ? PyTuple_GET_ITEM(old, i) : NULL;
        PyObject *function =
            i == n ? Py_NewRef(top)
                   : imitate_frame(state, frame_below(frames, i), before);
        if (function == NULL) {
            Py_CLEAR(footing);
            break;
        }
        PyTuple_SET_ITEM(footing, i, function);
    }
    return footing;
}

PyObject *
twr_footing_run(PyObject *footing, PyObject *live)
{
    PyObject *result = NULL, *next = NULL;
    PyObject *last = PyTuple_Pack(1, live);
    PyObject *all = last == NULL ? NULL : PySequence_Concat(footing, last);
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
twr_footing_leave(PyObject *footing, PyTracebackObject *tb)
{
    for (Py_ssize_t i = 0; tb != NULL && i < PyTuple_GET_SIZE(footing); i++) {
        if (twr_walk_code(tb->tb_frame) !=
            PyFunction_GET_CODE(PyTuple_GET_ITEM(footing, i))) {
            break;
        }
        tb = tb->tb_next;
    }
    return tb;
}
