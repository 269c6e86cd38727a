/* backends/portal.h - a coroutine whose code can make calls under any loop.
 *
 * uvloop, trio and curio cannot be driven from another stack.  What they all
 * do is to step coroutines: send a value in, look at what is yielded, come
 * back later.  A Portal is such a coroutine around another one, which it steps
 * on a greenlet of its own, a worker:
 *
 *     asker:   loop > Task > Portal.send ----.           .----> yields to loop
 *     worker:                                step > main() > f(x)   parked
 *
 * A call made there steps its coroutine in place.  What that yields, the
 * worker leaves to the asker as the result of the step, and stays parked; what
 * the loop then sends or throws in goes to the call.  So the loop sees one
 * coroutine that waits for what the call waits for: cancellation, timeouts and
 * whatever else it has are its own.
 *
 * On asyncio's own loops none of this is needed (engine/drive.h), and a Portal
 * only passes on what it is asked: unless it begins in the first step of an
 * eager task, which runs on the stack of the one that makes the task.  A call
 * that parked that stack would hold up both.  It does so where the eager task
 * has no portal of its own: the portal below then waits for its call.
 *
 * The worker leaves all contexts that it entered before the asker goes on, and
 * enters them again; but the lowest are those of the asker in this very step,
 * which trio may change from one to the next.  It holds no reference to the
 * Portal: one that is dropped while a call is parked in it ends that call with
 * GeneratorExit.
 *
 * portal.c is the worker's side, portal_step.c the asker's; portal_type.c is
 * what can be seen of it. */
#ifndef TWR_PORTAL_H
#define TWR_PORTAL_H

#include "base/clock.h"
#include "engine/thread.h"

/* One step: what is asked, and how it ended. */
typedef struct {
    PyObject *asker;     /* the greenlet that asked for the step; or NULL */
    PyObject *contexts;  /* of the asker, for the worker to enter; or NULL */
    PyObject *value;     /* sent in; yielded or returned */
    PyObject *error;     /* thrown in; raised */
    PySendResult result; /* how the step ended */
    int depth_left;      /* of the asker when the coroutine was stepped */
    Portal *outer;       /* stepped when this step began; borrowed */
    PyObject *active;    /* the active greenlet then; or NULL */
} TwrPortalStep;

struct Portal {
    PyObject_HEAD
    bool begun;         /* has been stepped, or closed: TwrSteppable */
    bool direct;        /* passes everything on */
    bool running;       /* inside a step */
    TwrPortalStep step; /* the latest one */
    PyObject *coro;     /* the coroutine inside */
    PyObject *hook;     /* called when it begins; NULL if no more */
    PyObject *undo;     /* what the hook returned, called when it ends */
    PyObject *worker;   /* the greenlet of the step; NULL: none under way */
    PyObject *waits;    /* the greenlet of the parked call, if another */
    PyObject *loop;     /* asyncio's running loop in this step; or None */
    PyObject *task;     /* the current task of that loop, or NULL */
    PyObject *inner;    /* what the parked call iterates over, or NULL */
    PyObject *callee;   /* of the parked call; borrowed, NULL: await_() */
    PyObject *yielded;  /* what that waits for; borrowed, or NULL */
    uint32_t since;     /* twr_clock_ms() when that began to wait */
    PyObject *lowest;   /* contexts of the asker that the worker has entered */
    bool eager;         /* the parked call is in an eager task's first step */
    Thread *thread;     /* in whose `parked` it is; borrowed, or NULL */
    Portal *older;      /* the next one there; borrowed */
    Portal **link;      /* what points to this one there */
    PyObject *weakrefs;
};

extern PyType_Spec twr_portal_spec;

/* --- portal.c: the worker's side */

/* Whether a call made here can wait by yielding through a portal; loop: that
 * runs, or None; *eager: set, if so, to the current task where that is an
 * eager one, in its first step, and not the task of the portal.  -1: error. */
int twr_portal_here(Thread *th, PyObject *loop, PyObject **eager);

/* twr_portal_is_stepped(), where any portal is stepped. */
int twr_portal_look_stepped(Thread *th);

/* 1 if a portal is stepped in the running greenlet. */
static inline int
twr_portal_is_stepped(Thread *th)
{
    return th->portals.stepped == NULL ? 0 : twr_portal_look_stepped(th);
}

/* Do worker's part of the step for which it was switched to.  Returns the
 * greenlet that asked for the step.  Switches. */
PyObject *twr_portal_work(Thread *th, PyObject *worker);

/* The greenlet that steps the portal in which greenlet is parked, if no step
 * is under way: what another library throws into greenlet, a gevent.Timeout
 * perhaps, is for the one that steps, of which the coroutine is a part to that
 * library.  NULL without error: none does, or it cannot be told. */
PyObject *twr_portal_stray(Thread *th, PyObject *greenlet);

/* Take self out of the list of those with a call parked, if it is there.
 * Quiet. */
void twr_portal_unpark(Portal *self);

/* The record of a thread is dropped: portals forget it.  Quiet. */
void twr_portal_forget_all(Thread *th);

/* --- portal_step.c: the asker's side */

/* One step: value is sent in, or *error thrown, which is taken.  Switches. */
PySendResult twr_portal_step(Portal *self, PyObject *value, PyObject **error,
                             PyObject **result);

/* The coroutine inside has ended: undo what the hook did.  Keeps a pending
 * exception. */
void twr_portal_end(Portal *self);

/* End the call that is parked, which then ends the coroutine.  Switches. */
int twr_portal_close_parked(Portal *self);

/* The thread ends: so do the calls that are parked in its portals.
 * Switches. */
void twr_portal_end_all(Thread *th);

#endif
