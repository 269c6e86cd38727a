/* loop.c - what asyncio keeps private about a loop.
 *
 * This file and turn.c alone know the names involved.  twr_loop_init looks at
 * what _run_once of this Python really uses; if that is not what turn.c does,
 * no loop is ever driven, and calls say why. */
#include "twr.h"

/* Names that _run_once uses; a Python where one is missing does its turns in
 * another way. */
static const char *const turn_names[] = {"_scheduled",
                                         "_timer_cancelled_count",
                                         "_cancelled",
                                         "_ready",
                                         "_stopping",
                                         "_when",
                                         "time",
                                         "_selector",
                                         "select",
                                         "_process_events",
                                         "append",
                                         "popleft",
                                         "_clock_resolution",
                                         "_run",
                                         NULL};

static const char *const turn_locals[] = {"self", "ntodo", "i", "handle",
                                          NULL};

static int
has_all(PyObject *code, const char *attribute, const char *const *names)
{
    PyObject *present = PyObject_GetAttrString(code, attribute);
    if (present == NULL) {
        return -1;
    }
    int found = 1;
    for (; *names != NULL && found > 0; names++) {
        PyObject *name = PyUnicode_FromString(*names);
        found = name == NULL ? -1 : PySequence_Contains(present, name);
        Py_XDECREF(name);
    }
    Py_DECREF(present);
    return found;
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
twr_loop_code_of(PyObject *type, const char *name)
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
        PyObject *code = type == NULL ? NULL : twr_loop_code_of(type, "_run");
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

static int
learn(TwrState *state, TwrLoopFacts *facts)
{
    double timers = 0;
    int usable = -1;
    PyObject *base = state->BaseEventLoop;
    PyObject *module = PyImport_ImportModule("asyncio.base_events");
    if (module == NULL) {
        return -1;
    }
    facts->run_once = PyObject_GetAttr(base, state->names._run_once);
    facts->run_forever = PyObject_GetAttr(base, state->names.run_forever);
    facts->handle_run_codes = handle_run_codes(state);
    facts->tasks_file = file_of_tasks();
    if (facts->tasks_file == NULL) {
        goto done;
    }
    if (facts->run_once == NULL || facts->run_forever == NULL ||
        facts->handle_run_codes == NULL) {
        goto done;
    }
    facts->run_once_code = twr_loop_code_of(base, "_run_once");
    facts->run_forever_code = twr_loop_code_of(base, "run_forever");
    facts->run_until_complete_code =
        twr_loop_code_of(base, "run_until_complete");
    if (facts->run_once_code == NULL || facts->run_forever_code == NULL ||
        facts->run_until_complete_code == NULL ||
        constant(module, "_MIN_SCHEDULED_TIMER_HANDLES", &timers) < 0 ||
        constant(module, "_MIN_CANCELLED_TIMER_HANDLES_FRACTION",
                 &facts->max_cancelled) < 0 ||
        constant(module, "MAXIMUM_SELECT_TIMEOUT", &facts->max_select) < 0) {
        goto done;
    }
    facts->min_timers = (Py_ssize_t)timers;
    usable = has_all(facts->run_once_code, "co_names", turn_names);
    if (usable > 0) {
        usable = has_all(facts->run_once_code, "co_varnames", turn_locals);
    }
done:
    Py_DECREF(module);
    return usable;
}

int
twr_loop_init(TwrState *state)
{
    int usable = learn(state, &state->loop);
    if (usable < 0) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
            return -1;
        }
        PyErr_Clear();
    }
    if (usable <= 0) {
        state->loop.why_not = PyUnicode_FromString(
            "BaseEventLoop._run_once of this Python is not the one that "
            "tworoutine knows");
        return state->loop.why_not == NULL ? -1 : 0;
    }
    return 0;
}

/* 1 if attribute `name` of type is `known`, 0 if not. */
static int
is_method(PyObject *type, PyObject *name, PyObject *known)
{
    PyObject *found;
    if (PyObject_GetOptionalAttr(type, name, &found) < 0) {
        return -1;
    }
    Py_XDECREF(found);
    return found == known;
}

int
twr_loop_drivable(Thread *th, PyObject *loop)
{
    TwrState *state = th->state;
    PyTypeObject *type = Py_TYPE(loop);
    /* The version tag changes with every change to the type, as by a monkey
     * patch; 0 means that it has none now. */
    if (type == th->good_type && type->tp_version_tag == th->good_version &&
        th->good_version != 0) {
        return 1;
    }
    if (state->loop.why_not != NULL) {
        return 0;
    }
    int good = is_method((PyObject *)type, state->names._run_once,
                         state->loop.run_once);
    if (good > 0) {
        good = is_method((PyObject *)type, state->names.run_forever,
                         state->loop.run_forever);
    }
    if (good > 0) {
        Py_XSETREF(th->good_type, (PyTypeObject *)Py_NewRef(type));
        th->good_version = type->tp_version_tag;
    }
    return good;
}

/* Keep the code of type.name in *code. */
static int
keep_code(PyObject *type, const char *name, PyObject **code)
{
    PyObject *found = twr_loop_code_of(type, name);
    if (found != NULL) {
        Py_XSETREF(*code, found);
    }
    return found == NULL ? -1 : 0;
}

int
twr_loop_patched(TwrState *state, PyObject *loop)
{
    PyObject *type = (PyObject *)Py_TYPE(loop);
    PyObject *module = NULL;
    if (state->loop.why_not != NULL ||
        !PyObject_HasAttrString(type, "_nest_patched")) {
        return 0;
    }
    PyObject *run_once = PyObject_GetAttr(type, state->names._run_once);
    int found = run_once == NULL
                    ? -1
                    : PyObject_GetOptionalAttr(
                          run_once, state->names.__module__, &module);
    Py_XDECREF(run_once);
    if (found > 0) { /* nest_asyncio, or nest_asyncio2 */
        found = PyUnicode_Check(module) &&
                PyUnicode_Tailmatch(module, state->names.nest_asyncio, 0,
                                    PY_SSIZE_T_MAX, -1) > 0;
    }
    Py_XDECREF(module);
    if (found > 0 &&
        (keep_code(type, "_run_once", &state->loop.nest_once_code) < 0 ||
         keep_code(type, "run_forever", &state->loop.nest_forever_code) < 0)) {
        PyErr_Clear(); /* it is not that of nest_asyncio after all */
        found = 0;
    }
    return found;
}

/* Whether code is that of a _run_once, asyncio's or nest_asyncio's. */
static bool
is_run_once(TwrState *state, PyObject *code)
{
    return code == state->loop.run_once_code ||
           code == state->loop.nest_once_code;
}

/* Whether run_forever has called a _run_once; frame is that of the latter.
 * -1 on failure. */
static int
in_run_forever(TwrState *state, PyFrameObject *frame)
{
    PyFrameObject *caller = PyFrame_GetBack(frame);
    if (caller == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    PyObject *code = (PyObject *)PyFrame_GetCode(caller);
    Py_DECREF(caller);
    Py_DECREF(code); /* only compared */
    return code == state->loop.run_forever_code ||
           code == state->loop.nest_forever_code;
}

/* ntodo - i - 1 of a _run_once frame; -1 if it is not that of loop.  nest: it
 * is nest_asyncio's, which does not mind if there are fewer. */
static Py_ssize_t
pops_left(PyFrameObject *frame, PyObject *loop, bool nest)
{
    Py_ssize_t left = -2;
    PyObject *ntodo = NULL, *i = NULL;
    PyObject *self = twr_frame_local(frame, "self");
    if (self == NULL) {
        goto done;
    }
    if (self != loop || nest) {
        left = self != loop ? -1 : 0;
        goto done;
    }
    ntodo = twr_frame_local(frame, "ntodo");
    i = ntodo == NULL ? NULL : twr_frame_local(frame, "i");
    if (i == NULL) {
        goto done;
    }
    left = PyLong_AsSsize_t(ntodo) - PyLong_AsSsize_t(i) - 1;
    if (PyErr_Occurred()) {
        left = -2;
    }
done:
    Py_XDECREF(self);
    Py_XDECREF(ntodo);
    Py_XDECREF(i);
    return left;
}

/* twr_loop_native_pops, and where; root may be NULL. */
static Py_ssize_t
native(TwrState *state, PyObject *loop, bool direct, PyObject **root)
{
    Py_ssize_t left = -1;
    int in_handle = direct;
    Walk walk;
    twr_walk_begin(&walk);
    while (walk.frame != NULL) {
        PyObject *code = (PyObject *)PyFrame_GetCode(walk.frame);
        bool turn = is_run_once(state, code);
        if (turn && in_handle > 0 && in_run_forever(state, walk.frame) > 0) {
            left = pops_left(walk.frame, loop,
                             code == state->loop.nest_once_code);
        }
        in_handle = PySequence_Contains(state->loop.handle_run_codes, code);
        Py_DECREF(code);
        if (turn || PyErr_Occurred()) {
            break;
        }
        twr_walk_on(&walk);
    }
    if (left >= 0 && root != NULL) {
        *root = walk.greenlet != NULL ? Py_NewRef(walk.greenlet)
                                      : twr_stack_current();
    }
    twr_walk_end(&walk);
    return PyErr_Occurred() ? -2 : left;
}

Py_ssize_t
twr_loop_native_pops(TwrState *state, PyObject *loop, bool direct)
{
    return native(state, loop, direct, NULL);
}

Py_ssize_t
twr_loop_native_root(TwrState *state, PyObject *loop, PyObject **root)
{
    *root = NULL;
    return native(state, loop, false, root);
}

Turner
twr_loop_turner(TwrState *state)
{
    Turner turner = TURNER_NONE;
    Walk walk;
    twr_walk_begin(&walk);
    while (walk.frame != NULL && turner == TURNER_NONE) {
        PyObject *code = (PyObject *)PyFrame_GetCode(walk.frame);
        if (is_run_once(state, code)) {
            turner = in_run_forever(state, walk.frame) ? TURNER_RUN_FOREVER
                                                       : TURNER_FOREIGN;
        }
        Py_DECREF(code);
        twr_walk_on(&walk);
    }
    twr_walk_end(&walk);
    return PyErr_Occurred() ? TURNER_ERROR : turner;
}

/* The frame straight below the step of task that runs; NULL without error:
 * there is none.  A coroutine that only begins has nothing below it yet. */
static PyFrameObject *
below_step(TwrState *state, PyObject *task)
{
    PyObject *frame = NULL;
    PyObject *coro = PyObject_CallMethodNoArgs(task, state->names.get_coro);
    if (coro == NULL ||
        PyObject_GetOptionalAttr(coro, state->names.cr_frame, &frame) < 0) {
        Py_XDECREF(coro);
        return NULL;
    }
    Py_DECREF(coro);
    PyFrameObject *below = NULL;
    if (frame != NULL && PyFrame_Check(frame)) {
        below = PyFrame_GetBack((PyFrameObject *)frame);
    }
    Py_XDECREF(frame);
    return below != NULL ? below : PyThreadState_GetFrame(PyThreadState_Get());
}

/* Whether frame is one of the methods of a task that is written in Python. */
static bool
is_of_tasks(TwrState *state, PyFrameObject *frame)
{
    PyCodeObject *code = PyFrame_GetCode(frame);
    int same = PyObject_RichCompareBool(code->co_filename,
                                        state->loop.tasks_file, Py_EQ);
    Py_DECREF(code);
    return same > 0;
}

int
twr_loop_steps_task(TwrState *state, PyObject *task)
{
    PyFrameObject *frame = below_step(state, task);
    while (frame != NULL && is_of_tasks(state, frame)) {
        PyFrameObject *below = PyFrame_GetBack(frame);
        Py_DECREF(frame);
        frame = below;
    }
    if (frame == NULL) {
        return PyErr_Occurred() ? -1 : 1;
    }
    int runs = twr_frames_runs_handle(state, frame);
    Py_DECREF(frame);
    return runs;
}

int
twr_loop_flag(PyObject *loop, PyObject *flag)
{
    PyObject *value = PyObject_GetAttr(loop, flag);
    if (value == NULL) {
        return -1;
    }
    int truth = PyObject_IsTrue(value);
    Py_DECREF(value);
    return truth;
}

int
twr_loop_call_soon(TwrState *state, PyObject *loop, PyObject *call)
{
    PyObject *args[] = {loop, call, state->neutral};
    PyObject *handle = PyObject_VectorcallMethod(state->names.call_soon, args,
                                                 2, state->kw_context);
    Py_XDECREF(handle);
    return handle == NULL ? -1 : 0;
}

static int
push_left(Loan *loan, PyObject *item)
{
    PyObject *none = PyObject_CallMethodOneArg(
        loan->ready, loan->thread->state->names.appendleft, item);
    Py_XDECREF(none);
    return none == NULL ? -1 : 0;
}

int
twr_loop_call_next(Loan *loan, PyObject *call)
{
    TwrState *state = loan->thread->state;
    PyObject *handle = PyObject_CallFunction(state->Handle, "O()OO", call,
                                             loan->loop, state->neutral);
    int pushed = handle == NULL ? -1 : push_left(loan, handle);
    Py_XDECREF(handle);
    if (pushed == 0 && loan->thread->loan == loan) {
        loan->batch++; /* it belongs to this turn */
    }
    return pushed;
}

int
twr_loop_pad(Loan *loan, Py_ssize_t count)
{
    int result = 0;
    while (count-- > 0 && result == 0) {
        result = push_left(loan, loan->thread->state->pad);
    }
    return result;
}

int
twr_loop_mark(Loan *loan)
{
    return push_left(loan, loan->thread->state->marker);
}

int
twr_loop_unmark(Loan *loan)
{
    PyObject *none = PyObject_CallMethodOneArg(
        loan->ready, loan->thread->state->names.remove,
        loan->thread->state->marker);
    Py_XDECREF(none);
    if (none != NULL || !PyErr_ExceptionMatches(PyExc_ValueError)) {
        return none == NULL ? -1 : 0;
    }
    PyErr_Clear(); /* it has been taken already */
    return 0;
}

int
twr_loop_prime(TwrState *state, PyObject *loop)
{
    PyObject *none = NULL;
    PyObject *ready = PyObject_GetAttr(loop, state->names._ready);
    int present =
        ready == NULL ? -1 : PySequence_Contains(ready, state->marker);
    if (present == 0) {
        none = PyObject_CallMethodOneArg(ready, state->names.appendleft,
                                         state->marker);
        present = none == NULL ? -1 : 0;
        Py_XDECREF(none);
    }
    Py_XDECREF(ready);
    return present < 0 ? -1 : 0;
}

PyObject *
twr_loop_hook(TwrState *state, PyObject *loop)
{
    PyObject *none = NULL;
    PyObject *hooks = PyObject_CallNoArgs(state->get_asyncgen_hooks);
    PyObject *first =
        PyObject_GetAttr(loop, state->names._asyncgen_firstiter_hook);
    PyObject *last =
        first == NULL
            ? NULL
            : PyObject_GetAttr(loop, state->names._asyncgen_finalizer_hook);
    if (hooks != NULL && last != NULL) {
        PyObject *args[] = {first, last};
        none = PyObject_Vectorcall(state->set_asyncgen_hooks, args, 0,
                                   state->kw_hooks);
    }
    Py_XDECREF(first);
    Py_XDECREF(last);
    if (none == NULL) {
        Py_CLEAR(hooks);
    }
    Py_XDECREF(none);
    return hooks;
}

int
twr_loop_unhook(TwrState *state, PyObject *hooks)
{
    PyObject *none = PyObject_CallObject(state->set_asyncgen_hooks, hooks);
    Py_XDECREF(none);
    return none == NULL ? -1 : 0;
}

int
twr_loop_set_running(TwrState *state, PyObject *loop)
{
    PyObject *none = PyObject_CallOneArg(state->set_running_loop, loop);
    Py_XDECREF(none);
    return none == NULL ? -1 : 0;
}

/* 3.11 and 3.12 do all this inside run_forever.  Returns the asyncgen hooks
 * to restore. */
static PyObject *
enter_by_hand(TwrState *state, PyObject *loop)
{
    PyObject *id = PyLong_FromUnsignedLong(PyThread_get_thread_ident());
    if (id == NULL ||
        PyObject_SetAttr(loop, state->names._thread_id, id) < 0) {
        Py_XDECREF(id);
        return NULL;
    }
    Py_DECREF(id);
    PyObject *hooks = twr_loop_hook(state, loop);
    if (hooks != NULL && twr_loop_set_running(state, loop) == 0) {
        return hooks;
    }
    /* It does not run after all, and can be run another time. */
    PyObject *pending = twr_error_take();
    if ((hooks != NULL && twr_loop_unhook(state, hooks) < 0) ||
        PyObject_SetAttr(loop, state->names._thread_id, Py_None) < 0) {
        PyErr_Clear();
    }
    Py_XDECREF(hooks);
    twr_error_put(pending);
    return NULL;
}

static int
leave_by_hand(TwrState *state, PyObject *loop, PyObject *hooks)
{
    int result = -1;
    if (PyObject_SetAttr(loop, state->names._stopping, Py_False) == 0 &&
        PyObject_SetAttr(loop, state->names._thread_id, Py_None) == 0) {
        result = 0;
    }
    if (twr_loop_set_running(state, Py_None) < 0 ||
        twr_loop_unhook(state, hooks) < 0) {
        result = -1;
    }
    return result;
}

/* sys.set_coroutine_origin_tracking_depth as run_forever sets it. */
static int
track_origins(TwrState *state, PyObject *loop, PyObject *flag)
{
    PyObject *none = PyObject_CallMethodOneArg(
        loop, state->names._set_coroutine_origin_tracking, flag);
    Py_XDECREF(none);
    return none == NULL ? -1 : 0;
}

static int
clean_up(TwrState *state, PyObject *loop)
{
    PyObject *none =
        PyObject_CallMethodNoArgs(loop, state->names._run_forever_cleanup);
    Py_XDECREF(none);
    return none == NULL ? -1 : 0;
}

/* Whether loop, which did not run, takes itself for running here. */
static bool
entered(TwrState *state, PyObject *loop)
{
    PyObject *id = PyObject_GetAttr(loop, state->names._thread_id);
    bool here = id != NULL && PyLong_Check(id) &&
                PyLong_AsUnsignedLong(id) == PyThread_get_thread_ident();
    PyErr_Clear();
    Py_XDECREF(id);
    return here;
}

int
twr_loop_enter(TwrState *state, PyObject *loop, PyObject **undo)
{
    PyObject *setup;
    PyObject *name = state->names._run_forever_setup;
    *undo = NULL;
    if (PyObject_GetOptionalAttr(loop, name, &setup) < 0) {
        return -1;
    }
    if (setup != NULL) {
        *undo = PyObject_CallNoArgs(setup);
        Py_DECREF(setup);
        if (*undo == NULL) {
            PyObject *error = twr_error_take();
            if (entered(state, loop)) {
                clean_up(state, loop); /* a signal handler's, in the middle */
            }
            twr_error_put(error);
        }
        return *undo == NULL ? -1 : 0;
    }
    int debug = twr_loop_flag(loop, state->names._debug);
    if (debug < 0 || (debug && track_origins(state, loop, Py_True) < 0)) {
        return -1;
    }
    *undo = enter_by_hand(state, loop);
    return *undo == NULL ? -1 : 0;
}

static int
leave(TwrState *state, PyObject *loop, PyObject *undo)
{
    if (undo == Py_None) {
        return clean_up(state, loop);
    }
    return leave_by_hand(state, loop, undo) < 0 ||
                   track_origins(state, loop, Py_False) < 0
               ? -1
               : 0;
}

int
twr_loop_leave(TwrState *state, PyObject *loop, PyObject *undo)
{
    PyObject *pending = twr_error_take();
    int result = leave(state, loop, undo);
    if (result < 0) {
        /* A signal handler raised in the middle: leave it all the same. */
        PyObject *error = twr_error_take();
        leave(state, loop, undo);
        twr_error_put(error);
    }
    if (pending != NULL) {
        twr_error_put(pending);
        return -1;
    }
    return result;
}
