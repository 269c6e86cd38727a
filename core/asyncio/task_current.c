/* asyncio/task_current.c - the current task of a loop. */
#include "asyncio/task_current.h"

#include "asyncio/task_fields.h"
#include "base/direct.h"

/* Whether what is equal to op is op.  Quiet. */
static bool
is_compared_by_identity(PyObject *op)
{
    return Py_TYPE(op)->tp_richcompare == PyBaseObject_Type.tp_richcompare;
}

/* The current task of loop among those of which a dictionary tells. */
static PyObject *
current_in_dict(TwrState *state, PyObject *loop)
{
    TwrTaskFacts *facts = &state->task;
    PyObject *tasks = facts->current_tasks;
    if (tasks == NULL || PyDict_GET_SIZE(tasks) == 0) {
        return NULL;
    }
    uint64_t tag = twr_dict_tag(tasks);
    if (tag != 0 && tag == facts->seen.tag && loop == facts->seen.loop) {
        return Py_NewRef(facts->seen.task);
    }
    PyObject *task = PyDict_GetItemWithError(tasks, loop);
    if (task != NULL && is_compared_by_identity(loop)) {
        facts->seen.tag = twr_dict_tag(tasks);
        facts->seen.loop = loop;
        facts->seen.task = task;
    }
    return Py_XNewRef(task);
}

/* Where tasks are apart, the current one among those in C. */
static PyObject *
current_in_c(TwrState *state, PyObject *loop)
{
    PyObject *task = twr_direct_call_with(&state->task.current_task, loop);
    if (task == Py_None) {
        Py_CLEAR(task);
    }
    return task;
}

/* One written in Python may run below one in C, as nest_asyncio nests them. */
PyObject *
twr_task_current(TwrState *state, PyObject *loop)
{
    PyObject *task = current_in_dict(state, loop);
    return task != NULL || !TWR_PYTHON_TASKS_APART || PyErr_Occurred()
               ? task
               : current_in_c(state, loop);
}

/* Whether task is entered and left apart from those in C. */
static bool
is_apart(TwrState *state, PyObject *task)
{
    return TWR_PYTHON_TASKS_APART && state->task.py_enter_task != NULL &&
           !twr_task_is_c(state, task);
}

static int
call_with_task(PyObject *function, PyObject *loop, PyObject *task)
{
    PyObject *args[] = {loop, task};
    return twr_done(PyObject_Vectorcall(function, args, 2, NULL));
}

/* Leave the task in C below task, which is apart and has been left. */
static int
leave_below(TwrState *state, PyObject *loop, PyObject *task)
{
    PyObject *below = current_in_c(state, loop);
    if (below == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    int result = PyDict_SetItem(state->task.below, task, below);
    if (result == 0) {
        result = call_with_task(state->leave_task, loop, below);
    }
    Py_DECREF(below);
    return result;
}

/* Undo leave_below(), before task is entered. */
static int
enter_below(TwrState *state, PyObject *loop, PyObject *task)
{
    PyObject *all = state->task.below;
    PyObject *below = PyDict_GET_SIZE(all) == 0
                          ? NULL
                          : Py_XNewRef(PyDict_GetItemWithError(all, task));
    if (below == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    int result = PyDict_DelItem(all, task);
    if (result == 0) {
        result = call_with_task(state->enter_task, loop, below);
    }
    Py_DECREF(below);
    return result;
}

int
twr_task_enter(TwrState *state, PyObject *loop, PyObject *task)
{
    PyObject *pending = twr_error_take();
    bool apart = is_apart(state, task);
    int result = apart ? enter_below(state, loop, task) : 0;
    if (result == 0) {
        result = call_with_task(
            apart ? state->task.py_enter_task : state->enter_task, loop, task);
    }
    twr_error_put(pending);
    return result;
}

int
twr_task_leave(TwrState *state, PyObject *loop, PyObject *task)
{
    PyObject *pending = twr_error_take();
    bool apart = is_apart(state, task);
    int result = call_with_task(
        apart ? state->task.py_leave_task : state->leave_task, loop, task);
    if (result == 0 && apart) {
        result = leave_below(state, loop, task);
    }
    twr_error_put(pending);
    return result;
}

int
twr_task_become(TwrState *state, PyObject *loop, PyObject *task)
{
    PyObject *pending = twr_error_take();
    PyObject *now = twr_task_current(state, loop);
    int result = now == NULL && PyErr_Occurred() ? -1 : 0;
    if (now != NULL && now != task) {
        result = twr_task_leave(state, loop, now);
    }
    if (result == 0 && task != NULL && now != task) {
        result = twr_task_enter(state, loop, task);
    }
    Py_XDECREF(now);
    twr_error_put(pending);
    return result;
}
