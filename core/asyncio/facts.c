/* asyncio/facts.c - whether this Python's asyncio is the one that we know. */
#include "asyncio/facts.h"

const char *const twr_facts_coroutine_marks[] = {"_is_coroutine",
                                                 "_is_coroutine_mark", NULL};

PyObject *
twr_facts_code_of(PyObject *owner, const char *name)
{
    PyObject *method = PyObject_GetAttrString(owner, name);
    PyObject *code =
        method == NULL ? NULL : PyObject_GetAttrString(method, "__code__");
    Py_XDECREF(method);
    return code;
}

int
twr_facts_keep_code(PyObject *owner, const char *name, PyObject **code)
{
    PyObject *found = twr_facts_code_of(owner, name);
    if (found == NULL) {
        return -1;
    }
    Py_XSETREF(*code, found);
    return 0;
}

/* Unless another reason is known, let the reason be that the place of fact
 * does without name, or if name is NULL, is none that we know. */
static int
note_missing(TwrState *state, const TwrFact *fact, PyObject *name)
{
    if (state->loop.why_not != NULL) {
        return 0;
    }
    PyObject *place =
        fact->method == NULL
            ? PyUnicode_FromFormat("asyncio.%s", fact->owner)
            : PyUnicode_FromFormat("asyncio.%s.%s", fact->owner, fact->method);
    if (place != NULL) {
        state->loop.why_not =
            name == NULL
                ? PyUnicode_FromFormat("%U of this Python is not the one that "
                                       "tworoutine knows",
                                       place)
                : PyUnicode_FromFormat("%U of this Python does without %U, "
                                       "which tworoutine relies on",
                                       place, name);
        Py_DECREF(place);
    }
    return state->loop.why_not == NULL ? -1 : 0;
}

/* The names that the place of fact knows: those in its method's code (known_as
 * is the attribute of that), or of its owner's attributes. */
static PyObject *
names_there(const TwrFact *fact, const char *known_as)
{
    PyObject *names = NULL, *code = NULL;
    PyObject *owner = twr_import("asyncio", fact->owner);
    if (owner != NULL && fact->method == NULL) {
        names = PyObject_Dir(owner);
    }
    else if (owner != NULL) {
        code = twr_facts_code_of(owner, fact->method);
        names = code == NULL ? NULL : PyObject_GetAttrString(code, known_as);
    }
    Py_XDECREF(owner);
    Py_XDECREF(code);
    return names;
}

/* Look for names, separated by blanks, in the place of fact. */
static int
require_names(TwrState *state, const TwrFact *fact, const char *known_as,
              const char *names)
{
    PyObject *there = names_there(fact, known_as);
    if (there == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        return note_missing(state, fact, NULL);
    }
    if (there == NULL) {
        return -1;
    }
    PyObject *text = PyUnicode_FromString(names);
    PyObject *list = text == NULL ? NULL : PyUnicode_Split(text, NULL, -1);
    int result = list == NULL ? -1 : 0;
    for (Py_ssize_t i = 0; result == 0 && i < PyList_GET_SIZE(list); i++) {
        PyObject *name = PyList_GET_ITEM(list, i);
        int found = PySequence_Contains(there, name);
        result = found != 0 ? (found < 0 ? -1 : 0)
                            : note_missing(state, fact, name);
    }
    Py_XDECREF(list);
    Py_XDECREF(text);
    Py_DECREF(there);
    return result;
}

int
twr_facts_require(TwrState *state, const TwrFact *facts)
{
    for (const TwrFact *fact = facts; fact->owner != NULL; fact++) {
        if (require_names(state, fact, "co_names", fact->names) < 0 ||
            (fact->locals != NULL &&
             require_names(state, fact, "co_varnames", fact->locals) < 0)) {
            return -1;
        }
    }
    return 0;
}

/* Add the code of the _run() of a class of asyncio.events, below which users'
 * code runs; a class that this Python does not have is passed over. */
static int
add_run_code(TwrState *state, const char *type_name)
{
    if (!PyObject_HasAttrString(state->events, type_name)) {
        return 0;
    }
    PyObject *type = PyObject_GetAttrString(state->events, type_name);
    PyObject *code = type == NULL ? NULL : twr_facts_code_of(type, "_run");
    int added =
        code == NULL ? -1 : PyList_Append(state->loop.handle_run_codes, code);
    Py_XDECREF(type);
    Py_XDECREF(code);
    return added;
}

/* The co_filename of asyncio.tasks. */
static PyObject *
file_of_tasks(void)
{
    PyObject *tasks = PyImport_ImportModule("asyncio.tasks");
    PyObject *code =
        tasks == NULL ? NULL : twr_facts_code_of(tasks, "ensure_future");
    PyObject *file =
        code == NULL ? NULL : PyObject_GetAttrString(code, "co_filename");
    Py_XDECREF(tasks);
    Py_XDECREF(code);
    return file;
}

/* The functions below which steps run, and their code. */
static int
learn_codes(TwrState *state, TwrLoopFacts *facts)
{
    PyObject *base = state->BaseEventLoop;
    if (add_run_code(state, "Handle") < 0 ||
        add_run_code(state, "_ThreadSafeHandle") < 0 /* 3.14+ */ ||
        (facts->tasks_file = file_of_tasks()) == NULL) {
        return -1;
    }
    facts->run_once = PyObject_GetAttr(base, state->names._run_once);
    if (facts->run_once == NULL ||
        twr_facts_keep_code(base, "_run_once", &facts->run_once_code) < 0) {
        return -1;
    }
    facts->run_forever = PyObject_GetAttr(base, state->names.run_forever);
    if (facts->run_forever == NULL ||
        twr_facts_keep_code(base, "run_forever", &facts->run_forever_code) <
            0) {
        return -1;
    }
    return twr_facts_keep_code(base, "run_until_complete",
                               &facts->run_until_complete_code);
}

/* A limit that _run_once knows. */
static int
learn_limit(TwrState *state, const char *name, double *limit)
{
    return twr_double(PyObject_GetAttrString(state->base_events, name), limit);
}

static int
learn_limits(TwrState *state, TwrLoopFacts *facts)
{
    double timers = 0;
    int result =
        learn_limit(state, "_MIN_SCHEDULED_TIMER_HANDLES", &timers) < 0 ||
                learn_limit(state, "_MIN_CANCELLED_TIMER_HANDLES_FRACTION",
                            &facts->max_cancelled) < 0
            ? -1
            : learn_limit(state, "MAXIMUM_SELECT_TIMEOUT", &facts->max_select);
    facts->min_timers = (Py_ssize_t)timers;
    return result;
}

int
twr_facts_init(TwrState *state)
{
    static const TwrFact facts[] = {
        {"BaseEventLoop", "_run_once", "", NULL},
        {"BaseEventLoop", "run_forever", "_run_once", "self"},
        {"BaseEventLoop", "run_until_complete", "", "self"},
        {"Handle", "_run", "", NULL},
        {"tasks", "ensure_future", "", NULL},
        {"base_events", NULL,
         "_MIN_SCHEDULED_TIMER_HANDLES _MIN_CANCELLED_TIMER_HANDLES_FRACTION "
         "MAXIMUM_SELECT_TIMEOUT",
         NULL},
        {NULL, NULL, NULL, NULL},
    };
    TwrLoopFacts *learnt = &state->loop;
    learnt->handle_run_codes = PyList_New(0);
    if (learnt->handle_run_codes == NULL) {
        return -1;
    }
    bool all =
        learn_codes(state, learnt) == 0 && learn_limits(state, learnt) == 0;
    if (!all && !PyErr_ExceptionMatches(PyExc_AttributeError)) {
        return -1;
    }
    PyErr_Clear(); /* the table tells better what is missing */
    if (twr_facts_require(state, facts) < 0) {
        return -1;
    }
    if (!all && learnt->why_not == NULL) {
        learnt->why_not = PyUnicode_FromString(
            "asyncio of this Python is not the one that tworoutine knows");
    }
    return all || learnt->why_not != NULL ? 0 : -1;
}
