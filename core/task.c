/* task.c - what asyncio keeps private about a task: a wait, a cancel.
 *
 * A task whose coroutine made a synchronous call is, for asyncio, still in
 * the middle of its step.  Two fields of it must nevertheless read as if it
 * were suspended, or task.cancel() is lost or arrives twice:
 *
 *     _fut_waiter   what it waits for: cancel() cancels this
 *     _must_cancel  a cancel to deliver at the next step
 *
 * Python tasks let anybody write them; C tasks only show them.  Where they lie
 * in a C task is found at import by looking for the pointer, and for the bit
 * that cancel() sets, in a task made for the purpose, and is checked against
 * the public getters.  Where that fails, no C task is ever parked, and calls
 * say why. */
#include "twr.h"

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

PyObject *
twr_task_current(TwrState *state, PyObject *loop)
{
    PyObject *task;
    if (TWR_CURRENT_TASKS_DICT) {
        task = PyDict_GetItemWithError(state->task.current_tasks, loop);
        Py_XINCREF(task);
    }
    else {
        task = PyObject_CallOneArg(state->task.current_task, loop);
    }
    if (task == Py_None) {
        Py_CLEAR(task);
        if (TWR_PYTHON_TASKS_APART && state->task.current_tasks != NULL) {
            task = PyDict_GetItemWithError(state->task.current_tasks, loop);
            Py_XINCREF(task);
        }
    }
    return task;
}

static int
enter_or_leave(PyObject *function, PyObject *loop, PyObject *task)
{
    PyObject *args[] = {loop, task};
    PyObject *none = PyObject_Vectorcall(function, args, 2, NULL);
    Py_XDECREF(none);
    return none == NULL ? -1 : 0;
}

static bool
is_apart(TwrState *state, PyObject *task)
{
    return TWR_PYTHON_TASKS_APART && state->task.py_enter_task != NULL &&
           state->task.py_leave_task != NULL &&
           !PyObject_TypeCheck(task, (PyTypeObject *)state->CTask);
}

int
twr_task_enter(TwrState *state, PyObject *loop, PyObject *task)
{
    return enter_or_leave(is_apart(state, task) ? state->task.py_enter_task
                                                : state->enter_task,
                          loop, task);
}

int
twr_task_leave(TwrState *state, PyObject *loop, PyObject *task)
{
    return enter_or_leave(is_apart(state, task) ? state->task.py_leave_task
                                                : state->leave_task,
                          loop, task);
}

static bool
is_c_task(TwrState *state, PyObject *task)
{
    return PyObject_TypeCheck(task, (PyTypeObject *)state->CTask);
}

PyObject *
twr_task_why_not(TwrState *state, PyObject *task)
{
    return is_c_task(state, task) ? state->task.why_not : NULL;
}

static PyObject **
waiter_of(TwrState *state, PyObject *task)
{
    return (PyObject **)((char *)task + state->task.waiter_at);
}

/* Write _fut_waiter; future may be NULL. */
static int
set_waiter(TwrState *state, PyObject *task, PyObject *future)
{
    if (is_c_task(state, task)) {
        Py_XSETREF(*waiter_of(state, task), Py_XNewRef(future));
        return 0;
    }
    return PyObject_SetAttr(task, state->names._fut_waiter,
                            future == NULL ? Py_None : future);
}

static int
must_cancel(TwrState *state, PyObject *task)
{
    if (is_c_task(state, task)) {
        unsigned char byte = *((unsigned char *)task + state->task.must_at);
        return (byte & state->task.must_mask) != 0;
    }
    return twr_loop_flag(task, state->names._must_cancel);
}

static int
clear_must_cancel(TwrState *state, PyObject *task)
{
    if (is_c_task(state, task)) {
        *((unsigned char *)task + state->task.must_at) &=
            (unsigned char)~state->task.must_mask;
        return 0;
    }
    return PyObject_SetAttr(task, state->names._must_cancel, Py_False);
}

/* future.cancel(msg=task._cancel_message) -> whether it took it */
static int
cancel_with_message(TwrState *state, PyObject *task, PyObject *future)
{
    PyObject *message = PyObject_GetAttr(task, state->names._cancel_message);
    if (message == NULL) {
        return -1;
    }
    PyObject *args[] = {future, message};
    PyObject *taken =
        PyObject_VectorcallMethod(state->names.cancel, args, 1, state->kw_msg);
    Py_DECREF(message);
    if (taken == NULL) {
        return -1;
    }
    int truth = PyObject_IsTrue(taken);
    Py_DECREF(taken);
    return truth;
}

/* 3.14+: keep the graph of who awaits whom true, by the function that a task
 * of this kind uses: one written in Python looks it up each time. */
static int
note_awaited_by(TwrState *state, PyObject *function, PyObject *name,
                PyObject *future, PyObject *task)
{
    if (function == NULL) {
        return 0;
    }
    PyObject *used = is_c_task(state, task)
                         ? Py_NewRef(function)
                         : PyObject_GetAttr(state->futures, name);
    PyObject *args[] = {future, task};
    PyObject *none =
        used == NULL ? NULL : PyObject_Vectorcall(used, args, 2, NULL);
    Py_XDECREF(used);
    Py_XDECREF(none);
    return none == NULL ? -1 : 0;
}

static int
add_awaited_by(TwrState *state, PyObject *future, PyObject *task)
{
    return note_awaited_by(state, state->task.add_awaited_by,
                           state->names.future_add_to_awaited_by, future,
                           task);
}

static int
discard_awaited_by(TwrState *state, PyObject *future, PyObject *task)
{
    return note_awaited_by(state, state->task.discard_awaited_by,
                           state->names.future_discard_from_awaited_by, future,
                           task);
}

int
twr_task_suspend(TwrState *state, PyObject *task, PyObject *future)
{
    if (future == NULL) {
        return 0;
    }
    if (add_awaited_by(state, future, task) < 0 ||
        set_waiter(state, task, future) < 0) {
        return -1;
    }
    int asked = must_cancel(state, task);
    if (asked <= 0) {
        return asked;
    }
    int taken = cancel_with_message(state, task, future);
    if (taken > 0) {
        taken = clear_must_cancel(state, task);
    }
    return taken < 0 ? -1 : 0;
}

void
twr_task_resume(TwrState *state, PyObject *task, PyObject *future)
{
    if (future == NULL) {
        return;
    }
    PyObject *pending = twr_error_take();
    if (set_waiter(state, task, NULL) < 0 ||
        discard_awaited_by(state, future, task) < 0) {
        PyErr_WriteUnraisable(task);
    }
    twr_error_put(pending);
}

int
twr_task_take_cancel(TwrState *state, PyObject *task, PyObject **error)
{
    int asked = must_cancel(state, task);
    if (asked <= 0) {
        return asked;
    }
    if (clear_must_cancel(state, task) < 0) {
        return -1;
    }
    if (*error != NULL &&
        PyErr_GivenExceptionMatches(*error, state->CancelledError)) {
        return 0;
    }
    PyObject *cancelled =
        PyObject_CallMethodNoArgs(task, state->names._make_cancelled_error);
    if (cancelled == NULL) {
        return -1;
    }
    Py_XSETREF(*error, cancelled);
    return 0;
}

/* task._cancel_message = the message of error */
static int
set_message(TwrState *state, PyObject *task, PyObject *error)
{
    PyObject *args = PyObject_GetAttrString(error, "args");
    if (args == NULL) {
        return -1;
    }
    bool any = PyTuple_Check(args) && PyTuple_GET_SIZE(args) > 0;
    int set = PyObject_SetAttr(task, state->names._cancel_message,
                               any ? PyTuple_GET_ITEM(args, 0) : Py_None);
    Py_DECREF(args);
    return set;
}

int
twr_task_cancel_again(TwrState *state, PyObject *task, PyObject *error)
{
    if (twr_task_why_not(state, task) != NULL) {
        return 0;
    }
    if (set_message(state, task, error) < 0) {
        return -1;
    }
    if (is_c_task(state, task)) {
        *((unsigned char *)task + state->task.must_at) |=
            state->task.must_mask;
        return 1;
    }
    return PyObject_SetAttr(task, state->names._must_cancel, Py_True) < 0 ? -1
                                                                          : 1;
}

PyObject *
twr_task_hold(TwrState *state, PyObject *task)
{
    int steps = TWR_EAGER_TASKS ? twr_loop_steps_task(state, task) : 1;
    if (steps != 0) {
        return steps < 0 ? NULL : Py_NewRef(Py_None);
    }
    PyObject *adapters = twr_adapters(state);
    PyObject *held = adapters == NULL
                         ? NULL
                         : PyObject_CallMethod(adapters, "held_up", "O", task);
    if (held == NULL || held == Py_None) {
        return held;
    }
    PyObject *waiter = PyTuple_GET_ITEM(held, 0);
    for (Py_ssize_t i = 1; i < PyTuple_GET_SIZE(held); i++) {
        if (set_waiter(state, PyTuple_GET_ITEM(held, i), waiter) < 0) {
            twr_task_release(state, held);
            return NULL;
        }
    }
    return held;
}

void
twr_task_release(TwrState *state, PyObject *held)
{
    PyObject *pending = twr_error_take();
    for (Py_ssize_t i = 1; held != Py_None && i < PyTuple_GET_SIZE(held);
         i++) {
        if (set_waiter(state, PyTuple_GET_ITEM(held, i), NULL) < 0) {
            PyErr_WriteUnraisable(PyTuple_GET_ITEM(held, i));
        }
    }
    Py_DECREF(held);
    twr_error_put(pending);
}

PyObject *
twr_task_result(TwrState *state, PyObject *future)
{
    int cancelled;
    PyObject *exc,
        *flag = PyObject_CallMethodNoArgs(future, state->names.cancelled);
    if (flag == NULL) {
        return NULL;
    }
    cancelled = PyObject_IsTrue(flag);
    Py_DECREF(flag);
    if (cancelled < 0) {
        return NULL;
    }
    /* result() would raise with a new __context__: take the exception. */
    exc = PyObject_CallMethodNoArgs(
        future, cancelled ? state->names._make_cancelled_error
                          : state->names.exception);
    if (exc == NULL) {
        return NULL;
    }
    if (exc == Py_None) {
        Py_DECREF(exc);
        return PyObject_CallMethodNoArgs(future, state->names.result);
    }
    PyErr_SetRaisedException(exc);
    return NULL;
}
