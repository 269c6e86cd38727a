/* asyncio/task_fields.c - three fields of a task that asyncio keeps private.
 */
#include "asyncio/task_fields.h"

#include "base/direct.h"

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
    "made = loop.queue[0][0]\n"
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

/* Run statements in the names of a probe. */
static int
probe_run(PyObject *names, const char *statements)
{
    return twr_done(PyRun_String(statements, Py_file_input, names, names));
}

/* 1 if an expression in the names of a probe is true. */
static int
probe_check(PyObject *names, const char *expression)
{
    return twr_truth(PyRun_String(expression, Py_eval_input, names, names));
}

/* A new probe: the dictionary of its names. */
static PyObject *
probe_begin(void)
{
    PyObject *names =
        Py_BuildValue("{sO}", "__builtins__", PyEval_GetBuiltins());
    if (names != NULL && probe_run(names, probe_source) < 0) {
        Py_CLEAR(names);
    }
    return names;
}

/* Find the byte that the first cancel() changes and the second does not: the
 * count of requests changes both times.  Returns as find_fields(). */
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
        if (i < 2 && probe_check(names, "task.cancel()") <= 0) {
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
    return probe_check(names, "task._must_cancel is False");
}

/* Find what task, not yet begun, steps, and what it has called for that.
 * Returns as find_fields(). */
static int
find_coro(PyObject *names, PyObject *task, TwrTaskFacts *facts)
{
    PyObject *coro = PyDict_GetItemString(names, "coro");
    PyObject *step = PyDict_GetItemString(names, "made");
    if (coro == NULL || step == NULL) {
        return 0;
    }
    facts->coro_at = find_pointer(task, coro);
    facts->step_task_at = find_pointer(step, task);
    if (facts->step_task_at >= 0) {
        facts->step_type =
            (PyTypeObject *)Py_NewRef((PyObject *)Py_TYPE(step));
    }
    return facts->coro_at >= 0 && facts->step_task_at >= 0;
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
    int found = find_coro(names, task, facts);
    if (found > 0) {
        found = find_must_cancel(names, task, facts);
    }
    if (found > 0) {
        found = probe_run(names, "step()") < 0
                    ? -1
                    : probe_check(names, "task._fut_waiter is future");
    }
    if (found > 0) {
        facts->waiter_at = find_pointer(task, future);
        found = facts->waiter_at >= 0;
    }
    /* To its end, or the coroutine complains that it was never finished. */
    return found <= 0 || probe_run(names, "future.set_result(None)\n"
                                          "step()\n") == 0
               ? found
               : -1;
}

/* find_fields() in a probe of its own.  What a probe cannot do is one more way
 * to be different; -1: something else has come in between, as Ctrl-C. */
static int
find_fields_in_probe(TwrTaskFacts *facts)
{
    PyObject *names = probe_begin();
    int found = names == NULL ? -1 : find_fields(names, facts);
    if (found < 0 && PyErr_ExceptionMatches(PyExc_Exception)) {
        PyErr_Clear();
        found = 0;
    }
    if (found == 0 && names != NULL) {
        /* The coroutine must not complain that it never ran. */
        if (probe_run(names, "coro.close()") < 0) {
            PyErr_Clear();
        }
    }
    Py_XDECREF(names);
    return found;
}

/* What some versions of asyncio have, and others not; stays NULL there. */
static int
import_optional(TwrTaskFacts *facts)
{
    PyObject *current_task = NULL;
    const struct {
        PyObject **field;
        const char *module, *name;
    } imports[] = {
        {&facts->current_tasks, "asyncio.tasks", "_current_tasks"},
        {&current_task, "asyncio.tasks", "current_task"},
        {&facts->py_enter_task, "asyncio.tasks", "_py_enter_task"},
        {&facts->py_leave_task, "asyncio.tasks", "_py_leave_task"},
        {&facts->eager_tasks, "_asyncio", "_eager_tasks"},
        {&facts->add_awaited_by, "asyncio", "future_add_to_awaited_by"},
        {&facts->discard_awaited_by, "asyncio",
         "future_discard_from_awaited_by"},
    };
    for (size_t i = 0; i < sizeof(imports) / sizeof(imports[0]); i++) {
        *imports[i].field = twr_import(imports[i].module, imports[i].name);
        if (*imports[i].field == NULL) {
            if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
                return -1;
            }
            PyErr_Clear();
        }
    }
    twr_direct_set(&facts->current_task, current_task,
                   METH_FASTCALL | METH_KEYWORDS);
    return 0;
}

int
twr_task_fields_init(TwrState *state)
{
    TwrTaskFacts *facts = &state->task;
    if (import_optional(facts) < 0) {
        return -1;
    }
    facts->below = PyDict_New();
    int found = facts->below == NULL ? -1 : find_fields_in_probe(facts);
    if (TWR_CURRENT_TASKS_DICT && facts->current_tasks == NULL) {
        found = found < 0 ? -1 : 0;
    }
    if (found == 0) {
        facts->why_not = PyUnicode_FromString(
            "the fields of asyncio.Task in this Python are not where "
            "tworoutine can find them");
    }
    return found < 0 || (found == 0 && facts->why_not == NULL) ? -1 : 0;
}

bool
twr_task_is(TwrState *state, PyObject *op)
{
    return twr_task_is_c(state, op) ||
           PyObject_TypeCheck(op, (PyTypeObject *)state->PyTask);
}

PyObject *
twr_task_of_callback(TwrState *state, PyObject *callback)
{
    PyObject *self = NULL;
    if (Py_IS_TYPE(callback, state->task.step_type)) {
        self = *(PyObject **)((char *)callback + state->task.step_task_at);
    }
    else if (PyCFunction_Check(callback)) {
        self = PyCFunction_GET_SELF(callback);
    }
    else if (PyMethod_Check(callback)) {
        self = PyMethod_GET_SELF(callback);
    }
    return self != NULL && twr_task_is(state, self) ? self : NULL;
}

PyObject *
twr_task_coro(TwrState *state, PyObject *task)
{
    if (twr_task_is_c(state, task)) {
        return Py_XNewRef(*(PyObject **)((char *)task + state->task.coro_at));
    }
    return PyObject_GetAttr(task, state->names._coro);
}

int
twr_task_set_coro(TwrState *state, PyObject *task, PyObject *coro)
{
    if (twr_task_is_c(state, task)) {
        PyObject **field = (PyObject **)((char *)task + state->task.coro_at);
        Py_XSETREF(*field, Py_NewRef(coro));
        return 0;
    }
    return PyObject_SetAttr(task, state->names._coro, coro);
}

/* The byte of a C task in which _must_cancel is a bit. */
static unsigned char *
must_byte(TwrState *state, PyObject *task)
{
    return (unsigned char *)task + state->task.must_at;
}

int
twr_task_set_waiter(TwrState *state, PyObject *task, PyObject *future)
{
    if (twr_task_is_c(state, task)) {
        PyObject **waiter =
            (PyObject **)((char *)task + state->task.waiter_at);
        Py_XSETREF(*waiter, Py_XNewRef(future));
        return 0;
    }
    return PyObject_SetAttr(task, state->names._fut_waiter,
                            future == NULL ? Py_None : future);
}

int
twr_task_must_cancel(TwrState *state, PyObject *task)
{
    if (twr_task_is_c(state, task)) {
        return (*must_byte(state, task) & state->task.must_mask) != 0;
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
    unsigned char *byte = must_byte(state, task);
    const unsigned char mask = state->task.must_mask;
    *byte = must ? *byte | mask : *byte & (unsigned char)~mask;
    return 0;
}
