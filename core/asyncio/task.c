/* asyncio/task.c - a task: current or not, suspended or not, cancelled. */
#include "asyncio/task.h"

#include "asyncio/facts.h"
#include "asyncio/frames.h"
#include "asyncio/future.h"
#include "asyncio/task_fields.h"

PyObject *
twr_task_new(TwrState *state, PyObject *coro, PyObject *loop,
             PyObject *context)
{
    PyObject *args[] = {coro, loop, context};
    return PyObject_Vectorcall(state->Task, args, 1, state->kw.task);
}

PyObject *
twr_task_alloc(TwrState *state)
{
    PyTypeObject *type = (PyTypeObject *)state->Task;
    PyObject *none = PyTuple_New(0);
    PyObject *task = none == NULL ? NULL : type->tp_new(type, none, NULL);
    Py_XDECREF(none);
    return task;
}

int
twr_task_start(TwrState *state, PyObject *task, PyObject *coro, PyObject *loop,
               PyObject *context)
{
    PyObject *args = PyTuple_Pack(1, coro);
    PyObject *named = PyDict_New();
    int started = -1;
    if (args != NULL && named != NULL &&
        PyDict_SetItem(named, state->names.loop, loop) == 0 &&
        PyDict_SetItem(named, state->names.context, context) == 0 &&
        PyDict_SetItem(named, state->names.eager_start, Py_True) == 0) {
        PyObject *outer = twr_frames_first_step(task);
        started = Py_TYPE(task)->tp_init(task, args, named);
        twr_frames_first_step(outer);
    }
    Py_XDECREF(args);
    Py_XDECREF(named);
    return started;
}

/* future.cancel(msg=task._cancel_message): 1 if future took the cancel. */
static int
cancel_with_message(TwrState *state, PyObject *task, PyObject *future)
{
    PyObject *message = PyObject_GetAttr(task, state->names._cancel_message);
    if (message == NULL) {
        return -1;
    }
    PyObject *args[] = {future, message};
    int taken = twr_truth(PyObject_VectorcallMethod(state->names.cancel, args,
                                                    1, state->kw.msg));
    Py_DECREF(message);
    return taken;
}

/* 3.14+: keep the graph of who awaits whom true, by the function that a task
 * of this kind uses: a task written in Python looks it up each time. */
static int
note_awaited_by(TwrState *state, PyObject *function, PyObject *name,
                PyObject *future, PyObject *task)
{
    if (function == NULL) {
        return 0;
    }
    PyObject *used = twr_task_is_c(state, task)
                         ? Py_NewRef(function)
                         : PyObject_GetAttr(state->futures, name);
    if (used == NULL) {
        return -1;
    }
    PyObject *args[] = {future, task};
    int done = twr_done(PyObject_Vectorcall(used, args, 2, NULL));
    Py_DECREF(used);
    return done;
}

/* Note that task awaits future. */
static int
add_awaited_by(TwrState *state, PyObject *future, PyObject *task)
{
    return note_awaited_by(state, state->task.add_awaited_by,
                           state->names.future_add_to_awaited_by, future,
                           task);
}

/* Undo add_awaited_by(). */
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
        twr_task_set_waiter(state, task, future) < 0) {
        return -1;
    }
    int asks = twr_task_must_cancel(state, task);
    if (asks <= 0) {
        return asks;
    }
    int taken = cancel_with_message(state, task, future);
    if (taken > 0) {
        taken = twr_task_set_must_cancel(state, task, false);
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
    if (twr_task_set_waiter(state, task, NULL) < 0 ||
        discard_awaited_by(state, future, task) < 0) {
        PyErr_WriteUnraisable(task);
    }
    twr_error_put(pending);
}

int
twr_task_take_cancel(TwrState *state, PyObject *task, PyObject **error)
{
    int asks = twr_task_must_cancel(state, task);
    if (asks <= 0) {
        return asks;
    }
    if (twr_task_set_must_cancel(state, task, false) < 0) {
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

/* Have task._cancel_message be the message of error. */
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
    return twr_task_set_must_cancel(state, task, true) < 0 ? -1 : 1;
}

/* Whether the step of task that runs may be the first one of an eager task. */
static bool
may_be_eager(TwrState *state)
{
    PyObject *eager = state->task.eager_tasks;
    return TWR_EAGER_TASKS && (eager == NULL || !PyAnySet_CheckExact(eager) ||
                               PySet_GET_SIZE(eager) > 0);
}

PyObject *
twr_task_hold(TwrState *state, PyObject *task)
{
    int steps = may_be_eager(state) ? twr_frames_steps_task(state, task) : 1;
    if (steps != 0) {
        return steps < 0 ? NULL : Py_NewRef(Py_None);
    }
    PyObject *held = twr_cold(state, COLD_held_up, "(O)", task);
    if (held == NULL || held == Py_None) {
        return held;
    }
    PyObject *waiter = PyTuple_GET_ITEM(held, 0);
    for (Py_ssize_t i = 1; i < PyTuple_GET_SIZE(held); i++) {
        PyObject *other = PyTuple_GET_ITEM(held, i);
        if (twr_task_set_waiter(state, other, waiter) < 0) {
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
        twr_report(twr_task_set_waiter(state, PyTuple_GET_ITEM(held, i), NULL),
                   PyTuple_GET_ITEM(held, i));
    }
    Py_DECREF(held);
    twr_error_put(pending);
}

int
twr_task_cancel(TwrState *state, PyObject *task)
{
    Py_INCREF(task); /* the call that holds it may end meanwhile */
    int taken = twr_ask(task, state->names.cancel);
    Py_DECREF(task);
    return taken;
}

/* asyncio of 3.14+ loses what ends a step in a forked child: the exception is
 * still that of the task. */
int
twr_task_ended_child(TwrState *state, PyObject *task)
{
    PyObject *exc =
        twr_future_is_done(state, task)
            ? PyObject_CallMethodNoArgs(task, state->names.exception)
            : NULL;
    PyErr_Clear(); /* if it was cancelled */
    bool ends = exc != NULL &&
                (PyErr_GivenExceptionMatches(exc, PyExc_SystemExit) ||
                 PyErr_GivenExceptionMatches(exc, PyExc_KeyboardInterrupt));
    if (!ends) {
        Py_XDECREF(exc);
        return 0;
    }
    PyErr_SetRaisedException(exc);
    return -1;
}

void
twr_task_hush(PyObject *task)
{
    PyObject_SetAttrString(task, "_log_destroy_pending", Py_False);
    PyErr_Clear();
}

int
twr_task_init(TwrState *state)
{
    static const TwrFact facts[] = {
        {"Task", NULL,
         "_cancel_message _make_cancelled_error _log_destroy_pending "
         "_must_cancel _fut_waiter _coro get_coro cancel exception",
         NULL},
        {NULL, NULL, NULL, NULL},
    };
    return twr_facts_require(state, facts);
}
