/* backends/drivable.c - whether calls can wait in the running loop, or why
 * not. */
#include "backends/drivable.h"

#include "asyncio/frames.h"
#include "asyncio/task.h"
#include "backends/backend.h"
#include "backends/portal.h"
#include "base/error.h"

/* Why a loop of this type cannot be driven; format has two %S for its name. */
static PyObject *
describe_type(TwrState *state, PyObject *loop, const char *format)
{
    PyObject *reason = NULL;
    PyObject *type = (PyObject *)Py_TYPE(loop);
    PyObject *module = PyObject_GetAttr(type, state->names.__module__);
    PyObject *name = PyObject_GetAttr(type, state->names.__qualname__);
    if (module != NULL && name != NULL) {
        reason = PyUnicode_FromFormat(format, module, name);
    }
    Py_XDECREF(module);
    Py_XDECREF(name);
    return reason;
}

/* How tasks of a loop that cannot be driven come to have portals. */
#define WHAT_SERVES_IT                                                        \
    "start with tworoutine.run(main(), loop_factory=...), or make its task "  \
    "after loop.set_task_factory(tworoutine.task_factory)"

/* How a task comes to have a portal that was made past its loop's factory. */
#define WHAT_SERVES_THE_TASK                                                  \
    "await tworoutine.portal(afn)(...) in this task, which was made past "    \
    "the loop's task factory, as by asyncio.Task(...)"

/* How a call in a loop that cannot be driven can be made; NULL: error. */
static const char *
advice_on_loop(TwrState *state, PyObject *loop, PyObject *callee)
{
    PyObject *task = twr_task_current(state, loop);
    Py_XDECREF(task); /* only whether there is one */
    if (task == NULL) {
        return PyErr_Occurred() ? NULL
                                : "make the call in a task, and "
                                  "" WHAT_SERVES_IT;
    }
    PyObject *has = twr_cold(state, COLD_has_factory, "(O)", loop);
    Py_XDECREF(has); /* a bool */
    if (has == NULL) {
        return NULL;
    }
    if (has == Py_True) {
        return TWR_AWAIT_OR(callee, WHAT_SERVES_THE_TASK);
    }
    return TWR_AWAIT_OR(callee, WHAT_SERVES_IT);
}

/* Somebody else's kind of loop, or one that somebody has changed. */
static int
refuse_loop(TwrState *state, PyObject *loop, PyObject *callee)
{
    if (state->loop.why_not != NULL) {
        return twr_refuse_here(state, callee, Py_NewRef(state->loop.why_not));
    }
    int nested = twr_loop_says_patched(state, loop);
    if (nested < 0) {
        return -1;
    }
    if (nested) {
        return twr_refuse(
            state, callee,
            describe_type(state, loop,
                          "nest_asyncio has changed the running loop, of type "
                          "%S.%S, and something else takes its turns"),
            "run main() by a call, await_(main()), or do without "
            "nest_asyncio.apply(), which no call needs");
    }
    const char *advice = advice_on_loop(state, loop, callee);
    if (advice == NULL) {
        return -1;
    }
    return twr_refuse(
        state, callee,
        describe_type(
            state, loop,
            "the running loop, of type %S.%S, does not take its turns "
            "the way asyncio's own loops do"),
        advice);
}

/* Whether loop has been changed by nest_asyncio, and either we drive it, or a
 * run_forever or the run_until_complete of nest_asyncio does, from which it
 * can be taken over. */
static int
is_driven(Thread *th, PyObject *loop)
{
    int patched = twr_loop_is_patched(th->state, loop);
    if (patched <= 0 ||
        (th->drives.now != NULL && th->drives.now->it.loop == loop)) {
        return patched;
    }
    Py_ssize_t left = twr_frames_native_left(th->state, loop, false);
    return left == -2 ? -1 : left >= 0;
}

/* Refuse the first step of an eager task that is made in a portal's step, and
 * has no portal of its own: the stack of that portal must not be parked. */
static int
check_portal(Thread *th, PyObject *callee)
{
    int stepped = twr_portal_is_stepped(th);
    if (stepped <= 0) {
        return stepped;
    }
    return twr_refuse(
        th->state, callee,
        PyUnicode_FromString("this is the first step of an eager task, on the "
                             "stack of one that is in a portal"),
        TWR_AWAIT_OR(callee, WHAT_SERVES_THE_TASK));
}

static int
check_drivable(Thread *th, PyObject *loop, PyObject *callee)
{
    int drivable = twr_thread_can_drive(th, loop);
    if (drivable == 0) {
        drivable = is_driven(th, loop);
    }
    if (drivable <= 0) {
        return drivable < 0 ? -1 : refuse_loop(th->state, loop, callee);
    }
    return check_portal(th, callee);
}

/* Whether the running greenlet is one that native has switched to, in a step
 * of the loop that runs by itself, and that may be parked. */
static int
is_above_native(Thread *th, PyObject *native)
{
    PyObject *me = twr_greenlet_running();
    int may = me == NULL ? -1 : twr_switch_is_above(&th->stacks, native);
    return may > 0 && me != native ? twr_switch_may_leave(th->state, native)
                                   : may;
}

/* Whether this is a greenlet that the running step has switched to, and that
 * may be parked while the step waits for it. */
static int
is_in_greenlet_of_step(Thread *th, PyObject *loop)
{
    Driven *driven = th->drives.now;
    if (driven != NULL) {
        int above = th->stacks.active == NULL
                        ? 0
                        : twr_switch_is_above(&th->stacks, th->stacks.active);
        return above <= 0 ? above
                          : twr_switch_may_leave(th->state, driven->native);
    }
    PyObject *native;
    Py_ssize_t left = twr_frames_native(th->state, loop, &native);
    if (native == NULL) {
        return left == -2 ? -1 : 0;
    }
    int may = is_above_native(th, native);
    Py_DECREF(native);
    return may;
}

/* Refuse a call of a signal handler that has interrupted asyncio at work on
 * what others use, who would run meanwhile. */
static int
check_interrupted(Thread *th, PyObject *callee)
{
    int interrupted = th->is_main ? twr_frames_interrupted(th->state) : 0;
    return interrupted <= 0 ? interrupted
                            : twr_refuse_between(th->state, callee);
}

/* Whether a call made in a step of loop can wait in the loop that we drive. */
static int
check_driven(Thread *th, PyObject *loop, PyObject *callee)
{
    Driven *driven = th->drives.now;
    if (driven->it.loop != loop) {
        return twr_refuse_here(
            th->state, callee,
            PyUnicode_FromString("another loop runs inside the running one"));
    }
    /* A run of ours whose task is not yet made, or is being dropped, has no
     * call to end when the loop stops or fails. */
    bool entering = driven->place == PLACE_OURS && driven->main_call == NULL;
    return driven->it.polling || entering
               ? twr_refuse_between(th->state, callee)
               : check_interrupted(th, callee);
}

int
twr_drivable_check(Thread *th, PyObject *loop, PyObject *callee)
{
    if (check_drivable(th, loop, callee) < 0 ||
        twr_driven_settle(th, loop) < 0) {
        return -1;
    }
    int in_step = twr_thread_in_step(th);
    if (in_step == 0) {
        in_step = is_in_greenlet_of_step(th, loop);
    }
    if (in_step <= 0) {
        return in_step < 0 ? -1 : twr_refuse_greenlet(th->state, callee);
    }
    return th->drives.now == NULL ? check_interrupted(th, callee)
                                  : check_driven(th, loop, callee);
}

int
twr_drivable_check_callback(Thread *th, PyObject *loop, PyObject *callee)
{
    /* The loop runs by itself, if only until it comes to the marker. */
    bool native =
        th->drives.now == NULL || th->drives.now->place == PLACE_RETURNING;
    Py_ssize_t left =
        native ? twr_frames_native_left(th->state, loop, false) : 0;
    if (left == -1) {
        switch (twr_frames_caller(th->state)) {
        case CALLER_ERROR:
            return -1;
        case CALLER_NONE:
            return twr_refuse_greenlet(th->state, callee);
        case CALLER_OTHER:
            return twr_refuse_caller(th->state, callee);
        case CALLER_RUN_FOREVER:
            return twr_refuse_between(th->state, callee);
        }
    }
    return left < 0 ? -1 : 0;
}
