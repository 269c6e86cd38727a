/* base/state.h - what is made once, at import: names, types, facts.
 *
 *     an object of ours -> its type -> the module -> TwrState
 *
 * One TwrState hangs on the module; every type of ours knows the module, so
 * twr_state_of(op) finds the state from any of our objects.  The state is kept
 * until the process ends: greenlets that are parked may still use it.
 *
 * What happens once in a thousand calls is left to Python: to the functions of
 * the cold module, tworoutine/_cold.py, which twr_cold() calls.
 *
 * At the end are the short ways with what calls return and with the pending
 * exception, which every file takes. */
#ifndef TWR_STATE_H
#define TWR_STATE_H

#include "base/facts.h"
#include "base/watch.h"

/* Interned names, each a field of TwrState.names. */
#define TWR_NAMES(X)                                                          \
    X(__aenter__)                                                             \
    X(__aexit__)                                                              \
    X(__aiter__)                                                              \
    X(__anext__)                                                              \
    X(__doc__)                                                                \
    X(__isabstractmethod__)                                                   \
    X(__module__)                                                             \
    X(__name__)                                                               \
    X(__notes__)                                                              \
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
    X(_call_soon)                                                             \
    X(_callback)                                                              \
    X(_cancel_message)                                                        \
    X(_cancelled)                                                             \
    X(_clock_resolution)                                                      \
    X(_coro)                                                                  \
    X(_coroutine_origin_tracking_enabled)                                     \
    X(_current_handle)                                                        \
    X(_debug)                                                                 \
    X(_event_loop_policy)                                                     \
    X(_fd_to_key)                                                             \
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
    X(context)                                                                \
    X(cr_frame)                                                               \
    X(done)                                                                   \
    X(eager_start)                                                            \
    X(exception)                                                              \
    X(future_add_to_awaited_by)                                               \
    X(future_discard_from_awaited_by)                                         \
    X(ident)                                                                  \
    X(home)                                                                   \
    X(get_coro)                                                               \
    X(get_loop)                                                               \
    X(get_map)                                                                \
    X(is_closed)                                                              \
    X(is_running)                                                             \
    X(monotonic)                                                              \
    X(nest_asyncio)                                                           \
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
    X(uncancel)

/* What is taken from asyncio and its neighbours at import, each a field of
 * TwrState: field, module, attribute (NULL: the module itself). */
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
    X(PyTask, "asyncio.tasks", "_PyTask")                                     \
    X(CancelledError, "asyncio.exceptions", "CancelledError")                 \
    X(base_events, "asyncio.base_events", NULL)                               \
    X(futures, "asyncio.futures", NULL)                                       \
    X(heappop, "heapq", "heappop")                                            \
    X(heapify, "heapq", "heapify")                                            \
    X(signal, "_signal", "signal")                                            \
    X(getsignal, "_signal", "getsignal")                                      \
    X(default_int_handler, "_signal", "default_int_handler")                  \
    X(partial, "functools", "partial")                                        \
    X(main_thread, "threading", "main_thread")

/* The functions of the cold module, by their names there.  All are looked for
 * when the module is given to us, so that none can be missing later. */
#define TWR_COLD(X)                                                           \
    X(adapt)                                                                  \
    X(at)                                                                     \
    X(at_home)                                                                \
    X(away)                                                                   \
    X(bound_signature)                                                        \
    X(bridge)                                                                 \
    X(close_loop)                                                             \
    X(comes_again)                                                            \
    X(decorator)                                                              \
    X(deepcopy_bound)                                                         \
    X(dual_async)                                                             \
    X(dual_made)                                                              \
    X(dual_refuse)                                                            \
    X(dual_show)                                                              \
    X(destroyed)                                                              \
    X(destroying)                                                             \
    X(discard_loop)                                                           \
    X(explain)                                                                \
    X(fan_out_as_completed)                                                   \
    X(fan_out_map)                                                            \
    X(find_backend)                                                           \
    X(for_asgiref)                                                            \
    X(foreground)                                                             \
    X(foreign_library)                                                        \
    X(forget_thread)                                                          \
    X(handle_failed)                                                          \
    X(has_factory)                                                            \
    X(hide_bridge)                                                            \
    X(held_up)                                                                \
    X(how_used)                                                               \
    X(in_input_hook)                                                          \
    X(is_marked)                                                              \
    X(lose)                                                                   \
    X(name_async_form)                                                        \
    X(name_plainly)                                                           \
    X(names)                                                                  \
    X(prompt_loop)                                                            \
    X(prompt_runner)                                                          \
    X(reduce)                                                                 \
    X(register)                                                               \
    X(shown_code)                                                             \
    X(start)                                                                  \
    X(unbound)                                                                \
    X(unwrap_partial)                                                         \
    X(warn_cancelled)

typedef enum {
#define X(name) COLD_##name,
    TWR_COLD(X)
#undef X
        N_COLD
} TwrCold;

/* Libraries beside which calls are served in another way: our word for each,
 * and the module that tells. */
#define TWR_LIBRARIES(X)                                                      \
    X(asgiref, "asgiref")                                                     \
    X(curio, "curio")                                                         \
    X(gevent, "gevent")                                                       \
    X(greenback, "greenback._impl")                                           \
    X(homes, "tworoutine._homes")                                             \
    X(IPython, "IPython")                                                     \
    X(prompt_toolkit, "prompt_toolkit")                                       \
    X(sqlalchemy, "sqlalchemy.ext.asyncio")                                   \
    X(trio, "trio")                                                           \
    X(twisted, "twisted")

enum {
#define X(name, module) INDEX_##name,
    TWR_LIBRARIES(X)
#undef X
        N_LIBRARIES
};

enum {
#define X(name, module) LIBRARY_##name = 1u << INDEX_##name,
    TWR_LIBRARIES(X)
#undef X
};

/* What base/libraries.c has found in sys.modules. */
typedef struct {
    PyObject *names[N_LIBRARIES]; /* of the modules, interned */
    unsigned imported;            /* LIBRARY_ flags */
    TwrWatch watch;               /* over sys.modules */
} TwrLibraries;

typedef struct {
    TwrTypes types;
    TwrKeywords kw;
    TwrLoopFacts loop;
    TwrTaskFacts task;
    TwrDirect running; /* get_running_loop */
    TwrQuickFacts quick;
    TwrLibraries libraries;
    PyObject *CannotSuspend;
    PyObject *home;         /* ContextVar: the home of calls made in it */
    PyObject *neutral;      /* the Context in which our callbacks are queued */
    PyObject *pad;          /* a handle that is skipped: engine/marker.c */
    PyObject *marker;       /* a handle that parks the native greenlet */
    int entered_at;         /* index, in ints, of a Context's flag; or 0 */
    bool unregistered;      /* atexit no longer knows of us */
    bool has_own_loops;     /* calls have been made where no loop ran */
    PyObject *footing_code; /* of which footings are made: stack/footing.c */
    PyObject *footing_table; /* ... and its table of lines, without columns */
    PyObject *asyncio_dot;   /* "asyncio.": how its modules' names begin */
    PyObject *greenback_portals; /* dict by task; NULL: not looked for yet */
    PyObject *interrupted;       /* engine/interrupt.c's signal handler */
    PyObject *end_closed;        /* engine/closed.c's function */
    PyObject *child_error;  /* to raise from run_forever, after a fork; NULL */
    PyObject *cold[N_COLD]; /* functions of the cold module; NULL: not yet */
#define X(field, module, attribute) PyObject *field;
    TWR_IMPORTS(X)
#undef X
    struct {
#define X(name) PyObject *name;
        TWR_NAMES(X)
#undef X
    } names;
} TwrState;

/* The state of the module; borrowed, never NULL once that is imported.
 * Quiet. */
TwrState *twr_state(PyObject *module);

/* The state, found from an object of one of our types.  Quiet. */
static inline TwrState *
twr_state_of(PyObject *op)
{
    return (TwrState *)PyType_GetModuleState(Py_TYPE(op));
}

/* Fill in the names, and the fields of TWR_IMPORTS. */
int twr_state_import(TwrState *state);

/* The attribute of a module, which is imported; NULL: the module itself. */
PyObject *twr_import(const char *module, const char *attribute);

/* Use module as the cold one from now on.  AttributeError if a function of
 * TWR_COLD is missing there; nothing is changed then. */
int twr_cold_use(TwrState *state, PyObject *module);

/* Call a function of the cold module.  format, as of Py_BuildValue, makes the
 * tuple of its arguments, "(OO)" perhaps; NULL: none. */
PyObject *twr_cold(TwrState *state, TwrCold which, const char *format, ...);

/* 0 if result (stolen), which nobody needs, is not NULL. */
static inline int
twr_done(PyObject *result)
{
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* 1 if value (stolen; NULL: a failure) is true, 0 if not. */
int twr_truth(PyObject *value);

/* Read value (stolen; NULL: a failure) as a number. */
int twr_double(PyObject *value, double *number);

/* 1 if op.<name> is true, 0 if not. */
int twr_flag(PyObject *op, PyObject *name);

/* Whether op.<name> is value; false, without error: that cannot be told. */
bool twr_has(PyObject *op, const char *name, PyObject *value);

/* 1 if op.<method>() returns what is true, 0 if not. */
int twr_ask(PyObject *op, PyObject *method);

/* 1 if type.<name> is known, 0 if it is something else or there is none. */
int twr_is_method(PyObject *type, PyObject *name, PyObject *known);

/* Take the pending exception away; NULL: there was none.  Quiet. */
static inline PyObject *
twr_error_take(void)
{
    return PyErr_GetRaisedException();
}

/* Put exc (stolen) back, in place of any exception that has come meanwhile;
 * NULL: what has come stays pending. */
static inline void
twr_error_put(PyObject *exc)
{
    if (exc != NULL) {
        PyErr_SetRaisedException(exc);
    }
}

/* If result is a failure, report that, as one of op (or NULL): nobody else can
 * be told. */
static inline void
twr_report(int result, PyObject *op)
{
    if (result < 0) {
        PyErr_WriteUnraisable(op);
    }
}

/* Free op, which has nothing any more. */
static inline void
twr_free(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    type->tp_free(op);
    Py_DECREF(type);
}

/* tp_dealloc of a type with tp_clear and no subtypes. */
void twr_dealloc(PyObject *op);

/* Raise *exc, which is cleared.  Always -1. */
static inline int
twr_raise(PyObject **exc)
{
    PyObject *raised = *exc;
    *exc = NULL;
    PyErr_SetRaisedException(raised);
    return -1;
}

#endif
