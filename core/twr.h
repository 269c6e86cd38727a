/* twr.h - the map of the core: state, types, and what each file offers.
 *
 * f(x) steps the coroutine of f right where it is called.  What it yields is
 * waited for in one of four ways:
 *
 *     await.c     the engine: step in place, choose how to wait
 *     run.c         no loop in this thread: run the thread's own one
 *     handoff.c     a loop is running: park, and let another greenlet drive it
 *     portal.c      inside a portal: the loop, whichever it is, gets it
 *                   yielded
 *     guest.c       gevent and Twisted: as their adapter says
 *
 * which stand on
 *
 *     awaitable.c what can be waited for: coroutines, futures and others
 *     awaiting.c  what a task is made of that waits for no coroutine
 *     stack.c     the only door to greenlet: hub, pool, switch
 *     floor.c     what a driver stands on
 *     loop.c      what asyncio keeps private about a loop
 *     turn.c        and one turn of it
 *     frames.c    what the Python frames below a call tell
 *     task.c      what asyncio keeps private about a task: a wait, a cancel
 *     context.c   leaving and entering contextvars contexts
 *     hush.c      debug mode's slow callbacks
 *     orphan.c    calls whose loop has been closed
 *     sigint.c    Ctrl-C while calls wait
 *     greenback.c greenback's portals, and the calls below them
 *
 * and carry
 *
 *     tworoutine.c, attrs.c   the decorator type
 *     iter.c                  async generators and context managers
 *     module.c                the module and its state
 *
 * Everywhere: arguments are borrowed, returned objects are new, failure is
 * NULL or -1 with an exception set; only deviations are written down.
 * "Switches." marks a function during which other code runs on this thread:
 * across one, hold no lock, no borrowed reference and no address of a local
 * that others know, and read every field again. */
#ifndef TWR_H
#define TWR_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <stddef.h>

#include "compat.h"

/* --- module.c: the state */

/* Interned names, each a field of TwrState.names. */
#define TWR_NAMES(X)                                                          \
    X(IPython)                                                                \
    X(__aenter__)                                                             \
    X(__aexit__)                                                              \
    X(__aiter__)                                                              \
    X(__anext__)                                                              \
    X(__doc__)                                                                \
    X(__isabstractmethod__)                                                   \
    X(__module__)                                                             \
    X(__name__)                                                               \
    X(__qualname__)                                                           \
    X(__self__)                                                               \
    X(__dict__)                                                               \
    X(__signature__)                                                          \
    X(__sqlalchemy_greenlet_provider__)                                       \
    X(__type_params__)                                                        \
    X(__annotate__)                                                           \
    X(__annotations__)                                                        \
    X(__call__)                                                               \
    X(__code__)                                                               \
    X(__defaults__)                                                           \
    X(__kwdefaults__)                                                         \
    X(__wrapped__)                                                            \
    X(_asyncgen_finalizer_hook)                                               \
    X(_asyncgen_firstiter_hook)                                               \
    X(_asyncio_future_blocking)                                               \
    X(_callback)                                                              \
    X(_cancel_message)                                                        \
    X(_cancelled)                                                             \
    X(_clock_resolution)                                                      \
    X(_current_handle)                                                        \
    X(_debug)                                                                 \
    X(_event_loop_policy)                                                     \
    X(_fut_waiter)                                                            \
    X(_local)                                                                 \
    X(_loop)                                                                  \
    X(_make_cancelled_error)                                                  \
    X(_must_cancel)                                                           \
    X(_nest_patched)                                                          \
    X(_process_events)                                                        \
    X(_ready)                                                                 \
    X(_run)                                                                   \
    X(_run_forever_cleanup)                                                   \
    X(_run_forever_setup)                                                     \
    X(_run_once)                                                              \
    X(_scheduled)                                                             \
    X(_selector)                                                              \
    X(_set_coroutine_origin_tracking)                                         \
    X(_stopping)                                                              \
    X(_thread_id)                                                             \
    X(_timer_cancelled_count)                                                 \
    X(_when)                                                                  \
    X(aclose)                                                                 \
    X(asgiref)                                                                \
    X(add_done_callback)                                                      \
    X(append)                                                                 \
    X(appendleft)                                                             \
    X(asend)                                                                  \
    X(athrow)                                                                 \
    X(call_soon)                                                              \
    X(call_soon_threadsafe)                                                   \
    X(cancel)                                                                 \
    X(cancelled)                                                              \
    X(close)                                                                  \
    X(cr_frame)                                                               \
    X(curio)                                                                  \
    X(done)                                                                   \
    X(exception)                                                              \
    X(future_add_to_awaited_by)                                               \
    X(future_discard_from_awaited_by)                                         \
    X(ident)                                                                  \
    X(get_coro)                                                               \
    X(get_loop)                                                               \
    X(get_map)                                                                \
    X(gevent)                                                                 \
    X(is_closed)                                                              \
    X(is_running)                                                             \
    X(nest_asyncio)                                                           \
    X(prompt_toolkit)                                                         \
    X(loop)                                                                   \
    X(logger)                                                                 \
    X(pop)                                                                    \
    X(popleft)                                                                \
    X(remove)                                                                 \
    X(remove_done_callback)                                                   \
    X(result)                                                                 \
    X(run_forever)                                                            \
    X(run_until_complete)                                                     \
    X(select)                                                                 \
    X(slow_callback_duration)                                                 \
    X(throw)                                                                  \
    X(time)                                                                   \
    X(trio)                                                                   \
    X(twisted)                                                                \
    X(uncancel)

/* What is taken from asyncio and its neighbours at import. */
#define TWR_IMPORTS(X)                                                        \
    X(get_running_loop, "asyncio.events", "_get_running_loop")                \
    X(set_running_loop, "asyncio.events", "_set_running_loop")                \
    X(new_event_loop, "asyncio.events", "new_event_loop")                     \
    X(set_event_loop, "asyncio.events", "set_event_loop")                     \
    X(events, "asyncio.events", NULL)                                         \
    X(Handle, "asyncio.events", "Handle")                                     \
    X(BaseEventLoop, "asyncio.base_events", "BaseEventLoop")                  \
    X(format_handle, "asyncio.base_events", "_format_handle")                 \
    X(enter_task, "asyncio.tasks", "_enter_task")                             \
    X(leave_task, "asyncio.tasks", "_leave_task")                             \
    X(Task, "asyncio.tasks", "Task")                                          \
    X(CTask, "_asyncio", "Task")                                              \
    X(CancelledError, "asyncio.exceptions", "CancelledError")                 \
    X(base_events, "asyncio.base_events", NULL)                               \
    X(futures, "asyncio.futures", NULL)                                       \
    X(heappop, "heapq", "heappop")                                            \
    X(heapify, "heapq", "heapify")                                            \
    X(get_asyncgen_hooks, "sys", "get_asyncgen_hooks")                        \
    X(set_asyncgen_hooks, "sys", "set_asyncgen_hooks")                        \
    X(signal, "_signal", "signal")                                            \
    X(getsignal, "_signal", "getsignal")                                      \
    X(default_int_handler, "_signal", "default_int_handler")                  \
    X(partial, "functools", "partial")                                        \
    X(main_thread, "threading", "main_thread")

/* loop.c's share of the state. */
typedef struct {
    PyObject *why_not;          /* str: why no loop can be driven; or NULL */
    PyObject *run_once;         /* BaseEventLoop._run_once, as imported */
    PyObject *run_once_code;    /* ... and its code object */
    PyObject *run_forever;      /* BaseEventLoop.run_forever, likewise */
    PyObject *run_forever_code; /* ... and its code object */
    PyObject *run_until_complete_code;
    PyObject *handle_run_codes;  /* list: code of Handle._run and the like */
    PyObject *nest_once_code;    /* of nest_asyncio's _run_once; or NULL */
    PyObject *nest_forever_code; /* and run_forever */
    PyObject *tasks_file;        /* where tasks written in Python are */
    Py_ssize_t min_timers;       /* when cancelled timers are weeded out */
    double max_cancelled;
    double max_select; /* seconds */
} TwrLoopFacts;

/* task.c's share. */
typedef struct {
    PyObject *why_not;       /* str: why no C task can be parked; or NULL */
    Py_ssize_t waiter_at;    /* offset of task_fut_waiter */
    Py_ssize_t must_at;      /* offset of the byte of task_must_cancel */
    unsigned char must_mask; /* and its bit */
    PyObject *current_tasks; /* 3.11: the dictionary; 3.14+: of Python tasks */
    PyObject *current_task;  /* 3.12+: the function */
    PyObject *py_enter_task, *py_leave_task; /* 3.14+: for Python tasks */
    PyObject *add_awaited_by, *discard_awaited_by; /* 3.14+, or NULL */
} TwrTaskFacts;

typedef struct {
    PyTypeObject *tworoutine_type;
    PyTypeObject *call_type;
    PyTypeObject *loan_type;
    PyTypeObject *marker_type;
    PyTypeObject *thread_type;
    PyTypeObject *generator_type;
    PyTypeObject *manager_type;
    PyTypeObject *hush_type;
    PyTypeObject *doc_type;
    PyTypeObject *portal_type;
    PyTypeObject *awaiting_type;
    PyObject *CannotSuspend;
    PyObject *neutral;     /* the Context in which our callbacks are queued */
    PyObject *kw_context;  /* ("context",) */
    PyObject *kw_msg;      /* ("msg",) */
    PyObject *kw_task;     /* ("loop", "context") */
    PyObject *kw_hooks;    /* ("firstiter", "finalizer") */
    PyObject *pad;         /* a handle that is skipped */
    PyObject *marker;      /* a handle that parks the owner: handoff.c */
    int entered_at;        /* index, in ints, of a Context's flag; or 0 */
    bool unregistered;     /* atexit no longer knows of us */
    PyObject *floor_code;  /* of which floors are made: floor.c */
    bool has_own_loops;    /* calls have been made where no loop ran */
    PyObject *asyncio_dot; /* "asyncio.": how the names of its modules begin */
    PyObject *greenback;   /* the name of its module */
    PyObject *sqlalchemy_asyncio; /* likewise */
    PyObject *gb_portals;  /* its portals, a dict by task; NULL: not known */
    Py_ssize_t n_modules;  /* how many there were when it was looked for */
    PyObject *interrupted; /* sigint.c's signal handler, a function */
    PyObject *end_orphans; /* orphan.c's function */
    PyObject *child_error; /* to raise from run_forever, after a fork; NULL */
    PyObject *adapters;    /* the Python module of cold adapters, or NULL */
    TwrLoopFacts loop;
    TwrTaskFacts task;
#define X(field, module, attribute) PyObject *field;
    TWR_IMPORTS(X)
#undef X
    struct {
#define X(name) PyObject *name;
        TWR_NAMES(X)
#undef X
    } names;
} TwrState;

extern PyType_Spec twr_tworoutine_spec, twr_call_spec, twr_loan_spec,
    twr_marker_spec, twr_thread_spec, twr_generator_spec, twr_manager_spec,
    twr_hush_spec, twr_doc_spec, twr_portal_spec, twr_awaiting_spec;

/* The state; borrowed, never NULL once the module is imported. */
TwrState *twr_state(PyObject *module);
static inline TwrState *
twr_state_of(PyObject *op)
{
    return (TwrState *)PyType_GetModuleState(Py_TYPE(op));
}

/* The Python module of cold adapters (fan-out, pickling, closing). */
PyObject *twr_adapters(TwrState *state);

/* Take a pending exception away, and put it back later, in place of any that
 * has come meanwhile; NULL is none, and leaves that. */
static inline PyObject *
twr_error_take(void)
{
    return PyErr_GetRaisedException();
}
static inline void
twr_error_put(PyObject *exc)
{
    if (exc != NULL) {
        PyErr_SetRaisedException(exc);
    }
}
/* Clear *exc and raise what it was.  Always -1. */
static inline int
twr_raise(PyObject **exc)
{
    PyObject *raised = *exc;
    *exc = NULL;
    PyErr_SetRaisedException(raised);
    return -1;
}

/* --- the objects */

typedef struct Thread Thread;
typedef struct Loan Loan;
typedef struct Call Call;
typedef struct Portal Portal;

/* A call that waits.  It is also the done callback of what it waits for. */
struct Call {
    PyObject_HEAD
    Loan *loan;         /* owned; NULL until parked */
    PyObject *subject;  /* the tworoutine that was called, or NULL */
    PyObject *greenlet; /* who waits */
    PyObject *root;     /* the greenlet whose step it is part of */
    PyObject *task;     /* whose step it is; for a host, the task it hosts */
    PyObject *awaited;  /* the future waited for; NULL after a bare yield */
    PyObject *error;    /* to raise in the call when it goes on */
    PyObject *thrown;   /* to raise when the task, cancelled for it, is done */
    PyObject *handle;   /* for a host: a handle of its task, to run */
    PyObject *contexts; /* the contexts left, innermost first; or NULL */
    PyObject *below;    /* those left in greenlets that wait for it; or NULL */
    Call *newer, *older; /* neighbours in loan->parked; borrowed */
    bool hosts;          /* it hosts its own task (run.c, callbacks) */
    bool woken;          /* its turn came before it was parked */
    bool parked;         /* it is in loan->parked */
    bool interrupted;    /* Ctrl-C, or the like, has cancelled the task */
    bool ending;         /* so has the loop, which is to stop */
};

/* Where the greenlet stands that is inside loop.run_forever(). */
typedef enum {
    OWNER_NONE,      /* there is none: run.c runs this loop */
    OWNER_PINNED,    /* below a call that waits */
    OWNER_RETURNING, /* its call is over, its callback not yet */
    OWNER_IDLE,      /* parked by us with no user frame above */
    OWNER_ENDS_CALLS /* not in it: orphan.c, once the loop is closed */
} OwnerPlace;

/* A running loop that we drive. */
struct Loan {
    PyObject_HEAD
    Thread *thread; /* that drives it; borrowed, NULL once it has ended */
    PyObject *loop;
    PyObject *ready;       /* loop._ready, a deque */
    PyObject *owner;       /* greenlet inside run_forever, or NULL */
    PyObject *owner_error; /* to raise from run_forever */
    PyObject *hosts;       /* dict: hosted task -> Call */
    Call *home;            /* run.c's call, which ends the run; borrowed */
    Call *pinned;          /* the call above the owner; borrowed */
    Call *parked;          /* newest first; borrowed: their stacks own them */
    OwnerPlace place;
    Py_ssize_t owner_pops; /* handles the owner's _run_once will still pop */
    Py_ssize_t batch;      /* handles left in this turn of the loop */
    size_t parks;          /* how many times a call was parked */
    int refusals;          /* calls made while those left behind are ended */
    bool polling;          /* inside the part of a turn that runs no handle */
    bool stop_later;       /* stop as soon as the owner is no longer pinned */
};

#define TWR_IDLE_MAX 1024 /* drivers kept for later, per thread */

/* What belongs to one thread of the operating system. */
struct Thread {
    PyObject_HEAD
    TwrState *state;
    PyObject *hub;       /* the shallow greenlet that starts drivers */
    PyObject *relay;     /* whom the hub is to switch to; NULL: a new driver */
    PyObject *requester; /* who asked the hub for a driver */
    PyObject *target;    /* whom the last switch was meant for */
    PyObject *active;    /* the greenlet in which the loop's steps run */
    PyObject *no_driver; /* why the hub could not make one; or NULL */
    PyObject *floor;     /* what drivers stand on: floor.c */
    PyObject *run_floor; /* the same, in the loop of calls; or NULL */
    PyObject *idle[TWR_IDLE_MAX];
    PyObject *idle_floor[TWR_IDLE_MAX]; /* on which they stand; borrowed */
    int n_idle;
    PyObject *workers[TWR_IDLE_MAX]; /* the same for portals */
    int n_workers;
    Portal *portal;     /* being stepped, latest first: their steps own them */
    Portal *parked;     /* with a call parked, latest first; borrowed */
    PyObject *retiring; /* the idle driver that is to end; borrowed, or NULL */
    bool closing;       /* drivers and hub are to end */
    bool ending;        /* its loop is being closed, its calls are ended */
    bool forked;        /* made before a fork: of no use in this process */
    Loan *loan;         /* the loop being driven; NULL: by itself or none */
    PyObject *loans;    /* list of the loans with calls parked */
    PyObject *own_loop; /* the loop kept for calls where none runs */
    PyObject *hidden;   /* a running loop that we hide from the code above */
    PyTypeObject *good_type;   /* the last loop type found drivable */
    unsigned int good_version; /* ... and its version tag then */
    PyObject *sigint_task;     /* whose call is being interrupted; or NULL */
    bool sigint_ours;          /* our SIGINT handler is in place */
    bool sigint_missed;        /* it came when there was no step to end */
    bool signal_raised;        /* a call has raised what a handler raised */
    bool in_run;               /* a call runs its own loop: run.c */
    bool is_main;              /* signals are handled in this thread */
};

/* --- thread: in stack.c */

/* This thread's record, made when first asked for.  Borrowed. */
Thread *twr_thread(TwrState *state);

/* Close this thread's own loop and end its greenlets; inside a call, or with a
 * loop running, leave all as it is.  More calls may follow. */
int twr_thread_end(void);

/* Have atexit do that, if it has forgotten it. */
void twr_thread_register(Thread *th);

/* In a forked child: drop this thread's record.  Its loop, which must not be
 * closed in the usual way; NULL without error: none.  If it runs, the call
 * that runs it discards it as it ends. */
PyObject *twr_thread_after_fork(void);
void twr_thread_discard(Thread *th, PyObject *loop);

/* --- await.c */

/* Wait for awaitable; subject (may be NULL) is named in errors.  Switches. */
PyObject *twr_await(TwrState *state, PyObject *awaitable, PyObject *subject);

/* What errors call the subject of a call, which may be NULL. */
PyObject *twr_subject_name(PyObject *subject);

/* Raise CannotSuspend with a reason (owned by the callee).  Always -1. */
int twr_refuse(TwrState *state, PyObject *subject, PyObject *reason,
               const char *advice);

/* 0 if a call can wait here; CannotSuspend if not. */
int twr_await_check(TwrState *state, PyObject *subject);

/* 1 if a library that is not asyncio runs tasks in this thread. */
int twr_foreign_library(TwrState *state);

/* --- awaitable.c */

/* Whether await_() would take it: has __await__ or is a coroutine. */
bool twr_is_awaitable(PyObject *op);

/* Whether it is a coroutine that nobody has begun. */
bool twr_is_new_coroutine(PyObject *op);

/* 0 if awaitable may be waited for in loop: it is not of another one, and if
 * it is a coroutine, nobody has begun it.  The latter alone: await checks it,
 * too, but names nobody. */
int twr_check_awaitable(TwrState *state, PyObject *awaitable, PyObject *loop,
                        PyObject *subject);
int twr_check_fresh(PyObject *coro, PyObject *subject);

/* What `await op` iterates over. */
PyObject *twr_await_iterator(TwrState *state, PyObject *op);

/* iterator.close(), keeping a pending exception. */
void twr_close_iterator(TwrState *state, PyObject *iterator);

/* Close a coroutine that will not run, keeping a pending exception.  One that
 * somebody has begun, and other awaitables, are left alone. */
void twr_close_awaitable(TwrState *state, PyObject *awaitable);

/* A coroutine, of which a task of loop can be made, for any awaitable that
 * has not begun. */
PyObject *twr_as_coroutine(TwrState *state, PyObject *awaitable,
                           PyObject *loop, PyObject *subject);

/* iterator.throw(*error); takes *error.  Switches. */
PySendResult twr_await_throw(TwrState *state, PyObject *iterator,
                             PyObject **error, PyObject **value);

/* --- awaiting.c */

/* A coroutine, without a frame, that awaits awaitable; one that awaits what
 * f's function returns; kwargs may be NULL. */
PyObject *twr_awaiting_new(TwrState *state, PyObject *awaitable);
PyObject *twr_awaiting_call(TwrState *state, PyObject *f, PyObject *args,
                            PyObject *kwargs);

/* Whether it has been stepped, or closed. */
bool twr_awaiting_begun(PyObject *op);

/* --- run.c */

/* twr_await in a thread without a running loop.  Switches. */
PyObject *twr_run(Thread *th, PyObject *awaitable, PyObject *subject);

/* 0 if that can be done here; CannotSuspend if not. */
int twr_run_check(Thread *th, PyObject *subject);

/* The same in a certain loop. */
PyObject *twr_run_in(Thread *th, PyObject *loop, PyObject *awaitable,
                     PyObject *subject);

/* The loop that twr_run would run. */
PyObject *twr_run_loop(Thread *th, PyObject *subject);

/* Have it look as if no loop ran, to synchronous code that a callback of loop,
 * which does, runs; and as it is.  Calls made by that code find the loop. */
int twr_run_hide(Thread *th, PyObject *loop);
int twr_run_show(Thread *th);

/* --- handoff.c */

/* 0 if calls can wait in the running loop; CannotSuspend if not. */
int twr_handoff_check(Thread *th, PyObject *loop, PyObject *subject);

/* The same for a caller without a task, once that one has passed: a signal
 * handler or another library's greenlet may look like a callback.  The first
 * step of a task that is hosted cannot be taken back. */
int twr_handoff_check_host(Thread *th, PyObject *loop, PyObject *subject);

/* twr_refuse, where async code can wait; where the loop is between two
 * callbacks.  Always -1. */
int twr_handoff_refuse(TwrState *state, PyObject *subject, PyObject *reason);
int twr_handoff_refuse_between(TwrState *state, PyObject *subject);

/* What has happened to a call while it waited, once and again. */
typedef struct {
    bool interrupted; /* Ctrl-C has cancelled its task */
    bool ending;      /* the loop has, which is to stop */
} Fate;

/* Wait for what a coroutine yielded.  *error is set to the exception that
 * is to be thrown into the coroutine, or NULL.  Switches. */
int twr_handoff_wait(Thread *th, PyObject *loop, PyObject *task,
                     PyObject *yielded, PyObject *subject, PyObject **error,
                     Fate *fate);

/* Run coro as a task whose steps run on this stack; for callers that are
 * not in a task.  Switches. */
PyObject *twr_host(Thread *th, PyObject *loop, Loan *loan, PyObject *coro,
                   PyObject *subject);

/* The loan of a loop that we do not drive: an old one if calls are parked in
 * it.  It stays in th->loans until released, which keeps it if any still is.
 */
Loan *twr_loan_of(Thread *th, PyObject *loop);
int twr_loan_release(Thread *th, Loan *loan);

/* Take note if the loop that we drove has ended by itself.  running: the loop
 * that runs now, or NULL. */
int twr_loan_settle(Thread *th, PyObject *running);

/* The loop of a future. */
PyObject *twr_future_loop(TwrState *state, PyObject *future);

int twr_handoff_init(TwrState *state);

/* Drive th->loan until another greenlet has to run; return that one. */
PyObject *twr_drive(Thread *th);

/* The call that is parked uppermost in the step that home is part of; or
 * home.  Borrowed. */
Call *twr_call_uppermost(Loan *loan, Call *home);

/* Cancel the task of a parked call, or (at_once, or if it is done) make the
 * call go on with KeyboardInterrupt.  For signal handlers. */
int twr_call_interrupt(TwrState *state, Call *call, bool at_once);

/* --- portal.c */

/* Whether a call made here can wait by yielding through a portal; loop: that
 * runs, or None.  -1: error. */
int twr_portal_here(Thread *th, PyObject *loop);

/* 1 if a portal is stepped in this greenlet. */
int twr_portal_stepped(Thread *th);

/* Wait for what iterator, of a call made there, has yielded: *sent and *error
 * are set to what is to be sent or thrown into it.  Switches. */
int twr_portal_wait(Thread *th, PyObject *iterator, PyObject *yielded,
                    PyObject **sent, PyObject **error);

/* Whether a Portal has been stepped. */
bool twr_portal_begun(PyObject *op);

/* What a method send() or throw() makes of the end of a step; takes result. */
PyObject *twr_return_from_step(PySendResult how, PyObject *result);

/* The exception that throw(type, value, traceback) stands for. */
PyObject *twr_make_exception(PyObject *type, PyObject *value, PyObject *tb);

/* The part of worker, which runs, in the step that it was switched to for; the
 * greenlet that has to go on after it.  Switches. */
PyObject *twr_portal_run(Thread *th, PyObject *worker);

/* The greenlet that steps the portal in which worker is parked; NULL without
 * error: none is, or it cannot be told. */
PyObject *twr_portal_stepper(Thread *th, PyObject *worker);

/* The thread ends: so do the calls that are parked in its portals.  Switches.
 * The record of a thread is dropped: portals forget it. */
void twr_portal_end_all(Thread *th);
void twr_portal_forget_all(Thread *th);

/* --- guest.c */

/* Where gevent or Twisted has been imported: *guest is what serves a call made
 * here; NULL if it waits as everywhere else.  loop: that runs, or None. */
int twr_guest_find(TwrState *state, PyObject *loop, PyObject **guest);

/* 0 if it serves calls. */
int twr_guest_check(TwrState *state, PyObject *guest, PyObject *subject);

/* The loop in which a call made where none runs would wait. */
PyObject *twr_guest_loop(Thread *th);

/* Wait for awaitable as a guest says that serves calls.  Switches. */
PyObject *twr_guest_wait(Thread *th, PyObject *guest, PyObject *awaitable,
                         PyObject *subject);

/* --- stack.c */

int twr_stack_init(TwrState *state);

/* The greenlet that runs now. */
PyObject *twr_stack_current(void);

/* Park the running greenlet and let a driver take over.  Switches. */
int twr_stack_park(Thread *th);

/* The same, but let greenlet go on.  Switches. */
int twr_stack_switch(Thread *th, PyObject *greenlet);

/* Whether the running greenlet is the one in which the steps of the loop run:
 * the active one, or, while the loop runs by itself, probably the thread's
 * first.  -1: error. */
int twr_stack_in_step(Thread *th);

/* Whether this is a greenlet of SQLAlchemy's greenlet_spawn; -1 on failure.
 * Let it await awaitable in its own way, which other greenlets of it rely on.
 * Switches. */
int twr_stack_in_sqlalchemy(TwrState *state);
PyObject *twr_stack_sqlalchemy(PyObject *awaitable);

/* A greenlet that runs twr_portal_run() when it is switched to by
 * twr_stack_work(), which is twr_stack_switch() for it.  Switches. */
PyObject *twr_stack_worker(Thread *th);
int twr_stack_work(Thread *th, PyObject *worker);

/* 1 if the running greenlet is one that root, or another one below, has
 * switched to: root is among its parents.  Not so a driver that only begins,
 * in the frames of which a finalizer may run. */
int twr_stack_is_above(Thread *th, PyObject *root);

/* 1 if such a greenlet may be parked while those below wait for it, and is not
 * being killed.  Nobody else must switch to these meanwhile: as SQLAlchemy
 * does, and who runs the loop in a greenlet of its own (owner), as Playwright
 * does. */
int twr_stack_may_leave(TwrState *state, PyObject *owner);

/* Make greenlet the one in which the loop's steps run. */
void twr_stack_set_active(Thread *th, PyObject *greenlet);

/* --- floor.c */

int twr_floor_init(TwrState *state);

/* Have drivers stand on what looks like the loop below this, of which a step
 * runs, and what is below that; or like a run of the loop of calls. */
void twr_floor_of_owner(Thread *th);
void twr_floor_of_run(Thread *th);

/* Call live() on a floor. */
PyObject *twr_floor_run(PyObject *floor, PyObject *live);

/* What is left of a traceback without the frames of floor; borrowed. */
PyTracebackObject *twr_floor_leave(PyObject *floor, PyTracebackObject *tb);

/* --- loop.c */

int twr_loop_init(TwrState *state);

/* type.name.__code__ */
PyObject *twr_loop_code_of(PyObject *type, const char *name);

/* Whether type(loop) is one whose turns we can drive. */
int twr_loop_drivable(Thread *th, PyObject *loop);

/* Whether nest_asyncio has changed type(loop).  Where nothing of its own runs
 * the loop, we can drive it all the same. */
int twr_loop_patched(TwrState *state, PyObject *loop);

/* Have loop, or None, be the one that runs in this thread. */
int twr_loop_set_running(TwrState *state, PyObject *loop);

/* How many handles the _run_once below us will still pop; -1 without
 * exception: there is none that run_forever has called, -2: error.  direct: it
 * has called us itself, and not through a handle of its own. */
Py_ssize_t twr_loop_native_pops(TwrState *state, PyObject *loop, bool direct);

/* The same, and the greenlet in which that is. */
Py_ssize_t twr_loop_native_root(TwrState *state, PyObject *loop,
                                PyObject **root);

/* Who has called the _run_once below us, in a handle of which we are or not;
 * none: there is no _run_once. */
typedef enum {
    TURNER_ERROR = -1,
    TURNER_NONE,
    TURNER_RUN_FOREVER,
    TURNER_FOREIGN
} Turner;
Turner twr_loop_turner(TwrState *state);

/* Queue call on loop's ready queue, as loop.call_soon does. */
int twr_loop_call_soon(TwrState *state, PyObject *loop, PyObject *call);

/* Put call in front of the queue: it was called, but by a callback of somebody
 * else's, as in a loop whose call_soon wraps what it is given.  So it is found
 * there by a driver, as soon as that callback has ended. */
int twr_loop_call_next(Loan *loan, PyObject *call);

/* Put `count` handles that are skipped in front of the queue. */
int twr_loop_pad(Loan *loan, Py_ssize_t count);

/* Put our marker in front of the queue; take it away again. */
int twr_loop_mark(Loan *loan);
int twr_loop_unmark(Loan *loan);

/* Have the next run of loop begin with our marker. */
int twr_loop_prime(TwrState *state, PyObject *loop);

/* Set the asyncgen hooks of loop; the old ones. */
PyObject *twr_loop_hook(TwrState *state, PyObject *loop);
int twr_loop_unhook(TwrState *state, PyObject *hooks);

/* What run_forever does before and after its turns. */
int twr_loop_enter(TwrState *state, PyObject *loop, PyObject **undo);
int twr_loop_leave(TwrState *state, PyObject *loop, PyObject *undo);

/* Whether the step of task that runs was begun by a handle of its loop, and
 * not by whoever made the task, as the first one of an eager task is. */
int twr_loop_steps_task(TwrState *state, PyObject *task);

/* loop.<flag> as a truth value; -1: error. */
int twr_loop_flag(PyObject *loop, PyObject *flag);

/* --- frames.c */

/* The frames below a call, innermost first, on to those of the greenlets that
 * wait for this one; frame is NULL at the end, and on failure. */
typedef struct {
    PyFrameObject *frame;
    PyObject *greenlet; /* whose it is; NULL: the running one's */
} Walk;
void twr_walk_begin(Walk *walk);
void twr_walk_on(Walk *walk);
void twr_walk_end(Walk *walk);

/* 1 if this is below the run_until_complete or run_forever of loop. */
int twr_frames_run(TwrState *state, PyObject *loop);

/* 1 if a signal handler below this has interrupted asyncio's own code. */
int twr_frames_interrupted(TwrState *state);

/* 1 if frame is one that runs a handle, and so whatever was queued. */
int twr_frames_runs_handle(TwrState *state, PyFrameObject *frame);

/* 1 if frame is one of asyncio's own code, which calls nobody else's. */
int twr_frames_own(TwrState *state, PyObject *frame);

/* --- turn.c */

typedef enum { TURN_ERROR = -1, TURN_HANDLE, TURN_STOP } Turn;

/* The next handle to run, in the order of BaseEventLoop._run_once; polls
 * when a turn begins.  TURN_STOP when the loop wants to stop. */
Turn twr_turn_next(Loan *loan, PyObject **handle);

/* Run a handle as _run_once does.  Switches. */
int twr_turn_run(Loan *loan, PyObject *handle);

/* Whether a turn would find anything to do. */
int twr_turn_any(Loan *loan);

/* --- hush.c */

/* In debug mode: the handle in which the owner goes on is not slow, however
 * long it took; and the opposite, if it does not end yet. */
int twr_hush(TwrState *state, PyObject *loop);
int twr_unhush(TwrState *state, PyObject *loop);

/* --- task.c */

int twr_task_init(TwrState *state);

/* Why a call must not wait in task; borrowed, NULL: it may. */
PyObject *twr_task_why_not(TwrState *state, PyObject *task);

/* The current task of loop; NULL without error: none. */
PyObject *twr_task_current(TwrState *state, PyObject *loop);

int twr_task_enter(TwrState *state, PyObject *loop, PyObject *task);
int twr_task_leave(TwrState *state, PyObject *loop, PyObject *task);

/* Make task look suspended on future (or NULL: on nothing), and undo it.
 * A cancel asked for earlier is passed on to future. */
int twr_task_suspend(TwrState *state, PyObject *task, PyObject *future);
void twr_task_resume(TwrState *state, PyObject *task, PyObject *future);

/* Take a cancel that was asked for but not delivered: *error is set to the
 * CancelledError to throw, in place of what it was. */
int twr_task_take_cancel(TwrState *state, PyObject *task, PyObject **error);

/* error, a CancelledError that was delivered, could not be raised: have task
 * get it anew when it next waits.  1; 0: that cannot be done, -1: error. */
int twr_task_cancel_again(TwrState *state, PyObject *task, PyObject *error);

/* A call waits in the first step of an eager task, on the stack of those that
 * it holds up: who cancels one of these cancels the task, too.  What undoes
 * it, or None if it holds up nobody; release takes it. */
PyObject *twr_task_hold(TwrState *state, PyObject *task);
void twr_task_release(TwrState *state, PyObject *held);

/* The result of a future that is done; the exception is raised without a
 * new __context__. */
PyObject *twr_task_result(TwrState *state, PyObject *future);

/* --- context.c */

int twr_context_init(TwrState *state);

/* The caller's own Context object. */
PyObject *twr_context_current(void);

/* What this greenlet has for a context (may be NULL without error), and
 * putting it back, whoever has changed it; steals saved. */
PyObject *twr_context_save(void);
void twr_context_restore(PyObject *saved);

/* Leave all contexts entered in this greenlet; *left receives what
 * twr_context_enter needs (NULL: nothing). */
int twr_context_leave(TwrState *state, PyObject **left);
int twr_context_enter(PyObject *left);

/* The same for the greenlets that wait for the running one, down to root. */
int twr_context_leave_below(TwrState *state, PyObject *root, PyObject **left);
int twr_context_enter_below(PyObject *left);

/* In *left, have the outermost ones, if they are those of before, be those of
 * now, all three as twr_context_leave gives them. */
int twr_context_rebase(PyObject **left, PyObject *before, PyObject *now);

/* --- greenback.c */

/* Look whether greenback has been imported. */
void twr_greenback_find(TwrState *state);

/* 1 if a call made here can wait by greenback: in a task with a portal, below
 * that.  And its waiting.  Switches. */
int twr_greenback_here(TwrState *state);
PyObject *twr_greenback_wait(TwrState *state, PyObject *awaitable);

/* handle, which calls callback, is about to be run. */
void twr_greenback_step(TwrState *state, PyObject *handle, PyObject *callback);

/* --- orphan.c */

/* The Python function below. */
extern PyMethodDef twr_orphans_def;

/* If calls of this thread still wait in loops that are closed, have them ended
 * by a callback of loop. */
int twr_orphans_look(Thread *th, PyObject *loop);

/* End them now; at_end: in all loops, since the thread ends.  No exception
 * may be pending; -1: Ctrl-C came meanwhile.  Switches. */
int twr_orphans_end(Thread *th, bool at_end);

/* Whether this is below a call that is being ended; -1 on failure. */
int twr_orphans_below(Thread *th);

/* A call that is made while they are ended is refused later on; here it stays
 * for ever if there have been too many.  Switches. */
int twr_orphans_refuse(Thread *th, PyObject *subject);

/* The pending exception came while they were ended: report it, or keep it if
 * it is Ctrl-C. */
void twr_orphans_failed(Thread *th, PyObject *where);

/* --- sigint.c */

/* The signal handler, a function of the module. */
extern PyMethodDef twr_sigint_def;

/* While calls wait, Ctrl-C is for one of them: set our handler, if Python's
 * own one is in place and this is the main thread. */
int twr_sigint_set(Thread *th);
int twr_sigint_restore(Thread *th);

/* The call that it is for, borrowed; NULL: the code that runs now, in frame
 * (or None). */
int twr_sigint_foreground(Thread *th, PyObject *frame, Call **call);

/* Whether exc, of a call in the code that runs now, has come of a signal or is
 * to end the program.  th->signal_raised was reset before that call. */
bool twr_sigint_ends(Thread *th, PyObject *exc);

/* Have exc (stolen) raised by the code that runs next in the main thread. */
void twr_sigint_raise_soon(PyObject *exc);

/* If a signal was kept, interrupt the call that runs the loop, or raise
 * KeyboardInterrupt if there is none. */
int twr_sigint_pass_on(Thread *th);

/* What the interrupted call of task is to return, now that what it called has
 * ended with result (taken; or NULL and an exception).  thrown: what a signal
 * handler has raised; NULL: KeyboardInterrupt. */
PyObject *twr_sigint_result(Thread *th, PyObject *task, PyObject *thrown,
                            PyObject *result);

/* --- iter.c */

int twr_iter_init(TwrState *state);

/* A synchronous iterator over an async iterator. */
PyObject *twr_generator_new(TwrState *state, PyObject *agen,
                            PyObject *subject);
/* A synchronous context manager over an asynchronous one. */
PyObject *twr_manager_new(TwrState *state, PyObject *manager,
                          PyObject *subject);

/* --- tworoutine.c */

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *fn;     /* the asynchronous callable */
    PyObject *origin; /* the tworoutine that this one was bound from; NULL */
    PyObject *inner;  /* of a classmethod: a tworoutine over its function */
    PyObject *dict;
    PyObject *weakrefs;
    bool named; /* fn's __qualname__ has been looked at: attrs.c */
    enum {
        MAKES_UNKNOWN, /* not looked at yet */
        MAKES_ONLY,    /* calling fn makes a coroutine, and does no more */
        MAKES_MORE,    /* it may ask for the running loop */
    } makes;
} Tworoutine;

/* A tworoutine over fn; origin: see above, may be NULL. */
PyObject *twr_tworoutine_new(TwrState *state, PyObject *fn, PyObject *origin);

/* What fn returns, called with these arguments. */
PyObject *twr_tworoutine_make(PyObject *op, PyObject *args, PyObject *kwargs);

/* f bound to obj, as types.MethodType(f, obj); f: a tworoutine. */
PyObject *twr_tworoutine_bind(PyObject *f, PyObject *obj);

/* Wait for what fn returned, or wrap it for iteration or with.  Switches. */
PyObject *twr_tworoutine_serve(PyObject *op, PyObject *made);

extern const char twr_tworoutine_doc[];

/* --- attrs.c */

extern PyGetSetDef twr_tworoutine_getset[];
extern PyMethodDef twr_tworoutine_methods[];
PyObject *twr_tworoutine_getattro(PyObject *op, PyObject *name);
int twr_tworoutine_setattro(PyObject *op, PyObject *name, PyObject *value);

/* Take over what fn's __dict__ holds. */
int twr_tworoutine_adopt(PyObject *op);

/* Give the type its __doc__. */
int twr_tworoutine_set_doc(TwrState *state);

/* ~f, which is fn. */
PyObject *twr_tworoutine_async(PyObject *op);

#endif
