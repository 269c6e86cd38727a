/* asyncio/likeness.c - what a driver's footing is to look like. */
#include "asyncio/likeness.h"

#include "asyncio/facts.h"

/* The frame of Handle._run(), which the quick way does without, looks like
 * that of this function.  NULL without error: the slow way is taken, which has
 * such a frame. */
static PyObject *
imitation_of_run(TwrState *state)
{
    if (!state->quick.is_known || twr_is_traced()) {
        return NULL;
    }
    PyObject *loop = PyObject_CallNoArgs(state->get_running_loop);
    bool debug = loop == NULL ||
                 (loop != Py_None && twr_flag(loop, state->names._debug) != 0);
    Py_XDECREF(loop);
    if (debug) {
        PyErr_Clear();
        return NULL;
    }
    if (state->quick.run == NULL) {
        PyObject *code = PyList_GET_ITEM(state->loop.handle_run_codes, 0);
        /* def, try, and the line that runs the callback */
        int line = ((PyCodeObject *)code)->co_firstlineno + 2;
        state->quick.run = twr_footing_imitate(
            state, code, line, PyModule_GetDict(state->events));
        if (state->quick.run != NULL &&
            PyList_Append(state->loop.handle_run_codes,
                          PyFunction_GetCode(state->quick.run)) < 0) {
            Py_CLEAR(state->quick.run);
        }
    }
    return Py_XNewRef(state->quick.run);
}

/* The footing that looks like frames and top: a recent one, or a new one. */
static PyObject *
imitate_frames(TwrStacks *st, PyObject *frames, PyObject *top)
{
    for (int i = 0; i < TWR_FOOTINGS && st->footings[i] != NULL; i++) {
        if (twr_footing_is_like(st->footings[i], frames, top)) {
            return Py_NewRef(st->footings[i]);
        }
    }
    PyObject *old = Py_XNewRef(st->footings[0]);
    PyObject *made = twr_footing_imitate_all(st->state, frames, top, old);
    Py_XDECREF(old);
    return made;
}

/* The footing that looks like the loop below the running code and what is
 * below that; NULL: there is no such loop, or an error. */
static PyObject *
imitate_native(TwrStacks *st)
{
    TwrWalk walk;
    twr_walk_begin(&walk);
    while (walk.frame != NULL &&
           twr_walk_code(walk.frame) != st->state->loop.run_once_code) {
        twr_walk_on(&walk);
    }
    PyObject *frames = walk.frame == NULL ? NULL : twr_footing_frames(&walk);
    twr_walk_end(&walk);
    PyObject *top = frames == NULL ? NULL : imitation_of_run(st->state);
    PyObject *footing =
        frames == NULL ? NULL : imitate_frames(st, frames, top);
    Py_XDECREF(top);
    Py_XDECREF(frames);
    return footing;
}

/* Code that looks like that of __main__, which is at the bottom of a program;
 * globals are that module's. */
static PyObject *
code_of_main(PyObject *globals)
{
    PyObject *file = PyDict_GetItemString(globals, "__file__");
    const char *name = file != NULL && PyUnicode_Check(file)
                           ? PyUnicode_AsUTF8(file)
                           : "<stdin>";
    return name == NULL ? NULL : Py_CompileString("", name, Py_file_input);
}

/* The code of what is at the bottom of this thread; *globals is set to those
 * of its module, borrowed. */
static PyObject *
bottom_of_thread(bool is_main, PyObject **globals)
{
    PyObject *module =
        PyImport_ImportModule(is_main ? "__main__" : "threading");
    PyObject *code = NULL;
    *globals = NULL;
    if (module != NULL) {
        *globals = PyModule_GetDict(module);
        code =
            is_main
                ? code_of_main(*globals)
                : twr_facts_code_of(PyDict_GetItemString(*globals, "Thread"),
                                    "_bootstrap");
        Py_DECREF(module);
    }
    return code;
}

/* One function of the footing of a run: that of code, as if at its first
 * line. */
static PyObject *
imitate_code(TwrState *state, PyObject *code, PyObject *globals)
{
    return code == NULL
               ? NULL
               : twr_footing_imitate(state, code,
                                     ((PyCodeObject *)code)->co_firstlineno,
                                     globals);
}

/* The footing that looks like a run of the loop of calls. */
static PyObject *
imitate_run(TwrState *state, bool is_main)
{
    PyObject *globals, *main = bottom_of_thread(is_main, &globals);
    PyObject *asyncio = PyModule_GetDict(state->base_events);
    PyObject *top = imitation_of_run(state);
    PyObject *const codes[] = {main, state->loop.run_until_complete_code,
                               state->loop.run_forever_code,
                               state->loop.run_once_code};
    PyObject *footing = main == NULL ? NULL : PyTuple_New(4 + (top != NULL));
    for (int i = 0; footing != NULL && i < 4; i++) {
        PyObject *function =
            imitate_code(state, codes[i], i == 0 ? globals : asyncio);
        if (function == NULL) {
            Py_CLEAR(footing);
            break;
        }
        PyTuple_SET_ITEM(footing, i, function);
    }
    if (footing != NULL && top != NULL) {
        PyTuple_SET_ITEM(footing, 4, Py_NewRef(top));
    }
    Py_XDECREF(top);
    Py_XDECREF(main);
    return footing;
}

/* Have drivers stand on footing (stolen); NULL: an error, of which nobody has
 * to know, since all that is lost is a likeness.  Let the collector go on. */
static void
stand_on(TwrStacks *st, PyObject *footing, int collects)
{
    if (footing != NULL) {
        twr_pool_stand_on(st, footing);
    }
    PyErr_Clear();
    if (collects) {
        PyGC_Enable();
    }
}

void
twr_likeness_of_native(TwrStacks *st)
{
    int collects = PyGC_Disable(); /* finalizers may make calls */
    stand_on(st, imitate_native(st), collects);
}

void
twr_likeness_of_run(TwrStacks *st, bool is_main)
{
    int collects = PyGC_Disable();
    if (st->run_footing == NULL) {
        st->run_footing = imitate_run(st->state, is_main);
    }
    stand_on(st, Py_XNewRef(st->run_footing), collects);
}
