/* handoff.c - lend the running asyncio loop to another greenlet.
 *
 * A synchronous call sits in the middle of a step of its task:
 *
 *     run_forever > _run_once > Handle._run > task step > main() > f(x)
 *
 * and what f waits for can only happen if the loop goes on.  So the call parks
 * this stack as it is, and a driver (stack.c), which is another stack, runs
 * the turns of the loop from there on (turn.c):
 *
 *     owner:   run_forever > _run_once > ... > main() > f(x)  parked
 *     driver:  twr_drive > Handle._run > other task > g(x)    parked
 *     driver:  twr_drive > Handle._run > ...                  runs
 *
 * When what f waits for is done, its future queues the Call as its callback.
 * A driver that comes upon it, in the very place of the queue where the task
 * would have been woken up, switches to the parked stack and goes idle.  That
 * stack finishes its step and is, below it, a driver again: it goes on with
 * the turn where the other left it.  At most one runs; none waits for another.
 *
 * The owner is the greenlet inside run_forever.  It must not stay pinned below
 * somebody's call, or asyncio.run could not return; so when its call is over,
 * a marker in front of the queue makes its _run_once call us (marker_run),
 * and it parks there, with nothing of the user's above it, until the loop
 * stops.  Its _run_once will then still pop the handles that it counted when
 * its turn began: padding is put in front for them (give_back).
 *
 *     pinned -> returning -> idle -> none
 *        ^----------'
 *
 * The one call that can still pin it is the first in the life of a loop: when
 * the loop stops, the marker is left in its queue, and a later run begins with
 * it.  So it is in a loop that we ran ourselves (run.c), and in that of
 * IPython's prompt.  If the loop stops while that first call waits, the call
 * is cancelled, with a warning.
 *
 * A parked call leaves its task (asyncio knows one current task a loop) and
 * its contexts, and makes its task look suspended (task.c), so that it can be
 * cancelled.  A caller without a task, such as a plain callback, hosts one: a
 * task is made, and its steps, when a driver comes upon them, are run on the
 * caller's stack. */
#include "handoff.h"

int
twr_handoff_refuse(TwrState *state, PyObject *subject, PyObject *reason)
{
    return twr_refuse(state, subject, reason,
                      subject != NULL ? "await its ~ form instead"
                                      : "use await instead");
}

int
twr_handoff_refuse_greenlet(TwrState *state, PyObject *subject)
{
    return twr_refuse(
        state, subject,
        PyUnicode_FromString("this greenlet is not one in which the running "
                             "loop runs its callbacks"),
        "make the call in a thread of its own, as by "
        "concurrent.futures.ThreadPoolExecutor, or in a task of that loop");
}

int
twr_handoff_refuse_turner(TwrState *state, PyObject *subject)
{
    return twr_handoff_refuse(
        state, subject,
        PyUnicode_FromString("the turns of the running loop are taken by "
                             "something else than its run_forever"));
}

int
twr_handoff_refuse_between(TwrState *state, PyObject *subject)
{
    return twr_refuse(
        state, subject,
        PyUnicode_FromString("the loop is between two callbacks, as in a "
                             "signal handler or a finalizer"),
        "have it called by loop.call_soon_threadsafe()");
}

/* Why a loop of this type cannot be driven; format has two %S for its name. */
static PyObject *
about_type(TwrState *state, PyObject *loop, const char *format)
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

/* ... and one that was made without asking the factory that makes them so. */
#define WHAT_SERVES_THE_TASK                                                  \
    "await tworoutine.portal(afn)(...) in this task, which was made past "    \
    "the loop's task factory, as by asyncio.Task(...)"

/* How a call in a loop that cannot be driven can be made; NULL: error. */
static const char *
advice_on_loop(TwrState *state, PyObject *loop, PyObject *subject)
{
    PyObject *task = twr_task_current(state, loop);
    Py_XDECREF(task); /* only whether there is one */
    if (task == NULL) {
        return PyErr_Occurred() ? NULL
                                : "make the call in a task, and "
                                  "" WHAT_SERVES_IT;
    }
    PyObject *adapters = twr_adapters(state);
    PyObject *has =
        adapters == NULL
            ? NULL
            : PyObject_CallMethod(adapters, "has_factory", "O", loop);
    Py_XDECREF(has); /* a bool */
    if (has == NULL) {
        return NULL;
    }
    if (has == Py_True) {
        return subject != NULL
                   ? "await its ~ form instead, or " WHAT_SERVES_THE_TASK
                   : "use await instead, or " WHAT_SERVES_THE_TASK;
    }
    return subject != NULL ? "await its ~ form instead, or " WHAT_SERVES_IT
                           : "use await instead, or " WHAT_SERVES_IT;
}

/* Somebody else's kind of loop, or one that somebody has changed. */
static int
refuse_loop(TwrState *state, PyObject *loop, PyObject *subject)
{
    if (state->loop.why_not != NULL) {
        return twr_handoff_refuse(state, subject,
                                  Py_NewRef(state->loop.why_not));
    }
    PyObject *patched;
    int nested =
        PyObject_GetOptionalAttr(loop, state->names._nest_patched, &patched);
    Py_XDECREF(patched);
    if (nested < 0) {
        return -1;
    }
    if (nested) {
        return twr_refuse(
            state, subject,
            about_type(state, loop,
                       "nest_asyncio has changed the running loop, of type "
                       "%S.%S, and its own run_until_complete runs it"),
            "run main() by a call, await_(main()), or do without "
            "nest_asyncio.apply(), which no call needs");
    }
    const char *advice = advice_on_loop(state, loop, subject);
    if (advice == NULL) {
        return -1;
    }
    return twr_refuse(
        state, subject,
        about_type(state, loop,
                   "the running loop, of type %S.%S, does not take its turns "
                   "the way asyncio's own loops do"),
        advice);
}

/* Others must not run where a signal handler has interrupted asyncio at work
 * on what they use. */
static int
check_interrupted(Thread *th, PyObject *subject)
{
    int interrupted = th->is_main ? twr_frames_interrupted(th->state) : 0;
    return interrupted <= 0 ? interrupted
                            : twr_handoff_refuse_between(th->state, subject);
}

/* Whether loop, which nest_asyncio has changed, is one that we drive, or that
 * something drives from which we can take it: a run_forever. */
static int
is_driven(Thread *th, PyObject *loop)
{
    int patched = twr_loop_patched(th->state, loop);
    if (patched <= 0 || (th->loan != NULL && th->loan->loop == loop)) {
        return patched;
    }
    Py_ssize_t pops = twr_loop_native_pops(th->state, loop, false);
    return pops == -2 ? -1 : pops >= 0;
}

/* The first step of an eager task, made in a portal's step but without a
 * portal of its own: that stack is not one to be parked. */
static int
check_portal(Thread *th, PyObject *subject)
{
    int stepped = twr_portal_stepped(th);
    if (stepped <= 0) {
        return stepped;
    }
    return twr_refuse(
        th->state, subject,
        PyUnicode_FromString("this is the first step of an eager task, on the "
                             "stack of one that is in a portal"),
        subject != NULL ? "await its ~ form instead, or " WHAT_SERVES_THE_TASK
                        : "use await instead, or " WHAT_SERVES_THE_TASK);
}

static int
check_drivable(Thread *th, PyObject *loop, PyObject *subject)
{
    int drivable = twr_loop_drivable(th, loop);
    if (drivable == 0) {
        drivable = is_driven(th, loop);
    }
    if (drivable <= 0) {
        return drivable < 0 ? -1 : refuse_loop(th->state, loop, subject);
    }
    return check_portal(th, subject);
}

/* Whether this is a greenlet that the running step has switched to, and that
 * may be parked while the step waits for it. */
static int
is_in_greenlet_of_step(Thread *th, PyObject *loop)
{
    Loan *loan = th->loan;
    if (loan != NULL) {
        int above =
            th->active == NULL ? 0 : twr_stack_is_above(th, th->active);
        return above <= 0 ? above
                          : twr_stack_may_leave(th->state, loan->owner);
    }
    PyObject *root;
    Py_ssize_t pops = twr_loop_native_root(th->state, loop, &root);
    PyObject *me = root == NULL ? NULL : twr_stack_current();
    int may = pops == -2 || (root != NULL && me == NULL) ? -1 : 0;
    if (me != NULL) {
        may = twr_stack_is_above(th, root);
    }
    if (may > 0 && me != root) {
        may = twr_stack_may_leave(th->state, root);
    }
    Py_XDECREF(me);
    Py_XDECREF(root);
    return may;
}

int
twr_handoff_check(Thread *th, PyObject *loop, PyObject *subject)
{
    TwrState *state = th->state;
    int below = TWR_STEPS_NEED_THEIR_LOOP ? twr_orphans_below(th) : 0;
    if (below < 0) {
        return -1;
    }
    if (below > 0 && th->loan->loop == loop) {
        return twr_handoff_refuse(
            state, subject,
            PyUnicode_FromString("the loop has been closed meanwhile"));
    }
    if (check_drivable(th, loop, subject) < 0) {
        return -1;
    }
    if (twr_loan_settle(th, loop) < 0) {
        return -1;
    }
    int home = twr_stack_in_step(th);
    if (home == 0) {
        home = is_in_greenlet_of_step(th, loop);
    }
    if (home <= 0) {
        return home < 0 ? -1 : twr_handoff_refuse_greenlet(state, subject);
    }
    if (th->loan == NULL) {
        return check_interrupted(th, subject);
    }
    if (th->loan->loop != loop) {
        return twr_handoff_refuse(
            state, subject,
            PyUnicode_FromString(th->loan->place == OWNER_ENDS_CALLS
                                     ? "the loop has been closed meanwhile"
                                     : "another loop runs inside the running "
                                       "one"));
    }
    /* A run of ours whose task is not yet made, or is being dropped, has no
     * call to end when the loop stops or fails. */
    bool homeless = th->loan->place == OWNER_NONE && th->loan->home == NULL;
    return th->loan->polling || homeless
               ? twr_handoff_refuse_between(state, subject)
               : check_interrupted(th, subject);
}

int
twr_handoff_check_host(Thread *th, PyObject *loop, PyObject *subject)
{
    /* The loop runs by itself, if only until it comes to the marker. */
    bool native = th->loan == NULL || th->loan->place == OWNER_RETURNING;
    Py_ssize_t pops =
        native ? twr_loop_native_pops(th->state, loop, false) : 0;
    if (pops == -1) {
        switch (twr_loop_turner(th->state)) {
        case TURNER_ERROR:
            return -1;
        case TURNER_NONE:
            return twr_handoff_refuse_greenlet(th->state, subject);
        case TURNER_FOREIGN:
            return twr_handoff_refuse_turner(th->state, subject);
        case TURNER_RUN_FOREVER:
            return twr_handoff_refuse_between(th->state, subject);
        }
    }
    return pops < 0 ? -1 : 0;
}

/* Prepare the owner's loop to go on by itself.  The marker stays behind the
 * padding: the next run of this loop begins with it, and no call of that run
 * pins its owner. */
static int
let_go(Thread *th, Loan *loan)
{
    if (twr_loop_mark(loan) < 0 || twr_loop_pad(loan, loan->owner_pops) < 0 ||
        twr_sigint_restore(th) < 0 || twr_hush(th->state, loan->loop) < 0) {
        return -1;
    }
    return twr_loan_release(th, loan);
}

/* The loop is to stop as soon as its owner, which is below a call, is free:
 * cancel that call. */
static int
stop_later(Thread *th, Loan *loan)
{
    loan->stop_later = true;
    if (PyObject_SetAttr(loan->loop, th->state->names._stopping, Py_False) <
        0) {
        return -1;
    }
    return loan->pinned == NULL ? 0 : twr_call_end(th->state, loan->pinned);
}

/* Say that the call above the owner is going to be cancelled.  It would live
 * on, were it not the first one in the life of its loop. */
static void
warn(Thread *th, Loan *loan)
{
    Call *call = loan->pinned;
    if (call == NULL || call->ending) {
        return;
    }
    Py_INCREF(call);
    loan->polling = true; /* whoever shows the warning must make no call */
    PyObject *name = twr_subject_name(call->subject);
    PyObject *adapters = name == NULL ? NULL : twr_adapters(th->state);
    PyObject *none =
        adapters == NULL
            ? NULL
            : PyObject_CallMethod(adapters, "warn_cancelled", "OOO", name,
                                  call->task, call->greenlet);
    if (none == NULL) {
        PyErr_WriteUnraisable(call->task);
    }
    loan->polling = false;
    Py_XDECREF(none);
    Py_XDECREF(name);
    Py_DECREF(call);
}

/* The loop wants to stop: the greenlet to switch to, or NULL without error
 * to go on until the pinned owner is free. */
static PyObject *
give_back(Thread *th, Loan *loan)
{
    if (loan->place == OWNER_PINNED) {
        warn(th, loan);
        stop_later(th, loan);
        return NULL;
    }
    loan->polling = true; /* a signal handler may make a call */
    int ready = let_go(th, loan);
    loan->polling = false;
    if (ready < 0) {
        return NULL;
    }
    PyObject *owner = loan->owner;
    loan->owner = NULL;
    loan->place = OWNER_NONE;
    twr_stack_set_active(th, owner);
    Py_CLEAR(th->loan);
    return owner;
}

Call *
twr_call_uppermost(Loan *loan, Call *home)
{
    Call *call = loan->parked;
    while (call != NULL && call->root != home->root) {
        call = call->older;
    }
    return call == NULL ? home : call;
}

/* run.c's loop was stopped by somebody. */
static PyObject *
stop_home(Thread *th, Loan *loan)
{
    Call *home = loan->home;
    /* If it is not parked, its stack waits in a call above it, made by a
     * finalizer perhaps. */
    if (home->parked && twr_call_future_done(th->state, home->task)) {
        return twr_call_resume(th, home);
    }
    PyErr_SetString(PyExc_RuntimeError,
                    "Event loop stopped before Future completed.");
    return twr_call_fail(th, twr_call_uppermost(loan, home));
}

/* The call in the foreground, or NULL.  Keeps the pending exception. */
static Call *
foreground(Thread *th)
{
    Call *call = NULL;
    PyObject *pending = twr_error_take();
    if (twr_sigint_foreground(th, Py_None, &call) < 0) {
        PyErr_WriteUnraisable(NULL);
    }
    twr_error_put(pending);
    return call;
}

/* A step has ended in which orphan.c has ended a call: back there. */
static PyObject *
to_orphans(Thread *th, Loan *loan)
{
    if (PyErr_Occurred()) {
        twr_orphans_failed(th, loan->loop);
    }
    twr_stack_set_active(th, loan->owner);
    return Py_NewRef(loan->owner);
}

/* Raise the pending exception, perhaps one of a signal handler, in call: the
 * greenlet to switch to, or NULL without error to go on until what was called
 * has ended, if that runs elsewhere. */
static PyObject *
fail_call(Thread *th, Call *call)
{
    return call->hosts && !th->forked && twr_host_throw(th, call)
               ? NULL
               : twr_call_fail(th, call);
}

/* The same in a forked child, where nothing runs the loop until its owner is
 * free: what the call above it has to wait for is refused. */
static PyObject *
fail_child(Thread *th, Loan *loan)
{
    Py_XSETREF(th->state->child_error, twr_error_take());
    PyErr_SetNone(th->state->CancelledError);
    return twr_call_fail(th, loan->pinned);
}

/* The pending exception ends the run of the loop, as one would that comes out
 * of run_forever: the greenlet in which to raise it, or NULL to go on until
 * that is possible. */
static PyObject *
fail(Thread *th, Loan *loan, bool in_handle)
{
    if (loan->place == OWNER_NONE) {
        return fail_call(th, twr_call_uppermost(loan, loan->home));
    }
    bool interrupt = PyErr_ExceptionMatches(PyExc_KeyboardInterrupt);
    Call *call = interrupt && !in_handle ? foreground(th) : NULL;
    if (call != NULL) {
        return fail_call(th, call);
    }
    if (loan->place == OWNER_PINNED && th->forked) {
        return fail_child(th, loan);
    }
    PyObject *exc = twr_error_take();
    PyObject *owner = give_back(th, loan);
    if (owner == NULL && loan->place != OWNER_PINNED) {
        Py_DECREF(exc);
        return NULL;
    }
    Py_XSETREF(loan->owner_error, exc);
    return owner;
}

/* The same as loan->hosts says, without memory for its key. */
static Call *
find_host(Loan *loan, PyObject *task)
{
    Call *call = loan->parked;
    while (call != NULL && !(call->hosts && call->task == task)) {
        call = call->older;
    }
    return call;
}

/* The call that hosts the task of which callback is a method; or NULL. */
static Call *
host_of(TwrState *state, Loan *loan, PyObject *callback)
{
    PyObject *task, *key;
    if (PyDict_GET_SIZE(loan->hosts) == 0) {
        return NULL;
    }
    if (PyObject_GetOptionalAttr(callback, state->names.__self__, &task) <=
        0) {
        PyErr_Clear();
        return NULL;
    }
    key = PyLong_FromVoidPtr(task);
    Call *call =
        key == NULL ? NULL : (Call *)PyDict_GetItemWithError(loan->hosts, key);
    Py_XDECREF(key);
    if (call == NULL && PyErr_Occurred()) {
        PyErr_Clear();
        call = find_host(loan, task);
    }
    Py_DECREF(task);
    return call != NULL && call->parked ? call : NULL;
}

/* In a forked child, a handle was run: -1 if what it ran was a step that is to
 * end the process. */
static int
check_child(TwrState *state, PyObject *handle)
{
    PyObject *callback = NULL, *task = NULL;
    if (PyObject_GetOptionalAttr(handle, state->names._callback, &callback) <
            0 ||
        (callback != NULL &&
         PyObject_GetOptionalAttr(callback, state->names.__self__, &task) <
             0)) {
        PyErr_Clear();
    }
    int ended = task == NULL ? 0 : twr_call_ended_child(state, task);
    Py_XDECREF(callback);
    Py_XDECREF(task);
    return ended;
}

/* Run one handle, or say which greenlet has to (*next).  Steals handle: it is
 * dropped before the decision, since that may run other code.  Switches. */
static int
drive_handle(Thread *th, Loan *loan, PyObject *handle, PyObject **next)
{
    TwrState *state = th->state;
    PyObject *callback;
    /* Markers and foreign stand-ins have no _callback. */
    if (PyObject_GetOptionalAttr(handle, state->names._callback, &callback) <
        0) {
        Py_DECREF(handle);
        return -1;
    }
    if (callback != NULL && Py_IS_TYPE(callback, state->call_type)) {
        Call *call = (Call *)callback;
        if (call->loan != loan) {
            /* Not of this loop or thread: it knows what to do. */
            int result = twr_turn_run(loan, handle);
            Py_DECREF(handle);
            Py_DECREF(callback);
            return result;
        }
        Py_DECREF(handle);
        if (twr_call_due(state, call)) {
            twr_call_collect(state, call);
            /* What it waited for may have let others run meanwhile. */
            *next = call->parked ? twr_call_resume(th, call) : NULL;
        }
        Py_DECREF(callback);
        return 0;
    }
    Call *host = callback == NULL ? NULL : host_of(state, loan, callback);
    if (host == NULL && callback != NULL) {
        twr_greenback_step(state, handle, callback);
    }
    Py_XDECREF(callback);
    if (host != NULL) {
        Py_XSETREF(host->handle, handle);
        *next = twr_call_resume(th, host);
        return 0;
    }
    int result = twr_turn_run(loan, handle);
    if (result == 0 && th->forked) {
        result = check_child(state, handle);
    }
    Py_DECREF(handle);
    return result;
}

PyObject *
twr_drive(Thread *th)
{
    for (;;) {
        Loan *loan = th->loan;
        PyObject *handle = NULL, *next = NULL;
        Turn turn = TURN_ERROR;
        if (loan->place == OWNER_ENDS_CALLS) {
            return to_orphans(th, loan);
        }
        if (th->forked) {
            PyErr_SetString(PyExc_RuntimeError,
                            "the process was forked while this loop ran; its "
                            "child cannot run it");
        }
        else {
            turn = twr_turn_next(loan, &handle);
        }
        if (turn == TURN_HANDLE) {
            int ran = drive_handle(th, loan, handle, &next);
            if (ran < 0 && th->loan->place != OWNER_ENDS_CALLS) {
                next = fail(th, th->loan, true);
            }
        }
        else if (turn == TURN_STOP) {
            next = loan->place == OWNER_NONE ? stop_home(th, loan)
                                             : give_back(th, loan);
            if (next == NULL && PyErr_Occurred()) {
                next = fail(th, loan, false);
            }
        }
        else {
            next = fail(th, loan, false);
        }
        if (next != NULL) {
            return next;
        }
        if (PyErr_Occurred() && th->loan->place != OWNER_ENDS_CALLS) {
            PyErr_WriteUnraisable(loan->loop);
        }
    }
}

/* Have call woken up in the next turn, with the pending exception if any. */
static int
wake_soon(TwrState *state, PyObject *loop, Call *call)
{
    call->error = twr_error_take();
    return twr_loop_call_soon(state, loop, (PyObject *)call);
}

PyObject *
twr_future_loop(TwrState *state, PyObject *future)
{
    PyObject *get;
    if (PyObject_GetOptionalAttr(future, state->names.get_loop, &get) < 0) {
        return NULL;
    }
    if (get == NULL) {
        return PyObject_GetAttr(future, state->names._loop);
    }
    PyObject *loop = PyObject_CallNoArgs(get);
    Py_DECREF(get);
    return loop;
}

/* Listen to a future that was yielded by a Future's __await__. */
static int
wait_future(TwrState *state, PyObject *loop, Call *call, PyObject *future)
{
    PyObject *other = twr_future_loop(state, future);
    if (other == NULL) {
        return -1;
    }
    Py_DECREF(other); /* only compared */
    if (other != loop) {
        PyErr_Format(PyExc_RuntimeError,
                     "Task %R got Future %R attached to a different loop, in "
                     "%R",
                     call->task, future, (PyObject *)call);
        return wake_soon(state, loop, call);
    }
    if (future == call->task) {
        PyErr_Format(PyExc_RuntimeError, "Task cannot await on itself: %R",
                     future);
        return wake_soon(state, loop, call);
    }
    if (PyObject_SetAttr(future, state->names._asyncio_future_blocking,
                         Py_False) < 0) {
        return -1;
    }
    PyObject *args[] = {future, (PyObject *)call, state->neutral};
    PyObject *none = PyObject_VectorcallMethod(state->names.add_done_callback,
                                               args, 2, state->kw_context);
    Py_XDECREF(none);
    if (none == NULL) {
        return -1;
    }
    call->awaited = Py_NewRef(future);
    return 0;
}

/* Arrange for call to be woken up, as a task's step does with what its
 * coroutine yields. */
static int
subscribe(TwrState *state, PyObject *loop, Call *call, PyObject *yielded)
{
    if (yielded == Py_None) {
        return wake_soon(state, loop, call);
    }
    PyObject *blocking;
    if (PyObject_GetOptionalAttr(
            yielded, state->names._asyncio_future_blocking, &blocking) < 0) {
        return -1;
    }
    if (blocking != NULL && blocking != Py_None) {
        int truth = PyObject_IsTrue(blocking);
        Py_DECREF(blocking);
        if (truth != 0) {
            return truth < 0 ? -1 : wait_future(state, loop, call, yielded);
        }
        PyErr_Format(PyExc_RuntimeError,
                     "yield was used instead of yield from in task %R with "
                     "%R",
                     call->task, yielded);
        return wake_soon(state, loop, call);
    }
    Py_XDECREF(blocking);
    if (PyGen_Check(yielded)) {
        PyErr_Format(PyExc_RuntimeError,
                     "yield was used instead of yield from for generator in "
                     "task %R with %R",
                     call->task, yielded);
    }
    else {
        PyErr_Format(PyExc_RuntimeError, "Task got bad yield: %R", yielded);
    }
    return wake_soon(state, loop, call);
}

/* Park the call, out of its task, until it is woken up.  Switches. */
static int
park_outside(Thread *th, PyObject *loop, PyObject *task, Call *call)
{
    TwrState *state = th->state;
    PyObject *held = twr_task_hold(state, task);
    if (held == NULL) {
        return -1;
    }
    int result = twr_task_leave(state, loop, task);
    if (result == 0) {
        result = twr_call_park(th, call);
        PyObject *pending = twr_error_take();
        if (twr_task_enter(state, loop, task) < 0) {
            result = -1;
        }
        twr_error_put(pending);
    }
    twr_task_release(state, held);
    return result;
}

int
twr_handoff_wait(Thread *th, PyObject *loop, PyObject *task, PyObject *yielded,
                 PyObject *subject, PyObject **error, Fate *fate)
{
    TwrState *state = th->state;
    int result = -1;
    Call *call = twr_call_check_fork(th, subject) < 0
                     ? NULL
                     : twr_call_new(state, task, subject);
    if (call == NULL) {
        return -1;
    }
    call->ending = fate->ending;
    if (twr_call_take_over(th, loop, call) < 0 ||
        subscribe(state, loop, call, yielded) < 0) {
        goto done;
    }
    if (twr_task_suspend(state, task, call->awaited) == 0) {
        result = park_outside(th, loop, task, call);
    }
    twr_task_resume(state, task, call->awaited);
    fate->interrupted |= call->interrupted;
    fate->ending |= call->ending;
    if (result == 0) {
        *error = call->error;
        call->error = NULL;
        result = twr_task_take_cancel(state, task, error);
    }
    if (result < 0) {
        PyObject *pending = twr_error_take();
        if (twr_call_detach(state, call) < 0) {
            PyErr_Clear();
        }
        twr_error_put(pending);
    }
done:
    if (result < 0) {
        twr_call_give_up(call);
    }
    Py_DECREF(call);
    return result;
}
