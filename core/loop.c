/* loop.c - what asyncio keeps private about a loop: one turn of it.
 *
 * A turn of BaseEventLoop is: weed out cancelled timers, poll, move the timers
 * that are due to the ready queue, then run as many handles as the queue held
 * at that moment.  Here the same turn is cut into handles, so that a driver
 * can stop after any of them, let a parked call go on in its own place, and
 * let another driver finish the turn: loan->batch says how many are left.
 *
 * This file alone knows the names involved.  twr_loop_init looks at what
 * _run_once of this Python really uses; if that is not what is done here, no
 * loop is ever driven, and calls say why. */
#include "twr.h"

/* --- what we rely on ---------------------------------------------------- */

/* Names that _run_once uses; a Python where one is missing does its turns in
 * another way. */
static const char *const turn_names[] = {
    "_scheduled",      "_timer_cancelled_count", "_cancelled", "_ready",
    "_stopping",       "_when",                  "time",       "_selector",
    "select",          "_process_events",        "append",     "popleft",
    "_clock_resolution", "_run",                 NULL};

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
        PyObject *run =
            type == NULL ? NULL : PyObject_GetAttrString(type, "_run");
        PyObject *code =
            run == NULL ? NULL : PyObject_GetAttrString(run, "__code__");
        if (code == NULL || PyList_Append(codes, code) < 0) {
            Py_CLEAR(codes);
        }
        Py_XDECREF(type);
        Py_XDECREF(run);
        Py_XDECREF(code);
    }
    return codes;
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
    if (facts->run_once == NULL || facts->run_forever == NULL ||
        facts->handle_run_codes == NULL) {
        goto done;
    }
    facts->run_once_code =
        PyObject_GetAttrString(facts->run_once, "__code__");
    if (facts->run_once_code == NULL ||
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

/* --- a loop that runs by itself ----------------------------------------- */

/* ntodo - i - 1 of a _run_once frame; -1 if it is not that of loop. */
static Py_ssize_t
pops_left(PyFrameObject *frame, PyObject *loop)
{
    Py_ssize_t left = -2;
    PyObject *ntodo = NULL, *i = NULL;
    PyObject *self = twr_frame_local(frame, "self");
    if (self == NULL) {
        goto done;
    }
    if (self != loop) {
        left = -1;
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

Py_ssize_t
twr_loop_native_pops(TwrState *state, PyObject *loop, bool direct)
{
    Py_ssize_t left = -1;
    int in_handle = direct;
    PyFrameObject *frame = PyThreadState_GetFrame(PyThreadState_Get());
    while (frame != NULL) {
        PyObject *code = (PyObject *)PyFrame_GetCode(frame);
        bool turn = code == state->loop.run_once_code;
        if (turn && in_handle > 0) {
            left = pops_left(frame, loop);
        }
        in_handle = PySequence_Contains(state->loop.handle_run_codes, code);
        Py_DECREF(code);
        if (in_handle < 0) {
            left = -2;
        }
        if (turn || left == -2) {
            break;
        }
        PyFrameObject *caller = PyFrame_GetBack(frame);
        Py_DECREF(frame);
        frame = caller;
    }
    Py_XDECREF(frame);
    return left;
}

/* --- a turn ------------------------------------------------------------- */

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

static int
get_double(PyObject *op, PyObject *name, double *value)
{
    PyObject *number = PyObject_GetAttr(op, name);
    if (number == NULL) {
        return -1;
    }
    *value = PyFloat_AsDouble(number);
    Py_DECREF(number);
    return *value == -1.0 && PyErr_Occurred() ? -1 : 0;
}

static int
loop_time(TwrState *state, PyObject *loop, double *now)
{
    PyObject *number = PyObject_CallMethodNoArgs(loop, state->names.time);
    if (number == NULL) {
        return -1;
    }
    *now = PyFloat_AsDouble(number);
    Py_DECREF(number);
    return *now == -1.0 && PyErr_Occurred() ? -1 : 0;
}

/* The heap of timers: may be another list in each turn. */
static PyObject *
get_timers(TwrState *state, PyObject *loop)
{
    PyObject *timers = PyObject_GetAttr(loop, state->names._scheduled);
    if (timers != NULL && !PyList_Check(timers)) {
        PyErr_SetString(PyExc_TypeError, "loop._scheduled is not a list");
        Py_CLEAR(timers);
    }
    return timers;
}

/* Take the first timer off the heap. */
static PyObject *
pop_timer(TwrState *state, PyObject *timers)
{
    PyObject *timer = PyObject_CallOneArg(state->heappop, timers);
    if (timer != NULL &&
        PyObject_SetAttr(timer, state->names._scheduled, Py_False) < 0) {
        Py_CLEAR(timer);
    }
    return timer;
}

static int
add_cancelled_count(TwrState *state, PyObject *loop, Py_ssize_t change,
                    Py_ssize_t *count)
{
    PyObject *name = state->names._timer_cancelled_count;
    PyObject *number = PyObject_GetAttr(loop, name);
    if (number == NULL) {
        return -1;
    }
    *count = PyLong_AsSsize_t(number) + change;
    Py_DECREF(number);
    if (PyErr_Occurred()) {
        return -1;
    }
    if (change == 0) {
        return 0;
    }
    number = PyLong_FromSsize_t(*count);
    if (number == NULL) {
        return -1;
    }
    int set = PyObject_SetAttr(loop, name, number);
    Py_DECREF(number);
    return set;
}

/* Rebuild the heap without its cancelled timers. */
static int
weed_all(TwrState *state, PyObject *loop, PyObject *timers)
{
    int result = -1;
    PyObject *none = NULL;
    PyObject *kept = PyList_New(0);
    if (kept == NULL) {
        return -1;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(timers); i++) {
        PyObject *timer = PyList_GET_ITEM(timers, i);
        int cancelled = twr_loop_flag(timer, state->names._cancelled);
        if (cancelled < 0 ||
            (cancelled ? PyObject_SetAttr(timer, state->names._scheduled,
                                          Py_False)
                       : PyList_Append(kept, timer)) < 0) {
            goto done;
        }
    }
    none = PyObject_CallOneArg(state->heapify, kept);
    if (none == NULL ||
        PyObject_SetAttr(loop, state->names._scheduled, kept) < 0) {
        goto done;
    }
    Py_ssize_t count;
    result = add_cancelled_count(state, loop, 0, &count);
    if (result == 0 && count != 0) {
        result = add_cancelled_count(state, loop, -count, &count);
    }
done:
    Py_XDECREF(none);
    Py_DECREF(kept);
    return result;
}

/* Drop cancelled timers: all if they are many, else those in front. */
static int
weed(TwrState *state, PyObject *loop)
{
    int result = -1;
    Py_ssize_t cancelled;
    PyObject *timers = get_timers(state, loop);
    if (timers == NULL ||
        add_cancelled_count(state, loop, 0, &cancelled) < 0) {
        goto done;
    }
    Py_ssize_t size = PyList_GET_SIZE(timers);
    if (size > state->loop.min_timers &&
        (double)cancelled / (double)size > state->loop.max_cancelled) {
        result = weed_all(state, loop, timers);
        goto done;
    }
    while (PyList_GET_SIZE(timers) > 0) {
        int drop = twr_loop_flag(PyList_GET_ITEM(timers, 0),
                                 state->names._cancelled);
        if (drop <= 0) {
            result = drop;
            goto done;
        }
        PyObject *timer = pop_timer(state, timers);
        if (timer == NULL) {
            goto done;
        }
        Py_DECREF(timer);
        if (add_cancelled_count(state, loop, -1, &cancelled) < 0) {
            goto done;
        }
    }
    result = 0;
done:
    Py_XDECREF(timers);
    return result;
}

/* How long the selector may wait: None, or seconds. */
static PyObject *
poll_timeout(Loan *loan)
{
    TwrState *state = loan->thread->state;
    int stopping = twr_loop_flag(loan->loop, state->names._stopping);
    if (stopping < 0) {
        return NULL;
    }
    if (stopping || loan->stop_later || PyObject_Size(loan->ready) > 0) {
        return PyLong_FromLong(0);
    }
    PyObject *timers = get_timers(state, loan->loop);
    if (timers == NULL) {
        return NULL;
    }
    PyObject *timeout = NULL;
    if (PyList_GET_SIZE(timers) == 0) {
        timeout = Py_NewRef(Py_None);
    }
    else {
        double when, now;
        PyObject *first = Py_NewRef(PyList_GET_ITEM(timers, 0));
        if (get_double(first, state->names._when, &when) == 0 &&
            loop_time(state, loan->loop, &now) == 0) {
            double wait = when - now;
            wait = wait > state->loop.max_select ? state->loop.max_select
                                                 : wait;
            timeout = wait <= 0 ? PyLong_FromLong(0)
                                : PyFloat_FromDouble(wait);
        }
        Py_DECREF(first);
    }
    Py_DECREF(timers);
    return timeout;
}

/* Ask the selector, and let the loop queue what it found. */
static int
poll(Loan *loan)
{
    TwrState *state = loan->thread->state;
    PyObject *events = NULL, *none = NULL;
    PyObject *selector = PyObject_GetAttr(loan->loop, state->names._selector);
    PyObject *timeout = selector == NULL ? NULL : poll_timeout(loan);
    if (timeout != NULL) {
        events = PyObject_CallMethodOneArg(selector, state->names.select,
                                           timeout);
    }
    if (events != NULL) {
        none = PyObject_CallMethodOneArg(
            loan->loop, state->names._process_events, events);
    }
    Py_XDECREF(selector);
    Py_XDECREF(timeout);
    Py_XDECREF(events);
    Py_XDECREF(none);
    return none == NULL ? -1 : 0;
}

/* Move the timers that are due to the ready queue. */
static int
move_timers(Loan *loan)
{
    TwrState *state = loan->thread->state;
    double end, resolution;
    int result = -1;
    PyObject *timers = get_timers(state, loan->loop);
    if (timers == NULL) {
        return -1;
    }
    if (PyList_GET_SIZE(timers) == 0) {
        result = 0;
        goto done;
    }
    if (loop_time(state, loan->loop, &end) < 0 ||
        get_double(loan->loop, state->names._clock_resolution, &resolution) <
            0) {
        goto done;
    }
    end += resolution;
    while (PyList_GET_SIZE(timers) > 0) {
        double when;
        if (get_double(PyList_GET_ITEM(timers, 0), state->names._when,
                       &when) < 0) {
            goto done;
        }
        if (when >= end) {
            break;
        }
        PyObject *timer = pop_timer(state, timers);
        if (timer == NULL) {
            goto done;
        }
        PyObject *none = PyObject_CallMethodOneArg(
            loan->ready, state->names.append, timer);
        Py_DECREF(timer);
        if (none == NULL) {
            goto done;
        }
        Py_DECREF(none);
    }
    result = 0;
done:
    Py_DECREF(timers);
    return result;
}

static int
begin_turn(Loan *loan)
{
    loan->polling = true;
    int result = weed(loan->thread->state, loan->loop);
    if (result == 0) {
        result = poll(loan);
    }
    if (result == 0) {
        result = move_timers(loan);
    }
    loan->polling = false;
    if (result == 0) {
        loan->batch = PyObject_Size(loan->ready);
        result = loan->batch < 0 ? -1 : 0;
    }
    return result;
}

Turn
twr_loop_next(Loan *loan, PyObject **handle)
{
    TwrState *state = loan->thread->state;
    for (;;) {
        while (loan->batch > 0 && PyObject_Size(loan->ready) > 0) {
            loan->batch--;
            *handle = PyObject_CallMethodNoArgs(loan->ready,
                                                state->names.popleft);
            if (*handle == NULL) {
                return TURN_ERROR;
            }
            int skip = twr_loop_flag(*handle, state->names._cancelled);
            if (skip == 0) {
                return TURN_HANDLE;
            }
            Py_CLEAR(*handle);
            if (skip < 0) {
                return TURN_ERROR;
            }
        }
        loan->batch = 0;
        int stopping = twr_loop_flag(loan->loop, state->names._stopping);
        if (stopping != 0) {
            return stopping < 0 ? TURN_ERROR : TURN_STOP;
        }
        if (begin_turn(loan) < 0) {
            return TURN_ERROR;
        }
        if (loan->batch == 0) {
            stopping = twr_loop_flag(loan->loop, state->names._stopping);
            if (stopping != 0) {
                return stopping < 0 ? TURN_ERROR : TURN_STOP;
            }
        }
    }
}

/* Debug mode: complain about a handle that held the loop up. */
static int
report_slow(Loan *loan, PyObject *handle, double seconds)
{
    TwrState *state = loan->thread->state;
    PyObject *limit =
        PyObject_GetAttr(loan->loop, state->names.slow_callback_duration);
    PyObject *took = limit == NULL ? NULL : PyFloat_FromDouble(seconds);
    /* Compared as objects: the limit may be one of hush.c's. */
    int slow =
        took == NULL ? -1 : PyObject_RichCompareBool(took, limit, Py_GE);
    Py_XDECREF(limit);
    Py_XDECREF(took);
    if (slow <= 0) {
        return slow;
    }
    PyObject *text = PyObject_CallOneArg(state->format_handle, handle);
    if (text == NULL) {
        return -1;
    }
    PyObject *none =
        PyObject_CallMethod(state->logger, "warning", "sOd",
                            "Executing %s took %.3f seconds", text, seconds);
    Py_DECREF(text);
    Py_XDECREF(none);
    return none == NULL ? -1 : 0;
}

static int
run_handle(Loan *loan, PyObject *handle)
{
    PyObject *none =
        PyObject_CallMethodNoArgs(handle, loan->thread->state->names._run);
    Py_XDECREF(none);
    return none == NULL ? -1 : 0;
}

/* A handle in which a call was parked is not slow, however long it took:
 * loan->parks has then changed. */
static int
run_handle_debug(Loan *loan, PyObject *handle)
{
    TwrState *state = loan->thread->state;
    PyObject *current = state->names._current_handle;
    double before, after;
    size_t parks = loan->parks;
    if (PyObject_SetAttr(loan->loop, current, handle) < 0 ||
        loop_time(state, loan->loop, &before) < 0) {
        return -1;
    }
    int result = run_handle(loan, handle);
    PyObject *pending = twr_error_take();
    if (PyObject_SetAttr(loan->loop, current, Py_None) < 0) {
        PyErr_Clear();
    }
    twr_error_put(pending);
    if (result < 0 || parks != loan->parks) {
        return result;
    }
    if (loop_time(state, loan->loop, &after) < 0) {
        return -1;
    }
    return report_slow(loan, handle, after - before);
}

int
twr_loop_run_handle(Loan *loan, PyObject *handle)
{
    int debug = twr_loop_flag(loan->loop, loan->thread->state->names._debug);
    if (debug < 0) {
        return -1;
    }
    return debug ? run_handle_debug(loan, handle) : run_handle(loan, handle);
}

/* --- the ready queue ---------------------------------------------------- */

int
twr_loop_call_soon(TwrState *state, PyObject *loop, PyObject *call)
{
    PyObject *args[] = {loop, call, state->neutral};
    PyObject *handle = PyObject_VectorcallMethod(
        state->names.call_soon, args, 2, state->kw_context);
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
twr_loop_busy(Loan *loan)
{
    TwrState *state = loan->thread->state;
    Py_ssize_t ready = PyObject_Size(loan->ready);
    if (ready != 0) {
        return ready < 0 ? -1 : 1;
    }
    PyObject *timers = get_timers(state, loan->loop);
    if (timers == NULL) {
        return -1;
    }
    Py_ssize_t n_timers = PyList_GET_SIZE(timers);
    Py_DECREF(timers);
    if (n_timers > 0) {
        return 1;
    }
    PyObject *map = NULL;
    PyObject *selector = PyObject_GetAttr(loan->loop, state->names._selector);
    if (selector != NULL) {
        map = PyObject_CallMethodNoArgs(selector, state->names.get_map);
    }
    Py_ssize_t watched = map == NULL ? -1 : PyObject_Size(map);
    Py_XDECREF(selector);
    Py_XDECREF(map);
    return watched < 0 ? -1 : watched > 1; /* one is the loop's own pipe */
}

/* --- running it --------------------------------------------------------- */

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

/* 3.11 and 3.12 do all this inside run_forever.  Returns the asyncgen hooks
 * to restore. */
static PyObject *
enter_by_hand(TwrState *state, PyObject *loop)
{
    PyObject *none = NULL;
    PyObject *id = PyLong_FromUnsignedLong(PyThread_get_thread_ident());
    if (id == NULL ||
        PyObject_SetAttr(loop, state->names._thread_id, id) < 0) {
        Py_XDECREF(id);
        return NULL;
    }
    Py_DECREF(id);
    PyObject *hooks = twr_loop_hook(state, loop);
    if (hooks != NULL) {
        none = PyObject_CallOneArg(state->set_running_loop, loop);
    }
    if (none == NULL) {
        Py_CLEAR(hooks);
    }
    Py_XDECREF(none);
    return hooks;
}

static int
leave_by_hand(TwrState *state, PyObject *loop, PyObject *hooks)
{
    int result = -1;
    if (PyObject_SetAttr(loop, state->names._stopping, Py_False) == 0 &&
        PyObject_SetAttr(loop, state->names._thread_id, Py_None) == 0) {
        result = 0;
    }
    PyObject *none = PyObject_CallOneArg(state->set_running_loop, Py_None);
    Py_XDECREF(none);
    if (none == NULL || twr_loop_unhook(state, hooks) < 0) {
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
        PyObject *none = PyObject_CallNoArgs(setup);
        Py_DECREF(setup);
        *undo = none;
        return none == NULL ? -1 : 0;
    }
    int debug = twr_loop_flag(loop, state->names._debug);
    if (debug < 0 || (debug && track_origins(state, loop, Py_True) < 0)) {
        return -1;
    }
    *undo = enter_by_hand(state, loop);
    return *undo == NULL ? -1 : 0;
}

int
twr_loop_leave(TwrState *state, PyObject *loop, PyObject *undo)
{
    PyObject *pending = twr_error_take();
    int result = 0;
    if (undo == Py_None) {
        PyObject *none = PyObject_CallMethodNoArgs(
            loop, state->names._run_forever_cleanup);
        Py_XDECREF(none);
        result = none == NULL ? -1 : 0;
    }
    else {
        int debug = twr_loop_flag(loop, state->names._debug);
        if (leave_by_hand(state, loop, undo) < 0 || debug < 0 ||
            (debug && track_origins(state, loop, Py_False) < 0)) {
            result = -1;
        }
    }
    if (pending != NULL) {
        PyErr_Clear();
        twr_error_put(pending);
        return -1;
    }
    return result;
}
