/* backends/backend.h - a way for a call to wait.
 *
 * await.c asks each in turn whether a call made here waits in its way; the
 * first that says so serves the call. */
#ifndef TWR_BACKEND_H
#define TWR_BACKEND_H

#include "asyncio/task.h"
#include "base/clock.h"
#include "base/error.h"
#include "engine/thread.h"

/* The advice of a refusal where code that awaits would be served. */
#define TWR_AWAIT_OR(callee, what)                                            \
    ((callee) != NULL ? "await its ~ form instead, or " what                  \
                      : "use await instead, or " what)

/* Places where backends are asked that are not asked elsewhere; they go with
 * the LIBRARY_ flags. */
enum {
    WHERE_no_loop = 1u << 16, /* no loop runs */
    WHERE_stepped = 1u << 17, /* portals are being stepped */
    WHERE_ending = 1u << 18,  /* calls in closed loops are being ended */
};

typedef struct TwrBackend TwrBackend;

/* Where a call waits: found once, before anything has begun. */
typedef struct {
    const TwrBackend *backend; /* who serves it */
    Thread *th;
    PyObject *callee; /* borrowed, for messages; NULL: await_() */
    PyObject *loop;   /* that runs here, or None; NULL: not known yet */
    PyObject *who;    /* of the backend: the task, perhaps; or NULL */
    PyObject *home;   /* another loop, in which the call runs; NULL: here */
    bool goes_home;   /* what the callee makes goes there by itself */
    bool hidden;      /* the loop was hidden, and has to be again */
    bool interrupted; /* Ctrl-C has cancelled the task while the call waited */
    bool ending;      /* so has the loop, which is to stop */
    uint32_t since;   /* twr_clock_ms() when it began to wait; 0: not yet */
} TwrPlace;

struct TwrBackend {
    const char *name; /* for who debugs this */
    unsigned where; /* LIBRARY_ and WHERE_ flags: only asked where one of these
                     * is set; 0: everywhere */
    enum {
        TAKES_ITERATOR,  /* what `await` iterates over is stepped here */
        TAKES_COROUTINE, /* a coroutine of which a task can be made */
        TAKES_ANY,       /* the awaitable as it is */
    } takes;
    /* 1: a call made here waits in this way; 0: ask the next one; -1: it
     * cannot wait, CannotSuspend is set.  Starts nothing; but one that
     * refuses may leave the running greenlet alone for ever.  Switches. */
    int (*find)(TwrPlace *place);
    /* The loop in which the call is going to wait; NULL, also without error:
     * none of asyncio's that is known, unless is_running_loop.  What is waited
     * for is checked against the loop. */
    PyObject *(*loop)(TwrPlace *place);
    /* TAKES_ITERATOR: wait for what iterator has yielded; *sent or *error is
     * set to what is to be sent or thrown into it; if that fails, to what is
     * to be dropped.  Switches. */
    int (*hold)(TwrPlace *place, PyObject *iterator, PyObject *yielded,
                PyObject **sent, PyObject **error);
    /* Else: wait for what (in loop, as above; or NULL).  Switches. */
    PyObject *(*wait)(TwrPlace *place, PyObject *loop, PyObject *what);
    /* Hard build: leave the stack, and go on with nothing waited for; NULL:
     * nothing to exercise.  Switches. */
    int (*bounce)(TwrPlace *place);
    bool is_own_loop;     /* the loop runs for calls alone */
    bool is_running_loop; /* the running loop, which others share */
};

/* Since when the call waits: from now on, if it has not before.  Quiet. */
static inline uint32_t
twr_place_since(TwrPlace *place)
{
    if (place->since == 0) {
        place->since = twr_clock_ms();
    }
    return place->since;
}

/* Refuse a call in the task place->who if that cannot be made to look
 * suspended: -1; else 0. */
static inline int
twr_place_check_task(TwrPlace *place)
{
    PyObject *why = twr_task_why_not(place->th->state, place->who);
    return why == NULL ? 0
                       : twr_refuse_here(place->th->state, place->callee,
                                         Py_NewRef(why));
}

/* Call undo (stolen) for what was begun with it: a function, None or NULL.
 * Keeps a pending exception; a failure is reported. */
static inline void
twr_backend_undo(PyObject *undo)
{
    PyObject *pending = twr_error_take();
    if (undo != NULL && undo != Py_None &&
        twr_done(PyObject_CallNoArgs(undo)) < 0) {
        PyErr_WriteUnraisable(undo);
    }
    twr_error_put(pending);
    Py_XDECREF(undo);
}

/* In the order in which they are asked. */
extern const TwrBackend twr_home_backend;       /* home.c */
extern const TwrBackend twr_portal_backend;     /* portal.c */
extern const TwrBackend twr_greenback_backend;  /* others.c */
extern const TwrBackend twr_foreign_backend;    /* others.c: trio, curio */
extern const TwrBackend twr_host_backend;       /* others.c: gevent, Twisted */
extern const TwrBackend twr_closed_backend;     /* others.c */
extern const TwrBackend twr_blocked_backend;    /* home.c */
extern const TwrBackend twr_run_backend;        /* run.c */
extern const TwrBackend twr_input_hook_backend; /* run.c */
extern const TwrBackend twr_sqlalchemy_backend; /* others.c */
extern const TwrBackend twr_task_backend;       /* task.c */
extern const TwrBackend twr_callback_backend;   /* callback.c */

#endif
