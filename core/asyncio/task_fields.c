/* asyncio/task_fields.c - two fields of a task that asyncio keeps private. */
#include "asyncio/task_fields.h"

/* The one aligned place in op's memory that holds pointer; -1: none or two. */
static Py_ssize_t
find_pointer(PyObject *op, PyObject *pointer)
{
    Py_ssize_t found = -1;
    Py_ssize_t size = Py_TYPE(op)->tp_basicsize;
    for (Py_ssize_t at = sizeof(PyObject);
         at + (Py_ssize_t)sizeof(PyObject *) <= size;
         at += sizeof(PyObject *)) {
        if (*(PyObject **)((char *)op + at) == pointer) {
            if (found >= 0) {
                return -1;
            }
            found = at;
        }
    }
    return found;
}

/* A C task about to wait for a future, in a loop that only queues. */
static const char probe_source[] =
    "from _asyncio import Future, Task, _get_running_loop\n"
    "from _asyncio import _set_running_loop\n"
    "try: from _asyncio import _swap_current_task as swap, current_task\n"
    "except ImportError: swap = None\n"
    "class Loop:\n"
    "    def __init__(self): self.queue = []\n"
    "    def call_soon(self, callback, *args, context=None):\n"
    "        self.queue.append((callback, args))\n"
    "    def get_debug(self): return False\n"
    "    def is_running(self): return True\n"
    "    def call_exception_handler(self, context): pass\n"
    "loop = Loop()\n"
    "future = Future(loop=loop)\n"
    "async def wait(): await future\n"
    "coro = wait()\n"
    "task = Task(coro, loop=loop)\n"
    "task._log_destroy_pending = False\n"
    "task._cancel_message = None\n" /* as cancel() leaves it */
    "def step():\n"
    "    callback, args = loop.queue.pop()\n"
    "    running = _get_running_loop()\n"
    /* 3.14 knows one current task a thread, which may be importing us, and
     * wants the task's own loop to be the running one.  3.12 swaps nothing
     * where there is none. */
    "    apart = (swap is not None and running is not None\n"
    "             and current_task(running) is not None)\n"
    "    current = swap(running, None) if apart else None\n"
    "    try:\n"
    "        _set_running_loop(loop)\n"
    "        callback(*args)\n"
    "    finally:\n"
    "        _set_running_loop(running)\n"
    "        if apart: swap(running, current)\n";

/* Run probe_source; the dictionary of its names. */
static PyObject *
probe(void)
{
    PyObject *names = PyDict_New();
    if (names == NULL) {
        return NULL;
    }
    PyObject *none =
        PyDict_SetItemString(names, "__builtins__", PyEval_GetBuiltins()) < 0
            ? NULL
            : PyRun_String(probe_source, Py_file_input, names, names);
    if (none == NULL) {
        Py_CLEAR(names);
    }
    Py_XDECREF(none);
    return names;
}

/* Evaluate one statement or expression in the names of a probe. */
static PyObject *
evaluate(PyObject *names, const char *source, int start)
{
    return PyRun_String(source, start, names, names);
}

static int
check(PyObject *names, const char *expression)
{
    PyObject *value = evaluate(names, expression, Py_eval_input);
    if (value == NULL) {
        return -1;
    }
    int truth = PyObject_IsTrue(value);
    Py_DECREF(value);
    return truth;
}

/* The byte that the first cancel() changes and the second does not: the count
 * of requests changes both times. */
static int
find_must_cancel(PyObject *names, PyObject *task, TwrTaskFacts *facts)
{
    unsigned char seen[3][512];
    Py_ssize_t size = Py_TYPE(task)->tp_basicsize;
    if (size > (Py_ssize_t)sizeof(seen[0])) {
        return 0;
    }
    for (int i = 0; i < 3; i++) {
        memcpy(seen[i], task, (size_t)size);
        if (i < 2 && check(names, "task.cancel()") <= 0) {
            return PyErr_Occurred() ? -1 : 0;
        }
    }
    int found = 0;
    for (Py_ssize_t at = sizeof(PyObject); at < size; at++) {
        if (seen[0][at] != seen[1][at] && seen[1][at] == seen[2][at]) {
            facts->must_at = at;
            facts->must_mask = seen[0][at] ^ seen[1][at];
            found++;
        }
    }
    if (found != 1 || (facts->must_mask & (facts->must_mask - 1)) != 0) {
        return 0;
    }
    *((unsigned char *)task + facts->must_at) &=
        (unsigned char)~facts->must_mask;
    return check(names, "task._must_cancel is False");
}

/* 1: found and checked, 0: this Python's tasks are different, -1: error. */
static int
find_fields(PyObject *names, TwrTaskFacts *facts)
{
    PyObject *task = PyDict_GetItemString(names, "task");
    PyObject *future = PyDict_GetItemString(names, "future");
    if (task == NULL || future == NULL) {
        return 0;
    }
    int ok = find_must_cancel(names, task, facts);
    if (ok <= 0) {
        return ok;
    }
    PyObject *none = evaluate(names, "step()", Py_eval_input);
    if (none == NULL) {
        return -1;
    }
    Py_DECREF(none);
    ok = check(names, "task._fut_waiter is future");
    if (ok <= 0) {
        return ok;
    }
    facts->waiter_at = find_pointer(task, future);
    if (facts->waiter_at < 0) {
        return 0;
    }
    /* End it, or its coroutine complains that it was never finished. */
    none = evaluate(names,
                    "future.set_result(None)\n"
                    "step()\n",
                    Py_file_input);
    Py_XDECREF(none);
    return none == NULL ? -1 : 1;
}

/* The coroutine of a probe that failed must not complain that it never ran. */
static void
probe_close(PyObject *names)
{
    if (names != NULL) {
        PyObject *none = evaluate(names, "coro.close()", Py_eval_input);
        Py_XDECREF(none);
        PyErr_Clear();
    }
}

static int
optional_import(const char *module, const char *name, PyObject **result)
{
    PyObject *mod = PyImport_ImportModule(module);
    if (mod == NULL) {
        return -1;
    }
    *result = PyObject_GetAttrString(mod, name);
    Py_DECREF(mod);
    if (*result == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
            return -1;
        }
        PyErr_Clear();
    }
    return 0;
}

int
twr_task_init(TwrState *state)
{
    TwrTaskFacts *facts = &state->task;
    if (optional_import("asyncio.tasks", "_current_tasks",
                        &facts->current_tasks) < 0 ||
        optional_import("asyncio.tasks", "current_task",
                        &facts->current_task) < 0 ||
        optional_import("asyncio.tasks", "_py_enter_task",
                        &facts->py_enter_task) < 0 ||
        optional_import("asyncio.tasks", "_py_leave_task",
                        &facts->py_leave_task) < 0 ||
        optional_import("asyncio", "future_add_to_awaited_by",
                        &facts->add_awaited_by) < 0 ||
        optional_import("asyncio", "future_discard_from_awaited_by",
                        &facts->discard_awaited_by) < 0) {
        return -1;
    }
    PyObject *names = probe();
    int found = names == NULL ? -1 : find_fields(names, facts);
    if (found < 0) {
        if (!PyErr_ExceptionMatches(PyExc_Exception)) {
            Py_XDECREF(names);
            return -1;
        }
        PyErr_Clear();
    }
    if (found <= 0) {
        probe_close(names);
        facts->why_not = PyUnicode_FromString(
            "the fields of asyncio.Task in this Python are not where "
            "tworoutine can find them");
        found = facts->why_not == NULL ? -1 : 0;
    }
    Py_XDECREF(names);
    return found < 0 ? -1 : 0;
}

bool
twr_task_is_c(TwrState *state, PyObject *task)
{
    return PyObject_TypeCheck(task, (PyTypeObject *)state->CTask);
}

static PyObject **
waiter_of(TwrState *state, PyObject *task)
{
    return (PyObject **)((char *)task + state->task.waiter_at);
}

int
twr_task_set_waiter(TwrState *state, PyObject *task, PyObject *future)
{
    if (twr_task_is_c(state, task)) {
        Py_XSETREF(*waiter_of(state, task), Py_XNewRef(future));
        return 0;
    }
    return PyObject_SetAttr(task, state->names._fut_waiter,
                            future == NULL ? Py_None : future);
}

int
twr_task_must_cancel(TwrState *state, PyObject *task)
{
    if (twr_task_is_c(state, task)) {
        unsigned char byte = *((unsigned char *)task + state->task.must_at);
        return (byte & state->task.must_mask) != 0;
    }
    return twr_flag(task, state->names._must_cancel);
}

int
twr_task_set_must_cancel(TwrState *state, PyObject *task, bool must)
{
    if (!twr_task_is_c(state, task)) {
        return PyObject_SetAttr(task, state->names._must_cancel,
                                must ? Py_True : Py_False);
    }
    unsigned char *byte = (unsigned char *)task + state->task.must_at;
    const unsigned char mask = state->task.must_mask;
    *byte = must ? *byte | mask : *byte & (unsigned char)~mask;
    return 0;
}
