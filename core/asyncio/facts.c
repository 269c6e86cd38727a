/* asyncio/facts.c - whether this Python's asyncio is the one that we know. */
#include "asyncio/facts.h"

const char *const twr_facts_coroutine_marks[] = {"_is_coroutine",
                                                 "_is_coroutine_mark", NULL};

/* What place.owner is: a class of asyncio. */
static PyObject *
find_owner(const char *name)
{
    PyObject *asyncio = PyImport_ImportModule("asyncio");
    PyObject *owner =
        asyncio == NULL ? NULL : PyObject_GetAttrString(asyncio, name);
    Py_XDECREF(asyncio);
    return owner;
}

/* Whether name is found there; -1: error. */
static int
is_found(PyObject *owner, PyObject *names, const char *name)
{
    if (names == NULL) {
        return PyObject_HasAttrString(owner, name);
    }
    PyObject *wanted = PyUnicode_FromString(name);
    int found = wanted == NULL ? -1 : PySequence_Contains(names, wanted);
    Py_XDECREF(wanted);
    return found;
}

/* Say that name is missing, unless something else has been. */
static int
note_missing(TwrState *state, TwrFactsPlace place, const char *name)
{
    if (state->loop.why_not == NULL) {
        state->loop.why_not = PyUnicode_FromFormat(
            "asyncio.%s%s%s of this Python does without %s, which tworoutine "
            "relies on",
            place.owner, place.function == NULL ? "" : ".",
            place.function == NULL ? "" : place.function, name);
    }
    return state->loop.why_not == NULL ? -1 : 0;
}

/* The names in the code of owner.function; NULL: error. */
static PyObject *
names_in_code(PyObject *owner, TwrFactsPlace place)
{
    PyObject *code = twr_facts_code_of(owner, place.function);
    PyObject *names =
        code == NULL ? NULL : PyObject_GetAttrString(code, place.attribute);
    Py_XDECREF(code);
    return names;
}

int
twr_facts_require(TwrState *state, TwrFactsPlace place,
                  const char *const *names)
{
    PyObject *there = NULL;
    PyObject *owner = find_owner(place.owner);
    if (owner != NULL && place.function != NULL) {
        there = names_in_code(owner, place);
    }
    if (PyErr_Occurred()) {
        Py_XDECREF(owner);
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
            return -1;
        }
        PyErr_Clear();
        return note_missing(state, place, "its code");
    }
    int result = 0;
    for (; *names != NULL && result == 0; names++) {
        int found = is_found(owner, there, *names);
        result = found < 0    ? -1
                 : found == 0 ? note_missing(state, place, *names)
                              : 0;
    }
    Py_XDECREF(there);
    Py_DECREF(owner);
    return result;
}

static int
constant(PyObject *module, const char *name, double *value)
{
    PyObject *number = PyObject_GetAttrString(module, name);
    if (number == NULL) {
        return -1;
    }
    *value = PyFloat_AsDouble(number);
    Py_DECREF(number);
    return *value == -1.0 && PyErr_Occurred() ? -1 : 0;
}

PyObject *
twr_facts_code_of(PyObject *type, const char *name)
{
    PyObject *method = PyObject_GetAttrString(type, name);
    PyObject *code =
        method == NULL ? NULL : PyObject_GetAttrString(method, "__code__");
    Py_XDECREF(method);
    return code;
}

/* The code objects of the _run methods below which user code runs. */
static PyObject *
handle_run_codes(TwrState *state)
{
    PyObject *codes = PyList_New(0);
    const char *const types[] = {"Handle", "_ThreadSafeHandle"};
    for (int i = 0; codes != NULL && i < 2; i++) {
        if (!PyObject_HasAttrString(state->events, types[i])) {
            continue; /* _ThreadSafeHandle came with 3.14 */
        }
        PyObject *type = PyObject_GetAttrString(state->events, types[i]);
        PyObject *code = type == NULL ? NULL : twr_facts_code_of(type, "_run");
        if (code == NULL || PyList_Append(codes, code) < 0) {
            Py_CLEAR(codes);
        }
        Py_XDECREF(type);
        Py_XDECREF(code);
    }
    return codes;
}

/* The co_filename of asyncio.tasks. */
static PyObject *
file_of_tasks(void)
{
    PyObject *tasks = PyImport_ImportModule("asyncio.tasks");
    PyObject *function =
        tasks == NULL ? NULL : PyObject_GetAttrString(tasks, "ensure_future");
    PyObject *code =
        function == NULL ? NULL : PyObject_GetAttrString(function, "__code__");
    PyObject *file =
        code == NULL ? NULL : PyObject_GetAttrString(code, "co_filename");
    Py_XDECREF(tasks);
    Py_XDECREF(function);
    Py_XDECREF(code);
    return file;
}

/* The functions below which steps run, and their code. */
static int
learn_codes(TwrState *state, TwrLoopFacts *facts)
{
    PyObject *base = state->BaseEventLoop;
    facts->run_once = PyObject_GetAttr(base, state->names._run_once);
    facts->run_forever = PyObject_GetAttr(base, state->names.run_forever);
    facts->handle_run_codes = handle_run_codes(state);
    facts->tasks_file = file_of_tasks();
    if (facts->run_once == NULL || facts->run_forever == NULL ||
        facts->handle_run_codes == NULL || facts->tasks_file == NULL) {
        return -1;
    }
    facts->run_once_code = twr_facts_code_of(base, "_run_once");
    facts->run_forever_code = twr_facts_code_of(base, "run_forever");
    facts->run_until_complete_code =
        twr_facts_code_of(base, "run_until_complete");
    return facts->run_once_code == NULL || facts->run_forever_code == NULL ||
                   facts->run_until_complete_code == NULL
               ? -1
               : 0;
}

/* The limits that _run_once knows. */
static int
learn_limits(TwrState *state, TwrLoopFacts *facts)
{
    double timers = 0;
    PyObject *module = state->base_events;
    if (constant(module, "_MIN_SCHEDULED_TIMER_HANDLES", &timers) < 0 ||
        constant(module, "_MIN_CANCELLED_TIMER_HANDLES_FRACTION",
                 &facts->max_cancelled) < 0 ||
        constant(module, "MAXIMUM_SELECT_TIMEOUT", &facts->max_select) < 0) {
        return -1;
    }
    facts->min_timers = (Py_ssize_t)timers;
    return 0;
}

int
twr_facts_init(TwrState *state)
{
    TwrLoopFacts *facts = &state->loop;
    if (learn_codes(state, facts) == 0 && learn_limits(state, facts) == 0) {
        return 0;
    }
    if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
        return -1;
    }
    PyErr_Clear();
    Py_XSETREF(facts->why_not,
               PyUnicode_FromString("BaseEventLoop of this Python is not the "
                                    "one that tworoutine knows"));
    return facts->why_not == NULL ? -1 : 0;
}
